package mux

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
	"github.com/sluice-rpc/sluice/rpc"
)

// A link is a pipe. Its methods named as in [exchange.Request] take what the client sends, one
// goroutine at a time; Flush writes.
type link struct {
	s        *Server
	conn     *connection
	form     duplex.Form
	response exchange.Response

	dec    duplex.Decoder // the reader's
	broken bool           // so is this: what comes means nothing any more

	mu       sync.Mutex
	calls    attached
	highest  uint32  // number of a call
	control  []byte  // frames that wait, other than those of calls
	ready    []*call // have something to send; may hold calls that have left
	owing    []*call // will owe a CREDIT in a while
	room     int     // bytes that the carrier takes
	queued   bool    // on the list of work
	flushing bool
	draining bool // GOAWAY was sent
	crossing bool // not long ago: HEADERS may be on their way
	finish   bool // end once nothing waits
	ended    bool // nothing more is sent
	done     bool // Done was called
	reserved int  // for what dec keeps
	reset    *reset
	heard    time.Time
	pinged   bool
	ping     func() bool // stops the timer
	credit   func() bool // stops the timer of owing
	crossed  func() bool // stops the timer of crossing
}

// A reset is how a pipe ends that does not end well.
type reset struct {
	code  exchange.Code
	cause error
}

const (
	// firstRoom is the window of an exchange.
	firstRoom = rpc.WindowDefault
	// creditWait is how late a CREDIT may be that is not urgent.
	creditWait = 200 * time.Millisecond
	// crossingWait is how long a pipe without calls is kept after GOAWAY, for HEADERS that crossed it. It is
	// less than what a gateway that shuts down gives connections to end.
	crossingWait = 500 * time.Millisecond
	// maxControl bounds what waits for a client that does not read.
	maxControl = 64 << 10
	// maxBatch is how much is given to the carrier at a time.
	maxBatch = 64 << 10
)

// Begin implements [exchange.Request].
func (l *link) Begin() {
	s := l.s
	s.mu.Lock()
	s.links[l] = struct{}{}
	draining, grace := s.draining, s.grace
	if l.form == duplex.CallForm {
		s.mu.Unlock()
		return // its connection has pipes of its own
	}
	l.mu.Lock() // a drain that finds it waits until WELCOME was said
	s.mu.Unlock()
	l.control = l.conn.welcome(l.control, l.form)
	if draining {
		l.draining = true
		l.control = goAway(l.control, l.form, grace)
	}
	l.heard = s.o.Now()
	l.ping = s.o.After(s.o.Ping, l.tick)
	l.wake()
}

// wake puts the link on the list of work. The lock is held, and released.
func (l *link) wake() {
	add := l.queue()
	l.mu.Unlock()
	if add {
		l.s.o.Work.Add(l)
	}
}

// queue says whether the link is to be put on the list of work, by whoever asks. The lock is
// held.
func (l *link) queue() bool {
	add := !l.queued && !l.ended
	l.queued = l.queued || add
	return add
}

// write appends frames of no call.
func (l *link) write(f func(b []byte) []byte) {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return
	}
	l.control = f(l.control)
	l.wakeUnlessFull()
}

// wakeUnlessFull is wake, which ends the pipe if too much waits. The lock is held, and released.
func (l *link) wakeUnlessFull() {
	full := len(l.control) > maxControl
	l.wake()
	if full {
		l.abort(exchange.EnhanceYourCalm, errors.New("the client does not read what it asks for"))
	}
}

// Data implements [exchange.Request].
func (l *link) Data(b []byte) {
	if l.broken {
		l.response.Credit(len(b))
		return
	}
	if err := l.dec.Feed(b, (*events)(l)); err != nil {
		l.broken = true
		code := exchange.ProtocolError
		if errors.Is(err, errAbuse) {
			code = exchange.EnhanceYourCalm
			l.s.o.LimitHit("conn_abuse")
			l.s.o.Abused(l.conn.head.Addr)
		}
		l.abort(code, err)
	}
	l.mu.Lock()
	if l.form == duplex.MuxForm {
		l.heard, l.pinged = l.s.o.Now(), false
	}
	room := l.account(l.dec.Buffered())
	l.mu.Unlock()
	if !room {
		l.broken = true
		l.s.o.LimitHit("buffer_bytes")
		l.abort(exchange.EnhanceYourCalm, exchange.ErrBuffers)
	}
	l.response.Credit(len(b)) // a slow call holds its client back by CREDIT, never by the pipe
}

// account takes the memory for a part of a frame, or gives it back. The lock is held. It says false if
// there is none.
func (l *link) account(n int) bool {
	if n == l.reserved || l.done {
		return true
	}
	if !l.s.o.Reserve(n - l.reserved) {
		return false
	}
	l.reserved = n
	return true
}

