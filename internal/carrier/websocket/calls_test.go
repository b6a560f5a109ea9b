package websocket

import (
	"bytes"
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

const (
	block = "X-Echo: v1\r\nauthorization: Bearer abc\r\ncontent-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\n"

	message = "\x00\x00\x00\x00\x03abc"
	trailer = "\x80\x00\x00\x00\x10grpc-status: 0\r\n"
)

// frame is a frame of fields.
func frame(lines ...string) string {
	s := strings.Join(lines, "\r\n") + "\r\n"
	return string([]byte{0x80, 0, 0, byte(len(s) >> 8), byte(len(s))}) + s
}

// TestCall is one call with everything, as bytes.
func TestCall(t *testing.T) {
	bubble(t, "", exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
		d.o.Metadata = []string{"x-tenant", "sec-websocket-protocol"}
		d.dial(carrier, "/a.B/C?q", Calls+", bearer.xyz", "cookie", "a=b", "authorization", "Basic x", "x-tenant", "7", "user-agent", "Mozilla/5.0")
		d.binary(block)
		q := d.other.Next(t)
		h := q.Seen().Head
		want := []exchange.Field{field("cookie", "a=b"), field("x-tenant", "7"), field("x-echo", "v1"), field("authorization", "Bearer abc"),
			field("x-grpc-web", "1"), field("content-type", "application/grpc-web+proto")}
		if diff := cmp.Diff(want, h.Fields); diff != "" || h.Method != "POST" || h.Protocol != "" || h.Path != "/a.B/C?q" || h.Length != -1 {
			t.Errorf("head %+v\n%s", h, diff)
		}
		q.Answer(200, field("content-type", "application/grpc-web+proto"), field("x-early", "1"))
		d.want(frame("content-type: application/grpc-web+proto", "x-early: 1"))
		d.binary("\x00"+message[:4], "\x00"+message[4:], "\x00")
		if got := string(q.Seen().Body); got != message {
			t.Errorf("got %q", got)
		}
		q.Send([]byte(message))
		d.want(message)
		d.binary("\x01")
		if !q.Seen().Ended {
			t.Error("no half-close")
		}
		q.Send([]byte(message))
		q.Send([]byte(trailer))
		q.Finish()
		d.want(message, trailer, "close 1000")
		d.binary("\x01", "\x00late") // crosses the end
		d.bye(1000)
		a := d.finish()
		if s := q.WaitDone(t); !a.Ended || !s.Delivered || s.Reset {
			t.Errorf("%+v %+v", a, s)
		}
	})
}

// TestCallFields is what becomes of header blocks.
func TestCallFields(t *testing.T) {
	for _, tc := range []struct{ block, want, status string }{
		{"", "content-type: application/grpc-web+proto", ""},
		{"a:b", "a: b content-type: application/grpc-web+proto", ""},
		{"a: b, c\nd-bin: AQI\n", "a: b, c d-bin: AQI content-type: application/grpc-web+proto", ""},
		{"accept: application/grpc-web-text\r\n:path: /x\r\n", "content-type: application/grpc-web+proto", ""},
		{"content-type: application/grpc+json\r\n", "content-type: application/grpc-web+json", ""},
		{"content-type: Application/gRPC-Web\r\n", "content-type: application/grpc-web", ""},
		{"grpc-timeout: 1S\r\ngrpc-websockets-path: x/y\r\n", "grpc-timeout: 1S content-type: application/grpc-web+proto", ""},
		{"content-type: application/grpc-web-text\r\n", "", "3"},
		{"content-type: application/json\r\n", "", "3"},
		{"nothing\r\n", "", "3"},
		{"a b: c\r\n", "", "3"},
		{"a: b\x00\r\n", "", "3"},
		{"a: " + strings.Repeat("x", 1000), "", "8"},
		{strings.Repeat("a:b\n", 40), "", "8"},
	} {
		bubble(t, tc.block[:min(len(tc.block), 40)], exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
			d.dial(carrier, "/a.B/C", Calls).binary(tc.block)
			got, status := "", ""
			if frames := d.got(); len(frames) > 0 {
				if len(frames) != 2 || frames[0][0] != 0x80 || frames[1] != "close 1000" {
					t.Fatalf("frames %q", frames)
				}
				_, status, _ = strings.Cut(frames[0], "grpc-status: ")
				status, _, _ = strings.Cut(status, "\r\n")
			} else {
				var lines []string
				for _, f := range d.other.Next(t).Seen().Head.Fields {
					if f.Name != "grpc-websockets-path" { // which gRPC reserves
						lines = append(lines, f.Name+": "+f.Value)
					}
				}
				got = strings.Join(lines, " ")
			}
			if got != tc.want || status != tc.status || slices.Equal(d.hits, []string{"header_bytes"}) != (status == "8") {
				t.Errorf("got %q, status %q, limits hit: %q", got, status, d.hits)
			}
			d.bye(1000).finish()
		})
	}
}

