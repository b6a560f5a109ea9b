package http1

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
)

// certificate borrows that of httptest.
func certificate(t *testing.T) *tls.Config {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return &tls.Config{Certificates: s.TLS.Certificates, NextProtos: []string{"http/1.1"}}
}

// TestTargets shows what becomes of each form of a request target.
func TestTargets(t *testing.T) {
	g := newGate(t, Config{}, polite)
	for line, want := range map[string]string{
		"GET /a?b=c HTTP/1.1\r\nHost: h":           "GET h /a?b=c ",
		"GET http://other:1/a HTTP/1.1\r\nHost: h": "GET other:1 /a ", // RFC 9112, section 3.2.2
		"GET http://other HTTP/1.1\r\nHost: h":     "GET other / ",
		"OPTIONS * HTTP/1.1\r\nHost: h":            "OPTIONS h * ",
		"GET //a//b HTTP/1.1\r\nHost: h":           "GET h //a//b ",
		"GET /a%2Fb HTTP/1.1\r\nHost: h":           "GET h /a%2Fb ",
		"GET /../a HTTP/1.1\r\nHost: h":            "GET h /../a ",
		"GET / HTTP/1.0":                           "GET  / ",
		"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk": "GET h / ",
		"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x":               "GET h / ",
	} {
		c := g.dial()
		c.send(line + "\r\n\r\n")
		resp, content := c.answer()
		if resp.StatusCode != 200 || content != want || resp.Header.Get("Upgrade") != "" {
			t.Errorf("%q: %d %q", line, resp.StatusCode, content)
		}
	}
	c := g.dial()
	c.send("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n")
	if resp, _ := c.answer(); resp.StatusCode != 501 {
		t.Errorf("CONNECT: %d", resp.StatusCode)
	}
}

// TestPipelining has many requests in one packet: they are answered in order.
func TestPipelining(t *testing.T) {
	g := newGate(t, Config{}, polite)
	c := g.dial()
	c.send(strings.Repeat("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"+
		"POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\ny\r\n0\r\n\r\n"+probe, 20))
	for range 20 {
		for _, want := range []string{"POST h /a x", "POST h /b y", "GET h /probe "} {
			if _, got := c.answer(); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
	}
}

// TestReuse has many requests on one connection, with and without TLS, each of which
// is seen by a context that has not ended: what the server does to stop reading must
// not harm the next one.
func TestReuse(t *testing.T) {
	for _, secure := range []bool{false, true} {
		script := polite
		script.Reset = func(q *exchangetest.Request, code exchange.Code) {
			t.Error("a request was reset")
			q.Break(code, nil)
		}
		g := newGate(t, Config{IdleTimeout: time.Minute, HeaderTimeout: time.Minute, Stall: time.Minute}, script)
		if secure {
			g.tls.Store(certificate(t))
		}
		c := g.dial()
		for i := range 1000 {
			// The end comes by itself, so that it races with the answer.
			c.send("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
			c.send("0\r\n\r\n")
			if resp, got := c.answer(); got != "POST h /a x" || resp.Close {
				t.Fatalf("%d: %q %v", i, got, resp)
			}
			g.seen.Next(t)
		}
	}
}

// TestEarlyAnswer answers a request that has not come whole. The rest must never be
// taken for the next request, and the head must say that the connection ends, for a
// client that had sent everything would find it closed under its next request.
func TestEarlyAnswer(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for name, request := range map[string]string{
			"length":       "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nx",
			"small length": "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nx",
			"chunks":       "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
			"inside":       "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\nx",
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				g := newGate(t, Config{HeaderTimeout: time.Minute}, exchangetest.Script{Begin: func(q *exchangetest.Request) {
					time.AfterFunc(20*time.Millisecond, func() { q.AnswerEnd(403) }) // while it reads
				}})
				if secure {
					g.tls.Store(certificate(t))
				}
				c := g.dial()
				c.send(request)
				resp, _ := c.answer()
				if resp.StatusCode != 403 || !resp.Close {
					t.Fatalf("%+v", resp)
				}
				_, _ = io.WriteString(c, probe) // may fail already
				c.closed()
				q := g.seen.Next(t)
				q.WaitDone(t)
				q.Check(t)
				if n := len(g.seen.Requests); n != 0 {
					t.Error("the rest of a request was taken for another")
				}
			})
		}
	}
}

