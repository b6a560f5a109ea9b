package sluice

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/sluice-rpc/sluice/internal/backend"
	"github.com/sluice-rpc/sluice/internal/blocking"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/h2"
	"github.com/sluice-rpc/sluice/internal/netio"
	"github.com/sluice-rpc/sluice/internal/protocol/grpc"
	"github.com/sluice-rpc/sluice/rpc"
)

// newBackend makes backend i.
func (g *Gateway) newBackend(i int) (*backend.Backend, error) {
	b := &g.cfg.Backends[i]
	opt := grpc.ClientOptions{Scheme: "http", Authority: b.Authority, Fallback: "localhost", MaxMessage: g.cfg.Limits.MessageBytes, Now: time.Now}
	client := func(next exchange.Handler) rpc.Handler { return grpc.NewClient(next, opt) }
	if b.Handler != nil {
		if b.Target != "" {
			return nil, errors.New("it has both a Target and a Handler; give one")
		}
		return backend.NewHandler(inProcess, blocking.Handler(b.Handler, blocking.Options{Work: g.work}), client), nil
	}
	target, err := backend.ParseTarget(b.Target)
	if err != nil {
		return nil, err
	}
	opt.Scheme, opt.Fallback = target.Scheme(), target.Authority()
	if target.TLS && opt.Authority == "" {
		opt.Authority = target.Authority() // certificates and virtual hosts go by it
	}
	return backend.New(backend.Config{
		Target: target, Dial: g.dialer(target, b.TLS), NewClient: client,
		Balance: backend.Balance(b.Balance), HealthCheck: b.HealthCheck, HealthService: b.HealthService,
		HeldCalls: g.cfg.Limits.HeldCalls, ReadyTimeout: g.cfg.Timeouts.Ready, DialTimeout: g.cfg.Timeouts.Dial,
		Connected: func() { g.schemas.connected(i) }, Logger: g.cfg.Logger,
	})
}

// inProcess names a backend without an address.
const inProcess = "in-process"

// dialer returns how a connection to a target is made.
func (g *Gateway) dialer(target backend.Target, tlsCfg *tls.Config) backend.DialFunc {
	engine := g.engineConfig(true)
	if target.TLS {
		if tlsCfg == nil {
			tlsCfg = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		tlsCfg = tlsCfg.Clone()
		tlsCfg.NextProtos = []string{"h2"}
		if tlsCfg.ServerName == "" {
			tlsCfg.ServerName = target.Host
		}
	}
	return func(ctx context.Context, network, addr string, events backend.ConnEvents) (backend.Conn, error) {
		var d net.Dialer
		nc, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if target.TLS {
			t := netio.Client(nc, tlsCfg)
			if err := t.HandshakeContext(ctx); err != nil {
				_ = nc.Close()
				return nil, fmt.Errorf("TLS handshake with %s: %w", addr, err)
			}
			if p := t.ConnectionState().NegotiatedProtocol; p != "h2" {
				_ = nc.Close()
				return nil, fmt.Errorf("%s does not speak HTTP/2: it negotiated %q by ALPN", addr, p)
			}
			nc = t
		}
		c := h2.NewClient(netio.New(nc), engine, events)
		go func() { _ = c.Run(nil) }() // ends with the connection, which the backend closes
		return c, nil
	}
}
