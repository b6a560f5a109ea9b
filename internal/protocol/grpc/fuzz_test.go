package grpc

import (
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// script is a fuzzer's bytes, read as choices.
type script struct{ b []byte }

func (s *script) next() int {
	if len(s.b) == 0 {
		return 0
	}
	n := int(s.b[0])
	s.b = s.b[1:]
	return n
}

// headOf makes fields of lines "name: value", as a carrier would: in lower case, without
// empty names.
func headOf(lines string) []exchange.Field {
	var f []exchange.Field
	for line := range strings.Lines(lines) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ": ")
		if ok && name != "" {
			f = append(f, exchange.Field{Name: strings.ToLower(name), Value: value})
		}
	}
	return f
}

// FuzzServer plays a client and a backend by a script. No panic, one end, one Done, and
// each byte is credited once.
func FuzzServer(f *testing.F) {
	text := text(msg(0, "hello")) + text(msg(0, ""))
	for _, ct := range []string{"application/grpc", "application/grpc-web+proto", "application/grpc-web-text"} {
		body := msg(0, "hello") + msg(1, "z")
		if strings.Contains(ct, "text") {
			body = text
		}
		f.Add("content-type: "+ct+"\ngrpc-encoding: gzip\ngrpc-timeout: 9H\nx-bin: AQ==,AQ\n", []byte(body), []byte(msg(0, "answer")),
			[]byte{0, 3, 1, 0, 200, 2, 9, 3, 4, 2, 200, 5}, uint32(0), "50% ☺", false)
		f.Add("content-type: "+ct+"\n", []byte(body), []byte(msg(0, "answer")), []byte{0, 7, 1, 2, 3, 7}, uint32(17), "", true)
		f.Add("content-type: "+ct+"\naccept: application/grpc-web-text\n", []byte(body+"!!!!"), []byte(msg(0, "")), []byte{0, 7, 0, 250, 4}, uint32(4), "%", true)
	}
	f.Add("content-type: application/grpc\ngrpc-timeout: 123456789S\n", []byte{}, []byte{}, []byte{0, 4, 6}, uint32(0), "", false)
	f.Fuzz(func(t *testing.T, lines string, request, response, choices []byte, code uint32, message string, isUnary bool) {
		o := Options{}
		if isUnary {
			o.Lookup = lookup
		}
		b := &callee{hold: true}
		fr := serve(o, b, headOf(lines)...)
		s := &script{choices}
		var headed, ended, reset bool
		var taken, sent, offered, acked int // request bytes the backend took and the client sent; response bytes sent and taken
		for len(s.b) > 0 {
			op := s.next()
			switch op % 8 {
			case 0: // the client sends
				n := min(s.next()+1, len(request))
				if ended || reset || n == 0 {
					break
				}
				fr.req.Data(request[:n])
				sent, request = sent+n, request[n:]
			case 1: // the backend's head
				if b.call != nil && !headed && !b.over {
					headed = true
					b.response.Head(&rpc.Head{Encoding: "gzip", Metadata: rpc.Metadata{{Key: "a", Value: "1"}}})
				}
			case 2: // the backend sends
				n := min(s.next()+1, len(response))
				if headed && !b.over && n > 0 {
					b.response.Data(response[:n])
					offered, response = offered+n, response[n:]
				}
			case 3: // the backend takes
				if n := min(s.next()+1, len(b.data)-taken); n > 0 {
					taken += n
					b.response.Credit(n)
				}
			case 4: // the client ends
				if !ended && !reset {
					ended = true
					fr.req.End(nil)
				}
			case 5: // the backend ends
				if b.call != nil {
					b.end(rpc.Status{Code: rpc.Code(code), Message: message}, rpc.Metadata{{Key: "t", Value: "1"}})
				}
			case 6: // the client is gone
				reset = true
				fr.req.Reset(exchange.Code(s.next()))
			case 7: // the client takes
				if n := min(s.next()+1, len(fr.answer.Answer().Body)-acked); n > 0 {
					acked += n
					fr.req.Credit(n)
				}
			}
			if a := fr.answer.Answer(); a.Credit > sent || b.credit > offered {
				t.Fatalf("request: %d credited of %d, response: %d of %d", a.Credit, sent, b.credit, offered)
			}
		}
		// What is left: the backend takes all, and ends; the client takes all.
		if n := len(b.data) - taken; n > 0 {
			b.response.Credit(n)
		}
		if !ended && !reset {
			fr.req.End(nil)
		}
		if b.call != nil {
			b.end(rpc.Status{Code: rpc.Code(code), Message: message}, nil)
		}
		a := fr.answer.Answer()
		if !a.Final() {
			t.Fatal("no end")
		}
		if n := len(a.Body) - acked; n > 0 {
			fr.req.Credit(n)
		}
		fr.req.Done(true)
		whole := !reset || b.call == nil || b.call.Protocol != "grpc-web-text" // else a group may be open
		if a = fr.answer.Answer(); a.Credit > sent || whole && a.Credit != sent || b.credit != offered {
			t.Errorf("request: %d credited of %d, response: %d of %d", a.Credit, sent, b.credit, offered)
		}
		if b.call != nil && len(b.outcomes) != 1 {
			t.Errorf("%d times Done", len(b.outcomes))
		}
		fr.check(t)
	})
}

