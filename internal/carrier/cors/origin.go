package cors

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// origin is a scheme, a host and a port (RFC 6454, section 4), in lower case, the port
// empty if it is the scheme's own.
type origin struct{ scheme, host, port string }

// String returns the form that browsers send.
func (o origin) String() string {
	if o.port == "" {
		return o.scheme + "://" + o.host
	}
	return o.scheme + "://" + o.host + ":" + o.port
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// parseOrigin reads an origin, and nothing more: no path, not even "/".
func parseOrigin(s string) (origin, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme == "" {
		return origin{}, errors.New("has no scheme")
	}
	scheme = strings.ToLower(scheme)
	for i := 0; i < len(scheme); i++ {
		c := scheme[i]
		if !letter(c) && (i == 0 || !digit(c) && c != '+' && c != '-' && c != '.') {
			return origin{}, errors.New("has a malformed scheme")
		}
	}
	if i := strings.IndexAny(rest, "/?#\\"); i >= 0 {
		return origin{}, errors.New("has something after its host")
	}
	if strings.Contains(rest, "@") {
		return origin{}, errors.New("has a user")
	}
	host, port, err := hostPort(rest)
	if err != nil {
		return origin{}, err
	}
	if port == defaultPorts[scheme] {
		port = ""
	}
	return origin{scheme, host, port}, nil
}

// hostPort splits and checks what stands after the scheme.
func hostPort(s string) (host, port string, err error) {
	host = s
	if strings.HasPrefix(s, "[") {
		i := strings.IndexByte(s, ']')
		if i < 0 {
			return "", "", errors.New("has a malformed address")
		}
		a, err := netip.ParseAddr(s[1:i])
		if err != nil || !a.Is6() || a.Zone() != "" {
			return "", "", errors.New("has a malformed address")
		}
		host, port = "["+a.String()+"]", s[i+1:]
		if port == "" {
			return host, "", nil
		}
		if port[0] != ':' {
			return "", "", errors.New("has a malformed address")
		}
		port = port[1:]
	} else {
		if i := strings.IndexByte(s, ':'); i >= 0 {
			host, port = s[:i], s[i+1:]
			if port == "" {
				return "", "", errors.New("has an empty port")
			}
		}
		if host == "" {
			return "", "", errors.New("has no host")
		}
		host = strings.ToLower(host)
		for i := 0; i < len(host); i++ {
			switch c := host[i]; {
			case letter(c), digit(c), c == '-', c == '.', c == '_':
			case c >= 0x80:
				return "", "", errors.New("has a host that is not ASCII (write it as browsers send it, xn--…)")
			case c == '*':
				return "", "", errors.New("has a wildcard, which only stands alone (list each origin, or * for any)")
			default:
				return "", "", errors.New("has a malformed host")
			}
		}
	}
	if port == "" {
		return host, "", nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || port[0] == '+' {
		return "", "", errors.New("has a malformed port")
	}
	return host, strconv.FormatUint(n, 10), nil
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// is says whether o is the origin of a gateway that was asked by this scheme and
// authority. A page of https can ask by https only, so if the request came without TLS
// somebody in front has taken it off.
func (o origin) is(scheme, authority string) bool {
	if o.scheme != scheme && o.scheme != "https" {
		return false
	}
	host, port, err := hostPort(authority)
	if err != nil {
		return false
	}
	if port == defaultPorts[o.scheme] {
		port = ""
	}
	return host == o.host && port == o.port
}

// sibling says whether o may be another listener of a gateway that was asked by this
// scheme and authority. All names and addresses of the machine itself are one host: a socket that is on
// one of its addresses is reached by that, whatever name the page came by.
func (o origin) sibling(scheme, authority string) bool {
	host, _, err := hostPort(authority)
	switch {
	case err != nil:
		return false
	case loopback(host):
		return loopback(o.host)
	}
	return host == o.host && (o.scheme == "https" || o.scheme == scheme)
}

// loopback says whether a host is the machine itself (RFC 6761, section 6.3).
func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.IsLoopback()
}

// number is the port, also if it is the scheme's own.
func (o origin) number() string {
	if o.port == "" {
		return defaultPorts[o.scheme]
	}
	return o.port
}
