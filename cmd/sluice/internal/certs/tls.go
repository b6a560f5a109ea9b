package certs

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync"
	"sync/atomic"
)

// Server returns the configuration of a listener whose certificate is f's, with
// client certificates required and verified if f has authorities, or verified if there
// is one where they are optional. The Keeper has to be watched.
//
// Each change makes a new configuration, so that its session tickets end with it: a
// client whose authority was removed can't come back by resuming.
func Server(f Files, log *slog.Logger) (*tls.Config, *Keeper, error) {
	var current atomic.Pointer[tls.Config]
	k, err := Keep(f, log, func(p *Pair) {
		c := serverBase()
		c.Certificates = []tls.Certificate{*p.Certificate}
		if p.Authorities != nil {
			c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, p.Authorities
			if f.Optional {
				c.ClientAuth = tls.VerifyClientCertIfGiven
			}
		}
		current.Store(c)
	})
	if err != nil {
		return nil, nil, err
	}
	// What is outside of GetConfigForClient counts only for code that looks at it.
	c := current.Load().Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return current.Load(), nil }
	return c, k, nil
}

func serverBase() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
}

// Client returns the configuration for https backends. A changed client certificate
// is used by the next connection; the authorities are those of the start. The Keeper
// has to be watched; it is nil if there is no client certificate.
func Client(f Files, serverName string, log *slog.Logger) (*tls.Config, *Keeper, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: serverName}
	if f == (Files{}) {
		return c, nil, nil
	}
	k, err := Keep(f, log, nil)
	if err != nil {
		return nil, nil, err
	}
	c.RootCAs = k.Current().Authorities
	if f.Cert == "" {
		return c, nil, nil
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return k.Current().Certificate, nil
	}
	return c, k, nil
}

// Watch watches all keepers until ctx ends.
func Watch(ctx context.Context, keepers []*Keeper) {
	var wg sync.WaitGroup
	for _, k := range keepers {
		wg.Go(func() { k.Watch(ctx) })
	}
	wg.Wait()
}
