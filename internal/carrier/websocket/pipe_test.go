package websocket

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	wire "github.com/sluice-rpc/sluice/internal/wire/websocket"
)

const path = "/sluice/v1"

func field(name, value string) exchange.Field { return exchange.Field{Name: name, Value: value} }

// TestPipe: bytes go both ways, and how they are cut in messages means nothing.
func TestPipe(t *testing.T) {
	bubble(t, "", exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
		d.o.Metadata = []string{"x-tenant"}
		d.dial(carrier, path+"?x=1", "other, sluice.v1, bearer.abc", "cookie", "a=b", "x-tenant", "7", "x-else", "8")
		q := d.other.Next(t)
		h := q.Seen().Head
		want := []exchange.Field{field("cookie", "a=b"), field("x-tenant", "7"), {Name: "authorization", Value: "Bearer abc", Sensitive: true}}
		if diff := cmp.Diff(want, h.Fields); diff != "" || h.Method != "CONNECT" || h.Protocol != exchange.PipeMux || h.Carrier != carrier {
			t.Errorf("head %+v\n%s", h, diff)
		}
		if a := d.client.Answer(); a.Get("sec-websocket-protocol") != "sluice.v1" || a.Get("sec-websocket-extensions") != "" {
			t.Errorf("the handshake was answered with %v", a.Fields)
		}
		d.binary("ab", "", "c")
		d.feed(d.enc.Data(nil, nil))
		d.enc.Begin(wire.Binary, false)
		d.feed(d.enc.Data(nil, []byte("de")))
		d.feed(d.enc.Ping(nil, []byte("p")))
		d.feed(d.enc.Data(nil, []byte("f")))
		d.feed(d.enc.End(nil))
		if got := string(q.Seen().Body); got != "abcdef" {
			t.Errorf("got %q", got)
		}
		q.Send([]byte("xyz"))
		d.want("pong p", "xyz")
		if n := q.Seen().Credit; n != 3 {
			t.Errorf("credit of %d", n)
		}
		sent := d.client.Answer().Credit
		if sent == 0 {
			t.Error("the client got no credit")
		}
		q.Finish()
		d.want("close 1000")
		d.bye(1000)
		a := d.finish()
		if s := q.WaitDone(t); !a.Ended || !s.Delivered {
			t.Errorf("%+v, delivered %v", a, s.Delivered)
		}
	})
}

