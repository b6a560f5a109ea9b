package mux

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
)

// TestLimitAndResumption: a call for which its connection has no room is no call that another one can go on with.
func TestLimitAndResumption(t *testing.T) {
	for _, kind := range []duplex.Kind{duplex.Headers, duplex.Resume} {
		t.Run(kind.String(), func(t *testing.T) {
			refused := func() {}
			s, backend, _ := start(t, exchangetest.Script{}, func(o *Options) {
				o.MaxCalls = 1
				o.LimitHit = func(string) { refused() }
			})
			a, b := dial(t, s), dial(t, s)
			a.got()
			b.got()
			a.send(duplex.Headers, 1, block(":path", "/a.B/C"))
			blocker := backend.Next(t)
			refused = func() { // meanwhile the client comes back elsewhere
				again := []string{":call", id, ":ticket", a.ticket, ":epoch", "2"}
				if kind == duplex.Resume {
					b.send(kind, 1, block(append(again, ":got", "0", ":received", "0")...))
				} else {
					b.send(kind, 1, block(append(again, ":path", "/a.B/C")...))
				}
			}
			a.send(duplex.Headers, 2, block(":path", "/a.B/C", ":call", id))
			a.want("2 END grpc-status: 8, grpc-message: 1 calls run on this connection (limits.streams_per_conn)")
			if kind == duplex.Resume {
				if got := b.got(); !strings.HasPrefix(got, "1 RESUMED :state: gone, :reason: unknown") {
					t.Errorf("%q", got)
				}
			} else {
				backend.Next(t).AnswerEnd(200, ok...)
				b.want("1 END grpc-status: 0")
				b.credit(1, 0, duplex.GotEnd)
			}
			blocker.AnswerEnd(200, ok...)
			a.want("1 END grpc-status: 0")
			a.q.Reset(exchange.Cancel)
			b.q.Reset(exchange.Cancel)
		})
	}
}

// TestLimitModel lets a connection come to its limit and get below it again while calls are begun on it, and begun or
// resumed on another one, in every order that chance gives. Each frame of the client has one answer that ends
// something, every call that reached the backend is some client's, and nothing is left.
func TestLimitModel(t *testing.T) {
	s, backend, _ := start(t, exchangetest.Script{}, func(o *Options) { o.MaxCalls, o.Abuse = 2, 1<<30 })
	var away sync.WaitGroup
	stop := make(chan struct{})
	away.Add(1)
	go func() { // ends with the test
		defer away.Done()
		for {
			select {
			case q := <-backend.Requests:
				away.Add(1)
				go func() { // ends at once
					defer away.Done()
					q.Until(t, "begin", func(s *exchangetest.Seen) bool { return s.Begun })
					q.AnswerEnd(200, ok...)
				}()
			case <-stop:
				return
			}
		}
	}()
	for round := range 300 {
		r := rand.New(rand.NewPCG(1, uint64(round)))
		a, b := dial(t, s), dial(t, s)
		a.got()
		b.got()
		id := fmt.Sprintf("%032x", round+1)
		kind, resume := duplex.Headers, r.IntN(2) == 0
		again := []string{":call", id, ":ticket", a.ticket, ":epoch", "2"}
		if resume {
			kind = duplex.Resume
			again = append(again, ":got", "0", ":received", "0")
		} else {
			again = append(again, ":path", "/a.B/C")
		}
		blockers := uint32(r.IntN(3) + 1)
		var both sync.WaitGroup
		both.Add(2)
		go func() {
			defer both.Done()
			for n := range blockers {
				a.send(duplex.Headers, n+1, block(":path", "/a.B/Blocks"))
			}
			a.send(duplex.Headers, blockers+1, block(":path", "/a.B/C", ":call", id))
		}()
		go func() {
			defer both.Done()
			b.send(kind, 1, block(again...))
		}()
		both.Wait()
		// What the client hears of the call, where it went to.
		heard := ""
		for until := time.Now().Add(10 * time.Second); !strings.Contains(heard, "1 END") && !strings.Contains(heard, ":state: gone"); time.Sleep(10 * time.Microsecond) {
			if heard += b.got() + "\n"; time.Now().After(until) {
				t.Fatalf("round %d: the client waits for ever: %q", round, heard)
			}
		}
		b.credit(1, 0, duplex.GotEnd)
		a.q.Reset(exchange.Cancel)
		b.q.Reset(exchange.Cancel)
	}
	close(stop)
	away.Wait()
}

