package connect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	wire "github.com/sluice-rpc/sluice/internal/wire/connect"
	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// connectError is the JSON of an error.
type connectError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Details []struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	} `json:"details"`
}

func readError(t testing.TB, b []byte) (e connectError) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields() // "no other top-level keys"
	if err := d.Decode(&e); err != nil {
		t.Fatalf("the error %q: %v", b, err)
	}
	return e
}

// TestUnary: a body becomes one message and the one message of the answer a body,
// whatever is known of its length and however it is cut.
func TestUnary(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789"), maxMessage/10)
	for name, body := range map[string][]byte{"some": []byte("hello"), "empty": nil, "at the limit": large} {
		for _, known := range []bool{true, false} {
			for _, step := range []int{1, 3, maxMessage} {
				t.Run(fmt.Sprintf("%s/known=%v/step=%d", name, known, step), func(t *testing.T) {
					length := -1
					if known {
						length = len(body)
					}
					r := newTrial(t)
					r.onEnd = func(b *backend) {
						b.head("", rpc.Field{Key: "x-a", Value: "1"}, rpc.Field{Key: "x-b-bin", Value: "AQ"}, rpc.Field{Key: "x-a", Value: "2"})
						msg := env(0, body)
						for i := 0; i < len(msg); i += step {
							b.send(msg[i:min(i+step, len(msg))])
						}
						b.end(rpc.Status{}, rpc.Metadata{{Key: "x-t", Value: "3"}, {Key: "x-t", Value: "4"}})
					}
					r.start(post(unaryMethod, length, "x-c", "5", "user-agent", "me", "connect-protocol-version", "1"))
					for i := 0; i < len(body); i += step {
						r.give(body[i:min(i+step, len(body))])
					}
					r.q.End(nil)
					a := r.finish(true)
					if want := env(0, body); !bytes.Equal(r.body, want) {
						t.Errorf("the backend got %x, want %x", r.body, want)
					}
					if a.Status != 200 || a.Get("content-type") != unaryProto || !bytes.Equal(a.Body, body) {
						t.Errorf("got %d %q %q", a.Status, a.Get("content-type"), a.Body)
					}
					if a.Get("content-length") != strconv.Itoa(len(body)) {
						t.Errorf("content-length %q", a.Get("content-length"))
					}
					if a.Get("vary") != "Accept-Encoding" {
						t.Errorf("vary %q", a.Get("vary"))
					}
					if len(a.Trailer) > 0 {
						t.Error("HTTP trailers") // "HTTP trailers never"
					}
					if got := fmt.Sprint(application(a.Fields)); got != "[x-a:1 x-b-bin:AQ x-a:2 trailer-x-t:3 trailer-x-t:4]" {
						t.Errorf("fields %s", got)
					}
					if c := r.call; c.Method != unaryMethod || c.Protocol != "connect" || c.Codec != "proto" || c.UserAgent != "me" ||
						c.Authority != "a.example" || c.Carrier != "h2" || !c.Received.Equal(now) || !c.Deadline.IsZero() || c.Encoding != "" ||
						len(c.AcceptEncodings) != 0 || fmt.Sprint(c.Metadata) != "[{x-c 5 false}]" {
						t.Errorf("call %+v", c)
					}
					if n := r.call.Stats.RequestMessages.Load(); n != 1 {
						t.Errorf("%d request messages were counted", n)
					}
					if n := r.call.Stats.RequestBytes.Load(); n != int64(len(body)+5) {
						t.Errorf("%d request bytes were counted", n)
					}
				})
			}
		}
	}
}

// application returns the fields that aren't Connect's own.
func application(fields []exchange.Field) (out []string) {
	for _, f := range fields {
		if strings.HasPrefix(f.Name, "x-") || strings.HasPrefix(f.Name, "trailer-") {
			out = append(out, f.Name+":"+f.Value)
		}
	}
	return out
}

