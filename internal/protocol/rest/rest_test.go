package rest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

const (
	in  = "test.v1.Request"
	out = "test.v1.Response"
)

// TestRequest is what the backend gets of path, query and body.
func TestRequest(t *testing.T) {
	const json, form = "content-type: application/json", "content-type: application/x-www-form-urlencoded"
	for _, tc := range []struct {
		verb, path, headers, body string
		want                      string
	}{
		{"GET", "/v1/items/7", "-", "", `{"id":"7"}`},
		{"GET", "/v1/items/a%2Fb%20c", "-", "", `{"id":"a/b c"}`},
		{"GET", "/some/where%2F/else", "-", "", `{"id":"some/where%2F/else"}`},
		{"GET", "/v1/list?number=9&tags=a&tags=b%26&nested.size=3&nested.more=1&nested.more=2", "-", "", `{"number":"9","tags":["a","b&"],"nested":{"size":3,"more":[1,2]}}`},
		{"GET", "/v1/list?labels[a.b]=c&kind=BIG&time=2020-01-02T03:04:05Z&updateMask=a,b.c", "-", "", `{"labels":{"a.b":"c"},"time":"2020-01-02T03:04:05Z","updateMask":"a,b.c","kind":"BIG"}`},
		{"GET", "/v1/list?kind=1&$alt=json&key=k&$prettyPrint=true", "-", "", `{"kind":"BIG"}`},
		{"GET", "/v1/list", "-", "ignored", `{}`},
		{"POST", "/v1/make", json, `{"id":"a","nested":{"size":1}}`, `{"id":"a","nested":{"size":1}}`},
		{"POST", "/v1/make", "-", "", `{}`},
		{"POST", "/v1/make", json, " \n", `{}`},
		{"POST", "/v1/make", form, "id=a+b&tags=x&tags=y&nested.id=z", `{"id":"a b","tags":["x","y"],"nested":{"id":"z"}}`},
		{"POST", "/v1/make", "content-type: application/x-protobuf", "\n\x01a", `{"id":"a"}`},
		{"PUT", "/v1/items/7/nested", json, `{"size":5}`, `{"id":"7","nested":{"size":5}}`},
		{"PUT", "/v1/items/7/nested?number=8", json, `{"size":5}`, `{"id":"7","number":"8","nested":{"size":5}}`},
		{"PUT", "/v1/items/7/nested", form, `size=5`, `{"id":"7","nested":{"size":5}}`},
		{"PUT", "/v1/tags?id=x", json, `["a","b"]`, `{"id":"x","tags":["a","b"]}`},
		{"PATCH", "/v1/items/7", json, `{"size":0,"more":[1]}`, `{"nested":{"id":"7","more":[1]},"updateMask":"size,more"}`},
		{"PATCH", "/v1/items/7?updateMask=size", json, `{"size":1,"more":[1]}`, `{"nested":{"id":"7","size":1,"more":[1]},"updateMask":"size"}`},
		{"POST", "/test.v1.S/Plain", "content-type: application/json; accept: application/problem+json", `{"id":"x"}`, `{"id":"x"}`},
		{"POST", "/any/thing", json, `{"id":"body","number":"1"}`, `{"id":"any/thing","number":"1"}`},
	} {
		t.Run(tc.verb+" "+tc.path, func(t *testing.T) {
			r := newTrial(t)
			a := r.do(tc.verb, tc.path, tc.headers, tc.body, out, `{}`)
			if a.Status != 200 {
				t.Fatalf("%d %s", a.Status, a.Body)
			}
			if got := r.messages(in); len(got) != 1 || got[0] != tc.want {
				t.Errorf("the backend got %v, want %s", got, tc.want)
			}
		})
	}
}

