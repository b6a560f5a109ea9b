package grpc

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	wire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/internal/wire/grpcweb"
	"github.com/sluice-rpc/sluice/internal/wire/ledger"
	"github.com/sluice-rpc/sluice/rpc"
)

// Options are what a server half needs to know.
type Options struct {
	MaxMessage int                             // bytes of one request message
	Lookup     func(method string) *rpc.Method // what is known of a method; may be nil
	Now        func() time.Time                // nil is time.Now
}

type server struct {
	next  rpc.Handler
	o     Options
	lists lists
}

// NewServer returns the server half: it makes a call of each exchange and gives it to
// next.
func NewServer(next rpc.Handler, o Options) exchange.Handler {
	o.Now = now(o.Now)
	return &server{next: next, o: o}
}

// serverCall is one call of a client. Its methods named as in [exchange.Request] take
// the request; toClient takes the response.
type serverCall struct {
	rpc.Call
	response exchange.Response
	next     rpc.Request
	kind     kind
	refused  *rpc.Status // the call never reached next

	// The request direction's.
	scan   envelope.Scanner
	failed bool // the request is void; what else comes is dropped

	// The response direction's.
	headSent bool
	outcome  rpc.Status

	web *web // gRPC-Web's
}

// web is what gRPC-Web needs beyond gRPC.
type web struct {
	decode   grpcweb.TextDecoder
	plain    []byte           // decoded text
	textOut  bool             // the response is text
	respScan envelope.Scanner // whether an end is inside of a message

	// Text is not as long as what it says; nil where it is no text.
	in, out *ledger.Ledger

	owed atomic.Int64 // response bytes that were sent as they came, and not credited yet
}

// credit says how many response bytes were taken now that n bytes of the body are. The
// trailer frame is the body's last, and nobody's.
func (w *web) credit(n int) int {
	if w.out != nil {
		return w.out.Credit(n)
	}
	if left := w.owed.Add(-int64(n)); left < 0 {
		return n - int(min(int64(n), -left))
	}
	return n
}

// toClient is the same call as the place of its response.
type toClient serverCall

// A draft is a head while it is put together.
type draft struct {
	fields   []exchange.Field
	request  exchange.RequestHead
	response exchange.ResponseHead
}

var drafts = sync.Pool{New: func() any { return &draft{fields: make([]exchange.Field, 0, 32)} }}

// free gives a draft back, with the fields that it has grown to.
func (d *draft) free(f []exchange.Field) {
	clear(f)
	d.fields = f[:0]
	d.request, d.response = exchange.RequestHead{}, exchange.ResponseHead{}
	drafts.Put(d)
}

func (s *server) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	k, _ := parseType(exchange.Get(head.Fields, "content-type"))
	c := &serverCall{response: response, kind: k}
	c.Method = path(head.Path)
	c.Received = s.o.Now()
	c.Codec = k.codec
	c.Authority = head.Authority
	c.Peer = rpc.Peer{Addr: head.Addr, TLS: head.TLS}
	c.Protocol, c.Carrier = k.protocol(), head.Carrier
	accept := ""
	for i := range head.Fields {
		f := &head.Fields[i]
		switch f.Name {
		case "grpc-timeout":
			d, infinite, ok := wire.ParseTimeout(f.Value)
			switch {
			case !ok:
				st := rpc.Errorf(rpc.Internal, "malformed grpc-timeout %q: it is up to eight digits and one of H, M, S, m, u, n", f.Value)
				c.refused = &st
			case !infinite:
				c.Deadline = c.Received.Add(d)
			}
		case "grpc-encoding":
			c.Encoding = encoding(f.Value)
		case "grpc-accept-encoding":
			c.AcceptEncodings = s.lists.get(f.Value)
		case "accept":
			accept = f.Value
		case "user-agent":
			if c.UserAgent == "" {
				c.UserAgent = f.Value
			}
		case "x-user-agent": // what a browser's library says of itself
			c.UserAgent = f.Value
		}
	}
	c.Metadata = Metadata(head.Fields)
	if s.o.Lookup != nil {
		c.Schema = s.o.Lookup(c.Method)
	}
	c.scan = envelope.Scanner{Limit: s.o.MaxMessage, Encoded: c.Encoding != "", Single: c.Schema != nil && !c.Schema.ClientStreaming}
	if k.web {
		w := &web{textOut: k.text, respScan: envelope.Scanner{Limit: 1<<32 - 1, Encoded: true}}
		if strings.HasPrefix(accept, "application/grpc-web-text") {
			w.textOut = true
		} else if strings.HasPrefix(accept, "application/grpc-web") {
			w.textOut = false
		}
		if k.text {
			w.in = &ledger.Ledger{}
		}
		if w.textOut {
			w.out = &ledger.Ledger{}
		}
		c.web = w
	}
	if c.refused == nil {
		c.next = s.next.Start(&c.Call, (*toClient)(c))
	}
	return c
}

// path takes the query off; gRPC has none.
func path(p string) string {
	if i := strings.IndexByte(p, '?'); i >= 0 {
		return p[:i]
	}
	return p
}

func (c *serverCall) Begin() {
	if c.refused != nil {
		(*toClient)(c).End(*c.refused, nil)
		return
	}
	c.next.Begin()
}

func (c *serverCall) Data(b []byte) {
	if c.failed || c.next == nil {
		c.response.Credit(len(b))
		return
	}
	if c.kind.text {
		plain, err := c.web.decode.Decode(c.web.plain[:0], b)
		c.web.in.Put(len(b), len(plain))
		c.message(plain)
		if err != nil && !c.failed {
			c.fail(rpc.Status{Code: rpc.Internal, Message: err.Error()}, 0)
		}
		if cap(plain) <= 64<<10 {
			c.web.plain = plain
		}
		return
	}
	c.message(b)
}

