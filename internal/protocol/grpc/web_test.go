package grpc

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/grpcweb"
	"github.com/sluice-rpc/sluice/rpc"
)

// text is one padded run of base64.
func text(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// untext reads several runs, each with its own padding.
func untext(t testing.TB, s string) string {
	t.Helper()
	var d grpcweb.TextDecoder
	b, err := d.Decode(nil, []byte(s))
	if err != nil || !d.Whole() {
		t.Fatalf("%q is no text: %v", s, err)
	}
	return string(b)
}

func webHead(ct string) []exchange.Field { return fields("content-type", ct) }

// TestWebResponse: the trailers stand in the last frame of the body, keys in lower case,
// lines ended by CRLF, no blank line, and HTTP has none.
func TestWebResponse(t *testing.T) {
	frame := "grpc-status: 5\r\ngrpc-message: 50%25\r\nx-a: 1\r\nx-b-bin: AQ\r\nx-a: 2\r\n"
	body := msg(0, "hi") + msg(1, "z")
	for _, test := range []struct{ name, ct, accept, answers string }{
		{"binary", "application/grpc-web", "", "application/grpc-web"},
		{"binary +proto", "application/grpc-web+proto", "*/*", "application/grpc-web+proto"},
		{"text", "application/grpc-web-text", "", "application/grpc-web-text"},
		{"text +proto; charset", "application/grpc-web-text+proto; charset=utf-8", "", "application/grpc-web-text+proto"},
		{"binary that accepts text", "application/grpc-web+proto", "application/grpc-web-text", "application/grpc-web-text+proto"},
		{"text that accepts binary", "application/grpc-web-text", "application/grpc-web+proto", "application/grpc-web"},
		{"text that accepts all", "application/grpc-web-text", "*/*", "application/grpc-web-text"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := webHead(test.ct)
			if test.accept != "" {
				f = append(f, exchange.Field{Name: "accept", Value: test.accept})
			}
			fr := serve(Options{}, &callee{}, f...)
			fr.response.Head(&rpc.Head{Metadata: rpc.Metadata{{Key: "h", Value: "1"}}})
			if a := fr.answer.Answer(); a.Status != 200 || a.Get("content-type") != test.answers || a.Get("h") != "1" {
				t.Fatalf("early head: %+v", a)
			}
			for _, p := range pieces(body, 3, 8) {
				fr.response.Data([]byte(p))
			}
			fr.callee.end(rpc.Status{Code: rpc.NotFound, Message: "50%"}, rpc.Metadata{{Key: "x-a", Value: "1"}, {Key: "x-b-bin", Value: "AQ"}, {Key: "x-a", Value: "2"}})
			a := fr.answer.Final(t)
			got := string(a.Body)
			if strings.Contains(test.answers, "text") {
				got = untext(t, got)
			}
			if want := body + msg(0x80, frame); got != want || a.Trailer != nil || a.Broken {
				t.Errorf("got %q, want %q; trailer %v", got, want, a.Trailer)
			}
			fr.check(t)
		})
	}
}

// TestWebTrailersOnly: an error before any data is HTTP fields and an empty body, in one
// piece.
func TestWebTrailersOnly(t *testing.T) {
	for _, ct := range []string{"application/grpc-web+proto", "application/grpc-web-text"} {
		fr := serve(Options{}, &callee{}, webHead(ct)...)
		fr.callee.end(rpc.Status{Code: rpc.Unauthenticated, Message: "who?"}, rpc.Metadata{{Key: "x", Value: "1"}})
		a := fr.answer.Final(t)
		if got, want := pairs(a.Fields), "content-type: "+ct+"\ngrpc-status: 16\ngrpc-message: who?\nx: 1\n"; got != want || len(a.Body) != 0 || a.Trailer != nil {
			t.Errorf("got\n%swant\n%sbody %q", got, want, a.Body)
		}
		fr.check(t)
	}
}

// TestWebEndInsideMessage: a status can't be said inside of a message, so the end is
// broken, and never looks clean.
func TestWebEndInsideMessage(t *testing.T) {
	for _, ct := range []string{"application/grpc-web", "application/grpc-web-text"} {
		for code, want := range map[rpc.Code]exchange.Code{
			rpc.Internal: exchange.InternalError, rpc.DeadlineExceeded: exchange.Cancel, rpc.Canceled: exchange.Cancel,
			rpc.ResourceExhausted: exchange.EnhanceYourCalm, rpc.PermissionDenied: exchange.InadequateSecurity,
			rpc.Unavailable: exchange.InternalError, rpc.OK: exchange.InternalError,
		} {
			fr := serve(Options{}, &callee{}, webHead(ct)...)
			fr.response.Head(&rpc.Head{})
			fr.response.Data([]byte(msg(0, "hello")[:7]))
			fr.callee.end(rpc.Status{Code: code}, nil)
			if a := fr.answer.Final(t); !a.Broken || a.Code != want {
				t.Errorf("%s, %v: %+v", ct, code, a)
			}
			fr.check(t)
		}
	}
}

