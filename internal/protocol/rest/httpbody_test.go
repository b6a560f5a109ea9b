package rest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	httpBodyName = "google.api.HttpBody"
	fileRequest  = "test.v1.FileRequest"
	fileResponse = "test.v1.FileResponse"
)

// TestUploadPieces: a body with a length is one message, passed on as it comes.
func TestUploadPieces(t *testing.T) {
	for _, tc := range []struct {
		verb, path, contentType, body string
		in                            string
		want                          string
	}{
		{"PUT", "/v1/file", "content-type: image/png; ", "abc", httpBodyName, `{"contentType":"image/png","data":"YWJj"}`},
		{"PUT", "/v1/file", "", "abc", httpBodyName, `{"data":"YWJj"}`},
		{"PUT", "/v1/file", "", "", httpBodyName, `{}`},
		{"PUT", "/v1/one/x", "content-type: text/plain; ", "abc", fileRequest, `{"name":"x","file":{"contentType":"text/plain","data":"YWJj"}}`},
		{"PUT", "/v1/one/x", "content-type: text/plain; ", "", fileRequest, `{"name":"x","file":{"contentType":"text/plain"}}`},
		{"PUT", "/v1/typed/a/b?name=y", "content-type: text/plain; ", "abc", fileRequest, `{"name":"y","file":{"contentType":"a/b","data":"YWJj"}}`},
		{"PUT", "/v1/file", "", strings.Repeat("x", 900), httpBodyName, `{"data":"` + strings.Repeat("eHh4", 300) + `"}`},
	} {
		for _, length := range []bool{false, true} { // without one it is assembled
			r := newTrial(t)
			headers := tc.contentType
			if length {
				headers += fmt.Sprintf("content-length: %d", len(tc.body))
			}
			r.noCredit = true
			r.onEnd = func(b *backend) {
				b.response.Credit(len(b.body))
				b.send(fileResponse, `{}`)
				b.end(rpc.Status{}, nil)
			}
			r.start(tc.verb, tc.path, strings.TrimSuffix(headers, "; "))
			for i := range tc.body {
				r.give(tc.body[i : i+1])
				if length && !bytes.HasSuffix(r.body, []byte(tc.body[:i+1])) {
					t.Fatalf("after %d bytes the backend got %q", i+1, r.body)
				}
				if a := r.client.Answer(); length && a.Credit != 0 {
					t.Fatalf("credit for %d bytes before the backend gave any", a.Credit)
				}
			}
			a := r.close().finish()
			if got := r.messages(protoreflect.FullName(tc.in)); a.Status != 200 || len(got) != 1 || got[0] != tc.want {
				t.Errorf("%s, length %v: %d %s, the backend got %v, want %s", tc.path, length, a.Status, a.Body, got, tc.want)
			}
			if n := r.call.Stats.RequestBytes.Load(); n != int64(len(r.body)) || r.call.Stats.RequestMessages.Load() != 1 {
				t.Errorf("%d bytes of %d messages counted, %d sent", n, r.call.Stats.RequestMessages.Load(), len(r.body))
			}
		}
	}
}

// TestUploadCreditExact: the client may send as much as the backend took, to the piece.
func TestUploadCreditExact(t *testing.T) {
	r := newTrial(t)
	r.noCredit = true
	r.start("PUT", "/v1/file", "content-type: a/b; content-length: 9")
	r.give("abc")
	head := len(r.body) - 3
	for _, step := range []struct {
		credit, want int
		give         string
	}{{head, 0, ""}, {2, 0, ""}, {1, 3, "def"}, {1, 3, "ghi"}, {2, 6, ""}, {3, 9, ""}} {
		r.response.Credit(step.credit)
		if a := r.client.Answer(); a.Credit != step.want {
			t.Errorf("credit of %d, want %d", a.Credit, step.want)
		}
		if step.give != "" {
			r.give(step.give)
		}
	}
	r.close()
	r.end(rpc.Status{Code: rpc.Aborted}, nil)
	r.finish()
}

func TestUploadRefused(t *testing.T) {
	for _, tc := range []struct {
		path, headers, body string
		status              int
		want                string
	}{
		{"/v1/file", "content-length: 3", "ab", 400, "the body ends after 2 of the 3 bytes"},
		{"/v1/file", "content-length: 3", "", 400, "the body ends after 0 of the 3 bytes"},
		{"/v1/file", "content-length: 3", "abcd", 400, "longer than the 3 bytes"},
		{"/v1/file", "content-length: 1001", "a", 413, "limits.message_bytes"},
		{"/v1/file", "content-length: 999", "a", 413, "limits.message_bytes"}, // with its tag and length
		{"/v1/file?x=1", "content-length: 1", "a", 400, "query"},
		{"/v1/files/x?y=1", "-", "a", 400, "query"},
		{"/v1/files/" + strings.Repeat("x", 1000), "-", "a", 413, "limits.message_bytes"},
	} {
		r := newTrial(t).start("PUT", tc.path, tc.headers)
		if tc.body != "" {
			r.give(tc.body)
		}
		a := r.close().finish()
		if a.Status != tc.status || !strings.Contains(string(a.Body), tc.want) {
			t.Errorf("%s %s: %d %s", tc.path, tc.headers, a.Status, a.Body)
		}
	}
}

