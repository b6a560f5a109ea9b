package mux

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/rpc"
)

// fakeSession is the session of a carrier.
type fakeSession struct {
	control *peer
	max     int

	mu    sync.Mutex
	grams []string
	full  bool
}

func (f *fakeSession) Control(b []byte)            { f.control.Data(b) }
func (f *fakeSession) MaxDatagram() int            { return f.max }
func (f *fakeSession) Close(exchange.Code, string) {}

func (f *fakeSession) Datagram(b []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.full {
		f.grams = append(f.grams, string(b))
	}
	return !f.full
}

// sent returns the datagrams since it was asked last.
func (f *fakeSession) sent() (grams []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	grams, f.grams = f.grams, nil
	return grams
}

// message is one of a call, with its prefix.
func message(text string) string {
	return "\x00\x00\x00" + string([]byte{byte(len(text) >> 8), byte(len(text))}) + text
}

// lossyCall begins a call with datagrams on a session of its own.
func lossyCall(t *testing.T, max int, kind rpc.Method, number string, fields ...string) (*Session, *fakeSession, *peer, *exchangetest.Request) {
	t.Helper()
	s, backend, _ := start(t, exchangetest.Script{NoCredit: true}, func(o *Options) {
		o.Method = func(path string) *rpc.Method {
			if path != "/a.B/C" {
				return nil
			}
			return &kind
		}
	})
	carrier := &fakeSession{control: control(t), max: max}
	h := pipeHead
	x := s.StartSession(&h, carrier).(*Session)
	p := newPeer(t, duplex.CallForm)
	h.Protocol = exchange.PipeCall
	p.q = x.Start(&h, p)
	p.q.Begin()
	p.send(duplex.Headers, 0, block(append([]string{":path", "/a.B/C", ":datagrams", number}, fields...)...))
	return x, carrier, p, backend.Next(t)
}

var bidi = rpc.Method{ClientStreaming: true, ServerStreaming: true}

// gram is a datagram of call 7.
func gram(sequence uint64, text string) []byte {
	d := duplex.Datagram{Number: 7, Sequence: sequence, Message: []byte(text)}
	return d.Append(nil)
}

func TestDatagramsUp(t *testing.T) {
	x, _, p, q := lossyCall(t, 1100, bidi, "7")
	q.Answer(200)
	p.want("0 HEADERS :datagrams: 1")
	body := ""
	come := func(want string, grams ...[]byte) {
		t.Helper()
		for _, g := range grams {
			x.Datagram(g)
		}
		body += want
		if seen := q.Seen(); string(seen.Body) != body {
			t.Errorf("the backend has got %q, want %q", seen.Body, body)
		}
	}
	come(message("one"), gram(1, "one"))
	come("", gram(1, "one")) // again
	come(message("three"), gram(3, "three"), gram(2, "late"))
	come("", []byte{}, []byte("\x07"), []byte("\x08\x01another call's"), gram(0, "no number"))
	long := message(strings.Repeat("x", 300))
	p.send(duplex.Data, 0, long[:100])
	come(long[:100], gram(4, "in the middle of a message"))
	p.send(duplex.Data, 0, long[100:])
	come(long[100:]+message("five"), gram(5, "five"))
	come(message(""), gram(6, ""))

	// What is taken counts for CREDIT without datagrams.
	q.Take(len(body))
	for range 2 {
		part := strings.Repeat("y", 16<<10)
		head := "\x00\x00\x00" + string([]byte{byte(len(part) >> 8), byte(len(part) & 0xff)})
		p.send(duplex.Data, 0, head)
		p.send(duplex.Data, 0, part)
		body += head + part
		come(message("between"), gram(uint64(len(body)), "between"))
	}
	q.Take(2 * (16<<10 + 5 + len(message("between"))))
	p.want(fmt.Sprintf("0 CREDIT %d+65536 got 1", len(long)+2*(16<<10+5)))

	// There is room for so much, until it is taken.
	n := uint64(len(body) + 1)
	kept := strings.Repeat("z", 1000)
	for len(message(kept))*int(n-uint64(len(body))) <= maxLossy {
		x.Datagram(gram(n, kept))
		n++
	}
	for range n - uint64(len(body)) - 1 {
		body += message(kept)
	}
	come("", gram(n, kept))
	q.Take(len(message(kept)))
	come(message(kept), gram(n+1, kept))

	p.send(duplex.End, 0, "")
	come("", gram(n+2, "after the end"))
	q.Finish(ok...)
	p.want("0 END :datagrams-sent: 0, grpc-status: 0")
	q.WaitDone(t)
	x.Datagram(gram(n+3, "after everything"))
	x.Done()
}

