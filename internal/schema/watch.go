package schema

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// When a backend is asked for its schema.
const (
	pollEvery = time.Minute // it may be deployed anew without a lost connection
	// retryFirst is the pause after a failure, doubled up to pollEvery.
	retryFirst = time.Second
	// retryMaxDown is that of a backend that is not ready: when it comes back, calls to
	// services that only it can name wait for its answer.
	retryMaxDown = 5 * time.Second
	// gap is the least between two attempts: connections may come and go as they like.
	gap = time.Second

	// unknownFirst is the least between an attempt and one that an unknown method causes.
	// It is doubled, up to pollEvery, for each that brings nothing new: clients that make
	// names up cost no more than polling does.
	unknownFirst = 5 * time.Second

	attemptTimeout = 20 * time.Second
	// unknownTimeout is that of an attempt for which calls may wait.
	unknownTimeout = 5 * time.Second
)

// A WatchConfig says what a [Watcher] does. All fields are required.
type WatchConfig struct {
	// Ask asks the backend; old is what it said before, or nil.
	Ask func(ctx context.Context, old *Schema) (*Schema, error)
	// Ready says whether the backend would answer now.
	Ready func() bool
	// Found gets each answer, and says whether it was new. It is called before Pending
	// changes.
	Found func(s *Schema) (changed bool)
	// Settled is called after each attempt, when Pending and Err have changed. news is
	// whether err is another than before.
	Settled func(err error, news bool)
}

// A Watcher asks a backend for its schema again and again: at intervals, after a new
// connection, and when a call names a method that nobody knows.
type Watcher struct {
	cfg  WatchConfig
	wake chan struct{} // capacity 1

	// unknownAfter is when an unknown method may cause an attempt, in nanoseconds since
	// 1970. It is all that a call looks at, as a rule.
	unknownAfter atomic.Int64

	mu    sync.Mutex
	found *Schema
	known bool // it has answered, or said that it offers no reflection
	asked bool // an attempt for an unknown method is under way
	wait  bool // and calls wait for it
	err   error
	pause time.Duration // see unknownFirst
}

// NewWatcher returns a Watcher that does nothing before Run.
func NewWatcher(cfg WatchConfig) *Watcher {
	w := &Watcher{cfg: cfg, wake: make(chan struct{}, 1), pause: unknownFirst}
	w.unknownAfter.Store(never)
	return w
}

const never = int64(1<<63 - 1)

// Run asks until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	retry := retryFirst
	for {
		w.drain() // all that came so far is one reason
		began, ready := time.Now(), w.cfg.Ready()
		err := w.attempt(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := pollEvery
		if err != nil && !errors.Is(err, ErrNoReflection) {
			most := pollEvery
			if !w.cfg.Ready() {
				most = retryMaxDown
			}
			wait = min(retry, most)
			retry = min(2*retry, pollEvery)
		} else {
			retry = retryFirst
		}
		if err == nil && !ready {
			w.drain() // the attempt itself has waited for the connection
		}
		if !w.sleep(ctx, wait, w.wake) || !w.sleep(ctx, time.Until(began.Add(gap)), nil) {
			return
		}
	}
}

func (w *Watcher) drain() {
	select {
	case <-w.wake:
	default:
	}
}

// sleep returns false if ctx has ended.
func (w *Watcher) sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

func (w *Watcher) attempt(ctx context.Context) error {
	w.mu.Lock()
	old, asked, wait := w.found, w.asked, w.wait
	w.mu.Unlock()
	timeout := attemptTimeout
	if wait {
		timeout = unknownTimeout
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	found, err := w.cfg.Ask(limited, old)
	cancel()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	changed := err == nil && w.cfg.Found(found)

	w.mu.Lock()
	if err == nil {
		w.found = found
	}
	news := err != nil && (w.err == nil || w.err.Error() != err.Error())
	w.err = err
	w.known = w.known || err == nil || errors.Is(err, ErrNoReflection)
	switch {
	case changed:
		w.pause = unknownFirst
	case asked:
		w.pause = min(2*w.pause, pollEvery)
	}
	if asked {
		w.asked, w.wait = false, false
	}
	if w.asked || w.found == nil {
		w.unknownAfter.Store(never) // it is tried anyway, or there is nothing to have
	} else {
		w.unknownAfter.Store(time.Now().Add(w.pause).UnixNano())
	}
	w.mu.Unlock()
	w.cfg.Settled(err, news)
	return err
}

// Connected says that the backend has a new connection: it may be another program now.
func (w *Watcher) Connected() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Due says whether an unknown method is a reason to ask now. It costs next to nothing.
func (w *Watcher) Due() bool {
	after := w.unknownAfter.Load()
	return after != never && time.Now().UnixNano() >= after
}

// Unknown says that somebody asks for a method that nobody knows. If that is due, the
// backend is asked, and if calls may wait for the answer, Pending says so. It may be
// called for every such call.
func (w *Watcher) Unknown(wait bool) {
	if !w.Due() || !w.cfg.Ready() {
		return
	}
	w.mu.Lock()
	due := w.Due()
	if due {
		w.asked, w.wait = true, wait
		w.unknownAfter.Store(never) // until the attempt has ended
	}
	w.mu.Unlock()
	if due {
		w.Connected()
	}
}

// Pending says whether news may be there soon: the backend has not answered yet, or is
// asked because of an unknown method for which calls wait.
func (w *Watcher) Pending() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.known || w.wait
}

// Err is why the last attempt failed, or nil.
func (w *Watcher) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
