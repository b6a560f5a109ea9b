package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
)

func addSchemaFlags(cmd *cobra.Command, openapi bool) {
	cmd.Flags().SortFlags = false
	cmd.Flags().StringP("config", "", "", configHelp)
	config.AddSchemaFlags(cmd.Flags(), openapi)
}

const describeHelp = "What is described comes from --schema, or from the reflection of the servers: BACKEND is as\n" +
	"for sluice serve."

func (a *app) routes() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "routes [flags] [BACKEND...]",
		Short: "Print every route by which HTTP clients reach methods",
		Long: "Print every route by which HTTP clients reach methods, and what is wrong with HTTP rules. If\n" +
			"something is, the exit code is 1.\n\n" + describeHelp,
		Example: "  sluice routes localhost:50051\n  sluice routes --schema shop.proto --http-rules shop.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, g, err := a.described(cmd, args)
			if err != nil {
				return err
			}
			defer g.Close()
			return a.printRoutes(c, g)
		},
	}
	addSchemaFlags(cmd, false)
	return cmd
}

func (a *app) printRoutes(c *config.Config, g *sluice.Gateway) error {
	routes, problems := g.Routes()
	if len(c.Backends) > 0 && len(c.Schema) == 0 {
		problems = append(problems, missing(g)...)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VERB\tPATH\tMETHOD\tKIND\tBODY\tRESPONSE\tSOURCE")
	for _, r := range routes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Verb, r.Path, r.Method, r.Kind, dash(r.Body), dash(r.ResponseBody), r.Source)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(problems) == 0 {
		return nil
	}
	fmt.Fprintln(a.stdout, "\nproblems:")
	for _, p := range problems {
		fmt.Fprintln(a.stdout, "  "+p.Error())
	}
	if len(problems) == 1 {
		return errors.New("there is a problem")
	}
	return fmt.Errorf("there are %d problems", len(problems))
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) openapi() *cobra.Command {
	var out, format string
	cmd := &cobra.Command{
		Use:     "openapi [flags] [BACKEND...]",
		Short:   "Write an OpenAPI 3.1 document of the services",
		Long:    "Write an OpenAPI 3.1 document of the services, as HTTP clients see them.\n\n" + describeHelp,
		Example: "  sluice openapi localhost:50051\n  sluice openapi --schema shop.proto -o shop.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			if format == "" {
				if format = "json"; strings.HasSuffix(out, ".yaml") || strings.HasSuffix(out, ".yml") {
					format = "yaml"
				}
			}
			if format != "json" && format != "yaml" {
				return usagef("--format: %q is not possible: write json or yaml", format)
			}
			c, g, err := a.described(cmd, args)
			if err != nil {
				return err
			}
			defer g.Close()
			if len(c.Schema) == 0 {
				if problems := missing(g); len(problems) > 0 {
					return problems[0] // half a document is none
				}
			}
			b, err := g.WriteOpenAPI(c.OpenAPI, format == "yaml")
			if err != nil {
				return err
			}
			if out == "" || out == "-" {
				_, err = a.stdout.Write(b)
				return err
			}
			return os.WriteFile(out, b, 0o644)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "`FILE` to write; standard output by default")
	cmd.Flags().StringVar(&format, "format", "", "`FORMAT`: json or yaml; by the name of the file, else json")
	addSchemaFlags(cmd, true)
	return cmd
}

// described makes a gateway that knows the services and serves nobody. The caller closes it.
func (a *app) described(cmd *cobra.Command, args []string) (*config.Config, *sluice.Gateway, error) {
	c, warnings, err := a.load(cmd.Flags(), args)
	if err != nil {
		return nil, nil, err
	}
	for _, w := range warnings {
		fmt.Fprintln(a.stderr, "sluice: warning: "+w)
	}
	c.TLS = config.ServerTLS{} // of a file that is for sluice serve too
	c.Listen, c.Log.Calls = config.New().Listen, false
	if len(c.Backends) == 0 && len(c.Schema) == 0 {
		return nil, nil, usagef("nothing to describe: name a gRPC server, as in `sluice %s localhost:50051`, or files by --schema", cmd.Name())
	}
	if err := c.Check(false); err != nil {
		return nil, nil, usageError{err}
	}
	p, err := build(c, slog.New(slog.DiscardHandler), io.Discard)
	if err != nil {
		return nil, nil, err
	}
	if len(c.Schema) > 0 && len(c.Backends) < 2 {
		// Files say it all: nobody has to be there.
		p.gateway.Backends = []sluice.Backend{{Handler: http.NotFoundHandler()}}
		c.Backends = nil
	}
	g, err := sluice.New(p.gateway)
	if err != nil {
		return nil, nil, usageError{err}
	}
	if len(c.Backends) > 0 {
		a.awaitSchema(g, c.Timeouts.Ready)
	}
	return c, g, nil
}

// awaitSchema waits until each backend has described itself, or has said why not.
func (a *app) awaitSchema(g *sluice.Gateway, patience time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	if patience > 0 {
		ctx, cancel = context.WithTimeout(context.Background(), patience)
	}
	defer cancel()
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for {
		pending := false
		for _, b := range g.Status().Backends {
			pending = pending || b.SchemaSource != "reflection" && !(b.Ready && b.SchemaError != "") && !settled(&b)
		}
		if !pending {
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		case <-a.signals:
			return
		}
	}
}

// settled tells whether a backend is known not to be there: attempts have failed, so that
// there is a reason.
func settled(b *sluice.BackendStatus) bool {
	return !b.Ready && !strings.HasPrefix(reason(b), stillConnecting)
}

// missing says which backends have not described themselves, and why.
func missing(g *sluice.Gateway) (problems []error) {
	for _, b := range g.Status().Backends {
		switch {
		case b.SchemaSource != "":
		case !b.Ready:
			why := reason(&b)
			if do := hint(b.Target, why); do != "" {
				why += ": " + do
			}
			problems = append(problems, fmt.Errorf("backend %s is not ready: %s", b.Target, why))
		case b.SchemaError != "":
			problems = append(problems, fmt.Errorf("backend %s: %s", b.Target, b.SchemaError))
		default:
			problems = append(problems, fmt.Errorf("backend %s has not described itself in time", b.Target))
		}
	}
	return problems
}
