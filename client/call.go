package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
	wiregrpc "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// call is the client's half of a call: the state that outlives pipes. Everything is under the
// lock of the client.
type call struct {
	c        *Client
	path     string
	block    []byte // the fields of HEADERS that are the same each time
	failFast bool
	resume   bool                   // it asks for resumption
	lossy    *lossy                 // nil if no message may be lost
	addr     net.Addr               // of the gateway, the last one
	refresh  func() ([]byte, error) // makes the block anew, with fresh credentials
	finished []func(error)          // told of the end
	renewing bool                   // credentials are being asked again
	ctxStop  func() bool            // stops listening to the context

	// Where it is.
	lane   *lane // nil while it waits for a connection
	num    uint32
	phase  phase
	marked bool        // it is among the ready calls of its lane
	corked bool        // HEADERS wait for the message that follows at once
	timer  *time.Timer // ends a call that waits for too long

	// What is known of it to the gateway.
	id       string // "" if it can't be resumed
	ticket   string
	epoch    uint64    // 0: HEADERS were never sent
	first    time.Time // when they were, for the first time
	answered bool      // something came back, so the gateway knows it
	again    bool      // HEADERS were sent again, and nothing came back yet
	orphan   bool      // it is over here; the gateway is still to be told

	// Up.
	up      duplex.Sender
	half    bool // the application has half-closed
	endSent bool

	// Down.
	down     duplex.Receiver
	got      duplex.Mark
	header   metadata.MD
	encoding string
	heads    bool // HEADERS came, or never will
	buf      []byte
	trailer  metadata.MD
	creditIs bool // due
	creditAt *time.Timer

	over     bool           // nothing more comes
	status   *status.Status // then
	readable sync.Cond      // for messages, the header and the end
	writable sync.Cond      // for room
}

// phase is how far a call is on its pipe.
type phase int

const (
	phaseOpening  phase = iota // nothing was sent
	phaseResuming              // RESUME was sent, and not answered
	phaseOpen
)

// creditDelay is how long what was taken may go without CREDIT, in a call that can be resumed.
const creditDelay = 200 * time.Millisecond

func (c *Client) newCall(path string) *call {
	k := &call{c: c, path: path}
	k.readable.L, k.writable.L = &c.mu, &c.mu
	return k
}

// start lets a call wait for a connection.
func (k *call) start(ctx context.Context) {
	c := k.c
	switch {
	case c.closed:
		k.finish(status.New(codes.Canceled, "the client is closed"))
		return
	case k.failFast && c.failing != nil && !c.usable() && now().Before(c.retryAt):
		k.finish(c.unavailable())
		return
	}
	c.waiting = append(c.waiting, k)
	c.place()
	if ctx.Done() != nil {
		k.ctxStop = context.AfterFunc(ctx, func() { k.expire(ctx) })
	}
}

// expire ends a call whose context has ended.
func (k *call) expire(ctx context.Context) {
	k.c.mu.Lock()
	defer k.c.unlock()
	if !k.over { // nobody waits for what came
		k.buf = nil
	}
	k.finish(status.FromContextError(ctx.Err()))
}

func (k *call) isOver() bool { return k.over && !k.orphan }

// attached says where the call is now.
func (k *call) attached(l *lane) {
	k.lane, k.phase, k.addr = l, phaseOpening, l.n.addr
	k.marked = false // the pipe before has closed
	if k.epoch == 0 {
		k.id, k.ticket = "", l.n.welcome.ticket
		if k.resume && k.ticket != "" {
			var b [16]byte
			_, _ = rand.Read(b[:]) // it never fails
			k.id = hex.EncodeToString(b[:])
		}
		k.up.Keep = k.id != ""
	}
	if !k.corked {
		l.mark(k)
	}
}

// uncork lets HEADERS go.
func (k *call) uncork() {
	k.corked = false
	k.send()
}

// send says that there may be something to send.
func (k *call) send() {
	if k.lane != nil && !k.corked {
		k.lane.mark(k)
	}
}

