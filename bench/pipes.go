package main

import (
	"context"
	"crypto/tls"
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

// A pipeLoad is calls of package client over one carrier. The client is the same for all
// carriers, and is a process apart from the gateway: it bounds throughput, not CPU per message.
type pipeLoad struct {
	name   string
	what   client.Carrier
	resume client.ResumeMode
	work   func(ctx context.Context, c *client.Client, count *counter) error
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
		{"websocket", client.WebSocket{}, client.ResumeNone, pingPong},
		{"websocket-h2", client.WebSocket{HTTP2: true}, client.ResumeNone, pingPong},
		{"duplex, one upload", client.Duplex{Stream: true}, client.ResumeNone, pingPong},
		{"webtransport", webtransport.Carrier{}, client.ResumeNone, pingPong},
	}},
	{"pipe-one-way", "messages of a client stream", "message", []pipeLoad{
		{"websocket", client.WebSocket{}, client.ResumeNone, oneWay},
		{"duplex, coalesced", client.Duplex{}, client.ResumeNone, oneWay},
	}},
	{"pipe-resumable", "unary calls over WebSocket", "call", []pipeLoad{
		{"not resumable", client.WebSocket{}, client.ResumeNone, unaryCalls},
		{"resumable", client.WebSocket{}, client.ResumeAll, unaryCalls},
	}},
}

func (l pipeLoad) dial(p *peer) (*client.Client, error) {
	return client.New("https://"+p.tlsAddr, client.Config{
		Carriers: []client.Carrier{l.what}, Resume: l.resume, TLS: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // our own certificate
	})
}

// measure runs one round of a load.
func (l pipeLoad) measure(p *peer, settle, window time.Duration) (figure, error) {
	ctx, cancel := context.WithCancel(context.Background())
	count := new(counter)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for range pipeClients {
		c, err := l.dial(p)
		if err != nil {
			return figure{}, err
		}
		defer c.Close() //nolint:errcheck // it only ends
		for range pipeCalls {
			running.Go(func() { // ends with the context
				if err := l.work(ctx, c, count); ctx.Err() == nil && !errors.Is(err, io.EOF) {
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

// pipes measures all rows of carriers for browsers.
func (o *options) pipes(e *env) (string, error) {
	p, err := e.startPeer("sluice")
	if err != nil {
		return "", err
	}
	defer p.process.stop()
	var out strings.Builder
	for _, r := range pipeRows {
		if !o.selected(r.name) {
			continue
		}
		cpu, rate := make([][]float64, len(r.loads)), make([][]float64, len(r.loads))
		cpuTo, rateTo := make([][]float64, len(r.loads)), make([][]float64, len(r.loads))
		for range o.rounds {
			for i, l := range r.loads {
				f, err := l.measure(p, o.settle, o.window)
				if err != nil {
					return "", fmt.Errorf("%s, %w\n%s", r.name, err, p.process.tail())
				}
				cpu[i], rate[i] = append(cpu[i], f.cpu), append(rate[i], f.throughput)
				n := len(cpu[i]) - 1
				cpuTo[i], rateTo[i] = append(cpuTo[i], f.cpu/cpu[0][n]), append(rateTo[i], f.throughput/rate[0][n])
			}
		}
		fmt.Fprintf(&out, "\n### %s\n\n%s, %d B, %d clients of package client with %d calls each, over TLS.\n\n"+
			"| | CPU µs/%s | min–max | %ss/s | CPU ÷ the first's | min–max | %ss/s ÷ the first's | min–max |\n"+
			"| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n", r.name, r.what, pipeMessage, pipeClients, pipeCalls, r.per, r.per, r.per)
		for i, l := range r.loads {
			c, t, ct, tt := spreadOf(cpu[i]), spreadOf(rate[i]), spreadOf(cpuTo[i]), spreadOf(rateTo[i])
			fmt.Fprintf(&out, "| %s | %.1f | %.1f–%.1f | %.0f | %.2f | %.2f–%.2f | %.2f | %.2f–%.2f |\n",
				l.name, c.median, c.min, c.max, t.median, ct.median, ct.min, ct.max, tt.median, tt.min, tt.max)
		}
	}
	return out.String(), nil
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
		c, err := client.New(url, client.Config{Carriers: []client.Carrier{carrier}, TLS: &tls.Config{InsecureSkipVerify: true}}) //nolint:gosec // our own certificate
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