func TestWebTextRequest(t *testing.T) {
	one, two := msg(0, "a"), msg(0, "bcde")
	for name, test := range map[string]struct {
		body   string
		want   string // what the backend gets
		broken bool
	}{
		"one run":                    {body: text(one + two), want: one + two},
		"padding inside":             {body: text(one[:1]) + text(one[1:]) + text(two[:5]) + text(two[5:]), want: one + two},
		"runs not at frames":         {body: text(one+two[:1]) + text(two[1:]), want: one + two},
		"empty":                      {},
		"no padding at the end":      {body: strings.TrimRight(text(one+two[:2]), "="), want: one + two[:2], broken: true},
		"a group that is cut":        {body: text(one + one)[:15], broken: true, want: "*"},
		"no base64":                  {body: text(one) + "!!!!", want: one, broken: true},
		"a line break":               {body: text(one) + "\r\n" + text(two), want: one, broken: true},
		"base64url":                  {body: "AAAAAAH_", want: "*", broken: true},
		"padding in a wrong place":   {body: "A=AA", broken: true},
		"bytes are no text":          {body: one, broken: true},
		"bad prefix before bad text": {body: text("\x02\x00\x00\x00\x00") + "!!!!", broken: true},
	} {
		for cut := range len(test.body) + 1 {
			fr := serve(Options{}, &callee{}, webHead("application/grpc-web-text")...)
			for _, p := range pieces(test.body, cut) {
				fr.req.Data([]byte(p))
			}
			fr.req.End(nil)
			if fr.ended == test.broken || len(fr.canceled) > 1 || test.broken != (len(fr.canceled) == 1) {
				t.Errorf("%s cut at %d: ended %v, canceled %v", name, cut, fr.ended, fr.canceled)
			}
			if test.broken && fr.canceled[0].Code != rpc.Internal {
				t.Errorf("%s cut at %d: %v", name, cut, fr.canceled)
			}
			if name != "bad prefix before bad text" && test.want != "*" && !strings.HasPrefix(test.want, string(fr.data)) ||
				!test.broken && string(fr.data) != test.want {
				t.Errorf("%s cut at %d: the backend got %q", name, cut, fr.data)
			}
			if a := fr.answer.Answer(); a.Credit != len(test.body) {
				t.Errorf("%s cut at %d: %d bytes credited of %d", name, cut, a.Credit, len(test.body))
			}
			fr.check(t)
		}
	}
}

// TestWebTextCredit: text is longer than what it says, yet each byte is credited once,
// with credits as small as one byte, and never ahead of what was taken.
func TestWebTextCredit(t *testing.T) {
	body := msg(0, "hello") + msg(0, "") + msg(0, strings.Repeat("x", 50))
	in := ""
	for _, p := range pieces(body, 1, 3, 7, 20, 21) {
		in += text(p)
	}
	for step := 1; step < 20; step++ {
		fr := serve(Options{}, &callee{hold: true}, webHead("application/grpc-web-text")...)
		taken := 0
		for i := 0; i < len(in); i += step {
			fr.req.Data([]byte(in[i:min(i+step, len(in))]))
			for taken+3 <= len(fr.data) {
				taken += 3
				fr.response.Credit(3)
				if a := fr.answer.Answer(); a.Credit > i+step {
					t.Fatalf("step %d: %d bytes credited of %d that came", step, a.Credit, i+step)
				}
			}
		}
		fr.req.End(nil)
		for ; taken < len(fr.data); taken++ {
			fr.response.Credit(1)
		}
		if a := fr.answer.Answer(); a.Credit != len(in) || !fr.ended {
			t.Errorf("step %d: %d request bytes credited of %d", step, a.Credit, len(in))
		}

		fr.response.Head(&rpc.Head{})
		for i := 0; i < len(body); i += step {
			fr.response.Data([]byte(body[i:min(i+step, len(body))]))
		}
		sent := len(fr.answer.Answer().Body)
		for i := range sent {
			fr.req.Credit(1)
			if fr.credit > i+1 {
				t.Fatalf("step %d: %d bytes credited after %d of the text", step, fr.credit, i+1)
			}
		}
		if fr.credit != len(body) {
			t.Errorf("step %d: %d response bytes credited of %d", step, fr.credit, len(body))
		}
		// The trailer frame is the half's own: its credit is nobody's.
		fr.callee.end(rpc.Status{}, nil)
		fr.req.Credit(len(fr.answer.Answer().Body) - sent)
		if fr.credit != len(body) {
			t.Errorf("step %d: the trailer frame was credited", step)
		}
		fr.check(t)
	}
}

// TestWebBinaryTrailerCredit: the credit for the trailer frame is nobody's either when
// the body is binary; more than was sent would be a lie.
func TestWebBinaryTrailerCredit(t *testing.T) {
	fr := serve(Options{}, &callee{}, webHead("application/grpc-web")...)
	fr.response.Head(&rpc.Head{})
	fr.response.Data([]byte(msg(0, "a")))
	fr.callee.end(rpc.Status{}, nil)
	fr.req.Credit(2)
	fr.req.Credit(len(fr.answer.Answer().Body) - 2)
	if fr.credit != 6 {
		t.Errorf("%d bytes credited, want 6", fr.credit)
	}
}

// TestWebUserAgent: a browser's library says its name in a field of its own.
func TestWebUserAgent(t *testing.T) {
	fr := serve(Options{}, &callee{}, append(webHead("application/grpc-web"), fields("x-user-agent", "lib/1", "user-agent", "Browser", "x-grpc-web", "1", "origin", "o")...)...)
	if fr.call.UserAgent != "lib/1" || len(fr.call.Metadata) != 0 || fr.call.Protocol != "grpc-web" {
		t.Errorf("call %+v", fr.call)
	}
}
