package grpc

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	wire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/rpc"
)

func TestMatch(t *testing.T) {
	for ct, want := range map[string]string{
		"application/grpc": "grpc", "application/grpc+proto": "grpc proto", "application/grpc+json": "grpc json",
		"Application/GRPC+Proto": "grpc proto", "application/grpc;charset=utf-8": "grpc", "application/grpc+proto ; a=b": "grpc proto",
		"application/grpc-web": "grpc-web", "application/grpc-web+proto": "grpc-web proto", "application/grpc-web-text": "grpc-web-text",
		"application/grpc-web-text+proto; charset=UTF-8": "grpc-web-text proto",
		"": "", "application/json": "", "application/grpcx": "", "application/grpc+": "", "application/grpc-webx": "", "application/grp": "",
		"text/application/grpc": "",
	} {
		h := &exchange.RequestHead{Method: "POST", Fields: fields("content-type", ct)}
		got := ""
		if k, ok := parseType(ct); ok {
			got = strings.TrimSpace(k.protocol() + " " + k.codec)
		}
		if got != want || Match(h) != (want != "") {
			t.Errorf("%q: got %q and %v, want %q", ct, got, Match(h), want)
		}
	}
	for _, h := range []exchange.RequestHead{{Method: "GET"}, {Method: "PUT"}, {Method: "OPTIONS"}, {Method: "CONNECT", Protocol: "websocket"}, {Method: "POST", Protocol: "x"}} {
		if h.Fields = typed; Match(&h) {
			t.Errorf("%s %s is gRPC", h.Method, h.Protocol)
		}
	}
}

func TestServerHead(t *testing.T) {
	f := append(fields("content-type", "application/grpc+json", "te", "trailers", "grpc-encoding", "gzip", "grpc-accept-encoding", "gzip, identity",
		"user-agent", "x/1", "b", "1", "grpc-timeout", "3S", "a-bin", "AQ==, AgM", "connection", "close", "host", "h", "origin", "o",
		"content-length", "5", ":path", "/x", "grpc-status", "0", "connect-timeout-ms", "1", "trailer-x", "1", "b", "2,3", "a-bin", "",
		"grpc-trace-bin", "AA"), exchange.Field{Name: "authorization", Value: "s", Sensitive: true})
	fr := serve(Options{}, &callee{}, f...)
	c := fr.call
	if got, want := mdString(c.Metadata), "b: 1\na-bin: AQ\na-bin: AgM\nb: 2,3\na-bin: \ngrpc-trace-bin: AA\nauthorization: s\n"; got != want {
		t.Errorf("metadata\n%swant\n%s", got, want)
	}
	if !c.Metadata[len(c.Metadata)-1].Sensitive {
		t.Error("a sensitive field is no longer one")
	}
	if c.Method != "/s.S/M" || c.Codec != "json" || c.Encoding != "gzip" || c.UserAgent != "x/1" || c.Authority != "a.test" ||
		c.Protocol != "grpc" || c.Carrier != "h2" || !c.Deadline.Equal(epoch.Add(3*time.Second)) || !c.Received.Equal(epoch) ||
		strings.Join(c.AcceptEncodings, "|") != "gzip|identity" {
		t.Errorf("call %+v", c)
	}
	fr.check(t)
}

// TestServerTimeout: each unit, and what is none. A deadline is kept, and enforced by
// others.
func TestServerTimeout(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"1H": time.Hour, "2M": 2 * time.Minute, "3S": 3 * time.Second, "4m": 4 * time.Millisecond, "5u": 5 * time.Microsecond, "6n": 6,
		"9H": 9 * time.Hour, "0S": 0, "99999999S": 99999999 * time.Second,
		"99999999H": -1, // no deadline
	} {
		fr := serve(Options{}, &callee{}, append(typed, fields("grpc-timeout", in)...)...)
		if fr.call == nil {
			t.Errorf("%q is refused", in)
			continue
		}
		if d := fr.call.Deadline; want < 0 && !d.IsZero() || want >= 0 && !d.Equal(epoch.Add(want)) {
			t.Errorf("%q: deadline %v", in, d)
		}
	}
	for _, in := range []string{"", "S", "1", "-1S", "123456789S", "1s", "1.5S", " 1S", "1 S", "+1S", "0x1S"} {
		fr := serve(Options{}, &callee{}, append(typed, fields("grpc-timeout", in)...)...)
		fr.req.Data([]byte("dropped"))
		fr.req.End(nil)
		fr.req.Reset(exchange.Cancel)
		fr.req.Done(true)
		a := fr.answer.Answer()
		if fr.call != nil || !a.Ended || a.Status != 200 || a.Get("grpc-status") != "13" || a.Credit != 7 {
			t.Errorf("%q: started %v, answer %+v", in, fr.call != nil, a)
		}
		fr.check(t)
	}
}