// TestRefused is what the client gets if its request is wrong.
func TestRefused(t *testing.T) {
	const json = "content-type: application/json"
	for _, tc := range []struct {
		verb, path, headers, body string
		status                    int
		want                      string
	}{
		{"GET", "/nope?", "-", "", 200, ""},
		{"POST", "/v1/make", json, `{"id":`, 400, `{"code":3,"message":"request: JSON, byte 6`},
		{"POST", "/v1/make", json, `{"idd":"a"}`, 400, `did you mean`},
		{"POST", "/v1/make", json, `{"number":"x"}`, 400, `number`},
		{"GET", "/v1/list?number=x", "-", "", 400, "query: field number"},
		{"GET", "/v1/list?numbre=1", "-", "", 400, `numbre`},
		{"GET", "/v1/list?a=%zz", "-", "", 400, "malformed"},
		{"GET", "/v1/items/7?id=8", "-", "", 400, "id is in the path or the body already"},
		{"PUT", "/v1/items/7/nested?nested.id=8", json, "{}", 400, "nested.id is in the path or the body already"},
		{"POST", "/v1/make?id=8", json, "{}", 400, "has to be in the body"},
		{"GET", "/v1/list", "grpc-timeout: x", "", 400, "grpc-timeout"},
		{"GET", "/v1/list", "x-server-timeout: -1", "", 400, "x-server-timeout"},
		{"POST", "/v1/make", json, `{"id":"` + strings.Repeat("x", 1000) + `"}`, 413, "limits.message_bytes"},
		{"POST", "/v1/make", "content-type: image/png", "x", 415, `unsupported content-type "image/png"`},
		{"DELETE", "/v1/list", "-", "", 405, "DELETE is not a verb of /v1/list"},
		{"GET", "/v1/list", "accept: image/png", "", 406, "application/json"},
		{"GET", "/v1/list?$alt=xml", "-", "", 400, "$alt=xml"},
		{"GET", "/.well-known/x", "accept: application/problem+json", "", 404, `{"type":"about:blank","title":"NOT_FOUND","status":404,"detail":"nothing is at`},
	} {
		t.Run(tc.verb+" "+tc.path, func(t *testing.T) {
			r := newTrial(t)
			a := r.do(tc.verb, tc.path, tc.headers, tc.body, out, `{}`)
			if a.Status != tc.status || !strings.Contains(string(a.Body), tc.want) {
				t.Errorf("%d %s, want %d %s", a.Status, a.Body, tc.status, tc.want)
			}
		})
	}
}

