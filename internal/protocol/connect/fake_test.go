package connect

import (
	"bytes"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/rpc"
)

const (
	unaryProto  = unaryType + "proto"
	streamProto = streamType + "proto"
)

// The methods that lookup knows. There is no descriptor of any other.
const (
	unaryMethod  = "/t.S/Unary"
	getMethod    = "/t.S/Get" // NO_SIDE_EFFECTS
	serverMethod = "/t.S/ServerStream"
	clientMethod = "/t.S/ClientStream"
	bidiMethod   = "/t.S/Bidi"
	unknown      = "/t.S/Unknown"
)

func lookup(method string) *rpc.Method {
	for _, m := range []rpc.Method{
		{Name: unaryMethod},
		{Name: getMethod, NoSideEffects: true},
		{Name: serverMethod, ServerStreaming: true},
		{Name: clientMethod, ClientStreaming: true},
		{Name: bidiMethod, ClientStreaming: true, ServerStreaming: true},
	} {
		if m.Name == method {
			return &m
		}
	}
	return nil
}

const maxMessage = 1000

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// memory counts what is reserved. A limit of 0 is none.
type memory struct{ held, peak, limit, negative int }

func (m *memory) reserve(n int) bool {
	if n > 0 && m.limit > 0 && m.held+n > m.limit {
		return false
	}
	m.held += n
	m.peak = max(m.peak, m.held)
	m.negative = min(m.negative, m.held)
	return true
}

// A backend is a handler that records one call, and answers when a test or its script
// says so. Like the gRPC client half it answers a Cancel with the end, drops and
// credits what comes from the backend after one.
type backend struct {
	t testing.TB

	onStart  func(*rpc.Call)
	noCredit bool           // the request is not credited as it comes
	onEnd    func(*backend) // at the end of the request
	onCancel func(*backend) // nil ends the call with the cause

	call     *rpc.Call
	response rpc.Response
	begun    bool
	body     []byte
	ended    bool
	cancels  []rpc.Status
	sending  bool // Data of the response is under way
	beside   bool // Cancel came of it: the request side does not know
	over     bool
	sent     int // response bytes that had to be credited
	credit   atomic.Int64
	done     int
	outcome  rpc.Outcome
}

func (b *backend) Start(call *rpc.Call, response rpc.Response) rpc.Request {
	b.t.Helper()
	b.rule(b.call == nil, "one exchange made two calls")
	b.call, b.response = call, response
	if b.onStart != nil {
		b.onStart(call)
	}
	return b
}

func (b *backend) rule(ok bool, what string) {
	if !ok {
		b.t.Helper()
		b.t.Error("contract: " + what)
	}
}

func (b *backend) Begin() {
	b.rule(!b.begun, "Begin twice")
	b.begun = true
}

func (b *backend) Data(p []byte) {
	b.rule(b.begun && !b.ended && b.done == 0, "Data before Begin, after End or after Done")
	b.rule(len(p) > 0, "Data of no bytes")
	b.rule(len(b.cancels) == 0 || b.beside, "Data after Cancel")
	b.body = append(b.body, p...)
	if !b.noCredit {
		b.response.Credit(len(p))
	}
}

func (b *backend) End() {
	b.rule(b.begun && !b.ended && b.done == 0, "End before Begin, twice or after Done")
	b.ended = true
	if b.onEnd != nil {
		b.onEnd(b)
	}
}

func (b *backend) Cancel(cause rpc.Status) {
	b.rule(b.begun && b.done == 0, "Cancel before Begin or after Done")
	b.cancels = append(b.cancels, cause)
	b.beside = b.beside || b.sending
	if b.onCancel != nil {
		b.onCancel(b)
		return
	}
	b.end(cause, nil)
}

func (b *backend) Credit(n int) {
	b.rule(n > 0, "Credit of nothing")
	b.credit.Add(int64(n))
}

func (b *backend) Done(o rpc.Outcome) {
	b.rule(b.over, "Done before the end of the response")
	b.done++
	b.outcome = o
}

func (b *backend) head(encoding string, md ...rpc.Field) {
	if len(b.cancels) == 0 {
		b.response.Head(&rpc.Head{Encoding: encoding, Metadata: md, Codec: "proto"})
	}
}

func (b *backend) send(p []byte) {
	if len(b.cancels) == 0 && !b.over && len(p) > 0 {
		b.sent += len(p)
		p = bytes.Clone(p) // valid during the call only
		b.sending = true
		b.response.Data(p)
		b.sending = false
		clear(p)
	}
}

func (b *backend) end(st rpc.Status, trailer rpc.Metadata) {
	if !b.over {
		b.over = true
		if len(b.cancels) > 0 {
			st, trailer = b.cancels[0], nil
		}
		b.response.End(st, trailer)
	}
}

