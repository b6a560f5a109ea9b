package jsoncodec

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
)

// A result is what both sides saw of a call.
type result struct {
	body, answer string
	ended        bool
	status       string
}

// cut makes a call with the request and the response in pieces: of the size of step, or
// two, cut at -step, if that is negative.
func cut(t testing.TB, request, response []byte, in, out int) result {
	t.Helper()
	r := newTrial(t).start(method, "gzip")
	pieces(request, in, func(p []byte) { r.give(p) })
	r.request.End()
	r.headed("gzip")
	pieces(response, out, r.send)
	r.end(rpc.Status{}, false)
	r.finish()
	return result{string(r.body), string(r.answer), r.ended, fmt.Sprint(*r.status)}
}

func pieces(b []byte, step int, f func([]byte)) {
	if step <= 0 {
		f(b[:min(-step, len(b))])
		f(b[min(-step, len(b)):])
		return
	}
	for i := 0; i < len(b); i += step {
		f(b[i:min(i+step, len(b))])
	}
}

// TestEveryCut: where the bytes of either direction are cut changes nothing.
func TestEveryCut(t *testing.T) {
	msg := join(env(0, []byte(hello)), env(1, pack([]byte(nest))), env(0, []byte(hello)))
	bin := join(env(1, pack(wire(t, nest))), env(0, nil), env(0, wire(t, hello)))
	for name, c := range map[string]struct{ request, response []byte }{
		"good":               {msg, bin},
		"bad JSON":           {join(msg, env(0, []byte("{")), msg), bin},
		"end inside":         {join(msg, msg[:12]), bin},
		"bad protobuf":       {msg, join(bin, env(0, []byte{0}), bin)},
		"the answer is cut":  {msg, join(bin, bin[:12])},
		"both are bad":       {env(8, nil), env(1, []byte("garbage"))},
		"too large a prefix": {join(msg, env(0, make([]byte, maxMessage+1))), bin},
	} {
		t.Run(name, func(t *testing.T) {
			want := cut(t, c.request, c.response, 1<<20, 1<<20)
			for i := range c.request {
				if got := cut(t, c.request, c.response, -i, 1<<20); got != want {
					t.Fatalf("request cut at %d:\ngot  %+v\nwant %+v", i, got, want)
				}
			}
			for i := range c.response {
				if got := cut(t, c.request, c.response, 1<<20, -i); got != want {
					t.Fatalf("response cut at %d:\ngot  %+v\nwant %+v", i, got, want)
				}
			}
			if got := cut(t, c.request, c.response, 1, 1); got != want {
				t.Fatalf("single bytes:\ngot  %+v\nwant %+v", got, want)
			}
		})
	}
}

