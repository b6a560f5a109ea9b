// Package http1 is the carrier for HTTP/1.1: net/http's server, fed with connections
// that were accepted and sniffed elsewhere.
//
// Framing, and with it the defence against request smuggling, is net/http's: of a
// length and chunks chunks win, obsolete line folding becomes a space. What it leaves
// open is closed here and in package blocking: CONNECT is refused, and a connection whose
// request was not read to its end is not used again.
//
// A connection that becomes a WebSocket is taken from net/http, which then forgets it,
// with all timeouts that concern requests: it may be silent as long as its protocol
// lets it. Stall still bounds its writes.
package http1

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-rpc/sluice/internal/blocking"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/netio"
)

// A Config says what the server allows. Zero is no limit, MaxHeaderBytes excepted.
type Config struct {
	Work           *netio.Work
	HeaderTimeout  time.Duration // a begun request head
	IdleTimeout    time.Duration // between requests, and before the first
	Stall          time.Duration // one write
	MaxHeaderBytes int           // net/http allows 4 KiB more, and counts no overhead; zero is 1 MiB
	Logger         *slog.Logger  // nil is silent
}

// A Server serves HTTP/1.1 connections.
type Server struct {
	srv   http.Server
	feed  *feed
	idle  time.Duration // until the first byte of a connection
	head  time.Duration
	stall time.Duration
	ended chan struct{}

	writers blocking.Writers

	mu     sync.Mutex
	conns  map[*fed]struct{}
	closed bool // by Close
}

// New returns a Server that gives every exchange to h. Close or Shutdown ends it.
func New(h exchange.Handler, cfg Config) *Server {
	// Stalls are watched by the connection, which sees every write.
	s := &Server{
		feed: &feed{conns: make(chan net.Conn), closed: make(chan struct{})},
		idle: cfg.IdleTimeout, head: cfg.HeaderTimeout, stall: cfg.Stall, ended: make(chan struct{}), conns: map[*fed]struct{}{},
	}
	o := blocking.Options{Work: cfg.Work, Writers: &s.writers, Log: cfg.Logger, Detach: true}
	s.srv = http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			blocking.ServeHTTP(h, w, r, o)
		}),
		ReadHeaderTimeout: cfg.HeaderTimeout, IdleTimeout: cfg.IdleTimeout, MaxHeaderBytes: cfg.MaxHeaderBytes,
		ConnState: connState, ConnContext: connContext,
		// "OPTIONS *" is an exchange like others.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(errorLog{cfg.Logger}, "", 0),
		Protocols:                    new(http.Protocols),
	}
	s.srv.Protocols.SetHTTP1(true)
	go s.run() // ends with Close or Shutdown, which wait for it
	return s
}

func (s *Server) run() {
	defer close(s.ended)
	_ = s.srv.Serve(s.feed)
}

// ServeConn serves a connection, and calls done once when it has ended, which may be long
// after it has returned. A *tls.Conn has had its handshake.
func (s *Server) ServeConn(c net.Conn, done func()) {
	f := &fed{Conn: c, s: s, done: done}
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.conns[f] = struct{}{}
	}
	s.mu.Unlock()
	if !closed {
		select {
		case s.feed.conns <- f:
			return
		case <-s.feed.closed:
		}
	}
	_ = c.Close()
	f.end()
}

// Shutdown lets the running requests end, takes no new ones, and closes idle
// connections, until ctx ends. WebSockets go on: whoever shuts down ends their calls.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.srv.Shutdown(ctx)
	<-s.ended
	return err
}

// Close ends everything at once. net/http knows neither WebSockets nor a connection that
// it takes while it is being closed.
func (s *Server) Close() {
	_ = s.srv.Close()
	s.mu.Lock()
	s.closed = true
	conns := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	for _, f := range conns {
		_ = f.Conn.Close()
	}
	<-s.ended
	s.writers.Close()
}

// connState tells of the end of a connection when net/http lets go of it.
func connState(c net.Conn, state http.ConnState) {
	switch f := c.(*fed); state {
	case http.StateClosed:
		f.end()
	case http.StateHijacked:
		f.hijacked.Store(true) // from here on Close is the end
	}
}

// connContext tells who the peer is, which net/http can't see through the wrapper.
func connContext(ctx context.Context, c net.Conn) context.Context {
	p := &blocking.Peer{Addr: c.RemoteAddr()}
	if t, ok := c.(*fed).Conn.(*tls.Conn); ok {
		state := t.ConnectionState()
		p.TLS = &state
	}
	return blocking.WithPeer(ctx, p)
}

// feed is a listener whose connections come from elsewhere.
type feed struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

var errClosed = errors.New("http1: closed")

func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.closed:
		return nil, errClosed
	}
}

func (f *feed) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

func (f *feed) Addr() net.Addr { return &net.TCPAddr{} }

// fed is a connection whose end is told. Each of its writes has a deadline.
//
// net/http has one deadline for the first byte of a connection and for the rest of its
// first head. But clients open connections ahead, and a short one would end them just
// when they are used, so fed waits for the first byte as long as between requests.
type fed struct {
	net.Conn
	s        *Server
	done     func()
	set      time.Time // when the deadline was set last; there is one writer at a time
	begun    bool      // a byte has come; there is one reader at a time
	hijacked atomic.Bool
	ended    atomic.Bool
}

func (f *fed) end() {
	if f.ended.Swap(true) {
		return
	}
	f.s.mu.Lock()
	delete(f.s.conns, f)
	f.s.mu.Unlock()
	f.done()
}

// Close tells of the end of a WebSocket. That of other connections net/http tells, once
// their handlers have returned.
func (f *fed) Close() error {
	err := f.Conn.Close()
	if f.hijacked.Load() {
		f.end()
	}
	return err
}

// Write gives each write a while. A quarter of precision is given up for fewer timers.
func (f *fed) Write(p []byte) (int, error) {
	if f.s.stall > 0 {
		if now := time.Now(); now.Sub(f.set) > f.s.stall/4 {
			f.set = now
			_ = f.Conn.SetWriteDeadline(now.Add(f.s.stall))
		}
	}
	return f.Conn.Write(p)
}

// Read waits for the first byte in its own way.
func (f *fed) Read(p []byte) (int, error) {
	if f.begun {
		return f.Conn.Read(p)
	}
	if f.s.head > 0 {
		_ = f.Conn.SetReadDeadline(after(f.s.idle))
	}
	n, err := f.Conn.Read(p)
	if f.begun = n > 0; f.begun && f.s.head > 0 {
		_ = f.Conn.SetReadDeadline(after(f.s.head))
	}
	return n, err
}

// after is the deadline of a duration; of zero it is none.
func after(d time.Duration) time.Time {
	if d <= 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

// SetWriteDeadline does nothing: Write sets them. net/http would take them away after
// each request.
func (f *fed) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline is called by net/http when a connection is hijacked.
func (f *fed) SetDeadline(t time.Time) error { return f.SetReadDeadline(t) }

// CloseWrite is what net/http does before it closes politely.
func (f *fed) CloseWrite() error { return blocking.CloseWrite(f.Conn) }

// NetConn returns what is below.
func (f *fed) NetConn() net.Conn { return f.Conn }

// errorLog is where net/http's own log goes: what clients did wrong is of no interest
// to an operator, panics are.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Write(b []byte) (int, error) {
	if l.log != nil {
		level := slog.LevelDebug
		if bytes.HasPrefix(b, []byte("http: panic")) {
			level = slog.LevelError
		}
		l.log.Log(context.Background(), level, "HTTP/1.1: "+string(bytes.TrimSpace(b)))
	}
	return len(b), nil
}
