package connect

import (
	"bytes"
	"sync"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// TestCreditBeside: credit comes from any goroutine while bytes pass, and still counts
// each byte once: the race detector and the sums of the trial are the judges.
func TestCreditBeside(t *testing.T) {
	const n = 50
	msg := bytes.Repeat([]byte("m"), 100)
	for name, c := range map[string]struct {
		head     func() *exchange.RequestHead
		encoding string
		request  []byte // one piece of n
		answers  int
	}{
		"unary":     {func() *exchange.RequestHead { return post(unaryMethod, n*10) }, "", msg[:10], 1},
		"stream":    {func() *exchange.RequestHead { return streamed(bidiMethod) }, "", env(0, msg), n},
		"converted": {func() *exchange.RequestHead { return streamed(bidiMethod) }, "gzip", env(0, msg), n},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTrial(t)
			r.backend.noCredit, r.noCredit = true, true
			r.start(c.head())
			r.head(c.encoding)
			answer := env(0, msg)
			if c.encoding != "" {
				answer = env(1, pack(t, c.encoding, msg))
			}

			// Two goroutines credit each direction; closing their channel ends them.
			var wg sync.WaitGroup
			request, response := make(chan int, 4*n), make(chan int, 100*n)
			for range 2 {
				wg.Go(func() {
					for m := range request {
						r.response.Credit(m)
					}
				})
				wg.Go(func() {
					for m := range response {
						r.q.Credit(m)
					}
				})
			}
			r.client.OnData = func(m int) {
				for m > 3 {
					response <- 3
					m -= 3
				}
				response <- m
			}
			wg.Go(func() {
				for range c.answers {
					r.send(answer)
				}
				r.backend.end(rpc.Status{}, rpc.Metadata{{Key: "x-t", Value: "1"}})
			})
			came := 0
			for range n {
				r.give(c.request)
				request <- len(r.body) - came
				came = len(r.body)
			}
			r.q.End(nil)
			r.client.Final(t)
			close(request)
			close(response)
			wg.Wait()
			if a := r.client.Answer(); a.Credit != r.gave {
				t.Errorf("%d request bytes were credited of %d", a.Credit, r.gave)
			}
			r.noCredit = false
			r.finish(true)
		})
	}
}

// TestCreditConverted: messages are assembled ahead only of a client that takes what is
// whole; else a window of last bytes would be many messages.
func TestCreditConverted(t *testing.T) {
	r := newTrial(t)
	r.noCredit = true
	r.start(streamed(bidiMethod))
	r.head("gzip")
	msg := env(1, pack(t, "gzip", bytes.Repeat([]byte("m"), 500)))
	credited := func(want int) {
		t.Helper()
		if n := int(r.credit.Load()); n != want {
			t.Errorf("%d bytes were credited, want %d", n, want)
		}
	}
	r.send(msg[:len(msg)-1])
	credited(len(msg) - 1) // else a message larger than the window would wait for itself
	r.send(msg[len(msg)-1:])
	for range 3 {
		r.send(msg[:len(msg)-1])
		r.send(msg[len(msg)-1:])
	}
	credited(len(msg) - 1)
	for range 4 {
		r.take(505)
	}
	credited(4 * len(msg))
	r.noCredit = false
	r.q.End(nil)
	r.backend.end(rpc.Status{}, nil)
	r.finish(true)
}
