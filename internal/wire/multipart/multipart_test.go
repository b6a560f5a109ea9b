package multipart

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/textproto"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type part struct {
	Header  Header
	Content string
	Ended   bool
}

// recorder is a sink.
type recorder struct{ parts []part }

func (r *recorder) Part(h *Header) error {
	r.parts = append(r.parts, part{Header: *h})
	return nil
}

func (r *recorder) Data(b []byte) error {
	if len(b) == 0 {
		return errors.New("no data")
	}
	r.parts[len(r.parts)-1].Content += string(b)
	return nil
}

func (r *recorder) PartEnd() error {
	p := &r.parts[len(r.parts)-1]
	if p.Ended {
		return errors.New("PartEnd twice")
	}
	p.Ended = true
	return nil
}

// parse parses a body in pieces of n bytes.
func parse(boundary, body string, n int) ([]part, error) {
	p, err := New("multipart/form-data; boundary=\""+boundary+"\"", 200, 5)
	if err != nil {
		return nil, err
	}
	var r recorder
	for rest := body; rest != ""; rest = rest[min(n, len(rest)):] {
		b := []byte(rest[:min(n, len(rest))])
		if err := p.Feed(b, &r); err != nil {
			return nil, err
		}
		clear(b)
		if p.Buffered() > 200 {
			return nil, fmt.Errorf("%d bytes kept", p.Buffered())
		}
	}
	return r.parts, p.Close()
}

const named = "Content-Disposition: form-data; name=a\r\n"

