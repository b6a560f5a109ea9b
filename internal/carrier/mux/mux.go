// Package mux is the server half of the duplex protocol (docs/protocols/duplex.md): it makes
// exchanges of the calls that clients make on pipes, and keeps those that can be resumed when their
// pipe is lost.
//
// A link is a pipe, in one of the two forms. It decodes frames, and gives those of a call to the
// call, which knows the link that it is attached to, or none. Links come and go; what of a link reaches
// a call that has moved on is ignored. Calls have what they send in a [duplex.Sender], and stand in a
// queue of their link while there is something; the link cuts frames from them, one after the other,
// as far as the carrier below takes them.
//
// Locks are taken in one order: the server's, a call's, a link's, a connection's. None of them is held
// while another layer is called.
package mux

import (
	"crypto/rand"
	"net"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/netio"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/rpc"
)

// Options are what a Server needs to know. Zero is the default that is named, or none.
type Options struct {
	Next exchange.Handler // serves the calls
	Work *netio.Work      // shared with the carriers; its own if nil

	Now   func() time.Time                                         // time.Now
	After func(d time.Duration, f func()) (stop func() bool)       // time.AfterFunc
	Log   func(msg string, args ...any)                            // for operators; may be nil
	Who   func(head *exchange.RequestHead) (who string, err error) // who makes a call, "" if that is not known; may be nil

	Method func(path string) *rpc.Method // what is known of a method; may be nil

	Node string   // the name of this gateway
	Key  [32]byte // seals tickets; the same on all nodes. Random if zero

	MaxCalls   int // at a time on a connection; 250
	MaxFields  int // bytes of a field block; 16 KiB
	MaxMessage int // which clients are told of; 4 MiB
	Abuse      int // frames of no use a second on a connection; 1000

	Ping       time.Duration // silence before a PING, and after it; 20 s
	Detach     time.Duration // how long a call waits for its client; 60 s
	TicketLife time.Duration // for other processes than the one that sealed it; 24 h

	MaxWaiting      int // calls that wait for a client, of one connection; 250
	MaxWaitingAll   int // in all; 10,000
	MaxWaitingBytes int // what they keep, of one connection; 4 MiB

	Reserve  func(n int) bool  // takes bytes of the gateway's memory, or gives them back; may be nil
	LimitHit func(name string) // may be nil

	Abused func(client net.Addr) // is told who was cut off for frames of no use; may be nil
}