func TestDatagramsDown(t *testing.T) {
	x, carrier, p, q := lossyCall(t, 100, bidi, "7", ":datagrams-late", "deliver")
	x.Datagram(gram(5, "early"))
	x.Datagram(gram(4, "late"))
	if seen := q.Seen(); string(seen.Body) != message("early")+message("late") {
		t.Errorf("the backend has got %q", seen.Body)
	}
	q.Answer(200)
	p.want("0 HEADERS :datagrams: 1")
	fits, long := message(strings.Repeat("a", 100-duplex.DatagramOverhead)), message(strings.Repeat("b", 101-duplex.DatagramOverhead))
	compressed := "\x01\x00\x00\x00\x01c"
	stream := fits + long + message("") + compressed + message("d")
	for i := range stream { // however it is cut
		q.Send([]byte(stream[i : i+1]))
	}
	want := []string{string(gram(1, fits[5:])), string(gram(2, "")), string(gram(3, "d"))}
	if got := carrier.sent(); !slices.Equal(got, want) {
		t.Errorf("datagrams %q", got)
	}
	if got := string(p.data[0]); got != long+compressed {
		t.Errorf("DATA %q", got)
	}
	if seen := q.Seen(); seen.Credit != len(stream)-len(long+compressed) {
		t.Errorf("%d bytes were credited, of %d", seen.Credit, len(stream))
	}
	carrier.mu.Lock()
	carrier.full = true
	carrier.mu.Unlock()
	q.Send([]byte(message("lost")))
	q.Send([]byte(message("cut")[:6]))
	q.Finish(ok...)
	p.want("0 END :datagrams-sent: 4, grpc-status: 0")
	if got := string(p.data[0]); got != long+compressed+message("cut")[:6] {
		t.Errorf("DATA %q", got)
	}
	p.q.End(nil)
	q.WaitDone(t)
	x.Done()
}

// TestNoDatagrams: calls that get none.
func TestNoDatagrams(t *testing.T) {
	for name, c := range map[string]struct {
		max    int
		method rpc.Method
		number string
		agreed bool
	}{
		"a unary method":                {1100, rpc.Method{}, "7", false},
		"a carrier without":             {0, bidi, "7", false},
		"a number that is none":         {1100, bidi, "x", false},
		"a number that is too large":    {1100, bidi, "4611686018427387904", false},
		"one that streams answers only": {1100, rpc.Method{ServerStreaming: true}, "7", true},
	} {
		t.Run(name, func(t *testing.T) {
			x, _, p, q := lossyCall(t, c.max, c.method, c.number)
			x.Datagram(gram(1, "x"))
			if seen := q.Seen(); len(seen.Body) != 0 {
				t.Errorf("the backend has got %q", seen.Body)
			}
			q.Answer(200)
			q.Finish(ok...)
			got := p.got()
			if agreed := strings.Contains(got, ":datagrams: 1"); agreed != c.agreed {
				t.Errorf("%q", got)
			}
			p.q.End(nil)
			q.WaitDone(t)
			x.Done()
		})
	}
}

// TestDatagramsOfTwo: a number belongs to one call of the session.
func TestDatagramsOfTwo(t *testing.T) {
	x, carrier, p, q := lossyCall(t, 1100, bidi, "7")
	other := newPeer(t, duplex.CallForm)
	h := pipeHead
	h.Protocol = exchange.PipeCall
	other.q = x.Start(&h, other)
	other.q.Begin()
	other.send(duplex.Headers, 0, block(":path", "/a.B/C", ":datagrams", "7"))
	x.Datagram(gram(1, "x"))
	if seen := q.Seen(); string(seen.Body) != message("x") {
		t.Errorf("the first has got %q", seen.Body)
	}
	q.Answer(200)
	q.Finish(ok...)
	p.q.End(nil)
	q.WaitDone(t)
	if n := len(x.conn.lossy); n != 0 || carrier.sent() != nil {
		t.Errorf("%d calls have datagrams", n)
	}
	other.q.Reset(exchange.Cancel)
	x.Done()
}

