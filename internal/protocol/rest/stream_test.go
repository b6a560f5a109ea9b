package rest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protowire"
)

const watch = "/v1/items/7:watch"

// The Accept of each framing.
var framingAccept = map[Mode]string{
	NDJSON: "application/x-ndjson", SSE: "text/event-stream", Array: "application/json", Seq: "application/json-seq",
	Delimited: "application/x-protobuf",
}

// TestFraming is every framing, with every way to end.
func TestFraming(t *testing.T) {
	unavailable := rpc.Status{Code: rpc.Unavailable, Message: "gone"}
	internal := rpc.Status{Code: rpc.Internal, Message: "bad"}
	const badJSON = `{"code":13,"message":"bad","details":[]}`
	for _, tc := range []struct {
		mode        Mode
		contentType string
		ok          string // two messages
		none        string // no message
		failed      string // two messages and INTERNAL
		quiet       string // the timer, a message, the timer twice
	}{
		{
			NDJSON, "application/x-ndjson", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n", "", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"@error\":" + badJSON + "}\n",
			"\n{\"id\":\"a\"}\n\n",
		},
		{
			Array, "application/json", `[{"id":"a"},{"id":"b"}]`, "[]", `[{"id":"a"},{"id":"b"},{"@error":` + badJSON + "}",
			`[{"id":"a"} `,
		},
		{
			Seq, "application/json-seq", "\x1e{\"id\":\"a\"}\n\x1e{\"id\":\"b\"}\n", "", "\x1e{\"id\":\"a\"}\n\x1e{\"id\":\"b\"}\n\x1e{\"@error\":" + badJSON + "}\n",
			"\x1e\n\x1e{\"id\":\"a\"}\n\x1e\n",
		},
		{
			SSE, "text/event-stream", "id: 1\ndata: {\"id\":\"a\"}\n\nid: 2\ndata: {\"id\":\"b\"}\n\nevent: EOS\nid: EOS\ndata: \n\n",
			"event: EOS\nid: EOS\ndata: \n\n",
			"id: 1\ndata: {\"id\":\"a\"}\n\nid: 2\ndata: {\"id\":\"b\"}\n\nevent: failure\ndata: " + badJSON + "\n\nevent: EOS\nid: EOS\ndata: \n\n",
			":\n\nid: 1\ndata: {\"id\":\"a\"}\n\n:\n\n",
		},
		{Delimited, "application/x-protobuf", "\x03\n\x01a\x03\n\x01b", "", "\x03\n\x01a\x03\n\x01b", "\x03\n\x01a"},
	} {
		headers := "te: trailers; accept: " + framingAccept[tc.mode]
		open := func(t *testing.T) *trial {
			return newTrial(t).start("GET", watch, headers).close()
		}
		t.Run(tc.mode.String()+"/ok", func(t *testing.T) {
			r := open(t)
			r.head(rpc.Field{Key: "x-a", Value: "1"})
			if a := r.client.Answer(); a.Status != 200 || len(a.Body) != 0 {
				t.Errorf("after the backend's head: %d %q", a.Status, a.Body)
			}
			r.send(out, `{"id":"a"}`)
			r.send(out, `{"id":"b"}`)
			r.end(rpc.Status{}, rpc.Metadata{{Key: "x-t", Value: "2"}})
			a := r.finish()
			if a.Get("content-type") != tc.contentType || a.Get("x-a") != "1" || a.Get("x-accel-buffering") != "no" || a.Get("cache-control") != "no-cache, no-transform" {
				t.Errorf("%v", a.Fields)
			}
			if string(a.Body) != tc.ok {
				t.Errorf("got %q, want %q", a.Body, tc.ok)
			}
			if diff := cmp.Diff([]exchange.Field{{Name: "grpc-status", Value: "0"}, {Name: "x-t", Value: "2"}}, a.Trailer); diff != "" {
				t.Error(diff)
			}
		})
		t.Run(tc.mode.String()+"/long", func(t *testing.T) {
			long := strings.Repeat("a", keepBuffer+1)
			want := strings.NewReplacer(`"a"`, `"`+long+`"`, "\x03\n\x01a", "\x85\x80\x04\n\x81\x80\x04"+long).Replace(tc.ok)
			for _, slow := range []bool{false, true} {
				r := newTrial(t)
				r.o.MaxMessage, r.slow = 1<<20, slow
				r.start("GET", watch, headers).close()
				r.send(out, `{"id":"`+long+`"}`, `{"id":"b"}`) // together
				r.end(rpc.Status{}, nil)
				if a := r.finish(); string(a.Body) != want {
					t.Errorf("got %d bytes, want %d: …%.50q", len(a.Body), len(want), a.Body[max(0, len(a.Body)-50):])
				}
			}
		})
		t.Run(tc.mode.String()+"/none", func(t *testing.T) {
			r := open(t)
			r.end(rpc.Status{}, nil)
			if a := r.finish(); a.Status != 200 || string(a.Body) != tc.none {
				t.Errorf("%d %q, want %q", a.Status, a.Body, tc.none)
			}
		})
		t.Run(tc.mode.String()+"/fails early", func(t *testing.T) {
			r := open(t)
			r.end(internal, nil)
			if a := r.finish(); a.Status != 500 || string(a.Body) != badJSON+"\n" {
				t.Errorf("%d %q", a.Status, a.Body)
			}
		})
		t.Run(tc.mode.String()+"/fails", func(t *testing.T) {
			r := open(t)
			r.send(out, `{"id":"a"}`, `{"id":"b"}`)
			r.end(internal, nil)
			a := r.finish()
			if string(a.Body) != tc.failed {
				t.Errorf("got %q, want %q", a.Body, tc.failed)
			}
			if a.Broken != (tc.mode == Delimited) {
				t.Errorf("broken: %v", a.Broken)
			}
			if !a.Broken && (exchange.Get(a.Trailer, "grpc-status") != "13" || exchange.Get(a.Trailer, "grpc-message") != "bad") {
				t.Errorf("trailers %v", a.Trailer)
			}
			if r.outcome.Status.Code != rpc.Internal {
				t.Errorf("outcome %v", r.outcome)
			}
		})
		t.Run(tc.mode.String()+"/quiet", func(t *testing.T) {
			r := open(t)
			r.clock.fire()
			if a := r.client.Answer(); a.Status != 200 {
				t.Errorf("after the wait: %d", a.Status)
			}
			r.send(out, `{"id":"a"}`)
			r.clock.fire() // something was written since
			r.clock.fire()
			if a := r.client.Answer(); string(a.Body) != tc.quiet {
				t.Errorf("got %q, want %q", a.Body, tc.quiet)
			}
			r.end(unavailable, nil)
			r.finish()
		})
		t.Run(tc.mode.String()+"/broken message", func(t *testing.T) {
			if tc.mode == Delimited {
				t.Skip("messages pass as they are")
			}
			r := open(t)
			r.send(out, `{"id":"a"}`)
			r.raw([]byte{0, 0, 0, 0, 1, 0xff})
			a := r.finish()
			if !strings.Contains(string(a.Body), `"code":13`) || r.outcome.Status.Code != rpc.Internal || len(r.cancels) != 1 {
				t.Errorf("%q %v", a.Body, r.outcome)
			}
		})
		t.Run(tc.mode.String()+"/cut message", func(t *testing.T) {
			r := open(t)
			r.send(out, `{"id":"a"}`)
			r.raw([]byte{0, 0, 0, 0, 9, 1})
			r.end(rpc.Status{}, nil)
			if a := r.finish(); r.outcome.Status.Code != rpc.Internal || string(a.Body) == tc.ok {
				t.Errorf("%q %v", a.Body, r.outcome)
			}
		})
	}
}

