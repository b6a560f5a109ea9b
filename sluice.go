package sluice

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/backend"
	"github.com/sluice-rpc/sluice/internal/blocking"
	"github.com/sluice-rpc/sluice/internal/carrier/accept"
	"github.com/sluice-rpc/sluice/internal/carrier/altsvc"
	"github.com/sluice-rpc/sluice/internal/carrier/cors"
	"github.com/sluice-rpc/sluice/internal/carrier/duplex"
	"github.com/sluice-rpc/sluice/internal/carrier/http1"
	"github.com/sluice-rpc/sluice/internal/carrier/http2"
	"github.com/sluice-rpc/sluice/internal/carrier/mux"
	"github.com/sluice-rpc/sluice/internal/carrier/ticket"
	"github.com/sluice-rpc/sluice/internal/carrier/websocket"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/h2"
	"github.com/sluice-rpc/sluice/internal/netio"
	"github.com/sluice-rpc/sluice/internal/observe"
	"github.com/sluice-rpc/sluice/internal/policy"
	"github.com/sluice-rpc/sluice/internal/policy/jsoncodec"
	"github.com/sluice-rpc/sluice/rpc"
)

// ErrClosed is what Serve and ServeTLS return once the gateway shuts down.
var ErrClosed = errors.New("sluice: gateway closed")

// A Gateway stands in front of gRPC servers. Make one with [New]; end it with
// Shutdown or Close.
type Gateway struct {
	cfg      Config
	work     *netio.Work
	keeper   *h2.Keeper
	budget   *h2.Budget
	metrics  *observe.Metrics
	access   *observe.AccessLog
	wheel    *policy.Wheel
	calls    policy.Calls
	backends []*backend.Backend
	router   *backend.Router
	held     *backend.SchemaWait // calls in JSON, until their methods are described
	schemas  *schemas
	methods  *restTable
	mux      *mux.Server
	riding   []riding // the carriers that are in the table
	quic     quicPorts
	sessions *duplex.Server // of HTTP duplex
	tickets  *ticket.Server

	edge     exchange.Handler // where all carriers bring their exchanges
	origins  *cors.Policy     // the part of it that decides about pages
	announce *altsvc.Handler  // the edge of the gateway's own listeners
	accept   *accept.Server
	http1    *http1.Server
	http2    *http2.Server
	http3    HTTP3Server       // nil without Config.HTTP3
	socket   *websocket.Server // rides on them
	ports    ports

	stop     context.CancelFunc // of the background
	wg       sync.WaitGroup     // the background: reflection
	mu       sync.Mutex
	draining bool
	closed   bool
}

// New makes a gateway. It begins to connect to its backends and to ask for their
// schema in the background; calls that come before that wait for it.
func New(cfg Config) (*Gateway, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		cfg: cfg, work: &netio.Work{}, keeper: h2.NewKeeper(), budget: h2.NewBudget(int64(cfg.Limits.BufferBytes)),
		metrics: observe.NewMetrics(), wheel: policy.NewWheel(),
	}
	switch {
	case cfg.DisableAccessLog:
	case cfg.AccessLog != nil && cfg.AccessLogJSON:
		g.access = observe.NewAccessLog(cfg.AccessLog, observe.JSON, g.metrics)
	case cfg.AccessLog != nil:
		g.access = observe.NewAccessLog(cfg.AccessLog, observe.Text, g.metrics)
	case cfg.Logger != nil:
		g.access = observe.NewLoggerLog(cfg.Logger, g.metrics)
	}
	if g.schemas, err = newSchemas(g); err != nil {
		return nil, err
	}
	for i := range cfg.Backends {
		b, err := g.newBackend(i)
		if err != nil {
			_ = g.Close()
			return nil, fmt.Errorf("backend %d: %w", i+1, err)
		}
		g.backends = append(g.backends, b)
	}
	handlers := make([]rpc.Handler, len(g.backends))
	for i, b := range g.backends {
		handlers[i] = b
	}
	wait := backend.WaitConfig{Pending: g.schemaPending, HeldCalls: cfg.Limits.HeldCalls, ReadyTimeout: cfg.Timeouts.Ready}
	g.held = backend.NewSchemaWait(wait)
	g.router = backend.NewRouter(backend.RouterConfig{
		Backends: handlers, Find: g.findBackend, WaitConfig: wait,
	})
	if err := g.assemble(g.router); err != nil {
		_ = g.Close()
		return nil, err
	}
	g.gauges()
	background, stop := context.WithCancel(context.Background())
	g.stop = stop
	for _, w := range g.schemas.watchers {
		if w != nil {
			g.wg.Go(func() { w.Run(background) }) // ends with Close
		}
	}
	return g, nil
}

