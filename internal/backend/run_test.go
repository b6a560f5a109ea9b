package backend

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

const addr1 = "one.test:1"

// open starts a Backend in front of n, and ends it with the test.
func open(t *testing.T, n *fakeNet, target string, change func(*Config)) *Backend {
	t.Helper()
	tg, err := ParseTarget(target)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Target: tg, Dial: n.dial, NewClient: fakeClient, MaxConns: 2}
	if change != nil {
		change(&cfg)
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	synctest.Wait()
	return b
}

func auto(w *fakeWire) { w.auto = true }

func TestCallsWaitForTheFirstConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t)
		n.setup = auto
		b := open(t, n, addr1, nil)
		c := unary(t, b, &rpc.Call{})
		sleep(time.Second)
		c.wantOpen()
		n.set(addr1, true)
		sleep(time.Second)
		c.wantOK()
		if got := b.Status(); !got.Ready || got.Endpoints[0].State != Ready || got.Endpoints[0].Total != 1 || got.Endpoints[0].Calls != 0 {
			t.Errorf("status: %+v", got)
		}
	})
}

func TestFailFast(t *testing.T) {
	const message = "backend one.test:1 is not ready: dial tcp one.test:1: connect: connection refused"
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t)
		n.setup = auto
		b := open(t, n, addr1, nil)
		c := unary(t, b, &rpc.Call{Deadline: time.Now().Add(time.Minute)})
		sleep(1900 * time.Millisecond)
		c.wantOpen()
		sleep(200 * time.Millisecond)
		c.want(rpc.Unavailable, message)
		unary(t, b, &rpc.Call{}).want(rpc.Unavailable, message)
		if s := b.Status(); s.Ready || s.Endpoints[0].State != TransientFailure || s.Err == nil {
			t.Errorf("status: %+v", s)
		}
		// It comes back, and goes for a moment only: nobody fails.
		n.set(addr1, true)
		sleep(10 * time.Second)
		unary(t, b, &rpc.Call{}).wantOK()
		n.set(addr1, false)
		n.open(addr1)[0].end(errors.New("connection reset by peer"), exchange.Disconnected)
		synctest.Wait()
		c = unary(t, b, &rpc.Call{})
		sleep(500 * time.Millisecond)
		c.wantOpen()
		n.set(addr1, true)
		sleep(time.Second)
		c.wantOK()
	})
}

func TestWaitForReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t)
		b := open(t, n, addr1, func(c *Config) { c.WaitForReady = true })
		c := unary(t, b, &rpc.Call{})
		long := unary(t, b, &rpc.Call{Deadline: time.Now().Add(15 * time.Second)})
		sleep(9900 * time.Millisecond)
		c.wantOpen()
		sleep(200 * time.Millisecond)
		c.want(rpc.Unavailable, "backend one.test:1 is not ready: dial tcp one.test:1: connect: connection refused")
		long.wantOpen()
		sleep(5 * time.Second)
		long.want(rpc.DeadlineExceeded, "backend one.test:1 is not ready: dial tcp one.test:1: connect: connection refused")
	})
}

func TestNoSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, addr1)
		n.silent[addr1] = true
		b := open(t, n, addr1, nil)
		c := unary(t, b, &rpc.Call{})
		sleep(4 * time.Second)
		c.wantOpen()
		sleep(1100 * time.Millisecond)
		c.want(rpc.Unavailable, "backend one.test:1 is not ready: connected to one.test:1, but no HTTP/2 SETTINGS came within 5s: "+
			"is it a gRPC server, does it want TLS (https://…)?")
		if open, dials := len(n.open(addr1)), len(n.dialed(addr1)); dials-open != 1 {
			t.Errorf("%d of %d connections are open, want the first to be closed", open, dials)
		}
	})
}

func TestHeldCallsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t)
		n.setup = auto
		b := open(t, n, addr1, func(c *Config) { c.HeldCalls = 2 })
		one, two := unary(t, b, &rpc.Call{}), unary(t, b, &rpc.Call{})
		unary(t, b, &rpc.Call{}).want(rpc.ResourceExhausted, "too many calls wait for backend one.test:1 already (limits.held_calls is 2)")
		one.req.Cancel(rpc.Errorf(rpc.Canceled, "gone"))
		one.want(rpc.Canceled, "gone")
		three := unary(t, b, &rpc.Call{})
		n.set(addr1, true)
		sleep(time.Second)
		two.wantOK()
		three.wantOK()
		if b.queue.n.Load() != 0 {
			t.Error("someone waits still")
		}
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t)
		b := open(t, n, addr1, nil)
		sleep(2 * time.Minute)
		dials := n.dialed(addr1)
		want := backoffFirst
		for i := 1; i < len(dials); i++ {
			pause := dials[i].Sub(dials[i-1])
			if low, high := want*79/100, want*121/100; pause < low || pause > high+time.Millisecond {
				t.Errorf("pause %d is %v, want %v ± 20%%", i, pause, want)
			}
			want = min(want*8/5, backoffMax)
		}
		if len(dials) < 15 || len(dials) > 26 {
			t.Errorf("%d dials in two minutes", len(dials))
		}
		// A restart of one that worked is met at once.
		n.set(addr1, true)
		sleep(20 * time.Second)
		before := len(n.dialed(addr1))
		n.open(addr1)[0].end(errors.New("reset"), exchange.Disconnected)
		synctest.Wait()
		if len(n.dialed(addr1)) != before+1 || !b.Ready() {
			t.Errorf("%d dials after the restart, want one", len(n.dialed(addr1))-before)
		}
	})
}

func TestFlappingBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, addr1)
		// A server that closes each connection as soon as it is ready.
		n.setup = func(w *fakeWire) {
			time.AfterFunc(time.Millisecond, func() { w.end(errors.New("go away"), exchange.Disconnected) })
		}
		open(t, n, addr1, nil)
		sleep(10 * time.Second)
		if d := len(n.dialed(addr1)); d < 8 || d > 18 {
			t.Errorf("%d dials in ten seconds", d)
		}
	})
}

func TestGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, addr1)
		b := open(t, n, addr1, nil)
		old := n.open(addr1)[0]
		running, refused := unary(t, b, &rpc.Call{Method: "/a/Runs"}), unary(t, b, &rpc.Call{Method: "/a/Refused"})
		old.goaway(func(s *fakeStream) bool { return s.path == "/a/Refused" })
		refused.wantOpen()
		synctest.Wait()
		if len(n.open(addr1)) != 2 {
			t.Fatalf("%d connections, want the old one and a new one", len(n.open(addr1)))
		}
		s := n.open(addr1)[1].take()
		if s.path != "/a/Refused" || string(s.body) != "question" || !s.ended {
			t.Errorf("replayed %q with %q", s.path, s.body)
		}
		s.ok("again")
		refused.wantOK()
		running.wantOpen()
		old.take().ok("first")
		running.wantOK()
		synctest.Wait()
		if !old.isClosed() {
			t.Error("the drained connection is still open")
		}
		if got := b.Status().Endpoints[0]; got.Conns != 1 || got.Calls != 0 || got.Total != 3 {
			t.Errorf("status: %+v", got)
		}
	})
}

func TestConnectionsGrowAndShrink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, addr1)
		b := open(t, n, addr1, func(c *Config) { c.MaxConns = 3 })
		var calls []*caller
		for range 250 {
			calls = append(calls, unary(t, b, &rpc.Call{}))
			synctest.Wait()
		}
		ws := n.open(addr1)
		if len(ws) != 3 {
			t.Fatalf("%d connections for 250 calls, want 3", len(ws))
		}
		for _, w := range ws {
			if o := w.Open(); o < 80 || o > 86 {
				t.Errorf("a connection has %d calls of 250 on 3", o)
			}
			for w.Open() > 0 {
				w.streams[0].ok("ok")
			}
		}
		for _, c := range calls {
			c.wantOK()
		}
		sleep(50 * time.Second)
		if got := len(n.open(addr1)); got != 3 {
			t.Errorf("%d connections after 50 s, want 3", got)
		}
		sleep(3 * time.Minute)
		if got := len(n.open(addr1)); got != 1 {
			t.Errorf("%d connections after minutes, want 1", got)
		}
	})
}

func TestStreamLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, addr1)
		n.setup = func(w *fakeWire) { w.max = 1 }
		b := open(t, n, addr1, func(c *Config) { c.MaxConns = 2 })
		var calls []*caller
		for range connsFull + 2 {
			calls = append(calls, unary(t, b, &rpc.Call{}))
		}
		sleep(3 * time.Second)
		if got := len(n.open(addr1)); got != connsFull {
			t.Fatalf("%d connections, want %d", got, connsFull)
		}
		calls[connsFull].wantOpen()
		calls[0].wantOpen()
		n.open(addr1)[0].take().ok("")
		n.open(addr1)[1].take().ok("")
		sleep(pollFull)
		synctest.Wait()
		if b.queue.n.Load() != 0 {
			t.Error("a call waits, though there is room")
		}
		late := unary(t, b, &rpc.Call{})
		sleep(11 * time.Second)
		late.want(rpc.Unavailable, "backend one.test:1 is not ready: as many calls run on its connections as it allows")
	})
}

func TestWhoWaitsComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, addr1)
		n.setup = func(w *fakeWire) { w.max = 1 }
		b := open(t, n, addr1, nil)
		unary(t, b, &rpc.Call{Method: "/a/1"})
		n.set(addr1, false) // no second connection
		unary(t, b, &rpc.Call{Method: "/a/2"})
		synctest.Wait()
		n.open(addr1)[0].take().ok("")
		unary(t, b, &rpc.Call{Method: "/a/3"})
		synctest.Wait()
		if s := n.open(addr1)[0].take(); s.path != "/a/2" {
			t.Errorf("%s overtook who waited", s.path)
		}
	})
}

func TestStalledConnectionGetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, addr1)
		b := open(t, n, addr1, nil)
		n.open(addr1)[0].stalled = true
		unary(t, b, &rpc.Call{})
		synctest.Wait()
		ws := n.open(addr1)
		if len(ws) != 2 || ws[0].Open() != 0 || ws[1].Open() != 1 {
			t.Errorf("%d connections", len(ws))
		}
	})
}

func TestDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, "10.0.0.1:50", "10.0.0.2:50", "[::3]:50")
		var mu sync.Mutex
		lookups, addrs, fail := 0, []string{"10.0.0.1", "10.0.0.2", "10.0.0.1"}, error(nil)
		answer := func(as []string, err error) {
			mu.Lock()
			addrs, fail = as, err
			mu.Unlock()
		}
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return lookups
		}
		b := open(t, n, "dns:///name.test:50", func(c *Config) {
			c.Resolve = func(_ context.Context, host string) ([]string, error) {
				if host != "name.test" {
					t.Errorf("looked up %q", host)
				}
				mu.Lock()
				defer mu.Unlock()
				lookups++
				return addrs, fail
			}
		})
		unary(t, b, &rpc.Call{Method: "/a/B"})
		if got := len(b.Status().Endpoints); got != 2 {
			t.Fatalf("%d endpoints, want 2", got)
		}
		sleep(29 * time.Second)
		if count() != 1 {
			t.Errorf("%d lookups in 29 s", count())
		}
		answer([]string{"10.0.0.2", "::3"}, nil)
		sleep(2 * time.Second)
		if b.Status().Endpoints[0].Addr != "10.0.0.2:50" || b.Status().Endpoints[1].Addr != "[::3]:50" || len(*b.ready.Load()) != 2 {
			t.Errorf("status: %+v", b.Status())
		}
		// The removed address keeps its call, if it has one, and closes after it.
		if ws := n.open("10.0.0.1:50"); len(ws) == 1 {
			ws[0].take().ok("")
			synctest.Wait()
		}
		if len(n.open("10.0.0.1:50")) != 0 {
			t.Error("the removed address has a connection")
		}
		// A failing lookup changes nothing.
		answer(nil, errors.New("server misbehaving"))
		sleep(time.Minute)
		if len(*b.ready.Load()) != 2 {
			t.Error("a failing lookup took endpoints away")
		}
		// A failing endpoint looks again, but not all the time.
		answer([]string{"10.0.0.2", "::3"}, nil)
		sleep(time.Minute)
		before := count()
		n.set("[::3]:50", false)
		n.open("[::3]:50")[0].end(errors.New("reset"), exchange.Disconnected)
		sleep(10 * time.Second)
		if got := count() - before; got < 2 || got > 6 {
			t.Errorf("%d lookups in 10 s of failure", got)
		}
	})
}

func TestDNSFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, newFakeNet(t), "dns:///name.test:50", func(c *Config) {
			c.Resolve = func(context.Context, string) ([]string, error) { return nil, nil }
		})
		sleep(3 * time.Second)
		unary(t, b, &rpc.Call{}).want(rpc.Unavailable, "backend dns:///name.test:50 is not ready: lookup name.test: no addresses")
	})
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, addr1)
		b := open(t, n, addr1, func(c *Config) { c.HealthCheck, c.HealthService = true, "x.Y" })
		w := n.open(addr1)[0]
		watch := w.take()
		if watch.path != healthMethod || string(watch.body) != "\x00\x00\x00\x00\x05\x0a\x03x.Y" || !watch.ended {
			t.Fatalf("watch %q with %q", watch.path, watch.body)
		}
		c := unary(t, b, &rpc.Call{})
		say := func(m string) {
			watch.response.Data([]byte(m))
			synctest.Wait()
		}
		watch.response.Head(&exchange.ResponseHead{Status: 200}, false)
		say("\x00\x00\x00\x00\x02\x08")
		if w.Open() != 1 {
			t.Fatal("a call came before health")
		}
		say("\x01")
		if watch.taken != 7 {
			t.Errorf("the watch credits %d bytes of 7", watch.taken)
		}
		if w.Open() != 2 {
			t.Fatal("no call came after SERVING")
		}
		w.streams[1].ok("")
		c.wantOK()
		say("\x00\x00\x00\x00\x02\x08\x02")
		sleep(3 * time.Second)
		unary(t, b, &rpc.Call{}).want(rpc.Unavailable, "backend one.test:1 is not ready: grpc.health.v1 says NOT_SERVING")
		say("\x00\x00\x00\x00\x02\x08\x01")
		if !b.Ready() {
			t.Error("not ready after SERVING")
		}
		// A watch that breaks makes it unhealthy until the next one answers.
		watch.reset(exchange.InternalError)
		synctest.Wait()
		if b.Ready() {
			t.Error("ready without a watch")
		}
		sleep(healthPause)
		synctest.Wait()
		watch = w.take()
		watch.response.Head(&exchange.ResponseHead{Status: 200}, false)
		say("\x00\x00\x00\x00\x02\x08\x01")
		if !b.Ready() {
			t.Error("not ready with the second watch")
		}
		// GOAWAY: the watch does not keep the connection.
		w.goaway(func(*fakeStream) bool { return false })
		synctest.Wait()
		if !w.isClosed() {
			t.Error("the watch keeps a draining connection open")
		}
	})
}

func TestDrainAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, addr1)
		b := open(t, n, addr1, nil)
		c := unary(t, b, &rpc.Call{})
		go func() {
			time.Sleep(5 * time.Second)
			n.open(addr1)[0].take().ok("")
		}()
		began := time.Now()
		if err := b.Drain(context.Background()); err != nil || time.Since(began) < 5*time.Second || time.Since(began) > 6*time.Second {
			t.Errorf("drain: %v after %v", err, time.Since(began))
		}
		c.wantOK()
		unary(t, b, &rpc.Call{}).want(rpc.Unavailable, "gateway is shutting down")

		b = open(t, n, addr1, nil)
		c = unary(t, b, &rpc.Call{})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := b.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("drain: %v", err)
		}
		c.want(rpc.Unavailable, "DISCONNECTED")
		if len(n.open(addr1)) != 0 {
			t.Error("connections are left")
		}
	})
}