// TestPipeEnds is what both sides see of the end.
func TestPipeEnds(t *testing.T) {
	why := errors.New("because")
	for _, tc := range []struct {
		name   string
		do     func(d *dialer, q *exchangetest.Request)
		frame  string // the last one
		code   exchange.Code
		broken bool
	}{
		{"page closes", func(d *dialer, _ *exchangetest.Request) { d.bye(1000) }, "close 1000", exchange.Cancel, false},
		{"page goes", func(d *dialer, _ *exchangetest.Request) { d.bye(1001) }, "close 1001", exchange.Cancel, false},
		{"close without a code", func(d *dialer, _ *exchangetest.Request) { d.bye(wire.NoStatus) }, "close 1005", exchange.Disconnected, false},
		{"close with another code", func(d *dialer, _ *exchangetest.Request) { d.bye(4000) }, "close 4000", exchange.Disconnected, false},
		{"end without a close", func(d *dialer, _ *exchangetest.Request) { d.q.End(nil) }, "", exchange.Disconnected, false},
		{"reset", func(d *dialer, _ *exchangetest.Request) { d.q.Reset(exchange.Cancel) }, "", exchange.Disconnected, true},
		{"connection lost", func(d *dialer, _ *exchangetest.Request) { d.q.Reset(exchange.Disconnected) }, "", exchange.Disconnected, true},
		{"text", func(d *dialer, _ *exchangetest.Request) { d.text("x") }, "close 1003 messages have to be binary", exchange.Disconnected, false},
		{"not masked", func(d *dialer, _ *exchangetest.Request) { d.feed([]byte{0x82, 1, 'x'}) }, "close 1002 frame of a client without a mask", exchange.Disconnected, false},
		{"compressed", func(d *dialer, _ *exchangetest.Request) { d.feed([]byte{0xc2, 0x80, 0, 0, 0, 0}) }, "close 1002 a reserved bit is set", exchange.Disconnected, false},
		{"pings", func(d *dialer, _ *exchangetest.Request) {
			for range 102 {
				d.feed(d.enc.Ping(nil, nil))
			}
		}, "close 1008 too many frames of no use (limits.conn_abuse)", exchange.Disconnected, false},
		{"empty messages", func(d *dialer, _ *exchangetest.Request) {
			for range 102 {
				d.binary("")
			}
		}, "close 1008 too many frames of no use (limits.conn_abuse)", exchange.Disconnected, false},
		{"tiny fragments", func(d *dialer, _ *exchangetest.Request) {
			d.enc.Begin(wire.Binary, false)
			for range 102 {
				d.feed(d.enc.Data(nil, []byte("x")))
			}
		}, "close 1008 too many frames of no use (limits.conn_abuse)", exchange.Disconnected, false},
		{"no pong", func(d *dialer, _ *exchangetest.Request) {
			time.Sleep(15 * time.Second)
			d.want("ping")
			time.Sleep(15*time.Second + 1)
		}, "", exchange.Disconnected, true},
		{"other side ends", func(d *dialer, q *exchangetest.Request) { q.Finish(); d.bye(1000) }, "close 1000", 0, false},
		{"close is waited for", func(_ *dialer, q *exchangetest.Request) { q.Finish(); time.Sleep(2 * time.Second) }, "close 1000", 0, false},
		{"other side drains", func(d *dialer, q *exchangetest.Request) { d.s.Drain(); q.Finish(); d.bye(1001) }, "close 1001 the gateway is shutting down", 0, false},
		{"protocol error", func(d *dialer, q *exchangetest.Request) { q.Break(exchange.ProtocolError, why); d.bye(1002) }, "close 1002 because", 0, false},
		{"enough", func(d *dialer, q *exchangetest.Request) { q.Break(exchange.EnhanceYourCalm, why); d.bye(1008) }, "close 1008 because", 0, false},
		{"too large", func(d *dialer, q *exchangetest.Request) { q.Break(exchange.FrameSizeError, why); d.bye(1009) }, "close 1009 because", 0, false},
		{"failure", func(d *dialer, q *exchangetest.Request) { q.Break(exchange.InternalError, nil); d.bye(1011) }, "close 1011", 0, false},
		{"long reason", func(d *dialer, q *exchangetest.Request) {
			q.Break(exchange.ProtocolError, errors.New(strings.Repeat("ä", 99)))
			d.bye(1002)
		}, "close 1002 " + strings.Repeat("ä", 61), 0, false},
	} {
		bubble(t, tc.name, exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
			d.dial(carrier, path, "sluice.v1")
			q := d.other.Next(t)
			tc.do(d, q)
			last := ""
			if got := d.got(); len(got) > 0 {
				last = got[len(got)-1]
			}
			if last != tc.frame {
				t.Errorf("the last frame is %q, want %q", last, tc.frame)
			}
			if named := strings.Contains(tc.frame, "limits."); (len(d.hits) == 1) != named || named && !strings.Contains(tc.frame, "limits."+d.hits[0]) {
				t.Errorf("limits hit: %q", d.hits)
			}
			a := d.finish()
			s := q.WaitDone(t)
			if s.Reset != (tc.code != 0) || s.Code != tc.code || a.Broken != tc.broken {
				t.Errorf("reset %v with %v, broken %v", s.Reset, s.Code, a.Broken)
			}
			q.Check(t)
		})
	}
}

// TestPipeStays: silence is no end while pings are answered, and one message may be
// larger than any limit.
func TestPipeStays(t *testing.T) {
	bubble(t, "", exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
		d.dial(carrier, path, "sluice.v1")
		q := d.other.Next(t)
		for range 10 {
			time.Sleep(15 * time.Second)
			d.want("ping")
			d.feed(d.enc.Pong(nil, nil))
		}
		if d.split == 0 {
			big := strings.Repeat("x", 3<<20)
			d.binary(big)
			if got := q.Seen(); len(got.Body) != len(big) {
				t.Errorf("%d bytes came", len(got.Body))
			}
		}
		q.Finish()
		d.bye(1000).finish()
	})
}

