package rest

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/persecond"
	grpcwire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/internal/wire/websocket"
	"github.com/sluice-rpc/sluice/internal/wire/wsjson"
	"github.com/sluice-rpc/sluice/rpc"
)

// subprotocols are spoken, the best one first.
var subprotocols = []string{wsjson.Name, wsjson.Plain}

// socket is a call over a WebSocket (docs/protocols/websocket.md). It stands here and not
// in a package of its own since everything but the frames is that of any other call:
// who gets it, the values of path and query, and how messages are written.
//
// A WebSocket is longer than its call: it is open before the call starts, and until both
// sides have said Close. Frames of the client come one goroutine at a time, as Data. What
// is sent has three sources, the backend, the client's pings and timers; they append
// under the lock of the response, whose flush takes it to the carrier. State that more
// than one of them changes is under that lock too.
type socket struct {
	*call
	enveloped bool // sluice.json, else sluice.plain
	status    int  // of the handshake
	fields    []exchange.Field
	opened    time.Time
	token     string // of the handshake

	// Of the frames that come.
	dec   websocket.Decoder
	op    websocket.Opcode
	spoke bool // a frame has come
	count int  // messages of the client
	now   bool // $first=now
	half  bool // the client has half-closed
	ended bool // and so has the call
	deaf  bool // frames count for nothing: they are not even read
	held  int  // bytes taken from Options.Reserve
	abuse persecond.Count

	heard  atomic.Int64 // when something came last, in nanoseconds after opened
	unpaid atomic.Int64 // bytes that came and are not credited

	// Under the lock of the response.
	enc     websocket.Encoder
	scratch []byte // of an envelope
	phase   phase
	pending *rpc.Status // the call is to be canceled once it has begun
	closing bool        // our Close is out, or nothing can be sent any more: nothing follows
	closed  bool        // nothing more is expected of the client
	last    *ending
	pong    struct {
		timer
		websocket.Pongs
	}
	ping struct {
		timer
		websocket.Keepalive
	}
	first timer // until the client speaks
	wait  timer // for the client's Close
}

// phase is how far the call is.
type phase int

const (
	callWaiting  phase = iota // for the client
	callStarting              // Begin was not called yet
	callRunning
	callCanceled // and not over yet: nothing more of the request reaches it
	callOver     // it has ended, or there will be none
)

// startSocket answers a handshake. Everything that can be said about the call is said
// after it, as its status, since a page learns nothing of a handshake that is refused.
func (s *server) startSocket(c *call, head *exchange.RequestHead) exchange.Request {
	handshake := websocket.Server{Protocols: subprotocols}
	if s.o.Compression {
		handshake.Deflate = &websocket.Deflate{}
	}
	agreed, bad := handshake.Answer(head)
	if bad != nil {
		c.decision.refuse(bad.Status, bad.Reason)
		r := refuse(head, c.response, &c.decision).(*refusal)
		r.fields = append(r.fields, bad.Fields...)
		return r
	}
	k := &socket{call: c, enveloped: agreed.Protocol == wsjson.Name, status: agreed.Status, fields: agreed.Fields, opened: c.Received}
	c.socket = k
	c.Protocol = "websocket"
	c.out.init(c, head)
	c.in.c = c
	k.dec = websocket.Decoder{
		Deflate: agreed.Deflate, Whole: true, MaxMessage: s.o.MaxMessage + len(wsjson.MessagePrefix) + len(wsjson.MessageSuffix), MaxRatio: s.o.Ratio,
	}
	k.enc.Deflate = agreed.Deflate
	k.ping.Ping, k.ping.Timeout = s.o.Ping, s.o.PingTimeout
	if c.refused == nil {
		c.refused = k.read(head)
	}
	return k
}

// read takes what the handshake says about the call.
func (k *socket) read(head *exchange.RequestHead) *rpc.Status {
	_, rawQuery, _ := strings.Cut(head.Path, "?")
	query, ok := parseQuery(rawQuery)
	if !ok {
		st := rpc.Errorf(rpc.InvalidArgument, "the query of the URL is malformed: a percent sign stands before two hexadecimal digits")
		return &st
	}
	k.query = query
	if st := k.options(); st != nil {
		return st
	}
	k.now = k.now && !k.takesOne()
	if st := k.chooseFields(); st != nil {
		return st
	}
	var err error
	if k.token, err = websocket.Token(websocket.Protocols(head.Fields)); err != nil {
		st := rpc.Errorf(rpc.Unauthenticated, "%v", err)
		return &st
	}
	return nil
}

// options takes the parameters that are about the WebSocket out of the query.
func (k *socket) options() *rpc.Status {
	fields := k.binding.in.Descriptor().Fields()
	var refused *rpc.Status
	k.query = slices.DeleteFunc(k.query, func(p param) bool {
		system, dollar := strings.CutPrefix(p.name, "$")
		if !dollar && fields.ByName("first") != nil && p.name == "first" || !dollar && fields.ByName("alt") != nil && p.name == "alt" {
			return false
		}
		bad := false
		switch system {
		case "first":
			k.now, bad = p.value == "now", p.value != "now"
		case "alt":
			kind, option, _ := strings.Cut(p.value, ";")
			k.protobuf = kind == "proto"
			k.enumInts = option == "enum-encoding=int"
			bad = kind != "json" && kind != "proto" || option != "" && !k.enumInts
		default:
			return false
		}
		if bad {
			st := rpc.Errorf(rpc.InvalidArgument, "query: %s=%s can't be had over a WebSocket: there are $first=now, $alt=json and $alt=proto", p.name, p.value)
			refused = &st
		}
		return true
	})
	return refused
}