// TestServerRequest holds requests, good and bad, and how they end.
func TestServerRequest(t *testing.T) {
	gzip := append(typed[:1:1], fields("grpc-encoding", "gzip")...)
	identity := append(typed[:1:1], fields("grpc-encoding", "identity")...)
	big := strings.Repeat("x", limit+1)
	for name, test := range map[string]struct {
		head   []exchange.Field
		schema bool // the method is unary
		body   string
		code   rpc.Code // OK: the request ends well
		says   string
		passed int // bytes that reach the backend if the body comes whole; 0 is all, -1 none
	}{
		"no message":                     {head: typed},
		"messages":                       {head: typed, body: msg(0, "a") + msg(0, "") + msg(0, "b")},
		"compressed passes untouched":    {head: gzip, body: msg(1, "no gzip") + msg(0, "plain")},
		"compressed without encoding":    {head: typed, body: msg(1, "zz"), code: rpc.Internal, says: "grpc-encoding", passed: -1},
		"compressed with identity":       {head: identity, body: msg(1, "zz"), code: rpc.Internal, says: "grpc-encoding", passed: -1},
		"plain with identity":            {head: identity, body: msg(0, "zz")},
		"unknown flags":                  {head: gzip, body: msg(0, "a") + msg(4, ""), code: rpc.Internal, says: "0x04", passed: 6},
		"trailer frame in a request":     {head: gzip, body: msg(0, "a") + msg(0x80, "a: b\r\n"), code: rpc.Internal, says: "0x80", passed: 6},
		"compressed trailer frame":       {head: gzip, body: msg(0x81, ""), code: rpc.Internal, says: "0x81", passed: -1},
		"at the limit":                   {head: typed, body: msg(0, big[1:])},
		"above the limit":                {head: typed, body: msg(0, big), code: rpc.ResourceExhausted, says: "1001 bytes", passed: -1},
		"five bytes that announce 4 GiB": {head: typed, body: "\x00\xff\xff\xff\xff", code: rpc.ResourceExhausted, says: "4294967295", passed: -1},
		"truncated prefix":               {head: typed, body: "\x00\x00", code: rpc.Internal, says: "inside of a message"},
		"truncated message":              {head: typed, body: msg(0, "hello")[:8], code: rpc.Internal, says: "inside of a message"},
		"unary: one":                     {head: typed, schema: true, body: msg(0, "a")},
		"unary: none":                    {head: typed, schema: true, code: rpc.Unimplemented, says: "sent none"},
		"unary: two":                     {head: typed, schema: true, body: msg(0, "a") + msg(0, "b"), code: rpc.Unimplemented, says: "sent more", passed: 6},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{}
			if test.schema {
				o.Lookup = lookup
			}
			fr := serve(o, &callee{}, test.head...)
			if test.body != "" {
				fr.req.Data([]byte(test.body))
			}
			fr.req.End(nil)
			want := test.body
			if test.passed < 0 {
				want = ""
			} else if test.passed > 0 {
				want = want[:test.passed]
			}
			if string(fr.data) != want {
				t.Errorf("the backend got %q, want %q", fr.data, want)
			}
			a := fr.answer.Answer()
			if a.Credit != len(test.body) {
				t.Errorf("%d bytes credited of %d", a.Credit, len(test.body))
			}
			if test.code == rpc.OK {
				if !fr.ended || len(fr.canceled) != 0 || a.Final() {
					t.Errorf("ended %v, canceled %v", fr.ended, fr.canceled)
				}
			} else {
				if fr.ended || len(fr.canceled) != 1 || fr.canceled[0].Code != test.code || !strings.Contains(fr.canceled[0].Message, test.says) {
					t.Errorf("ended %v, canceled %v", fr.ended, fr.canceled)
				}
				if a.Status != 200 || !a.Ended || a.Get("grpc-status") != wire.FormatCode(test.code) {
					t.Errorf("answer %+v", a)
				}
				fr.req.Done(true)
				if len(fr.outcomes) != 1 || fr.outcomes[0].Status.Code != test.code || !fr.outcomes[0].Delivered {
					t.Errorf("outcomes %v", fr.outcomes)
				}
			}
			fr.check(t)
		})
	}
}