// TestPipeCredit: who does not take holds the other side back, in both directions, and
// then is credited for all.
func TestPipeCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialer(t, exchangetest.Script{NoCredit: true})
		d.slow = true
		d.dial("h2", path, "sluice.v1")
		q := d.other.Next(t)
		frame := d.enc.Message(nil, wire.Binary, make([]byte, 1000))
		d.feed(slices.Clone(frame))
		if n := d.client.Answer().Credit; n != 0 {
			t.Errorf("credit of %d before anything was taken", n)
		}
		q.Take(1000)
		if n := d.client.Answer().Credit; n != len(frame) {
			t.Errorf("credit of %d, want %d", n, len(frame))
		}
		q.Send(make([]byte, 500))
		q.Send(make([]byte, 500))
		d.q.Credit(4 + 100) // a header, and of what follows
		if n := q.Seen().Credit; n != 100 {
			t.Errorf("credit of %d, want 100", n)
		}
		d.q.Credit(400 + 4)
		if n := q.Seen().Credit; n != 500 {
			t.Errorf("credit of %d, want 500", n)
		}
		d.q.Credit(500)
		if n := q.Seen().Credit; n != 1000 {
			t.Errorf("credit of %d, want 1000", n)
		}
		// A client that pings and does not read gets 16 pongs, and the last.
		for range 40 {
			d.feed(d.enc.Ping(nil, []byte("x")))
		}
		d.feed(d.enc.Ping(nil, []byte("last")))
		if got := d.got(); len(got) != 2+16 {
			t.Errorf("%d frames", len(got))
		}
		d.q.Credit(16 * 3)
		time.Sleep(time.Second)
		d.want("pong last")
		// What the other side has not taken is credited when it ends.
		d.feed(slices.Clone(frame))
		before := d.client.Answer().Credit
		q.Finish()
		if n := d.client.Answer().Credit - before; n != len(frame) {
			t.Errorf("credit of %d at the end, want %d", n, len(frame))
		}
		d.bye(1000).finish()
	})
}

// TestHandshakes are those that are refused, and those that are somebody else's.
func TestHandshakes(t *testing.T) {
	d := newDialer(t, exchangetest.Script{})
	s := New(d.o)
	for _, tc := range []struct {
		carrier, path, protocols string
		match                    bool
		status                   int
	}{
		{"h1", path, "sluice.v1", true, 101},
		{"h2", path, "sluice.v1", true, 200},
		{"h1", path, "", true, 400},
		{"h2", path, "sluice.json", true, 400},
		{"h2", path, "grpc-websockets", true, 400},
		{"h1", path + "/", "sluice.v1", false, 0},
		{"h1", "/a.B/C", "grpc-websockets", true, 101},
		{"h1", "/a.B/C?x", "x,grpc-websockets-multiplex", true, 101},
		{"h1", "/a.B/C", "sluice.v1", false, 0},
		{"h1", "/a.B/C", "", false, 0},
		{"h1", "/a.B/C", "sluice.json", false, 0},
		{"h1", "/a.B", "grpc-websockets", false, 0},
	} {
		head := handshake(tc.carrier, tc.path, tc.protocols)
		if got := s.Match(head); got != tc.match {
			t.Errorf("%+v: taken is %v", tc, got)
		}
		if !tc.match {
			continue
		}
		r := exchangetest.NewResponse()
		r.Upgrades = tc.carrier == "h1"
		q := s.Start(head, r)
		q.Begin()
		if a := r.Answer(); a.Status != tc.status || a.Status >= 400 && !a.Ended {
			t.Errorf("%+v: %+v", tc, a)
		}
		q.Reset(exchange.Disconnected)
		q.Done(false)
	}
	head := handshake("h1", path, "sluice.v1")
	head.Method = "POST"
	r := exchangetest.NewResponse()
	q := s.Start(head, r)
	q.Begin()
	if a := r.Answer(); a.Status != 405 {
		t.Errorf("POST: %+v", a)
	}
	q.Done(true)
	if s.Match(&exchange.RequestHead{Method: "GET", Path: path}) {
		t.Error("a GET without a handshake is taken")
	}
}

// TestPipeToken: a second token is refused where a page can see it.
func TestPipeToken(t *testing.T) {
	bubble(t, "", exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
		d.dial(carrier, path, "sluice.v1, bearer.a, bearer.b")
		d.want("close 1008 sec-websocket-protocol has more than one token, or one that can't be read")
		d.bye(1008).finish()
		if len(d.other.Requests) != 0 {
			t.Error("a pipe was made")
		}
	})
}
