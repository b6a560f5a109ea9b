package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// A Config says what a Backend does. Target, Dial and NewClient are required.
type Config struct {
	Target Target
	// Dial connects to an endpoint.
	Dial DialFunc
	// NewClient makes the gRPC client half on a connection.
	NewClient func(next exchange.Handler) rpc.Handler

	Balance       Balance // LeastRequests by default
	HealthCheck   bool    // asks grpc.health.v1 on each connection
	HealthService string

	// WaitForReady lets calls wait their full time, also for a backend that is down.
	WaitForReady bool

	MaxConns     int           // connections of an endpoint under load; GOMAXPROCS
	HeldCalls    int           // calls that wait; 10000
	ReadyTimeout time.Duration // how long a call without a deadline waits; 10 s, negative is never
	DialTimeout  time.Duration // one attempt, until the connection is ready; 5 s
	Grace        time.Duration // how long a backend may be down before calls fail fast; 2 s, negative is not at all
	ResolveEvery time.Duration // how long an answer of the DNS is used; 30 s

	// Resolve looks up the addresses of a host; the system's resolver by default.
	Resolve func(ctx context.Context, host string) ([]string, error)
	// Connected, if it is not nil, is called when an endpoint can serve that could not
	// before. It must not block.
	Connected func()
	// Logger gets changes of state. Nil is silent.
	Logger *slog.Logger
}