// TestCallEnds is what both sides see of the end, after a message.
func TestCallEnds(t *testing.T) {
	why := errors.New("because")
	big := strings.Repeat("x", 2000)
	for _, tc := range []struct {
		name  string
		do    func(d *dialer, q *exchangetest.Request)
		want  string // the last frames, with commas
		reset exchange.Code
	}{
		{"trailers only", func(d *dialer, q *exchangetest.Request) {
			q.AnswerEnd(200, field("grpc-status", "5"), field("grpc-message", "no"))
			d.bye(1000)
		}, frame("grpc-status: 5", "grpc-message: no") + ",close 1000", 0},
		{"no gRPC", func(d *dialer, q *exchangetest.Request) {
			q.Answer(403)
			q.Send([]byte("no"))
			q.Finish()
			d.bye(1000)
		}, frame("content-type: application/grpc-web+proto", "grpc-status: 7", "grpc-message: HTTP status 403") + ",close 1000", 0},
		{"cut", func(d *dialer, q *exchangetest.Request) {
			q.Answer(200)
			q.Send([]byte(message[:6]))
			q.Break(exchange.EnhanceYourCalm, why)
			d.bye(1008)
		}, message[:6] + ",close 1008 because", 0},
		{"client closes", func(d *dialer, _ *exchangetest.Request) { d.bye(1000) }, "close 1000", exchange.Cancel},
		{"client closes without a code", func(d *dialer, _ *exchangetest.Request) { d.bye(wire.NoStatus) }, "close 1005", exchange.Cancel},
		{"connection lost", func(d *dialer, _ *exchangetest.Request) { d.q.Reset(exchange.Disconnected) }, "", exchange.Disconnected},
		{"memory", func(d *dialer, _ *exchangetest.Request) { d.q.Reset(exchange.EnhanceYourCalm) }, "", exchange.EnhanceYourCalm},
		{"text", func(d *dialer, _ *exchangetest.Request) { d.text("x") }, "close 1003 messages have to be binary", exchange.Disconnected},
		{"control byte", func(d *dialer, _ *exchangetest.Request) { d.binary("\x02") }, "close 1002 message with another first byte than 0 and 1", exchange.Disconnected},
		{"half-close with data", func(d *dialer, _ *exchangetest.Request) { d.binary("\x01x") }, "close 1002 half-close with data", exchange.Disconnected},
		{"half-close twice", func(d *dialer, q *exchangetest.Request) {
			d.binary("\x01", "\x01")
			q.AnswerEnd(200)
			d.bye(1000)
		}, "close 1000", 0},
		{"data after the half-close", func(d *dialer, _ *exchangetest.Request) { d.binary("\x01", "\x00x") }, "close 1002 bytes after the end of their direction", exchange.Disconnected},
		{"empty messages", func(d *dialer, _ *exchangetest.Request) {
			for range 102 {
				d.binary("")
			}
		}, frame("content-type: application/grpc-web+proto", "grpc-status: 8", "grpc-message: too many frames of no use (limits.conn_abuse)") +
			",close 1008 too many frames of no use (limits.conn_abuse)", exchange.Cancel},
		{"no pong", func(d *dialer, _ *exchangetest.Request) {
			time.Sleep(15 * time.Second)
			d.want("ping")
			time.Sleep(15*time.Second + 1)
		}, "", exchange.Disconnected},
	} {
		bubble(t, tc.name, exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
			d.dial(carrier, "/a.B/C", Calls).binary(block, "\x00"+message)
			q := d.other.Next(t)
			tc.do(d, q)
			var last []string
			if tc.want != "" {
				got := d.got()
				n := strings.Count(tc.want, ",") + 1
				last = got[max(0, len(got)-n):]
			}
			if got := strings.Join(last, ","); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if named := strings.Contains(tc.want, "limits."); (len(d.hits) == 1) != named || named && !strings.Contains(tc.want, "limits."+d.hits[0]) {
				t.Errorf("limits hit: %q", d.hits)
			}
			d.finish()
			if s := q.WaitDone(t); s.Reset != (tc.reset != 0) || s.Code != tc.reset {
				t.Errorf("reset %v with %v", s.Reset, s.Code)
			}
			q.Check(t)
		})
	}

	// What is larger than a limit ends with a status of the call.
	enough := exchangetest.Script{}
	bubble(t, "compressed message", enough, func(t *testing.T, d *dialer, carrier string) {
		d.o.Compression, d.o.MaxMessage = true, 1500
		d.dial(carrier, "/a.B/C", Calls, "sec-websocket-extensions", "permessage-deflate")
		d.enc.Deflate = &wire.DeflateParams{ClientNoContextTakeover: true, ServerNoContextTakeover: true}
		d.dec.Deflate = d.enc.Deflate
		d.binary(block, "\x00"+big[:1400])
		q := d.other.Next(t)
		if n := len(q.Seen().Body); n != 1400 {
			t.Errorf("%d bytes came", n)
		}
		d.binary("\x00" + big)
		const why = "message larger than the limit (limits.message_bytes)"
		d.want(frame("content-type: application/grpc-web+proto", "grpc-status: 8", "grpc-message: "+why), "close 1009 "+why)
		if s := q.Seen(); s.Code != exchange.FrameSizeError {
			t.Errorf("reset with %v", s.Code)
		}
		d.binary("\x00" + big) // nobody reads on
		time.Sleep(2 * time.Second)
		d.finish()
		q.WaitDone(t)
	})
	bubble(t, "inside of a message", enough, func(t *testing.T, d *dialer, carrier string) {
		d.o.Compression, d.o.MaxMessage = true, 1500
		d.dial(carrier, "/a.B/C", Calls, "sec-websocket-extensions", "permessage-deflate")
		d.enc.Deflate = &wire.DeflateParams{ClientNoContextTakeover: true, ServerNoContextTakeover: true}
		d.binary(block)
		q := d.other.Next(t)
		q.Answer(200)
		q.Send([]byte(message[:6]))
		d.binary("\x00" + big)
		q.Send([]byte(message[6:])) // too late
		if got := d.got(); len(got) != 3 || got[1] != message[:6] || !strings.HasPrefix(got[2], "close 1009 ") {
			t.Errorf("got %q", got)
		}
		time.Sleep(2 * time.Second)
		d.finish()
	})
	bubble(t, "header block", exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
		d.dial(carrier, "/a.B/C", Calls).binary("a: " + big)
		got := d.got()
		if len(got) != 2 || !strings.Contains(got[0], "grpc-status: 8\r\n") || got[1] != "close 1009 header block larger than the limit (limits.header_bytes)" {
			t.Errorf("got %q", got)
		}
		time.Sleep(2 * time.Second)
		d.finish()
	})
	bubble(t, "no header block", exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
		d.dial(carrier, "/a.B/C", Calls)
		d.enc.Begin(wire.Binary, false)
		for range 9 { // a byte a second is not enough
			d.feed(d.enc.Data(nil, []byte("abcdef")))
			time.Sleep(time.Second)
		}
		d.want()
		time.Sleep(time.Second)
		got := d.got()
		if len(got) != 2 || !strings.Contains(got[0], "grpc-status: 4\r\n") || !strings.HasPrefix(got[1], "close 1008 ") {
			t.Errorf("got %q", got)
		}
		d.bye(1008).finish()
	})
	bubble(t, "two tokens", exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
		d.dial(carrier, "/a.B/C", Calls+", bearer.a, bearer.b").binary(block)
		if got := d.got(); len(got) != 2 || !strings.Contains(got[0], "grpc-status: 16\r\n") {
			t.Errorf("got %q", got)
		}
		d.bye(1000).finish()
	})
	bubble(t, "draining", exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
		d.dial(carrier, "/a.B/C", Calls)
		d.s.Drain()
		d.want("close 1001 the gateway is shutting down")
		d.bye(1001).finish()
	})
	bubble(t, "draining with a call", exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
		d.dial(carrier, "/a.B/C", Calls).binary(block)
		d.s.Drain()
		d.want()
		d.other.Next(t).AnswerEnd(200, field("grpc-status", "0"))
		d.want(frame("grpc-status: 0"), "close 1000")
		d.bye(1000).finish()
	})
}

