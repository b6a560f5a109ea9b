// Package h3 adds HTTP/3 and WebTransport to a gateway. It is apart from it because it links
// QUIC, which a program that does not import it need not.
//
//	g, err := sluice.New(sluice.Config{Backends: backends, HTTP3: h3.New(h3.Config{})})
//	go g.ServeTLS(listener, tlsConfig)
//	go g.ServeQUIC(packetConn, tlsConfig)
//
// The socket has the port of the listener, on UDP. Browsers learn of it from Alt-Svc in what
// the listener answers.
package h3

import (
	"fmt"
	"net"
	"time"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/internal/carrier/http3"
)

// A Config says how HTTP/3 is served. The zero value works. Limits and timeouts are those of
// the gateway.
type Config struct {
	// ResetKey makes the tokens by which clients learn at once that the gateway was started
	// again (RFC 9000, section 10.3), if it is the same then and secret. Nil is a random one:
	// clients learn it from a timeout.
	ResetKey *[32]byte
	// Port is the UDP port that clients reach, if something in front of the gateway makes
	// it another than that of the socket. Negative is none: HTTP/3 is not announced.
	Port int
	// MaxAge is how long clients remember that there is HTTP/3; 24 h.
	MaxAge time.Duration
}

// New returns HTTP/3 for the Config of one gateway.
func New(cfg Config) sluice.HTTP3 { return &start{cfg} }

type start struct{ cfg Config }

// Start implements [sluice.HTTP3].
func (s *start) Start(e sluice.HTTP3Edge) (sluice.HTTP3Server, error) {
	return &server{s.cfg, http3.New(http3.Config{
		Handler: e.Handler, Sessions: e.Sessions, Path: e.Path, Admit: e.Admit, Metadata: e.Metadata, Work: e.Work,
		MaxStreams: e.Limits.StreamsPerConn, Abuse: e.Limits.ConnAbuse, MaxHeaderBytes: e.Limits.HeaderBytes,
		Handshake: e.Timeouts.Handshake, Header: e.Timeouts.Header, Idle: e.Timeouts.Idle, Stall: e.Timeouts.Stall,
		Acquire: e.Acquire, Release: e.Release, LimitHit: e.LimitHit, ResetKey: s.cfg.ResetKey, Log: e.Logger,
	})}, nil
}

type server struct {
	cfg Config
	*http3.Server
}

// AltSvc implements [sluice.HTTP3Server].
func (s *server) AltSvc(a net.Addr) string {
	port, age := s.cfg.Port, s.cfg.MaxAge
	if u, ok := a.(*net.UDPAddr); ok && port == 0 {
		port = u.Port
	}
	if port <= 0 {
		return ""
	}
	if age == 0 {
		age = 24 * time.Hour
	}
	return fmt.Sprintf(`h3=":%d"; ma=%d`, port, int(age.Seconds()))
}