// TestDeaf has a client ask for answers that it does not read: what waits for it is bounded, and goes out
// when there is room.
func TestDeaf(t *testing.T) {
	fill := func(t *testing.T, p *peer) (room int) { // until nothing more comes
		p.mu.Lock()
		p.hold = true
		p.mu.Unlock()
		for n := -1; n != room; {
			if n = room; n > 2*firstRoom {
				t.Fatalf("%d bytes are in the carrier", n)
			}
			p.send(duplex.Ping, 0, "12345678")
			p.mu.Lock()
			room = p.owed
			p.mu.Unlock()
		}
		return room
	}
	for _, kind := range []duplex.Kind{duplex.Ping, duplex.Resume} {
		t.Run(kind.String(), func(t *testing.T) {
			s, _, clock := start(t, exchangetest.Script{}, func(o *Options) { o.Abuse = 1 << 30 })
			p := dial(t, s)
			room := fill(t, p)
			for n := range uint32(10_000) {
				if p.ended() != "" {
					break
				}
				if kind == duplex.Ping {
					p.send(kind, 0, "12345678")
				} else {
					p.send(kind, n+1, block(":call", "?"))
				}
			}
			if got := p.ended(); got != "ENHANCE_YOUR_CALM: the client does not read what it asks for" {
				t.Errorf("ended: %q", got)
			}
			if p.owed > room || room > firstRoom+100 {
				t.Errorf("%d bytes are in the carrier, %d when it was full", p.owed, room)
			}
			if n := clock.pending(); n != 0 {
				t.Errorf("%d timers are left", n)
			}
		})
	}
	t.Run("room", func(t *testing.T) {
		s, _, clock := start(t, exchangetest.Script{}, func(o *Options) { o.Abuse = 1 << 30 })
		p := dial(t, s)
		fill(t, p)
		p.got()
		s.Drain(0)
		if got := p.got(); got != "" || p.ended() != "" {
			t.Errorf("got %q, ended %q", got, p.ended())
		}
		clock.pass(crossingWait)
		p.pay()
		p.want("0 PONG 12345678", "0 GOAWAY reason: the gateway is shutting down")
		if p.ended() != "end" {
			t.Errorf("ended %q", p.ended())
		}
	})
	t.Run("left", func(t *testing.T) {
		s, _, _ := start(t, exchangetest.Script{}, func(o *Options) { o.Abuse = 1 << 30 })
		a, b := dial(t, s), dial(t, s)
		fill(t, a)
		a.cut()
		fill(t, b)
		b.q.End(nil)
		if a.ended() != "CANCEL: <nil>" || b.ended() != "end" {
			t.Errorf("ended %q, %q", a.ended(), b.ended())
		}
	})
}

// TestHeadersAgainCost has a client pay for HEADERS of a call that there is or was, before it is asked who it is.
func TestHeadersAgainCost(t *testing.T) {
	for name, again := range map[string]func(a *peer, n int) []string{
		"outdated": func(*peer, int) []string { return nil },
		"attached": func(a *peer, n int) []string { return []string{":epoch", fmt.Sprint(n + 2), ":ticket", a.ticket} },
		"ticket":   func(_ *peer, n int) []string { return []string{":epoch", fmt.Sprint(n + 2), ":ticket", "forged"} },
		"over":     func(*peer, int) []string { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			s, backend, _ := start(t, exchangetest.Script{}, func(o *Options) {
				o.Abuse = 20
				o.Who = func(*exchange.RequestHead) (string, error) { asked++; return "me", nil }
			})
			a, b := dial(t, s), dial(t, s)
			a.send(duplex.Headers, 1, block(":path", "/a.B/C", ":call", id))
			q := backend.Next(t)
			if name == "over" {
				q.Finish(ok...)
				a.credit(1, 0, duplex.GotEnd)
			}
			for n := 0; n < 100 && b.ended() == ""; n++ {
				b.send(duplex.Headers, uint32(n+1), block(append(again(a, n), ":path", "/a.B/C", ":call", id)...))
			}
			if got := b.ended(); got != "ENHANCE_YOUR_CALM: too many frames of no use (limits.conn_abuse)" || asked > 50 {
				t.Errorf("ended: %q, and %d times it was asked who that is", got, asked)
			}
			a.q.Reset(exchange.Cancel)
			q.WaitDone(t)
		})
	}
}

// TestIdleMemory has calls that can be resumed keep no buffer once the client has taken everything.
func TestIdleMemory(t *testing.T) {
	const calls, size = 200, 10_000
	s, backend, _ := start(t, exchangetest.Script{}, nil)
	p := dial(t, s)
	memory := func() int {
		for range 3 { // a pool lets go of what it has after two
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	for n := range uint32(calls) {
		p.send(duplex.Headers, n+1, block(":path", "/a.B/C", ":call", fmt.Sprintf("%032x", n+1)))
	}
	before := memory()
	for n := range uint32(calls) {
		backend.Next(t).Send(make([]byte, size))
		p.credit(n+1, size, duplex.GotNothing)
		p.mu.Lock()
		delete(p.data, n+1)
		p.mu.Unlock()
	}
	if grown := (memory() - before) / calls; grown > 4<<10 {
		t.Errorf("%d bytes a call", grown)
	}
	p.q.Reset(exchange.Cancel)
}

// TestPartialFrame accounts for a frame that does not end.
func TestPartialFrame(t *testing.T) {
	reserved, most, hits := 0, 1<<20, 0
	s, _, _ := start(t, exchangetest.Script{}, func(o *Options) {
		o.Reserve = func(n int) bool {
			if n > 0 && reserved+n > most {
				return false
			}
			reserved += n
			return true
		}
		o.LimitHit = func(name string) {
			if hits++; name != "buffer_bytes" {
				t.Errorf("limit %s", name)
			}
		}
	})
	open := func(n int) *peer {
		p := dial(t, s)
		p.q.Data(duplex.MuxForm.Append(nil, duplex.Hello, 0, make([]byte, 60_000))[:n])
		return p
	}
	p := open(50_000)
	if reserved < 49_992 {
		t.Errorf("%d bytes are accounted for", reserved)
	}
	most = reserved + 1000
	q := open(50_000)
	if got := q.ended(); got != fmt.Sprintf("ENHANCE_YOUR_CALM: %v", exchange.ErrBuffers) || hits != 1 {
		t.Errorf("ended %q, %d hits", got, hits)
	}
	p.cut()
	if reserved != 0 {
		t.Errorf("%d bytes are left", reserved)
	}
}