// FuzzClient plays a backend and a client by a script, with any head, body and trailer.
func FuzzClient(f *testing.F) {
	body := []byte(msg(0, "hello") + msg(1, "z"))
	ok := "content-type: application/grpc\ngrpc-encoding: gzip\nx-bin: AQ==,AQ\n"
	f.Add(200, ok, body, "grpc-status: 0\nt: 1\n", []byte{0, 0, 2, 3, 9, 2, 4, 3, 200, 5}, false)
	f.Add(200, ok, body, "grpc-status: 17\ngrpc-message: 50%zz\n", []byte{0, 2, 7, 3, 3, 6}, true)
	f.Add(200, ok+"grpc-status: 5\n", body, "", []byte{1}, true)
	f.Add(503, "content-type: text/html\n", []byte("<html>"), "", []byte{0, 0, 3, 9, 5}, false)
	f.Add(200, "content-type: application/grpc\n", []byte("\x00\xff\xff\xff\xff"), "grpc-status: -1\n", []byte{0, 3, 1, 3, 9, 5}, false)
	f.Add(200, ok, body, "", []byte{0, 3, 3, 7, 8, 3, 100, 5}, false)
	f.Fuzz(func(t *testing.T, status int, head string, body []byte, trailer string, choices []byte, isUnary bool) {
		if status < 200 || status > 999 {
			status = 200
		}
		c := &rpc.Call{Deadline: epoch}
		if isUnary {
			c.Schema = unary
		}
		b := call(t, ClientOptions{}, c)
		s := &script{choices}
		var headed, sentEnd bool
		sent, taken := 0, 0
		over := func() bool { return len(b.ends) > 0 }
		for len(s.b) > 0 {
			switch s.next() % 8 {
			case 0:
				if !headed && !over() {
					headed = true
					b.q.Answer(status, headOf(head)...)
				}
			case 1:
				if !headed && !over() {
					headed = true
					b.q.AnswerEnd(status, headOf(head)...)
				}
			case 2:
				if !sentEnd && !over() {
					b.req.Data([]byte("request"))
				}
			case 3:
				n := min(s.next()+1, len(body))
				if headed && !over() && n > 0 {
					b.q.Send(body[:n])
					sent, body = sent+n, body[n:]
				}
			case 4:
				if n := min(s.next()+1, len(b.data)-taken); n > 0 {
					taken += n
					b.req.Credit(n)
				}
			case 5:
				if headed && !over() {
					b.q.Finish(headOf(trailer)...)
				}
			case 6:
				if !over() {
					b.q.Break(exchange.Code(s.next()), nil)
				}
			case 7:
				b.req.Cancel(rpc.Errorf(rpc.Canceled, "gone"))
			}
			if got := b.q.Seen().Credit; got > sent {
				t.Fatalf("%d bytes credited of %d", got, sent)
			}
		}
		if !over() {
			b.req.Cancel(rpc.Errorf(rpc.Canceled, "gone"))
		}
		if n := len(b.data) - taken; n > 0 {
			b.req.Credit(n)
		}
		st := b.one(t)
		b.req.Done(rpc.Outcome{Status: st})
		// What was kept of a cut prefix ends with the exchange.
		if q := b.q.Seen(); !q.Done || q.Credit > sent || q.Credit < sent-4 {
			t.Errorf("done %v, %d bytes credited of %d", q.Done, q.Credit, sent)
		}
		for _, md := range []rpc.Metadata{b.trailer, func() rpc.Metadata {
			if len(b.heads) > 0 {
				return b.heads[0].Metadata
			}
			return nil
		}()} {
			for _, f := range md {
				if strings.HasPrefix(f.Key, "grpc-s") || strings.HasPrefix(f.Key, "content-") || strings.HasPrefix(f.Key, ":") {
					t.Errorf("%s is metadata", f.Key)
				}
			}
		}
		b.check(t)
	})
}
