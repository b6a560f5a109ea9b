package rest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/websocket"
	"github.com/sluice-rpc/sluice/rpc"
)

// A dialer is a trial whose client speaks WebSocket.
type dialer struct {
	*trial
	enc   websocket.Encoder
	at    time.Time // now
	split int       // bytes that come at once; 0 is all
}

const (
	plain     = "-"
	enveloped = "sec-websocket-protocol: sluice.json"
)

// newDialer returns one that takes at once what is sent to it, and lets nobody wait.
func newDialer(t testing.TB) *dialer {
	d := &dialer{trial: newTrial(t), at: time.Unix(1000, 0)}
	d.enc.Client = true
	d.o.Now = func() time.Time { return d.at }
	d.o.MaxFields = 1000
	d.o.Ping, d.o.PingTimeout, d.o.Idle, d.o.Abuse = 15*time.Second, 15*time.Second, time.Minute, 100
	return d
}

// dial makes a handshake over h1 or h2.
func (d *dialer) dial(carrier, path, headers string) *dialer {
	d.t.Helper()
	verb := "GET"
	if carrier == "h2" {
		verb = "CONNECT"
	}
	head := request(verb, path, headers)
	head.Carrier = carrier
	add := func(name, value string) {
		head.Fields = append(head.Fields, exchange.Field{Name: name, Value: value})
	}
	add("sec-websocket-version", "13")
	status := 200
	if carrier == "h2" {
		head.Protocol = "websocket"
	} else {
		head.Length = 0
		add("connection", "keep-alive, Upgrade")
		add("upgrade", "websocket")
		add("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
		d.client.Upgrades, status = true, 101
	}
	d.client.OnData = func(n int) {
		if !d.slow {
			d.q.Credit(n)
		}
	}
	d.q = NewServer(d.backend, d.o).Start(head, d.client)
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
		d.give(string(b[:n]))
		b = b[n:]
	}
	return d
}

func (d *dialer) text(messages ...string) *dialer {
	for _, m := range messages {
		d.feed(d.enc.Message(nil, websocket.Text, []byte(m)))
	}
	return d
}

func (d *dialer) binary(m string) *dialer {
	return d.feed(d.enc.Message(nil, websocket.Binary, []byte(m)))
}

func (d *dialer) bye(code websocket.Code) *dialer { return d.feed(d.enc.Close(nil, code, "")) }

// reader writes down the frames that come.
type reader struct {
	op     websocket.Opcode
	frames []string
}

func (r *reader) Begin(op websocket.Opcode) { r.op = op }
func (r *reader) Data(p []byte) {
	if r.op == websocket.Text {
		r.frames = append(r.frames, "text "+string(p))
	} else {
		r.frames = append(r.frames, fmt.Sprintf("binary %x", p))
	}
}
func (r *reader) End()          {}
func (r *reader) Ping(p []byte) { r.frames = append(r.frames, "ping") }
func (r *reader) Pong(p []byte) { r.frames = append(r.frames, "pong "+string(p)) }
func (r *reader) Close(code websocket.Code, reason string) {
	r.frames = append(r.frames, strings.TrimSpace(fmt.Sprintf("close %d %s", code, reason)))
}

// got returns the frames that the client has got.
func (d *dialer) got() []string {
	d.t.Helper()
	var r reader
	dec := websocket.Decoder{Client: true, Whole: true, MaxMessage: 1 << 20}
	if err := dec.Feed(d.client.Answer().Body, &r); err != nil {
		d.t.Errorf("what came is no WebSocket: %v", err)
	}
	return r.frames
}

func (d *dialer) want(frames ...string) *dialer {
	d.t.Helper()
	if diff := cmp.Diff(frames, d.got()); diff != "" {
		d.t.Errorf("frames: -want +got\n%s", diff)
	}
	return d
}

// sent checks what the backend got.
func (d *dialer) sent(messages ...string) *dialer {
	d.t.Helper()
	if diff := cmp.Diff(messages, d.messages(in)); diff != "" {
		d.t.Errorf("requests: -want +got\n%s", diff)
	}
	return d
}

// each runs a test over both carriers.
func each(t *testing.T, name string, f func(t *testing.T, carrier string)) {
	for _, carrier := range []string{"h1", "h2"} {
		t.Run(name+"/"+carrier, func(t *testing.T) { f(t, carrier) })
	}
}

var ok rpc.Status

