package exchangetest

import (
	"slices"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// An Answer is what a client has got so far.
type Answer struct {
	Informed []exchange.ResponseHead
	Status   int // 0 before the head
	Fields   []exchange.Field
	Body     []byte
	Trailer  []exchange.Field
	Ended    bool // Head with end, or End
	Broken   bool // Reset
	Code     exchange.Code
	Cause    error
	Credit   int // request bytes that were taken
}

// Final says whether the response is over.
func (a *Answer) Final() bool { return a.Ended || a.Broken }

// Get returns a field of the head.
func (a *Answer) Get(name string) string { return exchange.Get(a.Fields, name) }

// A Response records what a handler answers. OnData, if set before Start, is called
// for each piece of content. Upgrades, if set before Start, says that the request is for
// a WebSocket over HTTP/1.1, so that the status may be 101.
type Response struct {
	log
	a        Answer
	OnData   func(n int)
	Upgrades bool
}

// NewResponse returns an empty Response.
func NewResponse() *Response { return &Response{} }

// Answer returns a copy of what has come so far.
func (r *Response) Answer() Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.a
	a.Body = slices.Clone(a.Body)
	return a
}

// Until waits until ok says so.
func (r *Response) Until(t testing.TB, what string, ok func(*Answer) bool) Answer {
	t.Helper()
	r.wait(t, what, func() bool { return ok(&r.a) })
	return r.Answer()
}

// Final waits until the response is over.
func (r *Response) Final(t testing.TB) Answer {
	t.Helper()
	return r.Until(t, "the end of the response", (*Answer).Final)
}

// Inform implements [exchange.Response].
func (r *Response) Inform(h *exchange.ResponseHead) {
	r.note(func() {
		r.rule(r.a.Status == 0 && !r.a.Final(), "Inform(%d) after the head", h.Status)
		r.rule(h.Status >= 100 && h.Status < 200, "Inform(%d)", h.Status)
		r.a.Informed = append(r.a.Informed, exchange.ResponseHead{Status: h.Status, Fields: slices.Clone(h.Fields)})
	})
}

// Head implements [exchange.Response].
func (r *Response) Head(h *exchange.ResponseHead, end bool) {
	r.note(func() {
		r.rule(r.a.Status == 0 && !r.a.Final(), "Head(%d) after a head or the end", h.Status)
		r.rule(h.Status >= 200 && h.Status < 1000 || h.Status == 101 && r.Upgrades, "Head(%d)", h.Status)
		r.a.Status, r.a.Fields, r.a.Ended = h.Status, slices.Clone(h.Fields), end
	})
}

// Data implements [exchange.Response].
func (r *Response) Data(b []byte) {
	r.note(func() {
		r.rule(r.a.Status != 0 && !r.a.Final(), "Data before the head or after the end")
		r.a.Body = append(r.a.Body, b...)
	})
	if r.OnData != nil {
		r.OnData(len(b))
	}
}

// End implements [exchange.Response].
func (r *Response) End(trailer []exchange.Field) {
	r.note(func() {
		r.rule(r.a.Status != 0 && !r.a.Final(), "End before the head or after the end")
		r.a.Trailer, r.a.Ended = slices.Clone(trailer), true
	})
}

// Reset implements [exchange.Response].
func (r *Response) Reset(code exchange.Code, cause error) {
	r.note(func() {
		r.rule(!r.a.Final(), "Reset after the end")
		r.a.Broken, r.a.Code, r.a.Cause = true, code, cause
	})
}

// Credit implements [exchange.Response].
func (r *Response) Credit(n int) {
	r.note(func() {
		r.rule(n > 0, "Credit(%d)", n)
		r.a.Credit += n
	})
}
