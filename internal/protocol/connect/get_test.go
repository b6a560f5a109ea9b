package connect

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// get is the head of a unary GET.
func get(method, query string, fields ...string) *exchange.RequestHead {
	return with(&exchange.RequestHead{Method: "GET", Scheme: "http", Authority: "a.example", Path: method + "?" + query, Carrier: "h2"}, fields...)
}

// TestGet: the query is the message, in every way that it can be written.
func TestGet(t *testing.T) {
	msg := []byte("\xfb\xff\xfe\x00 a+b/%&=!") // its base64 has both letters that differ
	padded := base64.URLEncoding.EncodeToString(msg)
	raw := base64.RawURLEncoding.EncodeToString(msg)
	if padded == raw || !strings.ContainsAny(raw, "-_") {
		t.Fatal("the message shows nothing")
	}
	text := url.QueryEscape(string(msg))
	for name, c := range map[string]struct {
		query string
		want  []byte
	}{
		"base64url":                     {"connect=v1&encoding=proto&base64=1&message=" + raw, msg},
		"base64url, padded":             {"connect=v1&encoding=proto&base64=1&message=" + padded, msg},
		"base64url, padding escaped":    {"connect=v1&encoding=proto&base64=1&message=" + url.QueryEscape(padded), msg},
		"percent-encoded":               {"connect=v1&encoding=proto&message=" + text, msg},
		"percent-encoded, base64 is 0":  {"connect=v1&encoding=proto&base64=0&message=" + text, msg},
		"base64 other than 1":           {"connect=v1&encoding=proto&base64=true&message=" + text, msg}, // ignored
		"any order":                     {"message=" + raw + "&base64=1&encoding=proto&connect=v1", msg},
		"unknown parameters":            {"a=b&connect=v1&x&encoding=proto&base64=1&message=" + raw + "&connec=v2", msg},
		"without the version":           {"encoding=proto&base64=1&message=" + raw, msg},
		"empty":                         {"connect=v1&encoding=proto&message=", nil},
		"empty, base64":                 {"connect=v1&encoding=proto&base64=1&message=", nil},
		"identity":                      {"connect=v1&encoding=proto&base64=1&compression=identity&message=" + raw, msg},
		"no compression":                {"connect=v1&encoding=proto&base64=1&compression=&message=" + raw, msg},
		"as large as a message may be":  {"connect=v1&encoding=proto&message=" + strings.Repeat("a", maxMessage), []byte(strings.Repeat("a", maxMessage))},
		"a plus is a space, as in HTML": {"connect=v1&encoding=proto&message=a+b", []byte("a b")},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTrial(t)
			r.onEnd = reply("", env(0, []byte("yes")))
			r.start(get(getMethod, c.query, "connect-timeout-ms", "70", "x-a", "1")).q.End(nil)
			a := r.finish(true)
			if string(r.body) != string(env(0, c.want)) {
				t.Errorf("the backend got %q", r.body)
			}
			if a.Status != 200 || string(a.Body) != "yes" || a.Get("content-type") != unaryProto {
				t.Errorf("got %d %q", a.Status, a.Body)
			}
			if r.call.Method != getMethod || r.call.Deadline.IsZero() || r.call.Metadata.Get("x-a") != "1" {
				t.Errorf("call %+v", r.call)
			}
		})
	}
}

// TestGetCompressed: the compression parameter says how, and what the client accepts
// if it doesn't say so.
func TestGetCompressed(t *testing.T) {
	msg := pack(t, "gzip", []byte("hello"))
	r := newTrial(t)
	answer := pack(t, "gzip", []byte("yes"))
	r.onEnd = reply("gzip", env(1, answer))
	r.start(get(getMethod, "connect=v1&encoding=proto&base64=1&compression=gzip&message="+base64.RawURLEncoding.EncodeToString(msg))).q.End(nil)
	a := r.finish(true)
	if string(r.body) != string(env(1, msg)) || r.call.Encoding != "gzip" {
		t.Errorf("the backend got %q %x", r.call.Encoding, r.body)
	}
	if a.Get("content-encoding") != "gzip" || string(a.Body) != string(answer) {
		t.Errorf("got %q %x", a.Get("content-encoding"), a.Body)
	}

	r = newTrial(t) // zero length: not compressed
	r.onEnd = reply("", env(0, nil))
	r.start(get(getMethod, "connect=v1&encoding=proto&base64=1&compression=gzip&message=")).q.End(nil)
	r.finish(true)
	if string(r.body) != string(env(0, nil)) {
		t.Errorf("the backend got %x", r.body)
	}
}

