package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/race"
	"github.com/sluice-rpc/sluice/rpc"
)

func two(c *Config) {
	c.Resolve = func(context.Context, string) ([]string, error) { return []string{"10.0.0.1", "10.0.0.2"}, nil }
}

// where returns the only open stream of all connections, or nil.
func (n *fakeNet) where() (w *fakeWire, s *fakeStream) {
	n.mu.Lock()
	wires := append([]*fakeWire(nil), n.wires...)
	n.mu.Unlock()
	for _, o := range wires {
		o.mu.Lock()
		if len(o.streams) > 0 {
			w, s = o, o.streams[0]
		}
		o.mu.Unlock()
	}
	return w, s
}

func TestRefusedIsReplayedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, "10.0.0.1:50", "10.0.0.2:50")
		b := open(t, n, "dns:///name.test:50", two)
		c := begin(t, b, &rpc.Call{Metadata: rpc.Metadata{{Key: "a", Value: "b"}}})
		c.req.Data([]byte("one "))
		first, s := n.where()
		old := s
		s.credit(4)
		s.reset(exchange.RefusedStream)
		second, s := n.where()
		if second == first || string(s.body) != "one " || s.ended || len(s.fields) != 1 || s.fields[0].Value != "b" {
			t.Fatalf("replayed on %v with %q", second == first, s.body)
		}
		first.goaway(func(*fakeStream) bool { return false })
		if !old.done {
			t.Error("the first try has no Done")
		}
		old.response.Credit(100) // a late word
		c.req.Data([]byte("two"))
		s.credit(3)
		if c.credit != 4 {
			t.Errorf("credit %d, want the 4 of the first try", c.credit)
		}
		s.credit(4)
		if c.credit != 7 || string(s.body) != "one two" {
			t.Errorf("credit %d, body %q", c.credit, s.body)
		}
		s.reset(exchange.RefusedStream)
		c.want(rpc.Unavailable, "REFUSED_STREAM")
	})
}

func TestRefusedInsideOfACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, "10.0.0.1:50", "10.0.0.2:50")
		var first *fakeStream
		n.setup = func(w *fakeWire) {
			w.answer = func(s *fakeStream) {
				if first == nil {
					first = s
					s.reset(exchange.RefusedStream)
					if s.done {
						t.Error("Done came inside of End")
					}
					return
				}
				s.ok("")
			}
		}
		unary(t, open(t, n, "dns:///name.test:50", two), &rpc.Call{}).wantOK()
		if !first.done {
			t.Error("the refused try has no Done")
		}
	})
}

func TestCanceledIsNotReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, "10.0.0.1:50", "10.0.0.2:50")
		n.setup = func(w *fakeWire) { w.lazy = true }
		c := unary(t, open(t, n, "dns:///name.test:50", two), &rpc.Call{})
		_, s := n.where()
		c.req.Cancel(rpc.Errorf(rpc.Canceled, "gone"))
		s.reset(exchange.RefusedStream)
		c.want(rpc.Canceled, "gone")
		if _, s := n.where(); s != nil {
			t.Error("it was replayed")
		}
	})
}

func TestOnlyOneConnectionIsBetterThanNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, addr1)
		c := unary(t, open(t, n, addr1, nil), &rpc.Call{})
		w := n.open(addr1)[0]
		w.take().reset(exchange.RefusedStream)
		w.take().ok("")
		c.wantOK()
	})
}

func TestNeverReplayed(t *testing.T) {
	big := bytes.Repeat([]byte("x"), replayMax)
	for name, end := range map[string]func(c *caller, s *fakeStream){
		"broken connection": func(c *caller, s *fakeStream) { s.w.end(errors.New("reset"), exchange.Disconnected) },
		"other code":        func(c *caller, s *fakeStream) { s.reset(exchange.InternalError) },
		"after the head": func(c *caller, s *fakeStream) {
			s.response.Head(&exchange.ResponseHead{Status: 200}, false)
			s.reset(exchange.RefusedStream)
		},
		"after informational": func(c *caller, s *fakeStream) {
			s.response.Inform(&exchange.ResponseHead{Status: 100})
			s.reset(exchange.RefusedStream)
		},
		"too large": func(c *caller, s *fakeStream) {
			c.req.Data(big)
			c.req.Data([]byte("y"))
			s.reset(exchange.RefusedStream)
		},
		"client gave up first": func(c *caller, s *fakeStream) { c.req.Cancel(rpc.Errorf(rpc.Canceled, "gone")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNet(t, "10.0.0.1:50", "10.0.0.2:50")
				c := begin(t, open(t, n, "dns:///name.test:50", two), &rpc.Call{})
				_, s := n.where()
				end(c, s)
				synctest.Wait()
				if _, over := c.over(); !over {
					t.Error("the call is still open")
				}
				if _, s := n.where(); s != nil {
					t.Error("it was replayed")
				}
				if !s.done {
					t.Error("no Done")
				}
			})
		})
	}
}

func TestReplayWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, addr1)
		b := open(t, n, addr1, nil)
		calls := []*caller{unary(t, b, &rpc.Call{}), unary(t, b, &rpc.Call{}), begin(t, b, &rpc.Call{}), begin(t, b, &rpc.Call{})}
		n.set(addr1, false)
		w := n.open(addr1)[0]
		w.goaway(func(*fakeStream) bool { return true })
		synctest.Wait()
		if b.Status().Held != 4 {
			t.Fatalf("%d calls wait, want 4", b.Status().Held)
		}
		calls[1].req.Cancel(rpc.Errorf(rpc.Canceled, "gone"))
		calls[1].want(rpc.Canceled, "gone")
		calls[2].req.Data([]byte("late"))
		calls[3].req.Data(bytes.Repeat([]byte("x"), replayMax))
		calls[3].wantOpen()
		calls[3].req.Data([]byte("y"))
		calls[3].want(rpc.Unavailable, "REFUSED_STREAM")
		n.set(addr1, true)
		sleep(time.Second)
		w = n.open(addr1)[0]
		if w.Open() != 2 {
			t.Fatalf("%d replayed, want 2", w.Open())
		}
		for _, want := range []string{"late", "question"} { // a later refusal goes to the front
			s := w.streams[0]
			if string(s.body) != want {
				t.Errorf("body %q, want %q", s.body, want)
			}
			s.ok("")
		}
		calls[0].wantOK()
		calls[2].wantOK()

		// And in vain.
		c := unary(t, b, &rpc.Call{})
		n.set(addr1, false)
		w.goaway(func(*fakeStream) bool { return true })
		sleep(3 * time.Second)
		c.want(rpc.Unavailable, "REFUSED_STREAM")
		if c.status.Cause == nil || c.status.Cause.Error() != "UNAVAILABLE: backend one.test:1 is not ready: dial tcp one.test:1: connect: connection refused" {
			t.Errorf("cause %v", c.status.Cause)
		}
	})
}

