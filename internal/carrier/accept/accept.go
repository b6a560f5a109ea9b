// Package accept takes connections from listeners and finds out which HTTP they
// speak: by ALPN under TLS, by the first bytes without. What it finds goes to one of
// two functions; it knows no carrier.
//
// Until then a connection has cost a goroutine and nothing else, under a deadline.
// There is no "Upgrade: h2c" (RFC 9113, section 3.1, has obsoleted it).
package accept

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/netio"
)

// A Config says where connections go. All fields but Log are required.
type Config struct {
	// HTTP1 serves a connection that speaks HTTP/1.1. It may return before that ends, which
	// done tells, once: there is no goroutine that only waits.
	HTTP1 func(c net.Conn, done func())
	// HTTP2 serves a connection that speaks HTTP/2 and of which initial was read. It says
	// whether the connection was ended for abuse.
	HTTP2 func(c netio.Conn, initial []byte) (abuse bool)

	MaxConns  int           // connections at a time; more are closed at once
	Handshake time.Duration // for TLS and the first bytes
	LimitHit  func(name string)
	Log       *slog.Logger
}

// A Server takes connections.
type Server struct {
	cfg  Config
	wg   sync.WaitGroup
	mu   sync.Mutex
	ls   map[net.Listener]struct{}
	open map[net.Conn]struct{} // not yet handed over
	n    int
	done bool

	penalties penalties
}

// ErrClosed is what Serve returns after Close.
var ErrClosed = errors.New("accept: closed")

// New returns a Server.
func New(cfg Config) *Server {
	return &Server{cfg: cfg, ls: map[net.Listener]struct{}{}, open: map[net.Conn]struct{}{}}
}

// maxAcceptDelay bounds the pause after an error such as too many open files.
const maxAcceptDelay = time.Second

// Serve takes connections from l until Close. With tlsCfg they are TLS.
func (s *Server) Serve(l net.Listener, tlsCfg *tls.Config) error {
	s.mu.Lock()
	if s.done {
		s.mu.Unlock()
		_ = l.Close()
		return ErrClosed
	}
	s.ls[l] = struct{}{}
	s.mu.Unlock()
	delay := 5 * time.Millisecond
	for {
		c, err := l.Accept()
		if err != nil {
			s.mu.Lock()
			done := s.done
			s.mu.Unlock()
			var ne net.Error
			switch {
			case done:
				return ErrClosed
			//lint:ignore SA1019 nothing else tells "too many open files" from the end
			case errors.As(err, &ne) && ne.Temporary():
				if s.cfg.Log != nil {
					s.cfg.Log.Warn("accept: trying again", "error", err, "delay", delay)
				}
				time.Sleep(delay)
				delay = min(2*delay, maxAcceptDelay)
				continue
			}
			return err
		}
		delay = 5 * time.Millisecond
		if !s.enter(c) {
			_ = c.Close()
			continue
		}
		go s.serve(c, tlsCfg) // ends with the connection
	}
}

func (s *Server) enter(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.acquireLocked() {
		return false
	}
	s.open[c] = struct{}{}
	return true
}

func (s *Server) acquireLocked() bool {
	if s.done {
		return false
	}
	if s.n >= s.cfg.MaxConns {
		s.cfg.LimitHit("conns")
		return false
	}
	s.n++
	s.wg.Add(1)
	return true
}

// handOver notes that a connection is somebody else's to close.
func (s *Server) handOver(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	return !s.done
}

func (s *Server) leave(c net.Conn) {
	s.mu.Lock()
	s.n--
	delete(s.open, c)
	s.mu.Unlock()
	s.wg.Done()
}

// Acquire counts a connection that comes another way, and says whether there may be one
// more. Release follows when it has ended.
func (s *Server) Acquire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acquireLocked()
}

// Release undoes one Acquire.
func (s *Server) Release() {
	s.mu.Lock()
	s.n--
	s.mu.Unlock()
	s.wg.Done()
}

