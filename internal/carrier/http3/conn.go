package http3

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	qhttp3 "github.com/quic-go/quic-go/http3"

	"github.com/sluice-rpc/sluice/internal/blocking"
	"github.com/sluice-rpc/sluice/internal/persecond"
)

// conn is a connection, as far as the libraries do not keep it.
type conn struct {
	s *Server
	q *quic.Conn

	mu       sync.Mutex
	active   int // requests and sessions
	sessions int
	had      bool // a session that has ended
	draining bool
	abuse    persecond.Count // requests that the client took back
	abused   bool            // too many
	idle     *time.Timer     // runs while nothing is active; nil as long as it may be idle for ever
}

type connKey struct{}

// connContext tells requests which connection they are of, and who the peer is. The
// handshake is over, so its state stays as it is.
func (s *Server) connContext(ctx context.Context, q *quic.Conn) context.Context {
	state := q.ConnectionState().TLS
	ctx = blocking.WithPeer(ctx, &blocking.Peer{Addr: q.RemoteAddr(), TLS: &state})
	s.mu.Lock()
	c := s.conns[q]
	s.mu.Unlock()
	return context.WithValue(ctx, connKey{}, c)
}

// enter keeps a connection.
func (s *Server) enter(q *quic.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = q.CloseWithError(noError, "")
		return false
	}
	c := &conn{s: s, q: q, draining: s.draining}
	c.restLocked()
	s.conns[q] = c
	s.wg.Add(1)
	return true
}

// noError is H3_NO_ERROR (RFC 9114, section 8.1).
const noError = quic.ApplicationErrorCode(qhttp3.ErrCodeNoError)

// serveConn serves a connection until it ends.
func (s *Server) serveConn(q *quic.Conn) {
	defer s.wg.Done()
	if err := s.wt.ServeQUICConn(q); err != nil {
		_ = q.CloseWithError(noError, "")
	}
	<-q.Context().Done()
	s.mu.Lock()
	c := s.conns[q]
	delete(s.conns, q)
	s.mu.Unlock()
	c.begin() // it is not idle any more
}

// serve serves one request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(connKey{}).(*conn)
	c.begin()
	defer c.end()
	if isSession(r) {
		s.open(c, w, r)
		return
	}
	blocking.ServeHTTP(watched{s.cfg.Handler, c}, w, checked(r), blocking.Options{Work: s.cfg.Work, Stall: s.cfg.Stall, Writers: &s.writers, Log: s.cfg.Log})
}

// afterSessions is how long a connection stays whose sessions have ended. Browsers make one for each
// session and use it for nothing else, but do not close it: our keep-alive would keep it.
const afterSessions = 2 * time.Second

func (c *conn) begin() {
	c.mu.Lock()
	c.active++
	if c.idle != nil {
		c.idle.Stop()
	}
	c.mu.Unlock()
}

func (c *conn) end() {
	c.mu.Lock()
	c.active--
	if c.active == 0 {
		c.restLocked()
	}
	c.drainedLocked()
	c.mu.Unlock()
}

// restLocked begins the time that a connection may be idle.
func (c *conn) restLocked() {
	d := c.s.cfg.Idle
	if c.had && (d == 0 || d > afterSessions) {
		d = afterSessions
	}
	switch {
	case d == 0:
	case c.idle == nil:
		c.idle = time.AfterFunc(d, c.closeIdle)
	default:
		c.idle.Reset(d)
	}
}

// closeIdle closes a connection on which nothing runs. Streams on which a request was begun
// and not sent do not count: the library waits for them for ever.
func (c *conn) closeIdle() {
	c.mu.Lock()
	idle := c.active == 0
	c.mu.Unlock()
	if idle {
		_ = c.q.CloseWithError(noError, "idle")
	}
}

// addSession counts a session, if there may be one more.
func (c *conn) addSession() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions >= maxSessions {
		return false
	}
	c.sessions++
	return true
}

func (c *conn) removeSession() {
	c.mu.Lock()
	c.sessions--
	c.had = true
	c.mu.Unlock()
}

func (c *conn) drain() {
	c.mu.Lock()
	c.draining = true
	c.drainedLocked()
	c.mu.Unlock()
}

// lastWords is how long the end of a last response may take to arrive: to close a
// connection is to forget what was not acknowledged.
const lastWords = 500 * time.Millisecond

// drainedLocked closes a connection on which nothing is left, while draining. There is no
// GOAWAY: the library of WebTransport has none.
func (c *conn) drainedLocked() {
	if c.draining && c.active == 0 {
		time.AfterFunc(lastWords, c.closeIdle)
	}
}

// Drain takes no new connections, and closes those on which nothing runs, now or later.
func (s *Server) Drain() {
	s.mu.Lock()
	s.draining = true
	sockets, conns := slices.Collect(maps.Keys(s.sockets)), slices.Collect(maps.Values(s.conns))
	s.mu.Unlock()
	for _, k := range sockets {
		_ = k.listener.Close()
	}
	for _, c := range conns {
		c.drain()
	}
}

// Close ends everything at once, and closes the sockets. Sessions have a moment in which
// their clients learn why.
func (s *Server) Close() {
	s.mu.Lock()
	s.draining, s.closed = true, true
	sockets, conns := slices.Collect(maps.Keys(s.sockets)), slices.Collect(maps.Values(s.conns))
	sessions := slices.Collect(maps.Keys(s.sessions))
	clear(s.sockets)
	s.mu.Unlock()
	s.dismiss(sessions)
	for _, c := range conns {
		_ = c.q.CloseWithError(noError, "")
	}
	s.wg.Wait()
	s.writers.Close()
	_ = s.wt.Close()
	for _, k := range sockets {
		k.close()
	}
}

// dismiss tells the clients of sessions that it is over, and waits a moment for them to go.
func (s *Server) dismiss(sessions []*session) {
	for _, x := range sessions {
		x.close(codeGoingAway, shutDown)
	}
	wait := time.NewTimer(lastWords)
	defer wait.Stop()
	for _, x := range sessions {
		select {
		case <-x.conn.q.Context().Done():
		case <-wait.C:
			return
		}
	}
}