// quota is how much DATA of a call is sent before it is another one's turn.
const quota = duplex.MaxData

// fill appends frames that may be sent now; more says that there is something left.
func (k *call) fill(dst []byte) (_ []byte, more bool) {
	f := k.lane.form
	if k.phase == phaseOpening {
		dst = k.open(dst)
	}
	if k.phase != phaseOpen { // the answer to RESUME is waited for
		if k.orphan {
			dst = f.Append(dst, duplex.Cancel, k.num, nil)
			k.leave()
		}
		return dst, false
	}
	if k.creditIs {
		dst = k.credit(dst)
	}
	if b := k.up.Next(quota); len(b) > 0 {
		dst = f.Append(dst, duplex.Data, k.num, b)
		if !k.up.Keep {
			k.up.Idle()
			k.writable.Broadcast()
		}
	}
	if k.half && !k.endSent && k.up.Drained() {
		dst = f.Append(dst, duplex.End, k.num, nil)
		k.endSent = true
	}
	return dst, k.up.Pending() || k.half && !k.endSent && k.up.Drained()
}

// open appends the frame by which a pipe learns of the call.
func (k *call) open(dst []byte) []byte {
	f := k.lane.form
	k.lane.number(k)
	at := len(dst)
	kind := duplex.Headers
	again := k.epoch > 0
	if again && (k.answered || k.orphan) {
		kind = duplex.Resume
	}
	if !again {
		k.first = now()
	}
	k.epoch++
	dst = f.Begin(dst, kind, k.num)
	if kind == duplex.Headers {
		dst = fields.AppendField(dst, ":path", k.path)
	}
	if k.id != "" {
		dst = fields.AppendField(dst, ":call", k.id)
	}
	if again {
		dst = fields.AppendField(dst, ":ticket", k.ticket)
		dst = fields.AppendField(dst, ":epoch", strconv.FormatUint(k.epoch, 10))
	}
	if k.lossy != nil && !k.over && (k.lane.n.session != nil || kind == duplex.Headers && k.id != "") {
		dst = k.lossy.ask(dst, k)
	}
	k.phase = phaseOpen
	switch {
	case kind == duplex.Resume:
		dst = fields.AppendField(dst, ":got", strconv.Itoa(int(k.got)))
		dst = fields.AppendField(dst, ":received", strconv.FormatUint(k.down.Received(), 10))
		k.phase = phaseResuming
	case again:
		// Nobody knows whether the gateway has the call. If it has, it drops what it got before.
		k.again = true
		k.stopTimers()
		k.endSent = false
		_ = k.up.Rewind(0) // nothing was credited, so everything is there
	}
	return f.Finish(append(dst, k.block...), at)
}

// credit appends a CREDIT.
func (k *call) credit(dst []byte) []byte {
	k.creditIs = false
	if k.creditAt != nil {
		k.creditAt.Stop()
		k.creditAt = nil
	}
	return k.lane.form.AppendCredit(dst, k.num, k.down.Credit(k.got))
}

// took says that n bytes were taken by the application, or are where its message is put together.
func (k *call) took(n int) {
	switch now := k.down.Take(n); {
	case k.over:
	case now:
		k.creditIs = true
		k.send()
	case k.id != "" && k.creditAt == nil && k.down.Owes():
		k.creditAt = time.AfterFunc(creditDelay, k.creditLate)
	}
}

func (k *call) creditLate() {
	k.c.mu.Lock()
	defer k.c.unlock()
	k.creditAt = nil
	if !k.over && k.down.Owes() {
		k.creditIs = true
		k.send()
	}
}

// hears says that something came back.
func (k *call) hears() {
	k.answered = true
	k.lane.n.useful = true
	k.c.failures = 0
}

// receive takes DATA.
func (k *call) receive(b []byte) error {
	if k.phase == phaseResuming {
		return errNotResumed
	}
	k.hears()
	k.again = false
	b, err := k.down.Receive(b)
	if err != nil {
		k.finish(status.Newf(codes.ResourceExhausted, "the gateway sent %v", err))
		return nil
	}
	k.heads = true
	k.buf = append(k.buf, b...)
	k.readable.Broadcast()
	return nil
}

