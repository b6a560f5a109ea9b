package command

import (
	"net"

	"github.com/spf13/cobra"

	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/demo"
)

func (a *app) demo() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo [flags]",
		Short: "Serve in front of a built-in gRPC server, to try things out",
		Long:  "Serve in front of a built-in gRPC server: " + demo.Service + ", with one method of each kind,\nreflection and health, and a page that makes calls from a browser. The flags are those of serve. Without\nflags about TLS there is a listener with TLS and HTTP/3 too, at :8443 if that is free, whose certificates are those\nthat --tls-dev keeps, or else made and not kept.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("the demo brings its own server: for yours write `sluice serve %s`", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, warnings, err := a.load(cmd.Flags(), nil)
			if err != nil {
				return err
			}
			c.Backends, c.BackendTLS = nil, config.ClientTLS{}
			demoTLS(c)
			if err := c.Check(false); err != nil {
				return usageError{err}
			}
			s, err := demo.Start()
			if err != nil {
				return err
			}
			defer s.Close() // what it returns is that it was closed
			c.Backends = []config.Backend{{Target: s.Addr}}
			return a.run(c, warnings, s, nil)
		},
	}
	addFlags(cmd)
	return cmd
}

// demoTLS adds a listener with TLS, unless something was said about one: WebTransport needs
// it. A page at http://localhost knows its certificate by the hash.
func demoTLS(c *config.Config) {
	if t := &c.TLS; t.Listen != "" || t.Dev || t.Cert != "" || t.Key != "" || t.ClientCA != "" || t.HTTP3 == config.Off || len(t.DevNames) > 0 {
		return
	}
	c.TLS.Dev, c.TLS.Temporary = true, true
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return // there is no other listener
	}
	if port != "0" {
		port = "8443"
	}
	c.TLS.Listen = net.JoinHostPort(host, port)
}
