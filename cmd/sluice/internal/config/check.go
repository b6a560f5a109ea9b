package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/sluice-rpc/sluice"
)

// Check finds what no single setting can know: combinations that can't be meant.
func (c *Config) Check(needBackend bool) error {
	switch {
	case c.Listen == Off && !c.ServesTLS():
		return errors.New("nothing to listen on: give --listen or --tls-listen an address")
	case c.TLS.Dev && (c.TLS.Cert != "" || c.TLS.Key != ""):
		return errors.New("--tls-dev makes certificates itself: leave out --tls-cert and --tls-key, or --tls-dev")
	case c.TLS.Dev && c.TLS.ClientCA != "":
		return errors.New("--tls-dev asks for no client certificates: with --tls-client-ca give the server's own by --tls-cert and --tls-key")
	case c.TLS.Dev && c.TLS.Listen == Off:
		return errors.New("--tls-dev needs a listener with TLS: leave out --tls-listen off")
	case !c.TLS.Dev && len(c.TLS.DevNames) > 0:
		return errors.New("--tls-dev-name is for the certificates of --tls-dev: add --tls-dev")
	case c.ServesTLS() && !c.TLS.Dev && (c.TLS.Cert == "" || c.TLS.Key == ""):
		return errors.New("--tls-listen needs a certificate: add --tls-cert FILE and --tls-key FILE, or --tls-dev for development")
	case !c.ServesTLS() && (c.TLS.Cert != "" || c.TLS.Key != ""):
		return errors.New("a certificate without a listener with TLS: add --tls-listen :8443")
	case !c.ServesTLS() && c.TLS.ClientCA != "":
		return errors.New("--tls-client-ca needs a listener with TLS: add --tls-listen :8443")
	case c.TLS.HTTP3Announce > 0 && !c.ServesHTTP3():
		return errors.New("tls.http3_announce without HTTP/3: add --tls-listen :8443, and leave out --http3 off")
	case needBackend && len(c.Backends) == 0:
		return errors.New("no backend: name at least one gRPC server, as in `sluice serve localhost:50051`, or try `sluice demo`")
	}
	if c.BackendTLS != (ClientTLS{}) && len(c.Backends) > 0 {
		uses := false
		for i := range c.Backends {
			uses = uses || c.Backends[i].UsesTLS()
		}
		if !uses {
			return fmt.Errorf("TLS settings for backends (%s), but no backend uses TLS: write its target as https://host:port or dns+https:///name:port", c.backendTLSOrigin())
		}
	}
	if len(c.ProtoPaths) > 0 && !slices.ContainsFunc(c.Schema, func(name string) bool { return filepath.Ext(name) == ".proto" }) {
		return errors.New("--proto-path without a .proto file: name the file that has the services by --schema FILE.proto")
	}
	if err := sluice.CheckREST(c.REST.Library()); err != nil {
		return err
	}
	if err := c.BackendTLS.check(c.backendTLSOrigin()); err != nil {
		return err
	}
	for i := range c.Backends {
		b := &c.Backends[i]
		if b.TLS != (ClientTLS{}) && !b.UsesTLS() {
			return fmt.Errorf("%s: backend %s has TLS settings, but does not use TLS: write its target as https://host:port or dns+https:///name:port", b.origin, b.Target)
		}
		if err := b.TLS.check(b.origin + ": backend " + b.Target); err != nil {
			return err
		}
		if b.HealthService != "" && !b.HealthCheck {
			return fmt.Errorf("%s: backend %s has a health_service, but health_check is not true", b.origin, b.Target)
		}
	}
	return nil
}

// ServesTLS says whether there is a listener with TLS.
func (c *Config) ServesTLS() bool {
	listen := c.TLS.Address()
	return listen != "" && listen != Off
}

// Address is where it listens.
func (t *ServerTLS) Address() string {
	if t.Listen == "" && t.Dev {
		return ":8443"
	}
	return t.Listen
}

// ServesHTTP3 says whether there is HTTP/3 beside it.
func (c *Config) ServesHTTP3() bool { return c.ServesTLS() && c.TLS.HTTP3 != Off }

func (c *Config) backendTLSOrigin() string {
	for _, key := range []string{"ca", "cert", "key", "server_name"} {
		if o, ok := c.origins["backend_tls."+key]; ok {
			return o
		}
	}
	return "backend_tls"
}

func (t ClientTLS) check(where string) error {
	if (t.Cert == "") != (t.Key == "") {
		return fmt.Errorf("%s: a client certificate needs both its certificate and its key", where)
	}
	return nil
}
