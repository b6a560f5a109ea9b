package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/client"
	"github.com/sluice-rpc/sluice/client/webtransport"
	"google.golang.org/grpc"
)

// A pipeLoad is calls that a client makes through a peer. Clients of package client are the same for
// all carriers. The process of the clients is another one than the peer's: it bounds
// throughput, not CPU per message.
type pipeLoad struct {
	name string
	peer string
	open func(p *peer) (session, error)
	bars []pipeBar
}

// A session is one client. Its calls run side by side.
type session interface {
	run(ctx context.Context, count *counter) error
	Close() error
}

// A pipeBar is what the ratio of a load's figure to that of another one of the same row should be.
type pipeBar struct {
	to string
	bar
}

// A clientSession is a client of package client.
type clientSession struct {
	*client.Client
	work func(ctx context.Context, c *client.Client, count *counter) error
}

func (s *clientSession) run(ctx context.Context, count *counter) error {
	return s.work(ctx, s.Client, count)
}

// over opens clients of package client.
func over(carrier client.Carrier, resume client.ResumeMode, work func(context.Context, *client.Client, *counter) error) func(p *peer) (session, error) {
	return func(p *peer) (session, error) {
		c, err := client.New("https://"+p.tlsAddr, client.Config{Carriers: []client.Carrier{carrier}, Resume: resume, TLS: dialTLS()})
		return &clientSession{c, work}, err
	}
}

const (
	pipeClients = 8
	pipeCalls   = 4 // of each client
	pipeMessage = 100
)

var bidiDesc = &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}

// raw keeps messages bytes.
var raw = grpc.ForceCodecV2(rawCodec{})

func pingPong(ctx context.Context, c *client.Client, count *counter) error {
	s, err := c.NewStream(ctx, bidiDesc, bidiPath, raw)
	if err != nil {
		return err
	}
	message, answer := &frame{make([]byte, pipeMessage)}, new(frame)
	for {
		begun := time.Now()
		if err := s.SendMsg(message); err != nil {
			return s.RecvMsg(answer) // it has the status
		}
		if err := s.RecvMsg(answer); err != nil {
			return err
		}
		count.add(time.Since(begun))
	}
}

// oneWay sends without waiting for anything: the message is counted when it was taken.
func oneWay(ctx context.Context, c *client.Client, count *counter) error {
	s, err := c.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, sinkPath, raw)
	if err != nil {
		return err
	}
	message := &frame{make([]byte, pipeMessage)}
	for {
		begun := time.Now()
		if err := s.SendMsg(message); err != nil {
			return s.RecvMsg(new(frame))
		}
		count.add(time.Since(begun))
	}
}

func unaryCalls(ctx context.Context, c *client.Client, count *counter) error {
	message := &frame{make([]byte, pipeMessage)}
	for {
		begun := time.Now()
		if err := c.Invoke(ctx, unaryPath, message, new(frame), raw); err != nil {
			return err
		}
		count.add(time.Since(begun))
	}
}

// A pipeRow compares carriers, or ways to use one, with the first of them.
type pipeRow struct {
	name, what, per string
	loads           []pipeLoad
}

var pipeRows = []pipeRow{
	{"pipe-ping-pong", "bidi ping-pong", "message", []pipeLoad{
		{"websocket", "sluice", over(client.WebSocket{}, client.ResumeNone, pingPong), []pipeBar{
			{"bridge, websocket", bar{"throughput", 0.9, false}}, {"grpcwebproxy", cpuAtMost(0.4)},
		}},
		{"bridge, websocket", "bridge", openBridge, nil},
		{"webtransport", "sluice", over(webtransport.Carrier{}, client.ResumeNone, pingPong), []pipeBar{
			{"bridge, webtransport", bar{"throughput", 0.9, false}}, {"grpcwebproxy", cpuAtMost(0.4)},
		}},
		{"bridge, webtransport", "bridge", openBridgeSession, nil},
		{"grpc-websockets", "sluice", openWebSockets, []pipeBar{{"grpcwebproxy", cpuAtMost(0.4)}}},
		{"grpcwebproxy", "grpcwebproxy", openWebSockets, nil},
		{"websocket-h2", "sluice", over(client.WebSocket{HTTP2: true}, client.ResumeNone, pingPong), nil},
		{"duplex, one upload", "sluice", over(client.Duplex{Stream: true}, client.ResumeNone, pingPong), []pipeBar{
			{"websocket", bar{"throughput", 0.4, false}},
		}},
	}},
	{"pipe-one-way", "messages of a client stream", "message", []pipeLoad{
		{"websocket, one message a frame", "sluice", openWebSocketsOneWay, nil},
		{"duplex, coalesced", "sluice", over(client.Duplex{}, client.ResumeNone, oneWay), []pipeBar{
			{"websocket, one message a frame", bar{"throughput", 1, false}},
		}},
		{"websocket, coalesced", "sluice", over(client.WebSocket{}, client.ResumeNone, oneWay), nil},
	}},
	{"pipe-resumable", "unary calls over WebSocket", "call", []pipeLoad{
		{"not resumable", "sluice", over(client.WebSocket{}, client.ResumeNone, unaryCalls), nil},
		{"resumable", "sluice", over(client.WebSocket{}, client.ResumeAll, unaryCalls), []pipeBar{{"not resumable", cpuAtMost(1.15)}}},
	}},
}

