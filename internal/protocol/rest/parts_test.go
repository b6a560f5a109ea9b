package rest

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const multipartType = "content-type: multipart/form-data;boundary=b"

// aPart writes a part; what stands before the first ";" is its name.
func aPart(disposition, contentType, content string) string {
	name, file, isFile := strings.Cut(disposition, ";")
	s := "--b\r\nContent-Disposition: form-data; name=\"" + name + `"`
	if isFile {
		s += `; filename="` + file + `"`
	}
	if contentType != "" {
		s += "\r\nContent-Type: " + contentType
	}
	return s + "\r\n\r\n" + content + "\r\n"
}

// TestMultipart is what the backend gets of parts, wherever the body is cut.
func TestMultipart(t *testing.T) {
	for _, tc := range []struct {
		name, path, body string
		want             string
		status           int
		err              string
	}{
		{"text", "/v1/make", aPart("id", "", "a b") + aPart("tags", "", "x") + aPart("tags", "text/plain", "y") + aPart("nested.size", "", "5") + aPart("labels[k]", "", "v"),
			`{"id":"a b","tags":["x","y"],"nested":{"size":5},"labels":{"k":"v"}}`, 200, ""},
		{"JSON", "/v1/make", aPart("nested", "application/json", `{"id":"x","more":[1,2]}`) + aPart("tags;f.json", "application/json", `["a","b"]`),
			`{"tags":["a","b"],"nested":{"id":"x","more":[1,2]}}`, 200, ""},
		{"nothing", "/v1/make", "", `{}`, 200, ""},
		{"file", "/v1/one", aPart("name", "", "n") + aPart("file;a.txt", "text/plain", "abc"), `{"name":"n","file":{"contentType":"text/plain","data":"YWJj"}}`, 200, ""},
		{"files", "/v1/one", aPart("file", "application/json", "{}") + aPart("files;a", "", "a") + aPart("files;b", "b/c", "") + aPart("name", "", "n"),
			`{"name":"n","file":{"contentType":"application/json","data":"e30="},"files":[{"data":"YQ=="},{"contentType":"b/c"}]}`, 200, ""},
		{"bytes", "/v1/one", aPart("raw;f", "", "\x00\xff") + aPart("raws", "a/b", "\r\n") + aPart("raws;f.json", "application/json", "{}") + aPart("raws", "", "YQ==") + aPart("raws", "application/json", `["Yg"]`) + aPart("byName[k]", "", "Yw"),
			`{"raw":"AP8=","raws":["DQo=","e30=","YQ==","Yg=="],"byName":{"k":"Yw=="}}`, 200, ""},
		{"in a field", "/v1/inner1/n", aPart("raw;f", "", "abc"), `{"name":"n","inner":{"raw":"YWJj"}}`, 200, ""},
		{"nested", "/v1/one", aPart("inner.raw;f", "", "abc"), `{"inner":{"raw":"YWJj"}}`, 200, ""},

		{"unknown field", "/v1/make", aPart("idd", "", "x"), "", 400, "did you mean"},
		{"wrong value", "/v1/make", aPart("number", "", "x"), "", 400, "request: form: field number"},
		{"wrong JSON", "/v1/make", aPart("nested", "application/json", "{"), "", 400, "request: form: JSON"},
		{"file in a map", "/v1/one", aPart("byName[k];f", "", "x"), "", 400, "a file can be no entry of a map"},
		{"cut", "/v1/make", aPart("id", "", "a") + "\x00", "", 400, "ends before its last boundary"},
		{"large", "/v1/make", aPart("id", "", strings.Repeat("x", 1001)), "", 413, "limits.message_bytes"},
		{"large file", "/v1/one", aPart("raw;f", "", strings.Repeat("x", 1001)), "", 413, "limits.message_bytes"},
		{"large preamble", "/v1/one", strings.Repeat("x", 1001), "", 413, "limits.message_bytes"},
		{"large together", "/v1/one", strings.Repeat(aPart("raws;f", "", "123456789"), 100), "", 413, "limits.message_bytes"},
		{"many", "/v1/make", strings.Repeat(aPart("number", "", "0"), 1001), "", 400, "more than 1000 parts"},
		{"many bytes of header", "/v1/make", aPart("id", strings.Repeat("x", 5000), "a"), "", 400, "its header is over 4096 bytes"},
	} {
		body := tc.body + "--b--\r\n"
		if tc.name == "cut" {
			body = tc.body
		}
		for n := 1; n <= len(body)+1; n += 1 + n/2 {
			if n == 1 && len(body) > 10000 {
				n = 100
			}
			r := newTrial(t)
			if strings.HasPrefix(tc.name, "many") {
				r.o.MaxMessage = 1 << 20
			}
			r.onEnd = func(b *backend) {
				b.send(fileResponse, `{}`)
				b.end(rpc.Status{}, nil)
			}
			r.start("POST", tc.path, multipartType)
			for i := 0; i < len(body); i += n {
				r.give(body[i:min(i+n, len(body))])
			}
			a := r.close().finish()
			if a.Status != tc.status || !strings.Contains(string(a.Body), tc.err) {
				t.Fatalf("%s in pieces of %d: %d %s", tc.name, n, a.Status, a.Body)
			}
			if tc.err != "" {
				continue
			}
			kind := fileRequest
			if tc.path == "/v1/make" {
				kind = in
			}
			if got := r.messages(protoreflect.FullName(kind)); len(got) != 1 || got[0] != tc.want {
				t.Fatalf("%s in pieces of %d: the backend got %v, want %s", tc.name, n, got, tc.want)
			}
		}
	}
}