// Penalize notes that a client was cut off for abuse on something of its connection, such as a WebSocket: its next
// connections wait as after one of HTTP/2 that was ended for that.
func (s *Server) Penalize(client net.Addr) { s.penalties.add(client, time.Now()) }

// Conns returns how many connections are open.
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// Close closes the listeners, and the connections that nobody serves yet.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	for l := range s.ls {
		_ = l.Close()
	}
	for c := range s.open {
		_ = c.Close()
	}
}

// Wait waits until every connection has ended; Close comes first.
func (s *Server) Wait() { s.wg.Wait() }

func (s *Server) serve(raw net.Conn, tlsCfg *tls.Config) {
	handed := false
	defer func() {
		if !handed {
			s.leave(raw)
		}
	}()
	if d := s.penalties.wait(raw.RemoteAddr(), time.Now()); d > 0 {
		s.cfg.LimitHit("conn_penalty")
		time.Sleep(d)
	}
	_ = raw.SetDeadline(time.Now().Add(s.cfg.Handshake))
	c := raw
	var first []byte
	isH2 := false
	if tlsCfg != nil {
		t := netio.Server(raw, tlsCfg)
		if err := t.Handshake(); err != nil {
			if s.cfg.Log != nil {
				s.cfg.Log.Debug("TLS handshake failed", "peer", raw.RemoteAddr(), "error", err)
			}
			sayHTTPS(raw, err)
			_ = raw.Close()
			return
		}
		c = t
		isH2 = t.ConnectionState().NegotiatedProtocol == "h2"
	} else {
		var err error
		if first, isH2, err = sniff(raw); err != nil {
			_ = raw.Close()
			return
		}
	}
	_ = raw.SetDeadline(time.Time{})
	if !s.handOver(raw) {
		_ = raw.Close()
		return
	}
	if isH2 {
		if s.cfg.HTTP2(netio.New(c), first) {
			s.penalties.add(raw.RemoteAddr(), time.Now())
		}
		return
	}
	if len(first) > 0 {
		c = &replay{Conn: c, first: first}
	}
	handed = true
	s.cfg.HTTP1(c, func() { s.leave(raw) })
}

// sayHTTPS answers a client that speaks HTTP/1.1 where TLS is expected, as net/http
// does; a handshake failed with err.
func sayHTTPS(c net.Conn, err error) {
	re, ok := errors.AsType[tls.RecordHeaderError](err)
	if !ok || re.Conn == nil || !slices.Contains([]string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET"}, string(re.RecordHeader[:])) {
		return
	}
	_, _ = io.WriteString(c, "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"+
		"This port speaks TLS: use https.\n")
	// Close would be a reset, which overtakes the answer, while something is not read.
	if t, ok := c.(interface{ CloseWrite() error }); ok && t.CloseWrite() == nil {
		_ = c.SetReadDeadline(time.Now().Add(lastRead))
		_, _ = io.CopyN(io.Discard, c, 64<<10)
	}
}

// lastRead is how long the rest of a request that came without TLS is read.
const lastRead = 500 * time.Millisecond

// preface is what tells HTTP/2 with prior knowledge (RFC 9113, section 3.4). HTTP/1.1
// has no method of this name, so its first bytes decide.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// sniff reads until it is clear which protocol it is.
func sniff(c net.Conn) (first []byte, isH2 bool, err error) {
	buf := make([]byte, len(preface))
	n := 0
	for n < len(preface) {
		m, err := c.Read(buf[n:])
		n += m
		if string(buf[:n]) != preface[:n] {
			return buf[:n], false, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
	return buf, true, nil
}

// replay is a connection of which some bytes were read already.
type replay struct {
	net.Conn
	first []byte
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(p, r.first)
		if r.first = r.first[n:]; len(r.first) == 0 {
			r.first = nil
		}
		return n, nil
	}
	return r.Conn.Read(p)
}

// NetConn returns the connection below, for who wants to close it in a special way.
func (r *replay) NetConn() net.Conn { return r.Conn }
