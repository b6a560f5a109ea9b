package main

import (
	"fmt"
	"time"
)

// Slow readers: of twenty connections two take a stream of large messages at a tenth of
// what a slow mobile line gives.
const (
	slowFast = 18
	slowSlow = 2
	slowRate = 64 << 10
	slowBar  = 1.5
)

// slow measures the latency of small calls without and with clients that read slowly.
func (o *options) slow(e *env) (string, error) {
	p, err := e.startPeer("sluice")
	if err != nil {
		return "", err
	}
	defer p.process.stop()
	small := row{name: "slow-readers", per: "call", load: load{conns: slowFast, inFlight: 1, path: unaryPath, message: 100}}
	var without, with, ratios []float64
	for range o.rounds {
		f, err := measure(small, p, o.settle, o.window)
		if err != nil {
			return "", err
		}
		stop, err := begin(load{addr: p.addr, conns: slowSlow, inFlight: 4, path: "/" + service + "/StreamingFromServer",
			message: 16 << 10, bidi: 1, read: slowRate}, new(counter))
		if err != nil {
			return "", err
		}
		time.Sleep(o.settle)
		g, err := measure(small, p, o.settle, o.window)
		stop()
		if err != nil {
			return "", err
		}
		without, with, ratios = append(without, f.p99), append(with, g.p99), append(ratios, g.p99/f.p99)
	}
	r := spreadOf(ratios)
	word := "reached"
	if r.median > slowBar {
		word = "**missed**"
	}
	return fmt.Sprintf("\n### slow-readers\n\np99 of unary calls on %d connections, one in flight on each, while %d more connections with 4 downloads each "+
		"are read at %d KiB/s: %.0f µs without them, %.0f µs with them; ratio %.2f (%.2f–%.2f), to reach ≤ %.1f: %s.\n",
		slowFast, slowSlow, slowRate>>10, spreadOf(without).median, spreadOf(with).median, r.median, r.min, r.max, slowBar, word), nil
}
