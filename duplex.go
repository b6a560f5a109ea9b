package sluice

import (
	"crypto/sha256"
	"net/http"
	"strings"

	"github.com/sluice-rpc/sluice/internal/blocking"
	"github.com/sluice-rpc/sluice/internal/carrier/duplex"
	"github.com/sluice-rpc/sluice/internal/carrier/mux"
	"github.com/sluice-rpc/sluice/internal/exchange"
)

// httpDuplex is the row of the table for pipes of plain HTTP requests
// (docs/protocols/http2-duplex.md), whose raw calls go to the protocols.
func (g *Gateway) httpDuplex(protocols exchange.Handler) row {
	cfg := &g.cfg
	g.sessions = duplex.New(duplex.Options{
		Path: cfg.Duplex.Path, Pipes: g.mux, Calls: protocols, Types: g.messagesOf, Pending: g.schemaPending,
		Metadata:    cfg.Duplex.opening(),
		MaxSessions: cfg.Limits.DuplexSessions, MaxPerClient: cfg.Limits.DuplexClientSessions,
		MaxUploads: cfg.Limits.DuplexUploads, MaxAhead: cfg.Limits.DuplexAheadBytes, MaxMessage: cfg.Limits.MessageBytes,
		Poll: cfg.Duplex.Poll, PollGap: cfg.Duplex.PollGap,
		Reserve: g.budget.Reserve, LimitHit: g.metrics.LimitHit,
	})
	if cfg.Duplex.Path != off {
		g.riding = append(g.riding, riding{Name: "duplex", Protocol: exchange.PipeMux, URL: cfg.Duplex.Path})
	}
	return row{"duplex", g.sessions.Match, g.sessions}
}

// elsewhere is the row of requests that open a pipe for calls of another node. Who has the session of one
// serves it, whatever else it says.
func (g *Gateway) elsewhere() row {
	match := func(head *exchange.RequestHead) bool {
		path, _, _ := strings.Cut(head.Path, "?")
		return path == g.cfg.Duplex.Path && g.misdirected(head) != nil && !g.sessions.Has(exchange.Get(head.Fields, "sluice-session"))
	}
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m := g.misdirected(&exchange.RequestHead{Fields: []exchange.Field{{Name: exchange.FieldTicket, Value: r.Header.Get(exchange.FieldTicket)}}}); m != nil {
			w.Header().Set(exchange.FieldNode, m.Node)
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, m.Error(), http.StatusMisdirectedRequest)
		}
	})
	return row{"elsewhere", match, blocking.Handler(answer, blocking.Options{Work: g.work, Stall: g.cfg.Timeouts.Stall})}
}

// misdirected says which node a request wants, if it is another one.
func (g *Gateway) misdirected(head *exchange.RequestHead) *exchange.Misdirected {
	if text := exchange.Get(head.Fields, exchange.FieldTicket); text != "" {
		if node, other := g.mux.Owner(text); other {
			return &exchange.Misdirected{Node: node}
		}
	}
	return nil
}

// opening says which fields of the request that opens a session become metadata of its calls.
func (d *Duplex) opening() func(name string) bool {
	names := map[string]bool{"authorization": true, "cookie": true}
	for _, name := range d.Metadata {
		names[strings.ToLower(name)] = true
	}
	return func(name string) bool { return names[name] }
}

// messagesOf is what a method's messages are.
func (g *Gateway) messagesOf(method string) (t duplex.Types, ok bool) {
	m := g.schemas.lookup(method)
	md, _ := g.schemas.store.Snapshot().Method(method)
	if m == nil || md == nil {
		return t, false
	}
	return duplex.Types{
		Request: string(md.Input().FullName()), Response: string(md.Output().FullName()), Bidi: m.ClientStreaming && m.ServerStreaming,
	}, true
}

// newMux makes the place of calls on pipes (docs/protocols/duplex.md), which go to the protocols.
func newMux(g *Gateway, protocols exchange.Handler) *mux.Server {
	cfg := &g.cfg
	o := mux.Options{
		Next: protocols, Method: g.schemas.lookup, Work: g.work, Node: cfg.Duplex.Node,
		MaxCalls: cfg.Limits.StreamsPerConn, MaxFields: cfg.Limits.HeaderBytes, MaxMessage: cfg.Limits.MessageBytes, Abuse: cfg.Limits.ConnAbuse,
		Ping: cfg.Duplex.Ping, Detach: cfg.Duplex.Detach,
		MaxWaitingAll: cfg.Limits.WaitingCalls, MaxWaiting: cfg.Limits.StreamsPerConn, MaxWaitingBytes: cfg.Limits.WaitingBytes,
		Reserve: g.budget.Reserve, LimitHit: g.metrics.LimitHit, Abused: g.abused,
	}
	if len(cfg.Duplex.Key) > 0 {
		o.Key = sha256.Sum256(cfg.Duplex.Key)
	}
	if who := cfg.Authenticate; who != nil {
		o.Who = func(h *exchange.RequestHead) (string, error) {
			return who(headCall(h, "grpc"))
		}
	}
	m := mux.New(o)
	g.metrics.Gauge("sluice_resumable_calls", "Calls whose client may come back.", func() float64 {
		all, _ := m.Calls()
		return float64(all)
	})
	g.metrics.Gauge("sluice_waiting_calls", "Calls whose client is away, of limits.waiting_calls.", func() float64 {
		_, waiting := m.Calls()
		return float64(waiting)
	})
	return m
}
