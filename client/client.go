package client

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A Client makes calls through a gateway. It connects when it has a call to make, and its methods
// may be used by many goroutines.
type Client struct {
	cfg    Config
	target *Target
	ctx    context.Context // of the background
	stop   context.CancelFunc
	wg     sync.WaitGroup // the background: dialing, and two goroutines a pipe

	// mu guards everything below, the connections and the calls. Nothing that may wait is
	// called under it: such things are put off, with later.
	mu       sync.Mutex
	putOff   []func()
	closed   bool
	conns    []*conn
	waiting  []*call // without a connection: new ones and those that lost theirs
	tell     []*call // that are over, of which the next connection tells the gateway
	dialing  bool
	failing  error     // why the last attempt failed
	retryAt  time.Time // until when calls that do not wait are told so, and none is made
	failures int       // attempts in a row that led to nothing
	carrier  int       // which one is next
	serial   int       // of connections
}

var _ grpc.ClientConnInterface = (*Client)(nil)

// New returns a client of the gateway at target: https://host, or http://host without TLS. A path
// is that of the endpoint, if the gateway has another than /sluice/v1.
func New(target string, cfg Config) (*Client, error) {
	t, cfg, err := cfg.parse(target)
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, target: t}
	c.target.Header = http.Header.Clone(cfg.Header)
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c, nil
}

// later puts off what may wait, or calls back, until the lock is released.
func (c *Client) later(f func()) { c.putOff = append(c.putOff, f) }

// unlock releases the lock, and does what was put off.
func (c *Client) unlock() {
	do := c.putOff
	c.putOff = nil
	c.mu.Unlock()
	for _, f := range do {
		f()
	}
}

// Close cancels all calls and closes all connections.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.unlock()
		return errors.New("client: closed already")
	}
	c.closed = true
	st := status.New(codes.Canceled, "the client is closed")
	for _, k := range append([]*call(nil), c.waiting...) {
		k.finish(st)
	}
	c.waiting = nil
	for _, n := range append([]*conn(nil), c.conns...) {
		n.end(Leave, "the client is closed", st)
	}
	c.stop()
	c.unlock()
	c.wg.Wait()
	return nil
}

// Connections says over which carriers the client is connected.
func (c *Client) Connections() []string {
	c.mu.Lock()
	defer c.unlock()
	var names []string
	for _, n := range c.conns {
		names = append(names, n.carrier)
	}
	return names
}

// Cut breaks all connections, as a network does, so that calls have to resume. It is there for
// tests, and for people who want to see it.
func (c *Client) Cut() {
	c.mu.Lock()
	defer c.unlock()
	for _, n := range append([]*conn(nil), c.conns...) {
		n.lost(errCut)
	}
}

var errCut = errors.New("cut by Client.Cut")

// place gives calls that wait for one a connection, and sees to it that there is one.
func (c *Client) place() {
	left := c.waiting[:0]
	for _, k := range c.waiting {
		if k.isOver() {
			continue
		}
		if n := c.room(); n != nil && (!k.renewing || k.over) {
			n.attach(k)
		} else {
			left = append(left, k)
		}
	}
	clear(c.waiting[len(left):])
	c.waiting = left
	if !c.dialing && c.wants() {
		c.dialing = true
		c.wg.Add(1)
		go c.connect() // ends when nobody waits for a connection, or with the client
	}
}

// room returns a connection that takes another call.
func (c *Client) room() *conn {
	for _, n := range c.conns {
		if !n.draining && n.calls < n.welcome.maxCalls {
			return n
		}
	}
	return nil
}

// unwait takes a call out of those that wait.
func (c *Client) unwait(k *call) {
	for i, w := range c.waiting {
		if w == k {
			c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
			return
		}
	}
}

// wants says whether another connection is needed.
func (c *Client) wants() bool {
	open := 0 // for new calls: those that drain end by themselves
	for _, n := range c.conns {
		if !n.draining {
			open++
		}
	}
	if c.closed || open >= c.cfg.MaxConnections {
		return false
	}
	room := c.room() != nil
	// One that waits for its credentials goes to a connection that there is.
	return slices.ContainsFunc(c.waiting, func(k *call) bool { return !room || !k.renewing || k.over })
}

// now is the clock of everything here.
func now() time.Time { return time.Now() }