// TestUploadLargePiece: no piece of a stream is larger than a message may be.
func TestUploadLargePiece(t *testing.T) {
	r := newTrial(t)
	r.onEnd = func(b *backend) {
		b.send(out, `{}`)
		b.end(rpc.Status{}, nil)
	}
	r.start("PUT", "/v1/files/name", "content-type: text/csv").give(strings.Repeat("a", 2500)).close()
	if a := r.finish(); a.Status != 200 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	rest, n := r.body, 0
	for len(rest) > 0 {
		size := int(rest[3])<<8 | int(rest[4])
		if size > 1000 {
			t.Errorf("a message of %d bytes", size)
		}
		rest, n = rest[envelope.PrefixLen+size:], n+1
	}
	if n != 3 || bytes.Count(r.body, []byte("a")) != 2501 { // and one in the name
		t.Errorf("%d messages, %d bytes", n, bytes.Count(r.body, []byte("a")))
	}
}

// field is a field of bytes.
func field(n protowire.Number, v string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), v))
}

// envelopes puts prefixes before messages.
func envelopes(messages ...string) []byte {
	var b []byte
	for _, m := range messages {
		b = append(envelope.Append(b, 0, len(m)), m...)
	}
	return b
}

// TestDownloadPieces: data goes on as it comes, wherever it is cut.
func TestDownloadPieces(t *testing.T) {
	large := strings.Repeat("0123456789", 7000)
	group := string(protowire.AppendTag(nil, 9, protowire.StartGroupType)) + field(1, "no/type") + "\x08\x07" + string(protowire.AppendTag(nil, 9, protowire.EndGroupType))
	for _, tc := range []struct {
		name, path  string
		messages    []string
		contentType string
		want        string
		length      bool
	}{
		{"small", "/v1/file", []string{field(1, "a/b") + field(2, "xyz")}, "a/b", "xyz", true},
		{"nothing", "/v1/file", []string{""}, "application/octet-stream", "", true},
		{"small, type last", "/v1/file", []string{field(2, "xyz") + field(1, "a/b")}, "a/b", "xyz", true},
		{"large", "/v1/file", []string{field(1, "a/b") + field(2, large)}, "a/b", large, true},
		{"large, type last", "/v1/file", []string{field(2, large) + field(1, "a/b")}, "a/b", large, true},
		{"large, no type", "/v1/file", []string{field(2, large)}, "application/octet-stream", large, true},
		{"large, other fields", "/v1/file", []string{"\x18\x80\x01" + field(3, "ext") + group + "\x25abcd\x29abcdefgh" + field(1, "a/b") + field(2, large) + field(3, "more")}, "a/b", large, true},
		{"large, empty data", "/v1/file", []string{field(3, large) + field(2, "") + field(1, "a/b")}, "a/b", "", true},
		{"small, in a field", "/v1/one/x", []string{field(1, "name") + field(2, field(1, "a/b")+field(2, "xyz"))}, "a/b", "xyz", true},
		{"large, in a field", "/v1/one/x", []string{field(1, "name") + field(2, field(1, "a/b")+field(2, large)) + field(1, "later")}, "a/b", large, true},
		{"large, in two fields", "/v1/one/x", []string{field(2, field(1, "a/b")) + field(2, field(2, large))}, "a/b", large, true},
		{"stream", "/v1/files", []string{field(1, "a/b") + field(2, "x"), field(2, "y"), "", field(1, "c/d"), field(2, "z") + field(1, "e/f")}, "a/b", "xyz", false},
		{"stream, type last", "/v1/files", []string{field(2, "x") + field(1, "a/b"), field(2, large)}, "a/b", "x" + large, false},
		{"stream, no type", "/v1/files", []string{field(2, "x"), field(1, "a/b")}, "application/octet-stream", "x", false},
		{"stream of nothing", "/v1/files", nil, "application/octet-stream", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sent := envelopes(tc.messages...)
			for n := 1; n <= len(sent)+1; n += 1 + n*2 {
				if n == 1 && len(sent) > 1000 {
					n = 7
				}
				verb := "GET"
				if strings.HasPrefix(tc.path, "/v1/one") {
					verb = "PUT"
				}
				r := newTrial(t)
				r.o.MaxMessage = 1 << 20
				r.start(verb, tc.path, "-").close()
				r.head()
				for i := 0; i < len(sent); i += n {
					r.raw(sent[i:min(i+n, len(sent))])
				}
				before := len(r.client.Answer().Body)
				if flows := strings.HasPrefix(tc.name, "large") && tc.want != ""; flows && before != len(tc.want)-1 {
					t.Errorf("%d bytes of %d before the status", before, len(tc.want))
				}
				r.end(rpc.Status{}, nil)
				a := r.finish()
				if a.Status != 200 || string(a.Body) != tc.want || a.Get("content-type") != tc.contentType || a.Broken {
					t.Fatalf("in pieces of %d: %d %d bytes, %v", n, a.Status, len(a.Body), a.Fields)
				}
				if tc.length && a.Get("content-length") != fmt.Sprint(len(tc.want)) {
					t.Errorf("%v", a.Fields)
				}
			}
		})
	}
}