// TestUnary is what the client gets of a unary answer.
func TestUnary(t *testing.T) {
	t.Run("answer", func(t *testing.T) {
		r := newTrial(t)
		r.onEnd = func(b *backend) {
			b.head(rpc.Field{Key: "x-a", Value: "1"}, rpc.Field{Key: "http-status", Value: "201"}, rpc.Field{Key: "location", Value: "/v1/items/1"})
			b.send(out, `{"id":"a","number":"5","kind":"BIG"}`)
			b.end(rpc.Status{}, rpc.Metadata{{Key: "x-t", Value: "2"}})
		}
		a := r.start("GET", "/v1/list", "x-in: v; authorization: Bearer t; accept: */*; last-event-id: 4; sec-fetch-mode: cors").close().finish()
		if a.Status != 201 || string(a.Body) != `{"id":"a","number":"5","kind":"BIG"}` {
			t.Errorf("%d %s", a.Status, a.Body)
		}
		want := []exchange.Field{
			{Name: "content-type", Value: "application/json"}, {Name: "content-length", Value: fmt.Sprint(len(a.Body))}, {Name: "vary", Value: "Accept"},
			{Name: "x-a", Value: "1"}, {Name: "location", Value: "/v1/items/1"}, {Name: "x-t", Value: "2"},
		}
		if diff := cmp.Diff(want, a.Fields); diff != "" {
			t.Error(diff)
		}
		md := rpc.Metadata{{Key: "x-in", Value: "v"}, {Key: "authorization", Value: "Bearer t"}, {Key: "last-event-id", Value: "4"}}
		if diff := cmp.Diff(md, r.call.Metadata); diff != "" {
			t.Error(diff)
		}
		if r.call.Protocol != "rest" || r.call.Method != "/test.v1.S/List" || r.call.Codec != "proto" || r.call.Schema == nil {
			t.Errorf("%+v", r.call)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		for headers, want := range map[string]time.Duration{"grpc-timeout: 2S": 2 * time.Second, "x-server-timeout: 0.5": 500 * time.Millisecond} {
			r := newTrial(t)
			r.do("GET", "/v1/list", headers, "", out, "{}")
			if got := r.call.Deadline.Sub(r.call.Received); got != want {
				t.Errorf("%s: %v", headers, got)
			}
		}
	})
	t.Run("HEAD", func(t *testing.T) {
		r := newTrial(t)
		a := r.do("HEAD", "/v1/list", "-", "", out, `{"id":"a"}`)
		if a.Status != 200 || len(a.Body) != 0 || a.Get("content-length") != "10" {
			t.Errorf("%d %q %v", a.Status, a.Body, a.Fields)
		}
	})
	t.Run("protobuf", func(t *testing.T) {
		a := newTrial(t).do("GET", "/v1/list", "accept: application/x-protobuf", "", out, `{"id":"a"}`)
		if string(a.Body) != "\n\x01a" || a.Get("content-type") != "application/x-protobuf" {
			t.Errorf("%q %v", a.Body, a.Fields)
		}
	})
	t.Run("enum numbers", func(t *testing.T) {
		a := newTrial(t).do("GET", "/v1/list?$alt=json;enum-encoding=int", "-", "", out, `{"kind":"BIG"}`)
		if string(a.Body) != `{"kind":1}` {
			t.Errorf("%q", a.Body)
		}
	})
	t.Run("response_body", func(t *testing.T) {
		a := newTrial(t).do("PUT", "/v1/tags", "content-type: application/json", "[]", out, `{"id":"a","tags":["x"]}`)
		if string(a.Body) != `["x"]` {
			t.Errorf("%q", a.Body)
		}
	})
	for name, script := range map[string]func(*backend){
		"none": func(b *backend) { b.end(rpc.Status{}, nil) },
		"two": func(b *backend) {
			b.send(out, "{}", "{}")
			b.end(rpc.Status{}, nil)
		},
		"cut": func(b *backend) {
			b.raw([]byte{0, 0, 0, 0, 9, 1})
			b.end(rpc.Status{}, nil)
		},
		"broken": func(b *backend) {
			b.raw([]byte{0, 0, 0, 0, 1, 0xff})
			b.end(rpc.Status{}, nil)
		},
		"large": func(b *backend) {
			b.raw([]byte{0, 0, 1, 0, 0})
			b.end(rpc.Status{}, nil)
		},
	} {
		t.Run("answer/"+name, func(t *testing.T) {
			r := newTrial(t)
			r.onEnd = script
			a := r.start("GET", "/v1/list", "-").close().finish()
			if a.Status < 429 || r.outcome.Status.OK() {
				t.Errorf("%d %s", a.Status, a.Body)
			}
		})
	}
	t.Run("in pieces", func(t *testing.T) {
		r := newTrial(t)
		r.onEnd = func(b *backend) {
			for _, c := range []byte("\x00\x00\x00\x00\x03\n\x01a") {
				b.raw([]byte{c})
			}
			b.end(rpc.Status{}, nil)
		}
		if a := r.start("GET", "/v1/list", "-").close().finish(); string(a.Body) != `{"id":"a"}` {
			t.Errorf("%q", a.Body)
		}
	})
}

// TestFailure is what the client gets of a status.
func TestFailure(t *testing.T) {
	// A google.rpc.Status with a detail of a known and one of an unknown type.
	details := "\x08\x05\x12\x04gone" +
		"\x1a\x2b\n\x20type.googleapis.com/test.v1.Nested\x12\x02\x10\x07"
	details = strings.Replace(details, "\x20type", "\x22type", 1)
	details = strings.Replace(details, "\x1a\x2b", "\x1a\x28", 1)
	details += "\x1a\x09\n\x03a/b\x12\x02\x10\x07"
	r := newTrial(t)
	r.onEnd = func(b *backend) {
		b.end(rpc.Status{Code: rpc.NotFound, Message: "gone \"x\"", Details: []byte(details), Remote: true}, nil)
	}
	a := r.start("GET", "/v1/items/1", "-").close().finish()
	want := `{"code":5,"message":"gone \"x\"","details":[{"@type":"type.googleapis.com/test.v1.Nested","size":7},{"@type":"a/b","value":"EAc="}]}` + "\n"
	if a.Status != 404 || string(a.Body) != want {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	r = newTrial(t)
	r.onEnd = func(b *backend) { b.end(rpc.Status{Code: rpc.Unavailable, Message: "later"}, nil) }
	a = r.start("GET", "/v1/items/1", "accept: application/problem+json, application/json;q=0.9").close().finish()
	want = `{"type":"about:blank","title":"UNAVAILABLE","status":503,"detail":"later","code":14,"details":[]}` + "\n"
	if a.Status != 503 || string(a.Body) != want || a.Get("content-type") != "application/problem+json" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}

func TestHTTPStatus(t *testing.T) {
	// google/rpc/code.proto, the comments of its values.
	want := []int{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}
	for c, status := range want {
		if got := HTTPStatus(rpc.Code(c)); got != status {
			t.Errorf("%v: %d", rpc.Code(c), got)
		}
	}
	if HTTPStatus(99) != 500 {
		t.Error(HTTPStatus(99))
	}
}