func TestCloseWhileDialing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, addr1)
		b := open(t, n, addr1, func(c *Config) {
			c.Dial = func(ctx context.Context, network, addr string, events ConnEvents) (Conn, error) {
				<-ctx.Done()
				return n.dial(ctx, network, addr, events) // it had succeeded just then
			}
		})
		c := unary(t, b, &rpc.Call{})
		b.Close()
		c.want(rpc.Unavailable, "gateway is shutting down")
		if len(n.wires) != 1 || len(n.open(addr1)) != 0 {
			t.Error("the connection is left open")
		}
	})
}

func TestDialedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, newFakeNet(t), addr1, nil)
		b.cancel()
		<-b.stopped
		w := &fakeWire{t: t}
		c := &conn{b: b, ep: b.endpoints[0], cancel: func() {}}
		w.events = c
		b.post(event{kind: connDialed, conn: c, wire: w}) // run never sees it
		b.Close()
		if !w.isClosed() {
			t.Error("the connection is left open")
		}
	})
}

func TestHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWire{t: t, auto: true, max: 1 << 20}
		b := NewHandler("in process", w, fakeClient)
		for range 200 {
			unary(t, b, &rpc.Call{}).wantOK()
		}
		if !b.Ready() || b.Status().Endpoints[0].Total != 200 {
			t.Errorf("status: %+v", b.Status())
		}
		if err := b.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	_, err := New(Config{Dial: newFakeNet(t).dial, NewClient: fakeClient, Balance: "best"})
	if err == nil || !strings.Contains(err.Error(), `unknown balance "best"`) {
		t.Error(err)
	}
	_, err = New(Config{})
	if err == nil {
		t.Error("no error without Dial")
	}
}

func TestRestartOfOneOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, "10.0.0.1:50", "10.0.0.2:50")
		n.setup = auto
		b := open(t, n, "dns:///name.test:50", func(c *Config) {
			c.Resolve = func(context.Context, string) ([]string, error) { return []string{"10.0.0.1", "10.0.0.2"}, nil }
		})
		for i := range 200 {
			addr := fmt.Sprintf("10.0.0.%d:50", 1+i%2)
			n.set(addr, false)
			for _, w := range n.open(addr) {
				w.end(errors.New("reset"), exchange.Disconnected)
			}
			for range 10 {
				c := unary(t, b, &rpc.Call{})
				if c.wantOK(); t.Failed() {
					t.Fatalf("round %d: %+v", i, b.Status())
				}
				sleep(10 * time.Millisecond)
			}
			n.set(addr, true)
			sleep(300 * time.Millisecond)
		}
	})
}

// TestConnected: who asks to be told hears of each endpoint that can serve anew, and not
// of connections that only help others.
func TestConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t)
		n.setup = auto
		times := 0
		b := open(t, n, addr1, func(c *Config) { c.Connected = func() { times++ } })
		want := func(n int) {
			t.Helper()
			synctest.Wait()
			b.mu.Lock() // it is called with it
			defer b.mu.Unlock()
			if times != n {
				t.Errorf("told %d times, want %d", times, n)
			}
		}
		sleep(3 * time.Second)
		want(0)
		n.set(addr1, true)
		sleep(10 * time.Second)
		want(1)
		n.open(addr1)[0].end(errors.New("connection reset by peer"), exchange.Disconnected)
		sleep(10 * time.Second)
		want(2)
		b.mu.Lock()
		b.endpoints[0].grow.Store(true)
		b.mu.Unlock()
		b.kick()
		sleep(time.Second)
		if got := len(n.open(addr1)); got != 2 {
			t.Fatalf("%d connections", got)
		}
		want(2)
	})
}
