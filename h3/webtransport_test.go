package h3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/h3"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
)

// session opens one.
func (g *gateway) session(t *testing.T) *webtransport.Session {
	t.Helper()
	return g.sessionVia(t, g.addr)
}

// sessionVia opens one at another address.
func (g *gateway) sessionVia(t *testing.T, addr string) *webtransport.Session {
	t.Helper()
	tc := g.client.Clone()
	tc.NextProtos = []string{"h3"}
	q, err := quic.DialAddr(t.Context(), addr, tc, &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.CloseWithError(0x100, "") })
	c, err := (&webtransport.Transport{ApplicationProtocols: []string{"sluice.v1"}}).NewClientConn(q)
	if err != nil {
		t.Fatal(err)
	}
	_, s, err := c.Dial(t.Context(), "https://"+g.addr+"/sluice/v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// call is a call on a stream, as its client sees it.
type call struct {
	*webtransport.Stream
	dec    duplex.Decoder
	data   bytes.Buffer
	frames []duplex.Kind
	fields map[duplex.Kind][]exchange.Field
}

// Data implements [duplex.Events].
func (c *call) Data(_ uint32, b []byte) error {
	c.data.Write(b)
	return nil
}

// Frame implements [duplex.Events].
func (c *call) Frame(kind duplex.Kind, _ uint32, payload []byte) (err error) {
	c.frames = append(c.frames, kind)
	if kind != duplex.Credit {
		c.fields[kind], err = fields.Parse(nil, payload, 1<<20)
	}
	return err
}

// begin begins a call.
func begin(t *testing.T, s *webtransport.Session, method string, own ...exchange.Field) *call {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	str, err := s.OpenStreamSync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c := &call{Stream: str, fields: map[duplex.Kind][]exchange.Field{}}
	c.dec.Form = duplex.CallForm
	b := duplex.CallForm.Begin(nil, duplex.Headers, 0)
	b = fields.AppendField(b, ":path", service+method)
	for _, f := range own {
		b = fields.AppendField(b, f.Name, f.Value)
	}
	c.write(t, duplex.CallForm.Finish(b, 0))
	return c
}

func (c *call) write(t *testing.T, b []byte) {
	t.Helper()
	if _, err := c.Stream.Write(b); err != nil {
		t.Fatal(err)
	}
}

func (c *call) send(t *testing.T, kind duplex.Kind, payload []byte) {
	t.Helper()
	c.write(t, duplex.CallForm.Append(nil, kind, 0, payload))
}

// until reads until f is true.
func (c *call) until(t *testing.T, f func() bool) {
	t.Helper()
	b := make([]byte, 4096)
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	for !f() {
		n, err := c.Read(b)
		if err := c.dec.Feed(b[:n], c); err != nil {
			t.Fatal(err)
		}
		if err != nil && !f() {
			t.Fatalf("%v after %v and %q", err, c.frames, &c.data)
		}
	}
}

func (c *call) ended() bool { return c.fields[duplex.End] != nil }

// TestWebTransport makes calls on the streams of a session.
func TestWebTransport(t *testing.T) {
	g := start(t, sluice.Config{}, h3.Config{})
	s := g.session(t)
	control, err := s.AcceptUniStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hello := make([]byte, 1)
	if _, err := io.ReadFull(control, hello); err != nil || duplex.Kind(hello[0]) != duplex.Welcome {
		t.Fatalf("% x, %v", hello, err)
	}
	t.Run("unary", func(t *testing.T) {
		c := begin(t, s, "UnaryCall")
		c.send(t, duplex.Data, enveloped(t, &testgrpc.SimpleRequest{ResponseSize: 1000}))
		c.send(t, duplex.End, nil)
		c.until(t, c.ended)
		var m testgrpc.SimpleResponse
		message(t, &c.data, &m)
		if len(m.GetPayload().GetBody()) != 1000 || exchange.Get(c.fields[duplex.End], "grpc-status") != "0" || c.frames[0] != duplex.Headers {
			t.Errorf("%d bytes, %v", len(m.GetPayload().GetBody()), c.fields)
		}
		if b, err := io.ReadAll(c); err != nil || len(b) != 0 { // END is followed by FIN
			t.Errorf("%q, %v", b, err)
		}
		_ = c.Close()
	})
	t.Run("a status after messages", func(t *testing.T) {
		c := begin(t, s, "StreamingOutputCall")
		m := ask(3)
		m.ResponseStatus = &testgrpc.EchoStatus{Code: 9, Message: "☺"}
		c.send(t, duplex.Data, enveloped(t, m))
		_ = c.Close() // FIN is a half-close, too
		c.until(t, c.ended)
		if exchange.Get(c.fields[duplex.End], "grpc-status") == "" {
			t.Errorf("%v", c.fields)
		}
	})
	t.Run("bidirectional, and cancel after the half-close", func(t *testing.T) {
		c := begin(t, s, "FullDuplexCall", exchange.Field{Name: "x-grpc-test-echo-initial", Value: "early"})
		for n := range 5 {
			c.send(t, duplex.Data, enveloped(t, ask(int32(n)+1)))
			c.until(t, func() bool { return c.data.Len() > 5+n })
			message(t, &c.data, &testgrpc.StreamingOutputCallResponse{})
		}
		if exchange.Get(c.fields[duplex.Headers], "x-grpc-test-echo-initial") != "early" {
			t.Errorf("%v", c.fields)
		}
		slow := ask(1)
		slow.ResponseParameters[0].IntervalUs = 60_000_000
		c.send(t, duplex.Data, enveloped(t, slow))
		c.send(t, duplex.End, nil)
		c.CancelWrite(1)
		_, err := io.ReadAll(c)
		if se, ok := errors.AsType[*webtransport.StreamError](err); !ok || se.ErrorCode != 1 {
			t.Errorf("the stream ends with %v", err)
		}
	})
	t.Run("a protocol error", func(t *testing.T) {
		s := g.session(t)
		c := begin(t, s, "UnaryCall")
		c.send(t, duplex.Data, nil)
		_, err := s.AcceptStream(t.Context())
		if se, ok := errors.AsType[*webtransport.SessionError](err); !ok || se.ErrorCode != 3 || se.Message == "" {
			t.Errorf("the session ends with %v", err)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); g.Status().ActiveCalls > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d calls still run", g.Status().ActiveCalls)
		}
	}
}

// TestDrain: GOAWAY on the server's stream; a call that runs goes on, and when it has ended
// the session may end too.
func TestDrain(t *testing.T) {
	g := start(t, sluice.Config{}, h3.Config{})
	s := g.session(t)
	control, err := s.AcceptUniStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := begin(t, s, "FullDuplexCall")
	c.send(t, duplex.Data, enveloped(t, ask(1)))
	c.until(t, func() bool { return c.data.Len() > 5 })
	down := make(chan error, 1)
	go func() { down <- g.Shutdown(context.Background()) }()
	watch := &call{fields: map[duplex.Kind][]exchange.Field{}}
	watch.dec.Form = duplex.CallForm
	for b := make([]byte, 4096); watch.fields[duplex.GoAway] == nil; {
		n, err := control.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := watch.dec.Feed(b[:n], watch); err != nil {
			t.Fatal(err)
		}
	}
	c.send(t, duplex.Data, enveloped(t, ask(2)))
	c.send(t, duplex.End, nil)
	c.until(t, c.ended)
	if exchange.Get(c.fields[duplex.End], "grpc-status") != "0" {
		t.Errorf("%v", c.fields)
	}
	_ = c.Close()
	_, err = s.AcceptStream(t.Context())
	if se, ok := errors.AsType[*webtransport.SessionError](err); !ok || se.ErrorCode != 4 {
		t.Errorf("the session ends with %v", err)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}
