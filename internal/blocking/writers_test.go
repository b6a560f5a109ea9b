package blocking

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// count is how many goroutines wait for work.
func (w *Writers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.idle)
}

func TestWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &Writers{}
		var all sync.WaitGroup
		many := func(n int) {
			release := make(chan struct{})
			for range n {
				all.Add(1)
				w.start(func() { <-release; all.Done() })
			}
			close(release)
			all.Wait()
			synctest.Wait()
		}
		many(3)
		if n := w.count(); n != 3 {
			t.Fatalf("%d are kept, want 3", n)
		}
		many(2)
		if n := w.count(); n != 3 {
			t.Errorf("%d are kept after work for two, want 3: none is to be begun anew", n)
		}
		many(2 * maxIdleWriters)
		if n := w.count(); n != maxIdleWriters {
			t.Errorf("%d are kept, want %d", n, maxIdleWriters)
		}
		// One that is needed all the time is all that is left.
		for range 30 {
			time.Sleep(writersTick / 10)
			many(1)
		}
		if n := w.count(); n != 1 {
			t.Errorf("%d are kept where one is enough", n)
		}
		time.Sleep(3 * writersTick)
		if n := w.count(); n != 0 {
			t.Errorf("%d are kept for nothing", n)
		}
		many(5)
		w.Close()
		many(1)
		if n := w.count(); n != 0 {
			t.Errorf("%d are kept after Close", n)
		}
	}) // which also fails on a goroutine that is left
}