// TestModel drives one call at a time, event by event, against what should come of it.
func TestModel(t *testing.T) {
	for seed := range uint64(400) {
		synctest.Test(t, func(t *testing.T) { model(t, rand.New(rand.NewPCG(seed, 1))) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func model(t *testing.T, rnd *rand.Rand) {
	n := newFakeNet(t, "10.0.0.1:50", "10.0.0.2:50")
	b := open(t, n, "dns:///name.test:50", two)
	c := begin(t, b, &rpc.Call{})
	var sent []byte
	var all []*fakeStream
	ended, head, tries := false, false, 0
	var cur *fakeStream
	for step := 0; step < 200; step++ {
		synctest.Wait()
		if _, s := n.where(); s != cur {
			if cur = s; s != nil {
				all = append(all, s)
				tries++
				if head {
					t.Error("replayed after a response event")
				}
				head = false
			}
		}
		if c.credit > len(sent) {
			t.Fatalf("client was credited %d of %d bytes", c.credit, len(sent))
		}
		if cur != nil && !bytes.Equal(cur.body, sent) {
			t.Fatalf("server has %d bytes, client sent %d", len(cur.body), len(sent))
		}
		if cur != nil && c.credit < cur.credited {
			t.Fatalf("server credited %d, client heard of %d", cur.credited, c.credit)
		}
		if _, over := c.over(); over {
			break
		}
		switch k := rnd.IntN(20); {
		case k < 7 && !ended && len(sent)-c.credit < 60<<10:
			chunk := make([]byte, 1+rnd.IntN(4000))
			for i := range chunk {
				chunk[i] = byte(rnd.Uint32())
			}
			sent = append(sent, chunk...)
			c.req.Data(chunk)
		case k == 7 && !ended:
			ended = true
			c.req.End()
		case k == 8 && rnd.IntN(4) == 0:
			c.req.Cancel(rpc.Errorf(rpc.Canceled, "gone"))
		case cur == nil:
			sleep(50 * time.Millisecond)
		case k < 12:
			if d := len(cur.body) - cur.credited; d > 0 {
				cur.credit(1 + rnd.IntN(d))
			}
		case k == 12:
			cur.reset(exchange.RefusedStream)
		case k == 13:
			cur.w.goaway(func(*fakeStream) bool { return true })
		case k == 14 && rnd.IntN(3) == 0:
			cur.w.end(errors.New("reset"), exchange.Disconnected)
		case k == 15:
			cur.w.end(errors.New("reset"), exchange.RefusedStream)
		case k == 16 && !head && rnd.IntN(3) == 0:
			head = true
			cur.response.Head(&exchange.ResponseHead{Status: 200}, false)
			cur.response.Data([]byte("r"))
		case k == 17 && head:
			if cur.finish() {
				cur.response.End(nil)
			}
		}
	}
	if _, over := c.over(); !over {
		c.req.Cancel(rpc.Errorf(rpc.Canceled, "gone"))
		synctest.Wait()
	}
	if c.ends != 1 {
		t.Errorf("%d ends", c.ends)
	}
	for i, s := range all {
		if !s.done {
			t.Errorf("try %d of %d has no Done", i+1, len(all))
		}
	}
	if tries > 1+goneMax {
		t.Errorf("%d tries", tries)
	}
	sleep(time.Second)
	for _, e := range b.Status().Endpoints {
		if e.Calls != 0 {
			t.Errorf("%d calls are left on %s", e.Calls, e.Addr)
		}
	}
}

func TestKeptIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, "10.0.0.1:50", "10.0.0.2:50")
		b := open(t, n, "dns:///name.test:50", two)
		small, large := begin(t, b, &rpc.Call{}), begin(t, b, &rpc.Call{})
		b.kept.Add(keptLimit - 100)
		small.req.Data(make([]byte, keptCap+100))
		large.req.Data(make([]byte, keptCap+1))
		if got := b.kept.Load(); got != keptLimit {
			t.Errorf("%d bytes are counted, want %d", got, keptLimit)
		}
		for _, addr := range []string{"10.0.0.1:50", "10.0.0.2:50"} {
			n.open(addr)[0].goaway(func(*fakeStream) bool { return true })
		}
		synctest.Wait()
		small.wantOpen()
		large.want(rpc.Unavailable, "REFUSED_STREAM")
		_, s := n.where()
		s.ok("")
		small.wantOK()
		if got := b.kept.Load(); got != keptLimit-100 {
			t.Errorf("%d bytes are counted at the end, want none of them", got-(keptLimit-100))
		}
	})
}

