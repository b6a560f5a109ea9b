package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-rpc/sluice/rpc"
)

// An event is something that happened, for run.
type event struct {
	kind  eventKind
	conn  *conn
	wire  Conn
	addrs []string
	ok    bool
	err   error
}

type eventKind int

const (
	connDialed eventKind = iota
	connFailed
	connReady
	connDraining
	connClosed
	connHealth
	addrsResolved
)

// post gives run an event.
func (b *Backend) post(ev event) {
	b.inboxMu.Lock()
	b.inbox = append(b.inbox, ev)
	b.inboxMu.Unlock()
	b.kick()
}

// kick has run look at everything again.
func (b *Backend) kick() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// pollFull is how often calls that wait for a free stream are tried again. They are
// when a call ends, too, but its connection may count it out a little later.
const pollFull = 25 * time.Millisecond

// run owns the state. Close ends it.
func (b *Backend) run() {
	defer close(b.stopped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-b.wake:
		case <-timer.C:
		case <-b.ctx.Done():
			b.shut()
			return
		}
		acts, next := b.step(time.Now())
		for _, act := range acts {
			act()
		}
		b.serve()
		if b.queue.n.Load() > 0 && b.Ready() {
			next = min(next, pollFull)
		}
		timer.Reset(next)
	}
}

// shut ends everything.
func (b *Backend) shut() {
	st := rpc.Errorf(rpc.Unavailable, "gateway is shutting down")
	b.verdict.Store(&st)
	b.ready.Store(new(snapshot))
	b.queue.close()
	b.serve()
	b.mu.Lock()
	var acts []func()
	for c := range b.conns {
		acts = append(acts, b.drop(c))
	}
	b.mu.Unlock()
	for _, act := range acts {
		act()
	}
}

// drop returns what closes c at once.
func (b *Backend) drop(c *conn) func() {
	c.gone.Store(true)
	wire := c.wire
	if !c.dialed { // its dial closes it
		wire = nil
	}
	return func() {
		c.cancel()
		if wire != nil {
			wire.Close()
		}
	}
}

// step takes in what has happened, and what is due. It returns what to do outside of
// the lock, and when to come again.
func (b *Backend) step(now time.Time) (acts []func(), next time.Duration) {
	b.inboxMu.Lock()
	inbox := b.inbox
	b.inbox = nil
	b.inboxMu.Unlock()

	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ev := range inbox {
		acts = append(acts, b.handle(ev, now)...)
	}
	if b.draining {
		for c := range b.conns {
			if !c.gone.Load() {
				acts = append(acts, b.retire(c)...)
			}
		}
	}
	acts = append(acts, b.resolve(now)...)
	for _, e := range b.endpoints {
		if a := e.attempt; a != nil && a.dialed && now.Sub(a.since) >= b.cfg.DialTimeout {
			err := fmt.Errorf("connected to %s, but no HTTP/2 SETTINGS came within %v: is it a gRPC server%s?", e.addr,
				b.cfg.DialTimeout, b.tlsHint())
			if a.gone.Load() {
				err = fmt.Errorf("connected to %s, which sent GOAWAY at once", e.addr)
			}
			acts = append(acts, b.drop(a))
			e.attempt = nil
			e.failed(err, now)
		}
		acts = append(acts, e.tend(now)...)
	}
	if !now.Before(b.sweepAt) {
		b.sweepAt = now.Add(sweepEvery)
		for _, e := range b.endpoints {
			e.grow.Store(false) // whoever still means it says so again
			acts = append(acts, e.sweep()...)
		}
	}
	if b.dirty {
		b.publish()
	}
	b.judge(now)
	return acts, b.nextLocked(now)
}

func (b *Backend) tlsHint() string {
	if b.cfg.Target.TLS {
		return ""
	}
	return ", does it want TLS (https://…)"
}

// nextLocked returns when something is due.
func (b *Backend) nextLocked(now time.Time) time.Duration {
	at := b.sweepAt
	soonest := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	if b.cfg.Target.DNS && !b.resolving {
		soonest(b.resolveAt)
	}
	for _, e := range b.endpoints {
		switch {
		case e.attempt != nil:
			soonest(e.attempt.since.Add(b.cfg.DialTimeout))
		case len(e.conns) == 0 && !e.static:
			soonest(e.retryAt)
		}
	}
	if !b.outage.IsZero() && b.verdict.Load() == nil {
		if end := b.outage.Add(b.cfg.Grace); end.After(now) {
			soonest(end)
		}
	}
	return max(at.Sub(now), time.Millisecond)
}

// handle takes in one event.
func (b *Backend) handle(ev event, now time.Time) []func() {
	c := ev.conn
	switch ev.kind {
	case addrsResolved:
		return b.addresses(ev.addrs, ev.err, now)
	case connDialed:
		c.wire, c.dialed = ev.wire, true
		if c.closed || c.ep.attempt != c { // it broke, took too long, or is not wanted any more
			c.gone.Store(true)
			if c.closed {
				delete(b.conns, c)
			}
			return []func(){c.wire.Close}
		}
		if c.ready && !c.gone.Load() {
			return b.up(c, now)
		}
	case connFailed:
		delete(b.conns, c)
		if c.ep.attempt == c {
			c.ep.attempt = nil
			c.ep.failed(ev.err, now)
		}
	case connReady:
		c.ready = true
		if c.dialed && c.ep.attempt == c && !c.gone.Load() {
			return b.up(c, now)
		}
	case connDraining:
		if c.ep.attempt == c { // before it was of any use: its Closed says why
			return nil
		}
		return b.retire(c)
	case connClosed:
		c.closed = true
		if c.dialed {
			delete(b.conns, c)
		}
		err := ev.err
		if err == nil {
			err = errors.New("connection closed")
		}
		c.ep.past += c.started.Load()
		if c.ep.attempt == c {
			c.ep.attempt = nil
			c.ep.failed(err, now)
		} else {
			if ev.err != nil {
				c.ep.err = ev.err
			}
			b.lose(c, err, now)
		}
	case connHealth:
		return b.health(c, ev.ok, ev.err, now)
	}
	return nil
}

