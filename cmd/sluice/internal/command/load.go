package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
)

const configHelp = "configuration (YAML); flags and variables come before it"

func addFlags(cmd *cobra.Command) {
	cmd.Flags().SortFlags = false
	cmd.Flags().StringP("config", "", "", configHelp)
	config.AddFlags(cmd.Flags())
	cmd.SetUsageTemplate(cmd.UsageTemplate() +
		"\nEach flag is also a variable (--max-message is SLUICE_MAX_MESSAGE) and a key of the file.\n" +
		"`sluice check FILE` shows all keys; docs/reference/config.md explains them.\n")
}

// load reads file, environment and flags, the later before the earlier.
func (a *app) load(fs *pflag.FlagSet, targets []string) (*config.Config, []string, error) {
	file := a.env(config.ConfigEnv)
	if f := fs.Lookup("config"); f != nil && f.Changed {
		file = f.Value.String()
	}
	return a.loadFile(file, fs, targets)
}

func (a *app) loadFile(file string, fs *pflag.FlagSet, targets []string) (c *config.Config, warnings []string, err error) {
	c = config.New()
	if file != "" {
		if err := c.ReadFile(file); err != nil {
			return nil, nil, usageError{err}
		}
	}
	if warnings, err = c.ReadEnv(a.environ); err != nil {
		return nil, nil, usageError{err}
	}
	if fs != nil {
		if err := c.ReadFlags(fs, targets); err != nil {
			return nil, nil, usageError{err}
		}
	}
	return c, warnings, nil
}

func (a *app) env(name string) string {
	for _, e := range a.environ {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

func (a *app) serve() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve [flags] BACKEND...",
		Short: "Serve in front of gRPC servers",
		Long: "Serve in front of gRPC servers. BACKEND is host:port (HTTP/2 without TLS),\n" +
			"https://host:port, unix:/path, or dns:///name:port for all addresses of a name.\n" +
			"With several, each call goes to the one that has its service.",
		Example: "  sluice serve localhost:50051\n  sluice serve --tls-listen :443 --tls-cert cert.pem --tls-key key.pem dns:///users:50051 https://orders.example.com",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, warnings, err := a.load(cmd.Flags(), args)
			if err != nil {
				return err
			}
			if err := c.Check(true); err != nil {
				return usageError{err}
			}
			return a.run(c, warnings, nil, nil)
		},
	}
	addFlags(cmd)
	return cmd
}

func (a *app) check() *cobra.Command {
	return &cobra.Command{
		Use:   "check CONFIG",
		Short: "Read and explain a configuration",
		Long: "Read a configuration with the environment, as `sluice serve --config CONFIG` would, look at\n" +
			"the files that it names, and show every setting with its value and where it came from.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("give one configuration: `sluice check sluice.yaml`")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			c, warnings, err := a.loadFile(args[0], nil, nil)
			if err != nil {
				return err
			}
			for _, w := range warnings {
				fmt.Fprintln(a.stderr, "sluice: warning: "+w)
			}
			if err := c.Check(true); err != nil {
				return usageError{fmt.Errorf("%s: %w", args[0], err)}
			}
			return a.explain(args[0], c)
		},
	}
}
