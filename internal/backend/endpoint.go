package backend

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// A State is how an endpoint does.
type State string

// The states of an endpoint.
const (
	Idle             State = "idle"
	Connecting       State = "connecting"
	Ready            State = "ready"
	TransientFailure State = "transient_failure"
)

const (
	backoffFirst  = 100 * time.Millisecond
	backoffFactor = 1.6
	backoffMax    = 10 * time.Second
	backoffJitter = 0.2

	// stable is how long a connection has to be ready, without any response, to prove
	// that its endpoint works. One that doesn't counts as a failed attempt.
	stable = time.Second
	// flapMax bounds the pause before a server is dialed again that gets ready, and soon
	// goes: it does speak HTTP/2, so it deserves more attempts than a dead address.
	flapMax = time.Second
	// growPause is how long a failed attempt to grow is not repeated.
	growPause = 5 * time.Second
	// connsFull bounds the connections of an endpoint that lets only few streams on
	// each: when all are full, MaxConns would make calls wait that a server has room for.
	connsFull = 64
	// sweepEvery is how often the number of connections is looked at; one is given up
	// after sweepLow such looks at which the others would have done.
	sweepEvery = 10 * time.Second
	sweepLow   = 6
	// logEvery is how often an endpoint that keeps failing for one reason says so.
	logEvery = 30 * time.Second
)

// An endpoint is one address of a backend.
type endpoint struct {
	b             *Backend
	network, addr string
	static        bool        // in this process: nothing to dial
	grow          atomic.Bool // a call found its connections busy

	// Of run, guarded by Backend.mu.
	conns     []*conn // up, healthy or not
	attempt   *conn   // being dialed, or waiting for SETTINGS; one at a time
	err       error   // why the last attempt failed, or the connection ended
	failing   bool    // the last attempt failed, and none was ready since
	step      int     // failures in a row
	retryAt   time.Time
	growAfter time.Time
	low       int // sweeps at which a connection was not needed
	past      int64
	removed   bool
	announced bool // it was logged as ready, and no failure since
	logged    string
	loggedAt  time.Time
}

// backoff returns how long to wait after so many failures in a row.
func backoff(step int) time.Duration {
	d := float64(backoffFirst) * math.Pow(backoffFactor, float64(step-1))
	d = min(d, float64(backoffMax))
	return time.Duration(d * (1 + backoffJitter*(2*rand.Float64()-1)))
}

func (e *endpoint) state() State {
	switch {
	case e.serving() > 0:
		return Ready
	case e.failing:
		return TransientFailure
	case e.attempt != nil || len(e.conns) > 0 || e.err != nil:
		return Connecting
	}
	return Idle
}

func (e *endpoint) serving() (n int) {
	for _, c := range e.conns {
		if c.serving {
			n++
		}
	}
	return n
}

func (e *endpoint) inFlight() (n int64) {
	for _, c := range e.conns {
		n += c.inFlight()
	}
	return n
}

// tend dials what is missing: the first connection when its time has come, a further
// one if calls asked for it.
func (e *endpoint) tend(now time.Time) []func() {
	if e.static || e.removed || e.attempt != nil || e.b.draining {
		return nil
	}
	if len(e.conns) == 0 {
		if now.Before(e.retryAt) {
			return nil
		}
		return []func(){e.dial(now)}
	}
	// The wish stays while it can't be granted, so that calls don't wake run for it.
	if !e.grow.Load() || now.Before(e.growAfter) || len(e.conns) >= e.connLimit() {
		return nil
	}
	e.grow.Store(false)
	return []func(){e.dial(now)}
}

// connLimit is MaxConns, or more if every stream that the server allows is open.
func (e *endpoint) connLimit() int {
	for _, c := range e.conns {
		if c.wire.Available() > 0 {
			return e.b.cfg.MaxConns
		}
	}
	return max(connsFull, e.b.cfg.MaxConns)
}

// failed notes that an attempt came to nothing, or its connection to no use.
func (e *endpoint) failed(err error, now time.Time) {
	e.err = err
	if len(e.conns) > 0 { // it was to help others
		e.growAfter = now.Add(growPause)
		return
	}
	e.failing = true
	e.step++
	e.retryAt = now.Add(backoff(e.step))
	e.b.lookAgain()
	if text := err.Error(); text != e.logged || now.Sub(e.loggedAt) >= logEvery {
		e.announced, e.logged, e.loggedAt = false, text, now
		e.b.cfg.Logger.Warn("backend endpoint is not ready", "backend", e.b.cfg.Target.Name, "endpoint", e.addr,
			"error", text, "retry_in", e.retryAt.Sub(now).Round(time.Millisecond).String())
	}
}

// lost notes that the connection c, which was up, takes no calls any more. The next
// attempt begins at once, unless this repeats itself: c had not proved itself, and
// neither had what was before it.
func (e *endpoint) lost(c *conn, err error, now time.Time) {
	for i := range e.conns {
		if e.conns[i] == c {
			e.conns = append(e.conns[:i:i], e.conns[i+1:]...)
			break
		}
	}
	e.b.dirty = true
	if err != nil {
		e.err = err
	}
	if len(e.conns) > 0 || e.removed {
		return
	}
	proved := c.proved.Load() || now.Sub(c.since) >= stable
	if proved {
		e.failing, e.step = false, 0
	}
	e.retryAt = now
	if e.step > 0 {
		e.retryAt = now.Add(min(backoff(e.step), flapMax))
	}
	if !proved {
		e.step++
	}
	e.b.lookAgain()
	e.b.cfg.Logger.Debug("backend endpoint lost its connection", "backend", e.b.cfg.Target.Name, "endpoint", e.addr, "error", err)
}

// sweep gives a connection up if the others have done for a while.
func (e *endpoint) sweep() []func() {
	if e.static || len(e.conns) < 2 {
		e.low = 0
		return nil
	}
	last := e.conns[len(e.conns)-1]
	var room int64
	for _, c := range e.conns {
		if c != last && c.serving {
			room += c.grow.Load()
		}
	}
	if e.inFlight()*2 > room {
		e.low = 0
		return nil
	}
	if e.low++; e.low < sweepLow {
		return nil
	}
	e.low = 0
	return e.b.retire(last)
}

// An EndpointStatus is how an endpoint does.
type EndpointStatus struct {
	Addr  string
	State State
	Err   error // why it is not ready, or was not lately; nil if it always was
	Conns int
	Calls int   // in flight
	Total int64 // calls that were ever started
}

// A Status is how a Backend does.
type Status struct {
	Target    Target
	Ready     bool
	Err       error // why it is not ready
	Held      int   // calls that wait
	Endpoints []EndpointStatus
}

// Status returns how the Backend does now.
func (b *Backend) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Status{Target: b.cfg.Target, Ready: b.Ready(), Held: int(b.queue.n.Load())}
	if !s.Ready {
		s.Err = fmt.Errorf("%s", b.reasonLocked())
	}
	for _, e := range b.endpoints {
		es := EndpointStatus{Addr: e.addr, State: e.state(), Err: e.err, Conns: len(e.conns), Total: e.past}
		for c := range b.conns {
			if c.ep == e {
				es.Calls += int(c.inFlight())
				es.Total += c.started.Load()
			}
		}
		s.Endpoints = append(s.Endpoints, es)
	}
	return s
}
