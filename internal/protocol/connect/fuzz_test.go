package connect

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/rpc"
)

// A result is what both sides saw of an exchange.
type result struct {
	status  int
	fields  string
	body    string
	broken  bool
	code    exchange.Code
	backend string // what it got, if it got the end too
	outcome rpc.Code
}

func (r *trial) result(a *exchangetest.Answer) result {
	x := result{status: a.Status, fields: fmt.Sprint(a.Fields), body: string(a.Body), broken: a.Broken, code: a.Code, outcome: r.outcome.Status.Code}
	if r.ended {
		x.backend = string(r.body)
	}
	return x
}

// cut makes an exchange with the request and the response in two pieces each, or in
// single bytes if a place is negative.
func cut(t testing.TB, head *exchange.RequestHead, request, response []byte, encoding string, i, j int) result {
	t.Helper()
	r := newTrial(t)
	r.onEnd = func(b *backend) {
		b.head(encoding, rpc.Field{Key: "x-a", Value: "1"})
		pieces(response, j, b.send)
		b.end(rpc.Status{}, rpc.Metadata{{Key: "x-t", Value: "2"}})
	}
	r.start(head)
	pieces(request, i, func(p []byte) { r.give(p) })
	r.q.End(nil)
	a := r.finish(true)
	return r.result(&a)
}

func pieces(b []byte, i int, f func([]byte)) {
	switch {
	case i < 0:
		for i := range b {
			f(b[i : i+1])
		}
	default:
		f(b[:min(i, len(b))])
		f(b[min(i, len(b)):])
	}
}

// TestEveryCut: where the bytes of either direction are cut changes nothing.
func TestEveryCut(t *testing.T) {
	packed := env(1, pack(t, "gzip", bytes.Repeat([]byte("hello "), 10)))
	body := []byte("some body")
	for name, c := range map[string]struct {
		head              func() *exchange.RequestHead
		request, response []byte
		encoding          string
	}{
		"unary":               {func() *exchange.RequestHead { return post(unaryMethod, len(body)) }, body, env(0, body), ""},
		"unary, chunked":      {func() *exchange.RequestHead { return post(unaryMethod, -1) }, body, env(0, body), ""},
		"unary, too short":    {func() *exchange.RequestHead { return post(unaryMethod, 20) }, body, env(0, body), ""},
		"unary, too long":     {func() *exchange.RequestHead { return post(unaryMethod, 3) }, body, env(0, body), ""},
		"unary, converted":    {func() *exchange.RequestHead { return post(unaryMethod, -1) }, body, packed, "gzip"},
		"unary, passed":       {func() *exchange.RequestHead { return post(unaryMethod, -1, "accept-encoding", "gzip") }, body, packed, "gzip"},
		"unary, two answers":  {func() *exchange.RequestHead { return post(unaryMethod, -1) }, body, join(env(0, body), env(0, body)), ""},
		"unary, bad flags":    {func() *exchange.RequestHead { return post(unaryMethod, -1) }, body, join(env(0, body), env(8, body)), ""},
		"stream":              {func() *exchange.RequestHead { return streamed(bidiMethod) }, join(env(0, body), env(0, nil), env(0, body)), join(env(0, body), env(0, nil), env(0, body)), ""},
		"stream, end inside":  {func() *exchange.RequestHead { return streamed(bidiMethod) }, env(0, body)[:9], env(0, body), ""},
		"stream, bad flags":   {func() *exchange.RequestHead { return streamed(bidiMethod) }, join(env(0, body), env(2, body)), env(0, body), ""},
		"stream, two to one":  {func() *exchange.RequestHead { return streamed(serverMethod) }, join(env(0, body), env(0, body)), env(0, body), ""},
		"stream, broken":      {func() *exchange.RequestHead { return streamed(bidiMethod) }, env(0, body), join(env(0, body), env(0, body)[:9]), ""},
		"stream, converted":   {func() *exchange.RequestHead { return streamed(bidiMethod) }, env(0, body), join(packed, env(0, body), packed), "gzip"},
		"stream, unconverted": {func() *exchange.RequestHead { return streamed(bidiMethod) }, env(0, body), join(packed, env(1, body), packed), "gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			want := cut(t, c.head(), c.request, c.response, c.encoding, len(c.request), len(c.response))
			for i := -1; i < len(c.request); i++ {
				if got := cut(t, c.head(), c.request, c.response, c.encoding, i, len(c.response)); got != want {
					t.Fatalf("request cut at %d:\ngot  %+v\nwant %+v", i, got, want)
				}
			}
			for j := -1; j < len(c.response); j++ {
				if got := cut(t, c.head(), c.request, c.response, c.encoding, len(c.request), j); got != want {
					t.Fatalf("response cut at %d:\ngot  %+v\nwant %+v", j, got, want)
				}
			}
			if got := cut(t, c.head(), c.request, c.response, c.encoding, -1, -1); got != want {
				t.Fatalf("single bytes:\ngot  %+v\nwant %+v", got, want)
			}
		})
	}
}