// TestCodes: each code has its name and its HTTP status ("Error Codes"; older tables
// say 408, 404 and 412 for some), and codes of nobody are unknown.
func TestCodes(t *testing.T) {
	for code, want := range map[rpc.Code]struct {
		http int
		name string
	}{
		1: {499, "canceled"}, 2: {500, "unknown"}, 3: {400, "invalid_argument"}, 4: {504, "deadline_exceeded"},
		5: {404, "not_found"}, 6: {409, "already_exists"}, 7: {403, "permission_denied"}, 8: {429, "resource_exhausted"},
		9: {400, "failed_precondition"}, 10: {409, "aborted"}, 11: {400, "out_of_range"}, 12: {501, "unimplemented"},
		13: {500, "internal"}, 14: {503, "unavailable"}, 15: {500, "data_loss"}, 16: {401, "unauthenticated"},
		17: {500, "unknown"}, 1 << 31: {500, "unknown"},
	} {
		r := newTrial(t)
		r.onEnd = func(b *backend) {
			b.head("", rpc.Field{Key: "x-a", Value: "1"})
			b.end(rpc.Status{Code: code, Message: "why", Remote: true}, rpc.Metadata{{Key: "x-t", Value: "2"}})
		}
		r.start(post(unaryMethod, 0)).q.End(nil)
		a := r.finish(true)
		if e := readError(t, a.Body); a.Status != want.http || e.Code != want.name || e.Message != "why" || a.Get("content-type") != "application/json" {
			t.Errorf("%v: got %d, %q: %+v", code, a.Status, a.Get("content-type"), e)
		}
		if got := fmt.Sprint(application(a.Fields)); got != "[x-a:1 trailer-x-t:2]" {
			t.Errorf("%v: metadata of an error %s", code, got)
		}
		if r.outcome.Status.Code != code {
			t.Errorf("%v: outcome %v", code, r.outcome.Status)
		}
	}
}

// TestUnknownPath: a path that nobody knows is 404; a method that is known and not
// implemented is 501, and so is what the gateway itself does not do.
func TestUnknownPath(t *testing.T) {
	no := rpc.Status{Code: rpc.Unimplemented}
	for name, c := range map[string]struct {
		head *exchange.RequestHead
		want int
	}{
		"unknown path":        {post(unknown, 0), 404},
		"known method":        {post(unaryMethod, 0), 501},
		"unknown compression": {post(unknown, 0, "content-encoding", "lzw"), 501},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTrial(t)
			r.onEnd = fail(no)
			r.start(c.head).q.End(nil)
			a := r.finish(true)
			if a.Status != c.want || readError(t, a.Body).Code != "unimplemented" {
				t.Errorf("got %d %s", a.Status, a.Body)
			}
		})
	}
}

// TestErrorDetails: types have no URL before them, values are unpadded standard
// base64, and what is absent is left out.
func TestErrorDetails(t *testing.T) {
	detail := func(url string, value ...byte) []byte {
		b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), url)
		b = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), value)
		return protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), b)
	}
	for want, st := range map[string]rpc.Status{
		`{"code":"aborted"}`:                           {Code: rpc.Aborted},
		`{"code":"aborted","message":"\u003cé\u003e"}`: {Code: rpc.Aborted, Message: "<é>"},
		`{"code":"aborted","details":[{"type":"a.B","value":"//79/A"},{"type":"c.D","value":""}]}`: {Code: rpc.Aborted, Details: join(detail("type.googleapis.com/a.B", 0xff, 0xfe, 0xfd, 0xfc), detail("c.D"))},
		`{"code":"aborted","details":[{"type":"a.B","value":"AQ"}]}`:                               {Code: rpc.Aborted, Details: join(detail("x/y/a.B", 1), []byte{3<<3 | 2, 200, 1})},
	} {
		r := newTrial(t)
		r.onEnd = fail(st)
		r.start(post(unaryMethod, 0, "accept-encoding", "gzip")).q.End(nil)
		a := r.finish(true)
		if string(a.Body) != want {
			t.Errorf("got %s, want %s", a.Body, want)
		}
		if a.Get("content-encoding") != "" {
			t.Error("an error with content-encoding")
		}
	}
}

// TestTimeout: at most ten digits of milliseconds; 0 has expired already.
func TestTimeout(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"0": 0, "1": time.Millisecond, "0000000005": 5 * time.Millisecond, "9999999999": 9999999999 * time.Millisecond,
	} {
		for _, head := range []*exchange.RequestHead{post(unaryMethod, 0), streamed(bidiMethod)} {
			r := newTrial(t)
			r.onEnd = reply("", env(0, nil))
			r.start(with(head, "connect-timeout-ms", value)).q.End(nil)
			r.finish(true)
			if got := r.call.Deadline.Sub(now); r.call.Deadline.IsZero() || got != want {
				t.Errorf("%q: %v", value, got)
			}
		}
	}
}

