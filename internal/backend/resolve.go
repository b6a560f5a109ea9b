package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

const (
	// lookupPause is how long after an answer a failing endpoint doesn't ask again.
	lookupPause = 2 * time.Second
	// endpointsMax bounds what an answer of the DNS makes us connect to.
	endpointsMax = 256
)

// lookAgain asks the DNS soon, because an address has failed.
func (b *Backend) lookAgain() {
	if !b.cfg.Target.DNS || b.resolving {
		return
	}
	if at := b.resolved.Add(lookupPause); at.Before(b.resolveAt) {
		b.resolveAt = at
	}
}

// resolve begins a lookup if one is due.
func (b *Backend) resolve(now time.Time) []func() {
	if !b.cfg.Target.DNS || b.resolving || b.draining || now.Before(b.resolveAt) {
		return nil
	}
	b.resolving = true
	return []func(){func() {
		b.dials.Add(1)
		go b.lookup() // ends with its context; Close waits for it
	}}
}

func (b *Backend) lookup() {
	defer b.dials.Done()
	ctx, cancel := context.WithTimeout(b.ctx, b.cfg.DialTimeout)
	defer cancel()
	hosts, err := b.cfg.Resolve(ctx, b.cfg.Target.Host)
	if err == nil && len(hosts) == 0 {
		err = fmt.Errorf("lookup %s: no addresses", b.cfg.Target.Host)
	}
	addrs := make([]string, 0, len(hosts))
	for _, h := range hosts {
		addrs = append(addrs, net.JoinHostPort(h, b.cfg.Target.Port))
	}
	slices.Sort(addrs)
	b.post(event{kind: addrsResolved, addrs: slices.Compact(addrs), err: err})
}

// addresses takes in what the DNS says: new addresses join, missing ones drain. An
// error changes nothing, since calls may still do well.
func (b *Backend) addresses(addrs []string, err error, now time.Time) (acts []func()) {
	b.resolving, b.resolved = false, now
	if err != nil {
		var dns *net.DNSError
		if errors.As(err, &dns) && dns.IsNotFound && !strings.Contains(err.Error(), b.cfg.Target.Host) {
			err = fmt.Errorf("lookup %s: %w", b.cfg.Target.Host, err)
		}
		b.failures++
		b.resolveAt = now.Add(min(backoff(b.failures), b.cfg.ResolveEvery))
		if b.lookupErr == nil || b.lookupErr.Error() != err.Error() {
			b.cfg.Logger.Warn("backend name does not resolve", "backend", b.cfg.Target.Name, "error", err)
		}
		b.lookupErr = err
		return nil
	}
	b.failures, b.lookupErr = 0, nil
	b.resolveAt = now.Add(b.cfg.ResolveEvery)
	if len(addrs) > endpointsMax {
		b.cfg.Logger.Warn("backend has too many addresses, some are not used", "backend", b.cfg.Target.Name,
			"addresses", len(addrs), "limit", endpointsMax)
		addrs = addrs[:endpointsMax]
	}
	var stay []*endpoint
	for _, e := range b.endpoints {
		if slices.Contains(addrs, e.addr) {
			stay = append(stay, e)
			continue
		}
		b.cfg.Logger.Info("backend endpoint is gone from the DNS", "backend", b.cfg.Target.Name, "endpoint", e.addr)
		e.removed = true
		if a := e.attempt; a != nil {
			e.attempt = nil
			acts = append(acts, b.drop(a))
		}
		for _, c := range slices.Clone(e.conns) {
			acts = append(acts, b.retire(c)...)
		}
	}
	for _, addr := range addrs {
		if !slices.ContainsFunc(b.endpoints, func(e *endpoint) bool { return e.addr == addr }) {
			stay = append(stay, &endpoint{b: b, network: b.cfg.Target.Network, addr: addr})
		}
	}
	b.endpoints = stay
	b.dirty = true
	return acts
}
