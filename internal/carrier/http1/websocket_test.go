package http1

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/rpc"
)

const handshake = "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"

// talk accepts every WebSocket and sends back what comes.
var talk = exchangetest.Script{
	Begin: func(q *exchangetest.Request) {
		if h := q.Seen().Head; h.Upgrades() {
			q.Answer(101)
		}
	},
	Data: func(q *exchangetest.Request, b []byte) { q.Send(b) },
	End: func(q *exchangetest.Request) {
		if h := q.Seen().Head; !h.Upgrades() {
			q.Answer(200)
		}
		q.Finish()
	},
}

// shake opens a WebSocket.
func (c *conn) shake() {
	c.t.Helper()
	c.send(handshake)
	if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 101 {
		c.t.Fatal(resp, err)
	}
}

func (c *conn) echo(s string) {
	c.t.Helper()
	c.send(s)
	b := make([]byte, len(s))
	if _, err := io.ReadFull(c.r, b); err != nil || string(b) != s {
		c.t.Fatalf("got %q, want %q: %v", b, s, err)
	}
}

// bothWays runs a test with TLS and without.
func bothWays(t *testing.T, cfg Config, script exchangetest.Script, test func(t *testing.T, g *gate)) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, cfg, script)
			if secure {
				g.tls.Store(certificate(t))
			}
			test(t, g)
		})
	}
}

// TestWebSocket comes after another request, and is silent for longer than requests may
// be.
func TestWebSocket(t *testing.T) {
	cfg := Config{HeaderTimeout: 50 * time.Millisecond, IdleTimeout: 50 * time.Millisecond, Stall: 50 * time.Millisecond}
	bothWays(t, cfg, talk, func(t *testing.T, g *gate) {
		c := g.dial()
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		c.answer()
		g.seen.Next(t).WaitDone(t)
		c.shake()
		q := g.seen.Next(t)
		c.echo("a")
		time.Sleep(200 * time.Millisecond)
		c.echo("b")
		_ = c.Conn.(interface{ CloseWrite() error }).CloseWrite()
		c.closed()
		if s := q.WaitDone(t); !s.Ended || !s.Delivered || s.Reset {
			t.Errorf("%+v", s)
		}
		q.Check(t)
	})
}

// TestWebSocketStall has a client that does not read.
func TestWebSocketStall(t *testing.T) {
	bothWays(t, Config{Stall: 100 * time.Millisecond}, exchangetest.Script{Begin: talk.Begin}, func(t *testing.T, g *gate) {
		c := g.dial()
		c.shake()
		q := g.seen.Next(t)
		for sent := 0; !q.Seen().Reset; sent += rpc.WindowDefault {
			q.Send(make([]byte, rpc.WindowDefault))
			q.Until(t, "credit or the end", func(s *exchangetest.Seen) bool { return s.Credit >= sent+rpc.WindowDefault || s.Reset })
		}
		if s := q.WaitDone(t); s.Delivered {
			t.Error("delivered")
		}
	})
}

// TestWebSocketClose ends them all at once.
func TestWebSocketClose(t *testing.T) {
	bothWays(t, Config{}, talk, func(t *testing.T, g *gate) {
		var conns []*conn
		for range 5 {
			c := g.dial()
			c.shake()
			c.echo("x")
			conns = append(conns, c)
		}
		g.Close()
		for _, c := range conns {
			c.closed()
			g.seen.Next(t).WaitDone(t)
		}
		g.l.Close()
		g.wg.Wait()
		quiet(t)
	})
}

// TestWebSocketShutdown lets them go on until their protocol ends them, and accepts no
// more.
func TestWebSocketShutdown(t *testing.T) {
	bothWays(t, Config{}, talk, func(t *testing.T, g *gate) {
		c := g.dial()
		c.shake()
		q := g.seen.Next(t)
		if err := g.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		c.echo("still here")
		q.Send([]byte("last words"))
		q.Finish()
		if b, err := io.ReadAll(c.r); string(b) != "last words" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		c.Close()
		if s := q.WaitDone(t); !s.Delivered {
			t.Errorf("%+v", s)
		}
		g.l.Close()
		g.wg.Wait()
		quiet(t)
	})
}

// TestWebSocketWhileShuttingDown is accepted by a server that does not want
// connections to be used again: the head is whole all the same.
func TestWebSocketWhileShuttingDown(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	g := newGate(t, Config{}, exchangetest.Script{Begin: func(q *exchangetest.Request) {
		close(entered)
		<-leave
		q.Answer(101)
		q.Finish()
	}})
	c := g.dial()
	c.send(handshake)
	<-entered
	down := make(chan struct{})
	go func() { _ = g.Shutdown(context.Background()); close(down) }()
	for {
		if _, err := (&http.Client{}).Get("http://" + g.l.Addr().String()); err != nil {
			break // it has begun
		}
	}
	close(leave)
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Connection") != "Upgrade" {
		t.Errorf("%+v %v", resp, err)
	}
	c.Close()
	<-down
}

// quiet fails if something still serves.
func quiet(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(exchangetest.Timeout); ; time.Sleep(5 * time.Millisecond) {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		if !strings.Contains(string(buf), "blocking.(*served)") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still runs:\n%s", buf)
		}
	}
}