func or[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// A Server serves pipes. It is an [exchange.Handler] for pipes of both forms.
type Server struct {
	o        Options
	seal     *sealer
	instance [8]byte

	mu       sync.Mutex
	calls    map[callID]*call // that can be resumed
	waiting  waiting
	ids      tombstones
	links    map[*link]struct{}
	sessions map[*Session]struct{}
	draining bool
	grace    time.Duration
	closed   bool
}

// New returns a Server.
func New(o Options) *Server {
	if o.Work == nil {
		o.Work = &netio.Work{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.After == nil {
		o.After = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	if o.Reserve == nil {
		o.Reserve = func(int) bool { return true }
	}
	if o.LimitHit == nil {
		o.LimitHit = func(string) {}
	}
	if o.Abused == nil {
		o.Abused = func(net.Addr) {}
	}
	if o.Key == ([32]byte{}) {
		_, _ = rand.Read(o.Key[:]) // never fails
	}
	or(&o.MaxCalls, 250)
	or(&o.MaxFields, 16<<10)
	or(&o.MaxMessage, 4<<20)
	or(&o.Abuse, 1000)
	or(&o.Ping, 20*time.Second)
	or(&o.Detach, time.Minute)
	or(&o.TicketLife, 24*time.Hour)
	or(&o.MaxWaiting, 250)
	or(&o.MaxWaitingAll, 10_000)
	or(&o.MaxWaitingBytes, 4<<20)
	s := &Server{
		o: o, seal: newSealer(o.Key), calls: map[callID]*call{}, links: map[*link]struct{}{}, sessions: map[*Session]struct{}{},
	}
	s.waiting.sessions = map[sessionID]*waitingSession{}
	s.ids.known = map[callID]time.Time{}
	_, _ = rand.Read(s.instance[:])
	return s
}

// Match says whether an exchange is a pipe of the multiplexed form. Those of the call form
// belong to a [Session].
func Match(head *exchange.RequestHead) bool {
	return head.Method == "CONNECT" && head.Protocol == exchange.PipeMux
}

// Start implements [exchange.Handler], for pipes of the multiplexed form.
func (s *Server) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	c := s.connect(head)
	l := &link{s: s, conn: c, form: duplex.MuxForm, response: response, room: firstRoom}
	l.dec.Form = l.form
	return l
}

// A Session is a connection whose calls have pipes of their own, in the call form.
type Session struct {
	s    *Server
	conn *connection
	send func(frames []byte)
}

// StartSession implements [exchange.SessionHandler]. The Session serves the pipes of the connection.
func (s *Server) StartSession(head *exchange.RequestHead, carrier exchange.Session) exchange.SessionServer {
	x := &Session{s: s, conn: s.connect(head), send: carrier.Control}
	x.conn.session = carrier
	x.conn.sending.Lock() // a drain that finds it waits until WELCOME was said
	defer x.conn.sending.Unlock()
	s.mu.Lock()
	s.sessions[x] = struct{}{}
	draining, grace := s.draining, s.grace
	s.mu.Unlock()
	b := x.conn.welcome(nil, duplex.CallForm)
	if draining {
		b = goAway(b, duplex.CallForm, grace)
	}
	x.send(b)
	return x
}

// Start implements [exchange.Handler], for pipes of the call form.
func (x *Session) Start(_ *exchange.RequestHead, response exchange.Response) exchange.Request {
	l := &link{s: x.s, conn: x.conn, form: duplex.CallForm, response: response, room: firstRoom}
	l.dec.Form = l.form
	return l
}

// Done implements [exchange.SessionServer].
func (x *Session) Done() {
	x.s.mu.Lock()
	delete(x.s.sessions, x)
	x.s.mu.Unlock()
	x.conn.sending.Lock()
	x.conn.gone = true
	x.conn.sending.Unlock()
}

// Calls is how many calls there are that could be resumed, and how many of them wait for their
// client.
func (s *Server) Calls() (all, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls), s.waiting.count
}

// Drain tells all clients to make new calls elsewhere. Those that run go on; connections end with
// their last call. grace is what clients are told, 0 is nothing. The word is spread over a part of it, so that they don't
// all come back elsewhere at once.
func (s *Server) Drain(grace time.Duration) {
	s.mu.Lock()
	s.draining, s.grace = true, grace
	links := make([]*link, 0, len(s.links))
	for l := range s.links {
		links = append(links, l)
	}
	sessions := make([]*Session, 0, len(s.sessions))
	for x := range s.sessions {
		sessions = append(sessions, x)
	}
	s.mu.Unlock()
	spread := min(grace/4, maxSpread) / time.Duration(len(links)+len(sessions)+1)
	at := time.Duration(0)
	later := func(f func()) {
		if at == 0 {
			f()
		} else {
			s.o.After(at, f)
		}
		at += spread
	}
	for _, l := range links {
		later(func() { l.drain(grace) })
	}
	for _, x := range sessions {
		later(func() { x.drain(grace) })
	}
}

// maxSpread is over how long the word of a drain is spread at most.
const maxSpread = 5 * time.Second

func (x *Session) drain(grace time.Duration) {
	x.conn.sending.Lock()
	defer x.conn.sending.Unlock()
	if !x.conn.gone {
		x.send(goAway(nil, duplex.CallForm, grace))
	}
}

// Close cancels the calls that wait for their client. The others end with their pipes.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	var away []*call
	for _, c := range s.calls {
		away = append(away, c)
	}
	s.mu.Unlock()
	for _, c := range away {
		c.expire(0)
	}
}
