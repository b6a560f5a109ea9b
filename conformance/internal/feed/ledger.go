package feed

import (
	"context"
	"sync"
	"time"
)

// A ledger knows what happened to the calls of each key.
type ledger struct {
	mu   sync.Mutex
	keys map[string]*calls
}

type calls struct {
	started   int
	lastIDs   []string
	cancelled []time.Time
}

// start counts a call and returns its number.
func (l *ledger) start(key, lastID string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys == nil {
		l.keys = map[string]*calls{}
	}
	c := l.keys[key]
	if c == nil {
		c = new(calls)
		l.keys[key] = c
	}
	c.started++
	c.lastIDs = append(c.lastIDs, lastID)
	return c.started
}

func (l *ledger) cancel(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.keys[key]
	c.cancelled = append(c.cancelled, time.Now())
}

// of returns what is known now.
func (l *ledger) of(key string) calls {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.keys[key]; c != nil {
		return *c
	}
	return calls{}
}

// wait returns what is known when so many were cancelled, or the context is done.
func (l *ledger) wait(ctx context.Context, key string, cancelled int) calls {
	for {
		c := l.of(key)
		if len(c.cancelled) >= cancelled {
			return c
		}
		select {
		case <-ctx.Done():
			return l.of(key)
		case <-time.After(time.Millisecond):
		}
	}
}