// TestTrailers: HTTP/1.1 clients get trailers only if they say so.
func TestTrailers(t *testing.T) {
	for _, te := range []string{"", "trailers", "deflate, Trailers"} {
		r := newTrial(t)
		head := request("GET", watch, "-")
		head.Carrier = "h1"
		if te != "" {
			head.Fields = append(head.Fields, exchange.Field{Name: "te", Value: te})
		}
		r.client.OnData = func(n int) { r.q.Credit(n) }
		r.q = NewServer(r.backend, r.o).Start(head, r.client)
		r.q.Begin()
		r.close()
		r.end(rpc.Status{}, nil)
		if a := r.finish(); (len(a.Trailer) > 0) != (te != "") {
			t.Errorf("te %q: %v", te, a.Trailer)
		}
	}
}

// TestEvents is what only Server-Sent Events have.
func TestEvents(t *testing.T) {
	const accept = "accept: text/event-stream"
	t.Run("names and ids", func(t *testing.T) {
		r := newTrial(t).start("GET", watch, accept).close()
		r.head(rpc.Field{Key: "sse-event", Value: "tick"}, rpc.Field{Key: "sse-retry", Value: "50"}, rpc.Field{Key: "sse-id-field", Value: "number"})
		r.send(out, `{"number":"7"}`)
		r.end(rpc.Status{}, nil)
		a := r.finish()
		want := "retry: 50\n\nevent: tick\nid: 7\ndata: {\"number\":\"7\"}\n\nevent: EOS\nid: EOS\ndata: \n\n"
		if string(a.Body) != want || a.Get("sse-event") != "" {
			t.Errorf("got %q, want %q", a.Body, want)
		}
	})
	t.Run("name field", func(t *testing.T) {
		r := newTrial(t).start("GET", watch, accept).close()
		r.head(rpc.Field{Key: "sse-event-field", Value: "kind"})
		r.send(out, `{"kind":"BIG"}`)
		r.end(rpc.Status{}, nil)
		if a := r.finish(); !strings.HasPrefix(string(a.Body), "event: BIG\nid: 1\n") {
			t.Errorf("%q", a.Body)
		}
	})
	t.Run("goes on", func(t *testing.T) {
		r := newTrial(t).start("GET", watch, accept+"; last-event-id: 41").close()
		r.send(out, `{}`)
		r.end(rpc.Status{}, nil)
		if a := r.finish(); !strings.HasPrefix(string(a.Body), "id: 42\n") {
			t.Errorf("%q", a.Body)
		}
		if diff := cmp.Diff(rpc.Metadata{{Key: "last-event-id", Value: "41"}}, r.call.Metadata); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("over", func(t *testing.T) {
		r := newTrial(t)
		if a := r.start("GET", watch, accept+"; last-event-id: EOS").close().finish(); a.Status != 204 || r.call != nil {
			t.Errorf("%d", a.Status)
		}
	})
	t.Run("comes back", func(t *testing.T) {
		r := newTrial(t).start("GET", watch, accept).close()
		r.send(out, `{}`)
		r.end(rpc.Status{Code: rpc.Unavailable, Message: "gone"}, nil)
		want := "id: 1\ndata: {}\n\nevent: failure\nretry: 1000\ndata: {\"code\":14,\"message\":\"gone\",\"details\":[]}\n\n"
		if a := r.finish(); string(a.Body) != want {
			t.Errorf("got %q, want %q", a.Body, want)
		}
	})
	t.Run("comes back when the backend says", func(t *testing.T) {
		r := newTrial(t).start("GET", watch, accept).close()
		r.head(rpc.Field{Key: "sse-retry", Value: "50"})
		r.end(rpc.Status{Code: rpc.Unavailable, Message: "gone"}, nil)
		want := "event: failure\nretry: 50\ndata: {\"code\":14,\"message\":\"gone\",\"details\":[]}\n\n"
		if a := r.finish(); string(a.Body) != want {
			t.Errorf("got %q, want %q", a.Body, want)
		}
	})
	t.Run("comes back early", func(t *testing.T) {
		for headers, status := range map[string]int{accept: 200, accept + ", */*;q=0.1": 503} {
			r := newTrial(t).start("GET", watch, headers).close()
			r.end(rpc.Status{Code: rpc.Unavailable, Message: "gone"}, nil)
			a := r.finish()
			if a.Status != status || status == 200 && string(a.Body) != ":\n\nretry: 1000\n\n" {
				t.Errorf("%s: %d %q", headers, a.Status, a.Body)
			}
		}
	})
	t.Run("unary", func(t *testing.T) {
		a := newTrial(t).do("GET", "/v1/list", accept, "", out, `{"id":"a"}`)
		if want := "id: 1\ndata: {\"id\":\"a\"}\n\nevent: EOS\nid: EOS\ndata: \n\n"; string(a.Body) != want {
			t.Errorf("got %q, want %q", a.Body, want)
		}
	})
	t.Run("alias", func(t *testing.T) {
		for _, on := range []bool{false, true} {
			r := newTrial(t)
			r.style(func(s *Style) { s.Alias = on })
			a := r.do("GET", "/test.v1.S/Feed?id=x&tags=a", accept, "", out, `{}`)
			if !on && a.Status != 405 || on && (a.Status != 200 || r.messages(in)[0] != `{"id":"x","tags":["a"]}`) {
				t.Errorf("alias %v: %d %q", on, a.Status, a.Body)
			}
		}
	})
}

// TestUpload is every form of a request that streams, cut anywhere.
func TestUpload(t *testing.T) {
	for _, tc := range []struct {
		path, headers, body string
		want                []string
		err                 string
	}{
		{"/v1/upload", "content-type: application/x-ndjson", "{\"id\":\"a\"}\n\n{\"id\":\"b\"}", []string{`{"id":"a"}`, `{"id":"b"}`}, ""},
		{"/v1/upload", "content-type: application/json", `[{"id":"a"},{"id":"b"}]`, []string{`{"id":"a"}`, `{"id":"b"}`}, ""},
		{"/v1/upload", "-", `{"id":"a"}{"id":"b"}`, []string{`{"id":"a"}`, `{"id":"b"}`}, ""},
		{"/v1/upload", "content-type: application/json-seq", "\x1e{\"id\":\"a\"}\n\x1e{\"id\":\"b\"}\n", []string{`{"id":"a"}`, `{"id":"b"}`}, ""},
		{"/v1/upload", "content-type: application/x-protobuf", "\x03\n\x01a\x03\n\x01b\x00", []string{`{"id":"a"}`, `{"id":"b"}`, `{}`}, ""},
		{"/v1/items/7/upload", "-", `{"number":1}{"number":2}`, []string{`{"id":"7","number":"1"}`, `{"number":"2"}`}, ""},
		{"/v1/lists/7/upload?number=3", "-", `{"size":1}{"size":2}`, []string{`{"id":"7","number":"3","nested":{"size":1}}`, `{"nested":{"size":2}}`}, ""},
		{"/v1/items/7/upload", "-", "", []string{`{"id":"7"}`}, ""},
		{"/v1/upload", "-", "", nil, ""},

		{"/v1/upload", "content-type: application/x-ndjson", "{\"id\":\"a\"}\n{\"id\":1}\n{\"id\":\"c\"}", []string{`{"id":"a"}`}, "document 2 of the stream, at byte 11: JSON, byte 6, field id"},
		{"/v1/upload", "-", `{"id":"a"}{"id":`, []string{`{"id":"a"}`}, "the stream ends inside of a document"},
		{"/v1/upload", "-", `[{"id":"a"}`, []string{`{"id":"a"}`}, "before the ']'"},
		{"/v1/items/7/upload", "content-type: application/x-protobuf", "\x05\n\x01a\x7a\x03", nil, "message 1 of the stream: no protobuf"}, // a field that would have that of the path in it
		{"/v1/items/7/upload", "content-type: application/x-protobuf", "\x04\n\x01a\x7b", nil, "message 1 of the stream: no protobuf"},     // a group
		{"/v1/upload", "content-type: application/x-protobuf", "\x03\n\x01a\x09\n", []string{`{"id":"a"}`}, "ends inside of a message"},
	} {
		for n := 1; n <= len(tc.body)+1; n += 1 + n/4 {
			r := newTrial(t)
			r.onEnd = func(b *backend) {
				b.send(out, `{}`)
				b.end(rpc.Status{}, nil)
			}
			r.start("POST", tc.path, tc.headers)
			for i := 0; i < len(tc.body); i += n {
				r.give(tc.body[i:min(i+n, len(tc.body))])
			}
			a := r.close().finish()
			if diff := cmp.Diff(tc.want, r.messages(in)); diff != "" {
				t.Errorf("%s %q in pieces of %d: %s", tc.path, tc.body, n, diff)
			}
			if tc.err == "" && a.Status != 200 || tc.err != "" && (a.Status != 400 || !strings.Contains(string(a.Body), tc.err)) {
				t.Errorf("%s %q in pieces of %d: %d %s", tc.path, tc.body, n, a.Status, a.Body)
			}
		}
	}
}

// TestDelimitedPieces: a long message that comes in small pieces costs what its bytes cost.
func TestDelimitedPieces(t *testing.T) {
	const size = 4 << 20
	d := &delimited{limit: size}
	b, n := protowire.AppendVarint(nil, size), 0
	at := time.Now()
	for range size / 64 {
		if err := d.Feed(append(b, make([]byte, 64)...), func(m []byte) error { n += len(m); return nil }); err != nil {
			t.Fatal(err)
		}
		b = nil
	}
	if took := time.Since(at); n != size || took > 20*time.Second { // 50 s if all is moved each time
		t.Errorf("%d bytes after %v", n, took)
	}
}

// TestUploadLimits: a stream may be long, its messages may not.
func TestUploadLimits(t *testing.T) {
	for headers, large := range map[string]string{
		"-": `{"id":"` + strings.Repeat("x", 1000) + `"}`, "content-type: application/x-protobuf": "\xff\x7f",
	} {
		r := newTrial(t).start("POST", "/v1/upload", headers)
		if headers == "-" {
			for range 1000 {
				r.give(`{"id":"abcdefgh"}` + "\n")
			}
		}
		r.give(large)
		a := r.close().finish()
		if a.Status != 413 || !strings.Contains(string(a.Body), "limits.message_bytes") {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	}
}

// TestUploadCredit: a client is as fast as the backend.
func TestUploadCredit(t *testing.T) {
	r := newTrial(t)
	r.noCredit = true
	r.start("POST", "/v1/upload", "-")
	r.give(`{"id":"abcdefgh"}` + "\n")
	if a := r.client.Answer(); a.Credit != 0 {
		t.Errorf("credit of %d before the backend gave any", a.Credit)
	}
	r.response.Credit(len(r.body))
	if a := r.client.Answer(); a.Credit != r.gave {
		t.Errorf("credit of %d of %d", a.Credit, r.gave)
	}
	r.close()
	r.end(rpc.Status{Code: rpc.Aborted}, nil)
	r.finish()
}

// TestSlowReader: the backend is as fast as its client.
func TestSlowReader(t *testing.T) {
	r := newTrial(t)
	r.slow = true
	r.start("GET", watch, "-").close()
	for i := range 10 {
		r.send(out, fmt.Sprintf(`{"number":"%d"}`, i))
	}
	if r.credit != 0 {
		t.Errorf("credit of %d before the client took anything", r.credit)
	}
	r.q.Credit(len("{\"number\":\"0\"}\n")) // proto3 leaves the 0 out: {}
	if r.credit == 0 || r.credit >= r.sent {
		t.Errorf("credit of %d of %d", r.credit, r.sent)
	}
	r.slow = false
	r.q.Credit(len(r.client.Answer().Body) - len("{\"number\":\"0\"}\n"))
	r.end(rpc.Status{}, nil)
	r.finish()
}

// TestBidi: both directions go at once.
func TestBidi(t *testing.T) {
	r := newTrial(t).start("POST", "/v1/chat", "content-type: application/x-ndjson")
	r.head()
	r.give("{\"id\":\"a\"}\n")
	if got := r.messages(in); len(got) != 1 {
		t.Fatalf("the backend got %v", got)
	}
	r.send(out, `{"id":"b"}`)
	if a := r.client.Answer(); string(a.Body) != "{\"id\":\"b\"}\n" {
		t.Errorf("%q", a.Body)
	}
	r.close()
	r.end(rpc.Status{}, nil)
	r.finish()
}

// TestGone: when the client is gone, so is the call.
func TestGone(t *testing.T) {
	for _, accept := range framingAccept {
		r := newTrial(t).start("GET", watch, "accept: "+accept).close()
		r.send(out, `{}`)
		r.q.Reset(exchange.Disconnected)
		if len(r.cancels) != 1 || r.cancels[0].Code != rpc.Canceled {
			t.Errorf("%s: %v", accept, r.cancels)
		}
		r.finish()
	}
}

func TestHTTPBody(t *testing.T) {
	const body = "google.api.HttpBody"
	t.Run("unary", func(t *testing.T) {
		a := newTrial(t).do("GET", "/v1/file", "accept: image/png", "", body, `{"contentType":"image/png","data":"AQID"}`)
		if a.Status != 200 || string(a.Body) != "\x01\x02\x03" || a.Get("content-type") != "image/png" || a.Get("content-length") != "3" {
			t.Errorf("%d %q %v", a.Status, a.Body, a.Fields)
		}
	})
	t.Run("stream", func(t *testing.T) {
		r := newTrial(t).start("GET", "/v1/files", "-").close()
		r.head()
		r.send(body, `{"contentType":"text/csv","data":"YQ=="}`, `{"data":"Yg=="}`)
		r.end(rpc.Status{}, nil)
		if a := r.finish(); string(a.Body) != "ab" || a.Get("content-type") != "text/csv" {
			t.Errorf("%q %v", a.Body, a.Fields)
		}
	})
	t.Run("stream fails", func(t *testing.T) {
		r := newTrial(t).start("GET", "/v1/files", "-").close()
		r.send(body, `{"contentType":"text/csv","data":"YQ=="}`)
		r.end(rpc.Status{Code: rpc.DataLoss}, nil)
		if a := r.finish(); !a.Broken {
			t.Errorf("%q", a.Body)
		}
	})
	t.Run("upload", func(t *testing.T) {
		r := newTrial(t)
		r.do("PUT", "/v1/file", "content-type: image/png", "\x01\x02", out, `{}`)
		if got := r.messages(body); len(got) != 1 || got[0] != `{"contentType":"image/png","data":"AQI="}` {
			t.Errorf("%v", got)
		}
	})
	t.Run("upload stream", func(t *testing.T) {
		r := newTrial(t)
		r.onEnd = func(b *backend) {
			b.send(out, `{}`)
			b.end(rpc.Status{}, nil)
		}
		r.start("PUT", "/v1/files/x", "content-type: text/csv").give("a").give("b").close().finish()
		want := []string{`{"name":"x","file":{"contentType":"text/csv","data":"YQ=="}}`, `{"file":{"data":"Yg=="}}`}
		if diff := cmp.Diff(want, r.messages("test.v1.FileRequest")); diff != "" {
			t.Error(diff)
		}
	})
}

// TestResponsePieces is the same of a response.
func TestResponsePieces(t *testing.T) {
	const size = 4 << 20
	r := newTrial(t)
	r.o.MaxMessage = size
	r.start("GET", watch, "accept: application/x-protobuf").close()
	r.head()
	at := time.Now()
	r.response.Data([]byte{0, 0, 0x3f, 0xff, 0xf0})
	for range size / 64 {
		r.response.Data(make([]byte, 64))
		if took := time.Since(at); took > 20*time.Second {
			t.Fatalf("not at its end after %v", took)
		}
	}
	r.q.Reset(exchange.Cancel)
	r.finish()
}
