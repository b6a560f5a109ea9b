package mux

import (
	"fmt"
	"math/rand/v2"
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
