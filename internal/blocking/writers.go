package blocking

import (
	"sync"
	"time"
)

// Writers are goroutines that write. Each is kept a while when it has nothing more to do, for
// the next one who begins to write: a new goroutine would have to make its stack grow first, which
// costs as much as a small message. Nil begins a new one each time. Close ends it.
type Writers struct {
	mu     sync.Mutex
	idle   []chan func() // the last one is taken first
	unused int           // of idle, from the first on: not taken since the last tick
	ticks  bool
	closed bool
}

const (
	// maxIdleWriters bounds the stacks that are kept.
	maxIdleWriters = 64
	// writersTick is how often those end that were not needed meanwhile.
	writersTick = time.Second
)

// start runs f on a goroutine, which f's owner waits for.
func (w *Writers) start(f func()) {
	if w == nil {
		go f()
		return
	}
	w.mu.Lock()
	n := len(w.idle) - 1
	if n < 0 {
		w.mu.Unlock()
		go w.run(f) // ends by itself, or with Close, when it has nothing to do
		return
	}
	take := w.idle[n]
	w.idle[n] = nil
	w.idle = w.idle[:n]
	w.unused = min(w.unused, n)
	w.mu.Unlock()
	take <- f
}

// run runs f, and what comes after it.
func (w *Writers) run(f func()) {
	next := make(chan func(), 1)
	for f != nil {
		f()
		w.mu.Lock()
		if w.closed || len(w.idle) >= maxIdleWriters {
			w.mu.Unlock()
			return
		}
		w.idle = append(w.idle, next)
		if !w.ticks {
			w.ticks = true
			time.AfterFunc(writersTick, w.tick)
		}
		w.mu.Unlock()
		f = <-next
	}
}

// tick ends those that nobody has needed.
func (w *Writers) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.idle[:w.unused] {
		close(c)
	}
	n := copy(w.idle, w.idle[w.unused:])
	clear(w.idle[n:])
	w.idle = w.idle[:n]
	w.unused = n
	if w.ticks = n > 0; w.ticks {
		time.AfterFunc(writersTick, w.tick)
	}
}

// Close ends those that have nothing to do, and each other one when that is so.
func (w *Writers) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, c := range w.idle {
		close(c)
	}
	w.idle, w.unused = nil, 0
}
