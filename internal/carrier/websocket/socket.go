package websocket

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/persecond"
	"github.com/sluice-rpc/sluice/internal/wire/ledger"
	wire "github.com/sluice-rpc/sluice/internal/wire/websocket"
	"github.com/sluice-rpc/sluice/rpc"
)

// A session is what is spoken on a socket. Its methods but drain come from the goroutine of the
// client's frames; what is wrong with a message is an error for its Close.
type session interface {
	open()                        // the WebSocket is open
	begin(op wire.Opcode) error   // a message
	data(p []byte) error          // a piece of it
	end() error                   // its end
	kept() int                    // bytes of a message that are kept
	refuse(err *wire.Error) bool  // what came is refused; true: the session ends the socket
	left(wire.Code) exchange.Code // the client's Close as the reset of its streams
	drain()                       // the gateway drains; comes from any goroutine
	ended(c *stream)              // the last stream has ended; the lock is held
}

// A socket is one WebSocket, as the request of its carrier.
type socket struct {
	s        *Server
	response exchange.Response
	session  session
	status   int // of the handshake
	fields   []exchange.Field
	client   net.Addr
	opened   time.Time

	// Of the frames that come.
	dec    wire.Decoder
	ledger ledger.Ledger // from what came to what streams were given
	abuse  persecond.Count
	bytes  bool // the message has some
	hollow int  // messages without
	deaf   bool // frames count for nothing: they are not even read
	held   int  // bytes taken from Options.Reserve

	heard  atomic.Int64 // when something came last, in nanoseconds after opened
	unpaid atomic.Int64 // bytes that came and are not credited

	mu      sync.Mutex
	enc     wire.Encoder
	output  output
	streams *stream // those that are not done
	running int     // streams that have not ended
	closing bool    // our Close is out, or nothing can be sent any more: nothing follows
	closed  bool    // nothing more is expected of the client
	how     *ending // how it ends, when nothing runs any more
	late    int     // bytes that are to be credited when the client has taken its answers
	over    bool    // it has ended
	last    *ending // how
	pong    struct {
		timer
		wire.Pongs
	}
	ping struct {
		timer
		wire.Keepalive
	}
	limit timer // the session's
	wait  timer // for the client's Close
}

// An ending is the last event of the response.
type ending struct {
	cut   bool // reset
	cause error
}

// Begin accepts.
func (k *socket) Begin() {
	draining := k.s.add(k)
	k.response.Head(&exchange.ResponseHead{Status: k.status, Fields: k.fields}, false)
	k.fields = nil
	k.mu.Lock()
	k.output.writing = false
	if !k.closing {
		k.ping.set(k, k.ping.Ping, k.tick)
	}
	k.flush()
	k.session.open()
	if draining {
		k.session.drain()
	}
}

// Data takes bytes of frames.
func (k *socket) Data(b []byte) {
	k.unpaid.Add(int64(len(b)))
	k.heard.Store(int64(k.since()))
	scratch := wire.TakeScratch()
	for len(b) > 0 {
		n := copy(scratch[:], b)
		b = b[n:]
		k.ledger.Keep(n)
		if !k.deaf {
			k.feed(scratch[:n])
		}
	}
	scratch.Free()
	k.mu.Lock()
	closing := k.closing
	k.mu.Unlock()
	if closing { // what comes now is dropped, and nobody takes what came
		k.pay(k.ledger.Rest())
	} else {
		k.pay(k.ledger.Settle())
	}
}

func (k *socket) since() time.Duration { return k.s.o.Now().Sub(k.opened) }

// feed reads a piece.
func (k *socket) feed(b []byte) {
	err := k.dec.Feed(b, (*frames)(k))
	cost := k.dec.Cost() + k.hollow
	k.hollow = 0
	if err == nil && !k.deaf && !k.abuse.Charge(cost, k.s.o.Abuse, time.Duration(k.heard.Load())) {
		err = wire.ErrAbuse
		if f := k.s.o.Abused; f != nil {
			f(k.client)
		}
	}
	if bad, ok := err.(*wire.Error); ok {
		k.refuse(bad)
	}
	if k.deaf { // not before: the decoder must not be changed under its feet
		k.forget()
		return
	}
	n := k.dec.Buffered() + k.session.kept() - k.held
	if n != 0 && !k.s.o.Reserve(n) {
		k.refuse(errMemory)
		k.forget()
		return
	}
	k.held += n
}

var errMemory = &wire.Error{Code: wire.InternalError, Reason: exchange.ErrBuffers.Error()}

// refuse ends a socket for what came. What comes after is not read.
func (k *socket) refuse(err *wire.Error) {
	k.deaf = true
	k.s.hit(err.Reason)
	if !k.session.refuse(err) {
		k.leave(func(b []byte) []byte { return k.enc.Close(b, err.Code, err.Reason) }, &ending{}, exchange.Disconnected)
	}
}

// forget gives back what was kept of a message.
func (k *socket) forget() {
	k.dec = wire.Decoder{}
	if k.held > 0 {
		k.s.o.Reserve(-k.held)
		k.held = 0
	}
}

// maxOwn is how many bytes of answers that no credit bounds may wait for a client before it is
// credited for nothing more: as many as a call's messages may be. Else one that reads nothing
// could have calls end, or be refused, for as long as there is memory.
const maxOwn = rpc.WindowDefault

// pay credits the client, or keeps it waiting.
func (k *socket) pay(n int) {
	k.mu.Lock()
	k.late += n
	if n = k.late; k.output.own > maxOwn && !k.closing {
		n = 0
	}
	k.late -= n
	k.mu.Unlock()
	if n > 0 {
		k.unpaid.Add(int64(-n))
		k.response.Credit(n)
	}
}