// random makes a message.
func random(rnd *rand.Rand, depth int) string {
	var fields []string
	if rnd.IntN(2) == 0 {
		fields = append(fields, fmt.Sprintf(`"text":%q`, strings.Repeat(string(rune('a'+rnd.IntN(26))), rnd.IntN(60))))
	}
	if rnd.IntN(2) == 0 {
		fields = append(fields, fmt.Sprintf(`"n":%d`, rnd.Int64()))
	}
	if rnd.IntN(3) == 0 {
		fields = append(fields, `"data":"AQI="`)
	}
	if depth > 0 && rnd.IntN(2) == 0 {
		more := make([]string, rnd.IntN(3))
		for i := range more {
			more[i] = random(rnd, depth-1)
		}
		fields = append(fields, `"more":[`+strings.Join(more, ",")+`]`)
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// TestModel: random messages in random pieces, with both directions mixed and credit that
// comes when it comes, are the messages that protojson makes of them.
func TestModel(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		r := newTrial(t)
		r.noCredit, r.slow = true, true
		r.start(method, "gzip")
		r.headed("gzip")
		var in, out []byte
		var want, answers []string
		for range rnd.IntN(6) {
			doc := random(rnd, 3)
			if len(doc) > maxMessage {
				continue
			}
			want = append(want, doc)
			if rnd.IntN(2) == 0 {
				in = append(in, env(0, []byte(doc))...)
			} else {
				in = append(in, env(1, pack([]byte(doc)))...)
			}
			doc = random(rnd, 3)
			if len(doc) > maxMessage/2 { // as protobuf and back it may grow
				continue
			}
			answers = append(answers, doc)
			out = append(out, env(0, wire(t, doc))...)
		}
		creditedIn, creditedOut := 0, 0
		for len(in) > 0 || len(out) > 0 {
			n := 1 + rnd.IntN(200)
			switch rnd.IntN(4) {
			case 0:
				n = min(n, len(in))
				r.give(in[:n])
				in = in[n:]
			case 1:
				n = min(n, len(out))
				r.send(out[:n])
				out = out[n:]
			case 2:
				if n = min(n, len(r.body)-creditedIn); n > 0 {
					creditedIn += n
					r.response.Credit(n)
				}
			case 3:
				if n = min(n, len(r.answer)-creditedOut); n > 0 {
					creditedOut += n
					r.request.Credit(n)
				}
			}
			if r.taken > r.gave || r.credited > r.sent {
				t.Fatalf("seed %d: %d of %d and %d of %d were credited", seed, r.taken, r.gave, r.credited, r.sent)
			}
		}
		r.request.End()
		if n := len(r.body) - creditedIn; n > 0 {
			r.response.Credit(n)
		}
		if n := len(r.answer) - creditedOut; n > 0 {
			r.request.Credit(n)
		}
		r.noCredit, r.slow = false, false
		r.end(rpc.Status{}, false)
		r.finish()
		sent, got := split(t, r.body), split(t, r.answer)
		if !r.status.OK() || len(sent) != len(want) || len(got) != len(answers) {
			t.Fatalf("seed %d: %v, %d messages of %d, %d answers of %d", seed, r.status, len(sent), len(want), len(got), len(answers))
		}
		for i := range want {
			same(t, sent[i], wire(t, want[i]))
		}
		for i := range answers {
			same(t, string(wire(t, got[i])), wire(t, answers[i]))
		}
	}
}

// same compares two messages as protobuf.
func same(t testing.TB, got string, want []byte) {
	t.Helper()
	a, b := dynamicpb.NewMessage(plan.Descriptor()), dynamicpb.NewMessage(plan.Descriptor())
	if err := proto.Unmarshal([]byte(got), a); err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(want, b); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(a, b) {
		t.Errorf("got %v, want %v", a, b)
	}
}

// A beside is a backend and a client whose credit comes from goroutines of its own.
type beside struct {
	response        rpc.Response
	request         rpc.Request
	body, answer    []byte
	toBack, toFront chan int
	taken, credited atomic.Int64
}

func (b *beside) Start(_ *rpc.Call, response rpc.Response) rpc.Request {
	b.response = response
	return b
}
func (b *beside) Begin()             {}
func (b *beside) End()               {}
func (b *beside) Cancel(rpc.Status)  {}
func (b *beside) Done(o rpc.Outcome) {}
func (b *beside) Credit(n int)       { b.credited.Add(int64(n)) }
func (b *beside) Data(p []byte) {
	b.body = append(b.body, p...)
	b.toBack <- len(p)
}

// besideClient is the place of the response.
type besideClient beside

func (c *besideClient) Head(*rpc.Head)               {}
func (c *besideClient) End(rpc.Status, rpc.Metadata) {}
func (c *besideClient) Credit(n int)                 { c.taken.Add(int64(n)) }
func (c *besideClient) Data(p []byte) {
	c.answer = append(c.answer, p...)
	c.toFront <- len(p)
}

// TestCreditBeside: credit comes from any goroutine while both directions run, and still
// counts each byte once.
func TestCreditBeside(t *testing.T) {
	const n = 200
	b := &beside{toBack: make(chan int, n), toFront: make(chan int, n)}
	h := New(b, Options{Messages: messages, MaxMessage: maxMessage})
	b.request = h.Start(&rpc.Call{Method: method, Codec: "json"}, (*besideClient)(b))
	b.request.Begin()
	b.response.Head(&rpc.Head{})
	var wg sync.WaitGroup
	for range 2 { // each ends with its channel
		wg.Go(func() {
			for m := range b.toBack {
				b.response.Credit(1)
				b.response.Credit(m - 1)
			}
		})
		wg.Go(func() {
			for m := range b.toFront {
				b.request.Credit(1)
				b.request.Credit(m - 1)
			}
		})
	}
	in := bytes.Repeat(env(0, []byte(hello)), n)
	out := bytes.Repeat(env(0, wire(t, hello)), n)
	wg.Go(func() {
		pieces(out, 13, b.response.Data)
		close(b.toFront)
	})
	pieces(in, 17, b.request.Data)
	close(b.toBack)
	wg.Wait()
	if int(b.taken.Load()) != len(in) || int(b.credited.Load()) != len(out) {
		t.Errorf("%d of %d and %d of %d were credited", b.taken.Load(), len(in), b.credited.Load(), len(out))
	}
	if len(split(t, b.body)) != n || len(split(t, b.answer)) != n {
		t.Error("messages were lost")
	}
}

// FuzzCall: any bytes, in any order of events: the contract holds, memory is bounded and
// given back, and where the bytes are cut changes nothing.
func FuzzCall(f *testing.F) {
	f.Add([]byte{0, 99, 2, 0, 4, 0, 5, 99, 6, 0}, env(0, []byte(hello)), env(0, []byte{10, 1, 'a'}))
	f.Add([]byte{4, 0, 0, 9, 5, 3, 0, 200, 5, 200, 1, 50, 3, 50, 2, 0, 6, 5}, join(env(1, pack([]byte(nest))), env(0, []byte("{}"))), join(env(1, pack([]byte{16, 7})), env(0, nil)))
	f.Add([]byte{7, 0, 0, 200, 4, 0, 5, 200, 6, 0}, join(env(0, []byte("{}")), env(0, nil), env(0, []byte("{}"))), join(env(0, nil), env(2, nil)))
	f.Add([]byte{8, 0, 0, 9, 9, 0, 6, 0}, env(0, []byte(`{"text":"\ud83d\ude00","more":[{},{"n":"-1"}]}`))[:30], env(0, []byte{0x22, 2, 16, 1}))
	f.Fuzz(func(t *testing.T, program, request, response []byte) {
		if len(request) > 1<<16 || len(response) > 1<<16 {
			return
		}
		whole := cut(t, request, response, 1<<20, 1<<20)
		if single := cut(t, request, response, 1, 1); single != whole {
			t.Errorf("in single bytes:\n%+v\nwhole:\n%+v", single, whole)
		}
		at := len(program)
		if two := cut(t, request, response, -at, -at); two != whole {
			t.Errorf("cut at %d:\n%+v\nwhole:\n%+v", at, two, whole)
		}
		for _, m := range split(t, []byte(whole.answer)) {
			if err := protojson.Unmarshal([]byte(m), dynamicpb.NewMessage(plan.Descriptor())); err != nil {
				t.Errorf("%+v: %v", m, err)
			}
		}
		for _, m := range split(t, []byte(whole.body)) {
			if err := proto.Unmarshal([]byte(m), dynamicpb.NewMessage(plan.Descriptor())); err != nil {
				t.Errorf("%q: %v", m, err)
			}
		}
		play(t, program, request, response)
	})
}

// play makes a call in the order that a program says, and ends it in any case.
func play(t testing.TB, program, request, response []byte) {
	r := newTrial(t)
	r.mem.limit = 1500
	r.start(method, "gzip")
	creditedIn, creditedOut := 0, 0
	for i := 0; i+1 < len(program); i += 2 {
		n := int(program[i+1])
		switch program[i] % 10 {
		case 0:
			if n = min(n, len(request)); !r.ended && len(r.cancels) == 0 {
				r.give(request[:n])
				request = request[n:]
			}
		case 1:
			if n = min(n, len(r.body)-creditedIn); r.noCredit && n > 0 {
				creditedIn += n
				r.response.Credit(n)
			}
		case 2:
			if !r.ended && len(r.cancels) == 0 {
				r.request.End()
			}
		case 3:
			if n = min(n, len(r.answer)-creditedOut); r.slow && n > 0 {
				creditedOut += n
				r.request.Credit(n)
			}
		case 4:
			if r.head == nil {
				r.headed("gzip")
			}
		case 5:
			if n = min(n, len(response)); r.head != nil {
				r.send(response[:n])
				response = response[n:]
			}
		case 6:
			r.end(rpc.Status{Code: rpc.Code(n % 18)}, n%2 == 0)
		case 7: // what is canceled ends later
			r.late = true
		case 8:
			if i == 0 {
				r.noCredit, r.slow = true, true
			}
		case 9:
			r.request.Cancel(rpc.Status{Code: rpc.Canceled})
		}
	}
	r.end(rpc.Status{Code: rpc.Unavailable}, false)
	if n := len(r.body) - creditedIn; r.noCredit && n > 0 {
		r.response.Credit(n)
	}
	if n := len(r.answer) - creditedOut; r.slow && n > 0 {
		r.request.Credit(n)
	}
	r.noCredit, r.slow = false, false
	// A message whose request is not over stays until Done.
	if most := 2 * (maxMessage + envelope.PrefixLen + 255); r.mem.held > most {
		t.Errorf("%d bytes are kept, more than a message each way", r.mem.held)
	}
	r.finish()
}
