package command

import (
	"fmt"
	"log/slog"
	"strings"
	"text/tabwriter"

	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
)

// explain shows what is in force and from where, after a look at the files named.
func (a *app) explain(file string, c *config.Config) error {
	if _, err := build(c, slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), nil); err != nil {
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, s := range c.Settings() {
		value := s.Value.String()
		switch {
		case s.Key == "backends":
			for i := range c.Backends {
				b := &c.Backends[i]
				fmt.Fprintf(w, "backend\t%s\t%s\t%s\n", b.Target, b.Origin(), describeBackend(b))
			}
			continue
		case value == "":
			value = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Key, value, c.Origin(s.Key), s.Help)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "\n%s is good: sluice serve --config %s\n", file, file)
	return nil
}

// describeBackend says what is special about a backend.
func describeBackend(b *config.Backend) string {
	var all []string
	add := func(name, value string) {
		if value != "" {
			all = append(all, name+" "+value)
		}
	}
	if b.UsesTLS() {
		all = append(all, "TLS")
	}
	add("ca", b.TLS.CA)
	add("cert", b.TLS.Cert)
	add("server_name", b.TLS.ServerName)
	add("balance", b.Balance)
	add("authority", b.Authority)
	if b.HealthCheck {
		all = append(all, strings.TrimSpace("health_check "+b.HealthService))
	}
	add("services", strings.Join(b.Services, " "))
	return strings.Join(all, ", ")
}