// TestCallGivenUp: what comes of a client after it was given up is not of its call.
func TestCallGivenUp(t *testing.T) {
	bubble(t, "", exchangetest.Script{Reset: func(*exchangetest.Request, exchange.Code) {}}, func(t *testing.T, d *dialer, carrier string) {
		d.dial(carrier, "/a.B/C", Calls).binary(block)
		q := d.other.Next(t)
		time.Sleep(30*time.Second + 1)
		d.want("ping")
		d.binary("\x00"+message, "\x01")
		if s := q.Seen(); !s.Reset || len(s.Body) > 0 || s.Ended {
			t.Errorf("%+v", s)
		}
		q.Break(exchange.Cancel, nil)
		d.finish()
		q.Check(t)
	})
}

// TestCallMemory: what can't be kept ends the call with a status.
func TestCallMemory(t *testing.T) {
	script := exchangetest.Script{Reset: func(q *exchangetest.Request, code exchange.Code) {
		q.AnswerEnd(200, field("grpc-status", "8"), field("grpc-message", code.String()))
	}}
	synctest.Test(t, func(t *testing.T) {
		d := newDialer(t, script)
		d.o.Compression = true
		reserve, full := d.o.Reserve, false
		d.o.Reserve = func(n int) bool { return n < 0 && reserve(n) || n > 0 && !full && reserve(n) }
		d.dial("h2", "/a.B/C", Calls, "sec-websocket-extensions", "permessage-deflate")
		d.enc.Deflate = &wire.DeflateParams{ClientNoContextTakeover: true, ServerNoContextTakeover: true}
		d.dec.Deflate = d.enc.Deflate
		d.binary(block)
		full = true
		b := d.enc.Message(nil, wire.Binary, bytes.Repeat([]byte("0123456789"), 100))
		d.feed(b[:len(b)/2])
		const why = "the gateway's buffers are full (limits.buffer_bytes)"
		d.want(frame("content-type: application/grpc-web+proto", "grpc-status: 8", "grpc-message: "+why), "close 1011 "+why)
		time.Sleep(2 * time.Second)
		d.finish()
	})
}

