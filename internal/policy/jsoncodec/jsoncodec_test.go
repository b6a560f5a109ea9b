package jsoncodec

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/rpc"
)

const (
	hello = `{"text":"hello","n":"7"}`
	nest  = `{"more":[{"text":"a"},{"more":[{"n":"1"}]}]}`
)

// TestCall: messages are written anew in both directions, with their boundaries, however
// their bytes are cut; the backend sees a call in protobuf without compression.
func TestCall(t *testing.T) {
	for _, step := range []int{1, 3, 7, 1 << 20} {
		for _, encoding := range []string{"", "gzip"} {
			t.Run(fmt.Sprintf("step=%d/%s", step, encoding), func(t *testing.T) {
				message := func(b []byte) []byte {
					if encoding == "" || len(b) == 0 {
						return env(0, b)
					}
					return join(env(1, pack(b)))
				}
				r := newTrial(t).start(method, encoding)
				if r.call.Ahead < maxMessage {
					t.Errorf("only %d bytes may come ahead", r.call.Ahead)
				}
				if r.call.Codec != "proto" || r.call.Encoding != "" || r.call.AcceptEncodings != nil {
					t.Errorf("the backend got the codec %q, and %q %q", r.call.Codec, r.call.Encoding, r.call.AcceptEncodings)
				}
				in := join(message([]byte(hello)), message([]byte(" { } ")), env(0, []byte(nest)))
				for i := 0; i < len(in); i += step {
					r.give(in[i:min(i+step, len(in))])
				}
				r.request.End()
				want := []string{string(wire(t, hello)), "", string(wire(t, nest))}
				if got := split(t, r.body); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) || !r.ended {
					t.Errorf("the backend got %q, want %q", got, want)
				}

				r.headed(encoding)
				if r.head == nil || r.head.Encoding != "" || r.head.Codec != "json" || r.head.Metadata.Get("x-a") != "1" {
					t.Errorf("head %+v", r.head)
				}
				out := join(message(wire(t, nest)), env(1, nil), message(wire(t, hello)))
				for i := 0; i < len(out); i += step {
					r.send(out[i:min(i+step, len(out))])
				}
				r.end(rpc.Status{}, false)
				r.finish()
				want = []string{nest, "{}", hello}
				if got := split(t, r.answer); fmt.Sprint(got) != fmt.Sprint(want) || !r.status.OK() || r.trailer.Get("x-t") != "2" {
					t.Errorf("the client got %q %v %v, want %q", got, r.status, r.trailer, want)
				}
			})
		}
	}
}

// TestOthers: calls that are none of the handler's are untouched.
func TestOthers(t *testing.T) {
	for _, c := range []*rpc.Call{
		{Method: method, Codec: "proto", Encoding: "gzip", AcceptEncodings: []string{"br"}},
		{Method: method},
		{Method: method, Codec: "thrift"},
		{Method: unknown, Codec: "json", Protocol: "grpc", Encoding: "gzip"}, // the backend may speak JSON
		{Method: unknown, Codec: "json", Protocol: "grpc-web-text"},
	} {
		codec, encoding := c.Codec, c.Encoding
		r := newTrial(t)
		r.startCall(c).give([]byte("whatever"))
		if r.request != rpc.Request((*theBackend)(r)) || r.call.Codec != codec || r.call.Encoding != encoding {
			t.Errorf("%+v was touched", c)
		}
	}
}

// TestRefused: what can't be served never reaches the backend.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		call  *rpc.Call
		code  rpc.Code
		words string
	}{
		"no schema":                   {&rpc.Call{Method: unknown, Protocol: "connect"}, rpc.Unimplemented, "server reflection on the backend or give its descriptors by --schema"},
		"compression that is unknown": {&rpc.Call{Method: method, Protocol: "grpc", Encoding: "lzw"}, rpc.Unimplemented, `"lzw": supported are gzip`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTrial(t)
			c.call.Codec = "json"
			r.startCall(c.call).give(env(0, []byte("{}")))
			r.request.End()
			r.request.Cancel(rpc.Status{Code: rpc.Canceled})
			r.finish()
			if r.call != nil || r.status.Code != c.code || !strings.Contains(r.status.Message, c.words) {
				t.Errorf("got %v", r.status)
			}
			if c.call.Encoding != "" && (r.head == nil || len(r.head.AcceptEncodings) < 3) {
				t.Errorf("what is read is not said: %+v", r.head)
			}
		})
	}
}

