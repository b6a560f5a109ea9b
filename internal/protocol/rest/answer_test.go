package rest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/compress"
	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// coded returns content in a content coding.
func coded(t testing.TB, name, content string) string {
	t.Helper()
	if name == "deflate" || name == "" {
		t.Fatal("not made here")
	}
	b, err := compress.Append(nil, strings.TrimPrefix(name, "x-"), []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestContentEncoding is what the backend gets of a compressed body.
func TestContentEncoding(t *testing.T) {
	const json = "content-type: application/json; "
	form := aPart("id", "", "a") + "--b--"
	for _, tc := range []struct {
		verb, path, headers, body string
		in, want                  string
	}{
		{"POST", "/v1/make", json + "content-encoding: gzip", coded(t, "gzip", `{"id":"a"}`), in, `{"id":"a"}`},
		{"POST", "/v1/make", json + "content-encoding: X-GZIP", coded(t, "gzip", `{"id":"a"}`), in, `{"id":"a"}`},
		{"POST", "/v1/make", json + "content-encoding: br", coded(t, "br", `{"id":"a"}`), in, `{"id":"a"}`},
		{"POST", "/v1/make", json + "content-encoding: zstd", coded(t, "zstd", `{"id":"a"}`), in, `{"id":"a"}`},
		{"POST", "/v1/make", json + "content-encoding: deflate", "\x78\x9c\xab\x56\xca\x4c\x51\xb2\x52\x4a\x54\xaa\x05\x00\x13\x0f\x03\x0d", in, ""},
		{"POST", "/v1/make", json + "content-encoding: identity", `{"id":"a"}`, in, `{"id":"a"}`},
		{"POST", "/v1/make", json + "content-encoding: gzip", "", in, `{}`},
		{"POST", "/v1/make", multipartType + "; content-encoding: gzip", coded(t, "gzip", form), in, `{"id":"a"}`},
		{"PUT", "/v1/file", "content-type: a/b; content-encoding: gzip", coded(t, "gzip", "abc"), httpBodyName, `{"contentType":"a/b","data":"YWJj"}`},
		{"GET", "/v1/list", "content-encoding: nobody", "", in, `{}`},
	} {
		r := newTrial(t)
		a := r.do(tc.verb, tc.path, tc.headers, tc.body, out, `{}`)
		if tc.want == "" { // the sum of these bytes is wrong: the coding is known, and looked at
			if a.Status != 400 || !strings.Contains(string(a.Body), "deflate") {
				t.Errorf("%s: %d %s", tc.headers, a.Status, a.Body)
			}
			continue
		}
		if got := r.messages(protoreflect.FullName(tc.in)); a.Status != 200 || len(got) != 1 || got[0] != tc.want {
			t.Errorf("%s: %d %s, the backend got %v, want %s", tc.headers, a.Status, a.Body, got, tc.want)
		}
	}
}

func TestContentEncodingRefused(t *testing.T) {
	for _, tc := range []struct {
		path, headers, body string
		status              int
		want, accept        string
	}{
		{"/v1/make", "content-encoding: compress", "x", 415, "unsupported content-encoding compress", "gzip, br, zstd, deflate"},
		{"/v1/make", "content-encoding: snappy", "x", 415, "unsupported content-encoding snappy", "gzip, br, zstd, deflate"},
		{"/v1/make", "content-encoding: gzip, gzip", "x", 415, "unsupported content-encoding gzip, gzip", "gzip, br, zstd, deflate"},
		{"/v1/upload", "content-encoding: gzip", "x", 415, "a stream of messages can't be compressed", "identity"},
		{"/v1/make", "content-encoding: gzip", "x", 400, "request: gzip", ""},
		{"/v1/make", "content-encoding: gzip", coded(t, "gzip", "{")[:10], 400, "request: gzip", ""},
		{"/v1/make", "content-encoding: gzip", coded(t, "gzip", strings.Repeat(" ", 1001)), 413, "limits.message_bytes", ""},
		{"/v1/make", "content-encoding: zstd", coded(t, "zstd", strings.Repeat(" ", 1001)), 413, "limits.message_bytes", ""},
	} {
		r := newTrial(t).start("POST", tc.path, tc.headers).give(tc.body).close()
		a := r.finish()
		if a.Status != tc.status || !strings.Contains(string(a.Body), tc.want) || a.Get("accept-encoding") != tc.accept {
			t.Errorf("%s %s: %d %s %v", tc.path, tc.headers, a.Status, a.Body, a.Fields)
		}
	}
	// Over 1 MiB the ratio counts.
	r := newTrial(t)
	r.o.MaxMessage = 4 << 20
	a := r.start("POST", "/v1/make", "content-encoding: gzip").give(coded(t, "gzip", strings.Repeat(" ", 3<<20))).close().finish()
	if a.Status != 413 || !strings.Contains(string(a.Body), "limits.decompression_ratio") {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}

// TestCompressed: long answers are compressed for who accepts it.
func TestCompressed(t *testing.T) {
	long, short := `{"id":"`+strings.Repeat("x", 1100)+`"}`, `{"id":"x"}`
	for _, tc := range []struct {
		verb, headers, answer string
		style                 func(*Style)
		want, vary            string
	}{
		{"GET", "accept-encoding: gzip", long, nil, "gzip", "Accept, Accept-Encoding"},
		{"GET", "accept-encoding: gzip, deflate, br", long, nil, "gzip", "Accept, Accept-Encoding"},
		{"GET", "accept-encoding: gzip;q=0.5, br", long, nil, "br", "Accept, Accept-Encoding"},
		{"GET", "accept-encoding: *", long, nil, "zstd", "Accept, Accept-Encoding"},
		{"GET", "accept-encoding: *, zstd;q=0", long, nil, "gzip", "Accept, Accept-Encoding"},
		{"GET", "accept-encoding: gzip;q=0", long, nil, "", "Accept, Accept-Encoding"},
		{"GET", "accept-encoding: identity", long, nil, "", "Accept, Accept-Encoding"},
		{"GET", "-", long, nil, "", "Accept, Accept-Encoding"},
		{"GET", "accept-encoding: gzip", short, nil, "", "Accept"},
		{"HEAD", "accept-encoding: gzip", long, nil, "gzip", "Accept, Accept-Encoding"},
		{"GET", "accept-encoding: gzip", long, func(s *Style) { s.Compress = 0 }, "", "Accept"},
		{"GET", "accept-encoding: gzip; accept: application/x-ndjson", long, nil, "", "Accept"}, // a stream
		{"GET", "accept-encoding: gzip; accept: application/x-protobuf", long, nil, "gzip", "Accept, Accept-Encoding"},
	} {
		r := newTrial(t)
		r.o.MaxMessage = 10000
		if tc.style != nil {
			r.style(tc.style)
		}
		a := r.do(tc.verb, "/v1/list", tc.headers, "", out, tc.answer)
		if a.Status != 200 || a.Get("content-encoding") != tc.want || a.Get("vary") != tc.vary {
			t.Errorf("%s: %d %v", tc.headers, a.Status, a.Fields)
			continue
		}
		if tc.verb == "HEAD" || strings.Contains(tc.headers, "accept: ") {
			continue
		}
		body := a.Body
		if tc.want != "" {
			var err error
			if body, err = compress.Decompress(tc.want, body, 10000, 0); err != nil {
				t.Errorf("%s: %v", tc.headers, err)
			}
		}
		if string(body) != tc.answer || a.Get("content-length") != fmt.Sprint(len(a.Body)) {
			t.Errorf("%s: %.100s %v", tc.headers, body, a.Fields)
		}
	}
	// The backend may forbid it, and what gets longer stays as it is.
	r := newTrial(t)
	r.o.MaxMessage = 10000
	r.onEnd = func(b *backend) {
		b.head(rpc.Field{Key: "cache-control", Value: "private, No-Transform"})
		b.send(out, long)
		b.end(rpc.Status{}, nil)
	}
	if a := r.start("GET", "/v1/list", "accept-encoding: gzip").close().finish(); a.Get("content-encoding") != "" {
		t.Errorf("%v", a.Fields)
	}
	// The standard library reads it.
	r = newTrial(t)
	r.o.MaxMessage = 10000
	a := r.do("GET", "/v1/list", "accept-encoding: gzip", "", out, long)
	z, err := gzip.NewReader(bytes.NewReader(a.Body))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); err != nil || string(b) != long {
		t.Errorf("%.100s %v", b, err)
	}
}

// TestETag: a client that has an answer gets none again.
func TestETag(t *testing.T) {
	const one, two = `{"id":"a","number":"5"}`, `{"id":"b"}`
	get := func(t *testing.T, verb, path, headers, answer string, on bool, md ...rpc.Field) (status int, tag string, body string) {
		t.Helper()
		r := newTrial(t)
		r.o.MaxMessage = 10000
		r.style(func(s *Style) { s.ETag = on })
		r.onEnd = func(b *backend) {
			b.head(md...)
			b.send(out, answer)
			b.end(rpc.Status{}, nil)
		}
		a := r.start(verb, path, headers).close().finish()
		if a.Status == 304 && (len(a.Body) > 0 || a.Get("content-length") != "" || a.Get("content-type") != "" || a.Get("vary") == "") {
			t.Errorf("304 with %q %v", a.Body, a.Fields)
		}
		return a.Status, a.Get("etag"), string(a.Body)
	}
	_, tag, body := get(t, "GET", "/v1/list", "-", one, true)
	if !strings.HasPrefix(tag, `"`) || len(tag) < 20 || body != one {
		t.Fatalf("%q %s", tag, body)
	}
	for _, tc := range []struct {
		verb, headers, answer string
		status                int
	}{
		{"GET", "if-none-match: " + tag, one, 304},
		{"HEAD", "if-none-match: " + tag, one, 304},
		{"GET", `if-none-match: "x", W/` + tag, one, 304},
		{"GET", "if-none-match: *", one, 304},
		{"GET", "if-none-match: " + tag[:len(tag)-1] + `-gzip"`, one, 304},
		{"GET", "if-none-match: " + tag, two, 200},
		{"GET", `if-none-match: "x, ` + tag[1:], one, 200},
		{"GET", `if-none-match: "`, one, 200},
		{"GET", `if-none-match: W/`, one, 200},
		{"GET", `if-none-match: x`, one, 200},
		{"GET", "if-none-match: " + tag + "; accept: application/x-ndjson", one, 200},
	} {
		if status, _, _ := get(t, tc.verb, "/v1/list", tc.headers, tc.answer, true); status != tc.status {
			t.Errorf("%s: %d, want %d", tc.headers, status, tc.status)
		}
	}
	if status, tag, _ := get(t, "GET", "/v1/list", "if-none-match: "+tag, one, false); status != 200 || tag != "" {
		t.Errorf("switched off: %d %q", status, tag)
	}
	if status, tag, _ := get(t, "POST", "/v1/make", "if-none-match: *", one, true); status != 200 || tag != "" {
		t.Errorf("POST: %d %q", status, tag)
	}
	// The backend's own goes before.
	own := rpc.Field{Key: "etag", Value: `"v1"`}
	if status, tag, _ := get(t, "GET", "/v1/list", "-", one, true, own); status != 200 || tag != `"v1"` {
		t.Errorf("own: %d %q", status, tag)
	}
	if status, tag, _ := get(t, "GET", "/v1/list", `if-none-match: "v1"`, two, true, own); status != 304 || tag != `"v1"` {
		t.Errorf("own: %d %q", status, tag)
	}
	if status, _, _ := get(t, "GET", "/v1/list", "if-none-match: *", one, true, rpc.Field{Key: "http-status", Value: "404"}); status != 404 {
		t.Errorf("404: %d", status)
	}
	// Compressed content is another representation.
	long := `{"id":"` + strings.Repeat("x", 1100) + `"}`
	_, plain, _ := get(t, "GET", "/v1/list", "-", long, true)
	_, zipped, _ := get(t, "GET", "/v1/list", "accept-encoding: gzip", long, true)
	if zipped != plain[:len(plain)-1]+`-gzip"` {
		t.Errorf("%q, and compressed %q", plain, zipped)
	}
	if _, tag, _ := get(t, "GET", "/v1/list", "accept-encoding: gzip", long, true, own); tag != `W/"v1"` {
		t.Errorf("own, compressed: %q", tag)
	}
	if status, _, _ := get(t, "GET", "/v1/list", "accept-encoding: gzip; if-none-match: "+zipped, long, true); status != 304 {
		t.Errorf("compressed: %d", status)
	}
	// Equal messages are equal JSON, in whatever order they are on the wire.
	r := newTrial(t).style(func(s *Style) { s.ETag = true })
	r.onEnd = func(b *backend) {
		b.raw(envelopes("\x10\x05" + field(1, "a")))
		b.end(rpc.Status{}, nil)
	}
	if a := r.start("GET", "/v1/list", "-").close().finish(); a.Get("etag") != tag {
		t.Errorf("another order: %s, want %s", a.Get("etag"), tag)
	}
}

// TestFields: a client gets what it asks for.
func TestFields(t *testing.T) {
	const answer = `{"id":"a","number":"5","tags":["x"],"kind":"BIG"}`
	for _, tc := range []struct {
		path, headers string
		style         func(*Style)
		status        int
		want          string
	}{
		{"/v1/list?$fields=id,number", "-", nil, 200, `{"id":"a","number":"5"}`},
		{"/v1/list?fields=kind", "-", nil, 200, `{"kind":"BIG"}`},
		{"/v1/list?$fields=*", "-", nil, 200, answer},
		{"/v1/list?$fields=id", "accept: application/x-protobuf", nil, 200, "\n\x01a"},
		{"/v1/list?$fields=id", "accept: text/event-stream", nil, 200, "id: 1\ndata: {\"id\":\"a\"}\n\nevent: EOS\nid: EOS\ndata: \n\n"},
		{"/v1/list?$fields=id", "-", func(s *Style) { s.JSON.EmitDefaults = true }, 200, `{"id":"a"}`},
		{watch + "?$fields=tags", "-", nil, 200, "{\"tags\":[\"x\"]}\n"},
		{"/v1/list?$fields=idd", "-", nil, 400, `did you mean`},
		{"/v1/list?$fields=id.x", "-", nil, 400, `query: $fields: fields of test.v1.Response: id is of type string`},
		{watch + "?$fields=", "-", nil, 400, `query: $fields:`},
	} {
		r := newTrial(t)
		if tc.style != nil {
			r.style(tc.style)
		}
		a := r.do("GET", tc.path, tc.headers, "", out, answer)
		if a.Status != tc.status || tc.status == 200 && string(a.Body) != tc.want || !strings.Contains(string(a.Body), tc.want) {
			t.Errorf("%s: %d %s, want %s", tc.path, a.Status, a.Body, tc.want)
		}
	}
}
