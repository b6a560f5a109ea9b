package sluice

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/netio"
)

// HTTP3 is the part of a gateway that speaks HTTP/3 and WebTransport. Package h3 has it; it
// is plugged in, so that a program without it does not link QUIC:
//
//	g, err := sluice.New(sluice.Config{Backends: backends, HTTP3: h3.New(h3.Config{})})
//	go g.ServeTLS(listener, tlsConfig)
//	go g.ServeQUIC(packetConn, tlsConfig)
type HTTP3 interface {
	// Start makes a server. A gateway calls it once.
	Start(HTTP3Edge) (HTTP3Server, error)
}

// HTTP3Edge is what a gateway gives to its HTTP3.
type HTTP3Edge struct {
	Handler  exchange.Handler                                           // takes requests
	Admit    func(*exchange.RequestHead) (*exchange.RequestHead, error) // decides which pages may open a session
	Sessions exchange.SessionHandler                                    // takes sessions of WebTransport; nil: there are none
	Path     string                                                     // where sessions are opened
	Metadata func(name string) bool                                     // which fields of that become metadata of their calls
	Acquire  func() bool                                                // a connection more
	Release  func()                                                     // a connection less
	LimitHit func(name string)
	Work     *netio.Work
	Limits   Limits
	Timeouts Timeouts
	Logger   *slog.Logger
}

// HTTP3Server serves HTTP/3.
type HTTP3Server interface {
	// Serve serves a socket until Close, and closes it.
	Serve(c net.PacketConn, cfg *tls.Config) error
	// AltSvc is how a socket is announced (RFC 7838), or "".
	AltSvc(net.Addr) string
	// Drain takes no new connections, and tells clients to go elsewhere.
	Drain()
	// Close ends everything at once.
	Close()
}

// ServeQUIC takes HTTP/3 connections until Shutdown, and then closes c. While it does,
// responses of ServeTLS announce it. It needs [Config].HTTP3. A machine that has addresses
// of both families needs a socket for each, or one for both: browsers don't try the other.
func (g *Gateway) ServeQUIC(c net.PacketConn, cfg *tls.Config) error {
	if g.http3 == nil {
		_ = c.Close()
		return errors.New("sluice: HTTP/3 is not in this gateway: set HTTP3 of its Config to h3.New(h3.Config{})")
	}
	if v := g.http3.AltSvc(c.LocalAddr()); v != "" {
		defer g.announce.Announce(v)()
		defer g.quic.add(v, c.LocalAddr())()
	}
	err := g.http3.Serve(c, cfg)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining {
		return ErrClosed
	}
	return err
}

// startHTTP3 starts what Config.HTTP3 is.
func (g *Gateway) startHTTP3() (err error) {
	if g.cfg.HTTP3 == nil {
		return nil
	}
	var sessions exchange.SessionHandler
	if g.cfg.Duplex.Path != off {
		sessions = g.mux
		g.riding = append(g.riding, riding{
			Name: carrierWebTransport, Protocol: exchange.PipeMux, URL: g.cfg.Duplex.Path, Ticket: g.cfg.Duplex.Path + ticketPath})
	}
	g.http3, err = g.cfg.HTTP3.Start(HTTP3Edge{
		Handler: g.edge, Admit: g.admit, Sessions: sessions, Path: g.cfg.Duplex.Path, Metadata: g.cfg.Duplex.opening(),
		Acquire: g.accept.Acquire, Release: g.accept.Release, LimitHit: g.metrics.LimitHit,
		Work: g.work, Limits: g.cfg.Limits, Timeouts: g.cfg.Timeouts, Logger: g.cfg.Logger,
	})
	return err
}
