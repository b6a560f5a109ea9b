package policy

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Wheel calls timers that are mostly stopped before they fire: the deadlines of
// calls. Starting and stopping one is a list operation; firing is late by at most two
// ticks and never early. Its goroutine exists only while timers do.
type Wheel struct {
	shards [wheelShards]wheelShard
	next   atomic.Uint32
	start  time.Time

	mu     sync.Mutex
	armed  atomic.Int64 // timers on the wheel
	stop   chan struct{}
	closed bool
}

const (
	wheelShards = 8
	wheelSlots  = 512
	wheelTick   = 10 * time.Millisecond
)

type wheelShard struct {
	mu    sync.Mutex
	seen  int64 // ticks up to here are done
	slots [wheelSlots]*wheelTimer
}

// timed is what a timer calls.
type timed interface{ fire() }

// wheelTimer is a timer that is part of what it times.
type wheelTimer struct {
	owner      timed
	shard      *wheelShard
	next, prev *wheelTimer
	tick       int64
	on         bool // it stands in a slot
}

// NewWheel returns a Wheel without timers.
func NewWheel() *Wheel { return &Wheel{start: time.Now()} }

func (w *Wheel) now() int64 { return int64(time.Since(w.start) / wheelTick) }

// arm has the owner's fire called at the time at, on the wheel's goroutine.
func (w *Wheel) arm(t *wheelTimer, at time.Time) {
	s := &w.shards[w.next.Add(1)%wheelShards]
	tick := int64(at.Sub(w.start)/wheelTick) + 1 // never early
	s.mu.Lock()
	t.shard, t.tick, t.on = s, max(tick, s.seen+1), true
	slot := &s.slots[t.tick%wheelSlots]
	t.next = *slot
	if t.next != nil {
		t.next.prev = t
	}
	*slot = t
	s.mu.Unlock()
	if w.armed.Add(1) == 1 {
		w.wake()
	}
}

// disarm takes t off the wheel. It says false if t was not on it: then it fires, or
// has fired.
func (w *Wheel) disarm(t *wheelTimer) bool {
	s := t.shard
	s.mu.Lock()
	on := t.on
	if on {
		s.remove(t)
	}
	s.mu.Unlock()
	if on {
		w.armed.Add(-1)
	}
	return on
}

func (s *wheelShard) remove(t *wheelTimer) {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		s.slots[t.tick%wheelSlots] = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.next, t.prev, t.on = nil, nil, false
}

func (w *Wheel) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stop == nil && !w.closed {
		w.stop = make(chan struct{})
		go w.turn(w.stop) // ends when no timer is left, or with Close
	}
}

// Close stops the wheel; timers that are left never fire.
func (w *Wheel) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.stop != nil {
		close(w.stop)
		w.stop = nil
	}
}

func (w *Wheel) turn(stop <-chan struct{}) {
	t := time.NewTicker(wheelTick)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
		}
		now := w.now()
		for i := range w.shards {
			w.shards[i].advance(w, now)
		}
		if w.armed.Load() == 0 && w.rest() {
			return
		}
	}
}

// rest ends the goroutine if no timer came meanwhile.
func (w *Wheel) rest() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.armed.Load() > 0 || w.stop == nil {
		return w.stop == nil
	}
	w.stop = nil
	return true
}

func (s *wheelShard) advance(w *Wheel, now int64) {
	var due *wheelTimer
	s.mu.Lock()
	from := max(s.seen+1, now-wheelSlots+1)
	for tick := from; tick <= now; tick++ {
		for t := s.slots[tick%wheelSlots]; t != nil; {
			next := t.next
			if t.tick <= now {
				s.remove(t)
				t.next, due = due, t
			}
			t = next
		}
	}
	s.seen = now
	s.mu.Unlock()
	for due != nil {
		t := due
		due, t.next = t.next, nil
		w.armed.Add(-1)
		t.owner.fire()
	}
}
