package http3

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	qhttp3 "github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"github.com/sluice-rpc/sluice/internal/blocking"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/netio"
)

// A Config says what a Server does. Handler is required.
type Config struct {
	Handler exchange.Handler // takes requests
	Work    *netio.Work

	// Sessions takes those that are opened at Path; nil means that there are none. Admit
	// decides which pages may open one.
	Sessions exchange.SessionHandler
	Path     string
	Admit    func(*exchange.RequestHead) (*exchange.RequestHead, error)
	// Metadata says which fields of the CONNECT count for the calls of its session; nil is none.
	Metadata func(name string) bool

	MaxStreams     int           // requests, or pipes, of a connection at a time
	MaxHeaderBytes int           // of a request
	Handshake      time.Duration // until a connection is one
	Header         time.Duration // until the first frame of a pipe is whole
	Idle           time.Duration // a connection without requests and sessions; zero is for ever
	Stall          time.Duration // one write; zero is no limit
	Abuse          int           // requests and pipes that a client takes back within a second; zero is no limit

	// Acquire and Release count connections.
	Acquire  func() bool
	Release  func()
	LimitHit func(name string)

	// ResetKey makes the tokens by which clients learn that the server was started again
	// (RFC 9000, section 10.3). It has to be the same then. Nil is a random one.
	ResetKey *[32]byte

	Log *slog.Logger // nil is silent
}

// A Server serves HTTP/3 connections.
type Server struct {
	cfg   Config
	quic  *quic.Config
	reset quic.StatelessResetKey
	token quic.TokenGeneratorKey
	wt    *webtransport.Server

	handshakes handshakes
	writers    blocking.Writers

	mu       sync.Mutex
	sockets  map[*socket]struct{}
	conns    map[*quic.Conn]*conn
	sessions map[*session]struct{}
	draining bool
	closed   bool
	wg       sync.WaitGroup // connections, and the last words of sessions
}

// socket is a UDP socket that is served.
type socket struct {
	pc        net.PacketConn
	transport *quic.Transport
	listener  *quic.Listener
}

// reordering is how long a stream waits for its session, and a session for the settings of
// its client.
const reordering = 5 * time.Second

// ErrClosed is what Serve returns after Drain or Close.
var ErrClosed = errors.New("http3: closed")

// New returns a Server. Close ends it.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, sockets: map[*socket]struct{}{}, conns: map[*quic.Conn]*conn{}, sessions: map[*session]struct{}{}}
	if cfg.ResetKey != nil {
		s.reset = *cfg.ResetKey
	} else {
		_, _ = rand.Read(s.reset[:]) // it does not fail
	}
	_, _ = rand.Read(s.token[:])
	s.quic = quicConfig(&cfg)
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler) // nil would be the default of the program
	}
	s.wt = &webtransport.Server{
		H3: &qhttp3.Server{
			Handler: http.HandlerFunc(s.serve), QUICConfig: s.quic, MaxHeaderBytes: cfg.MaxHeaderBytes,
			ConnContext: s.connContext, Logger: log,
		},
		Config: sessionConfig(&cfg), ApplicationProtocols: []string{Subprotocol}, ReorderingTimeout: reordering,
		CheckOrigin: func(*http.Request) bool { return true }, // Admit has done it
	}
	return s
}

// Serve takes connections from a socket until Drain or Close. Close closes the socket.
func (s *Server) Serve(pc net.PacketConn, cfg *tls.Config) error {
	k := &socket{pc: pc}
	k.transport = &quic.Transport{
		Conn: pc, StatelessResetKey: &s.reset, TokenGeneratorKey: &s.token,
		VerifySourceAddress: s.handshakes.suspicious, ConnContext: s.attempt,
	}
	l, err := k.transport.Listen(qhttp3.ConfigureTLSConfig(cfg), s.quic)
	if err != nil {
		_ = pc.Close()
		return fmt.Errorf("listen for QUIC: %w", err)
	}
	k.listener = l
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		k.close()
		return ErrClosed
	}
	s.sockets[k] = struct{}{}
	s.mu.Unlock()
	for {
		c, err := l.Accept(context.Background())
		if err != nil {
			return s.stopped(k, err)
		}
		done(c.Context())
		if s.enter(c) {
			go s.serveConn(c) // ends with the connection; Close waits for it
		}
	}
}

// stopped says why a socket is not served any more. Its connections go on until Close, if
// it was not the socket that failed.
func (s *Server) stopped(k *socket, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return ErrClosed
	}
	delete(s.sockets, k)
	k.close()
	return err
}

func (k *socket) close() {
	_ = k.listener.Close()
	_ = k.transport.Close()
	_ = k.pc.Close()
}
