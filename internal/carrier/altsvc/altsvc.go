// Package altsvc announces that the same origin is served over HTTP/3 too, in the Alt-Svc
// field (RFC 7838, section 3) of responses over TLS.
//
// Clients of gRPC itself don't look at it, so their calls pass as they are. Neither does it
// stand in responses without TLS, which may come from anybody, nor in those of tunnels,
// which no cache of alternatives sees.
package altsvc

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// A Handler adds the field to responses while there is something to announce.
type Handler struct {
	next  exchange.Handler
	value atomic.Pointer[string] // nil: nothing

	mu  sync.Mutex
	all []string
}

// New returns a Handler in front of next.
func New(next exchange.Handler) *Handler { return &Handler{next: next} }

// Announce adds an alternative, such as `h3=":443"; ma=86400`, until stop is called.
func (h *Handler) Announce(alternative string) (stop func()) {
	h.change(func() { h.all = append(h.all, alternative) })
	return sync.OnceFunc(func() {
		h.change(func() {
			if i := slices.Index(h.all, alternative); i >= 0 {
				h.all = slices.Delete(h.all, i, i+1)
			}
		})
	})
}

func (h *Handler) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	if len(h.all) == 0 {
		h.value.Store(nil)
		return
	}
	each := slices.Clone(h.all)
	slices.Sort(each)
	v := strings.Join(slices.Compact(each), ", ")
	h.value.Store(&v)
}

// Start implements [exchange.Handler].
func (h *Handler) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	if v := h.value.Load(); v != nil && head.TLS != nil && head.Protocol == "" && !native(head.Fields) {
		response = &announcing{response, *v}
	}
	return h.next.Start(head, response)
}

// native says whether a request is of gRPC itself.
func native(fields []exchange.Field) bool {
	rest, ok := strings.CutPrefix(exchange.Get(fields, "content-type"), "application/grpc")
	return ok && !strings.HasPrefix(rest, "-web")
}

type announcing struct {
	exchange.Response
	value string
}

func (a *announcing) Head(h *exchange.ResponseHead, end bool) {
	if h.Status == 101 {
		a.Response.Head(h, end)
		return
	}
	fields := make([]exchange.Field, 0, len(h.Fields)+1)
	for _, f := range h.Fields {
		if f.Name != "alt-svc" { // a backend's own is about an address that clients don't see
			fields = append(fields, f)
		}
	}
	fields = append(fields, exchange.Field{Name: "alt-svc", Value: a.value})
	a.Response.Head(&exchange.ResponseHead{Status: h.Status, Fields: fields}, end)
}
