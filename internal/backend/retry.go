package backend

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

const (
	// replayMax bounds what is kept for a replay.
	replayMax = rpc.HoldMax
	// refusedMax is how often a call is replayed after the server itself refused it:
	// one that refuses twice means it.
	refusedMax = 1
	// goneMax is how often a call is replayed because its connection was draining,
	// broken or full when it came: bad luck, which servers that restart repeat.
	goneMax = 3
)

// A retry is one exchange with the backend, made of tries on connections. It keeps
// the request until the first response event or 64 KiB. A try that ends with
// RefusedStream before that was not processed (RFC 9113, section 8.7): the request
// is replayed on another connection, or waits for one. Anything else, and everything
// after the first response event, goes through as it is.
//
// After the first response event ("direct") the retry only passes events on. Before
// it, mu guards who is in charge:
//
//   - cur is the try that events go to, nil while there is none; then the retry
//     waits in the queue, or is being started.
//   - Request events go to cur on the goroutine that brings them, except while a
//     replay is flowing: then they are kept, and the goroutine that flows delivers.
//   - A try that was given up gets its Done when the last call into it has returned
//     (busy).
//
// Credit: a replay takes bytes again that the client was told of already. Each try
// counts for itself, and the client hears only of what exceeds that.
type retry struct {
	b        *Backend
	response exchange.Response
	direct   atomic.Bool // a response event came, and nothing kept is left to deliver
	first    try         // in here, to allocate once

	mu        sync.Mutex
	cur       *try
	kept      *kept // nil when nothing can be replayed any more
	sent      int   // of kept.body, to cur
	trailer   []exchange.Field
	ended     bool // End came
	canceled  bool // Reset came
	code      exchange.Code
	failed    error   // ended here, not by the client: the request outgrew what is kept
	committed bool    // a response event came
	settled   bool    // a Reset was passed on
	waiting   *waiter // in the queue
	over      bool    // ended without a try
	done      bool
	delivered bool
	refused   int
	replays   int
	credited  int // request bytes that the client was told of
}

// A try is a retry on one connection, and the place where its response goes.
type try struct {
	r         *retry
	c         *conn
	req       exchange.Request
	committed bool // of the goroutine that delivers response events

	// Guarded by r.mu.
	busy     int  // calls into req that have not returned
	givenUp  bool // replaced: Done when busy is zero
	flowing  bool // a goroutine hands over what is kept
	endSent  bool
	codeSent bool
	credited int
}

// A kept is what a replay needs.
type kept struct {
	head   exchange.RequestHead
	fields []exchange.Field
	body   *keptBody // nil until there is some: a call may be silent for long
	large  int64     // bytes of body counted in Backend.kept
}

type keptBody struct{ b []byte }

func (k *kept) len() int {
	if k.body == nil {
		return 0
	}
	return len(k.body.b)
}

func (k *kept) append(b []byte) {
	if k.body == nil {
		k.body = bodyPool.Get().(*keptBody)
	}
	k.body.b = append(k.body.b, b...)
}

var keptPool = sync.Pool{New: func() any { return new(kept) }}

var bodyPool = sync.Pool{New: func() any { return &keptBody{b: make([]byte, 0, 512)} }}

// keptLimit bounds what all calls of a Backend keep beyond keptCap each. Above it
// large requests are not kept, and so not replayed. What is kept may have been
// credited already, so no window bounds it: uploads to a backend that says nothing come
// to this limit, with what the collector adds.
const keptLimit = 16 << 20

// keptCap bounds a body that goes back to the pool: a buffer is held as long as a
// backend keeps its first answer to itself, so it should fit a common request.
const keptCap = 4 << 10

func keep(head *exchange.RequestHead) *kept {
	k := keptPool.Get().(*kept)
	if n := len(head.Fields); cap(k.fields) < n {
		k.fields = make([]exchange.Field, 0, (n+3)&^3) // hardly more: a call may be silent for long
	}
	k.fields = append(k.fields[:0], head.Fields...)
	k.head = *head
	k.head.Fields = k.fields
	return k
}

// dropLocked gives up what is kept. After a replay, someone may still read it.
func (r *retry) dropLocked() {
	k := r.kept
	r.kept = nil
	if k == nil {
		return
	}
	if k.large > 0 {
		r.b.kept.Add(-k.large)
		k.large = 0
	}
	if r.replays > 0 {
		return
	}
	if k.body != nil && cap(k.body.b) <= keptCap {
		k.body.b = k.body.b[:0]
		bodyPool.Put(k.body)
	}
	k.body = nil
	if cap(k.fields) > 64 {
		return
	}
	clear(k.fields)
	k.head = exchange.RequestHead{}
	keptPool.Put(k)
}

func newRetry(c *conn, head *exchange.RequestHead, response exchange.Response) *retry {
	r := &retry{b: c.b, response: response, kept: keep(head)}
	r.first = try{r: r, c: c, busy: 1}
	r.cur = &r.first
	c.started.Add(1)
	r.first.req = c.wire.Start(&r.kept.head, &r.first)
	return r
}

