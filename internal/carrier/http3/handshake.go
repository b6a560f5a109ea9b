package http3

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"
)

// Handshakes that are not over: above retryAbove addresses have to be proved. Behind one address there may be many
// clients, which all come back at once after a restart.
const (
	retryAbove    = 64
	maxPerAddr    = 256
	maxHandshakes = 1024
)

// handshakes counts attempts to connect.
type handshakes struct {
	mu     sync.Mutex
	n      int
	byAddr map[netip.Addr]int
}

// An attempt is a connection, from its first packet on.
type attempt struct {
	h    *handshakes
	addr netip.Addr
	over atomic.Bool
}

// end ends the handshake, well or not.
func (a *attempt) end() {
	if a.over.Swap(true) {
		return
	}
	h := a.h
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n--
	if h.byAddr[a.addr]--; h.byAddr[a.addr] == 0 {
		delete(h.byAddr, a.addr)
	}
}

// suspicious says whether a client has to prove its address.
func (h *handshakes) suspicious(net.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n >= retryAbove
}

// begin counts an attempt, unless there are too many.
func (h *handshakes) begin(from net.Addr) (*attempt, bool) {
	a := &attempt{h: h, addr: network(from)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n >= maxHandshakes || h.n >= retryAbove && h.byAddr[a.addr] >= maxPerAddr {
		return nil, false
	}
	if h.byAddr == nil {
		h.byAddr = map[netip.Addr]int{}
	}
	h.n++
	h.byAddr[a.addr]++
	return a, true
}

// network is what one client can choose its addresses from: of IPv6 a /64.
func network(from net.Addr) netip.Addr {
	u, ok := from.(*net.UDPAddr)
	if !ok {
		return netip.Addr{}
	}
	a := u.AddrPort().Addr().Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64) // the length is valid
		a = p.Addr()
	}
	return a
}

type attemptKey struct{}

var errTooMany = errors.New("too many connections")

// attempt is called for the first packet of a connection.
func (s *Server) attempt(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	a, ok := s.handshakes.begin(info.RemoteAddr)
	if !ok {
		s.cfg.LimitHit("handshakes")
		return nil, errTooMany
	}
	if !s.cfg.Acquire() {
		a.end()
		return nil, errTooMany
	}
	context.AfterFunc(ctx, func() { a.end(); s.cfg.Release() })
	return context.WithValue(ctx, attemptKey{}, a), nil
}

// done ends the handshake of a connection.
func done(ctx context.Context) {
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
		a.end()
	}
}
