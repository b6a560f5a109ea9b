package connect

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	wire "github.com/sluice-rpc/sluice/internal/wire/connect"
	"github.com/sluice-rpc/sluice/rpc"
)

// An ending is the JSON of an end-stream envelope.
type ending struct {
	Error    *connectError       `json:"error"`
	Metadata map[string][]string `json:"metadata"`
}

// readStream cuts a response into its messages, with their prefixes, and its end,
// which is there exactly once, and last.
func readStream(t testing.TB, b []byte) (msgs []string, end ending) {
	t.Helper()
	for len(b) >= 5 {
		n := int(binary.BigEndian.Uint32(b[1:5]))
		if len(b) < 5+n {
			break
		}
		if b[0]&wire.EndStream == 0 {
			msgs = append(msgs, string(b[:5+n]))
			b = b[5+n:]
			continue
		}
		d := json.NewDecoder(strings.NewReader(string(b[5 : 5+n])))
		d.DisallowUnknownFields()
		if b[0] != wire.EndStream || d.Decode(&end) != nil || strings.Contains(string(b[5:5+n]), `"error":null`) {
			t.Fatalf("the end %q", b)
		}
		if len(b) != 5+n {
			t.Fatalf("%q after the end", b[5+n:])
		}
		return msgs, end
	}
	t.Fatalf("no end, but %q", b)
	return nil, end
}

// TestStream: messages pass in both directions as they come, be it by half; the head
// goes at once, and the end is an envelope of its own.
func TestStream(t *testing.T) {
	for _, step := range []int{1, 4, 1000} {
		for _, small := range []bool{false, true} {
			t.Run(fmt.Sprintf("step=%d/small=%v", step, small), func(t *testing.T) {
				r := newTrial(t)
				r.small = small
				r.start(streamed(bidiMethod, "x-c", "1", "connect-protocol-version", "1"))
				if r.client.Answer().Status != 0 {
					t.Error("a head before the backend's")
				}
				r.head("", rpc.Field{Key: "x-a", Value: "1"}, rpc.Field{Key: "x-a", Value: "2"})
				a := r.client.Answer() // "early headers": before any message
				if a.Status != 200 || a.Get("content-type") != streamProto || fmt.Sprint(application(a.Fields)) != "[x-a:1 x-a:2]" {
					t.Errorf("early head %d %v", a.Status, a.Fields)
				}
				if a.Get("content-length") != "" {
					t.Error("a stream with content-length")
				}
				all := join(env(0, []byte("one")), env(0, nil), env(0, bytes.Repeat([]byte("x"), maxMessage)))
				for i := 0; i < len(all); i += step {
					p := all[i:min(i+step, len(all))]
					r.give(p)
					r.send(p)
					if got := r.client.Answer().Body; len(got) != i+len(p) {
						t.Fatalf("%d bytes have left of %d", len(got), i+len(p))
					}
					if len(r.body) != i+len(p) {
						t.Fatalf("%d bytes have come of %d", len(r.body), i+len(p))
					}
				}
				r.q.End(nil)
				if !r.ended {
					t.Error("no half-close")
				}
				r.backend.end(rpc.Status{}, rpc.Metadata{{Key: "x-t", Value: "1"}, {Key: "x-u-bin", Value: "AQ"}, {Key: "x-t", Value: "2"}})
				a = r.finish(true)
				msgs, end := readStream(t, a.Body)
				if strings.Join(msgs, "") != string(all) || !bytes.Equal(r.body, all) || len(msgs) != 3 {
					t.Errorf("messages %q", msgs)
				}
				if end.Error != nil || fmt.Sprint(end.Metadata) != "map[x-t:[1 2] x-u-bin:[AQ]]" || len(a.Trailer) != 0 {
					t.Errorf("end %+v, HTTP trailers %v", end, a.Trailer)
				}
				if n := r.call.Stats.RequestMessages.Load(); n != 3 {
					t.Errorf("%d request messages were counted", n)
				}
				if n := r.call.Stats.RequestBytes.Load(); n != int64(len(all)) {
					t.Errorf("%d request bytes were counted", n)
				}
			})
		}
	}
}