// find returns a call that a frame is about, or nil if it is over.
func (l *link) find(n uint32) (*call, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.calls.get(n)
	if c == nil && n > l.highest || l.form == duplex.CallForm && l.highest == 0 {
		return nil, fmt.Errorf("a frame of call %d, which was not begun", n)
	}
	return c, nil
}

// number takes the number of a new call. The one of a pipe in the call form counts as 1.
func (l *link) number(n uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.form == duplex.CallForm {
		n = 1
	}
	if n <= l.highest {
		return fmt.Errorf("call %d was begun before", n)
	}
	l.highest = n
	return nil
}

// events is the link as what its decoder calls.
type events link

// Data implements [duplex.Events].
func (e *events) Data(n uint32, b []byte) error {
	l := (*link)(e)
	c, err := l.find(n)
	if c == nil {
		return err
	}
	return c.data(l, b)
}

var errAbuse = errors.New("too many frames of no use (limits.conn_abuse)")

// Frame implements [duplex.Events].
func (e *events) Frame(kind duplex.Kind, n uint32, payload []byte) error {
	l := (*link)(e)
	switch kind {
	case duplex.Headers:
		return l.headers(n, payload)
	case duplex.Resume:
		return l.resume(n, payload)
	case duplex.Hello:
		return l.hello(payload)
	case duplex.Ping:
		if !l.conn.charge() {
			return errAbuse
		}
		l.write(func(b []byte) []byte { return l.form.Append(b, duplex.Pong, 0, payload) })
		return nil
	case duplex.Pong:
		return nil
	case duplex.Welcome, duplex.GoAway, duplex.Resumed:
		return fmt.Errorf("%v is not a client's to send", kind)
	}
	c, err := l.find(n)
	if c == nil {
		return err
	}
	if kind == duplex.End && len(payload) > 0 {
		return fmt.Errorf("END of %d bytes; it has none", len(payload))
	}
	switch kind {
	case duplex.End:
		c.endUp(l)
	case duplex.Cancel:
		if !l.conn.charge() {
			return errAbuse
		}
		c.cancel(l)
	case duplex.Credit:
		f, err := duplex.ParseCredit(payload)
		if err != nil {
			return err
		}
		return c.credit(l, f)
	}
	return nil
}

func (l *link) hello(payload []byte) error {
	list, err := fields.Parse(nil, payload, l.s.o.MaxFields)
	if err != nil {
		return fmt.Errorf("HELLO: %w", err)
	}
	if !l.conn.charge() {
		return errAbuse
	}
	l.conn.mu.Lock()
	l.conn.hello = list
	l.conn.mu.Unlock()
	return nil
}

// tick runs once in a while.
func (l *link) tick() {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return
	}
	wait := l.s.o.Ping
	silent := l.s.o.Now().Sub(l.heard)
	switch {
	case silent < wait:
		wait -= silent
		l.pinged = false
	case l.pinged:
		l.mu.Unlock()
		l.abort(exchange.Disconnected, errors.New("the client answers no PING"))
		return
	default:
		l.pinged = true
		l.control = l.form.Append(l.control, duplex.Ping, 0, make([]byte, duplex.PingLength))
	}
	l.ping = l.s.o.After(wait, l.tick)
	l.wakeUnlessFull()
}

// drain tells the client to make new calls elsewhere, and ends the pipe with its last call, but not before those could come
// that were on their way.
func (l *link) drain(grace time.Duration) {
	if l.form == duplex.CallForm {
		return
	}
	l.mu.Lock()
	if !l.draining {
		l.draining = true
		l.control = goAway(l.control, l.form, grace)
		if !l.ended {
			wait := crossingWait
			if grace > 0 {
				wait = min(wait, grace/2)
			}
			l.crossing = true
			l.crossed = l.s.o.After(wait, l.settle)
		}
	}
	l.wake()
}

// settle ends a pipe that drains and has no call, now that none is on its way.
func (l *link) settle() {
	l.mu.Lock()
	l.crossing = false
	l.finish = l.finish || l.calls.len() == 0
	l.wake()
}

// End implements [exchange.Request]. In the call form it is the half-close of a client that
// has no other; in the multiplexed form nothing more can come, so the pipe is lost.
func (l *link) End([]exchange.Field) {
	if l.form == duplex.CallForm && l.dec.Between() {
		c, err := l.find(0)
		switch {
		case c != nil:
			c.endUp(l)
			return
		case err == nil:
			return // its call is over
		}
	}
	l.lose(exchange.Disconnected)
	l.mu.Lock()
	l.finish = true
	if l.form == duplex.MuxForm && l.room <= 0 {
		l.control = nil // who has left may never make room for it
	}
	l.wake()
}

// Reset implements [exchange.Request].
func (l *link) Reset(code exchange.Code) {
	l.lose(code)
	l.cut(exchange.Cancel, nil)
}

