package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-rpc/sluice/internal/backend"
	"github.com/sluice-rpc/sluice/internal/schema"
)

// A Value is a place in a configuration that text can be written to. It is a
// pflag.Value.
type Value interface {
	Set(string) error
	String() string
	Type() string
}

// A Multi is a Value of several texts. It is a pflag.SliceValue too. Set appends, the
// first Set of a Multi instead of what was there.
type Multi interface {
	Value
	Replace([]string) error
	Append(string) error
	GetSlice() []string
}

type value struct {
	typ string
	set func(string) error
	get func() string
}

func (v value) Set(s string) error { return v.set(s) }
func (v value) String() string {
	if v.get == nil { // pflag asks the zero value
		return ""
	}
	return v.get()
}
func (v value) Type() string { return v.typ }

func text(p *string) Value {
	return value{"text", func(s string) error { *p = s; return nil }, func() string { return *p }}
}

// address takes what [net.Listen] takes, and "off".
func address(p *string) Value {
	return value{"address", func(s string) error {
		if s == "" || s == Off {
			*p = Off
			return nil
		}
		_, port, err := net.SplitHostPort(s)
		if err != nil {
			hint := `write "host:port", ":port" or "off"`
			if _, numErr := strconv.ParseUint(s, 10, 16); numErr == nil {
				hint = fmt.Sprintf("write \":%s\"", s)
			}
			return fmt.Errorf("%q is not an address: %s", s, hint)
		}
		if _, err := net.LookupPort("tcp", port); err != nil {
			return fmt.Errorf("%q: %q is not a port (0 to 65535)", s, port)
		}
		*p = s
		return nil
	}, func() string { return *p }}
}

func boolean(p *bool) Value {
	return value{"true or false", func(s string) (err error) {
		switch strings.ToLower(s) {
		case "true", "yes", "on", "1":
			*p = true
		case "false", "no", "off", "0":
			*p = false
		default:
			err = fmt.Errorf("%q is neither true nor false", s)
		}
		return err
	}, func() string { return strconv.FormatBool(*p) }}
}

func count(p *int) Value {
	return value{"number", func(s string) error {
		n, err := strconv.ParseInt(s, 10, 32)
		switch {
		case errors.Is(err, strconv.ErrRange):
			return fmt.Errorf("%s is too large: at most %d", s, 1<<31-1)
		case err != nil:
			return fmt.Errorf("%q is not a number", s)
		case n <= 0:
			return fmt.Errorf("%d is not a limit: give a number above 0", n)
		}
		*p = int(n)
		return nil
	}, func() string { return strconv.Itoa(*p) }}
}

func port(p *int) Value {
	return value{"port", func(s string) error {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("%q is not a port: give a number from 1 to 65535", s)
		}
		*p = int(n)
		return nil
	}, func() string {
		if *p == 0 {
			return ""
		}
		return strconv.Itoa(*p)
	}}
}

func duration(p *time.Duration) Value {
	return value{"time", func(s string) error {
		if s == "never" {
			*p = -1
			return nil
		}
		d, err := time.ParseDuration(s)
		switch {
		case err != nil && isNumber(s):
			return fmt.Errorf("%q needs a unit: write \"%ss\" for seconds", s, s)
		case err != nil:
			return fmt.Errorf("%q is not a time: write 500ms, 30s, 5m or never", s)
		case d <= 0:
			return fmt.Errorf("%q is not above 0: write 1ms for at once, never for no limit", s)
		}
		*p = d
		return nil
	}, func() string { return formatDuration(*p) }}
}

func isNumber(s string) bool { _, err := strconv.ParseFloat(s, 64); return err == nil }

// formatDuration writes "5m" where the standard library writes "5m0s".
func formatDuration(d time.Duration) string {
	if d < 0 {
		return "never"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// keepAlive knows what grpc servers punish: the library refuses it as well, but does
// not know the key.
func keepAlive(p *time.Duration) Value {
	v := duration(p)
	return value{v.Type(), func(s string) error {
		old := *p
		if err := v.Set(s); err != nil {
			return err
		}
		if *p > 0 && *p < 10*time.Second {
			*p = old
			return fmt.Errorf("%q is less than 10s: grpc servers end connections that send PINGs more often", s)
		}
		return nil
	}, v.String}
}

func level(p *slog.Level) Value {
	return value{"level", func(s string) error {
		if i := slices.Index([]string{"debug", "info", "warn", "error"}, strings.ToLower(s)); i >= 0 {
			return p.UnmarshalText([]byte(s))
		}
		return fmt.Errorf("%q is not a level: write debug, info, warn or error", s)
	}, func() string { return strings.ToLower(p.String()) }}
}

func oneOf(p *string, choices ...string) Value {
	return value{strings.Join(choices, " or "), func(s string) error {
		if !slices.Contains(choices, s) {
			return fmt.Errorf("%q is not possible: write %s", s, strings.Join(choices, " or "))
		}
		*p = s
		return nil
	}, func() string { return *p }}
}

func balance(p *string) Value {
	return oneOf(p, string(backend.LeastRequests), string(backend.RoundRobin))
}

func naming(p *string) Value {
	return value{"pattern", func(s string) error {
		if s != "" {
			if _, err := schema.ParseNaming(s); err != nil {
				return err
			}
		}
		*p = s
		return nil
	}, func() string { return *p }}
}

func target(p *string) Value {
	return value{"target", func(s string) error {
		if _, err := backend.ParseTarget(s); err != nil {
			return err
		}
		*p = s
		return nil
	}, func() string { return *p }}
}

// checkOrigin takes an origin as browsers send it (RFC 6454, section 6.2).
func checkOrigin(s string) error {
	if s == "*" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return fmt.Errorf("%q is not an origin: write it as https://app.example.com", s)
	}
	if u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("%q has more than scheme and host: write %s://%s", s, u.Scheme, u.Host)
	}
	return nil
}

// many is a Multi in *[]string.
type many struct {
	p     *[]string
	check func(string) error
	begun *bool
}

func list(p *[]string, check func(string) error) Multi { return many{p, check, new(bool)} }

func (m many) Set(s string) error {
	if !*m.begun {
		*m.p, *m.begun = nil, true
	}
	return m.Append(s)
}

func (m many) Append(s string) error {
	if s == "" {
		return errors.New("an entry is empty")
	}
	if m.check != nil {
		if err := m.check(s); err != nil {
			return err
		}
	}
	*m.p = append(*m.p, s)
	return nil
}

func (m many) Replace(all []string) error {
	*m.p = nil
	for _, s := range all {
		if err := m.Append(s); err != nil {
			return err
		}
	}
	return nil
}

func (m many) GetSlice() []string { return *m.p }
func (m many) String() string {
	if m.p == nil {
		return ""
	}
	return strings.Join(*m.p, ",")
}
func (m many) Type() string { return "list" }

// backends is a Multi of targets.
type backends struct{ p *[]Backend }

func targets(p *[]Backend) Multi { return backends{p} }

func (b backends) Set(s string) error { return b.Append(s) }
func (b backends) Append(s string) error {
	var one Backend
	if err := target(&one.Target).Set(s); err != nil {
		return err
	}
	*b.p = append(*b.p, one)
	return nil
}
func (b backends) Replace(all []string) error {
	*b.p = nil
	for _, s := range all {
		if err := b.Append(s); err != nil {
			return err
		}
	}
	return nil
}
func (b backends) GetSlice() []string {
	var all []string
	for _, one := range *b.p {
		all = append(all, one.Target)
	}
	return all
}
func (b backends) String() string { return strings.Join(b.GetSlice(), ",") }
func (b backends) Type() string   { return "list" }
