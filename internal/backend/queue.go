package backend

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-rpc/sluice/rpc"
)

// A queue holds the calls that wait, in order. Whoever removes a waiter, and only
// he, goes on with it: the one who found a connection, the timer, or the client that
// gave up.
type queue struct {
	limit int
	n     atomic.Int64 // so that the hot path sees without the lock that nobody waits

	mu     sync.Mutex
	first  *waiter
	last   *waiter
	closed bool
}

// A waiter is a call in a queue: one that was not started yet has a hold, one that
// waits for its replay a retry.
type waiter struct {
	call  *rpc.Call
	hold  *rpc.Hold
	retry *retry
	avoid *conn                       // the connection that refused it last
	look  func(last bool) rpc.Handler // of a SchemaWait

	prev, next *waiter
	queued     bool
	timer      *time.Timer
}

// add puts w at the end of the queue, or at its front, and calls expire after d if
// it is still there then. It says false if the queue is full or closed.
func (q *queue) add(w *waiter, front bool, d time.Duration, expire func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.n.Load() >= int64(q.limit) {
		return false
	}
	q.n.Add(1)
	w.queued = true
	switch {
	case q.first == nil:
		q.first, q.last = w, w
	case front:
		w.next, q.first.prev = q.first, w
		q.first = w
	default:
		w.prev, q.last.next = q.last, w
		q.last = w
	}
	w.timer = time.AfterFunc(d, func() {
		if q.remove(w) {
			expire()
		}
	})
	return true
}

// remove takes w out. It says false if someone else did before.
func (q *queue) remove(w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !w.queued {
		return false
	}
	w.queued = false
	w.timer.Stop()
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.last = w.prev
	}
	w.prev, w.next = nil, nil
	q.n.Add(-1)
	return true
}

// front returns the first waiter, which stays in the queue, or nil.
func (q *queue) front() *waiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.first
}

// all returns everyone who waits, in order.
func (q *queue) all() []*waiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	var ws []*waiter
	for w := q.first; w != nil; w = w.next {
		ws = append(ws, w)
	}
	return ws
}

// fail ends the call.
func (w *waiter) fail(st rpc.Status) {
	if w.hold != nil {
		w.hold.Fail(st)
	} else {
		w.retry.fail(st)
	}
}

// close refuses whoever comes from now on.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
}