func (c *Config) defaults() {
	if c.Balance == "" {
		c.Balance = LeastRequests
	}
	if c.MaxConns <= 0 {
		c.MaxConns = runtime.GOMAXPROCS(0)
	}
	if c.HeldCalls <= 0 {
		c.HeldCalls = 10000
	}
	duration(&c.ReadyTimeout, 10*time.Second, never)
	duration(&c.DialTimeout, 5*time.Second, never)
	duration(&c.Grace, 2*time.Second, 0)
	duration(&c.ResolveEvery, 30*time.Second, never)
	if c.Resolve == nil {
		c.Resolve = net.DefaultResolver.LookupHost
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// never is far enough away not to overflow a time.
const never = 100 * 365 * 24 * time.Hour

func duration(d *time.Duration, zero, negative time.Duration) {
	switch {
	case *d == 0:
		*d = zero
	case *d < 0:
		*d = negative
	}
}

// A Backend is a gRPC server at one or more endpoints. It is an rpc.Handler that
// gives each call to a ready connection, or holds it until there is one.
type Backend struct {
	cfg   Config
	ready atomic.Pointer[snapshot]
	turn  atomic.Uint64
	queue queue
	kept  atomic.Int64 // bytes that large requests keep for a replay
	// verdict ends calls that find no connection at once, instead of waiting.
	verdict atomic.Pointer[rpc.Status]

	wake    chan struct{} // capacity 1: run has something to look at
	ctx     context.Context
	cancel  context.CancelFunc
	stopped chan struct{}  // run has returned
	dials   sync.WaitGroup // dials and lookups

	inboxMu sync.Mutex
	inbox   []event

	mu        sync.Mutex // guards what follows, and what run owns of endpoints and connections
	endpoints []*endpoint
	conns     map[*conn]struct{} // all that have not ended
	outage    time.Time          // since when nothing is ready; zero if something is
	resolving bool
	resolveAt time.Time
	resolved  time.Time
	failures  int // of resolving, in a row
	lookupErr error
	sweepAt   time.Time
	dirty     bool // ready has to be made anew
	draining  bool
}

// New starts a Backend, which connects at once. Close ends it.
func New(cfg Config) (*Backend, error) {
	cfg.defaults()
	switch {
	case cfg.Dial == nil || cfg.NewClient == nil:
		return nil, errors.New("backend: Dial and NewClient are required")
	case cfg.Balance != LeastRequests && cfg.Balance != RoundRobin:
		return nil, fmt.Errorf("backend %s: unknown balance %q: use %q or %q", cfg.Target, cfg.Balance, LeastRequests, RoundRobin)
	}
	b := newBackend(cfg)
	if cfg.Target.DNS {
		b.resolveAt = time.Now()
	} else {
		b.endpoints = []*endpoint{{b: b, network: cfg.Target.Network, addr: cfg.Target.Addr()}}
	}
	go b.run() // ended by Close, which waits for it
	return b, nil
}

// NewHandler returns a Backend that serves by h, in this process. name is for logs
// and messages.
func NewHandler(name string, h exchange.Handler, newClient func(next exchange.Handler) rpc.Handler) *Backend {
	cfg := Config{Target: Target{Name: name, Network: "memory", Path: name}, NewClient: newClient}
	cfg.defaults()
	b := newBackend(cfg)
	ep := &endpoint{b: b, network: "memory", addr: name, static: true}
	b.endpoints = []*endpoint{ep}
	c := &conn{b: b, ep: ep, wire: local{h}, dialed: true, ready: true, cancel: func() {}}
	b.conns[c] = struct{}{}
	b.up(c, time.Now())
	b.publish()
	go b.run() // ended by Close, which waits for it
	return b
}

func newBackend(cfg Config) *Backend {
	b := &Backend{cfg: cfg, wake: make(chan struct{}, 1), stopped: make(chan struct{}), conns: map[*conn]struct{}{}}
	b.queue.limit = cfg.HeldCalls
	b.ready.Store(new(snapshot))
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.sweepAt = time.Now().Add(sweepEvery)
	return b
}

// Start implements rpc.Handler.
func (b *Backend) Start(call *rpc.Call, response rpc.Response) rpc.Request {
	// Whoever waits comes first.
	if b.queue.n.Load() == 0 {
		if c := b.pick(nil); c != nil {
			return c.client.Start(call, response)
		}
	}
	return b.hold(call, response)
}

func (b *Backend) hold(call *rpc.Call, response rpc.Response) rpc.Request {
	w := &waiter{call: call}
	w.hold = rpc.NewHold(call, response, func() { b.queue.remove(w) })
	if st := b.verdict.Load(); st != nil {
		w.hold.Fail(*st)
		return w.hold
	}
	wait := b.cfg.ReadyTimeout
	if !call.Deadline.IsZero() {
		wait = time.Until(call.Deadline)
	}
	if !b.queue.add(w, false, wait, func() { b.expire(w) }) {
		w.fail(b.refusal())
		return w.hold
	}
	b.kick()
	return w.hold
}

// refusal says why the queue takes nobody.
func (b *Backend) refusal() rpc.Status {
	if st := b.verdict.Load(); st != nil {
		return *st
	}
	return rpc.Errorf(rpc.ResourceExhausted, "too many calls wait for backend %s already (limits.held_calls is %d)", b.cfg.Target, b.cfg.HeldCalls)
}

// expire ends a call that has waited as long as it may.
func (b *Backend) expire(w *waiter) {
	code := rpc.Unavailable
	if w.call != nil && !w.call.Deadline.IsZero() {
		code = rpc.DeadlineExceeded
	}
	w.fail(rpc.Errorf(code, "backend %s is not ready: %s", b.cfg.Target, b.reason()))
}

// replay gives a retry to another connection than the one that refused it, or has
// it wait for one.
func (b *Backend) replay(r *retry, avoid *conn) {
	if c := b.pick(avoid); c != nil {
		r.start(c)
		return
	}
	w := &waiter{retry: r, avoid: avoid}
	if !r.wait(w) {
		return
	}
	if st := b.verdict.Load(); st != nil {
		r.fail(*st)
		return
	}
	if !b.queue.add(w, true, b.cfg.ReadyTimeout, func() { b.expire(w) }) {
		w.fail(b.refusal())
		return
	}
	if r.isOver() { // the client gave up before w was in the queue
		b.queue.remove(w)
		return
	}
	b.kick()
}

// serve gives ready connections to those who wait, or ends them if there is a
// verdict.
func (b *Backend) serve() {
	if st := b.verdict.Load(); st != nil && b.queue.n.Load() > 0 {
		for _, w := range b.queue.all() {
			if b.queue.remove(w) {
				w.fail(*st)
			}
		}
		return
	}
	for {
		w := b.queue.front()
		if w == nil {
			return
		}
		c := b.pick(w.avoid)
		if c == nil {
			return
		}
		if !b.queue.remove(w) {
			continue
		}
		if w.hold != nil {
			w.hold.Release(c.client)
		} else {
			w.retry.start(c)
		}
	}
}

// Ready says whether a call would find a connection.
func (b *Backend) Ready() bool { return len(*b.ready.Load()) > 0 }

// Target returns where the backend is.
func (b *Backend) Target() Target { return b.cfg.Target }

// Drain waits until no call runs or waits, and then closes the connections in
// order, or at once when ctx ends. Whoever calls it sees to it that no new calls
// come.
func (b *Backend) Drain(ctx context.Context) error {
	defer b.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !b.idle() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("drain backend %s: %w", b.cfg.Target, ctx.Err())
		case <-tick.C:
		}
	}
	b.mu.Lock()
	b.draining = true
	b.mu.Unlock()
	b.kick()
	// Connections without calls close as fast as their sockets; those that don't are
	// closed after a second.
	for range 50 {
		b.mu.Lock()
		n := len(b.conns)
		b.mu.Unlock()
		if n == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	return nil
}

func (b *Backend) idle() bool {
	if b.queue.n.Load() > 0 {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		if c.inFlight() > 0 {
			return false
		}
	}
	return true
}

// Close ends the Backend at once: calls that run or wait end with UNAVAILABLE, and
// so do new ones. It returns when nothing of the Backend runs any more.
func (b *Backend) Close() {
	b.cancel()
	<-b.stopped
	b.dials.Wait()
	// What was dialed while run ended is nobody's.
	b.inboxMu.Lock()
	inbox := b.inbox
	b.inbox = nil
	b.inboxMu.Unlock()
	for _, ev := range inbox {
		if ev.kind == connDialed {
			ev.wire.Close()
		}
	}
}