// TestConcurrently has requests flow while servers refuse, credit and answer them.
func TestConcurrently(t *testing.T) {
	n := newFakeNet(t, "10.0.0.1:50", "10.0.0.2:50")
	tg, _ := ParseTarget("dns:///name.test:50")
	cfg := Config{Target: tg, Dial: n.dial, NewClient: fakeClient, MaxConns: 2}
	two(&cfg)
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	warm := begin(t, b, &rpc.Call{})
	warm.req.Cancel(rpc.Errorf(rpc.Canceled, "gone"))

	var stop atomic.Bool
	var servers sync.WaitGroup
	for g := range 2 {
		servers.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 2))
			for !stop.Load() {
				for _, w := range n.open(fmt.Sprintf("10.0.0.%d:50", 1+g)) {
					w.mu.Lock()
					streams := append([]*fakeStream(nil), w.streams...)
					w.mu.Unlock()
					for _, s := range streams {
						s.mu.Lock()
						credit, ended := len(s.body)-s.credited, s.ended
						s.mu.Unlock()
						switch k := rnd.IntN(100); {
						case credit > 0 && k < 60:
							s.credit(credit)
						case k < 63:
							s.reset(exchange.RefusedStream)
						case k < 65:
							w.goaway(func(*fakeStream) bool { return true })
						case ended && credit == 0:
							s.mu.Lock()
							body := string(s.body)
							s.mu.Unlock()
							s.ok(body)
						}
					}
				}
				time.Sleep(20 * time.Microsecond)
			}
		})
	}
	var clients sync.WaitGroup
	var good, refused atomic.Int64
	for g := range 4 {
		clients.Go(func() {
			for i := range 300 {
				c := start(&caller{t: t, late: true, ended: make(chan struct{})}, b, &rpc.Call{Method: fmt.Sprintf("/c/%d-%d", g, i)})
				var sent []byte
				for j := range 1 + i%20 {
					chunk := bytes.Repeat([]byte{byte(j)}, 1+i%300)
					sent = append(sent, chunk...)
					c.req.Data(chunk)
				}
				if i%50 == 49 {
					c.req.Cancel(rpc.Errorf(rpc.Canceled, "gone"))
					<-c.ended
					c.req.Done(rpc.Outcome{})
					continue
				}
				c.req.End()
				<-c.ended
				c.req.Done(rpc.Outcome{Status: c.status, Delivered: true})
				switch {
				case !c.status.OK():
					refused.Add(1)
				case !bytes.Equal(c.body, sent):
					t.Errorf("the server had %d bytes, the client sent %d", len(c.body), len(sent))
				case c.credit != len(sent):
					t.Errorf("credit %d for %d bytes", c.credit, len(sent))
				default:
					good.Add(1)
				}
			}
		})
	}
	clients.Wait()
	stop.Store(true)
	servers.Wait()
	t.Logf("%d good, %d refused", good.Load(), refused.Load())
	if good.Load() < 500 {
		t.Error("too few calls did well to mean anything")
	}
	if got := b.kept.Load(); got != 0 {
		t.Errorf("%d bytes are counted as kept", got)
	}
}

// BenchmarkUnary is what a call costs here, the fakes included.
func BenchmarkUnary(b *testing.B) {
	be := NewHandler("in process", discard{}, fakeClient)
	defer be.Close()
	head := &exchange.RequestHead{Fields: make([]exchange.Field, 12)}
	data := make([]byte, 100)
	c := be.pick(nil)
	b.ReportAllocs()
	for b.Loop() {
		req := c.Start(head, nowhere{})
		req.Begin()
		req.Data(data)
		req.End(nil)
		req.Done(true)
	}
}

// discard answers each request at its end, and allocates once.
type discard struct{}

type discarded struct{ response exchange.Response }

func (discard) Start(_ *exchange.RequestHead, response exchange.Response) exchange.Request {
	return &discarded{response}
}

func (d *discarded) Begin()      {}
func (d *discarded) Data([]byte) {}
func (d *discarded) End([]exchange.Field) {
	d.response.Credit(100)
	d.response.Head(&exchange.ResponseHead{Status: 200}, false)
	d.response.End(nil)
}
func (d *discarded) Reset(exchange.Code) {}
func (d *discarded) Credit(int)          {}
func (d *discarded) Done(bool)           {}

type nowhere struct{}

func (nowhere) Inform(*exchange.ResponseHead)     {}
func (nowhere) Head(*exchange.ResponseHead, bool) {}
func (nowhere) Data([]byte)                       {}
func (nowhere) End([]exchange.Field)              {}
func (nowhere) Reset(exchange.Code, error)        {}
func (nowhere) Credit(int)                        {}

// A stormNet counts which calls have reached a server.
type stormNet struct {
	*fakeNet
	mu      sync.Mutex
	reached map[string]int
}

// serve answers the requests of w, in order, on a goroutine that ends with w.
func (n *stormNet) serve(w *fakeWire) {
	queue := make(chan *fakeStream, 1<<14)
	w.answer = func(s *fakeStream) { queue <- s }
	go func() {
		for s := range queue {
			if s.path == "" {
				return
			}
			w.mu.Lock()
			s.mu.Lock()
			live := !w.closed && !s.over && s.fate == unknown
			body := string(s.body)
			s.mu.Unlock()
			if live {
				n.mu.Lock()
				n.reached[s.path]++
				n.mu.Unlock()
				s.fate = reached
			}
			w.mu.Unlock()
			if !live {
				continue
			}
			if body != "question" {
				n.t.Errorf("call %s came with %q", s.path, body)
			}
			s.ok("answer")
		}
	}()
}

