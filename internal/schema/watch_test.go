package schema

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// asked is a backend that counts how often it is asked, under fake time.
type asked struct {
	w     *Watcher
	began time.Time

	mu      sync.Mutex
	at      []time.Duration
	takes   time.Duration
	ready   bool
	err     error
	answer  *Schema
	news    int
	settled int
}

func watch(t *testing.T, err error) *asked {
	a := &asked{ready: true, began: time.Now(), answer: schemaOf(t, version("a")), err: err}
	a.w = NewWatcher(WatchConfig{
		Ask: func(ctx context.Context, _ *Schema) (*Schema, error) {
			a.mu.Lock()
			a.at = append(a.at, time.Since(a.began))
			err, answer, takes := a.err, a.answer, a.takes
			a.mu.Unlock()
			select {
			case <-time.After(takes):
				return answer, err
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
		Ready: func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.ready },
		Found: func(s *Schema) bool { return s != a.w.found },
		Settled: func(_ error, news bool) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.settled++
			if news {
				a.news++
			}
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { a.w.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return a
}

func (a *asked) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

func (a *asked) newErrors() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.news
}

// times returns when the backend was asked since the last look, in whole seconds.
func (a *asked) times() (out []int) {
	synctest.Wait()
	a.set(func() {
		for _, d := range a.at {
			out = append(out, int(d/time.Second))
		}
		a.at = nil
	})
	return out
}

func (a *asked) want(t *testing.T, times ...int) {
	t.Helper()
	got := a.times()
	if len(got) != len(times) {
		t.Fatalf("asked at %v, want %v", got, times)
	}
	for i := range got {
		if got[i] != times[i] {
			t.Fatalf("asked at %v, want %v", got, times)
		}
	}
}

func TestWatcherPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := watch(t, nil)
		time.Sleep(121 * time.Second)
		a.want(t, 0, 60, 120)
		a.set(func() {
			if a.settled != 3 {
				t.Error("settled", a.settled)
			}
		})
		if a.w.Pending() || a.w.Err() != nil {
			t.Error(a.w.Pending(), a.w.Err())
		}
	})
}

func TestWatcherRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := watch(t, errors.New("odd"))
		time.Sleep(130*time.Second + time.Millisecond)
		a.want(t, 0, 1, 3, 7, 15, 31, 63, 123)
		if news := a.newErrors(); news != 1 || !a.w.Pending() || a.w.Err() == nil {
			t.Error(news, a.w.Pending(), a.w.Err())
		}
		a.set(func() { a.ready = false })
		time.Sleep(70 * time.Second)
		a.want(t, 183, 188, 193, 198)
		a.set(func() { a.err = ErrNoReflection })
		time.Sleep(10 * time.Second)
		if news := a.newErrors(); a.w.Pending() || news != 2 {
			t.Error("pending without reflection", news)
		}
		a.times()
		for range 100 {
			a.w.Unknown(true)
			time.Sleep(100 * time.Millisecond)
		}
		a.want(t) // who offers no reflection is not asked for a client's sake
	})
}

func TestWatcherConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := watch(t, nil)
		time.Sleep(10 * time.Second)
		a.times()
		a.w.Connected()
		a.want(t, 10)
		for range 2999 { // it comes and goes
			a.w.Connected()
			time.Sleep(time.Millisecond)
		}
		a.want(t, 11, 12)
		time.Sleep(time.Second)
		a.want(t, 13)
		time.Sleep(30 * time.Second)
		a.want(t)
	})
}

// TestWatcherFirstConnection: the attempt that waited for the connection is not made
// again because of it.
func TestWatcherFirstConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asked{began: time.Now(), answer: schemaOf(t, version("a")), takes: 3 * time.Second}
		a.w = NewWatcher(WatchConfig{
			Ask: func(context.Context, *Schema) (*Schema, error) {
				a.at = append(a.at, time.Since(a.began))
				time.Sleep(a.takes)
				return a.answer, nil
			},
			Ready: func() bool { return time.Since(a.began) > time.Second },
			Found: func(*Schema) bool { return true }, Settled: func(error, bool) {},
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { a.w.Run(ctx) })
		time.Sleep(2 * time.Second)
		a.w.Connected()
		time.Sleep(18 * time.Second)
		a.want(t, 0)
		cancel()
		wg.Wait()
	})
}

func TestWatcherUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := watch(t, nil)
		a.w.Unknown(true)
		a.want(t, 0) // it is asked already
		time.Sleep(4 * time.Second)
		a.w.Unknown(true)
		a.want(t) // it has just been asked
		time.Sleep(2 * time.Second)
		a.set(func() { a.takes, a.answer = 2*time.Second, schemaOf(t, version("b")) })
		a.w.Unknown(true)
		if !a.w.Pending() {
			t.Error("nothing to wait for")
		}
		a.want(t, 6)
		time.Sleep(3 * time.Second)
		if a.w.Pending() {
			t.Error("still something to wait for")
		}
		a.set(func() { a.takes = time.Minute })
		time.Sleep(5 * time.Second)
		a.w.Unknown(true)
		time.Sleep(5500 * time.Millisecond)
		a.want(t, 14)
		if a.w.Pending() || a.w.Err() == nil {
			t.Error("calls wait for a backend that does not answer")
		}
		a.set(func() { a.takes = 2 * time.Second })
		time.Sleep(50 * time.Second)
		a.times()
		a.w.Unknown(false)
		if got := a.times(); len(got) != 1 || a.w.Pending() {
			t.Error("calls wait for what is not theirs to wait for", got)
		}
		a.set(func() { a.ready = false })
		time.Sleep(30 * time.Second)
		a.times()
		a.w.Unknown(true)
		if a.w.Pending() {
			t.Error("calls wait for a backend that is down")
		}
	})
}

// TestWatcherStorm: clients that make names up cause no more than a few questions.
func TestWatcherStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := watch(t, nil)
		synctest.Wait()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for range 10000 {
					a.w.Unknown(true)
					a.w.Pending()
					time.Sleep(time.Second / 50)
				}
			})
		}
		wg.Wait()
		// 200 seconds: polls stop when there is news every minute anyway.
		a.want(t, 0, 5, 15, 35, 75, 135, 195)
		// What it finds makes it quick again.
		a.set(func() { a.answer = schemaOf(t, version("b")) })
		time.Sleep(60 * time.Second)
		a.times()
		time.Sleep(6 * time.Second)
		a.w.Unknown(true)
		if got := a.times(); len(got) != 1 {
			t.Error(got)
		}
	})
}
