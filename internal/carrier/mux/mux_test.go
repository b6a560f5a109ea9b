package mux

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
)

const id = "0f3a5b7c9d1e2f405162738495a6b7c8"

// start makes a server with a fake backend and a fake clock.
func start(t testing.TB, script exchangetest.Script, change func(*Options)) (*Server, *exchangetest.Server, *clock) {
	backend, c := exchangetest.NewServer(script), newClock()
	o := Options{Next: backend, Now: c.Now, After: c.After, Node: "n1"}
	if change != nil {
		change(&o)
	}
	s := New(o)
	t.Cleanup(func() {
		if all, waiting := s.Calls(); all != 0 || waiting != 0 {
			t.Errorf("%d calls are left, %d of them waiting", all, waiting)
		}
	})
	return s, backend, c
}

var ok = []exchange.Field{{Name: "grpc-status", Value: "0"}}

func TestUnary(t *testing.T) {
	s, backend, _ := start(t, exchangetest.Script{}, nil)
	p := dial(t, s)
	p.want("0 WELCOME")
	p.send(duplex.Hello, 0, block("authorization", "Bearer a", "x-both", "hello", "x-own", "hello"))
	p.send(duplex.Headers, 1, block(":path", "/a.B/C", "grpc-timeout", "5S", "x-own", "call"))
	p.send(duplex.Data, 1, "\x00\x00\x00\x00\x01x")
	p.send(duplex.End, 1, "")
	q := backend.Next(t)
	seen := q.Seen()
	h := seen.Head
	if h.Method != "POST" || h.Path != "/a.B/C" || h.Protocol != "" || h.Carrier != "ws" || h.Authority != "api.test" {
		t.Errorf("head %+v", h)
	}
	want := "[{grpc-timeout 5S false} {x-own call false} {content-type application/grpc+proto false} {te trailers false} " +
		"{authorization Bearer a false} {x-both hello false} {cookie c=1 false}]"
	if got := fmt.Sprint(h.Fields); got != want {
		t.Errorf("fields %s\nwant   %s", got, want)
	}
	if string(seen.Body) != "\x00\x00\x00\x00\x01x" || !seen.Ended {
		t.Errorf("the backend has got %q, end %v", seen.Body, seen.Ended)
	}
	q.Answer(200, exchange.Field{Name: "content-type", Value: "application/grpc+proto"}, exchange.Field{Name: "x-a", Value: "1"})
	q.Send([]byte("\x00\x00\x00\x00\x01y"))
	q.Finish(exchange.Field{Name: "grpc-status", Value: "0"}, exchange.Field{Name: "x-t", Value: "2"})
	p.want("1 HEADERS x-a: 1", "1 END grpc-status: 0, x-t: 2")
	if got := p.received(1); string(got) != "\x00\x00\x00\x00\x01y" {
		t.Errorf("received %q", got)
	}
	if seen := q.WaitDone(t); !seen.Delivered {
		t.Error("the end counts as not delivered")
	}
	q.Check(t)
}

// TestTrailersOnly is a response of one head.
func TestTrailersOnly(t *testing.T) {
	s, backend, _ := start(t, exchangetest.Script{}, nil)
	p := dial(t, s)
	p.got()
	p.send(duplex.Headers, 1, block(":path", "/a.B/C"))
	backend.Next(t).AnswerEnd(200, exchange.Field{Name: "content-type", Value: "application/grpc"}, exchange.Field{Name: "grpc-status", Value: "5"})
	p.send(duplex.Headers, 2, block(":path", "/a.B/C"))
	backend.Next(t).AnswerEnd(404, exchange.Field{Name: "content-type", Value: "text/plain"})
	p.send(duplex.Headers, 3, block(":path", "/a.B/C"))
	backend.Next(t).Break(exchange.RefusedStream, nil)
	p.want("1 END grpc-status: 5",
		"2 END content-type: text/plain, grpc-status: 12, grpc-message: HTTP status 404 without grpc-status",
		"3 END grpc-status: 14, grpc-message: the call was reset: REFUSED_STREAM")
}