// TestEarlyAnswerInFlight is the same with everything in one packet.
func TestEarlyAnswerInFlight(t *testing.T) {
	g := newGate(t, Config{}, exchangetest.Script{Begin: func(q *exchangetest.Request) { q.AnswerEnd(403) }})
	for range 50 {
		c := g.dial()
		c.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 70000\r\n\r\n" + strings.Repeat(probe, 3000))
		if resp, _ := c.answer(); resp.StatusCode != 403 || !resp.Close {
			t.Fatalf("%v", resp)
		}
		if seen := g.seen.Next(t).Seen(); seen.Head.Path != "/a" {
			t.Fatalf("content became a request: %+v", seen.Head)
		}
	}
}

// TestExpect is asked before the content comes.
func TestExpect(t *testing.T) {
	const head = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
	t.Run("wanted", func(t *testing.T) {
		c := newGate(t, Config{}, polite).dial()
		for range 2 {
			c.send(head)
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil || resp.StatusCode != 100 {
				t.Fatal(resp, err)
			}
			c.send("x")
			if resp, got := c.answer(); got != "POST h /a x" || resp.Close {
				t.Errorf("%q", got)
			}
		}
	})
	t.Run("refused", func(t *testing.T) {
		c := newGate(t, Config{}, exchangetest.Script{Begin: func(q *exchangetest.Request) { q.AnswerEnd(403) }}).dial()
		c.send(head)
		if resp, _ := c.answer(); resp.StatusCode != 403 || !resp.Close {
			t.Errorf("%v", resp)
		}
		c.closed()
	})
}

func TestHeaderLimit(t *testing.T) {
	g := newGate(t, Config{MaxHeaderBytes: 8 << 10}, polite)
	c := g.dial()
	c.send("GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 7<<10) + "\r\n\r\n")
	if resp, _ := c.answer(); resp.StatusCode != 200 {
		t.Errorf("within the limit: %d", resp.StatusCode)
	}
	for _, large := range []string{"X: " + strings.Repeat("x", 16<<10), strings.Repeat("a: b\r\n", 4<<10)} {
		c := g.dial()
		c.send("GET / HTTP/1.1\r\nHost: h\r\n" + large + "\r\n\r\n")
		if resp, _ := c.answer(); resp.StatusCode != 431 {
			t.Errorf("above the limit: %d", resp.StatusCode)
		}
		c.closed()
	}
}

// TestHeaderTimeout has heads that never end, on a new connection and on a used one.
func TestHeaderTimeout(t *testing.T) {
	g := newGate(t, Config{HeaderTimeout: 150 * time.Millisecond, IdleTimeout: time.Minute}, polite)
	for _, used := range []bool{false, true} {
		c := g.dial()
		if used {
			c.send(probe)
			c.answer()
		}
		c.send("GET / HT")
		begun := time.Now()
		stop := make(chan struct{})
		go func() { // more bytes don't help
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
					_, _ = c.Write([]byte("x"))
				}
			}
		}()
		c.closedAnyhow()
		close(stop)
		if d := time.Since(begun); d < 100*time.Millisecond {
			t.Errorf("used %v: closed after %v", used, d)
		}
	}
}

// closedAnyhow waits for the end, which may be a reset.
func (c *conn) closedAnyhow() {
	c.t.Helper()
	_, err := io.ReadAll(c.r)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatal("the connection stays open")
	}
}

// TestIdle has connections without a request. Clients open them ahead; one that has
// not been used yet is as idle as one between two requests, and not a slow head.
func TestIdle(t *testing.T) {
	for _, secure := range []bool{false, true} {
		g := newGate(t, Config{HeaderTimeout: 50 * time.Millisecond, IdleTimeout: time.Minute}, polite)
		if secure {
			g.tls.Store(certificate(t))
		}
		c := g.dial()
		if secure {
			if err := c.Conn.(*tls.Conn).Handshake(); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			time.Sleep(150 * time.Millisecond)
			c.send(probe)
			if _, got := c.answer(); got != "GET h /probe " {
				t.Errorf("secure %v: %q", secure, got)
			}
		}

		g = newGate(t, Config{HeaderTimeout: time.Minute, IdleTimeout: 50 * time.Millisecond}, polite)
		c = g.dial()
		c.closed()
		c = g.dial()
		c.send(probe)
		c.answer()
		c.closed()
	}
}

// TestStall has a client that takes nothing.
func TestStall(t *testing.T) {
	for _, secure := range []bool{false, true} {
		g := newGate(t, Config{Stall: 200 * time.Millisecond}, exchangetest.Script{Begin: func(q *exchangetest.Request) { q.Answer(200) }})
		if secure {
			g.tls.Store(certificate(t))
		}
		c := g.dial()
		c.send(probe)
		q := g.seen.Next(t)
		piece := make([]byte, 32<<10)
		sent := 0
		for end := time.Now().Add(exchangetest.Timeout); !q.Seen().Reset; {
			if time.Now().After(end) {
				t.Fatal("a client that takes nothing is still there")
			}
			if q.Seen().Credit == sent {
				q.Send(piece)
				sent += len(piece)
			}
			time.Sleep(time.Millisecond)
		}
		if s := q.WaitDone(t); s.Delivered {
			t.Error("delivered")
		}
	}
}