// reply returns a script that answers the end of the request with a head, pieces of
// content and OK.
func reply(encoding string, pieces ...[]byte) func(*backend) {
	return func(b *backend) {
		b.head(encoding)
		for _, p := range pieces {
			b.send(p)
		}
		b.end(rpc.Status{}, nil)
	}
}

// fail returns a script that answers with a status alone.
func fail(st rpc.Status) func(*backend) { return func(b *backend) { b.end(st, nil) } }

// A trial is one exchange with the server before a backend.
type trial struct {
	*backend
	mem      memory
	client   *exchangetest.Response
	q        exchange.Request
	gave     int  // request bytes
	noCredit bool // the client takes the response only at the end
	small    bool // it does so byte by byte

	maxMessage int
}

func newTrial(t testing.TB) *trial {
	return &trial{backend: &backend{t: t}, client: exchangetest.NewResponse(), maxMessage: maxMessage}
}

// start begins the exchange.
func (r *trial) start(head *exchange.RequestHead) *trial {
	o := Options{MaxMessage: r.maxMessage, Ratio: 100, Lookup: lookup, Now: func() time.Time { return now }, Reserve: r.mem.reserve}
	if FormOf(head) == None {
		r.t.Fatalf("%s %s is not taken for Connect", head.Method, head.Path)
	}
	r.client.OnData = func(n int) {
		if !r.noCredit {
			r.take(n)
		}
	}
	r.q = NewServer(r.backend, o).Start(head, r.client)
	head.Fields = nil // valid during Start only
	r.q.Begin()
	return r
}

// take credits n response bytes.
func (r *trial) take(n int) {
	if !r.small {
		r.q.Credit(n)
		return
	}
	for range n {
		r.q.Credit(1)
	}
}

// give sends a piece of the request.
func (r *trial) give(p []byte) *trial {
	if len(p) > 0 {
		r.gave += len(p)
		p = bytes.Clone(p)
		r.q.Data(p)
		clear(p)
	}
	return r
}

// finish ends the exchange and checks what holds for all of them: the contract, one
// end, one Done with what the client got, every byte credited once in each direction,
// no memory kept.
func (r *trial) finish(delivered bool) exchangetest.Answer {
	r.t.Helper()
	a := r.client.Answer()
	if !a.Final() {
		r.t.Fatal("the exchange has no end")
	}
	if r.noCredit && len(a.Body) > 0 {
		r.take(len(a.Body))
	}
	r.q.Done(delivered)
	r.client.Check(r.t)
	if r.begun {
		if r.done != 1 {
			r.t.Errorf("Done came %d times", r.done)
		}
		if r.outcome.Delivered != delivered {
			r.t.Errorf("outcome delivered %v, want %v", r.outcome.Delivered, delivered)
		}
	}
	if a := r.client.Answer(); a.Credit != r.gave && !r.backend.noCredit {
		r.t.Errorf("%d request bytes were credited of %d", a.Credit, r.gave)
	}
	if n := int(r.credit.Load()); n != r.sent {
		r.t.Errorf("%d response bytes were credited of %d", n, r.sent)
	}
	if r.mem.held != 0 || r.mem.negative != 0 {
		r.t.Errorf("memory: %d bytes are still reserved, %d at the lowest", r.mem.held, r.mem.negative)
	}
	return a
}

// post is the head of a unary POST; fields are names and values in turn.
func post(method string, length int, fields ...string) *exchange.RequestHead {
	h := &exchange.RequestHead{Method: "POST", Scheme: "http", Authority: "a.example", Path: method, Length: int64(length), Carrier: "h2"}
	h.Fields = append(h.Fields, exchange.Field{Name: "content-type", Value: unaryProto})
	return with(h, fields...)
}

// streamed is the head of a stream.
func streamed(method string, fields ...string) *exchange.RequestHead {
	h := post(method, -1, fields...)
	h.Fields[0].Value = streamProto
	return h
}

func with(h *exchange.RequestHead, fields ...string) *exchange.RequestHead {
	for i := 0; i < len(fields); i += 2 {
		h.Fields = append(h.Fields, exchange.Field{Name: fields[i], Value: fields[i+1]})
	}
	return h
}

// env is an envelope with its message.
func env(flags byte, msg []byte) []byte {
	return append(envelope.Append(nil, flags, len(msg)), msg...)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// pack compresses.
func pack(t testing.TB, encoding string, b []byte) []byte {
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch encoding {
	case "":
		return b
	case "gzip":
		w = gzip.NewWriter(&out)
	case "br":
		w = brotli.NewWriter(&out)
	case "zstd":
		w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	}
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
