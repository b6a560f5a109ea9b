package mux

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
	"github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/rpc"
)

// A call is an exchange that a client made. It is the place of the exchange's response; its
// other methods take the request.
type call struct {
	s    *Server
	conn *connection // on which it was begun

	// Of one that can be resumed.
	id      callID    // none: it can't be
	session sessionID // of the ticket that is asked for
	who     string

	busy atomic.Int32 // calls into next that run, beside those of flowing; and whether Done waits for them

	mu    sync.Mutex
	next  exchange.Request
	begun bool
	reset exchange.Code // to be done once it has begun
	link  *link         // nil while nobody is there
	n     uint32
	epoch uint64

	// Up.
	recv    duplex.Receiver
	gotEnd  bool
	endDone bool
	flowing bool // some goroutine is handing over
	inbox   []byte
	last    *bool // close it when nothing is in next any more, which says whether it was delivered
	void    bool  // nothing more is handed over: the request was reset, or is over

	lossy *lossy // has messages that may be lost, else nil

	// Down.
	send      duplex.Sender
	head      []byte // field block of HEADERS, nil is none
	sentHead  bool
	end       []byte // field block of END, nil is none yet
	sentEnd   bool
	acked     bool   // the client has END
	failed    bool   // end is the gateway's, and what was to come before it is dropped
	resumed   []byte // field block of RESUMED, to be sent
	creditDue bool
	owes      bool // the link will have CREDIT sent
	ready     bool // stands in the queue of link
	reserved  int

	mute   bool // the client wants nothing more of it
	ended  bool // the response has ended
	closed bool // Done was called

	stopWait func() bool // while it waits for its client
	kept     int         // bytes that waiting counts for it

	flush [2]*link // to be written once the lock is released
}

func (c *call) resumable() bool { return c.id != (callID{}) }

// headers begins a call.
func (l *link) headers(n uint32, payload []byte) error {
	if err := l.number(n); err != nil {
		return err
	}
	list, err := fields.Parse(nil, payload, l.s.o.MaxFields)
	if errors.Is(err, fields.ErrTooLarge) {
		l.s.o.LimitHit("header_bytes")
		return l.refuse(n, rpc.Errorf(rpc.ResourceExhausted, "HEADERS: %v (limits.header_bytes)", err))
	} else if err != nil {
		return err
	}
	path, kind := exchange.Get(list, ":path"), exchange.Get(list, "content-type")
	switch {
	case !strings.HasPrefix(path, "/"):
		return l.refuse(n, rpc.Errorf(rpc.InvalidArgument, "HEADERS: :path is %q; it is /package.Service/Method", path))
	case kind != "" && kind != "application/grpc" && !strings.HasPrefix(kind, "application/grpc+"):
		return l.refuse(n, rpc.Errorf(rpc.InvalidArgument, "HEADERS: content-type is %q; it is application/grpc, or begins with application/grpc+", kind))
	}
	name := exchange.Get(list, ":call")
	if name != "" && l.s.again(name, exchange.Get(list, ":epoch")) && !l.conn.charge() {
		return errAbuse
	}
	head := l.conn.request(path, list)
	c := &call{s: l.s, conn: l.conn, n: n, epoch: 1, flowing: true}
	// Its place is taken before it is registered: from then on it can be resumed elsewhere, and can't be refused here.
	room, resumed, epoch := l.conn.begin(), false, uint64(1)
	var st *rpc.Status
	if name != "" {
		epoch, resumed, st = c.register(l, name, list, &head, room)
	}
	if room && (resumed || st != nil) {
		l.conn.end()
	}
	switch {
	case st != nil:
		return l.refuse(n, *st)
	case resumed:
		return nil
	case !room:
		l.s.o.LimitHit("streams_per_conn")
		return l.refuse(n, rpc.Errorf(rpc.ResourceExhausted, "%d calls run on this connection (limits.streams_per_conn)", l.s.o.MaxCalls))
	}
	y := l.s.agree(l.conn, path, list, c.resumable())
	number, _ := askedDatagrams(list)
	c.mu.Lock()
	if c.epoch == epoch {
		y.begin(l.conn, number, c)
	}
	c.lossy = y
	c.send.Keep = c.resumable()
	if c.epoch == epoch { // else somebody has resumed it already
		c.link = l
		if !l.attach(c, n) { // the link was cut
			c.link = nil
		}
	}
	if c.link != l {
		c.lossy.stop()
	}
	c.unlock()
	next := l.s.o.Next.Start(&head, c)
	c.mu.Lock()
	c.next = next
	c.mu.Unlock()
	next.Begin()
	c.mu.Lock()
	c.begun = true
	reset := c.reset
	away := c.link == nil && reset == 0 && !c.closed
	c.mu.Unlock()
	switch {
	case reset != 0:
		next.Reset(reset)
	case away && c.resumable():
		l.s.wait(c)
	case away:
		c.giveUp(exchange.Disconnected)
	}
	c.mu.Lock()
	c.pump(nil)
	return nil
}