func TestServerResponse(t *testing.T) {
	fr := serve(Options{}, &callee{}, fields("content-type", "application/grpc+proto")...)
	fr.response.Head(&rpc.Head{Encoding: "gzip", AcceptEncodings: []string{"gzip", "zstd"}, Metadata: rpc.Metadata{
		{Key: "b", Value: "1"}, {Key: "a-bin", Value: "AQ"}, {Key: "grpc-status", Value: "0"}, {Key: "content-length", Value: "3"},
		{Key: ":status", Value: "500"}, {Key: "connection", Value: "close"}, {Key: "b", Value: "2"}}})
	a := fr.answer.Answer()
	if got, want := pairs(a.Fields), "content-type: application/grpc+proto\ngrpc-encoding: gzip\ngrpc-accept-encoding: gzip,zstd\nb: 1\na-bin: AQ\nb: 2\n"; a.Status != 200 || got != want {
		t.Fatalf("early head: status %d, got\n%swant\n%s", a.Status, got, want)
	}
	fr.response.Data([]byte(msg(1, "z")))
	fr.response.End(rpc.Status{Code: 17, Message: "50% ☺", Details: []byte{1, 2}}, rpc.Metadata{{Key: "t", Value: "1"}, {Key: "grpc-message", Value: "x"}, {Key: "t", Value: "0"}})
	a = fr.answer.Final(t)
	if got, want := pairs(a.Trailer), "grpc-status: 17\ngrpc-message: 50%25 %E2%98%BA\ngrpc-status-details-bin: AQI\nt: 1\nt: 0\n"; got != want {
		t.Errorf("trailer\n%swant\n%s", got, want)
	}
	if string(a.Body) != msg(1, "z") {
		t.Errorf("body %q", a.Body)
	}
	fr.check(t)
}

// TestServerTrailersOnly: an end without a head is one head with END_STREAM.
func TestServerTrailersOnly(t *testing.T) {
	fr := serve(Options{}, &callee{}, typed...)
	fr.response.End(rpc.Status{Code: rpc.NotFound, Message: "no"}, rpc.Metadata{{Key: "x", Value: "1"}, {Key: "x", Value: "2"}})
	a := fr.answer.Final(t)
	if got, want := pairs(a.Fields), "content-type: application/grpc\ngrpc-status: 5\ngrpc-message: no\nx: 1\nx: 2\n"; a.Status != 200 || got != want || a.Trailer != nil {
		t.Errorf("status %d, got\n%swant\n%s", a.Status, got, want)
	}
	fr.check(t)
}

// TestServerEarlyEnd: a status before the client has finished reaches it whole; what it
// sends afterwards goes to the backend, which drops and credits it.
func TestServerEarlyEnd(t *testing.T) {
	fr := serve(Options{}, &callee{}, typed...)
	fr.req.Data([]byte(msg(0, "a")))
	fr.callee.end(rpc.Status{Code: rpc.ResourceExhausted}, nil)
	fr.req.Data([]byte(msg(0, "b")))
	fr.req.Done(true)
	a := fr.answer.Final(t)
	if a.Get("grpc-status") != "8" || a.Credit != 12 || len(fr.canceled) != 0 || len(fr.outcomes) != 1 {
		t.Errorf("answer %+v, canceled %v, outcomes %v", a, fr.canceled, fr.outcomes)
	}
	fr.check(t)
}

