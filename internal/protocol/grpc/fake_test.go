package grpc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/rpc"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// fields makes fields of name, value, name, value, …
func fields(kv ...string) []exchange.Field {
	var f []exchange.Field
	for i := 0; i < len(kv); i += 2 {
		f = append(f, exchange.Field{Name: kv[i], Value: kv[i+1]})
	}
	return f
}

// pairs writes fields as one line, for comparison.
func pairs(f []exchange.Field) string {
	var b strings.Builder
	for i := range f {
		fmt.Fprintf(&b, "%s: %s\n", f[i].Name, f[i].Value)
	}
	return b.String()
}

func mdString(md rpc.Metadata) string {
	var b strings.Builder
	for i := range md {
		fmt.Fprintf(&b, "%s: %s\n", md[i].Key, md[i].Value)
	}
	return b.String()
}

// msg is one framed message.
func msg(flags byte, body string) string {
	return string(envelope.Append(nil, flags, len(body))) + body
}

// broken collects broken rules of the contract.
type broken []string

func (b *broken) rule(ok bool, format string, args ...any) {
	if !ok {
		*b = append(*b, fmt.Sprintf(format, args...))
	}
}

func (b *broken) check(t testing.TB) {
	t.Helper()
	for _, s := range *b {
		t.Error("contract: " + s)
	}
}

// callee is a terminal handler that records one call, on one goroutine. It ends a call
// that is canceled with the cause.
type callee struct {
	broken
	hold bool // Data is not credited

	call     *rpc.Call
	response rpc.Response
	begun    bool
	data     []byte
	ended    bool
	canceled []rpc.Status
	credit   int
	outcomes []rpc.Outcome
	over     bool
	onData   func()
}

func (c *callee) Start(call *rpc.Call, response rpc.Response) rpc.Request {
	c.rule(c.call == nil, "Start twice")
	c.call, c.response = call, response
	return c
}

func (c *callee) live() bool { return c.begun && len(c.outcomes) == 0 }
func (c *callee) Begin()     { c.rule(!c.begun, "Begin twice"); c.begun = true }
func (c *callee) Data(b []byte) {
	c.rule(c.live() && !c.ended, "Data before Begin or after End or Done")
	c.rule(len(b) > 0, "Data of no bytes")
	c.data = append(c.data, b...)
	if !c.hold {
		c.response.Credit(len(b))
	}
	if c.onData != nil {
		c.onData()
	}
}
func (c *callee) End() {
	c.rule(c.live() && !c.ended, "End before Begin, twice or after Done")
	c.ended = true
}
func (c *callee) Cancel(cause rpc.Status) {
	c.rule(c.live(), "Cancel before Begin or after Done")
	c.canceled = append(c.canceled, cause)
	c.end(cause, nil)
}
func (c *callee) Credit(n int) {
	c.rule(n > 0 && c.live(), "Credit(%d), or after Done", n)
	c.credit += n
}
func (c *callee) Done(o rpc.Outcome) {
	c.rule(c.live() && c.over, "Done twice or before the end")
	c.outcomes = append(c.outcomes, o)
}

func (c *callee) end(st rpc.Status, trailer rpc.Metadata) {
	if !c.over {
		c.over = true
		c.response.End(st, trailer)
	}
}

// front is a server half with a callee behind it and a recording client before it.
type front struct {
	*callee
	answer *exchangetest.Response
	req    exchange.Request
}

const limit = 1000

// serve begins an exchange at a server half.
func serve(o Options, b *callee, f ...exchange.Field) *front {
	if o.MaxMessage == 0 {
		o.MaxMessage = limit
	}
	if o.Now == nil {
		o.Now = func() time.Time { return epoch }
	}
	fr := &front{callee: b, answer: exchangetest.NewResponse()}
	head := &exchange.RequestHead{Method: "POST", Scheme: "http", Authority: "a.test", Path: "/s.S/M", Fields: f, Length: -1, Carrier: "h2"}
	fr.req = NewServer(b, o).Start(head, fr.answer)
	fr.req.Begin()
	return fr
}

// check checks that both sides kept the contract.
func (f *front) check(t testing.TB) {
	t.Helper()
	f.callee.check(t)
	f.answer.Check(t)
}

// caller records what a client half answers, on one goroutine.
type caller struct {
	broken
	heads   []rpc.Head
	data    []byte
	ends    []rpc.Status
	trailer rpc.Metadata
	credit  int
	onData  func(n int)
}

func (c *caller) Head(h *rpc.Head) {
	c.rule(len(c.heads) == 0 && len(c.data) == 0 && len(c.ends) == 0, "Head is not first")
	c.heads = append(c.heads, *h)
}
func (c *caller) Data(b []byte) {
	c.rule(len(c.heads) == 1 && len(c.ends) == 0, "Data before Head or after End")
	c.rule(len(b) > 0, "Data of no bytes")
	c.data = append(c.data, b...)
	if c.onData != nil {
		c.onData(len(b))
	}
}
func (c *caller) End(st rpc.Status, trailer rpc.Metadata) {
	c.rule(len(c.ends) == 0, "End twice")
	c.ends, c.trailer = append(c.ends, st), trailer
}
func (c *caller) Credit(n int) {
	c.rule(n > 0, "Credit(%d)", n)
	c.credit += n
}

// back is a client half with a caller before it and a recording server behind it.
type back struct {
	*caller
	q   *exchangetest.Request
	req rpc.Request
}

// call begins a call at a client half.
func call(t testing.TB, o ClientOptions, c *rpc.Call) *back {
	t.Helper()
	if o.MaxMessage == 0 {
		o.MaxMessage = limit
	}
	if o.Now == nil {
		o.Now = func() time.Time { return epoch }
	}
	if c.Method == "" {
		c.Method = "/s.S/M"
	}
	s := exchangetest.NewServer(exchangetest.Script{})
	b := &back{caller: &caller{}}
	b.req = NewClient(s, o).Start(c, b.caller)
	b.q = s.Next(t)
	b.req.Begin()
	return b
}

func (b *back) check(t testing.TB) {
	t.Helper()
	b.caller.check(t)
	b.q.Check(t)
}

// one is the status that the call ended with.
func (b *back) one(t testing.TB) rpc.Status {
	t.Helper()
	if len(b.ends) != 1 {
		t.Fatalf("%d ends", len(b.ends))
	}
	return b.ends[0]
}

var (
	typed  = fields("content-type", "application/grpc")
	unary  = &rpc.Method{Name: "/s.S/M"}
	lookup = func(string) *rpc.Method { return unary }
)

// pieces cuts b at the given places.
func pieces(b string, cuts ...int) []string {
	cuts = append(slices.Clone(cuts), len(b))
	var out []string
	at := 0
	for _, c := range cuts {
		if c > at && c <= len(b) {
			out = append(out, b[at:c])
			at = c
		}
	}
	return out
}

// serveThrough begins an exchange at a server half that has a client half behind it.
func serveThrough(s exchange.Handler, ct string, answer exchange.Response) exchange.Request {
	now := func() time.Time { return epoch }
	h := NewServer(NewClient(s, ClientOptions{MaxMessage: limit, Now: now}), Options{MaxMessage: limit, Now: now})
	req := h.Start(&exchange.RequestHead{Method: "POST", Path: "/s.S/M", Fields: fields("content-type", ct), Length: -1}, answer)
	req.Begin()
	return req
}