// TestHeld: a call waits while its method may yet be described, with what came of it.
func TestHeld(t *testing.T) {
	for name, c := range map[string]struct {
		call  *rpc.Call
		codec string // that reaches the backend, if any
		code  rpc.Code
	}{
		"known then":           {&rpc.Call{Method: method, Protocol: "connect"}, "proto", rpc.OK},
		"known then, gRPC":     {&rpc.Call{Method: method, Protocol: "grpc"}, "proto", rpc.OK},
		"not known even then":  {&rpc.Call{Method: unknown, Protocol: "connect"}, "", rpc.Unimplemented},
		"not known then, gRPC": {&rpc.Call{Method: unknown, Protocol: "grpc"}, "json", rpc.OK},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTrial(t)
			r.pending = "the services of a:1"
			c.call.Codec = "json"
			r.startCall(c.call).give(env(0, []byte(hello)))
			if r.held == nil || r.lacking != "JSON needs the schema of "+c.call.Method || r.look(false) != nil || r.call != nil || r.status != nil {
				t.Fatalf("%q, %+v, %v", r.lacking, r.call, r.status)
			}
			r.pending = ""
			next := r.look(true)
			if next == nil || !r.held.Release(next) {
				t.Fatal("it is not let go")
			}
			if c.codec == "" {
				if r.call != nil || r.status == nil || r.status.Code != c.code {
					t.Errorf("%+v, %v", r.call, r.status)
				}
				return
			}
			if r.call == nil || r.call.Codec != c.codec || len(r.body) == 0 {
				t.Errorf("%+v, got %q", r.call, r.body)
			}
		})
	}
}

// TestBadRequest: the call ends with the reason, and the messages before the bad one are
// the backend's, nothing after it is. It makes no difference how the bytes are cut, nor
// whether the backend's end overtakes the cancel.
func TestBadRequest(t *testing.T) {
	good := env(0, []byte(hello))
	for name, c := range map[string]struct {
		bad   []byte
		code  rpc.Code
		words string
	}{
		"no JSON":              {env(0, []byte(`{"text":`)), rpc.InvalidArgument, "request message 2: JSON, byte 8"},
		"of no bytes":          {env(0, nil), rpc.InvalidArgument, "request message 2: JSON, byte 0: expects an object, got the end"}, // as connect-go's codec
		"of a wrong type":      {env(0, []byte(`{"more":[{"n":true}]}`)), rpc.InvalidArgument, "byte 14, field more[0].n"},
		"not an object":        {env(0, []byte(`[]`)), rpc.InvalidArgument, "expects an object"},
		"two documents":        {env(0, []byte(`{}{}`)), rpc.InvalidArgument, "byte 2"},
		"not UTF-8":            {env(0, []byte("{\"text\":\"\xff\"}")), rpc.InvalidArgument, "UTF-8"},
		"protobuf":             {env(0, []byte{10, 1, 'x'}), rpc.InvalidArgument, "JSON"},
		"above the limit":      {env(0, make([]byte, maxMessage+1)), rpc.ResourceExhausted, "limits.message_bytes"},
		"five bytes, 4 GiB":    {[]byte{0, 0xff, 0xff, 0xff, 0xff}, rpc.ResourceExhausted, "4294967295 bytes"},
		"no gzip":              {env(1, []byte("garbage")), rpc.InvalidArgument, "gzip"},
		"a bomb":               {env(1, pack(make([]byte, 100*maxMessage))), rpc.ResourceExhausted, "limits.message_bytes"},
		"with unknown flags":   {env(2, []byte("{}")), rpc.InvalidArgument, "flags"},
		"end inside":           {env(0, []byte("{}"))[:6], rpc.InvalidArgument, "inside of a message"},
		"end inside of prefix": {[]byte{0, 0}, rpc.InvalidArgument, "inside of a message"},
	} {
		for _, step := range []int{1, 1 << 20} {
			for _, late := range []bool{false, true} {
				for _, noCredit := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/step=%d/late=%v/noCredit=%v", name, step, late, noCredit), func(t *testing.T) {
						r := newTrial(t)
						r.late, r.noCredit = late, noCredit
						r.start(method, "gzip")
						all := join(good, c.bad)
						if !strings.HasPrefix(name, "end inside") {
							all = join(all, good)
						}
						for i := 0; i < len(all); i += step {
							r.give(all[i:min(i+step, len(all))])
						}
						r.request.End()
						if r.ended || len(r.cancels) != 1 {
							t.Fatalf("half-closed %v, canceled %v", r.ended, r.cancels)
						}
						if got := split(t, r.body); len(got) != 1 || got[0] != string(wire(t, hello)) {
							t.Errorf("the backend got %q", got)
						}
						r.end(rpc.Status{}, false)
						r.finish()
						if r.status.Code != c.code || !strings.Contains(r.status.Message, c.words) {
							t.Errorf("got %v", r.status)
						}
					})
				}
			}
		}
	}
}