// id is the number of a call before a message.
func id(n uint32, rest string) string {
	return string([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + rest
}

const last = 1 << 31

// TestMultiplexed are calls that share a socket.
func TestMultiplexed(t *testing.T) {
	bubble(t, "", exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
		d.dial(carrier, "/a.B/C", Multiplexed+", "+Calls, "cookie", "a=b")
		if a := d.client.Answer(); a.Get("sec-websocket-protocol") != Multiplexed {
			t.Errorf("the handshake was answered with %v", a.Fields)
		}
		d.binary(id(0, "grpc-websockets-path: a.B/One\r\n"+block))
		one := d.other.Next(t)
		d.binary(id(7, "grpc-websockets-path: a.B/Two\r\n"))
		two := d.other.Next(t)
		if a, b := one.Seen().Head, two.Seen().Head; a.Path != "/a.B/One" || b.Path != "/a.B/Two" || exchange.Get(b.Fields, "cookie") != "a=b" {
			t.Errorf("heads %+v and %+v", a, b)
		}
		d.binary(id(0, "\x00"+message), id(7, "\x00x"), id(0, "\x00"+message), id(7|last, "\x01"))
		if a, b := one.Seen(), two.Seen(); string(a.Body) != message+message || string(b.Body) != "x" || a.Ended || !b.Ended {
			t.Errorf("got %+v and %+v", a, b)
		}
		two.Answer(200, field("content-type", "a/b"))
		one.Answer(200)
		two.Send([]byte(message))
		two.Send([]byte(trailer))
		two.Finish()
		d.want(id(7, frame("content-type: a/b")), id(0, frame()[:3]+"\x00\x00"), id(7, message), id(7|last, trailer))
		if s := two.WaitDone(t); !s.Delivered || s.Credit != len(message)+len(trailer) {
			t.Errorf("%+v", s)
		}
		d.binary(id(7, "\x00late"), id(7|last, "\x01")) // crosses the end
		d.binary(id(7, "grpc-websockets-path: a.B/Three\r\n"))
		three := d.other.Next(t)
		three.AnswerEnd(200, field("grpc-status", "5"))
		d.want(id(7|last, frame("grpc-status: 5")))
		three.WaitDone(t)
		d.bye(1000).finish()
		if s := one.WaitDone(t); !s.Reset || s.Code != exchange.Cancel {
			t.Errorf("%+v", s)
		}
	})
	for _, tc := range []struct{ name, send, want string }{
		{"no path", id(1, "a: b"), id(1|last, frame("content-type: application/grpc-web+proto", "grpc-status: 3", `grpc-message: grpc-websockets-path "" is not package.Service/Method`))},
		{"too large", id(1, "a: "+strings.Repeat("x", 1100)), id(1|last, frame("content-type: application/grpc-web+proto", "grpc-status: 8", "grpc-message: header block larger than the limit (limits.header_bytes)"))},
		{"no number", "abc", "close 1002 message without the number of its call"},
		{"nothing after the number", id(1, ""), "close 1002 message without the number of its call"},
	} {
		bubble(t, tc.name, exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
			d.dial(carrier, "/a.B/C", Multiplexed).binary(tc.send)
			d.want(tc.want)
			if !strings.HasPrefix(tc.want, "close") {
				d.bye(1000)
			}
			d.finish()
		})
	}
	bubble(t, "compressed message", exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
		d.o.Compression, d.o.MaxMessage = true, 1500
		d.dial(carrier, "/a.B/C", Multiplexed, "sec-websocket-extensions", "permessage-deflate")
		d.enc.Deflate = &wire.DeflateParams{ClientNoContextTakeover: true, ServerNoContextTakeover: true}
		d.binary(id(1, "grpc-websockets-path: a.B/C"), id(2, "grpc-websockets-path: a.B/C"))
		d.binary(id(1, "\x00"+strings.Repeat("x", 2000)))
		const why = "message larger than the limit (limits.message_bytes)"
		got := d.got()
		slices.Sort(got)
		end := frame("content-type: application/grpc-web+proto", "grpc-status: 8", "grpc-message: "+why)
		if diff := cmp.Diff([]string{"close 1009 " + why, id(1|last, end), id(2|last, end)}, got); diff != "" {
			t.Error(diff)
		}
		time.Sleep(2 * time.Second)
		d.finish()
	})
	bubble(t, "no gRPC", exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
		d.dial(carrier, "/a.B/C", Multiplexed).binary(id(1, "grpc-websockets-path: a.B/C"))
		q := d.other.Next(t)
		q.Answer(503)
		q.Send([]byte("no"))
		d.want(id(1|last, frame("content-type: application/grpc-web+proto", "grpc-status: 14", "grpc-message: HTTP status 503")))
		q.Finish()
		q.WaitDone(t)
		d.bye(1000).finish()
	})
	bubble(t, "too many", exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
		d.dial(carrier, "/a.B/C", Multiplexed)
		for n := range uint32(5) {
			d.binary(id(n, "grpc-websockets-path: a.B/C"))
		}
		got := d.got()
		if len(got) != 1 || !strings.HasPrefix(got[0], id(4|last, "\x80")) || !strings.Contains(got[0], "grpc-status: 8") || !strings.Contains(got[0], "limits.streams_per_conn") {
			t.Errorf("got %q", got)
		}
		d.other.Next(t).AnswerEnd(200, field("grpc-status", "0"))
		d.got()
		d.binary(id(9, "grpc-websockets-path: a.B/C"))
		if n := len(d.other.Requests); n != 4 {
			t.Errorf("%d calls, want 4", n)
		}
		d.bye(1000).finish()
	})
	bubble(t, "far too many", exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
		d.dial(carrier, "/a.B/C", Multiplexed)
		for n := range uint32(106) {
			d.binary(id(n, "grpc-websockets-path: a.B/C"))
		}
		if got := d.got(); len(got) != 101+4+1 || !strings.HasPrefix(got[len(got)-1], "close 1008 too many frames of no use") {
			t.Errorf("%d frames, %q last", len(got), got[len(got)-1])
		}
		time.Sleep(2 * time.Second)
		d.finish()
	})
	bubble(t, "cut", exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
		d.dial(carrier, "/a.B/C", Multiplexed).binary(id(1, "grpc-websockets-path: a.B/C"))
		q := d.other.Next(t)
		q.Answer(200)
		q.Send([]byte(message[:6]))
		q.Break(exchange.InternalError, nil)
		d.want(id(1, "\x80\x00\x00\x00\x00"), id(1, message[:6]), id(1|last, ""))
		d.bye(1000).finish()
	})
	bubble(t, "idle", exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
		d.o.Ping = 0
		d.dial(carrier, "/a.B/C", Multiplexed).binary(id(1, "grpc-websockets-path: a.B/C"))
		time.Sleep(2 * time.Minute)
		d.want()
		d.other.Next(t).AnswerEnd(200, field("grpc-status", "0"))
		d.want(id(1|last, frame("grpc-status: 0")))
		time.Sleep(time.Minute)
		d.want("close 1000 no call (timeouts.idle)")
		d.bye(1000).finish()
	})
	bubble(t, "draining", exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
		d.dial(carrier, "/a.B/C", Multiplexed).binary(id(1, "grpc-websockets-path: a.B/C"))
		d.s.Drain()
		d.want()
		d.other.Next(t).AnswerEnd(200, field("grpc-status", "0"))
		d.want(id(1|last, frame("grpc-status: 0")), "close 1001 the gateway is shutting down")
		d.bye(1001).finish()
	})
}