// TestGetRefused: what is no call.
func TestGetRefused(t *testing.T) {
	const good = "connect=v1&encoding=proto&base64=1&message=AQ"
	for name, c := range map[string]struct {
		method, query string
		http          int
		code          string
		words         string
	}{
		"method with side effects":   {unaryMethod, good, 405, "unimplemented", "NO_SIDE_EFFECTS"},
		"stream":                     {serverMethod, good, 405, "unimplemented", "NO_SIDE_EFFECTS"},
		"method without descriptor":  {unknown, good, 405, "unimplemented", "--schema"},
		"version 2":                  {getMethod, "connect=v2&encoding=proto&message=", 400, "invalid_argument", "connect"},
		"no encoding":                {getMethod, "connect=v1&message=", 400, "invalid_argument", "encoding"},
		"no message":                 {getMethod, "connect=v1&encoding=proto", 400, "invalid_argument", "message"},
		"bad percent-encoding":       {getMethod, "connect=v1&encoding=proto&message=%zz", 400, "invalid_argument", "message"},
		"bad base64":                 {getMethod, "connect=v1&encoding=proto&base64=1&message=!", 400, "invalid_argument", "base64url"},
		"base64 of the standard":     {getMethod, "connect=v1&encoding=proto&base64=1&message=%2B%2F8%3D", 400, "invalid_argument", "base64url"},
		"half a letter of base64":    {getMethod, "connect=v1&encoding=proto&base64=1&message=A", 400, "invalid_argument", "base64url"},
		"unknown compression":        {getMethod, good + "&compression=lzw", 501, "unimplemented", "gzip, zstd"},
		"too large":                  {getMethod, "connect=v1&encoding=proto&message=" + strings.Repeat("a", maxMessage+1), 429, "resource_exhausted", "limits.message_bytes"},
		"codec that nobody speaks":   {getMethod, "connect=v1&encoding=xml&message=", 415, "", ""},
		"another version, by header": {getMethod, good, 400, "invalid_argument", "connect-protocol-version"},
	} {
		t.Run(name, func(t *testing.T) {
			h := get(c.method, c.query)
			if strings.HasSuffix(name, "by header") {
				with(h, "connect-protocol-version", "2")
			}
			r := newTrial(t)
			r.start(h).give([]byte("a body")).q.End(nil)
			a := r.finish(true)
			if a.Status != c.http || r.call != nil {
				t.Errorf("got %d %s, call %v", a.Status, a.Body, r.call)
			}
			if c.code != "" {
				if e := readError(t, a.Body); e.Code != c.code || !strings.Contains(e.Message, c.words) {
					t.Errorf("got %+v", e)
				}
			}
			if allow := a.Get("allow"); (allow == "POST") != (c.http == 405) {
				t.Errorf("allow %q", allow)
			}
			if post := a.Get("accept-post"); (post != "") != (c.http == 415) {
				t.Errorf("accept-post %q", post)
			}
		})
	}
}

// TestGetBody: a GET may bring a body, which means nothing; its credit is its own.
func TestGetBody(t *testing.T) {
	for _, length := range []int64{0, -1, 6} {
		r := newTrial(t)
		r.onEnd = reply("", env(0, nil))
		h := get(getMethod, "connect=v1&encoding=proto&message=abc")
		h.Length = length
		r.start(h).give([]byte("a body")).q.End(nil)
		if a := r.finish(true); a.Status != 200 || string(r.body) != string(env(0, []byte("abc"))) {
			t.Errorf("got %d, the backend %q", a.Status, r.body)
		}
	}
}

// TestGetReset: before and after the refusal, and of a call.
func TestGetReset(t *testing.T) {
	r := newTrial(t)
	r.start(get(getMethod, "connect=v1&encoding=proto&message=abc"))
	r.q.Reset(exchange.Disconnected)
	r.finish(false)
	if len(r.cancels) != 1 || r.outcome.Status.Code != rpc.Canceled {
		t.Errorf("canceled %v, outcome %v", r.cancels, r.outcome)
	}
	r = newTrial(t)
	r.start(get(unaryMethod, "connect=v1&encoding=proto&message=abc"))
	r.q.Reset(exchange.Disconnected)
	if a := r.finish(false); a.Status != 405 {
		t.Errorf("got %d", a.Status)
	}
}