// Begin implements exchange.Request.
func (r *retry) Begin() {
	t := &r.first
	t.req.Begin()
	r.leave(t)
}

// enterLocked returns the try to call, and counts the call; nil if there is none to
// call now.
func (r *retry) enterLocked() *try {
	t := r.cur
	if t == nil || t.flowing {
		return nil
	}
	t.busy++
	return t
}

// leave counts a call into t out.
func (r *retry) leave(t *try) {
	r.mu.Lock()
	t.busy--
	done := t.givenUp && t.busy == 0
	r.mu.Unlock()
	if done {
		t.req.Done(false)
	}
}

// Data implements exchange.Request.
func (r *retry) Data(b []byte) {
	if r.direct.Load() {
		r.cur.req.Data(b)
		return
	}
	r.mu.Lock()
	if r.over || r.canceled || r.failed != nil {
		r.mu.Unlock()
		return
	}
	t := r.enterLocked()
	if r.kept != nil {
		switch {
		case r.kept.len()+len(b) <= replayMax && r.chargeLocked(r.kept.len()+len(b)):
			r.kept.append(b)
			if t != nil {
				r.sent = r.kept.len()
			}
		case t != nil:
			r.dropLocked()
		case r.cur != nil: // being handed over at this moment
			r.kept.append(b)
		default: // there is nobody to give it to
			r.failLocked(errTooLarge)
			return
		}
	}
	r.mu.Unlock()
	if t != nil {
		t.req.Data(b)
		r.leave(t)
	}
}

// chargeLocked counts a body that grows to n bytes, and says false if all bodies
// together are too large for that.
func (r *retry) chargeLocked(n int) bool {
	more := int64(n-keptCap) - r.kept.large
	if more <= 0 {
		return true
	}
	if r.b.kept.Add(more) > keptLimit {
		r.b.kept.Add(-more)
		return false
	}
	r.kept.large += more
	return true
}

var errTooLarge = errors.New("backend refused the call after more of the request had come than is kept for a replay")

// failLocked ends the exchange from this side. It unlocks.
func (r *retry) failLocked(err error) {
	if r.over || r.failed != nil || r.canceled {
		r.mu.Unlock()
		return
	}
	w := r.waiting
	if w == nil { // the goroutine that starts or flows resets the try, which ends us
		r.failed = err
		r.canceled, r.code = true, exchange.Cancel
		r.mu.Unlock()
		return
	}
	r.endLocked()
	r.mu.Unlock()
	r.b.queue.remove(w)
	r.response.Reset(exchange.RefusedStream, err)
}

// endLocked marks the end while there is no try.
func (r *retry) endLocked() {
	r.over, r.waiting = true, nil
	r.dropLocked()
}

// End implements exchange.Request.
func (r *retry) End(trailer []exchange.Field) {
	if r.direct.Load() {
		r.cur.req.End(trailer)
		return
	}
	r.mu.Lock()
	r.ended, r.trailer = true, slices.Clone(trailer)
	t := r.enterLocked()
	if t != nil {
		t.endSent = true
	}
	r.mu.Unlock()
	if t != nil {
		t.req.End(trailer)
		r.leave(t)
	}
}

// Reset implements exchange.Request.
func (r *retry) Reset(code exchange.Code) {
	if r.direct.Load() {
		r.cur.req.Reset(code)
		return
	}
	r.mu.Lock()
	if r.over || r.canceled {
		r.mu.Unlock()
		return
	}
	if w := r.waiting; w != nil { // nobody else delivers, so we do
		r.endLocked()
		r.mu.Unlock()
		r.b.queue.remove(w)
		r.response.Reset(code, nil)
		return
	}
	r.canceled, r.code = true, code
	t := r.enterLocked()
	if t != nil {
		t.codeSent = true
	}
	r.mu.Unlock()
	if t != nil {
		t.req.Reset(code)
		r.leave(t)
	}
}

// Credit implements exchange.Request. Response bytes come after the commit only.
func (r *retry) Credit(n int) {
	if r.direct.Load() {
		r.cur.req.Credit(n)
		return
	}
	r.mu.Lock()
	t := r.cur
	if t == nil {
		r.mu.Unlock()
		return
	}
	t.busy++
	r.mu.Unlock()
	t.req.Credit(n)
	r.leave(t)
}

// Done implements exchange.Request.
func (r *retry) Done(delivered bool) {
	if r.direct.Load() {
		r.cur.req.Done(delivered)
		return
	}
	r.mu.Lock()
	t := r.cur
	if t != nil && t.flowing {
		r.done, r.delivered = true, delivered
		t = nil
	}
	r.mu.Unlock()
	if t != nil {
		t.req.Done(delivered)
	}
}

