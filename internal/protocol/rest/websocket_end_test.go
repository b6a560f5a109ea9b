package rest

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	grpcwire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/internal/wire/websocket"
	"github.com/sluice-rpc/sluice/rpc"
)

// TestSocketEnds is what both sides see at the end, with a call that streams both ways.
func TestSocketEnds(t *testing.T) {
	big := strings.Repeat("x", 1100)
	for _, tc := range []struct {
		name   string
		do     func(d *dialer)
		want   string // the last frame
		code   rpc.Code
		cancel bool // the call was canceled
		broken bool
	}{
		{"ok", func(d *dialer) { d.backend.end(ok, nil); d.bye(1000) }, "close 1000", rpc.OK, false, false},
		{"unknown code", func(d *dialer) { d.backend.end(rpc.Status{Code: 99}, nil); d.bye(4002) }, "close 4002", 99, false, false},
		{"long reason", func(d *dialer) {
			d.backend.end(rpc.Status{Code: rpc.Aborted, Message: strings.Repeat("ä", 100)}, nil)
			d.bye(4010)
		}, "close 4010 " + strings.Repeat("ä", 61), rpc.Aborted, false, false},
		{"close is waited for", func(d *dialer) { d.backend.end(ok, nil); d.clock.fire() }, "close 1000", rpc.OK, false, false},
		{"client ends after", func(d *dialer) { d.backend.end(ok, nil); d.q.End(nil) }, "close 1000", rpc.OK, false, false},
		{"unmasked", func(d *dialer) { d.feed([]byte{0x81, 1, 'x'}) }, "close 1002 frame of a client without a mask", rpc.InvalidArgument, true, false},
		{"not UTF-8", func(d *dialer) { d.text("\xff") }, "close 1007 text is not UTF-8", rpc.InvalidArgument, true, false},
		{"too large", func(d *dialer) { d.text(`{"id":"` + big + `"}`) }, "close 1009 message larger than the limit (limits.message_bytes)", rpc.ResourceExhausted, true, false},
		{"pings", func(d *dialer) {
			for range 102 {
				d.feed(d.enc.Ping(nil, nil))
			}
		}, "close 1008 too many frames of no use (limits.conn_abuse)", rpc.ResourceExhausted, true, false},
		{"half-closes", func(d *dialer) {
			for range 103 {
				d.text("")
			}
		}, "close 1008 too many frames of no use (limits.conn_abuse)", rpc.ResourceExhausted, true, false},
		{"empty fragments", func(d *dialer) {
			d.o.Abuse = 0
			d.feed([]byte{1, 0x80, 0, 0, 0, 0})
			for range 100 {
				d.feed([]byte{0, 0x80, 0, 0, 0, 0})
			}
		}, "close 1008 too many empty fragments", rpc.ResourceExhausted, true, false},
		{"client closes", func(d *dialer) { d.bye(1001) }, "close 1001", rpc.Canceled, true, false},
		{"client closes without a code", func(d *dialer) { d.feed([]byte{0x88, 0x80, 0, 0, 0, 0}) }, "close 1005", rpc.Canceled, true, false},
		{"client closes after half-close", func(d *dialer) { d.text(""); d.bye(3000) }, "close 3000", rpc.Canceled, true, false},
		{"client ends", func(d *dialer) { d.q.End(nil) }, "", rpc.Canceled, true, false},
		{"client resets", func(d *dialer) { d.q.Reset(exchange.Cancel) }, "", rpc.Canceled, true, true},
		{"connection breaks", func(d *dialer) { d.q.Reset(exchange.Disconnected) }, "", rpc.Canceled, true, true},
		{"no pong", func(d *dialer) {
			d.at = d.at.Add(15 * time.Second)
			d.clock.fire()
			d.want("ping")
			d.at = d.at.Add(15 * time.Second)
			d.clock.fire()
		}, "ping", rpc.Canceled, true, true},
		{"after the half-close", func(d *dialer) { d.text("", "{}"); d.bye(4003) }, "close 4003 message 1 comes after the half-close", rpc.InvalidArgument, true, false},
		{"no JSON", func(d *dialer) { d.text("{}", "{"); d.bye(4003) }, "close 4003 message 2: JSON, byte 1: ", rpc.InvalidArgument, true, false},
		{"spaces", func(d *dialer) { d.text(" "); d.bye(4003) }, "close 4003 message 1: no JSON", rpc.InvalidArgument, true, false},
		{"wrong type", func(d *dialer) { d.text(`{"id":1}`); d.bye(4003) }, "close 4003 message 1: ", rpc.InvalidArgument, true, false},
		{"no protobuf", func(d *dialer) { d.binary("\x0a\x05x"); d.bye(4003) }, "close 4003 message 1: no protobuf", rpc.InvalidArgument, true, false},
		{"response is broken", func(d *dialer) { d.raw([]byte{0, 0, 0, 0, 1, 0xff}); d.bye(4013) }, "close 4013 response message: ", rpc.Internal, true, false},
		{"response is cut", func(d *dialer) { d.raw([]byte{0, 0, 0, 0, 9}); d.backend.end(ok, nil); d.bye(4013) }, "close 4013 the backend ended the response inside of a message", rpc.Internal, false, false},
	} {
		each(t, tc.name, func(t *testing.T, carrier string) {
			d, abused := newDialer(t), 0
			d.o.Abused = func(net.Addr) { abused++ }
			d.dial(carrier, "/v1/chat", plain)
			tc.do(d)
			if abused > 0 != strings.HasSuffix(tc.want, "(limits.conn_abuse)") {
				t.Errorf("%d times somebody was told of abuse", abused)
			}
			last := ""
			if got := d.got(); len(got) > 0 {
				last = got[len(got)-1]
			}
			if last != tc.want && (!strings.HasSuffix(tc.want, ": ") || !strings.HasPrefix(last, tc.want)) {
				t.Errorf("the last frame is %q, want %q", last, tc.want)
			}
			a := d.finish()
			if a.Broken != tc.broken || len(d.cancels) > 0 != tc.cancel || d.outcome.Status.Code != tc.code {
				t.Errorf("broken %v, canceled %v, outcome %v", a.Broken, d.cancels, d.outcome.Status)
			}
		})
	}
}