// abort ends the pipe because of what the client did, or did not.
func (l *link) abort(code exchange.Code, cause error) {
	lost := exchange.Cancel // who breaks the rules has no claim to its calls
	if code == exchange.Disconnected {
		lost = code
	}
	l.lose(lost)
	l.cut(code, cause)
}

// cut ends the pipe at once.
func (l *link) cut(code exchange.Code, cause error) {
	l.mu.Lock()
	if !l.ended {
		l.ended = true
		l.reset = &reset{code, cause}
	}
	l.unlockReset()
}

// unlockReset releases the lock, and resets the pipe if that is to be done and nobody is writing.
func (l *link) unlockReset() {
	r := l.reset
	if l.flushing {
		r = nil // who flushes will do it
	}
	if r != nil {
		l.reset = nil
	}
	l.mu.Unlock()
	if r != nil {
		l.response.Reset(r.code, r.cause)
	}
}

// lose lets go of the calls. With the code CANCEL the client has left on purpose.
func (l *link) lose(code exchange.Code) {
	l.mu.Lock()
	calls := l.calls.all()
	l.calls = attached{}
	l.mu.Unlock()
	for _, c := range calls {
		c.lost(l, code)
	}
}

// Credit implements [exchange.Request].
func (l *link) Credit(n int) {
	l.mu.Lock()
	l.room += n
	if l.room > 0 && (len(l.ready) > 0 || len(l.control) > 0) {
		l.wake()
		return
	}
	l.mu.Unlock()
}

// Done implements [exchange.Request].
func (l *link) Done(bool) {
	s := l.s
	s.mu.Lock()
	delete(s.links, l)
	s.mu.Unlock()
	l.mu.Lock()
	l.ended = true
	for _, stop := range []func() bool{l.ping, l.credit, l.crossed} {
		if stop != nil {
			stop()
		}
	}
	l.ready, l.owing, l.control = nil, nil, nil
	l.account(0)
	l.done = true
	l.mu.Unlock()
	l.lose(exchange.Disconnected)
}

// attach gives a number to a call. The call's lock is held.
func (l *link) attach(c *call, n uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.calls.put(n, c)
	if l.form == duplex.MuxForm {
		l.finish = false // it was to end without calls
	}
	return true
}

// detach takes a call away. The call's lock is held. It says whether the link is to be put on the
// list of work.
func (l *link) detach(c *call, n uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls.remove(n, c)
	if l.form == duplex.CallForm || l.draining && !l.crossing && l.calls.len() == 0 {
		l.finish = true
		return l.queue()
	}
	return false
}

// push has a call cut its frames soon; the rest is as for detach.
func (l *link) push(c *call) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = append(l.ready, c)
	return l.room > 0 && l.queue()
}

// owe has a call send CREDIT after a while. The call's lock is held.
func (l *link) owe(c *call) {
	l.mu.Lock()
	l.owing = append(l.owing, c)
	if len(l.owing) == 1 && !l.ended {
		l.credit = l.s.o.After(creditWait, l.pay)
	}
	l.mu.Unlock()
}

func (l *link) pay() {
	l.mu.Lock()
	owing := l.owing
	l.owing = nil
	l.mu.Unlock()
	for _, c := range owing {
		c.pay(l)
	}
}

// batches are what frames are cut into.
var batches = sync.Pool{New: func() any { b := make([]byte, 0, maxBatch+duplex.MaxData); return &b }}

// Flush writes what the carrier takes. One goroutine at a time does, and looks again when it is done.
func (l *link) Flush() {
	l.mu.Lock()
	l.queued = false
	if l.flushing {
		l.mu.Unlock()
		return
	}
	l.flushing = true
	batch := batches.Get().(*[]byte)
	for !l.ended {
		b := (*batch)[:0]
		if l.room > 0 { // else they wait too, so that [maxControl] is seen
			b = append(b, l.control...)
			l.control = nil // such frames are rare, and a link is silent for long
		}
		var over []*call
		for len(b) < maxBatch && len(l.ready) > 0 && l.room > len(b) {
			c := l.ready[0]
			l.ready[0] = nil
			l.ready = l.ready[1:]
			room := min(l.room-len(b), maxBatch-len(b))
			l.mu.Unlock()
			var more, done bool
			b, more, done = c.cut(l, b, room)
			if done {
				over = append(over, c)
			}
			l.mu.Lock()
			if more {
				l.ready = append(l.ready, c)
			}
		}
		if len(b) == 0 {
			if !l.finish || l.ended || len(l.control) > 0 {
				break
			}
			l.ended = true
			l.flushing = false
			l.mu.Unlock()
			batches.Put(batch)
			l.response.End(nil)
			return
		}
		l.room -= len(b)
		l.mu.Unlock()
		l.response.Data(b)
		for _, c := range over {
			c.sent(l)
		}
		l.mu.Lock()
		*batch = b[:0]
	}
	l.flushing = false
	l.unlockReset()
	batches.Put(batch)
}