// TestRefusedHead: heads that end the call at once, with what is wrong in the words.
func TestRefusedHead(t *testing.T) {
	for name, c := range map[string]struct {
		fields []string
		unary  bool
		code   string
		words  string
	}{
		"timeout negative":       {fields: []string{"connect-timeout-ms", "-1"}, code: "invalid_argument", words: "-1"},
		"timeout signed":         {fields: []string{"connect-timeout-ms", "+1"}, code: "invalid_argument", words: "+1"},
		"timeout of 11 digits":   {fields: []string{"connect-timeout-ms", "10000000000"}, code: "invalid_argument", words: "ten digits"},
		"timeout of letters":     {fields: []string{"connect-timeout-ms", "1S"}, code: "invalid_argument", words: "1S"},
		"timeout as a fraction":  {fields: []string{"connect-timeout-ms", "1.5"}, code: "invalid_argument", words: "1.5"},
		"timeout huge":           {fields: []string{"connect-timeout-ms", strings.Repeat("9", 30)}, code: "invalid_argument"},
		"protocol version 2":     {fields: []string{"connect-protocol-version", "2"}, code: "invalid_argument", words: "version 1"},
		"unknown compression":    {fields: []string{"content-encoding", "lzw"}, unary: true, code: "unimplemented", words: "gzip, zstd, br, deflate, snappy"},
		"content-length too big": {unary: true, code: "resource_exhausted", words: "limits.message_bytes"},
		"unknown stream compression": {
			fields: []string{"connect-content-encoding", "lzw"}, code: "unimplemented", words: "gzip, zstd, br, deflate, snappy",
		},
	} {
		if strings.HasPrefix(name, "unknown stream") {
			c.unary = false
		} else {
			t.Run(name+"/unary", func(t *testing.T) {
				length := 3
				if name == "content-length too big" {
					length = maxMessage + 1
				}
				r := newTrial(t)
				r.start(post(unaryMethod, length, c.fields...)).give([]byte("abc")).q.End(nil)
				a := r.finish(true)
				e := readError(t, a.Body)
				if e.Code != c.code || !strings.Contains(e.Message, c.words) || a.Status == 200 {
					t.Errorf("got %d %+v", a.Status, e)
				}
				if r.call != nil {
					t.Error("the call was started")
				}
			})
		}
		if !c.unary {
			t.Run(name+"/stream", func(t *testing.T) {
				r := newTrial(t)
				r.start(streamed(bidiMethod, c.fields...)).give(env(0, []byte("abc"))).q.End(nil)
				a := r.finish(true)
				msgs, end := readStream(t, a.Body)
				if a.Status != 200 || len(msgs) != 0 || end.Error == nil || end.Error.Code != c.code || !strings.Contains(end.Error.Message, c.words) {
					t.Errorf("got %d %s", a.Status, a.Body)
				}
				if r.call != nil {
					t.Error("the call was started")
				}
			})
		}
	}
}

// TestPlainCurl: neither version nor accept headers are needed, and content types have
// parameters in any case and spacing.
func TestPlainCurl(t *testing.T) {
	for _, ct := range []string{"application/proto", "application/proto; charset=utf-8", "Application/Proto;Charset=UTF-8", "application/proto ;"} {
		h := post(unaryMethod, 1)
		h.Fields[0].Value = ct
		r := newTrial(t)
		r.onEnd = reply("", env(0, []byte("x")))
		r.start(h).give([]byte("a")).q.End(nil)
		if a := r.finish(true); a.Status != 200 || string(a.Body) != "x" {
			t.Errorf("%q: %d %q", ct, a.Status, a.Body)
		}
	}
}

// TestForm: what an exchange looks like.
func TestForm(t *testing.T) {
	contentType := func(s string) []exchange.Field { return []exchange.Field{{Name: "content-type", Value: s}} }
	for _, c := range []struct {
		head exchange.RequestHead
		want Form
	}{
		{exchange.RequestHead{Method: "POST", Fields: contentType("application/proto")}, Proto},
		{exchange.RequestHead{Method: "POST", Fields: contentType("application/json")}, JSON},
		{exchange.RequestHead{Method: "POST", Fields: contentType("Application/JSON; charset=utf-8")}, JSON},
		{exchange.RequestHead{Method: "POST", Fields: contentType("application/connect+json;x")}, Stream},
		{exchange.RequestHead{Method: "POST", Fields: contentType("application/connect+xml")}, Stream},
		{exchange.RequestHead{Method: "GET", Path: "/a/B?encoding=json&message="}, Get},
		{exchange.RequestHead{Method: "GET", Path: "/a/B?message=&connect=v1&encoding=json"}, GetV1},
		{exchange.RequestHead{Method: "GET", Path: "/a/B?message=&connect=v2&encoding=json"}, Get},
	} {
		if got := FormOf(&c.head); got != c.want {
			t.Errorf("%+v: got %d, want %d", c.head, got, c.want)
		}
	}
}