var errNotResumed = errors.New("a frame of a call before RESUMED")

// frame takes a frame that is not DATA.
func (k *call) frame(kind duplex.Kind, payload []byte) error {
	if k.phase == phaseResuming && kind != duplex.Resumed {
		return errNotResumed
	}
	switch kind {
	case duplex.Headers, duplex.End, duplex.Resumed:
		list, err := fields.Parse(nil, payload, maxBlock)
		if err != nil {
			return err
		}
		again := k.again
		k.hears()
		k.again = false
		switch kind {
		case duplex.Headers:
			k.takeHeaders(list)
		case duplex.End:
			k.takeEnd(list)
		default:
			return k.takeResumed(list, again)
		}
	case duplex.Credit:
		credit, err := duplex.ParseCredit(payload)
		if err != nil {
			return err
		}
		k.hears()
		return k.takeCredit(credit)
	default:
		return fmt.Errorf("%v from a server", kind)
	}
	return nil
}

func (k *call) takeHeaders(list []exchange.Field) {
	if k.got >= duplex.GotHeaders { // repeated
		return
	}
	k.got, k.heads = duplex.GotHeaders, true
	k.lossy.answer(list, false)
	k.header, k.encoding = readMetadata(list), exchange.Get(list, "grpc-encoding")
	k.readable.Broadcast()
}

// takeEnd ends the call with what the server said.
func (k *call) takeEnd(list []exchange.Field) {
	k.got = duplex.GotEnd
	k.trailer = readMetadata(list)
	st, ok := wiregrpc.ReadStatus(list)
	if k.id != "" {
		k.lane.control = k.credit(k.lane.control)
		k.lane.wake.Signal()
		k.lane.n.acknowledged(k)
	}
	if !ok {
		k.finish(status.New(codes.Internal, "the call ended without grpc-status"))
		return
	}
	k.finish(fromStatus(st))
}

func (k *call) takeCredit(credit duplex.CreditFrame) error {
	if _, err := k.up.Credit(credit.Taken, credit.Window); err != nil {
		return err
	}
	k.up.Idle()
	k.writable.Broadcast()
	if k.up.Pending() {
		k.send()
	}
	return nil
}

// halfClose: the application says that it sends nothing more.
func (k *call) halfClose() {
	k.half, k.corked = true, false
	k.send()
}

// finish ends the call for the application, once. The gateway is told if it does not know.
func (k *call) finish(st *status.Status) {
	if k.over {
		return
	}
	k.over, k.status, k.heads = true, st, true
	k.stopTimers()
	if k.ctxStop != nil {
		k.ctxStop()
	}
	for _, f := range k.finished {
		k.c.later(func() { f(st.Err()) })
	}
	k.up.Free()
	k.lossy.stop()
	k.readable.Broadcast()
	k.writable.Broadcast()
	switch {
	case k.lane == nil && k.epoch > 0 && k.id != "" && !k.c.closed:
		// It waits for a connection, so the gateway has it: it is told when there is one.
		k.orphan = true
		k.timer = time.AfterFunc(time.Minute, k.abandon)
		return
	case k.lane == nil:
		k.c.unwait(k)
	case k.got == duplex.GotEnd || k.phase == phaseOpening && k.epoch == 0 || k.lane.closed:
		k.leave()
	case k.phase == phaseOpening: // between two pipes
		k.orphan, k.corked = true, false
		k.send()
	default:
		l := k.lane
		l.control = l.form.Append(l.control, duplex.Cancel, k.num, nil)
		l.wake.Signal()
		k.leave()
	}
}

// leave takes the call from its pipe.
func (k *call) leave() {
	k.orphan = false
	n := k.lane.n
	n.detach(k)
}

func (k *call) stopTimers() {
	for _, t := range []**time.Timer{&k.timer, &k.creditAt} {
		if *t != nil {
			(*t).Stop()
			*t = nil
		}
	}
}
