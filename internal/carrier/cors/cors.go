// Package cors decides which web pages may call
// (https://fetch.spec.whatwg.org/#http-cors-protocol). It answers preflights itself,
// and it is the only one who says anything about origins: what the client said of its
// own does not reach the backend, nor the backend's answer the client. Two masters
// make two Access-Control-Allow-Origin fields, which browsers refuse. Only the answer to
// a call that no page makes is left as it is, unless a cache might give it to one.
//
// # Who may call
//
//   - No Origin: not a page, or a page of the same origin that asks by GET, or one that
//     can't read the answer. Only methods without side effects are served by GET.
//   - A page of the gateway's own origin, always. It is recognized by its host and port
//     being those that were asked for; by its scheme being the same, or https where a
//     proxy in front has taken TLS off; or by Sec-Fetch-Site, which pages can't set, when a
//     proxy has changed the host.
//   - A page that the gateway has served on another of its listeners, under the same host
//     name, with credentials: its port and scheme are those of a listener. A page that came
//     without TLS, which anybody on its way may have written, may not ask by https, unless
//     it came from the machine itself, all names and addresses of which are one.
//   - A page of a listed origin, with credentials (cookies, client certificates).
//   - With "*" any page, without credentials. Not one of the origin "null", which stands
//     for sandboxed documents, files and data: that has to be listed by name, and gets
//     no credentials even then.
//   - All others get 403, for the call itself as for its preflight, before a backend is
//     asked. Browsers send some requests without a preflight, and take WebSockets to no
//     preflight at all; so to leave out the fields that let the page read the answer
//     is not enough.
//
// For a WebSocket this is all that keeps pages apart, and the browser sends credentials
// whatever the answer will be. So if the page may call without credentials only, they
// are taken out of the handshake here. An accepted one has no fields of CORS: it is
// read by any page that could ask for it.
//
// A call without an Origin costs one pass over the names of its fields.
package cors

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// A Config names the pages.
type Config struct {
	// Origins are as browsers write them: scheme, host, and port if it is not the
	// scheme's own. "*" is any, without credentials; "null" is what it says.
	Origins []string
	// Listens says whether the gateway listens for a scheme on a port. Nil: it is not known.
	Listens func(scheme, port string) bool
}

// A Policy is a handler that lets pass what may pass.
type Policy struct {
	next    exchange.Handler
	listens func(scheme, port string) bool
	any     bool
	origins map[string]bool
}

// New returns a handler that lets pass to next what may pass. Its error names the
// origin that is none.
func New(cfg Config, next exchange.Handler) (*Policy, error) {
	p := &Policy{next: next, listens: cfg.Listens, origins: map[string]bool{}}
	for _, text := range cfg.Origins {
		switch text {
		case "*":
			p.any = true
		case "null":
			p.origins[text] = true
		default:
			o, err := parseOrigin(text)
			if err != nil {
				return nil, fmt.Errorf("CORS origin %q %w: an origin is a scheme, a host, and perhaps a port, such as https://app.example.com", text, err)
			}
			p.origins[o.String()] = true
		}
	}
	return p, nil
}

// asked is what the fields of a request say that concern this package.
type asked struct {
	origins int
	origin  string
	site    string // Sec-Fetch-Site
	method  string // of a preflight
	headers []string
	strip   bool
}

func read(fields []exchange.Field) (a asked) {
	for i := range fields {
		f := &fields[i]
		switch {
		case ours(f.Name):
			a.strip = true
			switch f.Name {
			case "origin":
				a.origins++
				a.origin = f.Value
			case "access-control-request-method":
				a.method = f.Value
			case "access-control-request-headers":
				a.headers = append(a.headers, f.Value)
			}
		case f.Name == "sec-fetch-site":
			a.site = f.Value
		}
	}
	return a
}

// ours says whether a field ends here, in either direction.
func ours(name string) bool {
	return name == "origin" || strings.HasPrefix(name, "access-control-")
}

