package websocket

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	wire "github.com/sluice-rpc/sluice/internal/wire/websocket"
)

// A dialer is a client with a WebSocket. Tests run in a bubble of fake time.
type dialer struct {
	t      *testing.T
	o      Options
	s      *Server
	other  *exchangetest.Server // the side of pipes and calls
	client *exchangetest.Response
	q      exchange.Request
	enc    wire.Encoder
	dec    wire.Decoder
	read   int  // of what came
	split  int  // bytes that come at once; 0 is all
	slow   bool // what comes is not taken

	mu       sync.Mutex
	reserved int
	hits     []string // limits
}

func newDialer(t *testing.T, script exchangetest.Script) *dialer {
	d := &dialer{t: t, other: exchangetest.NewServer(script), client: exchangetest.NewResponse()}
	d.enc.Client, d.dec.Client = true, true
	d.o = Options{
		Pipes: d.other, Calls: d.other, Path: "/sluice/v1",
		Method:     func(path string) bool { return strings.Count(path, "/") == 2 && !strings.HasSuffix(path, "/") },
		MaxMessage: 1 << 20, MaxHeader: 1 << 10, MaxCalls: 4, Ratio: 100, Abuse: 100,
		Header: 10 * time.Second, Idle: time.Minute, Ping: 15 * time.Second, PingTimeout: 15 * time.Second,
		Reserve: func(n int) bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.reserved += n
			return true
		},
		LimitHit: func(name string) { d.hits = append(d.hits, name) },
	}
	return d
}

// handshake is a request for a WebSocket over h1 or h2.
func handshake(carrier, path, protocols string, more ...string) *exchange.RequestHead {
	h := &exchange.RequestHead{Method: "CONNECT", Protocol: "websocket", Scheme: "https", Authority: "gw.example", Path: path, Carrier: carrier}
	add := func(name, value string) { h.Fields = append(h.Fields, exchange.Field{Name: name, Value: value}) }
	add("sec-websocket-version", "13")
	if protocols != "" {
		add("sec-websocket-protocol", protocols)
	}
	if carrier == "h1" {
		h.Method, h.Protocol = "GET", ""
		add("connection", "keep-alive, Upgrade")
		add("upgrade", "websocket")
		add("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
	}
	for i := 0; i < len(more); i += 2 {
		add(more[i], more[i+1])
	}
	return h
}

// dial opens a WebSocket.
func (d *dialer) dial(carrier, path, protocols string, more ...string) *dialer {
	d.t.Helper()
	d.s = New(d.o)
	status := 200
	if carrier == "h1" {
		d.client.Upgrades, status = true, 101
	}
	d.client.OnData = func(n int) {
		if !d.slow {
			d.q.Credit(n)
		}
	}
	head := handshake(carrier, path, protocols, more...)
	if !d.s.Match(head) {
		d.t.Fatal("the handshake is not taken")
	}
	d.q = d.s.Start(head, d.client)
	d.q.Begin()
	if a := d.client.Answer(); a.Status != status {
		d.t.Fatalf("the handshake was answered with %d %s", a.Status, a.Body)
	}
	return d
}

// feed gives bytes as they are.
func (d *dialer) feed(b []byte) *dialer {
	for len(b) > 0 {
		n := len(b)
		if d.split > 0 {
			n = min(n, d.split)
		}
		d.q.Data(b[:n])
		b = b[n:]
	}
	return d
}

func (d *dialer) binary(messages ...string) *dialer {
	for _, m := range messages {
		d.feed(d.enc.Message(nil, wire.Binary, []byte(m)))
	}
	return d
}

func (d *dialer) text(m string) *dialer { return d.feed(d.enc.Message(nil, wire.Text, []byte(m))) }

func (d *dialer) bye(code wire.Code) *dialer { return d.feed(d.enc.Close(nil, code, "")) }

// reader writes down the frames that come.
type reader struct{ frames []string }

func (r *reader) Begin(wire.Opcode) {}
func (r *reader) Data(p []byte)     { r.frames = append(r.frames, string(p)) }
func (r *reader) End()              {}
func (r *reader) Ping(p []byte)     { r.frames = append(r.frames, strings.TrimSpace("ping "+string(p))) }
func (r *reader) Pong(p []byte)     { r.frames = append(r.frames, strings.TrimSpace("pong "+string(p))) }
func (r *reader) Close(code wire.Code, reason string) {
	r.frames = append(r.frames, strings.TrimSpace(fmt.Sprintf("close %d %s", code, reason)))
}

// got returns the frames that have come since the last call.
func (d *dialer) got() []string {
	d.t.Helper()
	synctest.Wait()
	b := d.client.Answer().Body[d.read:]
	d.read += len(b)
	var r reader
	d.dec.Whole = true
	if err := d.dec.Feed(slices.Clone(b), &r); err != nil {
		d.t.Fatalf("%v in %x", err, b)
	}
	return r.frames
}

func (d *dialer) want(frames ...string) *dialer {
	d.t.Helper()
	if diff := cmp.Diff(frames, d.got()); diff != "" {
		d.t.Errorf("frames (-want +got)\n%s", diff)
	}
	return d
}

// finish waits for the end of the WebSocket, and checks both sides.
func (d *dialer) finish() exchangetest.Answer {
	d.t.Helper()
	synctest.Wait()
	a := d.client.Final(d.t)
	d.q.Done(a.Ended)
	d.client.Check(d.t)
	for len(d.other.Requests) > 0 {
		d.other.Next(d.t).Check(d.t)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reserved != 0 {
		d.t.Errorf("%d bytes are still reserved", d.reserved)
	}
	if len(d.s.sockets) != 0 {
		d.t.Errorf("%d sockets are still known", len(d.s.sockets))
	}
	return a
}

// bubble runs a test in fake time, over both versions of HTTP, with frames that come
// whole and byte by byte.
func bubble(t *testing.T, name string, script exchangetest.Script, test func(t *testing.T, d *dialer, carrier string)) {
	for _, carrier := range []string{"h1", "h2"} {
		for _, split := range []int{0, 1, 7} {
			t.Run(fmt.Sprintf("%s/%s/%d", name, carrier, split), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := newDialer(t, script)
					d.split = split
					test(t, d, carrier)
				})
			})
		}
	}
}