// TestSocketTraces plays the traces of docs/protocols/websocket.md.
func TestSocketTraces(t *testing.T) {
	unavailable := rpc.Status{Code: rpc.Unavailable, Message: "the backend is restarting"}
	each(t, "watch", func(t *testing.T, carrier string) {
		d := newDialer(t).dial(carrier, watch, plain)
		if !d.ended {
			t.Error("the request has no end")
		}
		d.sent(`{"id":"7"}`).send(out, `{"id":"a"}`, `{"id":"b"}`)
		d.backend.end(ok, nil)
		d.want(`text {"id":"a"}`, `text {"id":"b"}`, "close 1000")
		d.bye(1000)
		if a := d.finish(); a.Broken {
			t.Error("broken")
		}
	})
	each(t, "watch fails", func(t *testing.T, carrier string) {
		d := newDialer(t).dial(carrier, watch, plain)
		d.send(out, `{"id":"a"}`)
		d.backend.end(unavailable, nil)
		d.want(`text {"id":"a"}`, `text {"@error":{"code":14,"message":"the backend is restarting","details":[]}}`, "close 4014 the backend is restarting")
		d.bye(4014).finish()
	})
	each(t, "feed", func(t *testing.T, carrier string) {
		d := newDialer(t).dial(carrier, "/test.v1.S/Feed", plain)
		if d.call != nil {
			t.Error("the call has started")
		}
		d.text(`{"id":"news"}`).sent(`{"id":"news"}`)
		d.send(out, `{"id":"a"}`)
		d.backend.end(ok, nil)
		d.want(`text {"id":"a"}`, "close 1000").bye(1000).finish()
	})
	each(t, "make", func(t *testing.T, carrier string) {
		d := newDialer(t).dial(carrier, "/v1/make", plain).text("")
		d.sent(`{}`).send(out, `{"id":"7"}`)
		d.backend.end(ok, nil)
		d.want(`text {"id":"7"}`, "close 1000").bye(1000).finish()
	})
	each(t, "upload", func(t *testing.T, carrier string) {
		d := newDialer(t).dial(carrier, "/v1/upload", "sec-websocket-protocol: sluice.json, bearer.eyJhbGciOiJI")
		if p := d.client.Answer(); p.Get("sec-websocket-protocol") != "sluice.json" {
			t.Errorf("%v", p.Fields)
		}
		if d.call != nil {
			t.Error("the call has started")
		}
		d.text(`{"@head":{"metadata":{"x-batch":"12"},"timeout":"30s"}}`)
		if d.call == nil {
			t.Fatal("no call")
		}
		if md := d.call.Metadata; md.Get("x-batch") != "12" || md.Get("authorization") != "Bearer eyJhbGciOiJI" || md.Get("sec-websocket-protocol") != "" {
			t.Errorf("metadata %v", md)
		}
		if !d.call.Deadline.Equal(d.at.Add(30*time.Second)) || d.call.Protocol != "websocket" {
			t.Errorf("deadline %v, protocol %s", d.call.Deadline, d.call.Protocol)
		}
		d.text(`{"@message":{"id":"a"}}`).binary("\n\x01b").text(`{"@end":true}`).sent(`{"id":"a"}`, `{"id":"b"}`)
		if !d.ended {
			t.Error("the request has no end")
		}
		d.head(rpc.Field{Key: "x-served-by", Value: "b2"})
		d.send(out, `{"number":"6"}`)
		d.backend.end(ok, rpc.Metadata{{Key: "x-checksum-bin", Value: "q80="}})
		d.want(`text {"@head":{"metadata":{"x-served-by":"b2"}}}`, `text {"@message":{"number":"6"}}`,
			`text {"@end":{"status":{"code":0},"metadata":{"x-checksum-bin":"q80="}}}`, "close 1000").bye(1000).finish()
	})
	each(t, "chat", func(t *testing.T, carrier string) {
		d := newDialer(t).dial(carrier, "/v1/chat", enveloped).text(`{"@head":{}}`)
		d.head(rpc.Field{Key: "x-room", Value: "lobby"})
		d.send(out, `{"id":"welcome"}`)
		d.text(`{"@message":{"id":"hello"}}`, `{"@message":{"id":"/drop"}}`).sent(`{"id":"hello"}`, `{"id":"/drop"}`)
		d.backend.end(rpc.Status{Code: rpc.PermissionDenied, Message: "you are banned"}, nil)
		d.text(`{"@message":{"id":"?"}}`).sent(`{"id":"hello"}`, `{"id":"/drop"}`)
		d.want(`text {"@head":{"metadata":{"x-room":"lobby"}}}`, `text {"@message":{"id":"welcome"}}`,
			`text {"@end":{"status":{"code":7,"message":"you are banned"}}}`, "close 4007 you are banned").bye(4007).finish()
	})
	each(t, "chat refused", func(t *testing.T, carrier string) {
		d := newDialer(t).dial(carrier, "/v1/chat", enveloped).text(`{"@head":{"metadata":{"grpc-timeout":"1S"}}}`)
		if d.call != nil {
			t.Error("the call has started")
		}
		d.want(`text {"@end":{"status":{"code":3,"message":"metadata grpc-timeout is reserved"}}}`, "close 4003 metadata grpc-timeout is reserved").bye(4003).finish()
	})
}
