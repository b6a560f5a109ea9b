package main

import (
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// A counter collects what the connections of a load measure. Latencies go to buckets
// that are 1/32 of their value wide.
type counter struct {
	stopped atomic.Bool
	calls   atomic.Int64
	bytes   atomic.Int64
	nanos   atomic.Int64
	buckets [64 * 32]atomic.Int64

	mu  sync.Mutex
	err error
}

func (c *counter) add(d time.Duration) {
	c.calls.Add(1)
	c.nanos.Add(int64(d))
	c.buckets[bucket(d)].Add(1)
}

func (c *counter) fail(err error) {
	if c.stopped.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

func (c *counter) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func bucket(d time.Duration) int {
	v := uint64(max(d, 32))
	e := bits.Len64(v) - 6
	return e*32 + int(v>>e) - 32 + 32
}

func value(i int) time.Duration {
	e := (i - 32) / 32
	return time.Duration((uint64(i-e*32) << e) + (1<<e)/2)
}

// A snapshot is a counter at one time.
type snapshot struct {
	calls, bytes, nanos int64
	buckets             [64 * 32]int64
}

func (c *counter) snapshot() *snapshot {
	s := &snapshot{calls: c.calls.Load(), bytes: c.bytes.Load(), nanos: c.nanos.Load()}
	for i := range c.buckets {
		s.buckets[i] = c.buckets[i].Load()
	}
	return s
}

// since is what came after an earlier snapshot.
func (s *snapshot) since(before *snapshot) *snapshot {
	d := &snapshot{calls: s.calls - before.calls, bytes: s.bytes - before.bytes, nanos: s.nanos - before.nanos}
	for i := range d.buckets {
		d.buckets[i] = s.buckets[i] - before.buckets[i]
	}
	return d
}

func (s *snapshot) quantile(q float64) time.Duration {
	var n int64
	for _, b := range s.buckets {
		n += b
	}
	want := int64(q * float64(n))
	for i, b := range s.buckets {
		if want -= b; want < 0 {
			return value(i)
		}
	}
	return 0
}

func (s *snapshot) mean() time.Duration {
	if s.calls == 0 {
		return 0
	}
	return time.Duration(s.nanos / s.calls)
}

// begin starts the connections of a load. The result stops and waits for them.
func begin(l load, count *counter) (stop func(), err error) {
	var wg sync.WaitGroup
	one := func(run func() error) {
		wg.Go(func() { // ends when the counter is stopped, or with an error
			if err := run(); err != nil {
				count.fail(fmt.Errorf("load: %w", err))
			}
		})
	}
	var closers []func() error
	for i := range l.conns {
		if l.http1 {
			one(func() error { return runH1(l, count, uint64(i)) })
			continue
		}
		c, err := dialH2(l, count, uint64(i))
		if err != nil {
			count.stopped.Store(true)
			for _, f := range closers {
				_ = f()
			}
			wg.Wait()
			return nil, err
		}
		closers = append(closers, c.nc.Close)
		one(c.run)
	}
	return func() {
		count.stopped.Store(true)
		time.Sleep(5 * time.Millisecond)
		for _, f := range closers {
			_ = f()
		}
		wg.Wait()
	}, nil
}
