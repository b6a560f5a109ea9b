// Package http1 is the carrier for HTTP/1.1: net/http's server, fed with connections
// that were accepted and sniffed elsewhere.
package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/blocking"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/netio"
)

// A Config says what the server allows.
type Config struct {
	Work           *netio.Work
	HeaderTimeout  time.Duration
	IdleTimeout    time.Duration
	Stall          time.Duration
	MaxHeaderBytes int
	Logger         *slog.Logger
}

// A Server serves HTTP/1.1 connections.
type Server struct {
	srv   http.Server
	feed  *feed
	ended chan struct{}
}

// New returns a Server that gives every exchange to h.
func New(h exchange.Handler, cfg Config) *Server {
	o := blocking.Options{Work: cfg.Work, Stall: cfg.Stall}
	s := &Server{feed: &feed{conns: make(chan net.Conn), closed: make(chan struct{})}, ended: make(chan struct{})}
	s.srv = http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodConnect {
				http.Error(w, "this is no forward proxy", http.StatusMethodNotAllowed)
				return
			}
			// net/http looks for a *tls.Conn, and sees our wrapper.
			r.TLS, _ = r.Context().Value(tlsKey{}).(*tls.ConnectionState)
			blocking.ServeHTTP(h, w, r, o)
		}),
		ReadHeaderTimeout: cfg.HeaderTimeout, IdleTimeout: cfg.IdleTimeout, MaxHeaderBytes: cfg.MaxHeaderBytes,
	}
	s.srv.Protocols = new(http.Protocols)
	s.srv.Protocols.SetHTTP1(true)
	if cfg.Logger != nil {
		s.srv.ErrorLog = slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug)
	} else {
		s.srv.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	}
	s.srv.ConnState = func(c net.Conn, state http.ConnState) {
		if f, ok := c.(*fed); ok && (state == http.StateClosed || state == http.StateHijacked) {
			f.once.Do(func() { close(f.done) })
		}
	}
	s.srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if f, ok := c.(*fed); ok {
			if t, ok := f.Conn.(*tls.Conn); ok {
				state := t.ConnectionState()
				return context.WithValue(ctx, tlsKey{}, &state)
			}
		}
		return ctx
	}
	go s.run() // ends with Close or Shutdown
	return s
}

func (s *Server) run() {
	defer close(s.ended)
	_ = s.srv.Serve(s.feed)
}

// ServeConn serves a connection until it ends.
func (s *Server) ServeConn(c net.Conn) {
	f := &fed{Conn: c, done: make(chan struct{})}
	select {
	case s.feed.conns <- f:
		<-f.done
	case <-s.feed.closed:
		_ = c.Close()
	}
}

// Shutdown lets the running requests end, takes no new ones, and closes idle
// connections.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.srv.Shutdown(ctx)
	<-s.ended
	return err
}

// Close ends everything at once.
func (s *Server) Close() {
	_ = s.srv.Close()
	<-s.ended
}

// tlsKey is where a connection's context has the state of its TLS.
type tlsKey struct{}

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

// fed is a connection that somebody waits for.
type fed struct {
	net.Conn
	once sync.Once
	done chan struct{}
}