// TestNone: what is for others.
func TestNone(t *testing.T) {
	for _, h := range []*exchange.RequestHead{
		{Method: "POST", Path: "/a/B"},
		{Method: "POST", Path: "/a/B", Fields: []exchange.Field{{Name: "content-type", Value: "application/grpc"}}},
		{Method: "POST", Path: "/a/B", Fields: []exchange.Field{{Name: "content-type", Value: "application/proton"}}},
		{Method: "POST", Path: "/a/B?connect=v1"},
		{Method: "PUT", Path: "/a/B", Fields: []exchange.Field{{Name: "content-type", Value: unaryProto}}},
		{Method: "HEAD", Path: "/a/B?connect=v1&encoding=proto&message="}, // of a GET: no call is worth a head
		{Method: "GET", Path: "/a/B"},
		{Method: "GET", Path: "/connect/v1?message=1"},
	} {
		if FormOf(h) != None {
			t.Errorf("%s %s %v was taken", h.Method, h.Path, h.Fields)
		}
	}
}

// TestBodyLength: a body that isn't as long as its content-length says.
func TestBodyLength(t *testing.T) {
	for name, c := range map[string]struct {
		length int
		pieces []string
	}{
		"shorter":         {5, []string{"abc"}},
		"nothing":         {5, nil},
		"longer":          {2, []string{"abc"}},
		"longer, later":   {2, []string{"ab", "c", "d"}},
		"longer than 0":   {0, []string{"abc"}},
		"as long, so far": {3, []string{"ab", "cd"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTrial(t)
			r.onEnd = reply("", env(0, nil))
			r.start(post(unaryMethod, c.length))
			for _, p := range c.pieces {
				r.give([]byte(p))
			}
			r.q.End(nil)
			a := r.finish(true)
			if a.Status != 400 || readError(t, a.Body).Code != "invalid_argument" {
				t.Errorf("got %d %s", a.Status, a.Body)
			}
			if r.ended || len(r.body) > 5+c.length {
				t.Errorf("the backend got %q, end %v", r.body, r.ended)
			}
		})
	}
}

// TestUnaryTooLarge: equal to the limit is allowed (TestUnary), one more is not, and
// nothing is kept of it.
func TestUnaryTooLarge(t *testing.T) {
	r := newTrial(t)
	r.start(post(unaryMethod, -1))
	for range maxMessage + 1 {
		r.give([]byte("x"))
	}
	r.give([]byte("more")).q.End(nil)
	a := r.finish(true)
	if a.Status != 429 || readError(t, a.Body).Code != "resource_exhausted" || r.mem.peak > maxMessage {
		t.Errorf("got %d %s, %d bytes were kept", a.Status, a.Body, r.mem.peak)
	}
}

// TestUnaryMemory: a message that has to be kept needs memory, in both directions, and
// without it the call ends; what comes afterwards changes nothing.
func TestUnaryMemory(t *testing.T) {
	for _, known := range []bool{true, false} {
		r := newTrial(t)
		r.mem.limit = 10
		r.onCancel = func(*backend) {} // the end of the canceled call takes its time
		r.onEnd = func(b *backend) {
			b.head("")
			for _, c := range env(0, bytes.Repeat([]byte("y"), 20)) {
				// Beside the cancel, as the backend's goroutine may come first.
				b.sent++
				b.response.Data([]byte{c})
			}
			b.end(rpc.Status{}, nil)
		}
		length := -1
		if known {
			length = 20
		}
		r.start(post(unaryMethod, length))
		for range 20 {
			r.give([]byte("x"))
		}
		r.q.End(nil)
		if !r.over {
			r.backend.end(rpc.Status{}, nil)
		}
		a := r.finish(true)
		if a.Status != 429 || !strings.Contains(readError(t, a.Body).Message, "limits.buffer_bytes") {
			t.Errorf("known=%v: got %d %s", known, a.Status, a.Body)
		}
		if len(r.cancels) != 1 {
			t.Errorf("known=%v: canceled %v", known, r.cancels)
		}
	}
}

