// Package http2 is the carrier for HTTP/2: it keeps the connections of the engine, and
// drains them.
package http2

import (
	"io"
	"log/slog"
	"sync"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/h2"
	"github.com/sluice-rpc/sluice/internal/netio"
)

// A Server serves HTTP/2 connections.
type Server struct {
	cfg     *h2.Config
	handler exchange.Handler
	log     *slog.Logger

	mu       sync.Mutex
	conns    map[*h2.Conn]struct{}
	draining bool
	closed   bool
}

// New returns a Server that gives every exchange to h, and tells log, if there is one,
// at debug why connections end.
func New(h exchange.Handler, cfg *h2.Config, log *slog.Logger) *Server {
	return &Server{cfg: cfg, handler: h, log: log, conns: map[*h2.Conn]struct{}{}}
}

// ServeConn serves a connection until it ends. initial was read of it already. It says
// whether the gateway has ended the connection for abuse.
func (s *Server) ServeConn(nc netio.Conn, initial []byte) (abuse bool) {
	c := h2.NewServer(nc, s.cfg, s.handler)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		_ = nc.Close()
		return false
	}
	s.conns[c] = struct{}{}
	draining := s.draining
	s.mu.Unlock()
	if draining {
		c.Drain()
	}
	err := c.Run(initial)
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	if s.log != nil && err != io.EOF {
		s.log.Debug("HTTP/2 connection ended", "peer", nc.RemoteAddr(), "error", err)
	}
	return h2.Abuse(err)
}

func (s *Server) each(f func(*h2.Conn)) {
	s.mu.Lock()
	conns := make([]*h2.Conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		f(c)
	}
}

// DrainOpen does what Drain does, but to the connections that there are: new ones are served.
func (s *Server) DrainOpen() { s.each((*h2.Conn).Drain) }

// Drain lets the open streams of all connections end, and takes no new ones.
func (s *Server) Drain() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	s.each((*h2.Conn).Drain)
}

// Close ends all connections at once.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.each((*h2.Conn).Close)
}