// TestStreamEnd: the status is 200 always, and the end says how the call ended: before
// a head, after it, after messages.
func TestStreamEnd(t *testing.T) {
	for code := rpc.OK; code <= rpc.Codes; code++ {
		for _, stage := range []string{"trailers-only", "after the head", "after a message"} {
			r := newTrial(t)
			r.start(streamed(serverMethod)).give(env(0, nil)).q.End(nil)
			if stage != "trailers-only" {
				r.head("")
			}
			if stage == "after a message" {
				r.send(env(0, []byte("m")))
			}
			st := rpc.Status{Code: code, Remote: true}
			if code != rpc.OK {
				st.Message = "why"
			}
			r.backend.end(st, rpc.Metadata{{Key: "x-t", Value: "1"}})
			a := r.finish(true)
			msgs, end := readStream(t, a.Body)
			if a.Status != 200 || a.Get("content-type") != streamProto || (len(msgs) == 1) != (stage == "after a message") {
				t.Errorf("%v %s: %d %q", code, stage, a.Status, a.Body)
			}
			if fmt.Sprint(end.Metadata) != "map[x-t:[1]]" {
				t.Errorf("%v %s: metadata %v", code, stage, end.Metadata)
			}
			if (end.Error == nil) != (code == rpc.OK) || end.Error != nil && (end.Error.Code != wire.CodeName(code) || end.Error.Message != "why") {
				t.Errorf("%v %s: error %+v", code, stage, end.Error)
			}
			if r.outcome.Status.Code != code {
				t.Errorf("%v %s: outcome %v", code, stage, r.outcome.Status)
			}
		}
	}
}

// TestStreamRequest: requests that break the rules. What came before is the backend's,
// nothing of what is wrong is, and the rest is dropped and credited.
func TestStreamRequest(t *testing.T) {
	good := env(0, []byte("good"))
	for name, c := range map[string]struct {
		method string
		give   []byte
		sound  int
		code   string
		words  string
	}{
		"end-stream of the client":    {bidiMethod, join(good, env(2, []byte("{}"))), 9, "invalid_argument", "end-stream"},
		"end-stream, compressed":      {bidiMethod, join(good, env(3, []byte("{}"))), 9, "invalid_argument", "end-stream"},
		"unknown flags":               {bidiMethod, join(good, env(0x10, []byte("x"))), 9, "invalid_argument", "0x10"},
		"gRPC-Web's trailer flag":     {bidiMethod, join(good, env(0x80, []byte("x"))), 9, "invalid_argument", "0x80"},
		"compressed without encoding": {bidiMethod, join(good, env(1, []byte("x"))), 9, "internal", "connect-content-encoding"},
		"five bytes announce 4 GiB":   {bidiMethod, []byte{0, 0xff, 0xff, 0xff, 0xff}, 0, "resource_exhausted", "4294967295"},
		"one above the limit":         {bidiMethod, join(good, env(0, make([]byte, maxMessage+1))), 9, "resource_exhausted", "limits.message_bytes"},
		"ends inside of a prefix":     {bidiMethod, join(good, []byte{0, 0}), 11, "invalid_argument", "inside"},
		"ends inside of a message":    {bidiMethod, join(good, env(0, []byte("abc"))[:7]), 16, "invalid_argument", "inside"},
		"two to a server stream":      {serverMethod, join(good, good), 9, "unimplemented", "more"},
		"two to a unary method":       {unaryMethod, join(good, good), 9, "unimplemented", "more"},
		"none to a server stream":     {serverMethod, nil, 0, "unimplemented", "none"},
		"none to a unary method":      {unaryMethod, nil, 0, "unimplemented", "none"},
	} {
		for _, step := range []int{1, 1 << 20} {
			t.Run(fmt.Sprintf("%s/step=%d", name, step), func(t *testing.T) {
				for _, late := range []bool{false, true} {
					r := newTrial(t)
					if late {
						r.onCancel = func(*backend) {}
					}
					r.start(streamed(c.method))
					for i := 0; i < len(c.give); i += step {
						r.give(c.give[i:min(i+step, len(c.give))])
					}
					if !strings.HasPrefix(c.words, "inside") && c.words != "none" {
						r.give([]byte("more")) // of a client that doesn't stop
					}
					r.q.End(nil)
					if r.ended {
						t.Error("half-closed")
					}
					r.backend.end(rpc.Status{}, nil)
					a := r.finish(true)
					msgs, end := readStream(t, a.Body)
					if len(msgs) != 0 || end.Error == nil || end.Error.Code != c.code || !strings.Contains(end.Error.Message, c.words) {
						t.Errorf("end %+v", end.Error)
					}
					if sound := r.body; len(sound) < c.sound || len(sound) > c.sound+4 || !bytes.HasPrefix(c.give, sound) {
						t.Errorf("the backend got %q", sound)
					}
					if len(r.cancels) != 1 {
						t.Errorf("canceled %v", r.cancels)
					}
				}
			})
		}
	}
}