func TestParser(t *testing.T) {
	a := func(content string) part { return part{Header{Name: "a"}, content, true} }
	for _, tc := range []struct {
		body string
		want []part
		err  string
	}{
		{"--b\r\n" + named + "\r\nx\r\n--b--\r\n", []part{a("x")}, ""},
		{"--b\r\n" + named + "\r\nx\r\n--b--", []part{a("x")}, ""},
		{"--b \t\r\n" + named + "\r\nx\r\n--b-- \r\nepilogue\r\n--b\r\n", []part{a("x")}, ""},
		{"preamble\r\n--b\r\n" + named + "\r\nx\r\n--b--", []part{a("x")}, ""},
		{"--bc--\r\n--b-\r\n\r\n--b\r\n" + named + "\r\n\r\n--b--", []part{a("")}, ""},
		{"--b\r\n" + named + "\r\n--b\r\n" + named + "\r\n--b--", []part{a(""), a("")}, ""},
		{"--b\r\n" + named + "\r\n--bx\r\r\n--\r\n--b-x\r\n\r\n--b--", []part{a("--bx\r\r\n--\r\n--b-x\r\n")}, ""},
		{"--b\r\n" + "content-type: image/png\r\nCONTENT-DISPOSITION: form-data; name=\"f\\\"g\"; filename=\"a b.png\"\r\nX: y\r\n\r\n\x00\xff\r\n--b--", []part{{Header{"f\"g", "a b.png", true, "image/png"}, "\x00\xff", true}}, ""},
		{"--b--", nil, ""},

		{"", nil, ErrCut.Error()},
		{"x\r\n", nil, ErrCut.Error()},
		{"--b\r\n" + named + "\r\nx", nil, ErrCut.Error()},
		{"--b\r\n" + named + "\r\nx\r\n--b", nil, ErrCut.Error()},
		{"--b\r\n" + named + "\r\nx\r\n--b-", nil, ErrCut.Error()},
		{"--b\r\n" + named + "\r\nx\r\n--b\r\n", nil, ErrCut.Error()},
		{"--b x\r\n", nil, errLine.Error()},
		{"--b\rx", nil, errLine.Error()},
		{"--b--x", nil, errLine.Error()},
		{"--b\r\n\r\nx\r\n--b--", nil, "part 1: it has no content-disposition"},
		{"--b\r\n" + named + "x\r\n\r\nx\r\n--b--", nil, `part 1: "x" is no header field`},
		{"--b\r\n" + named + "\r\r\n\r\nx\r\n--b--", nil, `part 1: "\r" is no header field`},
		{"--b\r\n" + named + " folded\r\n\r\nx\r\n--b--", nil, `part 1: " folded" is no header field`},
		{"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", nil, "part 1: its content-disposition"},
		{"--b\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--b--", nil, "part 1: its content-disposition"},
		{"--b\r\n" + named + "Content-Transfer-Encoding: base64\r\n\r\nx\r\n--b--", nil, "part 1: its content-transfer-encoding"},
		{"--b\r\n" + named + "X: " + strings.Repeat("x", 200), nil, "part 1: its header is over 200 bytes"},
		{"--b" + strings.Repeat(" ", 201), nil, errLine.Error()},
		{"--b" + strings.Repeat("\r\n"+named+"\r\n--b", 6), nil, "more than 5 parts"},
	} {
		for n := 1; n <= len(tc.body)+1; n++ {
			got, err := parse("b", tc.body, n)
			if err != nil && (tc.err == "" || !strings.Contains(err.Error(), tc.err)) || err == nil && tc.err != "" {
				t.Fatalf("%q in pieces of %d: %v, want %q", tc.body, n, err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got); err == nil && diff != "" {
				t.Fatalf("%q in pieces of %d: %s", tc.body, n, diff)
			}
		}
	}
}

func TestBoundary(t *testing.T) {
	for contentType, ok := range map[string]bool{
		"multipart/form-data; boundary=b":                          true,
		`multipart/form-data; boundary="a b:c"`:                    true,
		"multipart/form-data; boundary=" + strings.Repeat("x", 70): true,
		"multipart/form-data; boundary=" + strings.Repeat("x", 71): false,
		"multipart/form-data":                                      false,
		`multipart/form-data; boundary=""`:                         false,
		`multipart/form-data; boundary="a "`:                       false,
		`multipart/form-data; boundary="a;b"`:                      false,
		"multipart/form-data; boundary=\"a\tb\"":                   false,
		"multipart/form-data; boundary":                            false,
	} {
		if _, err := New(contentType, 100, 1); (err == nil) != ok {
			t.Errorf("%s: %v", contentType, err)
		}
	}
}

// TestWritten: what mime/multipart writes is read.
func TestWritten(t *testing.T) {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	_ = w.WriteField("a.b", "text")
	f, _ := w.CreateFormFile("file", "quote\"back\\slash.txt")
	_, _ = f.Write(bytes.Repeat([]byte("\r\n--"), 5000))
	_ = w.Close()
	got, err := parse(w.Boundary(), body.String(), 100)
	want := []part{
		{Header{Name: "a.b"}, "text", true},
		{Header{"file", "quote\"back\\slash.txt", true, "application/octet-stream"}, strings.Repeat("\r\n--", 5000), true},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// FuzzParser: cut anywhere the result is the same, and what is read is what
// mime/multipart reads.
func FuzzParser(f *testing.F) {
	f.Add("--b\r\n"+named+"\r\nx\r\n--b--\r\n", uint8(1))
	f.Add("pre\r\n--bc--\r\n--b \r\n"+named+"\r\n--b\r\n"+named+"\r\n\r\n\r\n--b--", uint8(3))
	f.Add("--b\r\nContent-Type: a/b\r\nContent-Disposition: form-data; name=\"x\"; filename=y\r\n\r\n\r\r\n--b-\r\n--b-- ", uint8(2))
	f.Fuzz(func(t *testing.T, body string, piece uint8) {
		whole, err1 := parse("b", body, len(body)+1)
		cut, err2 := parse("b", body, int(piece)+1)
		if (err1 == nil) != (err2 == nil) || err1 != nil && err1.Error() != err2.Error() {
			t.Fatalf("%v in one piece, %v in pieces", err1, err2)
		}
		if diff := cmp.Diff(whole, cut); diff != "" && err1 == nil {
			t.Fatal(diff)
		}
		// Before the first boundary mime/multipart takes a line feed alone for the end of a
		// line, which RFC 2046, section 5.1.1, does not.
		if err1 != nil || strings.Contains(strings.ReplaceAll(body, "\r\n", ""), "\n--b") {
			return
		}
		r := multipart.NewReader(strings.NewReader(body), "b")
		for _, want := range whole {
			p, err := r.NextRawPart()
			if err != nil {
				t.Fatalf("mime/multipart: %v", err)
			}
			content, err := io.ReadAll(p)
			if err != nil || string(content) != want.Content || p.FormName() != want.Header.Name || get(p.Header) != want.Header.ContentType {
				t.Fatalf("mime/multipart: %q %v, want %+v, %v", content, p.Header, want, err)
			}
		}
	})
}

func get(h textproto.MIMEHeader) string {
	if v := h["Content-Type"]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}