// refuse ends a call that was never begun, for which its client pays.
func (l *link) refuse(n uint32, st rpc.Status) error {
	if !l.conn.charge() {
		return errAbuse
	}
	l.write(func(b []byte) []byte {
		return l.form.Append(b, duplex.End, n, fields.Append(nil, grpc.AppendStatus(nil, st)))
	})
	l.over()
	return nil
}

// over ends a pipe whose only call is.
func (l *link) over() {
	if l.form == duplex.CallForm {
		l.mu.Lock()
		l.finish = true
		l.wake()
	}
}

// at says whether the call is attached to the link; the lock is held.
func (c *call) at(l *link) bool { return c.link == l }

// data takes DATA.
func (c *call) data(l *link, b []byte) error {
	c.mu.Lock()
	if !c.at(l) {
		c.mu.Unlock()
		return nil
	}
	b, err := c.recv.Receive(b)
	switch {
	case err != nil:
		c.mu.Unlock()
		c.fail(rpc.Errorf(rpc.ResourceExhausted, "%v: at most %d bytes may be on their way", err, duplex.Window))
		return nil
	case len(b) == 0:
		c.mu.Unlock()
		return nil
	case c.gotEnd:
		c.mu.Unlock()
		return errors.New("DATA after END")
	case c.void:
		c.take(len(b))
		c.unlock()
		return nil
	}
	if c.lossy != nil {
		c.lossy.follow(b)
	}
	c.handOver(b)
	return nil
}

// endUp takes END.
func (c *call) endUp(l *link) {
	c.mu.Lock()
	if !c.at(l) || c.gotEnd {
		c.mu.Unlock()
		return
	}
	c.gotEnd = true
	c.handOver(nil)
}

// handOver gives the request what there is, in order: b, or what came in between. The lock is
// held, and released.
func (c *call) handOver(b []byte) {
	if c.flowing {
		c.inbox = append(c.inbox, b...)
		c.unlock()
		return
	}
	c.flowing = true
	c.pump(b)
}

// pump is handOver of the goroutine that has flowing.
func (c *call) pump(b []byte) {
	for {
		if len(b) == 0 {
			b, c.inbox = c.inbox, nil
		}
		switch {
		case c.void:
			c.took(len(b))
		case len(b) > 0:
			c.unlock()
			c.next.Data(b)
			c.mu.Lock()
			b = nil
			continue
		case c.gotEnd && !c.endDone:
			c.endDone = true
			c.unlock()
			c.next.End(nil)
			c.mu.Lock()
			continue
		}
		break
	}
	c.flowing = false
	last := c.last
	c.last = nil
	c.unlock()
	if last != nil {
		c.close(*last)
	}
}

// unlock releases the lock, and has links written that have something now.
func (c *call) unlock() {
	flush := c.flush
	c.flush = [2]*link{}
	c.mu.Unlock()
	for _, l := range flush {
		if l != nil {
			c.s.o.Work.Add(l)
		}
	}
}

// queued remembers a link that is to be written. The lock is held.
func (c *call) queued(l *link, add bool) {
	switch {
	case !add:
	case c.flush[0] == nil:
		c.flush[0] = l
	default:
		c.flush[1] = l
	}
}

// wake has the link cut frames of the call. The lock is held.
func (c *call) wake() {
	if c.link != nil && !c.ready {
		c.ready = true
		c.queued(c.link, c.link.push(c))
	}
}

// take counts request bytes that were taken. The lock is held.
func (c *call) take(n int) {
	switch {
	case n == 0:
	case c.recv.Take(n):
		c.creditDue = true
		c.wake()
	case c.resumable() && c.link != nil && !c.owes && !c.creditDue:
		c.owes = true
		c.link.owe(c)
	}
}

// took is take of what the request was given, in which there may be datagrams. The lock is held.
func (c *call) took(n int) {
	if c.lossy != nil && n > 0 {
		n = c.lossy.taken(n)
	}
	c.take(n)
}

// pay sends the CREDIT that was put off.
func (c *call) pay(l *link) {
	c.mu.Lock()
	if c.at(l) && c.owes {
		c.owes = false
		c.creditDue = c.creditDue || c.recv.Owes()
		c.wake()
	}
	c.unlock()
}

