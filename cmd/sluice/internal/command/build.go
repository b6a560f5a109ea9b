package command

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/certs"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
)

// parts are what a configuration becomes, with every file that it names read.
type parts struct {
	gateway sluice.Config
	server  *tls.Config     // nil without a listener with TLS
	watch   []*certs.Keeper // to be watched while the gateway runs
}

func build(c *config.Config, log *slog.Logger, lines io.Writer) (*parts, error) {
	p := &parts{gateway: sluice.Config{
		CORSOrigins: c.CORSOrigins, Limits: c.Limits, Timeouts: c.Timeouts, Logger: log,
		AccessLog: lines, AccessLogJSON: c.Log.Format == "json", DisableAccessLog: !c.Log.Calls || c.Log.Level > slog.LevelInfo,
	}}
	for _, name := range c.Schema {
		set, err := readSchema(name)
		if err != nil {
			return nil, err
		}
		p.gateway.DescriptorSets = append(p.gateway.DescriptorSets, set)
	}
	for i := range c.Backends {
		b := &c.Backends[i]
		one := sluice.Backend{Target: b.Target, Authority: b.Authority, Balance: b.Balance,
			HealthCheck: b.HealthCheck, HealthService: b.HealthService, Services: b.Services}
		if b.UsesTLS() {
			t := b.TLS
			if t == (config.ClientTLS{}) {
				t = c.BackendTLS
			}
			client, keeper, err := certs.Client(certs.Files{CA: t.CA, Cert: t.Cert, Key: t.Key}, t.ServerName, log)
			if err != nil {
				return nil, fmt.Errorf("backend %s: %w", b.Target, err)
			}
			if one.TLS = client; keeper != nil {
				p.watch = append(p.watch, keeper)
			}
		}
		p.gateway.Backends = append(p.gateway.Backends, one)
	}
	if c.ServesTLS() {
		server, keeper, err := certs.Server(certs.Files{Cert: c.TLS.Cert, Key: c.TLS.Key, CA: c.TLS.ClientCA}, log)
		if err != nil {
			return nil, err
		}
		p.server, p.watch = server, append(p.watch, keeper)
	}
	return p, nil
}

const howToCompile = "compile it: `buf build -o set.binpb`, or `protoc --include_imports --descriptor_set_out=set.binpb FILE.proto`"

// readSchema reads a descriptor set, and knows what people give instead of one. What
// is wrong inside of a set is for the library to say.
func readSchema(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("schema %s: there is no such file", name)
	case err != nil:
		return nil, fmt.Errorf("schema %s: %w", name, errors.Unwrap(err))
	case filepath.Ext(name) == ".proto":
		return nil, fmt.Errorf("schema %s is proto source, not a descriptor set: %s", name, howToCompile)
	}
	var set descriptorpb.FileDescriptorSet
	switch err := proto.Unmarshal(b, &set); {
	case err != nil && bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")):
		return nil, fmt.Errorf("schema %s is JSON, not a binary descriptor set: write it as .binpb, for example `buf build -o set.binpb`", name)
	case err != nil:
		return nil, fmt.Errorf("schema %s is not a descriptor set (%s): %s", name, strings.TrimPrefix(err.Error(), "proto: "), howToCompile)
	case len(set.File) == 0:
		return nil, fmt.Errorf("schema %s describes nothing: %s", name, howToCompile)
	}
	return b, nil
}
