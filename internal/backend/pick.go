package backend

import "math/rand/v2"

// A Balance is how a Backend chooses among its endpoints.
type Balance string

const (
	// LeastRequests takes the better of two random endpoints, by calls in flight.
	LeastRequests Balance = "least_requests"
	// RoundRobin takes each endpoint in turn.
	RoundRobin Balance = "round_robin"
)

// A snapshot is what is ready. It is immutable: a change publishes another one.
type snapshot []group

// A group is the ready connections of an endpoint.
type group struct {
	ep    *endpoint
	conns []*conn
}

// pick returns the connection for a call, or nil if none can take it now. A replay
// avoids the connection that refused the call: other endpoints come first, since one
// that restarts refuses again and again, then other connections of the endpoint.
func (b *Backend) pick(avoid *conn) *conn {
	s := *b.ready.Load()
	if avoid != nil {
		for i := range s {
			if s[i].ep == avoid.ep {
				others := append(s[:i:i], s[i+1:]...)
				if c := b.choose(others); c != nil {
					return c
				}
				if c := s[i].pick(avoid); c != nil {
					return c
				}
				if avoid.usable() {
					return avoid
				}
				return nil
			}
		}
	}
	return b.choose(s)
}

func (b *Backend) choose(s snapshot) *conn {
	n := uint64(len(s))
	if n == 0 {
		return nil
	}
	var first uint64
	switch {
	case n == 1:
	case b.cfg.Balance == RoundRobin:
		first = (b.turn.Add(1) - 1) % n
	default:
		r := rand.Uint64()
		first = (r >> 32) % n
		other := (r & 0xffffffff) % (n - 1)
		if other >= first {
			other++
		}
		if s[other].inFlight() < s[first].inFlight() {
			first = other
		}
	}
	// If it can't take the call its neighbours are asked in turn, so that none is
	// forgotten.
	for i := range n {
		if c := s[(first+i)%n].pick(nil); c != nil {
			return c
		}
	}
	return nil
}

func (g *group) inFlight() (n int64) {
	for _, c := range g.conns {
		n += c.inFlight()
	}
	return n
}

// pick returns the least loaded connection that can take a call, and asks for a
// further one if that is much loaded. An endpoint whose connections are gone is dialed
// anyway.
func (g *group) pick(avoid *conn) *conn {
	var best *conn
	var least int64
	alive := false
	for _, c := range g.conns {
		if c.gone.Load() {
			continue
		}
		alive = true
		if n := c.inFlight(); (best == nil || n < least) && c != avoid {
			best, least = c, n
		}
	}
	if best != nil && !best.usable() { // seldom: only now ask the others
		best = nil
		for _, c := range g.conns {
			if n := c.inFlight(); (best == nil || n < least) && c != avoid && c.usable() {
				best, least = c, n
			}
		}
	}
	if best != nil && least < best.grow.Load() {
		return best
	}
	if alive && !g.ep.static && !g.ep.grow.Load() && g.ep.grow.CompareAndSwap(false, true) {
		g.ep.b.kick()
	}
	return best
}
