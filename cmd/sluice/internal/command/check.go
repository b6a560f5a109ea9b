package command

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
)

// explain shows what is in force and from where, after a look at the files named.
func (a *app) explain(file string, c *config.Config) error {
	look := *c
	if c.TLS.Dev {
		look.TLS = config.ServerTLS{} // it names no file, and nothing is made to be looked at
	}
	if _, err := build(&look, slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), nil); err != nil {
		return err
	}
	inForce, err := c.REST.Options.Resolve()
	if err != nil {
		return err
	}
	profile := map[string]string{}
	for _, s := range config.RESTSettings(&inForce) {
		profile[s.Key] = s.Value.String()
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, s := range c.Settings() {
		value, origin := s.Value.String(), c.Origin(s.Key)
		if of := profile[s.Key]; value == "" && of != "" {
			value, origin = of, "profile "+inForce.Profile
			if len(value) > 40 { // a list of rules would make every line as long
				value = value[:39] + "…"
			}
		}
		switch {
		case s.Key == "backends":
			for i := range c.Backends {
				b := &c.Backends[i]
				fmt.Fprintf(w, "backend\t%s\t%s\t%s\n", b.Target, b.Origin(), describeBackend(b))
			}
			continue
		case s.Key == "rest.overrides":
			for _, name := range slices.Sorted(maps.Keys(c.REST.Overrides)) {
				o := c.REST.Overrides[name]
				fmt.Fprintf(w, "override\t%s\t%s\t%s\n", name, origin, describeOptions(&o))
			}
			continue
		case value == "":
			value = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Key, value, origin, s.Help)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "\n%s is good: sluice serve --config %s\n", file, file)
	return nil
}

// describeOptions says which options are set.
func describeOptions(o *sluice.RESTOptions) string {
	var all []string
	for _, s := range config.RESTSettings(o) {
		if v := s.Value.String(); v != "" {
			all = append(all, strings.TrimPrefix(s.Key, "rest.")+" "+v)
		}
	}
	return strings.Join(all, ", ")
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
