package accept

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// penalties make abuse that costs a connection costly for who has made it: the next
// connections from the same address have to wait before they are served. The budget
// for useless work is a connection's, so without this an attacker would have a new
// budget, and a new set of streams, as fast as it can connect.
//
// An address may be that of many, so the wait is short: it is one that people bear.
type penalties struct {
	mu sync.Mutex
	of map[netip.Addr]offender
}

type offender struct {
	times int
	last  time.Time
}

const (
	penaltyFirst  = 50 * time.Millisecond // doubled with each offence
	penaltyMost   = time.Second
	penaltyMemory = 10 * time.Second // an address is forgotten after
	penaltyMax    = 4096             // addresses that are remembered
)

// add notes that a connection from a was ended for abuse.
func (p *penalties) add(a net.Addr, now time.Time) {
	addr, ok := source(a)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.of[addr]
	if now.Sub(o.last) > penaltyMemory {
		o.times = 0
	}
	if o.times == 0 && len(p.of) >= penaltyMax {
		for other, seen := range p.of {
			if now.Sub(seen.last) > penaltyMemory {
				delete(p.of, other)
			}
		}
		if len(p.of) >= penaltyMax {
			return
		}
	}
	if p.of == nil {
		p.of = map[netip.Addr]offender{}
	}
	p.of[addr] = offender{o.times + 1, now}
}

// wait says how long a new connection from a has to wait.
func (p *penalties) wait(a net.Addr, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.of) == 0 {
		return 0
	}
	addr, ok := source(a)
	if !ok {
		return 0
	}
	o, ok := p.of[addr]
	if !ok || now.Sub(o.last) > penaltyMemory {
		return 0
	}
	return min(penaltyMost, penaltyFirst<<min(o.times-1, 10))
}

// source is who an address stands for: of IPv6 a network, since a client has all of
// one.
func source(a net.Addr) (netip.Addr, bool) {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	addr := t.AddrPort().Addr().Unmap().WithZone("")
	if addr.Is6() {
		if n, err := addr.Prefix(64); err == nil {
			addr = n.Addr()
		}
	}
	return addr, addr.IsValid()
}