// credit takes CREDIT.
func (c *call) credit(l *link, f duplex.CreditFrame) error {
	c.mu.Lock()
	if !c.at(l) {
		c.mu.Unlock()
		return nil
	}
	n, err := c.send.Credit(f.Taken, f.Window)
	if err != nil {
		c.mu.Unlock()
		return err
	}
	c.send.Idle()
	c.account()
	c.acked = c.acked || f.Got == duplex.GotEnd && c.sentEnd && c.resumable()
	done := c.acked
	if c.send.Pending() {
		c.wake()
	}
	pass := n > 0 && !c.closed && c.next != nil
	if pass {
		c.busy.Add(1)
	}
	c.unlock()
	if pass {
		c.next.Credit(n)
		c.exit()
	}
	if done {
		c.close(true)
	}
	return nil
}

// account takes the memory that the call keeps, or gives it back. The lock is held. It says false if
// there is none.
func (c *call) account() bool {
	d := c.send.Buffered() + len(c.inbox) - c.reserved
	if d == 0 {
		return true
	}
	if !c.s.o.Reserve(d) {
		return false
	}
	c.reserved += d
	return true
}

// cancel takes CANCEL.
func (c *call) cancel(l *link) {
	c.mu.Lock()
	if !c.at(l) {
		c.mu.Unlock()
		return
	}
	c.giveUpLocked(exchange.Cancel)
}

// lost says that a link is gone.
func (c *call) lost(l *link, code exchange.Code) {
	c.mu.Lock()
	switch {
	case !c.at(l):
		c.mu.Unlock()
	case code == exchange.Cancel || !c.resumable() || c.mute:
		c.giveUpLocked(code)
	default:
		c.leave()
		c.unlock()
		c.s.wait(c)
	}
}

// leave takes the call from its link. The lock is held.
func (c *call) leave() {
	if l := c.link; l != nil {
		c.queued(l, l.detach(c, c.n))
	}
	c.lossy.stop()
	c.link, c.ready, c.owes = nil, false, false
}

// giveUp ends the call for the client's part: nobody waits for its response any more.
func (c *call) giveUp(code exchange.Code) {
	c.mu.Lock()
	c.giveUpLocked(code)
}

// giveUpLocked is giveUp by who has just looked whether that is so. The lock is held, and released.
func (c *call) giveUpLocked(code exchange.Code) {
	c.leave()
	c.mute = true
	c.send.Free()
	c.account()
	ended := c.ended
	reset := c.stop(code)
	c.unlock()
	if reset {
		c.next.Reset(code)
		c.exit()
	}
	if ended {
		c.close(false)
	}
}

// stop has nothing more handed over, and says whether the request is to be reset by whoever asks, who calls exit
// then. The lock is held.
func (c *call) stop(code exchange.Code) bool {
	if c.void || c.ended {
		return false
	}
	c.void = true
	if !c.begun {
		c.reset = code
		return false
	}
	c.busy.Add(1)
	return true
}

// doneWaits is added to busy once Done is due.
const doneWaits = 1 << 30

// exit follows a call into next that was counted as busy: under the lock, while the call was not closed.
func (c *call) exit() {
	if c.busy.Add(-1) != doneWaits {
		return
	}
	c.mu.Lock()
	var last *bool
	if !c.flowing { // else who hands over looks when that is done
		last, c.last = c.last, nil
	}
	c.mu.Unlock()
	if last != nil {
		c.close(*last)
	}
}

// fail ends the call with a status of the gateway's.
func (c *call) fail(st rpc.Status) {
	c.mu.Lock()
	reset := c.stop(exchange.Cancel)
	if c.end == nil {
		c.failed = true
		c.send.Free()
		c.account()
		c.end = fields.Append(c.lossy.appendSent(nil), grpc.AppendStatus(nil, st))
		c.wake()
	}
	waits := c.waits()
	c.unlock()
	if waits {
		c.s.grow(c)
	}
	if reset {
		c.next.Reset(exchange.Cancel)
		c.exit()
	}
}

// Inform implements [exchange.Response].
func (c *call) Inform(*exchange.ResponseHead) {}

// Head implements [exchange.Response].
func (c *call) Head(h *exchange.ResponseHead, end bool) {
	list := make([]exchange.Field, 0, len(h.Fields))
	for _, f := range h.Fields {
		if f.Name != "content-type" || !strings.HasPrefix(f.Value, "application/grpc") {
			list = append(list, f)
		}
	}
	if end {
		if _, ok := grpc.ReadStatus(list); !ok {
			list = grpc.AppendStatus(list, rpc.Errorf(grpc.FromHTTP(h.Status), "HTTP status %d without grpc-status", h.Status))
		}
		c.finish(list)
		return
	}
	c.mu.Lock()
	if !c.mute && c.end == nil {
		c.head = fields.Append(c.lossy.appendAgreed(make([]byte, 0, 64)), list)
		c.wake()
	}
	waits := c.waits()
	c.unlock()
	if waits {
		c.s.grow(c)
	}
}

