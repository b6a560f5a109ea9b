package rest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/rpc"
)

// What FuzzServer's bytes choose from.
var (
	fuzzTargets = []string{
		"GET /v1/list", "GET /v1/items/7", "GET " + watch, "GET /v1/file", "GET /v1/files", "GET /nope", "HEAD /v1/list", "HEAD /v1/file", "OPTIONS /v1/make",
		"POST /v1/make", "PUT /v1/items/7/nested", "PATCH /v1/items/7", "PUT /v1/tags", "POST /v1/upload", "POST /v1/items/7/upload", "POST /v1/lists/7/upload",
		"POST /v1/chat", "PUT /v1/file", "PUT /v1/one/x", "POST /v1/one", "PUT /v1/typed/a/b", "PUT /v1/files/x", "POST /v1/files", "POST /v1/inner/x", "POST /v1/inner1/x",
		"POST /test.v1.S/Plain", "POST /test.v1.S/Feed", "CONNECT /v1/chat", "DELETE /v1/make",
	}
	fuzzTypes = []string{
		"-: -", "content-type: application/json", "content-type: application/x-ndjson", "content-type: application/json-seq", "content-type: application/x-protobuf",
		"content-type: application/x-www-form-urlencoded", multipartType, "content-type: image/png",
	}
	fuzzAccepts = []string{
		"-: -", "accept: application/json", "accept: text/event-stream", "accept: application/json-seq", "accept: application/x-protobuf",
		"accept: application/x-ndjson", "accept: application/problem+json", "accept-encoding: gzip",
	}
)

// fuzzTables are tables of methods in two styles.
var fuzzTables = sync.OnceValue(func() (tables [2]*Table) {
	s := Sluice()
	tables[0], _ = newTable(s)
	s.ETag, s.Compress, s.EachMessage, s.JSON.EmitDefaults = true, 10, true, true
	tables[1], _ = newTable(s)
	return tables
})

// answerBy is a backend's script, a byte for each event: a head, a message of the bytes
// that follow, bytes as they are, an end.
func answerBy(script []byte, piece int) func(*backend) {
	return func(b *backend) {
		headed := false
		raw := func(p []byte) {
			for len(p) > 0 && !b.over {
				n := min(piece, len(p))
				b.raw(p[:n])
				p = p[n:]
			}
		}
		for len(script) > 0 && !b.over {
			op := script[0]
			script = script[1:]
			take := func() []byte {
				if len(script) == 0 {
					return nil
				}
				n := min(int(script[0]), len(script)-1)
				p := script[1 : 1+n]
				script = script[1+n:]
				return p
			}
			switch op % 6 {
			case 0:
				if !headed {
					key := []string{"x-a", "http-status", "sse-event", "sse-id-field", "etag", "sse-retry"}[int(op/6)%6]
					b.head(rpc.Field{Key: key, Value: fmt.Sprint(200 + int(op))})
				}
				headed = true
			case 1:
				p := take()
				raw(append(envelope.Append(nil, 0, len(p)), p...))
				headed = true
			case 2:
				raw(take())
				headed = true
			case 3:
				b.end(rpc.Status{Code: rpc.Code(op / 6), Message: string(take())}, rpc.Metadata{{Key: "x-t", Value: "1"}})
			case 4: // a long message
				p := bytes.Repeat(take(), 1+int(op))
				raw(append(envelope.Append(nil, op&1, len(p)), p...))
				headed = true
			case 5:
				b.end(rpc.Status{}, nil)
			}
		}
		b.end(rpc.Status{}, nil)
	}
}

// FuzzServer: any request and any answer, cut anywhere, give the same result; the contract
// of both sides is kept, and all memory is given back.
func FuzzServer(f *testing.F) {
	add := func(target, contentType, accept int, query, headers, body, script string) {
		f.Add(uint8(target), uint8(contentType|accept<<4), query, headers, []byte(body), uint8(len(body)/2), []byte(script), accept == 0)
	}
	add(9, 1, 0, "", "-", `{"id":"a"}`, "\x01\x03\n\x01a")
	add(2, 0, 2, "$fields=id", "-", "", "\x00\x01\x03\n\x01a\x01\x03\n\x01b\x0f\x01x")
	add(16, 1, 1, "", "te: trailers", `[{"id":"a"},{}]`, "\x01\x00\x04\x03\n\x01a\x05")
	add(17, 7, 0, "", "content-length: 3", "abc", "\x01\x00")
	add(18, 7, 0, "", "-", "abc", "\x01\x07\x12\x05\n\x01a\x12\x00")
	add(4, 0, 0, "", "-", "", "\x01\x06\n\x01a\x12\x01b\x01\x03\x12\x01c\x09\x00")
	add(19, 6, 0, "", "-", aPart("name", "", "x")+aPart("file;f", "a/b", "y")+"--b--", "\x01\x00")
	add(22, 6, 0, "", "-", aPart("name", "", "x")+aPart("file;f", "a/b", "y")+"--b--", "\x01\x00")
	add(9, 1, 7, "", "content-encoding: gzip", coded(f, "gzip", `{"id":"a"}`), "\x04\x01x")
	add(13, 4, 0, "", "-", "\x03\n\x01a\x00", "\x02\x05\x00\x00\x00\x00\x00")
	add(9, 5, 3, "", "-", "id=a&tags=b", "\x01\x00")
	f.Fuzz(func(t *testing.T, target, types uint8, query, headers string, body []byte, piece uint8, script []byte, plain bool) {
		if strings.ContainsAny(query, " \r\n#") || strings.ContainsAny(headers, "\r\n") {
			return // no carrier has it
		}
		verb, path, _ := strings.Cut(fuzzTargets[int(target)%len(fuzzTargets)], " ")
		headers = fuzzTypes[types&7] + "; " + fuzzAccepts[types>>4&7] + "; " + headers
		if query != "" {
			path += "?" + query
		}
		type result struct {
			Status  int
			Fields  []exchange.Field
			Body    string
			Trailer []exchange.Field
			Broken  bool
			Sent    string // to the backend
			Outcome rpc.Code
		}
		run := func(in, out int) (res result, passed bool) {
			r := newTrial(t)
			r.o.Table = func() *Table { return fuzzTables()[0] }
			if !plain {
				r.o.Table = func() *Table { return fuzzTables()[1] }
			}
			r.onEnd = answerBy(script, out)
			r.start(verb, path, headers)
			for rest := body; len(rest) > 0; rest = rest[min(in, len(rest)):] {
				r.give(string(rest[:min(in, len(rest))]))
			}
			a := r.close().finish()
			res = result{a.Status, a.Fields, string(a.Body), a.Trailer, a.Broken, string(r.backend.body), r.outcome.Status.Code}
			if a.Status == 413 { // it says how much had come
				res.Body, res.Fields = "", nil
			}
			if r.call != nil && r.call.Schema.ClientStreaming {
				// Pieces are messages as they come, and where they stop depends on it too.
				passed = r.call.Method == "/test.v1.S/PutAll"
			}
			return res, passed
		}
		whole, passed := run(len(body)+1, 1<<20)
		cut, _ := run(int(piece)+1, int(piece)+1)
		if passed {
			whole.Sent, cut.Sent = "", ""
		}
		if diff := cmp.Diff(whole, cut); diff != "" {
			t.Errorf("whole and in pieces of %d: %s", int(piece)+1, diff)
		}
		if whole.Status == 0 && !whole.Broken || whole.Status >= 600 {
			t.Errorf("status %d", whole.Status)
		}
	})
}
