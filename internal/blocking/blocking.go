// Package blocking is the one bridge between exchanges, which are pushed, and libraries
// that block: net/http as a server ([ServeHTTP]), and any http.Handler as a backend
// ([Handler]). The goroutines and the queues that this takes live here and nowhere
// else. Both queues are bounded by credit: a producer has at most one window
// outstanding.
package blocking

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/netio"
)

// Options are common to both directions.
type Options struct {
	// Work is entered while events are delivered, so that they are flushed together.
	Work *netio.Work
	// Stall is how long a client may take no byte of what waits for it; 0 is no limit.
	Stall time.Duration
}

// window is how many bytes a producer may have outstanding.
const window = 64 << 10

// piece is how much is moved at once.
const piece = 16 << 10

var (
	errReset = errors.New("blocking: the exchange was reset")
	errOver  = errors.New("blocking: the exchange has ended")
)

// fields makes field lines of a header: net/http has lost their order, so they are
// sorted by name; the values of one name keep theirs. Fields of one connection
// (RFC 9110, section 7.6.1) stay behind.
func fields(h http.Header) []exchange.Field {
	n := 0
	for _, vs := range h {
		n += len(vs)
	}
	out := make([]exchange.Field, 0, n)
	var named []string
	for _, v := range h["Connection"] {
		for token := range strings.SplitSeq(v, ",") {
			named = append(named, strings.ToLower(strings.TrimSpace(token)))
		}
	}
	for k, vs := range h {
		name := strings.ToLower(k)
		switch name {
		case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te", "trailer":
			continue
		}
		if slices.Contains(named, name) {
			continue
		}
		for _, v := range vs {
			out = append(out, exchange.Field{Name: name, Value: v})
		}
	}
	slices.SortStableFunc(out, func(a, b exchange.Field) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// addFields is the way back.
func addFields(h http.Header, fields []exchange.Field, prefix string) {
	for i := range fields {
		h[http.CanonicalHeaderKey(prefix+fields[i].Name)] = append(h[http.CanonicalHeaderKey(prefix+fields[i].Name)], fields[i].Value)
	}
}

// own copies fields that are lent.
func own(f []exchange.Field) []exchange.Field { return slices.Clone(f) }
