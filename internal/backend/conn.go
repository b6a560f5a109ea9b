package backend

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// A Conn is one connection to an endpoint: an exchange.Handler that makes requests.
// Its methods may be called from any goroutine and take no lock that is held while
// it delivers events.
//
// An exchange that is started when the Conn is closed, draining or full ends with
// Reset(RefusedStream) after its Begin, and so does one whose head has not left for
// the socket when the connection breaks: both are replayed. Streams above the last
// id of a GOAWAY end with RefusedStream too, after [ConnEvents].Draining was called.
type Conn interface {
	exchange.Handler
	Available() int // how many more streams may be opened now; 0 if not ready, draining or exhausted
	Open() int      // open streams
	Stalled() bool  // its send window is zero with streams waiting: gets no new calls
	Drain()         // no new streams; closes when the open ones have ended
	Close()         // at once; open streams end with Reset(Disconnected)
}

// ConnEvents takes what happens to a Conn. The Conn calls it from its own goroutine,
// no lock held.
type ConnEvents interface {
	Ready()           // its SETTINGS have come
	Draining()        // GOAWAY came, or its stream ids are exhausted
	Closed(err error) // last
}

// A DialFunc connects to an endpoint: network is "tcp" or "unix", addr a host and
// port or a path. It blocks until the connection, and TLS, are there; that the
// connection is ready comes by events, which may be called before it returns. If it
// returns an error, it calls no event any more.
type DialFunc func(ctx context.Context, network, addr string, events ConnEvents) (Conn, error)

// growAt is how many calls in flight on one connection ask for a further one. A
// connection is served by one core at a time; below this, batching on one is worth
// more than a second core.
const growAt = 64

// A conn is one connection, from the beginning of its dial to its end.
type conn struct {
	b      *Backend
	ep     *endpoint
	wire   Conn        // set by its dial, before the snapshot shows it
	client rpc.Handler // the gRPC client half on this connection
	cancel context.CancelFunc

	// The counters of the hot path. In flight is the difference.
	started atomic.Int64
	ended   atomic.Int64
	grow    atomic.Int64 // calls in flight that ask for another connection
	gone    atomic.Bool  // draining or closed: refusals of it are not the server's opinion
	proved  atomic.Bool  // a response came

	// Of run.
	since   time.Time // dialed at; then ready at
	dialed  bool
	ready   bool
	serving bool // its health, if that is asked for, is known and good
	closed  bool
	watch   *watch
}

func (c *conn) inFlight() int64 { return c.started.Load() - c.ended.Load() }

func (c *conn) usable() bool {
	return !c.gone.Load() && c.wire.Available() > 0 && !c.wire.Stalled()
}

// Ready implements [ConnEvents].
func (c *conn) Ready() { c.b.post(event{kind: connReady, conn: c}) }

// Draining implements [ConnEvents].
func (c *conn) Draining() {
	c.gone.Store(true)
	c.b.post(event{kind: connDraining, conn: c})
}

// Closed implements [ConnEvents].
func (c *conn) Closed(err error) {
	c.gone.Store(true)
	c.b.post(event{kind: connClosed, conn: c, err: err})
}

// Start implements exchange.Handler for the client half: the exchange begins here,
// and may be replayed elsewhere.
func (c *conn) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	return newRetry(c, head, response)
}

// A local is the only Conn of an in-process handler: always ready.
type local struct{ exchange.Handler }

func (local) Available() int { return math.MaxInt32 }
func (local) Open() int      { return 0 }
func (local) Stalled() bool  { return false }
func (local) Drain()         {}
func (local) Close()         {}