// TestCredit holds both directions back, and a message larger than the window passes.
func TestCredit(t *testing.T) {
	s, backend, _ := start(t, exchangetest.Script{NoCredit: true}, nil)
	p := dial(t, s)
	p.send(duplex.Headers, 1, block(":path", "/a.B/C"))
	q := backend.Next(t)
	p.got()
	for range 4 {
		p.send(duplex.Data, 1, strings.Repeat("u", duplex.MaxData))
	}
	q.Take(1000)
	p.want()
	q.Take(duplex.Window/2 - 1000)
	p.want("1 CREDIT 32768+65536 got 1")

	q.Answer(200)
	big := bytes.Repeat([]byte("d"), 3*duplex.Window)
	q.Send(big)
	if n := len(p.received(1)); n != duplex.Window {
		t.Fatalf("%d bytes without credit", n)
	}
	p.credit(1, 40_000, 0)
	if n := len(p.received(1)); n != duplex.Window+40_000 || q.Seen().Credit != 40_000 {
		t.Errorf("%d bytes, backend credited with %d", n, q.Seen().Credit)
	}
	p.credit(1, duplex.Window+40_000, 0)
	q.Finish(ok...)
	p.credit(1, len(p.received(1)), 0)
	if got := p.received(1); !bytes.Equal(got, big) {
		t.Errorf("received %d bytes", len(got))
	}
	p.want("1 HEADERS", "1 END grpc-status: 0")

	p.send(duplex.Headers, 2, block(":path", "/a.B/C"))
	q = backend.Next(t)
	for range 5 {
		p.send(duplex.Data, 2, strings.Repeat("u", duplex.MaxData))
	}
	p.want("2 END grpc-status: 8, grpc-message: more DATA than credit: at most 65536 bytes may be on their way")
	if !q.WaitDone(t).Reset {
		t.Error("the backend goes on")
	}
}

// TestCreditAfterTheEnd has a client go on sending after the response has ended: it gets CREDIT, and
// the connection serves others.
func TestCreditAfterTheEnd(t *testing.T) {
	s, backend, _ := start(t, exchangetest.Script{}, nil)
	p := dial(t, s)
	p.send(duplex.Headers, 1, block(":path", "/a.B/C", ":call", id))
	q := backend.Next(t)
	q.Finish(ok...)
	p.got()
	for range 2 {
		p.send(duplex.Data, 1, strings.Repeat("u", duplex.MaxData))
	}
	p.want("1 CREDIT 32768+65536 got 1")
	p.send(duplex.Ping, 0, "12345678")
	p.want("0 PONG 12345678")
	p.credit(1, 0, duplex.GotEnd)
	q.WaitDone(t)
}

// TestSlowPipe takes no more from calls than the carrier takes, and fairly.
func TestSlowPipe(t *testing.T) {
	s, backend, _ := start(t, exchangetest.Script{}, nil)
	p := dial(t, s)
	p.hold = true
	for n := range uint32(3) {
		p.send(duplex.Headers, n+1, block(":path", "/a.B/C"))
		q := backend.Next(t)
		q.Answer(200)
		q.Send(make([]byte, 60_000))
		q.Finish(ok...)
	}
	if sum := len(p.received(1)) + len(p.received(2)) + len(p.received(3)); sum > firstRoom {
		t.Errorf("%d bytes went into a pipe of %d", sum, firstRoom)
	}
	p.pay()
	if len(p.received(2)) == 0 {
		t.Error("the second call starves")
	}
	p.mu.Lock()
	p.hold = false
	p.mu.Unlock()
	p.pay()
	for n := range uint32(3) {
		if got := len(p.received(n + 1)); got != 60_000 {
			t.Errorf("call %d: %d bytes", n+1, got)
		}
	}
}

func TestCancel(t *testing.T) {
	s, backend, _ := start(t, exchangetest.Script{}, nil)
	p := dial(t, s)
	p.send(duplex.Headers, 1, block(":path", "/a.B/C"))
	q := backend.Next(t)
	p.got()
	p.send(duplex.Cancel, 1, "")
	if seen := q.WaitDone(t); !seen.Reset || seen.Code != exchange.Cancel || seen.Delivered {
		t.Errorf("seen %+v", seen)
	}
	p.send(duplex.Data, 1, "late")
	p.send(duplex.End, 1, "")
	p.want()
	p.send(duplex.Headers, 2, block(":path", "/a.B/C"))
	q = backend.Next(t)
	p.q.Reset(exchange.Cancel)
	if seen := q.WaitDone(t); seen.Code != exchange.Cancel {
		t.Errorf("leaving: %v", seen.Code)
	}
	p = dial(t, s)
	p.send(duplex.Headers, 1, block(":path", "/a.B/C"))
	q = backend.Next(t)
	p.cut()
	if seen := q.WaitDone(t); seen.Code != exchange.Disconnected {
		t.Errorf("loss: %v", seen.Code)
	}
}