// message passes message bytes on, as far as they are sound.
func (c *serverCall) message(b []byte) {
	before := c.scan.Messages()
	n, err := c.scan.Scan(b)
	if d := c.scan.Messages() - before; d > 0 {
		c.Stats.RequestMessages.Add(int64(d))
	}
	if n > 0 {
		c.Stats.RequestBytes.Add(int64(n))
		c.next.Data(b[:n])
	}
	if err != nil {
		c.fail(requestError(err, &c.scan), len(b)-n)
	}
}

// fail voids the request, of whose last bytes kept did not reach next, which would have
// credited them.
func (c *serverCall) fail(st rpc.Status, kept int) {
	c.failed = true
	if c.web != nil && c.web.in != nil {
		kept = c.web.in.Rest()
	}
	if kept > 0 {
		c.response.Credit(kept)
	}
	c.next.Cancel(st)
}

// requestError is the status for a request that breaks gRPC's rules.
func requestError(err error, s *envelope.Scanner) rpc.Status {
	switch {
	case errors.Is(err, envelope.ErrTooLarge):
		return rpc.Errorf(rpc.ResourceExhausted, "request message of %d bytes; the gateway's limit is %d (limits.message_bytes)", s.Length(), s.Limit)
	case errors.Is(err, envelope.ErrTooMany):
		return rpc.Status{Code: rpc.Unimplemented, Message: "the method takes one request message, and the client sent more"}
	case errors.Is(err, envelope.ErrFlags):
		return rpc.Errorf(rpc.Internal, "request message with unknown flags %#02x", s.Flags())
	}
	return rpc.Status{Code: rpc.Internal, Message: "compressed request message without grpc-encoding"}
}

func (c *serverCall) End([]exchange.Field) {
	switch {
	case c.failed || c.next == nil:
	case !c.scan.Between() || c.web != nil && !c.web.decode.Whole():
		c.fail(rpc.Status{Code: rpc.Internal, Message: "the request ended inside of a message"}, 0)
	case c.scan.Single && c.scan.Messages() == 0:
		c.fail(rpc.Status{Code: rpc.Unimplemented, Message: "the method takes one request message, and the client sent none"}, 0)
	default:
		c.next.End()
	}
}

func (c *serverCall) Reset(code exchange.Code) {
	if c.next != nil {
		c.next.Cancel(wire.FromClientReset(code))
	}
}

func (c *serverCall) Credit(n int) {
	if c.web != nil {
		n = c.web.credit(n)
	}
	if n > 0 && c.next != nil {
		c.next.Credit(n)
	}
}

func (c *serverCall) Done(delivered bool) {
	if c.next != nil {
		c.next.Done(rpc.Outcome{Status: c.outcome, Delivered: delivered})
	}
}

// Head implements [rpc.Response].
func (t *toClient) Head(h *rpc.Head) {
	t.head(h, false, nil)
}

// head sends the response head; with end it is the whole response, with the outcome.
func (t *toClient) head(h *rpc.Head, end bool, trailer rpc.Metadata) {
	t.headSent = true
	d := drafts.Get().(*draft)
	k := t.kind
	k.text = t.web != nil && t.web.textOut
	f := append(d.fields, exchange.Field{Name: "content-type", Value: k.contentType()})
	if h != nil {
		if h.Encoding != "" {
			f = append(f, exchange.Field{Name: "grpc-encoding", Value: h.Encoding})
		}
		if h.AcceptEncodings != nil {
			f = append(f, exchange.Field{Name: "grpc-accept-encoding", Value: strings.Join(h.AcceptEncodings, ",")})
		}
		f = appendMetadata(f, h.Metadata)
	}
	if end {
		f = appendMetadata(wire.AppendStatus(f, t.outcome), trailer)
	}
	d.response = exchange.ResponseHead{Status: 200, Fields: f}
	t.response.Head(&d.response, end)
	d.free(f)
}

// Data implements [rpc.Response].
func (t *toClient) Data(b []byte) {
	if t.web != nil {
		_, _ = t.web.respScan.Scan(b)
	}
	t.send(b, len(b))
}

// send writes body bytes, of which in count for credit.
func (t *toClient) send(b []byte, in int) {
	if t.web == nil || !t.web.textOut {
		if t.web != nil {
			t.web.owed.Add(int64(in))
		}
		t.response.Data(b)
		return
	}
	text := grpcweb.AppendText(nil, b)
	t.web.out.Put(in, len(text))
	t.response.Data(text)
}

// End implements [rpc.Response].
func (t *toClient) End(st rpc.Status, trailer rpc.Metadata) {
	t.outcome = st
	if !t.headSent {
		// Trailers-only is one header block, which nobody can tear apart.
		t.head(nil, true, trailer)
		return
	}
	if t.web != nil && !t.web.respScan.Between() {
		t.response.Reset(wire.ToReset(st.Code), st)
		return
	}
	d := drafts.Get().(*draft)
	f := appendMetadata(wire.AppendStatus(d.fields, st), trailer)
	if t.kind.web {
		t.send(grpcweb.AppendTrailer(nil, f), 0)
		t.response.End(nil)
	} else {
		t.response.End(f)
	}
	d.free(f)
}

// Credit implements [rpc.Response].
func (t *toClient) Credit(n int) {
	if t.web != nil && t.web.in != nil {
		n = t.web.in.Credit(n)
	}
	if n > 0 {
		t.response.Credit(n)
	}
}