// Data implements [exchange.Response].
func (c *call) Data(b []byte) {
	c.mu.Lock()
	if c.mute || c.end != nil {
		c.unlock()
		c.next.Credit(len(b))
		return
	}
	var grams grams
	if c.lossy != nil {
		grams = c.lossy.send(b, c.send.Write)
	} else {
		c.send.Write(b)
	}
	ok := c.account()
	c.wake()
	waits := c.waits()
	c.unlock()
	grams.send(c.next)
	switch {
	case !ok:
		c.s.o.LimitHit("buffer_bytes")
		c.fail(grpc.BuffersFull)
	case waits:
		c.s.grow(c)
	}
}

// End implements [exchange.Response].
func (c *call) End(trailer []exchange.Field) {
	if _, ok := grpc.ReadStatus(trailer); !ok {
		trailer = grpc.AppendStatus(slices.Clone(trailer), rpc.Status{Code: rpc.Internal, Message: "the response ended without grpc-status"})
	}
	c.finish(trailer)
}

// Reset implements [exchange.Response].
func (c *call) Reset(code exchange.Code, cause error) {
	st := rpc.Status{Code: grpc.FromReset(code), Message: "the call was reset: " + code.String(), Cause: cause}
	if said, ok := errors.AsType[rpc.Status](cause); ok {
		st = said
	}
	c.finish(grpc.AppendStatus(nil, st))
}

// Credit implements [exchange.Response].
func (c *call) Credit(n int) {
	c.mu.Lock()
	c.took(n)
	c.unlock()
}

// finish has the end of the response.
func (c *call) finish(list []exchange.Field) {
	c.mu.Lock()
	c.ended, c.void = true, true
	if c.end == nil {
		if c.lossy != nil {
			c.lossy.flush(c.send.Write) // a message that was cut has to be seen as such
		}
		c.end = fields.Append(c.lossy.appendSent(make([]byte, 0, 64)), list)
	}
	c.wake()
	gone, acked := c.mute || c.acked || c.sentEnd && !c.resumable(), c.acked
	waits := c.waits()
	c.unlock()
	switch {
	case gone:
		c.close(acked)
	case waits:
		c.s.grow(c)
	}
}

// cut appends frames of the call to b, about as many bytes as there is room for. more says that there
// is more, done that END was among them and nothing else is to come.
func (c *call) cut(l *link, b []byte, room int) (_ []byte, more, done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at(l) {
		return b, false, false
	}
	form, start := l.form, len(b)
	if c.resumed != nil {
		b = form.Append(b, duplex.Resumed, c.n, c.resumed)
		c.resumed = nil
	}
	if c.creditDue {
		c.creditDue, c.owes = false, false
		b = form.AppendCredit(b, c.n, c.recv.Credit(c.got()))
	}
	if c.head != nil && !c.sentHead {
		c.sentHead = true
		b = form.Append(b, duplex.Headers, c.n, c.head)
	}
	for left := room - (len(b) - start); left > 0 && c.send.Pending(); left = room - (len(b) - start) {
		b = form.Append(b, duplex.Data, c.n, c.send.Next(min(left, duplex.MaxData)))
	}
	c.send.Idle()
	if c.send.Pending() {
		return b, true, false // still ready
	}
	if c.end != nil && !c.sentEnd && c.send.Drained() {
		c.sentEnd = true
		b = form.Append(b, duplex.End, c.n, c.end)
		done = !c.resumable()
	}
	if !c.resumable() {
		c.account()
	}
	c.ready = false
	return b, false, done
}

// got is the mark of what came up.
func (c *call) got() duplex.Mark {
	if c.gotEnd {
		return duplex.GotEnd
	}
	return duplex.GotHeaders
}

// sent says that END has left, after which a call that can't be resumed is over.
func (c *call) sent(l *link) {
	c.mu.Lock()
	c.leave()
	ended := c.ended
	c.unlock()
	if ended {
		c.close(true)
	}
}

// close is the last of the call, once its response has ended.
func (c *call) close(delivered bool) {
	c.mu.Lock()
	switch {
	case c.closed || !c.ended:
		c.mu.Unlock()
		return
	case c.flowing || c.busy.Or(doneWaits)&^doneWaits > 0: // Done comes after everything
		if c.last == nil {
			c.last = &delivered
		}
		c.mu.Unlock()
		return
	}
	c.closed, c.mute = true, true
	c.leave()
	c.send.Free()
	c.inbox, c.head, c.end = nil, nil, []byte{}
	c.account()
	stop, conn := c.stopWait, c.conn
	c.stopWait = nil
	c.unlock()
	if stop != nil {
		stop()
	}
	conn.end()
	c.unregister()
	c.next.Done(delivered)
}
