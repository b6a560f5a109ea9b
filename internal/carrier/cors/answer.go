package cors

import (
	"fmt"
	"strings"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// maxAge is how long browsers may remember a preflight, in seconds; Chromium's maximum.
const maxAge = "7200"

// allowMethods is all that calls are made with: rules of REST have all of them, and
// a page leaves HTTP duplex by DELETE.
const allowMethods = "GET, POST, PUT, PATCH, DELETE"

// allowHeaders is for preflights that ask for nothing that could be answered.
// Authorization has to be named, since "*" does not cover it.
const allowHeaders = "content-type, authorization, connect-protocol-version, connect-timeout-ms, grpc-timeout, x-grpc-web, x-user-agent"

// maxAskedHeaders bounds Access-Control-Request-Headers, in bytes and in names.
const (
	maxAskedBytes = 4096
	maxAskedNames = 128
)

// preflight answers OPTIONS in the name of all backends.
func preflight(a *asked, allowed verdict, response exchange.Response) exchange.Request {
	headers, ok := echoNames(a.headers)
	if !ok || headers == "" {
		headers = allowHeaders
	}
	f := allowOrigin(make([]exchange.Field, 0, 6), a.origin, allowed != anonymous)
	f = append(f,
		exchange.Field{Name: "access-control-allow-methods", Value: allowMethods},
		exchange.Field{Name: "access-control-allow-headers", Value: headers},
		exchange.Field{Name: "access-control-max-age", Value: maxAge},
		exchange.Field{Name: "vary", Value: "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"})
	return &answer{response: response, head: exchange.ResponseHead{Status: 204, Fields: f}}
}

// echoNames returns the names of Access-Control-Request-Headers in lower case, if they
// are names and not too many. Metadata may have any name, so each is allowed; but
// nothing comes back that is not a list of names. It takes one pass (CVE-2025-47908 was
// a preflight that took more).
func echoNames(values []string) (list string, ok bool) {
	var b strings.Builder
	size, names := 0, 0
	for _, v := range values {
		if size += len(v); size > maxAskedBytes {
			return "", false
		}
		for v != "" {
			var name string
			name, v, _ = strings.Cut(v, ",")
			name = strings.Trim(name, " \t")
			if name == "" {
				continue
			}
			if names++; names > maxAskedNames || !token(name) {
				return "", false
			}
			if b.Len() > 0 {
				b.WriteString(", ")
			}
			b.WriteString(strings.ToLower(name))
		}
	}
	return b.String(), true
}

// token is RFC 9110, section 5.6.2.
func token(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !letter(c|0x20) && !digit(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return true
}

// refuse answers pages of foreign origins.
func refuse(method, origin string, response exchange.Response) exchange.Request {
	a := &answer{
		response: response,
		head: exchange.ResponseHead{Status: 403, Fields: []exchange.Field{
			{Name: "content-type", Value: "text/plain; charset=utf-8"},
			{Name: "x-content-type-options", Value: "nosniff"},
			{Name: "vary", Value: "Origin"},
		}},
		body: notAllowed(origin) + "\n",
	}
	if method == "HEAD" {
		a.body = "" // RFC 9110, section 9.3.2
	}
	return a
}

func notAllowed(origin string) string {
	if len(origin) > 200 {
		origin = origin[:200] + "…"
	}
	return fmt.Sprintf("pages of %q may not call here; to allow them, add the origin to those of the gateway (--cors-origin)", origin)
}

// allowOrigin says who may read a response. A page that may use credentials must be
// named; "*" would mean nothing to it.
func allowOrigin(f []exchange.Field, origin string, credentials bool) []exchange.Field {
	if !credentials {
		return append(f, exchange.Field{Name: "access-control-allow-origin", Value: "*"})
	}
	return append(f, exchange.Field{Name: "access-control-allow-origin", Value: origin},
		exchange.Field{Name: "access-control-allow-credentials", Value: "true"})
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
func (a *answer) Data([]byte)          {} // the response is over: its carrier drops what comes
func (a *answer) End([]exchange.Field) {}
func (a *answer) Reset(exchange.Code)  {}
func (a *answer) Credit(int)           {}
func (a *answer) Done(bool)            {}
