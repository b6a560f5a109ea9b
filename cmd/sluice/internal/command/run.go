package command

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/admin"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/certs"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/demo"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/devtls"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/viewer"
)

// instance is a gateway that runs, with what the command puts around it.
type instance struct {
	config   *config.Config
	log      *slog.Logger
	gateway  *sluice.Gateway
	demo     *demo.Server // nil for serve
	dev      *devtls.TLS  // nil without certificates for development
	began    time.Time
	draining atomic.Bool

	plain, tls, admin net.Listener // nil is none
	quic              []net.PacketConn
}

// run serves until a signal comes and calls are drained, or something fails. adjust, if
// it is not nil, changes what can't be said by the configuration.
func (a *app) run(c *config.Config, warnings []string, d *demo.Server, adjust func(*instance, *parts)) (err error) {
	memoryCtx, stopTending := context.WithCancel(context.Background())
	defer stopTending()
	tendMemory(memoryCtx)
	in := &instance{config: c, demo: d, began: time.Now(), log: newLogger(c, a.stderr)}
	slog.SetDefault(in.log) // for libraries that know no other
	for _, w := range warnings {
		in.log.Warn(w)
	}
	p, err := build(c, in.log, a.stderr)
	if err != nil {
		return err
	}
	in.dev = p.dev
	if d != nil { // the user's own go before them
		own := sluice.HTTPRulesFile{Name: "the demo", Data: demo.HTTPRules}
		p.gateway.REST.HTTPRules = append([]sluice.HTTPRulesFile{own}, p.gateway.REST.HTTPRules...)
		p.gateway.Handlers = demo.Page()
	}
	if adjust != nil {
		adjust(in, p)
	}
	if err := in.listen(); err != nil {
		return err
	}
	defer in.close()
	if in.gateway, err = sluice.New(p.gateway); err != nil {
		return usageError{err}
	}
	defer in.gateway.Close()

	ctx, cancel := context.WithCancel(context.Background())
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	background.Go(func() { certs.Watch(ctx, p.watch) })                         // until ctx ends
	background.Go(func() { p.schema.Watch(ctx, in.gateway.SetDescriptorSets) }) // the same
	failed := in.serve(p.server, p.quic)
	background.Go(func() { in.announce(ctx, a.stderr) }) // until ctx ends, or it is said

	select {
	case err := <-failed:
		return err
	case sig := <-a.signals:
		return in.drain(sig, a.signals)
	}
}

func newLogger(c *config.Config, w interface{ Write([]byte) (int, error) }) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Log.Level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func (in *instance) listen() (err error) {
	defer func() {
		if err != nil {
			in.close()
		}
	}()
	for _, one := range []struct {
		l          *net.Listener
		flag, addr string
	}{{&in.plain, "listen", in.config.Listen}, {&in.admin, "admin", in.config.Admin}} {
		if one.addr == "" || one.addr == config.Off {
			continue
		}
		if *one.l, err = listen(one.flag, one.addr); err != nil {
			return err
		}
	}
	if in.config.ServesTLS() {
		t := &in.config.TLS
		in.tls, in.quic, err = listenTLS(t.Address(), in.config.ServesHTTP3())
		if err != nil && t.Temporary {
			host, _, _ := net.SplitHostPort(t.Address())
			in.tls, in.quic, err = listenTLS(net.JoinHostPort(host, "0"), in.config.ServesHTTP3())
		}
	}
	return err
}

func (in *instance) close() {
	for _, l := range []net.Listener{in.plain, in.tls, in.admin} {
		if l != nil {
			_ = l.Close()
		}
	}
	for _, c := range in.quic {
		_ = c.Close()
	}
}

// serve starts the servers. Its goroutines end with their listeners.
func (in *instance) serve(server, quic *tls.Config) <-chan error {
	failed := make(chan error, 3+len(in.quic))
	watch := func(what string, err error) {
		if !errors.Is(err, sluice.ErrClosed) && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			failed <- fmt.Errorf("serve %s: %w", what, err)
		}
	}
	if in.plain != nil {
		go func() { watch(in.config.Listen, in.gateway.Serve(in.plain)) }()
	}
	if in.tls != nil {
		go func() { watch(in.config.TLS.Address(), in.gateway.ServeTLS(in.tls, server)) }()
	}
	for _, c := range in.quic {
		go func() { watch(c.LocalAddr().String()+" (HTTP/3)", in.gateway.ServeQUIC(c, quic)) }()
	}
	if in.admin != nil {
		s := admin.New(admin.Options{Ready: in.ready, Metrics: in.gateway.Metrics(),
			OpenAPI: in.gateway.ServeOpenAPI(in.openAPI()), Docs: viewer.Handler("/docs/"), Loopback: isLoopback(in.admin),
			Hosts: in.config.AdminHosts, Logger: in.log})
		go func() { watch(in.config.Admin, s.Serve(in.admin)) }()
	}
	return failed
}

// openAPI is what the document on the admin address says: it is not there that calls go.
func (in *instance) openAPI() sluice.OpenAPI {
	o := in.config.OpenAPI
	if len(o.Servers) > 0 {
		return o
	}
	if in.plain != nil {
		o.Servers = append(o.Servers, "http://"+shown(in.plain))
	}
	if in.tls != nil {
		o.Servers = append(o.Servers, "https://"+shown(in.tls))
	}
	return o
}

// drain lets running calls end. A second signal ends the process.
func (in *instance) drain(sig os.Signal, again <-chan os.Signal) error {
	in.draining.Store(true)
	limit := in.config.Timeouts.Drain
	ctx, cancel := context.WithCancel(context.Background())
	if limit > 0 {
		ctx, cancel = context.WithTimeout(context.Background(), limit)
	}
	defer cancel()
	in.log.Info("draining; another signal ends at once", "signal", sig.String(), "calls", in.gateway.Status().ActiveCalls,
		"timeout", in.config.Setting("timeouts.drain"))
	done := make(chan error, 1)
	go func() { done <- in.gateway.Shutdown(ctx) }() // ended by ctx; waited for, but for a second signal
	began := time.Now()
	for {
		select {
		case err := <-done:
			if err != nil {
				in.log.Warn("drain timeout: the calls that still ran were ended with UNAVAILABLE")
				return nil
			}
			in.log.Info("drained")
			return nil
		case sig := <-again:
			if time.Since(began) < sameSignal {
				continue
			}
			return fmt.Errorf("ended by a second signal (%s) with %d calls running", sig, in.gateway.Status().ActiveCalls)
		}
	}
}

// sameSignal is how long after the first a signal is taken for the same one: programs
// such as timeout(1) signal the process and then its group.
const sameSignal = 250 * time.Millisecond