// TestUnknownField: clients may be newer than the schema, as with connect-go.
func TestUnknownField(t *testing.T) {
	r := newTrial(t).start(method, "").give(env(0, []byte(`{"text":"a","newer":{"b":[1]}}`)))
	r.end(rpc.Status{}, false)
	if r.finish(); string(r.body) != string(env(0, wire(t, `{"text":"a"}`))) {
		t.Errorf("the backend got %x", r.body)
	}
}

// TestWritten: JSON is written as the method's options say.
func TestWritten(t *testing.T) {
	r := newTrial(t).start(defaults, "")
	r.headed("")
	r.send(env(0, []byte{16, 1}))
	r.end(rpc.Status{}, false)
	r.finish()
	if got := split(t, r.answer); len(got) != 1 || got[0] != `{"n":"1","text":"","data":"","more":[]}` && got[0] != `{"text":"","n":"1","data":"","more":[]}` {
		t.Errorf("got %q", got)
	}
}

// TestBadResponse: a response that can't be JSON is the backend's fault, and nothing
// that comes later is taken for a message.
func TestBadResponse(t *testing.T) {
	good := env(0, []byte{10, 1, 'a'})
	for name, c := range map[string]struct {
		bad   []byte
		code  rpc.Code
		words string
	}{
		"no protobuf":         {env(0, []byte{10, 9, 'x'}), rpc.Internal, "response message 2: protobuf message t.M"},
		"not UTF-8":           {env(0, []byte{10, 1, 0xff}), rpc.Internal, "field text"},
		"large as protobuf":   {env(0, make([]byte, maxMessage+1)), rpc.ResourceExhausted, "limits.message_bytes"},
		"large as JSON":       {env(0, append([]byte{26, 0x84, 7}, make([]byte, 900)...)), rpc.ResourceExhausted, "limits.message_bytes"},
		"no gzip":             {env(1, []byte("garbage")), rpc.Internal, "gzip"},
		"a bomb":              {env(1, pack(make([]byte, 100*maxMessage))), rpc.ResourceExhausted, "limits.message_bytes"},
		"with unknown flags":  {env(4, nil), rpc.Internal, "flags"},
		"the end is inside":   {good[:6], rpc.Internal, "inside of a message"},
		"the end is a prefix": {[]byte{0}, rpc.Internal, "inside of a message"},
	} {
		for _, step := range []int{1, 1 << 20} {
			for _, late := range []bool{false, true} {
				for _, slow := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/step=%d/late=%v/slow=%v", name, step, late, slow), func(t *testing.T) {
						r := newTrial(t)
						r.late, r.slow = late, slow
						r.start(method, "").give(env(0, []byte("{}")))
						r.request.End()
						r.headed("gzip")
						all := join(good, c.bad)
						if !strings.HasPrefix(name, "the end") {
							all = join(all, good)
						}
						for i := 0; i < len(all); i += step {
							r.send(all[i:min(i+step, len(all))])
						}
						r.end(rpc.Status{}, true)
						r.finish()
						if got := split(t, r.answer); len(got) != 1 || got[0] != `{"text":"a"}` {
							t.Errorf("messages %q", got)
						}
						if r.status.Code != c.code || !strings.Contains(r.status.Message, c.words) {
							t.Errorf("got %v", r.status)
						}
					})
				}
			}
		}
	}
}

// TestEnds: a status passes as it is, before a head, after it, after messages and inside
// of one; a cancel reaches the backend.
func TestEnds(t *testing.T) {
	for _, stage := range []string{"trailers-only", "after the head", "after a message", "inside of a message"} {
		for _, cancel := range []bool{false, true} {
			r := newTrial(t).start(method, "").give(env(0, []byte("{}"))[:6])
			if stage != "trailers-only" {
				r.headed("")
			}
			switch stage {
			case "after a message":
				r.send(env(0, nil))
			case "inside of a message":
				r.send(env(0, []byte{10, 1, 'a'})[:7])
			}
			want := rpc.Status{Code: rpc.NotFound, Message: "none", Details: []byte{1}, Remote: true}
			if cancel {
				want = rpc.Status{Code: rpc.DeadlineExceeded, Message: "late"}
				r.request.Cancel(want)
			} else {
				r.end(want, false)
			}
			r.finish()
			if got := *r.status; got.Code != want.Code || got.Message != want.Message || !bytes.Equal(got.Details, want.Details) || got.Remote != want.Remote {
				t.Errorf("%s: got %+v", stage, got)
			}
			if (r.head != nil) != (stage != "trailers-only") || len(r.cancels) == 0 == cancel {
				t.Errorf("%s: head %+v, cancels %v", stage, r.head, r.cancels)
			}
		}
	}
}