// start begins a replay on c, and says false if the exchange has ended meanwhile.
func (r *retry) start(c *conn) bool {
	r.mu.Lock()
	if r.over {
		r.mu.Unlock()
		return false
	}
	r.waiting = nil
	t := &try{r: r, c: c, busy: 1, flowing: true}
	head := &r.kept.head
	r.mu.Unlock()
	c.started.Add(1)
	t.req = c.wire.Start(head, t)
	r.mu.Lock()
	r.cur = t
	r.mu.Unlock()
	t.req.Begin()
	r.flow(t)
	return true
}

// flow hands over to t what is kept, and what comes meanwhile.
func (r *retry) flow(t *try) {
	for {
		r.mu.Lock()
		switch {
		case r.cur != t: // given up meanwhile: another goroutine flows
			r.mu.Unlock()
			r.leave(t)
			return
		case r.canceled && !t.codeSent:
			t.codeSent = true
			r.mu.Unlock()
			t.req.Reset(r.code)
		case !r.canceled && r.kept != nil && r.sent < r.kept.len():
			b := r.kept.body.b[r.sent:]
			r.sent = r.kept.len()
			r.mu.Unlock()
			t.req.Data(b)
		case !r.canceled && r.ended && !t.endSent:
			t.endSent = true
			r.mu.Unlock()
			t.req.End(r.trailer)
		default:
			t.flowing = false
			t.busy--
			if r.committed || r.settled {
				r.dropLocked()
			}
			if r.committed {
				r.direct.Store(true)
			}
			done := r.done
			r.mu.Unlock()
			if done {
				t.req.Done(r.delivered)
			}
			return
		}
	}
}

// fail ends a retry that waits.
func (r *retry) fail(err error) {
	r.mu.Lock()
	if r.over || r.waiting == nil {
		r.mu.Unlock()
		return
	}
	r.endLocked()
	r.mu.Unlock()
	r.response.Reset(exchange.RefusedStream, err)
}

// commit notes that a response event came: from now on there is no replay.
func (t *try) commit() {
	if t.committed {
		return
	}
	t.committed = true
	if !t.c.proved.Load() {
		t.c.proved.Store(true)
	}
	r := t.r
	r.mu.Lock()
	r.committed = true
	if !t.flowing {
		r.dropLocked()
		r.direct.Store(true)
	}
	r.mu.Unlock()
}

// finish counts the exchange out of its connection.
func (t *try) finish() {
	t.c.ended.Add(1)
	if t.c.b.queue.n.Load() > 0 {
		t.c.b.kick()
	}
}

// Inform implements exchange.Response.
func (t *try) Inform(h *exchange.ResponseHead) {
	t.commit()
	t.r.response.Inform(h)
}

// Head implements exchange.Response.
func (t *try) Head(h *exchange.ResponseHead, end bool) {
	t.commit()
	if end {
		t.finish()
	}
	t.r.response.Head(h, end)
}

// Data implements exchange.Response.
func (t *try) Data(b []byte) { t.r.response.Data(b) }

// End implements exchange.Response.
func (t *try) End(trailer []exchange.Field) {
	t.commit()
	t.finish()
	t.r.response.End(trailer)
}

// Reset implements exchange.Response.
func (t *try) Reset(code exchange.Code, cause error) {
	t.finish()
	r := t.r
	if t.committed {
		r.response.Reset(code, cause)
		return
	}
	// Did the server refuse, or had the connection no room to begin with?
	opinion := !t.c.gone.Load() && t.c.wire.Available() > 0
	r.mu.Lock()
	again := code == exchange.RefusedStream && !r.canceled && r.kept != nil && r.replays < goneMax
	if again && opinion {
		again = r.refused < refusedMax
		r.refused++
	}
	if !again {
		if r.failed != nil {
			code, cause = exchange.RefusedStream, r.failed
		}
		r.settled = true
		if !t.flowing {
			r.dropLocked()
		}
		r.mu.Unlock()
		r.response.Reset(code, cause)
		return
	}
	r.replays++
	r.cur, r.sent = nil, 0
	t.givenUp = true
	done := t.busy == 0
	r.mu.Unlock()
	if done {
		t.req.Done(false)
	}
	r.b.replay(r, t.c)
}

// Credit implements exchange.Response.
func (t *try) Credit(n int) {
	r := t.r
	if r.direct.Load() && r.replays == 0 {
		r.response.Credit(n)
		return
	}
	r.mu.Lock()
	if r.cur != t { // a late word of a try that was given up
		r.mu.Unlock()
		return
	}
	t.credited += n
	n = t.credited - r.credited
	if n > 0 {
		r.credited = t.credited
	}
	r.mu.Unlock()
	if n > 0 {
		r.response.Credit(n)
	}
}

// wait notes that the retry is in the queue as w. If the client has given up in the
// meantime it ends the exchange instead, and says false.
func (r *retry) wait(w *waiter) bool {
	r.mu.Lock()
	if !r.canceled {
		r.waiting = w
		r.mu.Unlock()
		return true
	}
	code, cause := r.code, r.failed
	if cause != nil {
		code = exchange.RefusedStream
	}
	r.endLocked()
	r.mu.Unlock()
	r.response.Reset(code, cause)
	return false
}

func (r *retry) isOver() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over
}
