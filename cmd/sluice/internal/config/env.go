package config

import (
	"fmt"
	"slices"
	"strings"
)

// ReadEnv takes what the variables say. environ is as [os.Environ] returns it. It
// returns warnings about variables that begin with SLUICE_ and mean nothing.
func (c *Config) ReadEnv(environ []string) (warnings []string, err error) {
	vars := map[string]string{}
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, EnvPrefix) {
			vars[name] = value
		}
	}
	known := []string{ConfigEnv}
	for _, s := range c.Settings() {
		from := ""
		for _, name := range s.Env() {
			known = append(known, name)
			v, ok := vars[name]
			if !ok {
				continue
			}
			if from != "" {
				if v != vars[from] {
					return nil, fmt.Errorf("%s and %s are the same setting and say different things: set one of them", from, name)
				}
				continue
			}
			from = name
			if err := set(s.Value, v); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			c.from(s.Key, name)
		}
	}
	for name := range vars {
		if slices.Contains(known, name) || fromKubernetes(name) {
			continue
		}
		w := "unknown variable " + name
		if near := Nearest(name, known); near != "" {
			w += ": did you mean " + near + "?"
		}
		warnings = append(warnings, w)
	}
	slices.Sort(warnings)
	return warnings, nil
}

// ConfigEnv names the file, as --config does.
const ConfigEnv = EnvPrefix + "CONFIG"

// set writes s, for a Multi separated by commas.
func set(v Value, s string) error {
	m, ok := v.(Multi)
	if !ok {
		return v.Set(s)
	}
	var all []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return m.Replace(all)
}

// fromKubernetes says whether a variable is one that Kubernetes sets in every
// container for a service with the name "sluice" or "sluice-…".
func fromKubernetes(name string) bool {
	return strings.HasSuffix(name, "_SERVICE_HOST") || strings.Contains(name, "_SERVICE_PORT") ||
		name == EnvPrefix+"PORT" || strings.Contains(name, "_PORT_") || strings.HasSuffix(name, "_PORT")
}

// from notes where a key, and the backends in it, came from.
func (c *Config) from(key, origin string) {
	c.origins[key] = origin
	if key == "backends" {
		for i := range c.Backends {
			if c.Backends[i].origin == "" {
				c.Backends[i].origin = origin
			}
		}
	}
}