// TestCredit: a message larger than the window does not wait for itself, whole ones are
// credited as they are taken, and none is assembled for a peer that takes nothing.
func TestCredit(t *testing.T) {
	big := []byte(`{"text":"` + strings.Repeat("x", 900) + `"}`)
	for _, direction := range []string{"request", "response"} {
		t.Run(direction, func(t *testing.T) {
			r := newTrial(t)
			r.noCredit, r.slow = true, true
			r.start(method, "")
			r.headed("")
			give, credited, out, take := func(b []byte) { r.give(b) }, &r.taken, &r.body, func(n int) { r.response.Credit(n) }
			msg := env(0, big)
			if direction == "response" {
				give, credited, out, take = r.send, &r.credited, &r.answer, func(n int) { r.request.Credit(n) }
				msg = env(0, wire(t, string(big)))
			}
			is := func(what string, want int) {
				t.Helper()
				if *credited != want {
					t.Errorf("%s: %d bytes were credited, want %d", what, *credited, want)
				}
			}
			give(msg[:3])
			is("inside of a prefix", 3)
			give(msg[3:500])
			is("inside of a message", 500)
			give(msg[500 : len(msg)-1])
			is("before its last byte", len(msg)-1)
			give(msg[len(msg)-1:])
			is("whole", len(msg)-1)
			first := len(*out)
			give(msg[:600])
			is("the next, while it waits", len(msg)-1)
			take(first - 1)
			is("all but a byte is taken", len(msg)-1)
			take(1)
			is("all is taken", len(msg)+600)
			give(msg[600:])
			is("the next is whole", len(msg)+600)
			second := len(*out) - first
			for range 3 {
				give(join(msg[:300]))
				give(msg[300:])
			}
			is("three more", len(msg)+600)
			take(second)
			is("taken", 2*len(msg))
			if r.mem.held != 3*second { // what waits is charged, whoever was credited for it
				t.Errorf("%d bytes are reserved while three messages of %d wait", r.mem.held, second)
			}
			for range 3 {
				take(second)
			}
			is("everything", 5*len(msg))
			r.noCredit, r.slow = false, false
			r.end(rpc.Status{}, false)
			r.finish()
		})
	}
}

// TestBombs: what fits into a window may be much more once it is decompressed. It is
// charged while it waits for a peer that takes nothing, and ends the call.
func TestBombs(t *testing.T) {
	doc := `{"text":"` + strings.Repeat("x", 900) + `"}`
	for _, direction := range []string{"request", "response"} {
		r := newTrial(t)
		r.mem.limit = 3000
		r.noCredit, r.slow = true, true
		r.start(method, "gzip")
		r.headed("gzip")
		for range 10 {
			if direction == "request" {
				r.give(env(1, pack([]byte(doc))))
			} else {
				r.send(env(1, pack(wire(t, doc))))
			}
		}
		if n := len(r.body) + len(r.answer); n > 3000 || n < 2000 {
			t.Errorf("%s: %d bytes wait", direction, n)
		}
		r.end(rpc.Status{}, false)
		r.finish()
		if r.status.Code != rpc.ResourceExhausted || !strings.Contains(r.status.Message, "limits.buffer_bytes") {
			t.Errorf("%s: %v", direction, r.status)
		}
	}
}

// TestMemory: without memory for what has to be kept the call ends.
func TestMemory(t *testing.T) {
	for _, direction := range []string{"request", "response"} {
		r := newTrial(t)
		r.mem.limit = 100
		r.start(method, "")
		r.headed("")
		if direction == "request" {
			r.give(env(0, make([]byte, 500))[:90]).give(make([]byte, 11))
		} else {
			r.send(env(0, make([]byte, 500))[:90])
			r.send(make([]byte, 11))
		}
		r.end(rpc.Status{}, false)
		r.finish()
		if r.status.Code != rpc.ResourceExhausted || !strings.Contains(r.status.Message, "limits.buffer_bytes") || r.mem.peak != 90 {
			t.Errorf("%s: %v, at most %d bytes", direction, r.status, r.mem.peak)
		}
	}
}