func TestResume(t *testing.T) {
	s, backend, clock := start(t, exchangetest.Script{}, nil)
	a := dial(t, s)
	a.want("0 WELCOME")
	a.send(duplex.Headers, 5, block(":path", "/a.B/C", ":call", id))
	q := backend.Next(t)
	a.send(duplex.Data, 5, "abc")
	clock.pass(creditWait)
	q.Answer(200)
	q.Send([]byte("0123456789"))
	a.want("5 CREDIT 3+65536 got 1", "5 HEADERS")
	a.cut()
	q.Send([]byte("away"))
	if all, waiting := s.Calls(); all != 1 || waiting != 1 {
		t.Errorf("%d calls, %d wait", all, waiting)
	}
	clock.pass(59 * time.Second)

	b := dial(t, s)
	b.got()
	b.send(duplex.Resume, 1, block(":call", id, ":ticket", a.ticket, ":epoch", "2", ":got", "1", ":received", "4"))
	b.want("1 RESUMED :state: live, :got: 1, :received: 3", "1 CREDIT 3+65536 got 1")
	if got := b.received(1); string(got) != "456789away" {
		t.Errorf("goes on with %q", got)
	}
	a.send(duplex.Data, 5, "an old pipe talks") // ignored: the carrier would not deliver it, but if it did
	b.send(duplex.Data, 1, "def")

	// While the second pipe is up, a third takes over; an older epoch does not.
	c := dial(t, s)
	c.got()
	c.send(duplex.Resume, 1, block(":call", id, ":ticket", a.ticket, ":epoch", "9", ":got", "0", ":received", "0"))
	c.want("1 RESUMED :state: live, :got: 1, :received: 6", "1 CREDIT 6+65536 got 1", "1 HEADERS")
	if got := c.received(1); string(got) != "0123456789away" {
		t.Errorf("from the start: %q", got)
	}
	b.send(duplex.Data, 1, "old")
	b.send(duplex.Cancel, 1, "")
	c.send(duplex.Resume, 2, block(":call", id, ":ticket", a.ticket, ":epoch", "9", ":got", "0", ":received", "0"))
	if got := c.got(); !strings.Contains(got, "2 RESUMED :state: gone, :reason: outdated, grpc-status: 10") {
		t.Errorf("got %s", got)
	}
	c.send(duplex.End, 1, "")
	if seen := q.Seen(); string(seen.Body) != "abcdef" || !seen.Ended || seen.Reset {
		t.Errorf("the backend has got %q, end %v, reset %v", seen.Body, seen.Ended, seen.Reset)
	}
	q.Finish(ok...)
	c.want("1 END grpc-status: 0")
	c.cut()

	// The end is repeated until it is acknowledged.
	d := dial(t, s)
	d.got()
	d.send(duplex.Resume, 1, block(":call", id, ":ticket", a.ticket, ":epoch", "10", ":got", "1", ":received", "14"))
	d.want("1 RESUMED :state: ended, :got: 2, :received: 6", "1 CREDIT 6+65536 got 2", "1 END grpc-status: 0")
	if q.Seen().Done {
		t.Error("the call is over before its end was acknowledged")
	}
	d.credit(1, 14, duplex.GotEnd)
	if seen := q.WaitDone(t); !seen.Delivered || seen.Credit != 14 {
		t.Errorf("seen %+v", seen)
	}
	d.send(duplex.Resume, 2, block(":call", id, ":ticket", a.ticket, ":epoch", "11", ":got", "1", ":received", "14"))
	if got := d.got(); !strings.Contains(got, ":reason: expired, grpc-status: 14") {
		t.Errorf("got %s", got)
	}
	q.Check(t)
}

