package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// gateway is a carrier whose other side is a test, frame by frame.
type gateway struct {
	t      *testing.T
	conns  chan *gatewayConn
	err    atomic.Pointer[error] // of Dial
	name   string
	mute   bool   // no WELCOME by itself
	fields string // of WELCOME
}

func newGateway(t *testing.T) *gateway {
	return &gateway{t: t, conns: make(chan *gatewayConn, 100), name: "test", fields: "ticket: T1\r\n"}
}

// fail lets Dial fail, or work again.
func (g *gateway) fail(err error) {
	if err == nil {
		g.err.Store(nil)
	} else {
		g.err.Store(&err)
	}
}

func (g *gateway) Name() string { return g.name }

func (g *gateway) Dial(context.Context, *Target) (*Connection, error) {
	if err := g.err.Load(); err != nil {
		return nil, *err
	}
	p := newGatewayConn(g.t)
	if !g.mute {
		p.send(duplex.Welcome, 0, g.fields)
	}
	g.conns <- p
	return &Connection{Pipe: p}, nil
}

// client makes a client of the gateway.
func (g *gateway) client(cfg Config) *Client {
	g.t.Helper()
	if cfg.Carriers == nil {
		cfg.Carriers = []Carrier{g}
	}
	c, err := New("http://gateway", cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

// conn waits for the next connection.
func (g *gateway) conn() *gatewayConn {
	g.t.Helper()
	select {
	case p := <-g.conns:
		return p
	case <-time.After(time.Minute):
		g.t.Fatal("no connection")
		return nil
	}
}

// gatewayConn is a pipe: the client has its methods, the test its fields.
type gatewayConn struct {
	t      *testing.T
	mu     sync.Mutex
	down   []byte
	broken error
	woken  chan struct{}
	dec    duplex.Decoder
	frames chan gotFrame
	closed chan Reason
	once   sync.Once
}

type gotFrame struct {
	kind duplex.Kind
	call uint32
	text string
}

func (f gotFrame) String() string { return fmt.Sprintf("%d %v %q", f.call, f.kind, f.text) }

func newGatewayConn(t *testing.T) *gatewayConn {
	return &gatewayConn{
		t: t, woken: make(chan struct{}, 1), dec: duplex.Decoder{Form: duplex.MuxForm},
		frames: make(chan gotFrame, 1000), closed: make(chan Reason, 1),
	}
}

func (p *gatewayConn) wake() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

func (p *gatewayConn) Receive(f func([]byte) error) error {
	for {
		p.mu.Lock()
		b, err := p.down, p.broken
		p.down = nil
		p.mu.Unlock()
		if len(b) > 0 {
			if err := f(b); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		<-p.woken
	}
}

func (p *gatewayConn) Send(b []byte) error {
	p.mu.Lock()
	err := p.broken
	p.mu.Unlock()
	if err != nil {
		return err
	}
	return p.dec.Feed(b, p)
}

func (p *gatewayConn) Data(call uint32, b []byte) error {
	p.frames <- gotFrame{duplex.Data, call, string(b)}
	return nil
}

func (p *gatewayConn) Frame(kind duplex.Kind, call uint32, b []byte) error {
	p.frames <- gotFrame{kind, call, string(b)}
	return nil
}

func (p *gatewayConn) CloseSend() error { return errors.New("half-closed") }

func (p *gatewayConn) Close(why Reason, _ string) {
	p.once.Do(func() { p.closed <- why })
	p.cut(io.EOF)
}

// cut breaks the pipe.
func (p *gatewayConn) cut(err error) {
	p.mu.Lock()
	if p.broken == nil {
		p.broken = err
	}
	p.mu.Unlock()
	p.wake()
}

// send sends a frame to the client.
func (p *gatewayConn) send(kind duplex.Kind, call uint32, payload string) {
	p.mu.Lock()
	p.down = duplex.MuxForm.Append(p.down, kind, call, []byte(payload))
	p.mu.Unlock()
	p.wake()
}

func (p *gatewayConn) credit(call uint32, c duplex.CreditFrame) {
	p.mu.Lock()
	p.down = duplex.MuxForm.AppendCredit(p.down, call, c)
	p.mu.Unlock()
	p.wake()
}

// next waits for a frame of the client.
func (p *gatewayConn) next() gotFrame {
	p.t.Helper()
	select {
	case f := <-p.frames:
		return f
	case <-time.After(time.Minute):
		p.t.Fatal("no frame came")
		return gotFrame{}
	}
}

// want waits for a frame of a kind, and that its text has some parts.
func (p *gatewayConn) want(kind duplex.Kind, call uint32, parts ...string) string {
	p.t.Helper()
	f := p.next()
	if f.kind != kind || f.call != call {
		p.t.Fatalf("got %v, want %d %v", f, call, kind)
	}
	for _, part := range parts {
		if !strings.Contains(f.text, part) {
			p.t.Fatalf("got %v, want one with %q", f, part)
		}
	}
	return f.text
}

// quiet says that nothing comes.
func (p *gatewayConn) quiet() {
	p.t.Helper()
	select {
	case f := <-p.frames:
		p.t.Fatalf("got %v, want nothing", f)
	case <-time.After(time.Second):
	}
}

func (p *gatewayConn) wantCredit(call uint32) duplex.CreditFrame {
	p.t.Helper()
	c, err := duplex.ParseCredit([]byte(p.want(duplex.Credit, call)))
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// text is a message, framed.
func text(s string) string {
	b, err := proto.Marshal(wrapperspb.String(s))
	if err != nil {
		panic(err)
	}
	return string(append(envelope.Append(nil, 0, len(b)), b...))
}
