package netio

import (
	"sync"
	"sync/atomic"
)

// A Flusher has something to write.
type Flusher interface{ Flush() }

// Work is the list of connections that have something to write. Events only append
// to send queues; at the end of its batch of events a goroutine flushes every
// connection on the list. So many small writes become one, and no flush runs inside
// of an event.
//
// A goroutine that delivers many events brackets them with Enter and Leave. One that
// does not need not care: Add flushes at once if nobody is inside.
type Work struct {
	mu     sync.Mutex
	list   []Flusher
	spare  []Flusher
	active atomic.Int32
}

// Add puts f on the list. The caller sees to it that f is on it once.
func (w *Work) Add(f Flusher) {
	w.mu.Lock()
	w.list = append(w.list, f)
	w.mu.Unlock()
	// Whoever is inside looks at the list after it has counted itself out, so either it
	// sees f or we see that nobody is inside.
	if w.active.Load() == 0 {
		w.flush()
	}
}

// Enter begins a batch of events.
func (w *Work) Enter() { w.active.Add(1) }

// Leave ends a batch, and flushes.
func (w *Work) Leave() {
	w.flush()
	if w.active.Add(-1) == 0 {
		w.flush()
	}
}

func (w *Work) flush() {
	for {
		w.mu.Lock()
		batch := w.list
		if len(batch) == 0 {
			w.mu.Unlock()
			return
		}
		w.list, w.spare = w.spare[:0], nil
		w.mu.Unlock()
		for i, f := range batch {
			batch[i] = nil
			f.Flush()
		}
		w.mu.Lock()
		if w.spare == nil {
			w.spare = batch[:0]
		}
		w.mu.Unlock()
	}
}
