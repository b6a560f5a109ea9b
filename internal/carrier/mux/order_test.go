package mux

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/netio"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
)

// TestFailedAndResumed: who was away when the gateway ended its call is told why.
func TestFailedAndResumed(t *testing.T) {
	s, backend, _ := start(t, exchangetest.Script{NoCredit: true}, nil)
	a := dial(t, s)
	a.send(duplex.Headers, 1, block(":path", "/a.B/C", ":call", id))
	q := backend.Next(t)
	q.Send(make([]byte, 1000))
	a.hold = true
	for range 5 {
		a.send(duplex.Data, 1, strings.Repeat("x", duplex.MaxData))
	}
	a.cut()
	b := dial(t, s)
	b.got()
	b.send(duplex.Resume, 1, block(":call", id, ":ticket", a.ticket, ":epoch", "2", ":got", "1", ":received", "10"))
	if got := b.got(); !strings.HasPrefix(got, "1 RESUMED :state: ended") || !strings.Contains(got, "1 END grpc-status: 8,") {
		t.Errorf("got %s", got)
	}
	b.credit(1, 10, duplex.GotEnd)
	q.WaitDone(t)
}

// TestResumedAfterTheEnd: RESUME by who has END is answered too.
func TestResumedAfterTheEnd(t *testing.T) {
	work := &netio.Work{}
	s, backend, _ := start(t, exchangetest.Script{}, func(o *Options) { o.Work = work })
	a := dial(t, s)
	a.send(duplex.Headers, 1, block(":path", "/a.B/C", ":call", id))
	backend.Next(t).AnswerEnd(200, ok...)
	a.cut()
	b := dial(t, s)
	b.got()
	work.Enter() // as carriers do
	b.send(duplex.Resume, 1, block(":call", id, ":ticket", a.ticket, ":epoch", "2", ":got", "2", ":received", "0"))
	work.Leave()
	if got := b.got(); !strings.HasPrefix(got, "1 RESUMED :state: ended") {
		t.Errorf("got %q", got)
	}
}

// TestWelcomeIsFirst: a drain that begins at the same time says nothing before WELCOME.
func TestWelcomeIsFirst(t *testing.T) {
	var s *Server
	var drained chan struct{}
	c := newClock()
	s, _, _ = start(t, exchangetest.Script{}, func(o *Options) {
		o.Now = func() time.Time {
			if s != nil && drained == nil {
				drained = make(chan struct{})
				go func() { // ends with Drain
					s.Drain(0)
					close(drained)
				}()
				select {
				case <-drained:
				case <-time.After(50 * time.Millisecond): // it waits for WELCOME
				}
			}
			return c.Now()
		}
	})
	p := control(t)
	x := s.StartSession(&pipeHead, &fakeSession{control: p})
	<-drained
	if got := strings.Fields(p.got()); !slices.Equal(got[:2], []string{"0", "WELCOME"}) {
		t.Errorf("got %q", got)
	}
	x.Done()
}

// TestTimersStop leaves none behind for a call that is over.
func TestTimersStop(t *testing.T) {
	t.Run("offset", func(t *testing.T) {
		s, backend, clock := start(t, exchangetest.Script{}, nil)
		a := dial(t, s)
		a.send(duplex.Headers, 1, block(":path", "/a.B/C", ":call", id))
		q := backend.Next(t)
		a.cut()
		b := dial(t, s)
		b.send(duplex.Resume, 1, block(":call", id, ":ticket", a.ticket, ":epoch", "2", ":got", "0", ":received", "1"))
		q.WaitDone(t)
		b.q.Reset(exchange.Cancel)
		if n := clock.pending(); n != 0 {
			t.Errorf("%d timers run", n)
		}
	})
	t.Run("cut while it starts", func(t *testing.T) {
		var a *peer
		s, backend, clock := start(t, exchangetest.Script{}, func(o *Options) {
			next := o.Next
			o.Next = startHook{next, func() { a.cut() }}
		})
		a = dial(t, s)
		ticket := a.ticket
		a.send(duplex.Headers, 1, block(":path", "/a.B/C", ":call", id))
		q := backend.Next(t)
		b := dial(t, s)
		b.send(duplex.Resume, 1, block(":call", id, ":ticket", ticket, ":epoch", "2", ":got", "0", ":received", "0"))
		b.q.Reset(exchange.Cancel)
		q.WaitDone(t)
		if n := clock.pending(); n != 0 {
			t.Errorf("%d timers run", n)
		}
	})
}

// startHook does something before a call starts.
type startHook struct {
	exchange.Handler
	f func()
}

func (h startHook) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	h.f()
	return h.Handler.Start(head, response)
}

// TestAbusedOnce: who was cut off is told of once, whatever else was on its way.
func TestAbusedOnce(t *testing.T) {
	hits, told := 0, 0
	s, _, _ := start(t, exchangetest.Script{}, func(o *Options) {
		o.Abuse = 10
		o.LimitHit = func(string) { hits++ }
		o.Abused = func(net.Addr) { told++ }
	})
	p := dial(t, s)
	for range 20 {
		p.send(duplex.Ping, 0, "12345678")
	}
	if hits != 1 || told != 1 {
		t.Errorf("%d hits, told %d times", hits, told)
	}
}