// TestUnaryAnswer: answers that aren't one whole message.
func TestUnaryAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		encoding string
		answer   []byte
		http     int
		code     string
	}{
		"none":                        {"", nil, 501, "unimplemented"},
		"two":                         {"", join(env(0, []byte("a")), env(0, []byte("b"))), 501, "unimplemented"},
		"too large":                   {"", env(0, make([]byte, maxMessage+1)), 429, "resource_exhausted"},
		"too large is announced":      {"", []byte{0, 0xff, 0xff, 0xff, 0xff}, 429, "resource_exhausted"},
		"without end":                 {"", bytes.Repeat(env(0, make([]byte, maxMessage/2)), 100), 501, "unimplemented"},
		"inside of the prefix":        {"", []byte{0, 0, 0}, 500, "internal"},
		"inside of the message":       {"", env(0, []byte("abc"))[:7], 500, "internal"},
		"unknown flags":               {"", env(4, []byte("abc")), 500, "internal"},
		"an end-stream":               {"", env(wire.EndStream, []byte("{}")), 500, "internal"},
		"compressed without encoding": {"", env(1, []byte("abc")), 500, "internal"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, step := range []int{1, 1 << 20} {
				r := newTrial(t)
				r.onEnd = func(b *backend) {
					b.head(c.encoding)
					for i := 0; i < len(c.answer); i += step {
						b.send(c.answer[i:min(i+step, len(c.answer))])
					}
					b.end(rpc.Status{}, nil)
				}
				r.start(post(unaryMethod, 0)).q.End(nil)
				a := r.finish(true)
				if a.Status != c.http || readError(t, a.Body).Code != c.code {
					t.Errorf("got %d %s", a.Status, a.Body)
				}
				if r.outcome.Status.OK() {
					t.Error("the outcome is OK")
				}
				if step == 1 && r.mem.peak > maxMessage+10 {
					t.Errorf("%d bytes were kept", r.mem.peak)
				}
			}
		})
	}
}

// TestUnaryAnswerLate: an end that has overtaken the cancel makes no answer of what is
// broken.
func TestUnaryAnswerLate(t *testing.T) {
	r := newTrial(t)
	r.onCancel = func(*backend) {}
	r.onEnd = func(b *backend) {
		b.head("")
		for _, p := range [][]byte{env(0, []byte("abc")), env(0, []byte("def"))} {
			b.sent += len(p)
			b.response.Data(p)
		}
		b.over = true
		b.response.End(rpc.Status{}, nil)
	}
	r.start(post(unaryMethod, 0)).q.End(nil)
	a := r.finish(true)
	if a.Status != 501 || r.outcome.Status.Code != rpc.Unimplemented || len(r.cancels) != 1 {
		t.Errorf("got %d %s, canceled %v", a.Status, a.Body, r.cancels)
	}
}

// TestUnaryReset: a client that disappears cancels the call, whenever it does.
func TestUnaryReset(t *testing.T) {
	for code, want := range map[exchange.Code]rpc.Code{
		exchange.Cancel: rpc.Canceled, exchange.Disconnected: rpc.Canceled, exchange.EnhanceYourCalm: rpc.ResourceExhausted,
	} {
		for name, before := range map[string]func(*trial){
			"at once":             func(*trial) {},
			"inside of the body":  func(r *trial) { r.give([]byte("ab")) },
			"after the request":   func(r *trial) { r.give([]byte("abc")).q.End(nil) },
			"inside of an answer": func(r *trial) { r.give([]byte("abc")).q.End(nil); r.head(""); r.send([]byte{0, 0, 0, 0, 9, 1}) },
		} {
			for _, length := range []int{3, -1} {
				t.Run(fmt.Sprintf("%v/%s/%d", code, name, length), func(t *testing.T) {
					r := newTrial(t)
					r.start(post(unaryMethod, length))
					before(r)
					r.q.Reset(code)
					a := r.finish(false)
					if len(r.cancels) != 1 || r.cancels[0].Code != want || r.outcome.Status.Code != want {
						t.Errorf("canceled %v, outcome %v", r.cancels, r.outcome)
					}
					if a.Status == 200 {
						t.Error("the answer is OK")
					}
				})
			}
		}
	}
}

// TestUnaryOutcome: a reset after the end of the answer changes nothing of it.
func TestUnaryOutcome(t *testing.T) {
	r := newTrial(t)
	r.onEnd = reply("", env(0, []byte("x")))
	r.start(post(unaryMethod, -1)).give([]byte("a")).q.End(nil)
	r.q.Reset(exchange.Disconnected)
	if a := r.finish(false); a.Status != 200 || !r.outcome.Status.OK() {
		t.Errorf("got %d, outcome %v", a.Status, r.outcome)
	}
}

