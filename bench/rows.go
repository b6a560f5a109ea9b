package main

import (
	"fmt"
	"time"
)

// A row is one kind of work, and the peers that can do it.
type row struct {
	name  string
	what  string
	peers []string
	load  load
	per   string // what a figure is per: "call", "message", "KiB"
	bars  map[string]bar
}

// A bar is what the ratio of Sluice's figure to a peer's should be.
type bar struct {
	figure string // "cpu", "throughput", "mean"
	limit  float64
	atMost bool
}

const (
	unaryPath = "/" + service + "/UnaryCall"
	bidiPath  = "/" + service + "/StreamingCall"
	sinkPath  = "/" + service + "/StreamingFromClient"
)

var (
	proxies = []string{"sluice", "haproxy", "nginx", "grpc-go", "reverseproxy"}
	webbers = []string{"sluice", "grpcwebproxy"}
	// gateways are those that make JSON of protobuf.
	gateways = []string{"sluice", "grpc-gateway"}
)

func cpuAtMost(limit float64) bar { return bar{"cpu", limit, true} }

// rows is the table of docs/benchmarks.md.
var rows = []row{
	{
		name: "unary-8x16", what: "gRPC unary, 100 B, no TLS, 8 connections with 16 calls each", peers: proxies, per: "call",
		load: load{conns: 8, inFlight: 16, path: unaryPath, message: 100},
		bars: map[string]bar{"haproxy": cpuAtMost(0.65), "nginx": cpuAtMost(0.25), "grpc-go": cpuAtMost(0.12)},
	},
	{
		name: "unary-64x1", what: "the same, 64 connections with one call each", peers: proxies, per: "call",
		load: load{conns: 64, inFlight: 1, path: unaryPath, message: 100},
		bars: map[string]bar{"haproxy": cpuAtMost(0.85)},
	},
	{
		name: "unary-1x1", what: "the same, one call in flight", peers: append(proxies[:len(proxies):len(proxies)], "direct"), per: "call",
		load: load{conns: 1, inFlight: 1, path: unaryPath, message: 100},
		bars: map[string]bar{"haproxy": cpuAtMost(1.1), "direct": {"mean", 1.6, true}},
	},
	{
		name: "unary-tls-8x16", what: "gRPC unary, 100 B, TLS, 8 connections with 16 calls each", peers: proxies, per: "call",
		load: load{tls: true, conns: 8, inFlight: 16, path: unaryPath, message: 100},
		bars: map[string]bar{"haproxy": cpuAtMost(0.9)},
	},
	{
		name: "saturated", what: "gRPC unary, 100 B, no TLS, 16 connections with 32 calls each: calls a second", peers: proxies, per: "call",
		load: load{conns: 16, inFlight: 32, path: unaryPath, message: 100},
		bars: map[string]bar{"haproxy": {"throughput", 1.2, false}},
	},
	{
		name: "bidi-100B", what: "gRPC bidi, 100 B, 8 connections with 4 calls with 8 messages in flight each", peers: proxies, per: "message",
		load: load{conns: 8, inFlight: 4, path: bidiPath, message: 100, bidi: 8},
		bars: map[string]bar{"haproxy": cpuAtMost(1)},
	},
	{
		name: "bidi-64KiB", what: "gRPC bidi, 64 KiB, 4 connections with 4 calls with one message in flight each", peers: proxies, per: "message",
		load: load{conns: 4, inFlight: 4, path: bidiPath, message: 64 << 10, bidi: 1},
		bars: map[string]bar{"haproxy": cpuAtMost(1.2)},
	},
	{
		name: "web-h1", what: "gRPC-Web unary, 100 B, HTTP/1.1, 64 connections", peers: webbers, per: "call",
		load: load{http1: true, web: true, conns: 64, inFlight: 1, path: unaryPath, message: 100},
		bars: map[string]bar{"grpcwebproxy": cpuAtMost(0.25)},
	},
	{
		name: "web-h2-tls", what: "gRPC-Web unary, 100 B, HTTP/2 with TLS, 8 connections with 16 calls each", peers: webbers, per: "call",
		load: load{tls: true, web: true, conns: 8, inFlight: 16, path: unaryPath, message: 100},
		bars: map[string]bar{"grpcwebproxy": cpuAtMost(0.15)},
	},
	{
		name: "rest-h1", what: "REST unary, JSON of 1.3 kB both ways, HTTP/1.1, 64 connections", peers: gateways, per: "call",
		load: load{http1: true, rest: true, conns: 64, inFlight: 1, path: "/v1/orders"},
		bars: map[string]bar{"grpc-gateway": cpuAtMost(0.3)},
	},
	{
		name: "rest-h2-tls", what: "the same, HTTP/2 with TLS, 8 connections with 16 calls each", peers: gateways, per: "call",
		load: load{tls: true, rest: true, conns: 8, inFlight: 16, path: "/v1/orders"},
		bars: map[string]bar{"grpc-gateway": cpuAtMost(0.3)},
	},
}

// A figure is what one peer did in one round.
type figure struct {
	cpu        float64 // µs per unit
	throughput float64 // units a second
	mean       float64 // µs
	p50, p99   float64 // µs
	rss        float64 // MiB
}

func (f figure) get(name string) float64 {
	switch name {
	case "throughput":
		return f.throughput
	case "mean":
		return f.mean
	}
	return f.cpu
}

// measure runs one round: the load starts, settles, and is then measured.
func measure(r row, p *peer, settle, window time.Duration) (figure, error) {
	l := r.load
	if l.addr = p.addr; l.tls {
		l.addr = p.tlsAddr
	}
	count := new(counter)
	stop, err := begin(l, count)
	if err != nil {
		return figure{}, fmt.Errorf("%s, %s: %w", r.name, p.name, err)
	}
	defer stop()
	time.Sleep(settle)
	cpu := func() time.Duration {
		if p.process == nil {
			return 0
		}
		d, cerr := p.process.cpu()
		if cerr != nil {
			err = cerr
		}
		return d
	}
	before, cpuBefore, begun := count.snapshot(), cpu(), time.Now()
	time.Sleep(window)
	cpuUsed, took := cpu()-cpuBefore, time.Since(begun)
	d := count.snapshot().since(before)
	if err == nil {
		err = count.failure()
	}
	if err == nil && d.calls == 0 {
		err = fmt.Errorf("no %s was answered in %v", r.per, window)
	}
	if err != nil {
		return figure{}, fmt.Errorf("%s, %s: %w", r.name, p.name, err)
	}
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	f := figure{
		cpu: us(cpuUsed) / float64(d.calls), throughput: float64(d.calls) / took.Seconds(),
		mean: us(d.mean()), p50: us(d.quantile(0.5)), p99: us(d.quantile(0.99)),
	}
	if p.process != nil {
		f.rss = float64(p.process.rss()) / (1 << 20)
	}
	return f, nil
}
