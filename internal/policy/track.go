package policy

import (
	"sync"
	"sync/atomic"

	"github.com/sluice-rpc/sluice/rpc"
)

// Calls knows the calls that run, so that a gateway that ends can end each of them
// with a status instead of a broken connection.
type Calls struct {
	next   atomic.Uint32
	shards [16]callShard
}

type callShard struct {
	mu   sync.Mutex
	head *tracked
	n    int
	_    [40]byte // keeps two shards off one cache line
}

// tracked is a running call, in the list of its shard.
type tracked struct {
	rpc.Request
	shard      *callShard
	next, prev *tracked
	canceling  bool         // CancelAll is calling Cancel, so Done waits
	outcome    *rpc.Outcome // of a Done that waits
}

// Track wraps next so that its calls are known.
func (c *Calls) Track(next rpc.Handler) rpc.Handler {
	return rpc.HandlerFunc(func(call *rpc.Call, response rpc.Response) rpc.Request {
		t := &tracked{shard: &c.shards[c.next.Add(1)%uint32(len(c.shards))]}
		t.Request = next.Start(call, response)
		return t
	})
}

// Begin puts the call on the list. It comes first, so nothing is canceled that has not
// begun.
func (t *tracked) Begin() {
	s := t.shard
	s.mu.Lock()
	t.next = s.head
	if s.head != nil {
		s.head.prev = t
	}
	s.head = t
	s.n++
	s.mu.Unlock()
	t.Request.Begin()
}

// Done takes the call off the list.
func (t *tracked) Done(outcome rpc.Outcome) {
	s := t.shard
	s.mu.Lock()
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		s.head = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	s.n--
	if t.canceling {
		late := outcome // not outcome itself: it would be on the heap for every call
		t.outcome = &late
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	t.Request.Done(outcome)
}

// Len returns how many calls run.
func (c *Calls) Len() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += s.n
		s.mu.Unlock()
	}
	return n
}

// CancelAll cancels every call that runs.
func (c *Calls) CancelAll(cause rpc.Status) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		batch := make([]*tracked, 0, s.n)
		for t := s.head; t != nil; t = t.next {
			t.canceling = true
			batch = append(batch, t)
		}
		s.mu.Unlock()
		for _, t := range batch {
			t.Request.Cancel(cause)
			s.mu.Lock()
			t.canceling = false
			outcome := t.outcome
			s.mu.Unlock()
			if outcome != nil {
				t.Request.Done(*outcome)
			}
		}
	}
}