// gauges are metrics that are looked up when somebody asks.
func (g *Gateway) gauges() {
	g.metrics.Gauge("sluice_client_connections", "Client connections that are open.", func() float64 { return float64(g.accept.Conns()) })
	g.metrics.Gauge("sluice_buffered_bytes", "Bytes of calls that wait in the gateway, of limits.buffer_bytes.", func() float64 { return float64(g.budget.Used()) })
	sum := func(f func(backend.Status) int) func() float64 {
		return func() (n float64) {
			for _, b := range g.backends {
				n += float64(f(b.Status()))
			}
			return n
		}
	}
	g.metrics.Gauge("sluice_held_calls", "Calls that wait for a backend.", sum(func(s backend.Status) int { return s.Held }))
	g.metrics.Gauge("sluice_duplex_sessions", "Sessions of HTTP duplex, of limits.duplex_sessions.", func() float64 { return float64(g.sessions.Len()) })
	g.metrics.Gauge("sluice_backend_endpoints", "Addresses of backends.", sum(func(s backend.Status) int { return len(s.Endpoints) }))
	g.metrics.Gauge("sluice_backend_endpoints_ready", "Addresses of backends that take calls.", sum(func(s backend.Status) (n int) {
		for _, e := range s.Endpoints {
			if e.State == backend.Ready {
				n++
			}
		}
		return n
	}))
	g.metrics.Gauge("sluice_backend_connections", "Connections to backends.", sum(func(s backend.Status) (n int) {
		for _, e := range s.Endpoints {
			n += e.Conns
		}
		return n
	}))
}

// assemble puts the pipeline and the edge around the router.
func (g *Gateway) assemble(router rpc.Handler) error {
	cfg := &g.cfg
	h := router
	for i := len(cfg.Policies) - 1; i >= 0; i-- {
		h = cfg.Policies[i](h)
	}
	if cfg.Timeouts.FirstByte > 0 {
		h = policy.FirstByte(h, g.wheel, cfg.Timeouts.FirstByte)
	}
	h = policy.Deadline(h, g.wheel)
	if cfg.Authenticate != nil {
		h = policy.Authenticate(h, cfg.Authenticate)
	}
	methods, err := newRESTTable(g)
	if err != nil {
		return err
	}
	g.methods = methods
	h = jsoncodec.New(h, jsoncodec.Options{
		Messages: methods.messages, Pending: g.schemaPending, Hold: g.held.Hold,
		MaxMessage: cfg.Limits.MessageBytes, Ratio: cfg.Limits.DecompressionRatio, Reserve: g.budget.Reserve,
	})
	h = g.calls.Track(h)
	h = observe.Observe(h, g.metrics, g.access, time.Now)

	protocols := newTable(h, cfg, g.schemas.lookup, g.budget.Reserve, methods)
	g.mux = newMux(g, protocols)
	protocols = append(g.handlers(), g.ride(protocols)...)
	if cfg.REST.OpenAPI != nil {
		protocols = append(table{g.publicOpenAPI()}, protocols...) // its paths are those of no method
	}
	if g.origins, err = cors.New(cors.Config{Origins: cfg.CORSOrigins, Listens: g.listens}, protocols); err != nil {
		return err
	}
	g.edge = g.origins
	g.announce = altsvc.New(g.edge)
	g.http2 = http2.New(g.announce, g.engineConfig(false), cfg.Logger)
	g.http1 = http1.New(g.announce, http1.Config{
		Work: g.work, HeaderTimeout: cfg.Timeouts.Header, IdleTimeout: cfg.Timeouts.Idle, Stall: cfg.Timeouts.Stall,
		MaxHeaderBytes: cfg.Limits.HeaderBytes, Logger: cfg.Logger,
	})
	g.accept = accept.New(accept.Config{
		HTTP1: g.http1.ServeConn, HTTP2: g.http2.ServeConn,
		MaxConns: cfg.Limits.Conns, Handshake: cfg.Timeouts.Handshake, LimitHit: g.metrics.LimitHit, Log: cfg.Logger,
	})
	return g.startHTTP3()
}

// abused notes that a client was cut off for abuse.
func (g *Gateway) abused(client net.Addr) { g.accept.Penalize(client) }

// engineConfig is the HTTP/2 engine's part of the configuration, for one role.
func (g *Gateway) engineConfig(client bool) *h2.Config {
	l, t := &g.cfg.Limits, &g.cfg.Timeouts
	c := &h2.Config{
		Work: g.work, Keeper: g.keeper, Budget: g.budget, LimitHit: g.metrics.LimitHit,
		MaxStreams: l.StreamsPerConn, HeaderBytes: l.HeaderBytes, StreamWindow: rpc.WindowDefault, ConnBuffer: l.ConnBufferBytes,
		Abuse: l.ConnAbuse, Idle: t.Idle, Stall: t.Stall, SettingsAck: t.SettingAck, Header: t.Header,
		KeepAlive: clientKeepAlive, ExtendedConnect: !client,
	}
	if client {
		c.MaxStreams, c.HeaderBytes, c.ConnBuffer = maxBackendStreams, l.BackendHeaderBytes, backendConnWindow
		c.Abuse, c.Idle, c.KeepAlive, c.Header = 0, 0, t.KeepAlive, 0
	}
	return c
}