// TestHeadersAgain begins a call once, whatever the client repeats.
func TestHeadersAgain(t *testing.T) {
	s, backend, _ := start(t, exchangetest.Script{}, nil)
	a := dial(t, s)
	a.send(duplex.Headers, 1, block(":path", "/a.B/C", ":call", id))
	a.send(duplex.Data, 1, "abc")
	q := backend.Next(t)
	a.cut()
	b := dial(t, s)
	b.got()
	b.send(duplex.Headers, 1, block(":path", "/a.B/C", ":call", id, ":epoch", "2", ":ticket", a.ticket))
	b.send(duplex.Data, 1, "abcdef")
	b.send(duplex.End, 1, "")
	b.want("1 RESUMED :state: live, :got: 1, :received: 3", "1 CREDIT 3+65536 got 1")
	if seen := q.Seen(); string(seen.Body) != "abcdef" || !seen.Ended {
		t.Errorf("the backend has got %q", seen.Body)
	}
	q.Finish(ok...)
	b.credit(1, 0, duplex.GotEnd)
	q.WaitDone(t)
	b.want("1 END grpc-status: 0")

	// One that never arrived begins; one that is over does not.
	other := strings.Repeat("7", 32)
	b.send(duplex.Headers, 2, block(":path", "/a.B/C", ":call", other, ":epoch", "2", ":ticket", a.ticket))
	q = backend.Next(t)
	q.Finish(ok...)
	b.credit(2, 0, duplex.GotEnd)
	b.want("2 END grpc-status: 0")
	b.send(duplex.Headers, 3, block(":path", "/a.B/C", ":call", other, ":epoch", "3", ":ticket", a.ticket))
	if got := b.got(); !strings.Contains(got, "3 RESUMED :state: gone, :reason: expired") {
		t.Errorf("got %s", got)
	}
}