// kill breaks a connection: what has reached the server is lost, the rest refused.
func (n *stormNet) kill(w *fakeWire) {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return
	}
	w.closed = true
	streams := w.streams
	w.streams = nil
	codes := make([]exchange.Code, len(streams))
	for i, s := range streams {
		codes[i] = exchange.RefusedStream
		if s.fate == reached {
			codes[i] = exchange.Disconnected
		}
	}
	w.mu.Unlock()
	for i, s := range streams {
		s.reset(codes[i])
	}
	w.events.Closed(errors.New("connection reset by peer"))
	w.answer(&fakeStream{})
}

// goaway refuses what has not reached the server, and closes after the rest.
func (n *stormNet) goaway(w *fakeWire) {
	w.mu.Lock()
	w.draining = true
	var none []*fakeStream
	for _, s := range w.streams {
		if s.fate == unknown {
			none = append(none, s)
			s.fate = refused
		}
	}
	w.mu.Unlock()
	w.events.Draining()
	for _, s := range none {
		s.reset(exchange.RefusedStream)
	}
	time.AfterFunc(20*time.Millisecond, func() { n.kill(w) })
}

// TestStorm: 1,000 GOAWAYs and 200 restarts of one of two endpoints under load. No
// call is lost that had not reached it, and none reaches a server twice.
func TestStorm(t *testing.T) {
	goaways, restarts := 1000, 200
	if race.Enabled || testing.Short() {
		goaways, restarts = 200, 40
	}
	const bad, good = "10.0.0.1:50", "10.0.0.2:50"
	n := &stormNet{fakeNet: newFakeNet(t, bad, good), reached: map[string]int{}}
	n.setup = n.serve
	tg, _ := ParseTarget("dns:///name.test:50")
	cfg := Config{Target: tg, Dial: n.dial, NewClient: fakeClient, MaxConns: 2}
	two(&cfg)
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()

	var stop atomic.Bool
	var calls, lost, spared atomic.Int64
	var workers sync.WaitGroup
	for g := range 32 {
		workers.Go(func() {
			for i := 0; !stop.Load(); i++ {
				id := fmt.Sprintf("/s/%d-%d", g, i)
				c := unary(t, b, &rpc.Call{Method: id})
				<-c.ended
				calls.Add(1)
				n.mu.Lock()
				times := n.reached[id]
				delete(n.reached, id)
				n.mu.Unlock()
				switch {
				case times > 1:
					t.Errorf("call %s reached servers %d times", id, times)
				case c.status.OK() && (times != 1 || string(c.body) != "answer"):
					t.Errorf("call %s: OK with %q, reached %d", id, c.body, times)
				case !c.status.OK() && times == 0:
					lost.Add(1)
					t.Errorf("call %s was lost before it reached a server: %v", id, c.status)
				case !c.status.OK():
					spared.Add(1)
				}
			}
		})
	}
	// Each blow hits a connection that carries calls and has answered some.
	target := func() (ws []*fakeWire) {
		for range 2000 {
			for _, w := range n.open(bad) {
				w.mu.Lock()
				busy := !w.draining && !w.closed && len(w.streams) > 0 && w.total > 50
				w.mu.Unlock()
				if busy {
					return []*fakeWire{w}
				}
			}
			time.Sleep(100 * time.Microsecond)
		}
		return nil
	}
	for i := range goaways {
		for _, w := range target() {
			n.goaway(w)
		}
		if i%(goaways/restarts) != 0 {
			continue
		}
		ws := target()
		down := i%(goaways/10) == 0 // some restarts take a while
		n.set(bad, !down)
		for _, w := range ws {
			n.kill(w)
		}
		if down {
			time.Sleep(20 * time.Millisecond)
			n.set(bad, true)
		}
	}
	stop.Store(true)
	workers.Wait()
	n.fakeNet.mu.Lock()
	wires := len(n.wires)
	for _, w := range n.wires {
		w.answer(&fakeStream{})
	}
	n.fakeNet.mu.Unlock()
	t.Logf("%d calls over %d connections, %d lost, %d broken after they had reached the server", calls.Load(), wires, lost.Load(), spared.Load())
	if calls.Load() < 1000 || wires < goaways {
		t.Errorf("hardly a storm: %d calls, %d connections", calls.Load(), wires)
	}
}
