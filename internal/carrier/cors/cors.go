// Package cors decides which web pages may call (https://fetch.spec.whatwg.org/#http-cors-protocol).
// It answers preflights itself, refuses requests of foreign origins before anything
// else sees them, and is the only one who says anything about origins: what the client
// said of its own does not reach the backend, nor the backend's answer the client. Two
// masters make two Access-Control-Allow-Origin fields, which browsers refuse.
package cors

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// A Config names the pages.
type Config struct {
	// Origins are as browsers write them: scheme, host, and port if it is not the
	// scheme's own. "*" is any, without credentials. A page of the gateway's own origin
	// always may.
	Origins []string
}

// maxAge is how long browsers may remember a preflight, in seconds; Chromium's maximum.
const maxAge = "7200"

// maxAskedHeaders bounds Access-Control-Request-Headers.
const maxAskedHeaders = 4096

type policy struct {
	next    exchange.Handler
	any     bool
	origins map[string]bool
}

// New returns a handler that lets pass to next what may pass.
func New(cfg Config, next exchange.Handler) (exchange.Handler, error) {
	p := &policy{next: next, origins: map[string]bool{}}
	for _, o := range cfg.Origins {
		if o == "*" {
			p.any = true
			continue
		}
		u, err := url.Parse(o)
		if o != "null" && (err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil) {
			return nil, fmt.Errorf("CORS origin %q: an origin is a scheme and a host, such as https://app.example.com, or * for any", o)
		}
		p.origins[strings.ToLower(o)] = true
	}
	return p, nil
}

// allowed says whether pages of origin may call, and whether with credentials.
func (p *policy) allowed(origin string, head *exchange.RequestHead) (ok, credentials bool) {
	o := strings.ToLower(origin)
	if p.origins[o] || (head.Authority != "" && o == head.Scheme+"://"+strings.ToLower(head.Authority)) {
		return true, true
	}
	return p.any, false
}

func (p *policy) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	origin, asked, askedMethod := "", "", ""
	strip := false
	for i := range head.Fields {
		switch f := &head.Fields[i]; f.Name {
		case "origin":
			origin = f.Value
			strip = true
		case "access-control-request-headers":
			asked = f.Value
			strip = true
		case "access-control-request-method":
			askedMethod = f.Value
			strip = true
		}
	}
	if origin == "" {
		return p.next.Start(head, response)
	}
	ok, credentials := p.allowed(origin, head)
	preflight := head.Method == "OPTIONS" && askedMethod != ""
	switch {
	case !ok:
		return &answer{response: response, head: exchange.ResponseHead{Status: 403, Fields: []exchange.Field{
			{Name: "content-type", Value: "text/plain; charset=utf-8"}, {Name: "vary", Value: "Origin"}}},
			body: fmt.Sprintf("pages of %q may not call here: allow them by --cors-origin\n", origin)}
	case preflight:
		return &answer{response: response, head: preflightHead(origin, asked, credentials)}
	}
	if strip {
		head.Fields = slices.DeleteFunc(head.Fields, func(f exchange.Field) bool {
			return f.Name == "origin" || strings.HasPrefix(f.Name, "access-control-")
		})
	}
	return p.next.Start(head, &exposing{Response: response, origin: origin, credentials: credentials})
}

func preflightHead(origin, asked string, credentials bool) exchange.ResponseHead {
	f := allowOrigin(nil, origin, credentials)
	f = append(f,
		exchange.Field{Name: "vary", Value: "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"},
		exchange.Field{Name: "access-control-allow-methods", Value: "GET, POST"},
		exchange.Field{Name: "access-control-max-age", Value: maxAge})
	if asked = names(asked); asked != "" {
		f = append(f, exchange.Field{Name: "access-control-allow-headers", Value: asked})
	}
	return exchange.ResponseHead{Status: 204, Fields: f}
}

// names returns a list of field names if it is one: metadata may have any name, so any
// is allowed, but nothing else comes back. It takes one pass.
func names(s string) string {
	if len(s) > maxAskedHeaders {
		return ""
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~, ", c) >= 0:
		default:
			return ""
		}
	}
	return s
}

// allowOrigin says who may read the response.
func allowOrigin(f []exchange.Field, origin string, credentials bool) []exchange.Field {
	if !credentials {
		return append(f, exchange.Field{Name: "access-control-allow-origin", Value: "*"})
	}
	return append(f, exchange.Field{Name: "access-control-allow-origin", Value: origin},
		exchange.Field{Name: "access-control-allow-credentials", Value: "true"})
}

// exposing adds to a response's head what lets a page read it. Every field is named:
// "*" means nothing to a request with credentials, and is taken literally.
type exposing struct {
	exchange.Response
	origin      string
	credentials bool
}

func (e *exposing) Head(h *exchange.ResponseHead, end bool) {
	out := make([]exchange.Field, 0, len(h.Fields)+4)
	var expose strings.Builder
	expose.WriteString("grpc-status, grpc-message, grpc-status-details-bin")
	vary := "Origin"
	for i := range h.Fields {
		f := h.Fields[i]
		switch {
		case strings.HasPrefix(f.Name, "access-control-"):
			continue
		case f.Name == "vary":
			vary += ", " + f.Value
			continue
		case f.Name != "grpc-status" && f.Name != "grpc-message" && f.Name != "grpc-status-details-bin":
			expose.WriteString(", ")
			expose.WriteString(f.Name)
		}
		out = append(out, f)
	}
	out = allowOrigin(out, e.origin, e.credentials)
	out = append(out, exchange.Field{Name: "access-control-expose-headers", Value: expose.String()}, exchange.Field{Name: "vary", Value: vary})
	e.Response.Head(&exchange.ResponseHead{Status: h.Status, Fields: out}, end)
}

// answer is a response that is known from the start.
type answer struct {
	response exchange.Response
	head     exchange.ResponseHead
	body     string
}

func (a *answer) Begin() {
	if a.body == "" {
		a.response.Head(&a.head, true)
		return
	}
	a.response.Head(&a.head, false)
	a.response.Data([]byte(a.body))
	a.response.End(nil)
}
func (a *answer) Data(b []byte)        { a.response.Credit(len(b)) }
func (a *answer) End([]exchange.Field) {}
func (a *answer) Reset(exchange.Code)  {}
func (a *answer) Credit(int)           {}
func (a *answer) Done(bool)            {}