// measure runs one round of a load.
func (l pipeLoad) measure(p *peer, settle, window time.Duration) (figure, error) {
	ctx, cancel := context.WithCancel(context.Background())
	count := new(counter)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for range pipeClients {
		c, err := l.open(p)
		if err != nil {
			return figure{}, fmt.Errorf("%s: %w", l.name, err)
		}
		defer c.Close() //nolint:errcheck // it only ends
		for range pipeCalls {
			running.Go(func() { // ends with the context
				if err := c.run(ctx, count); ctx.Err() == nil && !errors.Is(err, io.EOF) {
					count.fail(err)
				}
			})
		}
	}
	time.Sleep(settle)
	cpu, err := p.process.cpu()
	if err != nil {
		return figure{}, err
	}
	before, begun := count.snapshot(), time.Now()
	time.Sleep(window)
	used, err := p.process.cpu()
	took := time.Since(begun)
	d := count.snapshot().since(before)
	if err == nil {
		err = count.failure()
	}
	if err == nil && d.calls == 0 {
		err = fmt.Errorf("nothing was answered in %v", window)
	}
	if err != nil {
		return figure{}, fmt.Errorf("%s: %w", l.name, err)
	}
	return figure{
		cpu:        float64(used-cpu) / float64(time.Microsecond) / float64(d.calls),
		throughput: float64(d.calls) / took.Seconds(),
	}, nil
}

// pipes measures all rows of carriers for browsers. The loads of a row take turns.
func (o *options) pipes(e *env) (string, error) {
	peers := map[string]*peer{}
	defer func() {
		for _, p := range peers {
			p.process.stop()
		}
	}()
	var out strings.Builder
	for _, r := range pipeRows {
		if !o.selected(r.name) {
			continue
		}
		for _, l := range r.loads {
			if peers[l.peer] != nil {
				continue
			}
			p, err := e.startPeer(l.peer)
			if err != nil {
				return "", err
			}
			peers[l.peer] = p
		}
		results := map[string][]figure{}
		for range o.rounds {
			for _, l := range r.loads {
				p := peers[l.peer]
				f, err := l.measure(p, o.settle, o.window)
				if err != nil {
					return "", fmt.Errorf("%s, %w\n%s", r.name, err, p.process.tail())
				}
				results[l.name] = append(results[l.name], f)
			}
		}
		out.WriteString(r.table(results))
	}
	return out.String(), nil
}

// table writes a row's results as a Markdown table.
func (r *pipeRow) table(results map[string][]figure) string {
	var out strings.Builder
	fmt.Fprintf(&out, "\n### %s\n\n%s, %d B, %d clients with %d calls each, over TLS.\n\n"+
		"| | CPU µs/%s | min–max | %ss/s | CPU ÷ the first's | min–max | %ss/s ÷ the first's | min–max | to reach |\n"+
		"| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n", r.name, r.what, pipeMessage, pipeClients, pipeCalls, r.per, r.per, r.per)
	of := func(name, figure string) []float64 {
		var v []float64
		for _, f := range results[name] {
			v = append(v, f.get(figure))
		}
		return v
	}
	ratio := func(name, to, figure string) spread {
		ours, theirs := of(name, figure), of(to, figure)
		for i := range ours {
			ours[i] /= theirs[i]
		}
		return spreadOf(ours)
	}
	for _, l := range r.loads {
		first := r.loads[0].name
		c, t := spreadOf(of(l.name, "cpu")), spreadOf(of(l.name, "throughput"))
		ct, tt := ratio(l.name, first, "cpu"), ratio(l.name, first, "throughput")
		var bars []string
		for _, b := range l.bars {
			s := ratio(l.name, b.to, b.figure)
			bars = append(bars, fmt.Sprintf("%s, to %s (%.2f, %.2f–%.2f)", b.verdict(s.median), b.to, s.median, s.min, s.max))
		}
		fmt.Fprintf(&out, "| %s | %.1f | %.1f–%.1f | %.0f | %.2f | %.2f–%.2f | %.2f | %.2f–%.2f | %s |\n",
			l.name, c.median, c.min, c.max, t.median, ct.median, ct.min, ct.max, tt.median, tt.min, tt.max, strings.Join(bars, "; "))
	}
	return out.String()
}