const (
	// maxBackendStreams bounds the calls on one backend connection if the backend sets no
	// limit itself; the clients' limits are what counts.
	maxBackendStreams = 1 << 20
	// backendConnWindow is replenished on receipt, so it bounds only what is in flight.
	backendConnWindow = 4 << 20
	// clientKeepAlive finds clients that vanished; they need not send PINGs themselves.
	clientKeepAlive = 2 * time.Minute
)

// Serve takes HTTP/1.1 and HTTP/2 connections without TLS until Shutdown.
func (g *Gateway) Serve(l net.Listener) error { return g.serve(l, nil) }

// ServeTLS takes HTTP/1.1 and HTTP/2 connections with TLS. NextProtos is set if it is
// empty.
func (g *Gateway) ServeTLS(l net.Listener, cfg *tls.Config) error {
	cfg = cfg.Clone()
	if len(cfg.NextProtos) == 0 {
		cfg.NextProtos = []string{"h2", "http/1.1"}
	}
	return g.serve(l, cfg)
}

func (g *Gateway) serve(l net.Listener, cfg *tls.Config) error {
	defer g.ports.add(l.Addr(), cfg != nil)()
	err := g.accept.Serve(l, cfg)
	if errors.Is(err, accept.ErrClosed) {
		return ErrClosed
	}
	return err
}

// ServeHTTP serves one request of a server of your own. Some guarantees are weaker
// there than on the gateway's own listeners; docs/guide.md lists them.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	blocking.ServeHTTP(g.edge, w, r, blocking.Options{Work: g.work, Stall: g.cfg.Timeouts.Stall})
}

// Metrics serves the metrics in Prometheus' text format.
func (g *Gateway) Metrics() http.Handler { return g.metrics.Handler() }

// Ready says whether every backend would take a call now, and the gateway is not
// shutting down.
func (g *Gateway) Ready() bool {
	g.mu.Lock()
	draining := g.draining
	g.mu.Unlock()
	if draining {
		return false
	}
	for _, b := range g.backends {
		if !b.Ready() {
			return false
		}
	}
	return true
}

// Shutdown drains: clients are told to go elsewhere, listeners close, running calls go
// on until ctx ends. What runs then ends with UNAVAILABLE, and the error is that of ctx.
//
// As long as there are calls whose client may come back, or whose requests come on connections of
// their own, listeners stay open for them.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	g.draining = true
	g.mu.Unlock()
	g.socket.Drain()
	g.mux.Drain(g.cfg.Timeouts.Drain)
	g.http2.DrainOpen()
	_ = poll(ctx, func() bool { all, _ := g.mux.Calls(); return all == 0 && g.sessions.Len() == 0 })
	g.accept.Close()
	g.http2.Drain()
	if g.http3 != nil {
		g.http3.Drain()
	}
	h1 := make(chan struct{})
	go func() { _ = g.http1.Shutdown(ctx); close(h1) }() // ends with ctx; waited for below
	err := g.waitCalls(ctx)
	if err != nil {
		g.calls.CancelAll(rpc.Status{Code: rpc.Unavailable, Message: "the gateway is shutting down"})
		last, cancel := context.WithTimeout(context.Background(), goodbye)
		_ = g.waitCalls(last)
		cancel()
	}
	closing, cancel := context.WithTimeout(context.Background(), goodbye)
	g.waitConns(closing)
	cancel()
	_ = g.Close()
	<-h1
	return err
}

// goodbye is how long the last words of a connection may take.
const goodbye = time.Second

func (g *Gateway) waitCalls(ctx context.Context) error {
	return poll(ctx, func() bool { return g.calls.Len() == 0 })
}

func (g *Gateway) waitConns(ctx context.Context) {
	_ = poll(ctx, func() bool { return g.accept.Conns() == 0 })
}

// poll waits until done says true, or ctx ends. It is used while shutting down only.
func poll(ctx context.Context, done func() bool) error {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
	return nil
}

// Close ends everything at once.
func (g *Gateway) Close() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil
	}
	g.closed, g.draining = true, true
	g.mu.Unlock()
	if g.stop != nil {
		g.stop()
	}
	if g.sessions != nil {
		g.sessions.Close()
	}
	if g.accept != nil {
		g.accept.Close()
		g.mux.Close()
		g.http2.Close()
		g.http1.Close()
		if g.http3 != nil {
			g.http3.Close()
		}
		g.accept.Wait()
	}
	for _, b := range g.backends {
		b.Close()
	}
	g.wg.Wait()
	g.wheel.Close()
	if g.access != nil {
		g.access.Close()
	}
	return nil
}
