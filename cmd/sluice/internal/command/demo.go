package command

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/demo"
)

func (a *app) demo() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo [flags]",
		Short: "Serve in front of a built-in gRPC server, to try things out",
		Long:  "Serve in front of a built-in gRPC server: " + demo.Service + ", with one method of each kind,\nreflection and health, and a page that makes calls from a browser. The flags are those of serve.",
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
			if err := c.Check(false); err != nil {
				return usageError{err}
			}
			clean, err := demoTLS(c)
			if err != nil {
				return err
			}
			defer clean()
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

// demoTLS gives the demo's page HTTP/3 and WebTransport, on a free port, if the user has not said
// how TLS is to be. Its certificates are trusted by their hashes, and live as long as the demo.
func demoTLS(c *config.Config) (clean func(), err error) {
	if c.TLS.Listen != "" || c.TLS.Dev || c.TLS.HTTP3 == config.Off {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "sluice-demo-")
	if err != nil {
		return nil, fmt.Errorf("certificates of the demo (--tls-listen off does without): %w", err)
	}
	c.TLS.Dev, c.TLS.DevDir, c.TLS.Listen = true, dir, "127.0.0.1:0"
	return func() { _ = os.RemoveAll(dir) }, nil // what is left is in the directory for such things
}