// Start implements [exchange.Handler].
func (p *Policy) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	a := read(head.Fields)
	if a.strip {
		// The head is its carrier's; next gets another.
		stripped := *head
		stripped.Fields = slices.DeleteFunc(slices.Clone(head.Fields), func(f exchange.Field) bool { return ours(f.Name) })
		if a.origins == 0 {
			head = &stripped
		} else {
			return p.page(head, &stripped, &a, response)
		}
	}
	if head.Method == "GET" || head.Method == "HEAD" {
		// A cache must not give this answer to a page of another origin.
		response = &varying{Response: response}
	}
	return p.next.Start(head, response)
}

// page serves a request that a page makes.
func (p *Policy) page(head, stripped *exchange.RequestHead, a *asked, response exchange.Response) exchange.Request {
	allowed := p.allowed(head, a)
	stripped.Allowed, stripped.Origin = allowed != no, a.origin
	switch {
	case allowed == no:
		return refuse(head.Method, a.origin, response)
	case head.Method == "OPTIONS" && a.method != "":
		return preflight(a, allowed, response)
	case allowed == anonymous && head.Handshake():
		anonymize(stripped)
	case allowed == anonymous:
		// A page that sends cookies all the same can't read the answer, but what it asks for
		// without a preflight would be done in their name.
		stripped.Fields = slices.DeleteFunc(stripped.Fields, func(f exchange.Field) bool { return f.Name == "cookie" })
	}
	tunnel := head.Protocol != ""
	if allowed == own {
		return p.next.Start(stripped, &varying{Response: response, tunnel: tunnel})
	}
	return p.next.Start(stripped, &exposing{Response: response, origin: a.origin, credentials: allowed == listed, tunnel: tunnel})
}

// Admit decides about a request that opens something else than an exchange, as the CONNECT
// of a WebTransport session does. It returns the head as a handler behind the policy would
// get it, or says who may not call.
func (p *Policy) Admit(head *exchange.RequestHead) (*exchange.RequestHead, error) {
	a := read(head.Fields)
	admitted := *head
	admitted.Fields = slices.DeleteFunc(slices.Clone(head.Fields), func(f exchange.Field) bool { return ours(f.Name) })
	if a.origins == 0 {
		return &admitted, nil
	}
	switch p.allowed(head, &a) {
	case no:
		return nil, errors.New(notAllowed(a.origin))
	case anonymous:
		anonymize(&admitted)
	}
	admitted.Allowed, admitted.Origin = true, a.origin
	return &admitted, nil
}

// anonymize takes what a browser adds to a handshake by itself. A page can set none of
// these fields; what it offers as a subprotocol is its own.
func anonymize(head *exchange.RequestHead) {
	head.Fields = slices.DeleteFunc(head.Fields, func(f exchange.Field) bool { return f.Name == "cookie" || f.Name == "authorization" })
	if head.TLS != nil {
		state := *head.TLS
		state.PeerCertificates, state.VerifiedChains = nil, nil
		head.TLS = &state
	}
}

// verdict says what a page may do.
type verdict int

const (
	no        verdict = iota
	anonymous         // without credentials
	listed            // with credentials
	own               // its own origin; browsers want nothing of us
)

func (p *Policy) allowed(head *exchange.RequestHead, a *asked) verdict {
	if a.origins != 1 {
		return no
	}
	if a.origin == "null" {
		if p.origins["null"] {
			return anonymous
		}
		return no
	}
	o, err := parseOrigin(a.origin)
	switch {
	case err != nil:
		return no
	case p.origins[o.String()]: // before own: a proxy that changes Host must not hide it
		return listed
	case a.site == "same-origin" || o.is(head.Scheme, head.Authority):
		return own
	case p.listens != nil && o.sibling(head.Scheme, head.Authority) && p.listens(o.scheme, o.number()):
		return listed
	case p.any:
		return anonymous
	}
	return no
}