// TestMultiplexedUnread: a client that reads nothing makes no calls without end, whether they end or are refused,
// while one of them takes its messages.
func TestMultiplexedUnread(t *testing.T) {
	const begins = "grpc-websockets-path: a.B/C\r\n"
	for name, block := range map[string]string{"ended": begins, "refused": "a: b\r\n"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDialer(t, exchangetest.Script{Begin: func(q *exchangetest.Request) {
					if exchange.Get(q.Seen().Head.Fields, "x-stays") == "" {
						q.AnswerEnd(200, field("grpc-status", "12"))
					}
				}})
				d.o.Abuse = 0
				d.other.Requests = make(chan *exchangetest.Request, 1<<13)
				d.dial("h2", "/a.B/C", Multiplexed)
				d.slow = true
				sent := 0
				send := func(m string) {
					b := d.enc.Message(nil, wire.Binary, []byte(m))
					sent += len(b)
					d.feed(b)
				}
				credited := func() int { return d.client.Answer().Credit }
				send(id(0, begins+"x-stays: 1"))
				for n := uint32(1); n%256 != 0 || sent-credited() < maxOwn; n++ {
					if n == 1<<12 {
						t.Fatalf("%d bytes were sent, %d credited, %d are not read", sent, credited(), len(d.client.Answer().Body))
					}
					send(id(n, block))
					send(id(0, "\x00"+message))
				}
				d.q.Credit(len(d.client.Answer().Body))
				if n := credited(); n != sent {
					t.Errorf("%d bytes of %d were credited, and all answers are read", n, sent)
				}
				d.slow = false
				d.bye(1000).finish()
			})
		})
	}
}

