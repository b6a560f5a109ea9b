package cors

import (
	"strings"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// alwaysExposed is how a call ends, where protocols put it into the head.
const alwaysExposed = "Grpc-Status, Grpc-Message, Grpc-Status-Details-Bin"

// silent are fields that a page may read anyway (the CORS-safelisted ones), may never
// read, or that are not the application's.
func silent(name string) bool {
	switch name {
	case "grpc-status", "grpc-message", "grpc-status-details-bin", // in alwaysExposed
		"cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma",
		"set-cookie", "set-cookie2", "vary", "date", "server", "alt-svc", "connection", "trailer":
		return true
	}
	return false
}

// exposed lists the fields of a head that a page is to see. Each is named, because "*"
// means nothing to a request with credentials; what Connect puts into "Trailer-"
// fields is among them.
func exposed(fields []exchange.Field) string {
	size := len(alwaysExposed)
	for i := range fields {
		if !silent(fields[i].Name) {
			size += len(", ") + len(fields[i].Name)
		}
	}
	if size == len(alwaysExposed) {
		return alwaysExposed
	}
	var b strings.Builder
	b.Grow(size)
	b.WriteString(alwaysExposed)
	last := ""
	for i := range fields {
		if name := fields[i].Name; name != last && !silent(name) {
			b.WriteString(", ")
			b.WriteString(name)
			last = name
		}
	}
	return b.String()
}

// exposing adds to the head of a response what lets a page read it.
type exposing struct {
	exchange.Response
	origin      string
	credentials bool
	tunnel      bool // the request is an extended CONNECT, whose answer no page reads and no cache keeps
}

func (e *exposing) Head(h *exchange.ResponseHead, end bool) {
	if e.tunnel || h.Status == 101 {
		e.Response.Head(&exchange.ResponseHead{Status: h.Status, Fields: without(h.Fields, 0)}, end)
		return
	}
	out := without(h.Fields, 4)
	names := exposed(out)
	out = allowOrigin(out, e.origin, e.credentials)
	out = append(out, exchange.Field{Name: "access-control-expose-headers", Value: names}, exchange.Field{Name: "vary", Value: "Origin"})
	e.Response.Head(&exchange.ResponseHead{Status: h.Status, Fields: out}, end)
}

func (e *exposing) Inform(h *exchange.ResponseHead) {
	e.Response.Inform(&exchange.ResponseHead{Status: h.Status, Fields: without(h.Fields, 0)})
}

// varying keeps caches from mixing up answers to pages of several origins, and the
// backend from saying anything about them.
type varying struct {
	exchange.Response
	tunnel bool
}

func (v *varying) Head(h *exchange.ResponseHead, end bool) {
	if v.tunnel || h.Status == 101 {
		v.Response.Head(&exchange.ResponseHead{Status: h.Status, Fields: without(h.Fields, 0)}, end)
		return
	}
	out := append(without(h.Fields, 1), exchange.Field{Name: "vary", Value: "Origin"})
	v.Response.Head(&exchange.ResponseHead{Status: h.Status, Fields: out}, end)
}

func (v *varying) Inform(h *exchange.ResponseHead) {
	v.Response.Inform(&exchange.ResponseHead{Status: h.Status, Fields: without(h.Fields, 0)})
}

// without copies fields but for the backend's own of CORS, with room for more.
func without(fields []exchange.Field, more int) []exchange.Field {
	out := make([]exchange.Field, 0, len(fields)+more)
	for _, f := range fields {
		if !ours(f.Name) {
			out = append(out, f)
		}
	}
	return out
}