// TestDatagramsResumed: a call has datagrams again where it goes on, if RESUME asks, and none while it is away.
func TestDatagramsResumed(t *testing.T) {
	x, carrier, p, q := lossyCall(t, 1100, bidi, "7", ":call", id)
	q.Answer(200)
	q.Send([]byte(message("one") + message("two")[:6]))
	p.q.Reset(exchange.Disconnected)
	q.Send([]byte(message("two")[6:] + message("three") + message("four")[:2]))
	x.Datagram(gram(1, "away"))
	other := x.s.StartSession(&pipeHead, &fakeSession{control: control(t), max: 1100}).(*Session)
	elsewhere := other.conn.session.(*fakeSession)
	resume := func(epoch, received string, fields ...string) *peer {
		h := pipeHead
		h.Protocol = exchange.PipeCall
		p := newPeer(t, duplex.CallForm)
		p.q = other.Start(&h, p)
		p.q.Begin()
		p.send(duplex.Resume, 0, block(append([]string{":call", id, ":ticket", carrier.control.ticket, ":epoch", epoch, ":got", "1", ":received", received}, fields...)...))
		return p
	}
	p2 := resume("2", "0", ":datagrams", "9")
	if got := p2.got(); !strings.HasPrefix(got, "0 RESUMED :state: live, :got: 1, :received: 0, :datagrams: 1") {
		t.Errorf("%q", got)
	}
	kept := message("two") + message("three")
	if got := string(p2.data[0]); got != kept {
		t.Errorf("DATA %q", got)
	}
	q.Send([]byte(message("four")[2:]))
	nine := duplex.Datagram{Number: 9, Sequence: 2, Message: []byte("four")}
	if got := elsewhere.sent(); len(got) != 1 || got[0] != string(nine.Append(nil)) {
		t.Errorf("datagrams %q: the sequence goes on", got)
	}
	x.Datagram(gram(2, "old session"))
	other.Datagram(gram(2, "old number"))
	nine.Message = []byte("up")
	other.Datagram(nine.Append(nil))
	if seen := q.Seen(); string(seen.Body) != message("up") {
		t.Errorf("the backend has got %q", seen.Body)
	}
	received := fmt.Sprint(len(kept))
	p3 := resume("3", received) // does not ask
	if got := p3.got(); strings.Contains(got, ":datagrams") {
		t.Errorf("%q", got)
	}
	q.Send([]byte(message("five")))
	q.Finish(ok...)
	if got := string(p3.data[0]); got != message("five") || elsewhere.sent() != nil {
		t.Errorf("DATA %q", got)
	}
	if got := p3.got(); !strings.HasSuffix(got, "END :datagrams-sent: 2, grpc-status: 0") {
		t.Errorf("%q", got)
	}
	p3.credit(0, len(kept+message("five")), duplex.GotEnd)
	q.WaitDone(t)
	x.Done()
	other.Done()
}

// control is where a session's own frames go.
func control(t *testing.T) *peer {
	p := newPeer(t, duplex.CallForm)
	p.q = nopRequest{}
	return p
}

// TestDatagramsLost: a call that goes on elsewhere, and does not ask, has none any more.
func TestDatagramsLost(t *testing.T) {
	x, carrier, p, q := lossyCall(t, 1100, bidi, "7", ":call", id)
	q.Answer(200)
	q.Send([]byte(message("one") + message("two")[:6]))
	p.q.Reset(exchange.Disconnected)
	q.Send([]byte(message("two")[6:] + message("three")))
	x.Datagram(gram(1, "x"))
	if got := carrier.sent(); len(got) != 1 || got[0] != string(gram(1, "one")) {
		t.Errorf("datagrams %q", got)
	}
	h := pipeHead
	h.Protocol = exchange.PipeCall
	p2 := newPeer(t, duplex.CallForm)
	p2.q = x.Start(&h, p2)
	p2.q.Begin()
	p2.send(duplex.Resume, 0, block(":call", id, ":ticket", carrier.control.ticket, ":epoch", "2", ":got", "1", ":received", "0"))
	q.Finish(ok...)
	if got := string(p2.data[0]); got != message("two")+message("three") {
		t.Errorf("DATA %q", got)
	}
	if seen := q.Seen(); len(seen.Body) != 0 {
		t.Errorf("the backend has got %q", seen.Body)
	}
	if got := p2.got(); !strings.HasSuffix(got, "END :datagrams-sent: 1, grpc-status: 0") {
		t.Errorf("%q", got)
	}
	p2.credit(0, len(message("two")+message("three")), duplex.GotEnd)
	q.WaitDone(t)
	x.Done()
}