// sound returns the part of a response that a handler would send: the gRPC client half
// ends a call before what breaks gRPC's rules.
func sound(b []byte, encoding string) []byte {
	s := envelope.Scanner{Limit: maxMessage, Encoded: encoding != ""}
	n, _ := s.Scan(b)
	return b[:n]
}

// play makes an exchange in the order that a program says, and ends it in any case.
func play(t testing.TB, head *exchange.RequestHead, program, request, response []byte, encoding string) (*trial, exchangetest.Answer) {
	r := newTrial(t)
	r.mem.limit = 1500
	length := head.Length
	r.start(head)
	var over, headed bool // the request is over, the response has a head
	for i := 0; i+1 < len(program); i += 2 {
		n := int(program[i+1])
		switch op := program[i] % 8; op {
		case 0, 1:
			if !over {
				r.give(request[:min(n, len(request))])
				request = request[min(n, len(request)):]
			}
		case 2:
			if !over {
				over = true
				r.q.End(nil)
			}
		case 3:
			over = true
			r.q.Reset([]exchange.Code{exchange.Cancel, exchange.Disconnected, exchange.EnhanceYourCalm}[n%3])
		case 4:
			if r.call != nil && !headed && !r.over {
				headed = true
				r.head(encoding)
			}
		case 5:
			if headed {
				r.send(response[:min(n, len(response))])
				response = response[min(n, len(response)):]
			}
		case 6:
			if r.call != nil {
				r.backend.end(rpc.Status{Code: rpc.Code(n % 18)}, rpc.Metadata{{Key: "x-t", Value: "1"}})
			}
		case 7: // what is canceled ends later
			r.onCancel = func(*backend) {}
		}
	}
	if r.call != nil {
		if !over {
			r.q.Reset(exchange.Cancel)
		}
		r.backend.end(rpc.Status{Code: rpc.Unavailable}, nil)
	}
	a := r.finish(len(program)%2 == 0)
	if head.Method == "POST" && length >= 0 && len(r.body) > int(length)+envelope.PrefixLen {
		t.Errorf("the backend got %d bytes, content-length is %d", len(r.body), length)
	}
	return r, a
}

// checkUnary checks the form of an answer.
func checkUnary(t testing.TB, a *exchangetest.Answer) {
	if !a.Ended || a.Status == 200 && a.Get("content-type") != unaryProto {
		t.Errorf("answer %+v", a)
	}
	if n := a.Get("content-length"); n != "" && n != strconv.Itoa(len(a.Body)) {
		t.Errorf("content-length %s of %d bytes", n, len(a.Body))
	}
	if a.Status != 200 && len(a.Body) > 0 && (!json.Valid(a.Body) || a.Get("content-type") != "application/json") {
		t.Errorf("error %q", a.Body)
	}
}

