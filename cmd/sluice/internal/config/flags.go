package config

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// AddFlags adds a flag for each setting that has one. What they are set to is kept in
// fs; [Config.ReadFlags] takes it from there, after the file and the environment.
func AddFlags(fs *pflag.FlagSet) { addFlags(fs, func(string) bool { return true }) }

// AddSchemaFlags adds the flags that say what is served, and leaves out those that say how:
// for commands that describe it. openapi adds those of the OpenAPI document.
func AddSchemaFlags(fs *pflag.FlagSet, openapi bool) {
	addFlags(fs, func(key string) bool {
		group, _, _ := strings.Cut(key, ".")
		switch group {
		case "backend_tls", "schema", "proto_paths":
			return true
		case "rest":
			return key == "rest.http_rules" || key == "rest.naming" || openapi && key != "rest.openapi"
		}
		return openapi && group == "openapi"
	})
}

// AddDevFlags adds the flags that say which certificates are made for development.
func AddDevFlags(fs *pflag.FlagSet) {
	addFlags(fs, func(key string) bool { return strings.HasPrefix(key, "tls.dev_") })
}

func addFlags(fs *pflag.FlagSet, want func(key string) bool) {
	for _, s := range New().Settings() {
		if s.Flag != "" && want(s.Key) {
			v := pflag.Value(named{s.Value, s.Arg})
			if m, ok := s.Value.(Multi); ok {
				v = namedMulti{m, s.Arg}
			}
			f := fs.VarPF(v, s.Flag, "", s.Help)
			if f.DefValue = s.Default; s.Arg == "bool" {
				f.NoOptDefVal = "true" // pflag knows the name, and does not print it
			}
		}
	}
}

// ReadFlags takes the flags that were given, and the backends if there are any.
func (c *Config) ReadFlags(fs *pflag.FlagSet, targets []string) error {
	for _, s := range c.Settings() {
		if s.Key == "backends" && len(targets) > 0 {
			if err := s.Value.(Multi).Replace(targets); err != nil {
				return err
			}
			c.from(s.Key, "command line")
			continue
		}
		if s.Flag == "" || !fs.Changed(s.Flag) {
			continue
		}
		given := fs.Lookup(s.Flag).Value
		var err error
		if m, ok := given.(Multi); ok {
			err = s.Value.(Multi).Replace(m.GetSlice())
		} else {
			err = s.Value.Set(given.String())
		}
		if err != nil {
			return fmt.Errorf("--%s: %w", s.Flag, err)
		}
		c.from(s.Key, "--"+s.Flag)
	}
	return nil
}

// named and namedMulti make pflag print the name of the argument instead of its type.
type named struct {
	Value
	arg string
}

type namedMulti struct {
	Multi
	arg string
}

func (n named) Type() string      { return n.arg }
func (n namedMulti) Type() string { return n.arg }