// TestServerClientGone: a client that disappears is one Cancel and one Done, with what
// it would have got.
func TestServerClientGone(t *testing.T) {
	for code, want := range map[exchange.Code]rpc.Code{
		exchange.Cancel: rpc.Canceled, exchange.NoError: rpc.Canceled, exchange.Disconnected: rpc.Canceled,
		exchange.ProtocolError: rpc.Canceled, exchange.EnhanceYourCalm: rpc.ResourceExhausted,
	} {
		for name, before := range map[string]func(*front){
			"at once":       func(*front) {},
			"after head":    func(f *front) { f.response.Head(&rpc.Head{}) },
			"after data":    func(f *front) { f.response.Head(&rpc.Head{}); f.response.Data([]byte(msg(0, "a"))) },
			"in a message":  func(f *front) { f.response.Head(&rpc.Head{}); f.response.Data([]byte(msg(0, "a")[:3])) },
			"half-closed":   func(f *front) { f.req.End(nil) },
			"inside upload": func(f *front) { f.req.Data([]byte{0, 0}) },
		} {
			for _, ct := range []string{"application/grpc", "application/grpc-web", "application/grpc-web-text"} {
				fr := serve(Options{}, &callee{}, fields("content-type", ct)...)
				before(fr)
				if ct == "application/grpc-web-text" && name == "inside upload" {
					continue // these bytes are no text
				}
				fr.req.Reset(code)
				fr.req.Done(false)
				if len(fr.canceled) != 1 || fr.canceled[0].Code != want || len(fr.outcomes) != 1 || fr.outcomes[0].Status.Code != want || fr.outcomes[0].Delivered {
					t.Errorf("%s, %v, %s: canceled %v, outcomes %v", ct, code, name, fr.canceled, fr.outcomes)
				}
				if a := fr.answer.Answer(); !a.Final() {
					t.Errorf("%s, %v, %s: no end", ct, code, name)
				}
				fr.check(t)
			}
		}
	}
}

// TestServerCredit: credits pass one to one both ways, and only for what was taken.
func TestServerCredit(t *testing.T) {
	fr := serve(Options{}, &callee{hold: true}, typed...)
	fr.req.Data([]byte(msg(0, "abc")))
	if a := fr.answer.Answer(); a.Credit != 0 {
		t.Errorf("%d bytes credited that nobody took", a.Credit)
	}
	fr.response.Credit(3)
	fr.response.Credit(5)
	fr.response.Head(&rpc.Head{})
	fr.response.Data([]byte(msg(0, "abc")))
	fr.req.Credit(1)
	fr.req.Credit(7)
	if a := fr.answer.Answer(); a.Credit != 8 || fr.credit != 8 {
		t.Errorf("request %d, response %d, want 8", a.Credit, fr.credit)
	}
	fr.check(t)
}

func TestServerQueryIsNoPath(t *testing.T) {
	b := &callee{}
	NewServer(b, Options{}).Start(&exchange.RequestHead{Method: "POST", Path: "/s.S/M?x=1", Fields: typed}, nil)
	if b.call.Method != "/s.S/M" {
		t.Error(b.call.Method)
	}
}

// TestAnnounceAllocatesNothing: five bytes that announce as much as the limit allows cost
// no memory in either direction.
func TestAnnounceAllocatesNothing(t *testing.T) {
	const huge = 1 << 30
	announce := []byte{0, 0x3f, 0xff, 0xff, 0xff}
	fr := serve(Options{MaxMessage: huge}, &callee{}, typed...)
	b := call(t, ClientOptions{MaxMessage: huge}, &rpc.Call{})
	b.q.Answer(200, typed...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fr.req.Data(announce)
	b.q.Send(announce)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes allocated", n)
	}
	if len(fr.data) != 5 || len(b.data) != 5 || len(fr.canceled) != 0 || len(b.ends) != 0 {
		t.Error("an announced message that is allowed did not pass")
	}
}