// Begin accepts, at once: the backend is not waited for.
func (k *socket) Begin() {
	r := &k.out
	k.response.Head(&exchange.ResponseHead{Status: k.status, Fields: k.fields}, false)
	k.fields = nil
	r.mu.Lock()
	r.headSent = true
	k.ping.set(k, k.ping.Ping, k.tick)
	k.first.set(k, k.s.o.Idle, k.silent)
	r.mu.Unlock()
	switch {
	case k.refused != nil:
		k.fail(*k.refused)
	case !k.enveloped:
		k.open()
	}
}

// Data takes bytes of frames.
func (k *socket) Data(b []byte) {
	k.unpaid.Add(int64(len(b)))
	k.heard.Store(int64(k.s.o.Now().Sub(k.opened)))
	buf := websocket.TakeScratch()
	for len(b) > 0 {
		n := copy(buf[:], b)
		b = b[n:]
		k.in.ledger.Keep(n)
		if !k.deaf {
			k.feed(buf[:n])
		}
	}
	buf.Free()
	k.out.mu.Lock()
	closing := k.closing
	k.out.mu.Unlock()
	if closing { // what comes now is dropped, and nobody takes what came
		k.pay(k.in.ledger.Rest())
	} else {
		k.pay(k.in.ledger.Settle())
	}
}

// feed reads a piece.
func (k *socket) feed(b []byte) {
	err := k.dec.Feed(b, (*frames)(k))
	if cost := k.dec.Cost(); err == nil && !k.abuse.Charge(cost, k.s.o.Abuse, time.Duration(k.heard.Load())) {
		err = websocket.ErrAbuse
	}
	if err == websocket.ErrAbuse {
		k.abused()
	} else if bad, ok := err.(*websocket.Error); ok {
		k.abort(bad.Code, bad.Reason)
	}
	if k.deaf { // not before: the decoder must not be changed under its feet
		k.forget()
		return
	}
	n := k.dec.Buffered() - k.held
	if n != 0 && !k.s.o.Reserve(n) {
		k.noMemory()
		return
	}
	k.held += n
}

// noMemory ends what can't be kept: as the call, or without one as the WebSocket.
func (k *socket) noMemory() {
	k.out.mu.Lock()
	none := k.phase == callWaiting
	k.out.mu.Unlock()
	if none {
		k.abort(websocket.InternalError, grpcwire.BuffersFull.Message)
		k.forget()
		return
	}
	k.deaf = true
	k.forget()
	k.fail(grpcwire.BuffersFull)
}

// forget gives back what was kept of a message.
func (k *socket) forget() {
	k.dec = websocket.Decoder{}
	if k.held > 0 {
		k.s.o.Reserve(-k.held)
		k.held = 0
	}
}

// pay credits the client.
func (k *socket) pay(n int) {
	if n > 0 {
		k.unpaid.Add(int64(-n))
		k.response.Credit(n)
	}
}

// End says that the client's stream has ended, which without a Close is as good as a
// connection that broke.
func (k *socket) End([]exchange.Field) {
	k.leave(nil, &ending{}, grpcwire.FromClientReset(exchange.Disconnected))
}

// Reset says that the client is gone.
func (k *socket) Reset(code exchange.Code) {
	st := grpcwire.FromClientReset(code)
	k.leave(nil, &ending{cut: true, reset: exchange.Cancel, cause: st}, st)
}

// Credit says that the client took n bytes.
func (k *socket) Credit(n int) {
	r := &k.out
	r.mu.Lock()
	if k.pong.Taken(n) && !k.closing {
		k.pong.set(k, 1, k.sendPong) // credit never calls back
	}
	r.mu.Unlock()
	if n = r.ledger.Credit(n); n > 0 && k.next != nil {
		k.next.Credit(n)
	}
}

// Done ends everything.
func (k *socket) Done(delivered bool) {
	r := &k.out
	k.forget()
	r.mu.Lock()
	k.quiet()
	k.wait.clear()
	k.phase, k.closing = callOver, true
	r.mu.Unlock()
	r.done()
	if k.next != nil {
		k.next.Done(rpc.Outcome{Status: k.outcome, Delivered: delivered})
	}
}

// fromBackend is the same call as the place of its response.
type fromBackend socket

// Head implements [rpc.Response].
func (f *fromBackend) Head(h *rpc.Head) { (*socket)(f).head(h) }

// Data implements [rpc.Response].
func (f *fromBackend) Data(b []byte) { f.out.data(b) }

// Credit implements [rpc.Response].
func (f *fromBackend) Credit(n int) { (*socket)(f).pay(f.in.ledger.Credit(n)) }

// End implements [rpc.Response].
func (f *fromBackend) End(st rpc.Status, trailer rpc.Metadata) {
	f.out.end(st, trailer)
	(*socket)(f).pay(f.in.ledger.Rest()) // the backend takes no more
}