// TestStreamWithoutSchema: what needs a descriptor isn't checked without one.
func TestStreamWithoutSchema(t *testing.T) {
	for _, give := range [][]byte{nil, join(env(0, nil), env(0, nil))} {
		r := newTrial(t)
		r.onEnd = reply("")
		h := streamed(unknown)
		h.Carrier = "h1"
		r.start(h).give(give).q.End(nil)
		a := r.finish(true)
		if _, end := readStream(t, a.Body); end.Error != nil || a.Status != 200 {
			t.Errorf("%d messages: %d %+v", len(give)/5, a.Status, end.Error)
		}
	}
}

// TestHTTP1: a bidirectional stream needs more than HTTP/1.1, the others don't.
func TestHTTP1(t *testing.T) {
	for method, want := range map[string]int{bidiMethod: 505, clientMethod: 200, serverMethod: 200, unaryMethod: 200} {
		r := newTrial(t)
		r.onEnd = reply("", env(0, nil))
		h := streamed(method)
		h.Carrier = "h1"
		r.start(h).give(env(0, nil)).q.End(nil)
		if a := r.finish(true); a.Status != want || (r.call != nil) != (want == 200) {
			t.Errorf("%s: %d", method, a.Status)
		}
	}
}

// TestStreamCompressed: the flag is allowed once there is an encoding.
func TestStreamCompressed(t *testing.T) {
	r := newTrial(t)
	r.onEnd = reply("", env(0, nil))
	msgs := join(env(1, pack(t, "gzip", []byte("a"))), env(0, []byte("b")), env(1, nil))
	r.start(streamed(bidiMethod, "connect-content-encoding", "gzip")).give(msgs).q.End(nil)
	if _, end := readStream(t, r.finish(true).Body); end.Error != nil || !bytes.Equal(r.body, msgs) || r.call.Encoding != "gzip" {
		t.Errorf("end %+v, the backend got %q", end.Error, r.body)
	}
}