// TestDownloadCompressed: a message that the backend has compressed is assembled.
func TestDownloadCompressed(t *testing.T) {
	large := strings.Repeat("x", 100<<10)
	for _, tc := range []struct{ path, want string }{{"/v1/file", "xyz"}, {"/v1/file", large}, {"/v1/files", large}} {
		for _, piece := range []int{1 << 20, 3} {
			m := coded(t, "gzip", field(2, tc.want)+field(1, "a/b"))
			r := newTrial(t)
			r.o.MaxMessage = 1 << 20
			r.start("GET", tc.path, "-").close()
			r.response.Head(&rpc.Head{Encoding: "gzip"})
			sent := append(envelope.Append(nil, envelope.Compressed, len(m)), m...)
			for ; len(sent) > 0; sent = sent[min(piece, len(sent)):] {
				r.raw(sent[:min(piece, len(sent))])
			}
			r.end(rpc.Status{}, nil)
			if a := r.finish(); a.Status != 200 || string(a.Body) != tc.want || a.Get("content-type") != "a/b" {
				t.Errorf("%s: %d, %d bytes, %v", tc.path, a.Status, len(a.Body), a.Fields)
			}
		}
	}
}

// TestDownloadSlow: a slow client slows the backend down, also inside of a message.
func TestDownloadSlow(t *testing.T) {
	large := strings.Repeat("x", 100<<10)
	r := newTrial(t)
	r.o.MaxMessage, r.slow = 1<<20, true
	r.start("GET", "/v1/file", "-").close()
	r.head(rpc.Field{Key: "http-status", Value: "206"}, rpc.Field{Key: "content-range", Value: "no"}, rpc.Field{Key: "x-a", Value: "1"})
	sent := envelopes(field(1, "a/b") + field(2, large))
	r.raw(sent[:50<<10])
	if a := r.client.Answer(); r.credit != 0 || a.Status != 206 || a.Get("x-a") != "1" || r.mem.held != 0 {
		t.Errorf("credit of %d, %d bytes kept, %d %v", r.credit, r.mem.held, a.Status, a.Fields)
	}
	r.q.Credit(len(r.client.Answer().Body))
	if r.credit != 50<<10 {
		t.Errorf("credit of %d", r.credit)
	}
	r.raw(sent[50<<10:])
	r.slow = false
	r.q.Credit(len(large) - 1 - (50<<10 - (len(sent) - len(large))))
	r.end(rpc.Status{}, nil)
	r.finish()
}