func TestGone(t *testing.T) {
	key := [32]byte{1}
	s, backend, clock := start(t, exchangetest.Script{}, func(o *Options) {
		o.Key = key
		o.Who = func(h *exchange.RequestHead) (string, error) {
			if who := exchange.Get(h.Fields, "authorization"); who != "" {
				return who, nil
			}
			return "", errors.New("who are you?")
		}
	})
	reasonOf := func(p *peer, ticket string, more ...string) string {
		t.Helper()
		p.got()
		n := p.q.(*link).highest + 1
		p.send(duplex.Resume, n, block(append([]string{":call", id, ":ticket", ticket, ":epoch", "5", ":got", "0", ":received", "0"}, more...)...))
		for f := range strings.SplitSeq(p.got(), ", ") {
			if reason, ok := strings.CutPrefix(f, ":reason: "); ok {
				return reason
			}
		}
		return ""
	}
	a, b := dial(t, s), dial(t, s)
	auth := []string{"authorization", "me"}
	if got := reasonOf(b, a.ticket, auth...); got != "unknown" {
		t.Errorf("a call that never was: %q", got)
	}
	a.got()
	a.send(duplex.Headers, 1, block(":path", "/a.B/C", ":call", id))
	a.want("1 END grpc-status: 16, grpc-message: who are you?")
	a.send(duplex.Headers, 2, block(":path", "/a.B/C", ":call", id, "authorization", "me"))
	q := backend.Next(t)
	for _, tt := range []struct{ name, ticket, who, want string }{
		{"forged", "bm90IHNlYWxlZA", "me", "ticket"},
		{"no ticket", "", "me", "ticket"},
		{"ticket of another connection", b.ticket, "me", "ticket"},
		{"somebody else", a.ticket, "you", "denied"},
	} {
		if got := reasonOf(b, tt.ticket, "authorization", tt.who); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := reasonOf(b, a.ticket); got != "denied" {
		t.Errorf("nobody: %q", got)
	}
	other, _, _ := start(t, exchangetest.Script{}, func(o *Options) { o.Key, o.Node = key, "n2" })
	if got := reasonOf(b, dial(t, other).ticket, auth...); got != "wrong-node" {
		t.Errorf("another node: %q", got)
	}
	if owner, is := s.Owner(dial(t, other).ticket); owner != "n2" || !is {
		t.Errorf("owner %q, %v", owner, is)
	}
	again, _, _ := start(t, exchangetest.Script{}, func(o *Options) { o.Key = key })
	restarted := dial(t, again).ticket
	if got := reasonOf(b, restarted, auth...); got != "restarted" {
		t.Errorf("a node that restarted: %q", got)
	}
	stranger, _, _ := start(t, exchangetest.Script{}, nil)
	if got := reasonOf(b, dial(t, stranger).ticket, auth...); got != "restarted" {
		t.Errorf("a node that restarted with another key: %q", got)
	}
	if q.Seen().Reset {
		t.Error("an attempt harms the call")
	}
	if got := reasonOf(b, a.ticket, ":received", "1", "authorization", "me"); got != "" {
		t.Errorf("the first of two fields counts: %q", got)
	}
	b.cut()
	clock.pass(61 * time.Second)
	if !q.WaitDone(t).Reset {
		t.Error("a call waits for ever")
	}
	c := dial(t, s)
	if got := reasonOf(c, a.ticket, auth...); got != "expired" {
		t.Errorf("after a minute: %q", got)
	}
	clock.pass(24 * time.Hour)
	if got := reasonOf(dial(t, s), restarted, auth...); got != "ticket" {
		t.Errorf("after a day: %q", got)
	}
}

// TestOldConnection has a call be resumed that was begun on a connection of more than a day.
func TestOldConnection(t *testing.T) {
	s, backend, clock := start(t, exchangetest.Script{}, nil)
	a := dial(t, s)
	for range 25 * 360 { // the client answers PING
		clock.pass(10 * time.Second)
		a.send(duplex.Pong, 0, "12345678")
	}
	a.send(duplex.Headers, 1, block(":path", "/a.B/C", ":call", id))
	q := backend.Next(t)
	a.cut()
	b := dial(t, s)
	b.got()
	b.send(duplex.Resume, 1, block(":call", id, ":ticket", a.ticket, ":epoch", "2", ":got", "0", ":received", "0"))
	b.want("1 RESUMED :state: live, :got: 1, :received: 0", "1 CREDIT 0+65536 got 1")
	b.q.Reset(exchange.Cancel)
	q.WaitDone(t)
}

// TestOffset refuses what does not fit.
func TestOffset(t *testing.T) {
	s, backend, _ := start(t, exchangetest.Script{}, nil)
	a := dial(t, s)
	a.send(duplex.Headers, 1, block(":path", "/a.B/C", ":call", id))
	q := backend.Next(t)
	a.cut()
	b := dial(t, s)
	b.got()
	b.send(duplex.Resume, 1, block(":call", id, ":ticket", a.ticket, ":epoch", "2", ":got", "0", ":received", "1"))
	if got := b.got(); !strings.Contains(got, ":reason: offset, grpc-status: 15") {
		t.Errorf("got %s", got)
	}
	q.WaitDone(t)
}

// TestWaitingLimits ends the call that waits longest.
func TestWaitingLimits(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"calls": func(o *Options) { o.MaxWaiting = 2 },
		"all":   func(o *Options) { o.MaxWaitingAll = 2 },
		"bytes": func(o *Options) { o.MaxWaitingBytes = 250 },
	} {
		t.Run(name, func(t *testing.T) {
			hits := 0
			s, backend, clock := start(t, exchangetest.Script{}, func(o *Options) {
				change(o)
				o.LimitHit = func(name string) {
					if name == "waiting_calls" {
						hits++
					}
				}
			})
			var first *exchangetest.Request
			p := dial(t, s)
			p.hold = true
			for n := range uint32(3) {
				p.send(duplex.Headers, n+1, block(":path", "/a.B/C", ":call", fmt.Sprintf("%032x", n+1)))
				q := backend.Next(t)
				if first == nil {
					first = q
				}
				q.Send(make([]byte, 100))
			}
			p.cut()
			if _, waiting := s.Calls(); waiting != 2 || hits != 1 {
				t.Errorf("%d wait, %d hits", waiting, hits)
			}
			clock.pass(time.Minute)
			first.WaitDone(t)
		})
	}
}