// up takes a connection that is ready into service.
func (b *Backend) up(c *conn, now time.Time) []func() {
	e := c.ep
	e.attempt = nil
	c.since = now
	c.client = b.cfg.NewClient(c)
	c.grow.Store(int64(min(growAt, max(1, (c.wire.Available()+c.wire.Open())/2))))
	e.conns = append(e.conns[:len(e.conns):len(e.conns)], c)
	if !b.cfg.HealthCheck || e.static {
		b.serving(c, now)
		return nil
	}
	return b.startWatch(c)
}

// serving lets c have calls.
func (b *Backend) serving(c *conn, now time.Time) {
	c.serving = true
	b.dirty = true
	e := c.ep
	e.failing = false
	if b.cfg.Connected != nil && e.serving() == 1 {
		b.cfg.Connected()
	}
	if !e.announced {
		e.announced, e.logged = true, ""
		b.cfg.Logger.Info("backend endpoint is ready", "backend", b.cfg.Target.Name, "endpoint", e.addr)
	}
}

// lose takes a connection out of service.
func (b *Backend) lose(c *conn, err error, now time.Time) {
	for _, o := range c.ep.conns {
		if o == c {
			c.serving = false
			c.ep.lost(c, err, now)
			return
		}
	}
}

// retire drains a connection: no new calls, and its end when the running ones have
// ended.
func (b *Backend) retire(c *conn) []func() {
	c.gone.Store(true)
	if c.wire == nil {
		return []func(){c.cancel}
	}
	b.lose(c, nil, time.Now())
	if c.ep.static {
		delete(b.conns, c)
	}
	w := c.watch
	c.watch = nil
	return []func(){func() {
		if w != nil {
			w.stop()
		}
		c.wire.Drain()
	}}
}

// publish makes the snapshot anew.
func (b *Backend) publish() {
	b.dirty = false
	s := make(snapshot, 0, len(b.endpoints))
	for _, e := range b.endpoints {
		g := group{ep: e}
		for _, c := range e.conns {
			if c.serving && !c.gone.Load() {
				g.conns = append(g.conns, c)
			}
		}
		if len(g.conns) > 0 {
			s = append(s, g)
		}
	}
	b.ready.Store(&s)
}

// judge decides whether calls that find nothing ready wait or fail.
func (b *Backend) judge(now time.Time) {
	if b.Ready() {
		b.outage = time.Time{}
		b.verdict.Store(nil)
		return
	}
	if b.outage.IsZero() {
		b.outage = now
	}
	down := b.lookupErr != nil || len(b.endpoints) > 0
	for _, e := range b.endpoints {
		down = down && e.failing
	}
	if !down || b.cfg.WaitForReady || now.Sub(b.outage) < b.cfg.Grace {
		b.verdict.Store(nil)
		return
	}
	st := rpc.Errorf(rpc.Unavailable, "backend %s is not ready: %s", b.cfg.Target, b.reasonLocked())
	b.verdict.Store(&st)
}

// reason says why calls wait.
func (b *Backend) reason() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reasonLocked()
}

func (b *Backend) reasonLocked() string {
	if b.Ready() {
		return "as many calls run on its connections as it allows"
	}
	if len(b.endpoints) == 0 {
		if b.lookupErr != nil {
			return b.lookupErr.Error()
		}
		return "still looking up its address"
	}
	var last *endpoint
	for _, e := range b.endpoints {
		if e.err != nil && (last == nil || e.failing && !last.failing) {
			last = e
		}
	}
	switch {
	case last == nil:
		return "still connecting to " + b.endpoints[0].addr
	case len(b.endpoints) > 1:
		return fmt.Sprintf("none of its %d endpoints is, for example %s: %v", len(b.endpoints), last.addr, last.err)
	}
	return last.err.Error()
}

// dial begins an attempt, and returns what does it.
func (e *endpoint) dial(now time.Time) func() {
	b := e.b
	ctx, cancel := context.WithTimeout(b.ctx, b.cfg.DialTimeout)
	c := &conn{b: b, ep: e, since: now, cancel: cancel}
	e.attempt = c
	b.conns[c] = struct{}{}
	return func() {
		b.dials.Add(1)
		go b.dial(ctx, c) // ends with its context; Close waits for it
	}
}

func (b *Backend) dial(ctx context.Context, c *conn) {
	defer b.dials.Done()
	defer c.cancel()
	wire, err := b.cfg.Dial(ctx, c.ep.network, c.ep.addr, c)
	switch {
	case err != nil:
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("dial %s: no connection within %v (%w)", c.ep.addr, b.cfg.DialTimeout, err)
		}
		b.post(event{kind: connFailed, conn: c, err: err})
	case b.ctx.Err() != nil:
		wire.Close()
	default:
		b.post(event{kind: connDialed, conn: c, wire: wire})
	}
}
