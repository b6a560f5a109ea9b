// Package duplex gives a Go program that knows nothing of gRPC an ordered stream of bytes, in both
// directions at once, to each of its clients: a [net.Conn] for a page in a browser, also where networks
// let nothing but plain HTTP through.
//
// A client comes by one of
//
//   - a WebSocket, whose binary messages are the bytes (how they are cut means nothing), over HTTP/1.1, and over HTTP/2 where
//     the server has extended CONNECT (RFC 8441). One that offers the subprotocol sluice.raw ends its direction
//     with a text message, and says what it has taken (docs/protocols/websocket.md);
//   - plain HTTP requests, one GET down and POSTs up, over any version of HTTP
//     (docs/protocols/http2-duplex.md). The npm package http2-duplex is a client of them, as it comes.
//
// All come to one path of an [http.Handler], which passes every other request on. Pages of other origins are
// refused unless they are listed.
package duplex

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-rpc/sluice/internal/blocking"
	"github.com/sluice-rpc/sluice/internal/carrier/cors"
	carrier "github.com/sluice-rpc/sluice/internal/carrier/duplex"
	"github.com/sluice-rpc/sluice/internal/carrier/websocket"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/netio"
)

// Options say what a Handler does. Path and Serve are required; zero is otherwise the default that is named.
type Options struct {
	// Path is where clients come to, such as "/duplex".
	Path string
	// Serve is called for each client, on a goroutine of its own. The Conn is closed when it
	// returns.
	Serve func(c *Conn)
	// Next gets the requests that are for somebody else. Nil answers them with 404.
	Next http.Handler
	// Origins are the web origins whose pages may come, besides the server's own, such as
	// "https://app.example.com"; "*" is any, without credentials.
	Origins []string

	// Sessions bounds the clients that come by plain HTTP requests, SessionsPerClient those of one
	// address, or network of 64 bits; 16384 and 1000.
	Sessions, SessionsPerClient int
	// Uploads bounds the uploads of one session at a time, AheadBytes how far they may
	// reach beyond a gap; 32 and 256 KiB.
	Uploads, AheadBytes int
	// Poll is how long a long poll waits for something to answer, PollGap how long a
	// session that is polled lives without one; 20 s and 30 s.
	Poll, PollGap time.Duration
	// Ping is the silence of a client on a WebSocket before it is pinged, PingTimeout
	// the silence after that before it is given up; 15 s each.
	Ping, PingTimeout time.Duration
	// Stall is how long one write to a client may take before it counts as gone; 60 s.
	Stall time.Duration
}

// A Handler is the [http.Handler] that clients come to. Make one with [New].
type Handler struct {
	o        Options
	edge     exchange.Handler
	sessions *carrier.Server
	sockets  *websocket.Server
	blocking blocking.Options
	detached atomic.Bool

	mu    sync.Mutex
	conns map[*Conn]struct{}
	ended bool
	wg    sync.WaitGroup
}

func or[T int | time.Duration](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}

// New makes a Handler.
func New(o Options) (*Handler, error) {
	if len(o.Path) == 0 || o.Path[0] != '/' {
		return nil, errors.New("duplex: Path has to begin with a slash")
	}
	if o.Serve == nil {
		return nil, errors.New("duplex: Serve is missing")
	}
	if o.Next == nil {
		o.Next = http.NotFoundHandler()
	}
	or(&o.Sessions, 16384)
	or(&o.SessionsPerClient, 1000)
	or(&o.Uploads, 32)
	or(&o.AheadBytes, 256<<10)
	or(&o.Poll, 20*time.Second)
	or(&o.PollGap, 30*time.Second)
	or(&o.Ping, 15*time.Second)
	or(&o.PingTimeout, 15*time.Second)
	or(&o.Stall, time.Minute)
	work := &netio.Work{}
	h := &Handler{o: o, blocking: blocking.Options{Work: work, Stall: o.Stall}, conns: map[*Conn]struct{}{}}
	pipes := (*pipes)(h)
	h.sessions = carrier.New(carrier.Options{
		Path: o.Path, Pipes: pipes, MaxSessions: o.Sessions, MaxPerClient: o.SessionsPerClient,
		MaxUploads: o.Uploads, MaxAhead: o.AheadBytes, Poll: o.Poll, PollGap: o.PollGap,
	})
	h.sockets = websocket.New(websocket.Options{Pipes: pipes, Path: o.Path, Plain: true, Ping: o.Ping, PingTimeout: o.PingTimeout, Abuse: abuse})
	edge, err := cors.New(cors.Config{Origins: o.Origins}, (*carriers)(h))
	if err != nil {
		return nil, err
	}
	h.edge = edge
	return h, nil
}

// abuse is how many frames of no use a WebSocket may have in a second.
const abuse = 1000

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != h.o.Path || h.detached.Load() && !h.knows(r) {
		h.o.Next.ServeHTTP(w, r)
		return
	}
	blocking.ServeHTTP(h.edge, w, r, h.blocking)
}

// knows says whether a request belongs to a session that runs.
func (h *Handler) knows(r *http.Request) bool {
	for _, name := range [...]string{"Sluice-Session", "Http2-Duplex-Id"} {
		if id := r.Header.Get(name); id != "" && h.sessions.Has(id) {
			return true
		}
	}
	return false
}

// Detach has the Handler take no new clients: their requests go to Next. Those that are there
// stay.
func (h *Handler) Detach() { h.detached.Store(true) }

// Close ends all clients, and waits until their Serve has returned. New ones are refused.
func (h *Handler) Close() error {
	h.mu.Lock()
	h.ended = true
	conns := make([]*Conn, 0, len(h.conns))
	for c := range h.conns {
		conns = append(conns, c)
	}
	h.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	h.wg.Wait()
	h.sessions.Close()
	return nil
}

// carriers is the Handler as what comes behind the check of origins.
type carriers Handler

// Start implements [exchange.Handler].
func (h *carriers) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	if h.sockets.Match(head) {
		return h.sockets.Start(head, response)
	}
	return h.sessions.Start(head, response)
}

// pipes is the Handler as what takes pipes.
type pipes Handler

// Start implements [exchange.Handler].
func (h *pipes) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	return &pipe{Conn: newConn(head, response), h: (*Handler)(h)}
}
