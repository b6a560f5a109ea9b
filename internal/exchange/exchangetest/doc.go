// Package exchangetest holds fakes of both halves of an exchange for the tests of
// other packages: [Response], a client that records what a handler answers, and
// [Server], a handler that records what a carrier asks and answers by script. Both
// check the contract of package exchange while they record; Check reports what broke
// it. [Echo] is a handler that sends back what comes.
package exchangetest

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// Timeout bounds every wait of this package.
const Timeout = 30 * time.Second

// log is what both fakes share: a lock, a change to wait for, and broken rules.
type log struct {
	mu      sync.Mutex
	changed chan struct{}
	broken  []string
}

// note runs f under the lock and wakes who waits.
func (l *log) note(f func()) {
	l.mu.Lock()
	f()
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	l.mu.Unlock()
}

func (l *log) rule(ok bool, format string, args ...any) {
	if !ok {
		l.broken = append(l.broken, fmt.Sprintf(format, args...))
	}
}

// wait waits until ok, which runs under the lock.
func (l *log) wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	timeout := time.After(Timeout)
	for {
		l.mu.Lock()
		if ok() {
			l.mu.Unlock()
			return
		}
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("waited %v for %s", Timeout, what)
		}
	}
}

// Check fails the test if a rule of the contract was broken.
func (l *log) Check(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.broken {
		t.Error("contract: " + b)
	}
}
