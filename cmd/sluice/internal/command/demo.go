package command

import (
	"github.com/spf13/cobra"

	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/demo"
)

func (a *app) demo() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo [flags]",
		Short: "Serve in front of a built-in gRPC server, to try things out",
		Long:  "Serve in front of a built-in gRPC server: " + demo.Service + ", with one method of each kind,\nreflection and health. The flags are those of serve.",
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
