package main

import (
	"bufio"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Idle calls: how many, on how many connections, and the bar.
const (
	idleConns   = 400
	idleStreams = 250 // Sluice's default limit
	idleBar     = 4.0 // KiB resident a call
)

// idle opens calls that do nothing, and says what they cost in memory. The proxies that
// a row of this kind has are started anew, so that nothing of other rows is in them.
func (o *options) idle(e *env) (string, error) {
	p, err := e.startPeer("sluice")
	if err != nil {
		return "", err
	}
	defer p.process.stop()
	begin := p.process.rss()
	goroutines, err := metric(p.admin, "go_goroutines")
	if err != nil {
		return "", err
	}
	var conns []*h2conn
	defer func() {
		for _, c := range conns {
			_ = c.nc.Close()
		}
	}()
	l := load{addr: p.addr, conns: idleConns, inFlight: idleStreams, path: bidiPath, bidi: 1}
	count := new(counter)
	for i := range idleConns {
		c, err := dialH2(l, count, uint64(i))
		if err != nil {
			return "", err
		}
		conns = append(conns, c)
		c.timeout = "3600S"
		c.bidi = 0
		for range idleStreams {
			c.open()
		}
		if err := c.flush(); err != nil {
			return "", err
		}
		go c.drain() // ends with the connection
	}
	want := float64(idleConns * idleStreams)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		n, err := metric(p.admin, "sluice_active_calls")
		held, herr := metric(p.admin, "sluice_held_calls")
		if err == nil && herr == nil && n == want && held == 0 {
			break
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("idle: %v of %v calls are open, %v wait (%v)\n%s", n, want, held, err, p.process.tail())
		}
	}
	time.Sleep(30 * time.Second) // until what the opening has left behind is given back, which is looked at every 15 s
	after, _ := metric(p.admin, "go_goroutines")
	kib := float64(p.process.rss()-begin) / 1024 / want
	word := "reached"
	if kib > idleBar {
		word = "**missed**"
	}
	return fmt.Sprintf("\n### idle\n\n%d idle bidi calls on %d connections, each with a deadline and 12 fields: %.2f KiB resident a call "+
		"(to reach: ≤ %.0f: %s); goroutines: %.0f before, %.0f with them.\n", int(want), idleConns, kib, idleBar, word, goroutines, after), nil
}

// metric sums the samples of a metric.
func metric(admin, name string) (float64, error) {
	resp, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	sum, found := 0.0, false
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		rest, ok := strings.CutPrefix(s.Text(), name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("no metric %s", name)
	}
	return sum, nil
}
