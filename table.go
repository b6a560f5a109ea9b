package sluice

import (
	"net"
	"strings"
	"time"

	"github.com/sluice-rpc/sluice/internal/backend"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/protocol/connect"
	"github.com/sluice-rpc/sluice/internal/protocol/grpc"
	"github.com/sluice-rpc/sluice/internal/protocol/rest"
	"github.com/sluice-rpc/sluice/rpc"
)

// A table is the list of protocols: each exchange goes to the first that takes it. A
// new protocol is one package and one row.
type table []row

type row struct {
	name    string
	match   func(*exchange.RequestHead) bool
	handler exchange.Handler
}

func newTable(next rpc.Handler, cfg *Config, lookup func(string) *rpc.Method, reserve func(int) bool, methods *restTable) table {
	return table{
		{"grpc", grpc.Match, grpc.NewServer(next, grpc.Options{
			MaxMessage: cfg.Limits.MessageBytes, Lookup: lookup, Now: time.Now,
		})},
		{"connect", methods.takesConnect, connect.NewServer(next, connect.Options{
			MaxMessage: cfg.Limits.MessageBytes, Ratio: cfg.Limits.DecompressionRatio, Lookup: lookup, Now: time.Now, Reserve: reserve,
		})},
		{"rest", nil, rest.NewServer(next, rest.Options{
			Table: methods.table.Load, Unknown: methods.unknown, MaxMessage: cfg.Limits.MessageBytes, Ratio: cfg.Limits.DecompressionRatio,
			HeadWait: cfg.Timeouts.StreamHead, Heartbeat: cfg.Timeouts.Heartbeat, Reserve: reserve,
			Ping: cfg.WebSocket.Ping, PingTimeout: cfg.WebSocket.PingTimeout, Compression: !cfg.WebSocket.NoCompression,
			Idle: cfg.Timeouts.Idle, Abuse: cfg.Limits.ConnAbuse, Abused: methods.abused, MaxFields: cfg.Limits.HeaderBytes,
		})},
	}
}

// abused notes that a client was cut off for abuse.
func (t *restTable) abused(client net.Addr) { t.g.abused(client) }

// takesConnect says what is Connect's: steps 2, 3, 5 and 7 of
// docs/protocols/negotiation.md.
func (t *restTable) takesConnect(h *exchange.RequestHead) bool {
	form := connect.FormOf(h)
	switch form {
	case connect.None:
		return false
	case connect.Stream, connect.Proto:
		return true
	}
	path, _, _ := strings.Cut(h.Path, "?")
	rules := t.table.Load()
	_, isMethod := backend.Service(path)
	if form != connect.JSON {
		return isMethod && (form == connect.GetV1 || !rules.Literal("GET", path))
	}
	m := t.g.schemas.store.Lookup(path)
	says := exchange.Get(h.Fields, "connect-protocol-version") != ""
	switch {
	case m == nil: // what is missing is said in a way that its client reads
		return says && isMethod && !rules.Fits("POST", path)
	case says:
		return true
	}
	return !m.ClientStreaming && !m.ServerStreaming && rules.RPC(path) && !rules.Literal("POST", path) && rest.Accepts(h, "application/json")
}

// Start implements [exchange.Handler]. The last row takes everything.
func (t table) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	i := 0
	for i < len(t)-1 && !t[i].match(head) {
		i++
	}
	return t[i].handler.Start(head, response)
}