// TestWaitingGrows counts what the backend sends while nobody is there.
func TestWaitingGrows(t *testing.T) {
	s, backend, clock := start(t, exchangetest.Script{}, func(o *Options) { o.MaxWaitingBytes = 1000 })
	p := dial(t, s)
	var calls []*exchangetest.Request
	for n := range uint32(2) {
		p.send(duplex.Headers, n+1, block(":path", "/a.B/C", ":call", fmt.Sprintf("%032x", n+1)))
		calls = append(calls, backend.Next(t))
	}
	p.cut()
	check := func(after string, want int) {
		t.Helper()
		if _, waiting := s.Calls(); waiting != want {
			t.Errorf("after %s: %d wait, want %d", after, waiting, want)
		}
	}
	calls[1].Send(make([]byte, 600))
	check("600 bytes", 2)
	calls[0].Send(make([]byte, 400))
	check("1000 bytes", 2)
	calls[1].Finish(ok...)
	check("an end", 1) // the one that waits longer went
	if !calls[0].WaitDone(t).Reset {
		t.Error("it goes on")
	}
	b := dial(t, s)
	b.got()
	b.send(duplex.Resume, 1, block(":call", fmt.Sprintf("%032x", 2), ":ticket", p.ticket, ":epoch", "2", ":got", "0", ":received", "0"))
	b.want("1 RESUMED :state: ended, :got: 1, :received: 0", "1 CREDIT 0+65536 got 1", "1 END grpc-status: 0")
	b.credit(1, 600, duplex.GotEnd)
	calls[1].WaitDone(t)
	if n := clock.pending(); n != 1 { // PING of b
		t.Errorf("%d timers", n)
	}
	b.cut()
}

// TestResumedWhileItExpires has a client come back between the choice of the call that has waited longest and its end.
func TestResumedWhileItExpires(t *testing.T) {
	resume := func() {}
	s, backend, clock := start(t, exchangetest.Script{}, func(o *Options) {
		o.MaxWaiting = 1
		o.LimitHit = func(string) { resume() }
	})
	a, b := dial(t, s), dial(t, s)
	b.got()
	a.send(duplex.Headers, 1, block(":path", "/a.B/C", ":call", id))
	first := backend.Next(t)
	a.send(duplex.Headers, 2, block(":path", "/a.B/C", ":call", strings.Repeat("7", 32)))
	second := backend.Next(t)
	resume = func() { // of whichever it is
		b.send(duplex.Resume, 1, block(":call", id, ":ticket", a.ticket, ":epoch", "2", ":got", "0", ":received", "0"))
		b.send(duplex.Resume, 2, block(":call", strings.Repeat("7", 32), ":ticket", a.ticket, ":epoch", "2", ":got", "0", ":received", "0"))
	}
	a.cut()
	b.want("1 RESUMED :state: live, :got: 1, :received: 0", "1 CREDIT 0+65536 got 1",
		"2 RESUMED :state: live, :got: 1, :received: 0", "2 CREDIT 0+65536 got 1")
	clock.pass(10 * time.Second)
	first.Finish(ok...)
	second.Finish(ok...)
	b.want("1 END grpc-status: 0", "2 END grpc-status: 0")
	b.credit(1, 0, duplex.GotEnd)
	b.credit(2, 0, duplex.GotEnd)
	if first.WaitDone(t).Reset || second.WaitDone(t).Reset {
		t.Error("a call whose client is there has expired")
	}
	first.Check(t)
	second.Check(t)
}

func TestErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		kind duplex.Kind
		n    uint32
		text string
		want string // of the pipe
		end  string // of the call
	}{
		"never begun":        {duplex.Data, 9, "x", "PROTOCOL_ERROR: a frame of call 9, which was not begun", ""},
		"number not higher":  {duplex.Headers, 1, block(":path", "/a.B/C"), "PROTOCOL_ERROR: call 1 was begun before", ""},
		"not fields":         {duplex.Headers, 2, "what\r\n", "PROTOCOL_ERROR: field block, line 1: there is no colon", ""},
		"credit":             {duplex.Credit, 1, "short", "PROTOCOL_ERROR: CREDIT of 5 bytes; it has 13", ""},
		"too much taken":     {duplex.Credit, 1, string(make([]byte, 7)) + "\x01\x00\x00\x00\x00\x00", "PROTOCOL_ERROR: CREDIT for 1 bytes, and 0 were sent", ""},
		"END with a payload": {duplex.End, 1, "x", "PROTOCOL_ERROR: END of 1 bytes; it has none", ""},
		"ping":               {duplex.Ping, 0, "short", "PROTOCOL_ERROR: PING of 5 bytes; it has 8", ""},
		"a server's frame":   {duplex.Welcome, 0, "", "PROTOCOL_ERROR: WELCOME is not a client's to send", ""},
		"no path":            {duplex.Headers, 2, block("a", "b"), "", `2 END grpc-status: 3, grpc-message: HEADERS: :path is ""; it is /package.Service/Method`},
		"content type":       {duplex.Headers, 2, block(":path", "/a.B/C", "content-type", "text/html"), "", `2 END grpc-status: 3, grpc-message: HEADERS: content-type is "text/html"; it is application/grpc, or begins with application/grpc+`},
		"too large":          {duplex.Headers, 2, block(":path", "/a.B/C", "a", strings.Repeat("b", 17<<10)), "", `2 END grpc-status: 8, grpc-message: HEADERS: field block too large: the limit is 16384 bytes (limits.header_bytes)`},
		"call id":            {duplex.Headers, 2, block(":path", "/a.B/C", ":call", "7"), "", `2 END grpc-status: 3, grpc-message: HEADERS: :call is "7"; it is 32 hexadecimal digits in lower case`},
		"epoch":              {duplex.Resume, 2, block(":call", id, ":epoch", "x"), `PROTOCOL_ERROR: RESUME: :epoch is "x"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, backend, _ := start(t, exchangetest.Script{}, nil)
			p := dial(t, s)
			p.send(duplex.Headers, 1, block(":path", "/a.B/C"))
			q := backend.Next(t)
			p.got()
			p.send(tt.kind, tt.n, tt.text)
			if got := p.got(); got != tt.end || p.ended() != tt.want {
				t.Errorf("got %s, pipe %s\nwant %s, pipe %s", got, p.ended(), tt.end, tt.want)
			}
			if tt.want == "" {
				p.cut()
			}
			q.WaitDone(t)
		})
	}
}

func TestLimits(t *testing.T) {
	s, backend, _ := start(t, exchangetest.Script{}, func(o *Options) { o.MaxCalls, o.Abuse = 2, 20 })
	p := dial(t, s)
	for n := range uint32(2) {
		p.send(duplex.Headers, n+1, block(":path", "/a.B/C"))
		backend.Next(t)
	}
	p.got()
	p.send(duplex.Headers, 3, block(":path", "/a.B/C"))
	p.want("3 END grpc-status: 8, grpc-message: 2 calls run on this connection (limits.streams_per_conn)")
	p.send(duplex.Cancel, 1, "")
	p.send(duplex.Headers, 4, block(":path", "/a.B/C"))
	backend.Next(t)
	for range 30 {
		if p.ended() == "" {
			p.send(duplex.Ping, 0, "12345678")
		}
	}
	if got := p.ended(); got != "ENHANCE_YOUR_CALM: too many frames of no use (limits.conn_abuse)" {
		t.Errorf("a flood of PING: %s", got)
	}
	p = dial(t, s)
	for n := range uint32(30) {
		if p.ended() == "" {
			p.send(duplex.Headers, n+1, block("a", "b"))
		}
	}
	if got := p.ended(); got != "ENHANCE_YOUR_CALM: too many frames of no use (limits.conn_abuse)" {
		t.Errorf("a flood of calls that are refused: %s", got)
	}
}

func TestPing(t *testing.T) {
	s, _, clock := start(t, exchangetest.Script{}, nil)
	p := dial(t, s)
	p.got()
	p.send(duplex.Ping, 0, "12345678")
	p.want("0 PONG 12345678")
	clock.pass(20 * time.Second)
	p.want("0 PING " + strings.TrimSpace(string(make([]byte, 8))))
	p.send(duplex.Pong, 0, string(make([]byte, 8)))
	clock.pass(39 * time.Second)
	if p.ended() != "" {
		t.Errorf("ended: %s", p.ended())
	}
	clock.pass(2 * time.Second)
	if got := p.ended(); got != "DISCONNECTED: the client answers no PING" {
		t.Errorf("ended: %s", got)
	}
	if n := clock.pending(); n != 0 {
		t.Errorf("%d timers are left", n)
	}
}

func TestDrain(t *testing.T) {
	s, backend, clock := start(t, exchangetest.Script{}, nil)
	busy, idle, left := dial(t, s), dial(t, s), dial(t, s)
	busy.send(duplex.Headers, 1, block(":path", "/a.B/C"))
	q := backend.Next(t)
	busy.got()
	idle.got()
	s.Drain(0)
	idle.want("0 GOAWAY reason: the gateway is shutting down")
	busy.want("0 GOAWAY reason: the gateway is shutting down")
	if left.q.End(nil); left.ended() != "end" {
		t.Errorf("who has left is waited for: %q", left.ended())
	}
	clock.pass(crossingWait)
	if idle.ended() != "end" || busy.ended() != "" {
		t.Errorf("idle %q, busy %q", idle.ended(), busy.ended())
	}
	q.Finish(ok...)
	busy.want("1 END grpc-status: 0")
	if busy.ended() != "end" {
		t.Errorf("busy %q", busy.ended())
	}
	late := dial(t, s)
	late.want("0 WELCOME", "0 GOAWAY reason: the gateway is shutting down")
	late.cut()
	if n := clock.pending(); n != 0 {
		t.Errorf("%d timers are left", n)
	}
}

// TestCrossingGoAway takes calls that were on their way when GOAWAY was sent, the pipe having none, or none any more.
func TestCrossingGoAway(t *testing.T) {
	s, backend, clock := start(t, exchangetest.Script{}, nil)
	idle, busy := dial(t, s), dial(t, s)
	busy.send(duplex.Headers, 1, block(":path", "/a.B/C"))
	q := backend.Next(t)
	s.Drain(0)
	q.Finish(ok...)
	idle.got()
	busy.got()
	idle.send(duplex.Headers, 1, block(":path", "/a.B/C"))
	busy.send(duplex.Headers, 2, block(":path", "/a.B/C"))
	a, b := backend.Next(t), backend.Next(t)
	a.Finish(ok...)
	idle.want("1 END grpc-status: 0")
	clock.pass(crossingWait)
	if idle.ended() != "end" || busy.ended() != "" {
		t.Errorf("idle %q, busy %q", idle.ended(), busy.ended())
	}
	b.Finish(ok...)
	busy.want("2 END grpc-status: 0")
	if busy.ended() != "end" {
		t.Errorf("busy %q", busy.ended())
	}
}

// TestSession has the calls of a connection on pipes of their own.
func TestSession(t *testing.T) {
	s, backend, _ := start(t, exchangetest.Script{}, nil)
	control := newPeer(t, duplex.CallForm)
	control.q = nopRequest{}
	h := pipeHead
	x := s.StartSession(&h, &fakeSession{control: control})
	control.want("0 WELCOME")
	open := func() *peer {
		p := newPeer(t, duplex.CallForm)
		h := pipeHead
		h.Protocol = exchange.PipeCall
		p.q = x.Start(&h, p)
		p.q.Begin()
		return p
	}
	ping := open()
	ping.send(duplex.Hello, 0, block("x-hello", "1"))
	ping.send(duplex.Ping, 0, "12345678")
	ping.want("0 PONG 12345678")
	ping.q.End(nil)
	if ping.ended() != "end" {
		t.Errorf("ended %q", ping.ended())
	}
	p := open()
	p.send(duplex.Headers, 0, block(":path", "/a.B/C", ":call", id))
	p.send(duplex.Data, 0, "abc")
	q := backend.Next(t)
	if v := exchange.Get(q.Seen().Head.Fields, "x-hello"); v != "1" {
		t.Errorf("HELLO is not seen: %q", v)
	}
	p.cut()
	p = open()
	p.send(duplex.Resume, 0, block(":call", id, ":ticket", control.ticket, ":epoch", "2", ":got", "0", ":received", "0"))
	p.send(duplex.Data, 0, "def")
	p.q.End(nil) // a FIN is a half-close
	q.Answer(200)
	q.Finish(ok...)
	p.want("0 RESUMED :state: live, :got: 1, :received: 3", "0 CREDIT 3+65536 got 1", "0 HEADERS", "0 END grpc-status: 0")
	if seen := q.Seen(); string(seen.Body) != "abcdef" || !seen.Ended {
		t.Errorf("the backend has got %q, end %v", seen.Body, seen.Ended)
	}
	p.credit(0, 0, duplex.GotEnd)
	if !q.WaitDone(t).Delivered || p.ended() != "end" {
		t.Errorf("ended %q", p.ended())
	}
	bad := open()
	bad.send(duplex.Data, 0, "x")
	if got := bad.ended(); got != "PROTOCOL_ERROR: a frame of call 0, which was not begun" {
		t.Errorf("ended %q", got)
	}
	s.Drain(0)
	control.want("0 GOAWAY reason: the gateway is shutting down")
	x.Done()
}

type nopRequest struct{ exchange.Request }

func (nopRequest) Credit(int) {}
