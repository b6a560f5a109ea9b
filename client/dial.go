package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// connect opens connections while calls wait for one.
func (c *Client) connect() {
	defer c.wg.Done()
	for {
		c.mu.Lock()
		if !c.wants() {
			c.dialing = false
			c.unlock()
			return
		}
		wait := c.delay()
		if c.failing != nil { // some of it may have passed with nobody waiting
			wait = c.retryAt.Sub(now())
		}
		c.unlock()
		if wait > 0 {
			c.sleep(wait)
		}
		c.try()
	}
}

// delay is how long to wait before the next attempt: not at all after a connection that was
// of use.
func (c *Client) delay() time.Duration {
	if c.failures == 0 {
		return 0
	}
	b := c.cfg.Backoff
	d := min(float64(b.BaseDelay)*math.Pow(b.Multiplier, float64(c.failures-1)), float64(b.MaxDelay))
	return time.Duration(d * (1 + b.Jitter*(2*rand.Float64()-1)))
}

func (c *Client) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	}
}

// try makes one attempt with each carrier, until one works.
func (c *Client) try() {
	var all error
	for range c.cfg.Carriers {
		c.mu.Lock()
		if !c.wants() {
			c.unlock()
			return
		}
		carrier := c.cfg.Carriers[c.carrier%len(c.cfg.Carriers)]
		c.serial++
		serial := c.serial
		c.unlock()
		n, err := c.reach(carrier, serial)
		c.mu.Lock()
		if err == nil && !c.closed && !n.dead {
			// A connection that breaks before it was of use counts as a failure.
			c.failures++
			c.failing = nil
			if c.cfg.Alternate {
				c.carrier++
			}
			c.conns = append(c.conns, n)
			for _, k := range c.tell {
				k.orphan = true
				n.attach(k)
			}
			c.tell = nil
			c.place()
			c.unlock()
			return
		}
		if err == nil {
			err = n.err
			n.end(Leave, "", status.New(codes.Canceled, "the client is closed"))
		}
		c.carrier++
		c.unlock()
		all = errors.Join(all, fmt.Errorf("%s: %w", carrier.Name(), err))
	}
	c.mu.Lock()
	c.failures++
	c.failing, c.retryAt = all, now().Add(c.delay())
	if !c.usable() {
		for _, k := range append([]*call(nil), c.waiting...) {
			if k.failFast && k.epoch == 0 {
				k.finish(c.unavailable())
			}
		}
	}
	c.unlock()
}

// usable says whether there is a connection for new calls, though it may have no room now.
func (c *Client) usable() bool {
	return slices.ContainsFunc(c.conns, func(n *conn) bool { return !n.draining })
}

// unavailable is what a call gets that does not wait for a gateway that can't be reached.
func (c *Client) unavailable() *status.Status {
	return status.Newf(codes.Unavailable, "connect to %s: %v", c.target.URL.Host, oneLine(c.failing))
}

// misdirections is how often the gateway that has the calls is looked for.
const misdirections = 3

// reach opens a connection to the gateway that has the calls which wait, if there are any. If it is not found,
// any gateway will do: it says to each call what it knows.
func (c *Client) reach(carrier Carrier, serial int) (*conn, error) {
	t := *c.target
	c.mu.Lock()
	for _, k := range append(c.tell[:len(c.tell):len(c.tell)], c.waiting...) {
		if k.epoch > 0 && k.id != "" {
			t.Ticket = k.ticket
			break
		}
	}
	c.unlock()
	for range misdirections {
		n, err := c.dial(carrier, &t, serial)
		m, ok := errors.AsType[*Misdirected](err)
		if !ok || t.Ticket == "" {
			return n, err
		}
		t.Node = m.Node
	}
	t.Ticket, t.Node = "", ""
	return c.dial(carrier, &t, serial)
}

// dial opens a connection, which is one when the gateway has welcomed us.
func (c *Client) dial(carrier Carrier, t *Target, serial int) (*conn, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.DialTimeout)
	defer cancel()
	var hello []exchange.Field
	if c.cfg.Hello != nil {
		md, err := c.cfg.Hello(ctx)
		if err != nil {
			return nil, err
		}
		if hello, err = appendMetadata(nil, md); err != nil {
			return nil, err
		}
	}
	opened, err := carrier.Dial(ctx, t)
	if err != nil {
		return nil, err
	}
	n := &conn{c: c, id: serial, carrier: carrier.Name(), addr: opened.Addr, session: opened.Session, lanes: map[*lane]struct{}{}, welcomed: make(chan struct{})}
	n.welcome.defaults()
	c.mu.Lock()
	n.start(opened.Pipe, fields.Append(nil, hello))
	c.unlock()
	select {
	case <-n.welcomed:
		return n, nil
	case <-ctx.Done():
		err = errors.New("the gateway did not say WELCOME in time")
	}
	c.mu.Lock()
	n.end(Cut, "", nil)
	c.unlock()
	return nil, err
}

// start begins to read and write.
func (n *conn) start(pipe Pipe, hello []byte) {
	n.heard = now()
	if pipe != nil {
		n.mux = n.lane(duplex.MuxForm)
		if len(hello) > 0 {
			n.mux.control = duplex.MuxForm.Append(nil, duplex.Hello, 0, hello)
		}
		n.mux.run(pipe)
	} else {
		// The gateway's frames come on a pipe of its own, ours go on one that begins with HELLO.
		n.own = n.lane(duplex.CallForm)
		n.own.control = duplex.CallForm.Append(nil, duplex.Hello, 0, hello)
		if n.greeting = len(hello) > 0; n.greeting {
			// Pipes of calls are apart from this one: PONG says that the gateway has read it.
			n.own.control = duplex.CallForm.Append(n.own.control, duplex.Ping, 0, make([]byte, duplex.PingLength))
		}
		n.own.open()
		n.lossy = map[uint64]*call{}
		n.c.wg.Add(2)
		go n.accept()    // both end with the session
		go n.datagrams() //
	}
	n.watch()
}