// TestEarlyAnswer: a backend may answer before the request has ended.
func TestEarlyAnswer(t *testing.T) {
	for _, length := range []int{3, -1} {
		r := newTrial(t)
		r.start(post(unaryMethod, length)).give([]byte("ab"))
		r.backend.end(rpc.Status{Code: rpc.PermissionDenied}, nil)
		a := r.finish(true)
		if a.Status != 403 {
			t.Errorf("got %d %s", a.Status, a.Body)
		}
	}
}

// TestMetadata: names that a protocol reserves reach nobody's metadata, and binary
// values are unpadded, each on its own; others stay whole.
func TestMetadata(t *testing.T) {
	r := newTrial(t)
	r.onEnd = func(b *backend) {
		b.head("", rpc.Field{Key: "content-length", Value: "7"}, rpc.Field{Key: "trailer-x", Value: "7"}, rpc.Field{Key: "x-ok", Value: "1"})
		b.send(env(0, []byte("x")))
		b.end(rpc.Status{}, rpc.Metadata{{Key: "content-type", Value: "text/html"}, {Key: "x-t-bin", Value: "AQI"}})
	}
	r.start(post(unaryMethod, 0, "te", "trailers", "connect-timeout-ms", "5", "trailer-a", "1", "grpc-status", "0", "origin", "http://x",
		"x-bin", "AQ==, AgM=", "x-list", "a, b", "authorization", "Bearer t")).q.End(nil)
	a := r.finish(true)
	if got := fmt.Sprint(r.call.Metadata); got != "[{x-bin AQ false} {x-bin AgM false} {x-list a, b false} {authorization Bearer t false}]" {
		t.Errorf("request metadata %s", got)
	}
	if got := fmt.Sprint(application(a.Fields)); got != "[x-ok:1 trailer-x-t-bin:AQI]" || a.Get("content-length") != "1" || a.Get("content-type") != unaryProto {
		t.Errorf("response metadata %s", got)
	}
}

// TestUnaryReserveIsCounted: the trial itself can fail.
func TestUnaryReserveIsCounted(t *testing.T) {
	r := newTrial(t)
	r.start(post(unaryMethod, -1)).give([]byte("abc"))
	if r.mem.held != 3 {
		t.Errorf("%d bytes are reserved for a body of 3", r.mem.held)
	}
	r.onEnd = reply("", env(0, nil))
	r.q.End(nil)
	r.finish(true)
}

// TestRequestCredit: what a backend takes is what the client is credited, byte by byte,
// and never the prefix that the gateway wrote.
func TestRequestCredit(t *testing.T) {
	body := []byte("some body")
	r := newTrial(t)
	r.backend.noCredit = true
	r.start(post(unaryMethod, len(body))).give(body).q.End(nil)
	if n := r.client.Answer().Credit; n != 0 {
		t.Errorf("%d bytes were credited that nobody took", n)
	}
	for i := range 5 + len(body) {
		r.response.Credit(1)
		if n := r.client.Answer().Credit; n != max(0, i+1-5) {
			t.Errorf("%d bytes were credited of %d taken", n, i+1)
		}
	}
	r.backend.end(rpc.Status{Code: rpc.Aborted}, nil)
	r.finish(true)
}

// TestDefaults: without a clock, descriptors or a bound of memory the binary forms
// work; what needs a descriptor is refused with what is missing.
func TestDefaults(t *testing.T) {
	for _, h := range []*exchange.RequestHead{post(unaryMethod, -1), streamed(bidiMethod), get(getMethod, "connect=v1&encoding=proto&message=")} {
		b := &backend{t: t, onEnd: reply("", env(0, []byte("x")))}
		r := exchangetest.NewResponse()
		q := NewServer(b, Options{MaxMessage: maxMessage}).Start(h, r)
		q.Begin()
		if h.Method == "POST" {
			q.Data(env(0, []byte("abc")))
		}
		q.End(nil)
		q.Credit(1)
		q.Done(true)
		r.Check(t)
		a := r.Answer()
		want := 200
		if h.Method == "GET" {
			want = 405
		} else if d := time.Since(b.call.Received); d < 0 || d > time.Minute {
			t.Errorf("received %v ago", d)
		}
		if a.Status != want || !a.Ended {
			t.Errorf("%s %s: %d %q", h.Method, h.Path, a.Status, a.Body)
		}
	}
}