// TestDrain: sockets without a call are closed one after the other.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialer(t, exchangetest.Script{})
		s := New(d.o)
		const n = 5
		var clients [n]*exchangetest.Response
		var requests [n]exchange.Request
		for i := range n {
			clients[i] = exchangetest.NewResponse()
			requests[i] = s.Start(handshake("h2", "/a.B/C", Multiplexed), clients[i])
			requests[i].Begin()
		}
		closed := func() (k int) {
			synctest.Wait()
			for _, c := range clients {
				if len(c.Answer().Body) > 0 {
					k++
				}
			}
			return k
		}
		s.Drain()
		for want := 1; want <= n; want++ {
			if got := closed(); got != want {
				t.Errorf("%d sockets are closed, want %d", got, want)
			}
			time.Sleep(drainSpread / n)
		}
		r := exchangetest.NewResponse()
		late := s.Start(handshake("h2", "/a.B/C", Multiplexed), r)
		late.Begin()
		if b := r.Answer().Body; len(b) < 4 || b[0] != 0x88 {
			t.Errorf("one that comes late gets %x", b)
		}
		for i, q := range append(requests[:], late) {
			q.End(nil)
			q.Done(true)
			if i < n {
				clients[i].Check(t)
			}
		}
		if len(s.sockets) != 0 {
			t.Errorf("%d sockets are still known", len(s.sockets))
		}
	})
}

// TestDrainMeanwhile: a server drains while a socket opens, and while its call begins.
func TestDrainMeanwhile(t *testing.T) {
	for range 1000 {
		d := newDialer(t, exchangetest.Script{})
		s := New(d.o)
		q := s.Start(handshake("h2", "/a.B/C", Calls), d.client)
		drained := make(chan struct{})
		go func() { s.Drain(); close(drained) }() // ends by itself
		q.Begin()
		q.Data(d.enc.Message(nil, wire.Binary, []byte(block)))
		<-drained
		q.Reset(exchange.Cancel)
		q.Done(false)
		if d.client.Check(t); t.Failed() {
			break
		}
	}
}