func FuzzUnary(f *testing.F) {
	gz := env(1, pack(f, "gzip", []byte("hello")))
	f.Add(int16(3), "", "", "", "", []byte{0, 9, 2, 0, 4, 0, 5, 99, 6, 0}, []byte("abc"), env(0, []byte("x")))
	f.Add(int16(-1), "gzip", "br", "100", "gzip", []byte{0, 9, 2, 0, 4, 0, 5, 99, 6, 0}, []byte("abc"), gz)
	f.Add(int16(9), "gzip", "", "0", "gzip", []byte{7, 0, 0, 2, 3, 0, 4, 0, 5, 3, 6, 5}, []byte("abc"), gz)
	f.Fuzz(func(t *testing.T, length int16, own, accept, timeout, encoding string, program, request, response []byte) {
		head := func() *exchange.RequestHead {
			return post(unaryMethod, max(-1, int(length)), "content-encoding", own, "accept-encoding", accept, "connect-timeout-ms", timeout)
		}
		_, a := play(t, head(), program, request, sound(response, encoding), encoding)
		checkUnary(t, &a)
		whole := cut(t, head(), request, response, encoding, len(request), len(response))
		if single := cut(t, head(), request, response, encoding, -1, -1); single != whole {
			t.Errorf("in single bytes:\n%+v\nwhole:\n%+v", single, whole)
		}
	})
}

func FuzzStream(f *testing.F) {
	gz := env(1, pack(f, "gzip", []byte("hello")))
	msg := env(0, []byte("abc"))
	f.Add(uint8(0), "", "", "", "", []byte{0, 99, 2, 0, 4, 0, 5, 99, 6, 0}, msg, join(msg, msg))
	f.Add(uint8(1), "gzip", "br", "100", "gzip", []byte{4, 0, 0, 99, 2, 0, 5, 7, 5, 99, 6, 0}, gz, join(gz, gz, msg))
	f.Add(uint8(2), "", "", "", "gzip", []byte{7, 0, 4, 0, 0, 3, 5, 50, 3, 0, 5, 99, 6, 5}, msg, join(gz, env(1, []byte("no")), gz))
	f.Add(uint8(3), "", "", "", "", []byte{0, 99}, join(msg, env(2, []byte("{}"))), []byte{})
	f.Fuzz(func(t *testing.T, method uint8, own, accept, timeout, encoding string, program, request, response []byte) {
		head := func() *exchange.RequestHead {
			return streamed([]string{bidiMethod, serverMethod, clientMethod, unaryMethod, unknown}[method%5],
				"connect-content-encoding", own, "connect-accept-encoding", accept, "connect-timeout-ms", timeout)
		}
		response = sound(response, encoding)
		_, a := play(t, head(), program, request, response, encoding)
		if a.Ended {
			readStream(t, a.Body)
		}
		whole := cut(t, head(), request, response, encoding, len(request), len(response))
		if single := cut(t, head(), request, response, encoding, -1, -1); single != whole {
			t.Errorf("in single bytes:\n%+v\nwhole:\n%+v", single, whole)
		}
	})
}

func FuzzGet(f *testing.F) {
	f.Add(true, "connect=v1&encoding=proto&base64=1&message="+base64.URLEncoding.EncodeToString([]byte("hello")), []byte{2, 0, 4, 0, 5, 99, 6, 0}, env(0, []byte("x")))
	f.Add(false, "connect=v1&encoding=json&message=%7B%7D", []byte{0, 3, 3, 0}, []byte{})
	f.Add(true, "message=a+b&encoding=proto&compression=gzip", []byte{4, 0, 5, 2, 6, 0}, env(1, []byte("x")))
	f.Fuzz(func(t *testing.T, known bool, query string, program, response []byte) {
		method := unaryMethod
		if known {
			method = getMethod
		}
		head := get(method, query)
		if FormOf(head) == None {
			return
		}
		r, a := play(t, head, program, []byte("a body"), sound(response, "gzip"), "gzip")
		checkUnary(t, &a)
		if r.call != nil && (!known || len(r.body) < envelope.PrefixLen || len(r.body) > len(query)+envelope.PrefixLen) {
			t.Errorf("the backend got %q of %q", r.body, query)
		}
	})
}
