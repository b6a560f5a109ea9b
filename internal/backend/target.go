package backend

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// A Target says where a backend is, as a user wrote it.
type Target struct {
	Name    string // as it was written
	Network string // "tcp" or "unix"
	Host    string // of tcp: a name or an address, without brackets
	Port    string // of tcp
	Path    string // of unix
	TLS     bool
	DNS     bool // every address of Host is an endpoint, resolved again and again

	bare bool // the port is the scheme's default and was not written
}

// ParseTarget reads a target: "host:port", "https://host[:port]",
// "http://host:port", "unix:/path", "dns:///name:port" or
// "dns+https:///name[:port]". An error says what is wrong and shows what is right.
func ParseTarget(s string) (Target, error) {
	t := Target{Name: s, Network: "tcp"}
	scheme, rest, hasScheme := cutScheme(s)
	switch {
	case strings.TrimSpace(s) == "":
		return t, fmt.Errorf(`backend target is empty: give an address such as "localhost:50051"`)
	case strings.ContainsAny(s, " \t\r\n"):
		return t, fmt.Errorf("backend target %q has a space in it: give one address, such as \"localhost:50051\"", s)
	case !hasScheme:
		return t, t.hostPort(s, "")
	}
	switch scheme {
	case "unix":
		if r, ok := strings.CutPrefix(rest, "//"); ok {
			if !strings.HasPrefix(r, "/") {
				return t, fmt.Errorf("backend target %q names a host: a unix socket is written \"unix:/run/server.sock\"", s)
			}
			rest = r
		}
		if rest == "" {
			return t, fmt.Errorf("backend target %q has no path: write \"unix:/run/server.sock\"", s)
		}
		t.Network, t.Path = "unix", rest
		return t, nil
	case "https", "http":
		t.TLS = scheme == "https"
		host, ok := strings.CutPrefix(rest, "//")
		if !ok {
			return t, fmt.Errorf("backend target %q lacks the slashes: write \"%s://host:port\"", s, scheme)
		}
		host = strings.TrimSuffix(host, "/")
		if i := strings.IndexAny(host, "/?#"); i >= 0 {
			return t, fmt.Errorf("backend target %q has a path: gRPC servers have none, write \"%s://%s\"", s, scheme, host[:i])
		}
		if t.TLS {
			return t, t.hostPort(host, "443")
		}
		return t, t.hostPort(host, "")
	case "dns", "dns+https":
		t.TLS, t.DNS = scheme == "dns+https", true
		if r, ok := strings.CutPrefix(rest, "//"); ok {
			server, name, ok := strings.Cut(r, "/")
			if !ok || server != "" {
				return t, fmt.Errorf("backend target %q names a DNS server, which is not supported: write \"%s:///name:port\"", s, scheme)
			}
			rest = name
		}
		if t.TLS {
			return t, t.hostPort(rest, "443")
		}
		return t, t.hostPort(rest, "")
	}
	return t, fmt.Errorf("backend target %q has the unknown scheme %q: use host:port, https://, http://, unix: or dns:///", s, scheme)
}

// cutScheme splits "scheme:rest". "localhost:50051" has no scheme, though it looks
// like one.
func cutScheme(s string) (scheme, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(s, ":")
	if !ok {
		return "", s, false
	}
	if strings.HasPrefix(rest, "//") {
		return scheme, rest, scheme != ""
	}
	switch scheme {
	case "unix":
		// "unix:50051" is a relative path: a host of that name is written "unix.:50051".
		return scheme, rest, true
	case "dns", "dns+https", "http", "https":
		return scheme, rest, !isPort(rest)
	}
	return "", s, false
}

func (t *Target) hostPort(s, port string) error {
	example := t.example()
	if s == "" {
		return fmt.Errorf("backend target %q has no host: write %q", t.Name, example)
	}
	host, p, err := net.SplitHostPort(s)
	switch {
	case err == nil:
	case strings.Contains(err.Error(), "missing port") && port != "":
		host, p, t.bare = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), port, true
	case strings.Contains(err.Error(), "missing port"):
		hint := ""
		if !t.DNS && !strings.Contains(t.Name, "://") && !isPort(s) {
			hint = fmt.Sprintf(", or \"https://%s\" for TLS on port 443", s)
		}
		return fmt.Errorf("backend target %q has no port: write %q%s", t.Name, example, hint)
	case strings.Contains(err.Error(), "too many colons"):
		return fmt.Errorf("backend target %q: an IPv6 address needs brackets, as in \"[::1]:50051\"", t.Name)
	default:
		return fmt.Errorf("backend target %q: %v: write %q", t.Name, err, example)
	}
	if !isPort(p) {
		return fmt.Errorf("backend target %q: %q is not a port (1 to 65535): write %q", t.Name, p, example)
	}
	if strings.Contains(host, "@") {
		return fmt.Errorf("backend target %q has a user name, which gRPC does not know: write %q", t.Name, example)
	}
	if strings.ContainsAny(host, "[]/?#\\,\"<>") {
		return fmt.Errorf("backend target %q: %q is not a host: write %q", t.Name, host, example)
	}
	if host == "" {
		if t.DNS {
			return fmt.Errorf("backend target %q has no name to resolve: write %q", t.Name, example)
		}
		host = "localhost"
	}
	t.Host, t.Port = host, p
	return nil
}

func (t *Target) example() string {
	switch {
	case t.DNS && t.TLS:
		return "dns+https:///server.example:443"
	case t.DNS:
		return "dns:///server.example:50051"
	case t.TLS:
		return "https://server.example:443"
	case strings.HasPrefix(t.Name, "http:"):
		return "http://localhost:50051"
	}
	if isPort(t.Name) {
		return "localhost:" + t.Name
	}
	return "localhost:50051"
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// String returns the target as it was written.
func (t Target) String() string { return t.Name }

// Addr returns what to dial: "host:port", or the path of a unix socket.
func (t Target) Addr() string {
	if t.Network == "unix" {
		return t.Path
	}
	return net.JoinHostPort(t.Host, t.Port)
}

// Scheme returns "https" with TLS, else "http".
func (t Target) Scheme() string {
	if t.TLS {
		return "https"
	}
	return "http"
}

// Authority returns the :authority that names this backend. A unix socket is
// "localhost", as in grpc-go.
func (t Target) Authority() string {
	switch {
	case t.Network == "unix":
		return "localhost"
	case t.bare && strings.Contains(t.Host, ":"):
		return "[" + t.Host + "]"
	case t.bare:
		return t.Host
	}
	return t.Addr()
}
