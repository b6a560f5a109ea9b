package command

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/certs"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/descriptors"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/devtls"
	"github.com/sluice-rpc/sluice/h3"
)

// parts are what a configuration becomes, with every file that it names read.
type parts struct {
	gateway sluice.Config
	server  *tls.Config     // nil without a listener with TLS
	quic    *tls.Config     // of HTTP/3
	dev     *devtls.TLS     // nil unless its certificates are made
	watch   []*certs.Keeper // to be watched while the gateway runs
	schema  *descriptors.Keeper
}

func build(c *config.Config, log *slog.Logger, lines io.Writer) (*parts, error) {
	p := &parts{gateway: sluice.Config{
		CORSOrigins: c.CORSOrigins, Limits: c.Limits, Timeouts: c.Timeouts, Logger: log,
		WebSocket: sluice.WebSocket{
			Disabled: c.WebSocket.Serve == config.Off, Ping: c.WebSocket.Ping, PingTimeout: c.WebSocket.PingTimeout, NoCompression: c.WebSocket.Compression == config.Off, Metadata: c.WebSocket.Metadata,
		},
		AccessLog: lines, AccessLogJSON: c.Log.Format == "json", DisableAccessLog: !c.Log.Calls || c.Log.Level > slog.LevelInfo,
	}}
	var err error
	if p.gateway.Duplex, err = duplexOf(&c.Duplex); err != nil {
		return nil, err
	}
	files, err := descriptors.Keep(descriptors.Files{Schema: c.Schema, ProtoPaths: c.ProtoPaths}, log)
	if err != nil {
		return nil, err
	}
	p.schema, p.gateway.DescriptorSets = files, files.Sets()
	rules, err := readRules(&c.REST)
	if err != nil {
		return nil, err
	}
	p.gateway.REST = rules
	if c.REST.OpenAPI {
		p.gateway.REST.OpenAPI = &c.OpenAPI
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
	switch {
	case c.TLS.Dev:
		dev, err := devTLS(c, log)
		if err != nil {
			return nil, err
		}
		p.dev, p.server, p.quic = dev, dev.TCPConfig(), dev.QUICConfig()
		p.gateway.Discovery.CertificateHashes = func() [][sha256.Size]byte {
			now, next := dev.Hashes()
			return [][sha256.Size]byte{now, next}
		}
	case c.ServesTLS():
		server, keeper, err := certs.Server(certs.Files{Cert: c.TLS.Cert, Key: c.TLS.Key, CA: c.TLS.ClientCA, Optional: c.TLS.ClientAuth == config.IfGiven}, log)
		if err != nil {
			return nil, err
		}
		p.server, p.quic, p.watch = server, server, append(p.watch, keeper)
	}
	if c.ServesHTTP3() {
		p.gateway.HTTP3 = h3.New(h3.Config{Port: c.TLS.HTTP3Announce, ResetKey: resetKey(&p.gateway.Duplex)})
	}
	return p, nil
}

// duplexOf reads the secret that gateways share.
func duplexOf(c *config.Duplex) (d sluice.Duplex, err error) {
	d = sluice.Duplex{Path: c.Path, Node: c.Node, Ping: c.Ping, Detach: c.Detach, Poll: c.Poll, PollGap: c.PollGap, Metadata: c.Metadata}
	if d.Node == "" {
		d.Node, _ = os.Hostname() // without one it has no name
	}
	if c.KeyFile == "" {
		return d, nil
	}
	if d.Key, err = os.ReadFile(c.KeyFile); err != nil {
		return d, fmt.Errorf("duplex.key_file: %w", err)
	}
	if len(d.Key) < minKey {
		return d, fmt.Errorf("duplex.key_file: %s has %d bytes, and needs at least %d: make one by head -c 32 /dev/urandom", c.KeyFile, len(d.Key), minKey)
	}
	return d, nil
}

// resetKey is the key of stateless resets, of which each gateway has its own, and the same after
// a restart: one that knew another's could end its connections.
func resetKey(d *sluice.Duplex) *[32]byte {
	if len(d.Key) == 0 {
		return nil
	}
	h := hmac.New(sha256.New, d.Key)
	_, _ = h.Write([]byte("stateless reset " + d.Node)) // it does not fail
	return (*[32]byte)(h.Sum(nil))
}

// minKey is how long a secret has to be.
const minKey = 32