// pipesIdle are calls that do nothing: how many clients, calls of each, and the bar in KiB.
var pipesIdle = []struct {
	name           string
	carrier        client.Carrier
	clients, calls int
	bar            float64
}{
	{"websockets", client.WebSocket{}, 10_000, 1, 16},
	{"multiplexed", client.WebSocket{}, 100, 100, 3},
	{"webtransport", webtransport.Carrier{}, 100, 100, 12},
}

func (o *options) idlePipes(e *env) (string, error) {
	out := "\n### idle-pipes\n\n"
	for _, row := range pipesIdle {
		if !o.selected(row.name) {
			continue
		}
		text, err := idleOver(e, row.carrier, row.clients, row.calls, row.bar)
		if err != nil {
			return "", fmt.Errorf("idle-pipes, %s: %w", row.carrier.Name(), err)
		}
		out += text
	}
	return out, nil
}

func idleOver(e *env, carrier client.Carrier, clients, calls int, bar float64) (string, error) {
	p, err := e.startPeer("sluice")
	if err != nil {
		return "", err
	}
	defer p.process.stop()
	url := "http://" + p.addr
	if carrier.Name() == "webtransport" {
		url = "https://" + p.tlsAddr
	}
	end, err := openIdle(p, url, carrier, warmClients, 1)
	if err != nil {
		return "", err
	}
	end()
	if err := p.waitActive(0); err != nil {
		return "", err
	}
	time.Sleep(idleSettle)
	begin, before := p.process.rss(), memoryOf(p)
	end, err = openIdle(p, url, carrier, clients, calls)
	if err != nil {
		return "", err
	}
	defer end()
	time.Sleep(idleSettle)
	want := float64(clients * calls)
	goroutines, _ := metric(p.admin, "go_goroutines")
	kib := float64(p.process.rss()-begin) / 1024 / want
	after := memoryOf(p)
	word := "reached"
	if kib > bar {
		word = "**missed**"
	}
	return fmt.Sprintf("* %d idle bidi calls over %s, %d connections: %.2f KiB resident a call (to reach: ≤ %.0f: %s), of which stacks %.2f, heap %.2f; "+
		"%.0f goroutines.\n", int(want), carrier.Name(), clients, kib, bar, word,
		(after.stacks-before.stacks)/1024/want, (after.heap-before.heap)/1024/want, goroutines), nil
}

const (
	// warmClients come and go before anything is measured, so that code that was never run
	// before, schemas and pools do not count as memory of calls.
	warmClients = 50
	// idleSettle is until what was left behind is given back: the gateway looks every 5 s, and
	// does it at most every 15 s.
	idleSettle = 25 * time.Second
)

// openIdle opens calls, waits until all of them run, and returns what ends them.
func openIdle(p *peer, url string, carrier client.Carrier, clients, calls int) (end func(), err error) {
	var open []*client.Client
	closeAll := func() {
		for _, c := range open {
			_ = c.Close()
		}
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	for i := range clients {
		c, err := client.New(url, client.Config{Carriers: []client.Carrier{carrier}, TLS: dialTLS()})
		if err != nil {
			return nil, err
		}
		open = append(open, c)
		for range calls {
			if _, err := c.NewStream(context.Background(), bidiDesc, bidiPath, raw); err != nil {
				return nil, err
			}
		}
		if (i+1)%idleAtOnce != 0 && i+1 < clients {
			continue
		}
		if err := p.waitActive((i + 1) * calls); err != nil {
			return nil, err
		}
	}
	return closeAll, nil
}

// idleAtOnce is how many clients connect at a time: of more handshakes of QUIC that come from
// one address the gateway refuses some, and their clients wait before they try again.
const idleAtOnce = 32

// waitActive waits until so many calls run.
func (p *peer) waitActive(want int) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		n, err := metric(p.admin, "sluice_active_calls")
		if err == nil && int(n) == want {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%v of %v calls are open (%v)\n%s", n, want, err, p.process.tail())
		}
	}
}

// goMemory is what the gateway's runtime says, in bytes.
type goMemory struct{ stacks, heap float64 }

func memoryOf(p *peer) (m goMemory) {
	m.stacks, _ = metric(p.admin, "go_memstats_stack_inuse_bytes")
	m.heap, _ = metric(p.admin, "go_memstats_heap_inuse_bytes")
	return m
}