// TestSocketRefused: what is wrong is said after the handshake, and no call is made.
func TestSocketRefused(t *testing.T) {
	for _, tc := range []struct{ path, headers, frames, want string }{
		{"/v1/items/7?number=x", plain, "", "close 4003 query: field number"},
		{"/v1/list?a=%zz", plain, "", "close 4003 the query of the URL is malformed"},
		{"/v1/list?$alt=sse", plain, "", "close 4003 query: $alt=sse"},
		{"/v1/chat?$first=later", plain, "", "close 4003 query: $first=later"},
		{"/v1/list", "grpc-timeout: x", "", "close 4003 grpc-timeout"},
		{"/v1/list", "sec-websocket-protocol: bearer.a, bearer.b", "", "close 4016 sec-websocket-protocol has more than one token"},
		{"/v1/list", "sec-websocket-protocol: sluice.json, base64url.bearer.authorization.k8s.io.!", "", "close 4016 sec-websocket-protocol"},
		{"/v1/make", enveloped, `[]`, "close 4003 a frame is no object"},
		{"/v1/make", enveloped, `{"@x":1}`, "close 4003 a frame has the key"},
		{"/v1/make", enveloped, `{"@head":{}} {"@head":{}}`, "close 4003 @head is not the first frame"},
		{"/v1/make", enveloped, `{"@head":{"metadata":{"a":["` + strings.Repeat(`","`, 40) + `"]}}}`, "close 4008 metadata a: metadata larger than the limit (limits.header_bytes)"},
		{"/v1/make", enveloped, `{"@head":{"timeout":"x"}}`, "close 4003 timeout"},
		{"/v1/make", plain, `{"id":1}`, "close 4003 message 1: "},
	} {
		t.Run(tc.path+" "+tc.headers+" "+tc.frames, func(t *testing.T) {
			d := newDialer(t).dial("h1", tc.path, tc.headers)
			for f := range strings.FieldsSeq(tc.frames) {
				d.text(f)
			}
			if d.call != nil {
				t.Error("a call was made")
			}
			got := d.got()
			if len(got) != 2 || !strings.HasPrefix(got[1], tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			d.bye(1000).finish()
		})
	}
}

// TestSocketKinds is when a call starts, what it gets, and when its request ends.
func TestSocketKinds(t *testing.T) {
	for _, tc := range []struct {
		path   string
		frames []string // "" is the half-close, in both subprotocols
		want   []string
		ended  bool
	}{
		{"/v1/items/7?number=1", nil, []string{`{"id":"7","number":"1"}`}, true},
		{"/v1/items/7", []string{""}, []string{`{"id":"7"}`}, true},
		{watch + "?tags=a", nil, []string{`{"id":"7","tags":["a"]}`}, true},
		{"/v1/make", []string{`{"id":"a"}`}, []string{`{"id":"a"}`}, true},
		{"/v1/make", []string{`{"id":"a"}`, ""}, []string{`{"id":"a"}`}, true},
		{"/v1/make", []string{""}, []string{`{}`}, true},
		{"/test.v1.S/Plain", []string{`{"id":"a"}`}, []string{`{"id":"a"}`}, true},
		{"/v1/upload", nil, nil, false},
		{"/v1/upload", []string{""}, nil, true},
		{"/v1/items/7/upload", []string{""}, []string{`{"id":"7"}`}, true},
		{"/v1/items/7/upload", []string{`{"number":"1"}`, `{"number":"2"}`, ""}, []string{`{"id":"7","number":"1"}`, `{"number":"2"}`}, true},
		{"/v1/items/7/upload?$first=now", []string{`{"number":"1"}`}, []string{`{"id":"7"}`, `{"number":"1"}`}, false},
		{"/v1/items/7/upload?first=now", []string{""}, []string{`{"id":"7"}`}, true},
		{"/v1/lists/7/upload?number=3", []string{`{"size":1}`, `{"size":2}`}, []string{`{"id":"7","number":"3","nested":{"size":1}}`, `{"nested":{"size":2}}`}, false},
		{"/v1/chat", []string{"{}", ""}, []string{`{}`}, true},
	} {
		for _, headers := range []string{plain, enveloped} {
			for _, split := range []int{0, 1, 7} {
				each(t, fmt.Sprintf("%s %q/%s/%d", tc.path, tc.frames, headers, split), func(t *testing.T, carrier string) {
					d := newDialer(t).dial(carrier, tc.path, headers)
					d.split = split
					if headers == enveloped {
						if d.call != nil {
							t.Error("the call did not wait for its head")
						}
						d.text(`{"@head":{}}`)
					}
					for i, f := range tc.frames {
						if headers == enveloped {
							f = map[bool]string{true: `{"@end":true}`, false: `{"@message":` + f + `}`}[f == ""]
						}
						if i == 0 {
							f = " " + f
						}
						d.text(strings.TrimPrefix(f, " "))
					}
					d.sent(tc.want...)
					if d.backend.ended != tc.ended {
						t.Errorf("the request has ended: %v", d.backend.ended)
					}
					d.send(out, `{"id":"a"}`)
					d.backend.end(ok, nil)
					want := []string{`text {"id":"a"}`, "close 1000"}
					if headers == enveloped {
						want = []string{`text {"@message":{"id":"a"}}`, `text {"@end":{"status":{"code":0}}}`, "close 1000"}
					}
					d.want(want...).bye(1000).finish()
				})
			}
		}
	}
}

// TestSocketProtobuf: $alt=proto.
func TestSocketProtobuf(t *testing.T) {
	for _, headers := range []string{plain, enveloped} {
		d := newDialer(t).dial("h2", "/v1/items/7?$alt=proto", headers)
		if headers == enveloped {
			d.text("")
		}
		d.sent(`{"id":"7"}`).send(out, `{"id":"a"}`)
		d.backend.end(ok, nil)
		if got := d.got(); got[0] != "binary 0a0161" {
			t.Errorf("%q", got)
		}
		d.bye(1000).finish()
	}
}

// TestSocketPings: one that is answered, one while the backend is slow, and those of a client
// that does not read.
func TestSocketPings(t *testing.T) {
	d := newDialer(t).dial("h1", "/v1/chat", plain)
	d.feed(d.enc.Ping(nil, []byte("a"))).want("pong a")
	d.at = d.at.Add(10 * time.Second)
	d.clock.fire()
	d.want("pong a")
	d.at = d.at.Add(5 * time.Second)
	d.clock.fire()
	d.want("pong a", "ping")
	d.feed(d.enc.Pong(nil, nil))
	d.at = d.at.Add(14 * time.Second)
	d.clock.fire() // was heard since
	d.want("pong a", "ping")

	d.noCredit = true
	for range 20 {
		d.text(`{"id":"` + strings.Repeat("x", 900) + `"}`)
	}
	for range 5 {
		d.at = d.at.Add(15 * time.Second)
		d.clock.fire()
	}
	if len(d.cancels) > 0 {
		t.Fatalf("a client whose backend is slow: %v", d.cancels)
	}
	if a := d.client.Answer(); a.Credit >= d.gave-rpc.WindowMin {
		t.Errorf("credit for %d of %d bytes that the backend did not take", a.Credit, d.gave)
	}
	d.response.Credit(len(d.body))
	d.slow = true
	before := len(d.client.Answer().Body)
	for i := range 90 {
		d.feed(d.enc.Ping(nil, fmt.Appendf(nil, "%02d", i)))
	}
	if n := len(d.client.Answer().Body) - before; n != 16*4 {
		t.Errorf("%d bytes of pongs for a client that takes none", n)
	}
	d.q.Credit(len(d.client.Answer().Body) - before)
	d.slow = false
	d.clock.fire()
	if got := d.got(); got[len(got)-1] != "pong 89" || slices.Contains(got, "pong 50") {
		t.Errorf("%q", got)
	}
	d.bye(1000).finish()
}

// TestSocketSilent: a client that has to speak first, and doesn't.
func TestSocketSilent(t *testing.T) {
	d := newDialer(t).dial("h1", "/v1/chat", enveloped)
	d.o.Ping = 0
	d.clock.fire()
	if d.want("close 1008 the client says nothing (timeouts.idle)"); d.call != nil {
		t.Error("a call was made")
	}
	d.finish()
}

// TestSocketMemory: what is kept of a message is charged; without memory the call ends.
func TestSocketMemory(t *testing.T) {
	for path, want := range map[string]string{"/v1/make": "close 1011 " + grpcwire.BuffersFull.Message, "/v1/chat": "close 4008 " + grpcwire.BuffersFull.Message} {
		d := newDialer(t)
		full := false
		d.o.Reserve = func(n int) bool { return d.mem.reserve(n) && (n < 0 || !full || d.mem.reserve(-n) && false) }
		d.dial("h2", path, plain)
		whole := d.enc.Message(nil, websocket.Text, []byte(`{"id":"`+strings.Repeat("x", 500)+`"}`))
		d.feed(whole[:100])
		if d.mem.held == 0 {
			t.Error("nothing is charged")
		}
		full = true
		d.feed(whole[100:200])
		if got := d.got(); got[len(got)-1] != want {
			t.Errorf("%q, want %s", got, want)
		}
		d.bye(1000)
		d.clock.fire()
		d.finish()
	}
}

// TestSocketHandshake is what gets no WebSocket.
func TestSocketHandshake(t *testing.T) {
	const asks = "connection: upgrade; upgrade: websocket"
	for _, tc := range []struct {
		verb, headers string
		status        int
		field, value  string
	}{
		{"GET", asks + "; sec-websocket-version: 12", 426, "sec-websocket-version", "13"},
		{"GET", asks + "; sec-websocket-version: 13; sec-websocket-key: x", 400, "content-type", "application/json"},
		{"PUT", asks + "; sec-websocket-version: 13", 405, "allow", "GET"},
		{"CONNECT", ":protocol: websocket; sec-websocket-version: 8", 400, "sec-websocket-version", "13"},
	} {
		d := newTrial(t).start(tc.verb, "/v1/chat", tc.headers)
		if tc.verb != "CONNECT" { // it never ends
			d.close()
		}
		if a := d.client.Final(t); a.Status != tc.status || a.Get(tc.field) != tc.value {
			t.Errorf("%s %s: %d %v", tc.verb, tc.headers, a.Status, a.Fields)
		}
		d.q.Done(true)
	}
}

// TestSocketOff: where the mode is switched off a handshake is a GET.
func TestSocketOff(t *testing.T) {
	r := newTrial(t).style(func(s *Style) { s.Off = s.Off.With(WebSocket) })
	if a := r.do("GET", "/v1/items/7", "connection: upgrade; upgrade: websocket", "", out, `{}`); a.Status != 200 {
		t.Errorf("%d", a.Status)
	}
	r = newTrial(t).style(func(s *Style) { s.Off = s.Off.With(WebSocket) }).start("CONNECT", "/v1/items/7", ":protocol: websocket")
	if a := r.client.Final(t); a.Status != 501 {
		t.Errorf("%d", a.Status)
	}
	r.q.Done(true)
}

// FuzzSocket gives any bytes in any pieces: the contract is kept, memory comes back, and
// where the bytes are cut changes nothing.
func FuzzSocket(f *testing.F) {
	enc := websocket.Encoder{Client: true}
	text := func(all ...string) (b []byte) {
		for _, m := range all {
			b = enc.Message(b, websocket.Text, []byte(m))
		}
		return b
	}
	f.Add(text(`{"id":"a"}`, ""), uint8(3), uint8(0))
	f.Add(text(`{"@head":{"metadata":{"a":"b"}}}`, `{"@message":{}}`, `{"@end":true}`), uint8(1), uint8(5))
	f.Add(enc.Close(enc.Ping(text(`{}`), []byte("x")), 1000, ""), uint8(2), uint8(2))
	f.Add([]byte{0x81, 1, 'x'}, uint8(1), uint8(7))
	paths := []string{"/v1/chat", "/v1/make", "/v1/items/7/upload", watch}
	f.Fuzz(func(t *testing.T, b []byte, split, how uint8) {
		play := func(split int) (requests []byte, frames []string) {
			d := newDialer(t)
			d.o.Abuse = 0
			headers := plain
			if how&4 != 0 {
				headers = enveloped
			}
			d.onEnd = func(k *backend) {
				k.send(out, `{"id":"a"}`)
				k.end(ok, nil)
			}
			d.dial("h1", paths[how&3], headers)
			d.split = split
			d.feed(b)
			d.q.End(nil)
			d.finish()
			return d.body, d.got()
		}
		requests, frames := play(0)
		again, same := play(int(split)%16 + 1)
		if string(requests) != string(again) || !slices.Equal(frames, same) {
			t.Errorf("cut otherwise: %q %q, and %q %q", requests, frames, again, same)
		}
	})
}