// End says that the client's stream has ended, which without a Close is as good as a
// connection that broke.
func (k *socket) End([]exchange.Field) { k.leave(nil, &ending{}, exchange.Disconnected) }

// Reset says that the client is gone.
func (k *socket) Reset(code exchange.Code) {
	if code != exchange.EnhanceYourCalm { // which is of the gateway's memory
		code = exchange.Disconnected
	}
	k.leave(nil, &ending{cut: true}, code)
}

// Done ends everything.
func (k *socket) Done(delivered bool) {
	k.s.remove(k)
	k.forget()
	k.mu.Lock()
	k.quiet()
	k.wait.clear()
	k.closing = true
	k.output.free()
	var streams []*stream
	for c := k.streams; c != nil; c = c.next {
		c.finished, c.delivered = true, delivered
		streams = append(streams, c)
	}
	k.mu.Unlock()
	for _, c := range streams {
		c.settle()
	}
}

// leave ends the WebSocket before what is spoken on it: with a Close if there is one.
// Its streams are reset. Nothing more is expected of the client.
func (k *socket) leave(frame func([]byte) []byte, e *ending, code exchange.Code) {
	k.mu.Lock()
	if frame != nil {
		k.control(frame)
	}
	if !k.closing || e.cut {
		k.how = e
	}
	k.closing, k.closed = true, true
	k.quiet()
	k.settle()
	k.flush()
	k.reset(code)
}

// reset resets all streams.
func (k *socket) reset(code exchange.Code) {
	k.mu.Lock()
	var streams []*stream
	for c := k.streams; c != nil; c = c.next {
		streams = append(streams, c)
	}
	k.mu.Unlock()
	for _, c := range streams {
		c.reset(code)
	}
}

// close sends a Close, and waits for the client's. The lock is held.
func (k *socket) close(code wire.Code, reason string) {
	if !k.closing {
		k.control(func(b []byte) []byte { return k.enc.Close(b, code, reason) })
		k.closing, k.how = true, &ending{}
		k.quiet()
		k.wait.set(k, wire.CloseWait, k.waited)
	}
	k.settle()
}

// settle ends the transport if nothing is left to say on either side, and no stream
// will end later. The lock is held.
func (k *socket) settle() {
	if k.closed && k.running == 0 && k.last == nil {
		k.wait.clear()
		k.last = k.how
	}
}

// waited has waited for the client's Close.
func (k *socket) waited() {
	k.mu.Lock()
	k.closed = true
	k.settle()
	k.flush()
}

// quiet stops what is about a WebSocket that is not closing. The lock is held.
func (k *socket) quiet() {
	k.ping.clear()
	k.limit.clear()
	k.pong.clear()
}

// tick looks after a client that is quiet.
func (k *socket) tick() {
	k.mu.Lock()
	if k.closing {
		k.mu.Unlock()
		return
	}
	// The carrier may have stopped reading, and the Pong waits behind messages.
	do, wait := k.ping.Check(k.since(), time.Duration(k.heard.Load()), k.unpaid.Load() >= rpc.WindowMin)
	switch do {
	case wire.SendPing:
		k.control(func(b []byte) []byte { return k.enc.Ping(b, nil) })
	case wire.GiveUp:
		k.mu.Unlock()
		st := rpc.Errorf(rpc.Canceled, "the client does not answer a ping within %v (websocket.ping_timeout)", k.s.o.PingTimeout)
		k.leave(nil, &ending{cut: true, cause: st}, exchange.Disconnected)
		return
	}
	k.ping.set(k, wait, k.tick)
	k.flush()
}

// A timer is set and cleared under the lock.
type timer struct{ stop func() bool }

// set has f called after d; 0 is never.
func (t *timer) set(k *socket, d time.Duration, f func()) {
	t.clear()
	if d > 0 {
		t.stop = k.s.o.After(d, f)
	}
}

func (t *timer) clear() {
	if t.stop != nil {
		t.stop()
		t.stop = nil
	}
}

// frames are the events of the decoder.
type frames socket

// check refuses what the session does not take.
func (e *frames) check(err error) {
	if bad, ok := err.(*wire.Error); ok {
		(*socket)(e).refuse(bad)
	}
}

// Begin implements [wire.Events].
func (e *frames) Begin(op wire.Opcode) {
	if !e.deaf {
		e.bytes = false
		e.check(e.session.begin(op))
	}
}

// Data implements [wire.Events].
func (e *frames) Data(p []byte) {
	if !e.deaf {
		e.bytes = true
		e.check(e.session.data(p))
	}
}

// End implements [wire.Events].
func (e *frames) End() {
	if e.deaf {
		return
	}
	if !e.bytes {
		e.hollow++
	}
	e.check(e.session.end())
}

// Ping is answered.
func (e *frames) Ping(p []byte) {
	k := (*socket)(e)
	k.mu.Lock()
	if !k.pong.Ask(p) {
		k.mu.Unlock()
		return
	}
	k.sendPong(p)
}

// Pong was heard, which is all.
func (e *frames) Pong([]byte) {}

// Close is answered with the same code, and is the client's last word.
func (e *frames) Close(code wire.Code, _ string) {
	k := (*socket)(e)
	k.leave(func(b []byte) []byte { return k.enc.Close(b, code, "") }, &ending{}, k.session.left(code))
}

// pongDue sends the one that waited.
func (k *socket) pongDue() {
	k.mu.Lock()
	p, due := k.pong.Due()
	if !due {
		k.mu.Unlock()
		return
	}
	k.sendPong(p)
}

// sendPong is called with the lock, and lets go of it.
func (k *socket) sendPong(p []byte) {
	k.control(func(b []byte) []byte { return k.enc.Pong(b, p) })
	k.pong.Answered()
	k.flush()
}