// TestStreamBroken: an end inside of a message can't be said, so the exchange is reset,
// with a code for the status; it is never a clean end.
func TestStreamBroken(t *testing.T) {
	for code, want := range map[rpc.Code]exchange.Code{
		rpc.OK: exchange.InternalError, rpc.Internal: exchange.InternalError, rpc.Unavailable: exchange.InternalError,
		rpc.Canceled: exchange.Cancel, rpc.DeadlineExceeded: exchange.Cancel, rpc.ResourceExhausted: exchange.EnhanceYourCalm,
		rpc.PermissionDenied: exchange.InadequateSecurity,
	} {
		for n := 1; n < 8; n++ {
			r := newTrial(t)
			r.start(streamed(serverMethod)).give(env(0, nil)).q.End(nil)
			r.head("")
			r.send(join(env(0, []byte("m")), env(0, []byte("abc"))[:n]))
			r.backend.end(rpc.Status{Code: code}, nil)
			a := r.finish(false)
			if a.Ended || !a.Broken || a.Code != want {
				t.Errorf("%v after %d bytes: %+v", code, n, a)
			}
			if r.outcome.Status.OK() {
				t.Errorf("%v after %d bytes: the outcome is OK", code, n)
			}
		}
		// What is converted is whole at the client, so the end can be said.
		r := newTrial(t)
		r.start(streamed(serverMethod)).give(env(0, nil)).q.End(nil)
		r.head("gzip")
		r.send(join(env(0, []byte("m")), []byte{1, 0, 0}))
		r.backend.end(rpc.Status{Code: code}, nil)
		msgs, end := readStream(t, r.finish(false).Body)
		if code == rpc.OK {
			code = rpc.Internal
		}
		if len(msgs) != 1 || end.Error == nil || end.Error.Code != wire.CodeName(code) {
			t.Errorf("%v converted: %q %+v", code, msgs, end.Error)
		}
	}
}

// TestStreamReset: a client that disappears cancels the call, whenever it does, and
// Done comes once with the status of that.
func TestStreamReset(t *testing.T) {
	for name, before := range map[string]func(*trial){
		"at once":             func(*trial) {},
		"inside of a message": func(r *trial) { r.give([]byte{0, 0, 0, 0, 9, 1}) },
		"after the request":   func(r *trial) { r.give(env(0, nil)).q.End(nil) },
		"after the head":      func(r *trial) { r.head("") },
		"inside of an answer": func(r *trial) { r.head(""); r.send([]byte{0, 0, 0, 0, 9, 1}) },
		"while converting":    func(r *trial) { r.head("gzip"); r.send([]byte{1, 0, 0, 0, 9, 1}) },
	} {
		for code, want := range map[exchange.Code]rpc.Code{
			exchange.Cancel: rpc.Canceled, exchange.NoError: rpc.Canceled, exchange.Disconnected: rpc.Canceled, exchange.EnhanceYourCalm: rpc.ResourceExhausted,
		} {
			r := newTrial(t)
			r.start(streamed(bidiMethod))
			before(r)
			r.q.Reset(code)
			r.finish(false)
			if len(r.cancels) != 1 || r.cancels[0].Code != want || r.outcome.Status.Code != want {
				t.Errorf("%s, %v: canceled %v, outcome %v", name, code, r.cancels, r.outcome)
			}
		}
	}
	r := newTrial(t) // after the end
	r.onEnd = reply("", env(0, nil))
	r.start(streamed(serverMethod)).give(env(0, nil)).q.End(nil)
	r.q.Reset(exchange.Cancel)
	r.finish(false)
	if !r.outcome.Status.OK() {
		t.Errorf("outcome %v", r.outcome)
	}
	r = newTrial(t) // of a refused one
	r.start(streamed(bidiMethod, "connect-timeout-ms", "x"))
	r.q.Reset(exchange.Cancel)
	r.finish(false)
}

// TestStreamCredit: credit passes one to one, but for the end, which is the gateway's.
func TestStreamCredit(t *testing.T) {
	r := newTrial(t)
	r.noCredit, r.backend.noCredit = true, true
	msg := env(0, []byte("hello"))
	r.start(streamed(bidiMethod)).give(msg)
	r.head("")
	r.send(msg)
	if a := r.client.Answer(); a.Credit != 0 || r.credit.Load() != 0 {
		t.Errorf("credit of nothing: %d and %d", a.Credit, r.credit.Load())
	}
	for i := range msg {
		r.response.Credit(1)
		r.q.Credit(1)
		if a := r.client.Answer(); a.Credit != i+1 || int(r.credit.Load()) != i+1 {
			t.Errorf("after %d bytes: %d and %d", i+1, a.Credit, r.credit.Load())
		}
	}
	r.send(msg)
	r.backend.end(rpc.Status{}, nil)
	for range len(r.client.Answer().Body) - len(msg) {
		r.q.Credit(1)
	}
	r.noCredit = false
	r.finish(true)
}