// TestMultipartStream: files of a stream are passed on as they come, with the backend's
// credit.
func TestMultipartStream(t *testing.T) {
	r := newTrial(t)
	r.noCredit = true
	r.onEnd = func(b *backend) {
		b.response.Credit(len(b.body))
		b.send(out, `{}`)
		b.end(rpc.Status{}, nil)
	}
	r.start("POST", "/v1/files", multipartType)
	first := aPart("name", "", "n") + strings.TrimSuffix(aPart("file;f", "a/b", "abc"), "\r\n")
	r.give(first)
	want := []string{`{"name":"n","file":{"contentType":"a/b","data":"YWJj"}}`}
	if diff := cmp.Diff(want, r.messages(fileRequest)); diff != "" {
		t.Fatal(diff)
	}
	if a := r.client.Answer(); a.Credit != len(first)-3 {
		t.Errorf("credit of %d, want all but the data's", a.Credit)
	}
	r.give("def\r").give("\n-").give("-b").give("c").give("\r\n")
	r.give(aPart("raw;g", "", "ghi")).give(aPart("raw;h", "", "")).give(aPart("nested.size", "", "7")).give("--b--")
	a := r.close().finish()
	if a.Status != 200 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	data := func(s string) string {
		return `{"file":{"data":"` + base64.StdEncoding.EncodeToString([]byte(s)) + `"}}`
	}
	want = append(want, data("def"), data("\r\n--b"), data("c"), `{"raw":"Z2hp"}`, `{"nested":{"size":7}}`)
	if diff := cmp.Diff(want, r.messages(fileRequest)); diff != "" {
		t.Error(diff)
	}
}

// TestMultipartStreamField: the body is one field of the request, path and query are in
// the first message.
func TestMultipartStreamField(t *testing.T) {
	r := newTrial(t)
	r.onEnd = func(b *backend) {
		b.send(out, `{}`)
		b.end(rpc.Status{}, nil)
	}
	r.start("POST", "/v1/inner/n", multipartType).give(aPart("raw;f", "", "") + aPart("raw;f", "", strings.Repeat("x", 1500)) + "--b--")
	r.close().finish()
	for body := r.body; len(body) > 0; {
		n := int(body[3])<<8 | int(body[4])
		if n > 1000 {
			t.Errorf("a message of %d bytes", n)
		}
		body = body[envelope.PrefixLen+n:]
	}
	got := strings.Join(r.messages(fileRequest), "")
	if !strings.HasPrefix(got, `{"name":"n","inner":{"raw":"eHh4`) || strings.Count(got, "inner") != 2 || strings.Count(got, "name") != 1 {
		t.Error(got)
	}
}

// TestMultipartBoundary: a body that can't be taken apart makes no call.
func TestMultipartBoundary(t *testing.T) {
	r := newTrial(t).start("POST", "/v1/make", "content-type: multipart/form-data").give("x").close()
	if a := r.finish(); a.Status != 400 || !strings.Contains(string(a.Body), "boundary") || r.call != nil {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}
