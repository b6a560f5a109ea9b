package backend

import (
	"math"
	"sync"
	"testing"
)

// still returns a Backend with ready connections that nobody runs.
func still(t testing.TB, balance Balance, endpoints, conns int) (*Backend, snapshot) {
	b := newBackend(Config{Balance: balance})
	var s snapshot
	for range endpoints {
		e := &endpoint{b: b}
		g := group{ep: e}
		for range conns {
			c := &conn{b: b, ep: e, wire: &fakeWire{t: t, max: math.MaxInt32}}
			c.grow.Store(growAt)
			g.conns = append(g.conns, c)
		}
		s = append(s, g)
	}
	b.ready.Store(&s)
	return b, s
}

func TestLeastRequests(t *testing.T) {
	b, s := still(t, LeastRequests, 10, 2)
	// Calls that never end: the better of two choices keeps all close together.
	for range 10000 {
		b.pick(nil).started.Add(1)
	}
	for i := range s {
		if n := s[i].inFlight(); n < 990 || n > 1010 {
			t.Errorf("endpoint %d has %d calls of 10000 on 10", i, n)
		}
		if a, b := s[i].conns[0].inFlight(), s[i].conns[1].inFlight(); a-b > 1 || b-a > 1 {
			t.Errorf("connections of endpoint %d have %d and %d", i, a, b)
		}
	}
	// A slow endpoint gets nothing while others have less.
	s[3].conns[0].started.Add(1 << 20)
	before := s[3].conns[1].started.Load()
	for range 1000 {
		b.pick(nil).started.Add(1)
	}
	if s[3].conns[1].started.Load() != before {
		t.Error("the busiest endpoint got calls")
	}
}

func TestRoundRobin(t *testing.T) {
	b, s := still(t, RoundRobin, 3, 1)
	for range 30 {
		b.pick(nil).started.Add(1)
	}
	for i := range s {
		if n := s[i].inFlight(); n != 10 {
			t.Errorf("endpoint %d has %d calls of 30 on 3", i, n)
		}
	}
}

func TestPickSkips(t *testing.T) {
	for _, balance := range []Balance{LeastRequests, RoundRobin} {
		b, s := still(t, balance, 4, 1)
		s[0].conns[0].gone.Store(true)
		s[1].conns[0].wire.(*fakeWire).max = 0
		s[2].conns[0].wire.(*fakeWire).stalled = true
		for range 100 {
			if c := b.pick(nil); c != s[3].conns[0] {
				t.Fatalf("%s: took a connection that can't", balance)
			}
		}
		if c := b.pick(s[3].conns[0]); c != s[3].conns[0] {
			t.Errorf("%s: the one to avoid is better than none, got %v", balance, c)
		}
		s[3].conns[0].gone.Store(true)
		if b.pick(nil) != nil {
			t.Errorf("%s: took what is gone", balance)
		}
		if s[0].ep.grow.Load() || !s[1].ep.grow.Load() || !s[2].ep.grow.Load() {
			t.Errorf("%s: a connection that is full asks for another one, one that is gone does not", balance)
		}
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	b, _ := still(t, LeastRequests, 10, 2)
	if n := testing.AllocsPerRun(100, func() { c := b.pick(nil); c.started.Add(1); c.ended.Add(1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestPickConcurrently(t *testing.T) {
	b, s := still(t, LeastRequests, 4, 2)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10000 {
				c := b.pick(nil)
				c.started.Add(1)
				c.ended.Add(1)
			}
		})
	}
	wg.Go(func() {
		for i := range 1000 {
			part := s[i%3 : i%3+2]
			b.ready.Store(&part)
		}
	})
	wg.Wait()
	for i := range s {
		if s[i].inFlight() != 0 {
			t.Errorf("endpoint %d has %d calls left", i, s[i].inFlight())
		}
	}
}

func BenchmarkPick(b *testing.B) {
	be, _ := still(b, LeastRequests, 10, 2)
	b.ReportAllocs()
	for b.Loop() {
		c := be.pick(nil)
		c.started.Add(1)
		c.ended.Add(1)
	}
}
