package sluice

import (
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/sluice-rpc/sluice/internal/backend"
	"github.com/sluice-rpc/sluice/internal/blocking"
	"github.com/sluice-rpc/sluice/internal/carrier/websocket"
	"github.com/sluice-rpc/sluice/internal/exchange"
)

// ride puts what the carriers take that ride on others before the protocols: they are found by
// their paths and subprotocols, which are no method's. Calls that come over them go to
// the protocols, and pipes to the mux. What clients need to know before they open one is there too.
func (g *Gateway) ride(protocols table) table {
	cfg := &g.cfg
	var pipes exchange.Handler
	if cfg.Duplex.Path != off {
		pipes = g.mux
	}
	metadata := make([]string, len(cfg.WebSocket.Metadata))
	for i, name := range cfg.WebSocket.Metadata {
		metadata[i] = strings.ToLower(name)
	}
	o := websocket.Options{
		Pipes: pipes, Path: cfg.Duplex.Path, Calls: protocols,
		Method:   func(path string) bool { _, ok := backend.Service(path); return ok },
		Metadata: metadata, MaxMessage: cfg.Limits.MessageBytes, MaxHeader: cfg.Limits.HeaderBytes, MaxCalls: cfg.Limits.StreamsPerConn,
		Ratio: cfg.Limits.DecompressionRatio, Abuse: cfg.Limits.ConnAbuse, Header: cfg.Timeouts.Header, Idle: cfg.Timeouts.Idle,
		Ping: cfg.WebSocket.Ping, PingTimeout: cfg.WebSocket.PingTimeout, Compression: !cfg.WebSocket.NoCompression, Reserve: g.budget.Reserve,
		LimitHit: g.metrics.LimitHit, Abused: g.abused,
	}
	if pipes != nil {
		o.Raw = func(method string) (exchange.Handler, int, string) { return g.sessions.Raw(method) } // made below
	}
	g.socket = websocket.New(o)
	sockets := row{"websocket", g.socket.Match, g.socket}
	if cfg.WebSocket.Disabled {
		sockets = row{"no websocket", (*exchange.RequestHead).Handshake, blocking.Handler(http.HandlerFunc(noWebSocket), blocking.Options{Work: g.work})}
	} else if pipes != nil {
		g.riding = append(g.riding, riding{Name: "websocket", Protocol: exchange.PipeMux, URL: cfg.Duplex.Path})
	}
	rows := table{g.discovery(), g.elsewhere()}
	if g.tickets = g.newTickets(); cfg.HTTP3 != nil && pipes != nil {
		rows = append(rows, row{"tickets", g.tickets.Match, g.tickets})
	}
	rows = append(rows, sockets, g.httpDuplex(protocols))
	return append(rows, protocols...)
}

// noWebSocket answers handshakes where there are none (RFC 9220, section 3, has the status).
func noWebSocket(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "there are no WebSockets here: they are switched off", http.StatusNotImplemented)
}

// ports are those on which a gateway listens, with their schemes.
type ports struct {
	mu   sync.RWMutex
	open map[port]int
}

type port struct{ scheme, number string }

// add notes a listener, until it is taken back.
func (p *ports) add(addr net.Addr, secure bool) (remove func()) {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return func() {}
	}
	k := port{"http", strconv.Itoa(tcp.Port)}
	if secure {
		k.scheme = "https"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		p.open = map[port]int{}
	}
	p.open[k]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.open[k]--; p.open[k] == 0 {
			delete(p.open, k)
		}
	}
}

// listens says whether there is a listener of the gateway's for a scheme and port.
func (g *Gateway) listens(scheme, number string) bool {
	g.ports.mu.RLock()
	defer g.ports.mu.RUnlock()
	return g.ports.open[port{scheme, number}] > 0
}

// handlers are the rows of what the configuration serves by itself.
func (g *Gateway) handlers() (rows table) {
	// The longest path first, so that one within another counts.
	paths := slices.SortedFunc(maps.Keys(g.cfg.Handlers), func(a, b string) int { return len(b) - len(a) })
	for _, path := range paths {
		below := len(path) > 1 && strings.HasSuffix(path, "/")
		rows = append(rows, row{
			name: "handler",
			match: func(head *exchange.RequestHead) bool {
				p, _, _ := strings.Cut(head.Path, "?")
				return (p == path || below && strings.HasPrefix(p, path)) && head.Protocol == ""
			},
			handler: blocking.Handler(g.cfg.Handlers[path], blocking.Options{Work: g.work, Stall: g.cfg.Timeouts.Stall}),
		})
	}
	return rows
}