// TestDownloadFails: once data has left, a failure cuts the answer; no answer is as long
// as its length says, and failed.
func TestDownloadFails(t *testing.T) {
	large := strings.Repeat("x", 100<<10)
	message := field(1, "a/b") + field(2, large)
	internal := rpc.Status{Code: rpc.Internal}
	for name, tc := range map[string]struct {
		sent   []byte
		st     rpc.Status
		broken bool
		code   rpc.Code
	}{
		"status":             {envelopes(message), internal, true, rpc.Internal},
		"status before":      {nil, internal, false, rpc.Internal},
		"status, small":      {envelopes(field(2, "x")), internal, false, rpc.Internal},
		"in a message":       {envelopes(message)[:60<<10], rpc.Status{}, true, rpc.Internal},
		"in the last byte":   {envelopes(message)[:len(message)+4], rpc.Status{}, true, rpc.Internal},
		"in a prefix":        {[]byte{0, 0}, rpc.Status{}, false, rpc.Internal},
		"two":                {envelopes(message, ""), rpc.Status{}, true, rpc.Unimplemented},
		"data twice":         {envelopes(message + field(2, "y")), rpc.Status{}, true, rpc.Internal},
		"too large":          {[]byte{0, 1, 0, 0, 0}, rpc.Status{}, false, rpc.ResourceExhausted},
		"type too long":      {envelopes(field(1, large)), rpc.Status{}, false, rpc.Internal},
		"type with a line":   {envelopes(field(1, "a\r\nb: c")), rpc.Status{}, false, rpc.Internal},
		"field past the end": {envelopes("\x12\x7f"), rpc.Status{}, false, rpc.Internal},
		"tag 0":              {envelopes("\x02\x00"), rpc.Status{}, false, rpc.Internal},
		"tag alone":          {envelopes("\x0a"), rpc.Status{}, false, rpc.Internal},
		"long varint":        {envelopes("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), rpc.Status{}, false, rpc.Internal},
		"group left open":    {envelopes("\x4b"), rpc.Status{}, false, rpc.Internal},
		"group never begun":  {envelopes("\x4c"), rpc.Status{}, false, rpc.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTrial(t)
			r.o.MaxMessage = 1 << 20
			r.start("GET", "/v1/file", "-").close()
			r.head()
			if tc.sent != nil {
				r.raw(tc.sent)
			}
			r.end(tc.st, nil)
			a := r.finish()
			if a.Broken != tc.broken || r.outcome.Status.Code != tc.code || !tc.broken && a.Status == 200 || len(a.Body) >= len(large) {
				t.Errorf("%d, broken %v, %d bytes, %v", a.Status, a.Broken, len(a.Body), r.outcome)
			}
		})
	}
}

// TestDownloadHead: HEAD tells the length, and costs the backend no more than that.
func TestDownloadHead(t *testing.T) {
	r := newTrial(t)
	r.o.MaxMessage = 1 << 20
	r.start("HEAD", "/v1/file", "-").close()
	r.head()
	r.raw(envelopes(field(1, "a/b") + field(2, strings.Repeat("x", 100<<10)))[:1000])
	a := r.finish()
	if a.Status != 200 || a.Get("content-length") != fmt.Sprint(100<<10) || len(a.Body) != 0 || len(r.cancels) != 1 {
		t.Errorf("%d %v %v", a.Status, a.Fields, r.cancels)
	}
}

// FuzzBodyScanner: what is found of a message is the same wherever it is cut, and what
// protobuf's own reading finds.
func FuzzBodyScanner(f *testing.F) {
	f.Add([]byte(field(1, "a/b")+field(2, "xyz")), uint8(1), false)
	f.Add([]byte(field(1, "n")+field(2, field(1, "a/b")+field(2, "xyz"))+"\x18\x05"), uint8(3), true)
	f.Add([]byte("\x4b\x08\x01\x4c\x12\x01x"), uint8(0), false)
	f.Add([]byte("\x12\x02\x0a\x01"), uint8(0), true)
	f.Fuzz(func(t *testing.T, m []byte, piece uint8, nested bool) {
		type result struct {
			Type, Data string
			Err        error
		}
		scan := func(n int) (res result) {
			var s bodyScanner
			if nested {
				s.field = 2
			}
			s.reset(len(m))
			for rest := m; len(rest) > 0 && res.Err == nil; rest = rest[min(n, len(rest)):] {
				res.Err = s.feed(rest[:min(n, len(rest))], func(b []byte) { res.Data += string(b) })
			}
			if res.Err != nil {
				return result{Err: res.Err}
			}
			res.Type = string(s.contentType)
			return res
		}
		whole := scan(len(m) + 1)
		if diff := cmp.Diff(whole, scan(int(piece)+1), cmp.Comparer(func(a, b error) bool { return a == b })); diff != "" {
			t.Fatal(diff)
		}
		if whole.Err != nil {
			return
		}
		field := protowire.Number(0)
		if nested {
			field = 2
		}
		var want result
		err := readBody(m, field, &want.Type, &want.Data)
		if err == nil && want != whole || err != nil && !errors.Is(err, errGroup) {
			t.Errorf("%x: %+v, want %+v, %v", m, whole, want, err)
		}
	})
}

// errGroup says that there is a group, in which the scanner is less strict.
var errGroup = errors.New("group")

// readBody reads a whole HttpBody, or what has it in a field.
func readBody(m []byte, field protowire.Number, contentType, data *string) error {
	for len(m) > 0 {
		num, typ, n := protowire.ConsumeTag(m)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if typ == protowire.StartGroupType {
			return errGroup
		}
		m = m[n:]
		if n = protowire.ConsumeFieldValue(num, typ, m); n < 0 {
			return protowire.ParseError(n)
		}
		v, _ := protowire.ConsumeBytes(m[:n])
		switch {
		case typ != protowire.BytesType:
		case field != 0 && num == field:
			if err := readBody(v, 0, contentType, data); err != nil {
				return err
			}
		case field == 0 && num == httpBodyType:
			*contentType = string(v)
		case field == 0 && num == httpBodyData:
			*data += string(v)
		}
		m = m[n:]
	}
	return nil
}
