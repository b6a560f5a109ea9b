package blocking

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// hopByHop are the fields that mean one connection (RFC 9110, section 7.6.1), and
// those that the library has dealt with: expect, host, trailer.
func hopByHop(name string) bool {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te", "expect", "host", "trailer":
		return true
	}
	return false
}

// lowered holds the names that requests usually carry, so that lowering them costs
// nothing.
var lowered = func() map[string]string {
	m := map[string]string{}
	for _, n := range []string{
		"accept", "accept-encoding", "accept-language", "authorization", "cache-control", "connect-protocol-version",
		"connect-timeout-ms", "connect-content-encoding", "connect-accept-encoding", "content-encoding", "content-length",
		"content-type", "cookie", "dnt", "grpc-accept-encoding", "grpc-encoding", "grpc-timeout", "origin", "pragma",
		"priority", "referer", "sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform", "sec-fetch-dest", "sec-fetch-mode",
		"sec-fetch-site", "traceparent", "tracestate", "user-agent", "x-forwarded-for", "x-forwarded-proto", "x-grpc-web",
		"x-request-id", "x-user-agent",
	} {
		m[http.CanonicalHeaderKey(n)] = n
	}
	return m
}()

func lower(name string) string {
	if l, ok := lowered[name]; ok {
		return l
	}
	return strings.ToLower(name)
}

// appendFields makes fields of a header: names in order, since net/http has lost
// theirs, and the values of each as they came. Names in drop are left out.
func appendFields(fields []exchange.Field, h http.Header, drop func(name string) bool) []exchange.Field {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		l := lower(name)
		if drop(l) {
			continue
		}
		for _, v := range h[name] {
			fields = append(fields, exchange.Field{Name: l, Value: v})
		}
	}
	return fields
}

// RequestHead makes an exchange's head of a net/http request.
func RequestHead(r *http.Request) *exchange.RequestHead {
	h := &exchange.RequestHead{
		Method:    r.Method,
		Scheme:    "http",
		Authority: r.Host,
		// Not r.RequestURI: whoever mounts the gateway below a prefix has changed the URL.
		Path:    r.URL.RequestURI(),
		Length:  r.ContentLength,
		TLS:     r.TLS,
		Carrier: "h1",
	}
	switch r.ProtoMajor {
	case 2:
		h.Carrier = "h2"
	case 3:
		h.Carrier = "h3"
	}
	if p, ok := r.Context().Value(peerKey{}).(*Peer); ok {
		h.Addr, h.TLS = p.Addr, p.TLS
	} else {
		h.Addr = addr(r.RemoteAddr)
	}
	if h.TLS != nil {
		h.Scheme = "https"
	}
	if r.Method == http.MethodConnect {
		h.Protocol = protocol(r)
	}

	// Connection names more fields that mean this connection only.
	named := tokens(r.Header["Connection"])
	h.Fields = appendFields(make([]exchange.Field, 0, len(r.Header)+2), r.Header, func(name string) bool {
		return hopByHop(name) || name == "" || name[0] == ':' || slices.Contains(named, name)
	})
	// TE is for one connection too, but what it says about trailers holds for the way
	// to the server, which some want to see (RFC 9110, section 10.1.4).
	if slices.Contains(tokens(r.Header["Te"]), "trailers") {
		h.Fields = append(h.Fields, exchange.Field{Name: "te", Value: "trailers"})
	}
	return h
}

// protocol is that of an extended CONNECT (RFC 8441, RFC 9220): net/http has it among the
// fields, quic-go in place of the version.
func protocol(r *http.Request) string {
	if r.ProtoMajor == 3 && r.Proto != "HTTP/3.0" {
		return r.Proto
	}
	return r.Header.Get(":protocol")
}

// tokens are the members of a list of tokens, in lower case, at most a few.
func tokens(values []string) []string {
	const most = 64 // Connection with more is not sincere; the fields it names are then kept
	var out []string
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if t = strings.ToLower(strings.TrimSpace(t)); t != "" && len(out) < most {
				out = append(out, t)
			}
		}
	}
	return out
}

// requestTrailer makes the end of a request of what came after its content.
func requestTrailer(r *http.Request) []exchange.Field {
	if len(r.Trailer) == 0 {
		return nil
	}
	return appendFields(nil, r.Trailer, hopByHop)
}

// text is an address of which only its text is known.
type text string

func (text) Network() string  { return "tcp" }
func (t text) String() string { return string(t) }

func addr(s string) net.Addr {
	if s == "" {
		return nil
	}
	if a, err := netip.ParseAddrPort(s); err == nil {
		return net.TCPAddrFromAddrPort(a)
	}
	return text(s)
}
