package grpc

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/rpc"
)

// requestResult is what a request comes to, of everything that may not depend on where
// it is cut: of a refused message the first bytes of its prefix may have passed.
func requestResult(t testing.TB, o Options, ct, encoding string, parts []string) string {
	t.Helper()
	f := fields("content-type", ct)
	if encoding != "" {
		f = append(f, fields("grpc-encoding", encoding)...)
	}
	fr := serve(o, &callee{}, f...)
	sent := 0
	for _, p := range parts {
		fr.req.Data([]byte(p))
		sent += len(p)
	}
	fr.req.End(nil)
	a := fr.answer.Answer()
	if a.Credit != sent {
		t.Errorf("%d bytes credited of %d in %q", a.Credit, sent, parts)
	}
	if fr.ended == (len(fr.canceled) == 1) {
		t.Errorf("ended %v, canceled %v, of %q", fr.ended, fr.canceled, parts)
	}
	fr.check(t)
	data := string(fr.data)
	if len(fr.canceled) > 0 {
		data = whole(data)
	}
	return fmt.Sprintf("%q, ended %v, canceled %v, answer %s", data, fr.ended, fr.canceled, pairs(a.Fields))
}

// responseResult is the same for the response of a backend, of which no part of a refused
// message passes.
func responseResult(t testing.TB, schema *rpc.Method, encoding string, parts []string, trailer ...string) string {
	t.Helper()
	b := call(t, ClientOptions{}, &rpc.Call{Schema: schema})
	b.onData = func(n int) { b.req.Credit(n) }
	f := typed
	if encoding != "" {
		f = append(f[:1:1], fields("grpc-encoding", encoding)...)
	}
	b.q.Answer(200, f...)
	for _, p := range parts {
		b.q.Send([]byte(p)) // a carrier that was reset sends nothing more
	}
	b.q.Finish(fields(trailer...)...)
	st := b.one(t)
	b.check(t)
	return fmt.Sprintf("%q, %v, trailer %v", b.data, st, b.trailer)
}

// whole leaves what stands before the first prefix that is not whole.
func whole(s string) string {
	at := 0
	for len(s)-at >= 5 {
		n := int(s[at+1])<<24 | int(s[at+2])<<16 | int(s[at+3])<<8 | int(s[at+4])
		if len(s)-at-5 < n {
			return s
		}
		at += 5 + n
	}
	return s[:at]
}

// cuts calls f with s cut in two at every place, in three, and byte by byte.
func cuts(s string, f func(parts []string)) {
	for i := range len(s) {
		f(pieces(s, i))
		f(pieces(s, i, i+1))
		f(pieces(s, i/2, i))
	}
	f(strings.Split(s, ""))
}

var bodies = []string{
	msg(0, "hello") + msg(0, "") + msg(0, "world"),
	msg(1, "packed") + msg(0, "plain"),
	msg(0, "a") + msg(2, "bad flags") + msg(0, "b"),
	msg(0, "a") + msg(0x80, "a: b\r\n"),
	msg(0, "a") + "\x00\xff\xff\xff\xffrest",
	msg(0, "truncated")[:9],
	msg(0, "a") + "\x00\x00",
}

func TestSplitRequest(t *testing.T) {
	for _, encoding := range []string{"", "gzip"} {
		for _, o := range []Options{{}, {Lookup: lookup}} {
			for i, body := range bodies {
				for _, ct := range []string{"application/grpc", "application/grpc-web", "application/grpc-web-text"} {
					if strings.Contains(ct, "text") {
						body = text(body[:4]) + text(body[4:])
					}
					want := requestResult(t, o, ct, encoding, []string{body})
					cuts(body, func(parts []string) {
						if got := requestResult(t, o, ct, encoding, parts); got != want {
							t.Errorf("%s, encoding %q, body %d as %q:\ngot  %s\nwant %s", ct, encoding, i, parts, got, want)
						}
					})
				}
			}
		}
	}
}

func TestSplitResponse(t *testing.T) {
	for _, encoding := range []string{"", "gzip"} {
		for _, schema := range []*rpc.Method{nil, unary} {
			for i, body := range bodies {
				want := responseResult(t, schema, encoding, []string{body}, "grpc-status", "0", "t", "1")
				cuts(body, func(parts []string) {
					if got := responseResult(t, schema, encoding, parts, "grpc-status", "0", "t", "1"); got != want {
						t.Errorf("encoding %q, body %d as %q:\ngot  %s\nwant %s", encoding, i, parts, got, want)
					}
				})
			}
		}
	}
}

// TestSplitThrough joins both halves, a client of each protocol before a gRPC backend:
// however the backend cuts its response, the client gets the same.
func TestSplitThrough(t *testing.T) {
	through := func(ct string, parts []string) string {
		s := exchangetest.NewServer(exchangetest.Script{})
		answer := exchangetest.NewResponse()
		h := serveThrough(s, ct, answer)
		q := s.Next(t)
		q.Answer(200, fields("content-type", "application/grpc", "grpc-encoding", "gzip")...)
		for _, p := range parts {
			q.Send([]byte(p))
		}
		q.Finish(fields("grpc-status", "0")...)
		h.Done(true)
		a := answer.Final(t)
		answer.Check(t)
		q.Check(t)
		body := string(a.Body)
		if strings.Contains(ct, "text") {
			body = untext(t, body)
		}
		return fmt.Sprintf("%q %v %v %v", body, a.Broken, a.Code, a.Trailer)
	}
	for _, ct := range []string{"application/grpc", "application/grpc-web", "application/grpc-web-text"} {
		for i, body := range bodies {
			want := through(ct, []string{body})
			cuts(body, func(parts []string) {
				if got := through(ct, parts); got != want {
					t.Errorf("%s, body %d as %q:\ngot  %s\nwant %s", ct, i, parts, got, want)
				}
			})
		}
	}
}