// TestPeer tells who the client is, also behind a replay and TLS.
func TestPeer(t *testing.T) {
	g := newGate(t, Config{}, polite)
	g.tls.Store(certificate(t))
	c := g.dial()
	c.send(probe)
	c.answer()
	h := g.seen.Next(t).Seen().Head
	if h.Scheme != "https" || h.TLS == nil || h.TLS.NegotiatedProtocol != "" || h.Addr.String() != c.LocalAddr().String() || h.Carrier != "h1" {
		t.Errorf("%+v", h)
	}
}

// Test10Broken breaks a response to a client of HTTP/1.0: even over TLS it must not
// look like the end of the content.
func Test10Broken(t *testing.T) {
	for _, secure := range []bool{false, true} {
		g := newGate(t, Config{}, exchangetest.Script{End: func(q *exchangetest.Request) {
			q.Answer(200)
			q.Send([]byte("abc"))
			go func() {
				q.Until(t, "credit", func(s *exchangetest.Seen) bool { return s.Credit == 3 })
				q.Break(exchange.Cancel, nil)
			}()
		}})
		if secure {
			g.tls.Store(certificate(t))
		}
		c := g.dial()
		c.send("GET / HTTP/1.0\r\n\r\n")
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("secure %v: looks whole: %q", secure, b)
		}
	}
}

// TestShutdown lets a running request end and closes the idle connections.
func TestShutdown(t *testing.T) {
	g := newGate(t, Config{IdleTimeout: time.Minute}, exchangetest.Script{})
	idle, busy := g.dial(), g.dial()
	idle.send(probe)
	g.seen.Next(t).AnswerEnd(200)
	idle.answer()
	busy.send(probe)
	q := g.seen.Next(t)
	ended := make(chan error, 1)
	go func() { ended <- g.Shutdown(context.Background()) }()
	idle.closed()
	select {
	case err := <-ended:
		t.Fatal("Shutdown did not wait for a request: ", err)
	case <-time.After(50 * time.Millisecond):
	}
	q.AnswerEnd(200)
	if resp, _ := busy.answer(); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("%v", resp)
	}
	busy.closed()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	late, other := net.Pipe()
	defer other.Close()
	done := make(chan struct{})
	g.ServeConn(late, func() { close(done) })
	<-done
	if _, err := late.Write([]byte("x")); err == nil {
		t.Error("a connection that came late is open")
	}
}

func TestShutdownTimeout(t *testing.T) {
	g := newGate(t, Config{}, exchangetest.Script{})
	c := g.dial()
	c.send(probe)
	q := g.seen.Next(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := g.Shutdown(ctx); err != context.DeadlineExceeded {
		t.Error(err)
	}
	g.Close()
	c.closedAnyhow()
	if s := q.WaitDone(t); !s.Reset || s.Delivered {
		t.Errorf("%+v", s)
	}
}

// TestClose ends connections in every state, also such as are just being taken.
func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 100 {
		g := newGate(t, Config{IdleTimeout: time.Hour, HeaderTimeout: time.Hour}, exchangetest.Script{})
		for range 4 {
			g.dial()
		}
		busy := g.dial()
		busy.send(probe)
		g.l.Close()
		g.Close()
		g.Close() // again does nothing
		ended := make(chan struct{})
		go func() { g.wg.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(exchangetest.Timeout):
			t.Fatal("the end of a connection is not told")
		}
	}
	for end := time.Now().Add(exchangetest.Timeout); runtime.NumGoroutine() > before+5; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// TestLog gives net/http's words to the logger: panics loud, the rest not.
func TestLog(t *testing.T) {
	var b bytes.Buffer
	l := errorLog{slog.New(slog.NewTextHandler(&b, nil))}
	_, _ = l.Write([]byte("http: something a client did\n"))
	if b.Len() != 0 {
		t.Errorf("logged %s", b.String())
	}
	_, _ = l.Write([]byte("http: panic serving 1.2.3.4:5: boom\n"))
	if s := b.String(); !strings.Contains(s, "ERROR") || !strings.Contains(s, "boom") {
		t.Errorf("logged %q", s)
	}
	if n, err := (errorLog{}).Write([]byte("x")); n != 1 || err != nil {
		t.Error("without a logger")
	}
}
