package blocking

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/netio"
	"github.com/sluice-rpc/sluice/rpc"
)

const handshake = "GET /chat?x=y HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

// peer is a client of a WebSocket that knows nothing of frames.
type peer struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

// upgraded returns a connection of which the handshake was sent.
func (f *front) upgraded(request string) *peer {
	f.t.Helper()
	var c net.Conn
	var err error
	if f.TLS != nil {
		c, err = tls.Dial("tcp", f.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	} else {
		c, err = net.Dial("tcp", f.Listener.Addr().String())
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(exchangetest.Timeout))
	if _, err := io.WriteString(c, request); err != nil {
		f.t.Fatal(err)
	}
	return &peer{Conn: c, t: f.t, r: bufio.NewReader(c)}
}

func (p *peer) head() *http.Response {
	p.t.Helper()
	resp, err := http.ReadResponse(p.r, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp
}

func (p *peer) want(s string) {
	p.t.Helper()
	b := make([]byte, len(s))
	if _, err := io.ReadFull(p.r, b); err != nil || string(b) != s {
		p.t.Fatalf("got %q, want %q: %v", b, s, err)
	}
}

func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p, s); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) closeWrite() { _ = p.Conn.(interface{ CloseWrite() error }).CloseWrite() }

// accept answers a handshake and sends back what comes.
func accept() exchangetest.Script {
	return exchangetest.Script{
		Begin: func(q *exchangetest.Request) {
			q.Answer(101, exchange.Field{Name: "sec-websocket-accept", Value: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
				exchange.Field{Name: "upgrade", Value: "websocket"}, exchange.Field{Name: "connection", Value: "Upgrade"},
				exchange.Field{Name: "content-length", Value: "7"}, exchange.Field{Name: "x-evil", Value: "a\r\nx-split: 1"})
		},
		Data: func(q *exchangetest.Request, b []byte) { q.Send(b) },
		End:  func(q *exchangetest.Request) { q.Finish() },
	}
}

// upgradeSetups are with and without TLS, and a list of work, and the handler kept or not.
func upgradeSetups(t *testing.T, test func(t *testing.T, f func(exchangetest.Script) *front)) {
	for i := range 4 {
		secure, detach := i&1 != 0, i&2 != 0
		for _, work := range []bool{false, true} {
			name, o := "plain", Options{Stall: time.Minute, Detach: detach}
			if secure {
				name = "TLS"
			}
			if detach {
				name += "/detached"
			}
			if work {
				name += "/work"
				o.Work = &netio.Work{}
			}
			t.Run(name, func(t *testing.T) {
				test(t, func(script exchangetest.Script) *front {
					if !secure {
						return newFront(t, setup{major: 1, o: o}, script)
					}
					return newTLSFront(t, o, script)
				})
			})
		}
	}
}

// newTLSFront is HTTP/1.1 over TLS.
func newTLSFront(t *testing.T, o Options, script exchangetest.Script) *front {
	f := newFront(t, setup{major: 1, o: o}, script)
	secure := httptest.NewUnstartedServer(f.Config.Handler)
	secure.Config.ErrorLog = f.Config.ErrorLog
	secure.StartTLS()
	t.Cleanup(secure.Close)
	f.Server.Close()
	f.Server = secure
	return f
}

func TestUpgrade(t *testing.T) {
	upgradeSetups(t, func(t *testing.T, newFront func(exchangetest.Script) *front) {
		f := newFront(accept())
		c := f.upgraded(handshake + "early")
		resp := c.head()
		if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Connection") != "Upgrade" ||
			len(resp.Header["Connection"]) != 1 || resp.Header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" ||
			resp.Header["Content-Length"] != nil || resp.Header["X-Split"] != nil {
			t.Fatalf("%+v", resp)
		}
		c.want("early")
		q := f.server.Next(t)
		h := q.Seen().Head
		if !h.Upgrades() || h.Method != "GET" || h.Path != "/chat?x=y" || h.Length != 0 || exchange.Get(h.Fields, "connection") != "keep-alive, Upgrade" ||
			exchange.Get(h.Fields, "sec-websocket-key") == "" {
			t.Errorf("%+v", h)
		}
		for range 100 {
			c.send("ping")
			c.want("ping")
		}
		if s := q.Seen(); s.Ended || s.Reset || s.Done {
			t.Fatalf("%+v", s)
		}
		c.send("last")
		c.closeWrite()
		c.want("last")
		if b, err := io.ReadAll(c.r); len(b) > 0 || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		seen := f.over(q, true)
		if !seen.Ended || seen.Reset || !strings.HasPrefix(string(seen.Body), "earlyping") {
			t.Errorf("%+v", seen)
		}
	})
}

// TestUpgradeServerEnds closes while the client talks: its last bytes arrive.
func TestUpgradeServerEnds(t *testing.T) {
	upgradeSetups(t, func(t *testing.T, newFront func(exchangetest.Script) *front) {
		f := newFront(exchangetest.Script{Begin: accept().Begin})
		c := f.upgraded(handshake)
		c.head()
		q := f.server.Next(t)
		c.send("unheard")
		q.Until(t, "data", func(s *exchangetest.Seen) bool { return len(s.Body) == 7 })
		q.Send([]byte("bye"))
		q.Finish()
		if b, err := io.ReadAll(c.r); string(b) != "bye" || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
		c.Close()
		if seen := f.over(q, true); seen.Ended || seen.Reset {
			t.Errorf("%+v", seen)
		}
	})
}

// TestUpgradeServerEndsAtOnce accepts and ends in one batch.
func TestUpgradeServerEndsAtOnce(t *testing.T) {
	upgradeSetups(t, func(t *testing.T, newFront func(exchangetest.Script) *front) {
		f := newFront(exchangetest.Script{Begin: func(q *exchangetest.Request) {
			accept().Begin(q)
			q.Send([]byte("bye"))
			q.Finish()
		}})
		c := f.upgraded(handshake)
		if resp := c.head(); resp.StatusCode != 101 {
			t.Fatal(resp)
		}
		if b, err := io.ReadAll(c.r); string(b) != "bye" || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
		c.Close()
		f.over(f.server.Next(t), true)
	})
}

// TestUpgradeLeft has a client that neither reads nor closes after the end.
func TestUpgradeLeft(t *testing.T) {
	f := newFront(t, setup{major: 1}, exchangetest.Script{Begin: func(q *exchangetest.Request) { accept().Begin(q); q.Finish() }})
	c := f.upgraded(handshake)
	start := time.Now()
	f.over(f.server.Next(t), true)
	if d := time.Since(start); d > 10*lastRead {
		t.Errorf("ServeHTTP waits %v for a client", d)
	}
	c.Close()
}

// TestUpgradeReset cuts, so that nobody takes it for an end.
func TestUpgradeReset(t *testing.T) {
	upgradeSetups(t, func(t *testing.T, newFront func(exchangetest.Script) *front) {
		f := newFront(exchangetest.Script{Begin: accept().Begin})
		c := f.upgraded(handshake)
		c.head()
		q := f.server.Next(t)
		q.Break(exchange.InternalError, errors.New("broken"))
		if b, err := io.ReadAll(c.r); len(b) > 0 || err == nil {
			t.Errorf("%q, %v", b, err)
		}
		f.over(q, false)
	})
}

// TestUpgradeClientGone resets the connection.
func TestUpgradeClientGone(t *testing.T) {
	f := newFront(t, setup{major: 1}, exchangetest.Script{Begin: accept().Begin})
	c := f.upgraded(handshake)
	c.head()
	q := f.server.Next(t)
	_ = c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
	if seen := f.over(q, false); !seen.Reset || seen.Ended {
		t.Errorf("%+v", seen)
	}
}

// TestUpgradeBackpressure gives no credit: no more than the window is read.
func TestUpgradeBackpressure(t *testing.T) {
	upgradeSetups(t, func(t *testing.T, newFront func(exchangetest.Script) *front) {
		f := newFront(exchangetest.Script{Begin: accept().Begin, NoCredit: true, End: func(q *exchangetest.Request) { q.Finish() }})
		c := f.upgraded(handshake)
		c.head()
		q := f.server.Next(t)
		upload := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		wrote := make(chan error, 1)
		go func() {
			_, err := c.Write(upload)
			c.closeWrite()
			wrote <- err
		}()
		q.Until(t, "a window", func(s *exchangetest.Seen) bool { return len(s.Body) >= rpc.WindowDefault })
		time.Sleep(20 * time.Millisecond)
		for got := rpc.WindowDefault; got < len(upload); {
			if n := len(q.Seen().Body); n != got {
				t.Fatalf("%d bytes came, %d were allowed", n, got)
			}
			n := min(50_000, len(upload)-got)
			q.Take(n)
			got += n
			q.Until(t, "what was credited", func(s *exchangetest.Seen) bool { return len(s.Body) >= got })
		}
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
		q.Take(1)
		if seen := f.over(q, true); !bytes.Equal(seen.Body, upload) {
			t.Error("the bytes are others")
		}
	})
}

// TestUpgradeCredit credits what was written.
func TestUpgradeCredit(t *testing.T) {
	f := newFront(t, setup{major: 1}, exchangetest.Script{Begin: accept().Begin})
	c := f.upgraded(handshake)
	c.head()
	q := f.server.Next(t)
	for i := range 20 {
		q.Send(make([]byte, rpc.WindowDefault))
		if _, err := io.CopyN(io.Discard, c.r, rpc.WindowDefault); err != nil {
			t.Fatal(err)
		}
		q.Until(t, "credit", func(s *exchangetest.Seen) bool { return s.Credit == (i+1)*rpc.WindowDefault })
	}
	q.Finish()
	c.Close()
	f.waitReturned()
}

// TestUpgradeStall has a client that does not read.
func TestUpgradeStall(t *testing.T) {
	f := newFront(t, setup{major: 1, o: Options{Stall: 100 * time.Millisecond}}, exchangetest.Script{Begin: accept().Begin})
	c := f.upgraded(handshake)
	c.head()
	q := f.server.Next(t)
	time.Sleep(300 * time.Millisecond) // silence is no stall
	if q.Seen().Reset {
		t.Fatal("a silent WebSocket was cut")
	}
	for sent := 0; ; sent += rpc.WindowDefault {
		q.Send(make([]byte, rpc.WindowDefault))
		s := q.Until(t, "credit or the end", func(s *exchangetest.Seen) bool { return s.Credit >= sent+rpc.WindowDefault || s.Reset })
		if s.Reset {
			break
		}
	}
	f.over(q, false)
}

// TestUpgradeDeclined leaves the request what it is without its Upgrade.
func TestUpgradeDeclined(t *testing.T) {
	f := newFront(t, setup{major: 1}, exchangetest.Script{End: func(q *exchangetest.Request) {
		q.Answer(200)
		q.Send([]byte("ordinary"))
		q.Finish()
	}})
	c := f.upgraded(strings.Repeat(handshake, 2)) // the connection goes on
	for range 2 {
		resp := c.head()
		if b, err := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(b) != "ordinary" || err != nil || resp.Header["Upgrade"] != nil {
			t.Errorf("%v %q %v", resp, b, err)
		}
		f.over(f.server.Next(t), true)
	}
}

// TestUpgradeVersion answers 426, which names what is spoken.
func TestUpgradeVersion(t *testing.T) {
	f := newFront(t, setup{major: 1}, exchangetest.Script{Begin: func(q *exchangetest.Request) {
		q.AnswerEnd(426, exchange.Field{Name: "upgrade", Value: "websocket"}, exchange.Field{Name: "connection", Value: "Upgrade"})
	}})
	resp := f.upgraded(handshake).head()
	if resp.StatusCode != 426 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Connection") != "Upgrade" {
		t.Errorf("%+v", resp)
	}
	f.over(f.server.Next(t), true)
}

// TestUpgradeNotAsked answers with 101 where it may not: that is never sent.
func TestUpgradeNotAsked(t *testing.T) {
	plain := "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	late := func(q *exchangetest.Request) { time.AfterFunc(20*time.Millisecond, func() { q.Answer(101) }) }
	for name, c := range map[string]struct {
		request string
		begin   func(q *exchangetest.Request)
	}{
		"plain":    {plain, func(q *exchangetest.Request) { q.Answer(101); q.Send([]byte("x")) }},
		"ended":    {plain, func(q *exchangetest.Request) { q.Answer(101); q.Send([]byte("x")); q.Finish() }},
		"late":     {handshake, late},
		"HTTP/1.0": {strings.Replace(handshake, "/1.1", "/1.0", 1), func(q *exchangetest.Request) { q.Answer(101) }},
		"content":  {strings.Replace(handshake, "\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx", 1), func(q *exchangetest.Request) { q.Answer(101) }},
		"chunks": {strings.Replace(handshake, "\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 1),
			func(q *exchangetest.Request) { q.Answer(101) }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFront(t, setup{major: 1}, exchangetest.Script{Begin: c.begin})
			if resp := f.upgraded(c.request).head(); resp.StatusCode != 502 {
				t.Errorf("%+v", resp)
			}
			q := f.server.Next(t)
			f.over(q, false)
			h := q.Seen().Head
			if asked := name != "plain" && name != "ended" && name != "HTTP/1.0"; h.Upgrades() != asked {
				t.Errorf("%s: %+v", name, h)
			}
			if name == "chunks" && exchange.Get(h.Fields, "transfer-encoding") != "chunked" {
				t.Error("nobody sees that the handshake has content")
			}
		})
	}
}

// hiding is middleware that knows of nothing.
type hiding struct{ w http.ResponseWriter }

func (h hiding) Header() http.Header         { return h.w.Header() }
func (h hiding) Write(b []byte) (int, error) { return h.w.Write(b) }
func (h hiding) WriteHeader(status int)      { h.w.WriteHeader(status) }

// refusing is middleware that says that it could.
type refusing struct{ hiding }

func (refusing) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.New("not now")
}

// showing is middleware as it should be.
type showing struct{ hiding }

func (s showing) Unwrap() http.ResponseWriter { return s.w }

func TestUpgradeMiddleware(t *testing.T) {
	wrap := func(wrap func(http.ResponseWriter) http.ResponseWriter) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Set-Cookie", "a=b")
				w.Header().Set("Content-Length", "3")
				h.ServeHTTP(wrap(w), r)
			})
		}
	}
	t.Run("hides", func(t *testing.T) {
		f := newFront(t, setup{major: 1, wrap: wrap(func(w http.ResponseWriter) http.ResponseWriter { return hiding{w} })},
			exchangetest.Script{End: func(q *exchangetest.Request) { q.AnswerEnd(204) }})
		f.upgraded(handshake).head()
		seen := f.over(f.server.Next(t), true)
		if seen.Head.Upgrades() {
			t.Error("what can't be had is offered")
		}
	})
	t.Run("refuses", func(t *testing.T) {
		f := newFront(t, setup{major: 1, wrap: wrap(func(w http.ResponseWriter) http.ResponseWriter { return refusing{hiding{w}} })}, accept())
		if resp := f.upgraded(handshake).head(); resp.StatusCode != 502 {
			t.Errorf("%+v", resp)
		}
		f.over(f.server.Next(t), false)
	})
	t.Run("shows", func(t *testing.T) {
		f := newFront(t, setup{major: 1, wrap: wrap(func(w http.ResponseWriter) http.ResponseWriter { return showing{hiding{w}} })}, accept())
		c := f.upgraded(handshake)
		if resp := c.head(); resp.StatusCode != 101 || resp.Header.Get("Set-Cookie") != "a=b" || resp.Header["Content-Length"] != nil {
			t.Errorf("%+v", resp)
		}
		c.send("x")
		c.want("x")
		c.closeWrite()
		f.over(f.server.Next(t), true)
	})
}

// TestUpgradePanic has a handler that panics once the connection is its own.
func TestUpgradePanic(t *testing.T) {
	for _, detach := range []bool{false, true} {
		said := make(chan string, 10)
		log := slog.New(slog.NewTextHandler(writerFunc(func(b []byte) { said <- string(b) }), nil))
		f := newFront(t, setup{major: 1, o: Options{Detach: detach, Log: log}},
			exchangetest.Script{Begin: accept().Begin, Data: func(*exchangetest.Request, []byte) { panic("x") }})
		c := f.upgraded(handshake)
		c.head()
		c.send("x")
		if b, err := io.ReadAll(c.r); len(b) > 0 || err == nil {
			t.Errorf("%q, %v", b, err)
		}
		f.waitReturned()
		if detach { // else net/http says it
			if line := <-said; !strings.Contains(line, "panic in a WebSocket") {
				t.Errorf("the log says %s", line)
			}
		}
	}
}

type writerFunc func(b []byte)

func (f writerFunc) Write(b []byte) (int, error) {
	f(b)
	return len(b), nil
}

// TestUpgradeIdle: between messages a WebSocket has no goroutine that writes and no large
// buffer, and loses nothing for it, whoever sends and whenever.
func TestUpgradeIdle(t *testing.T) {
	script := accept()
	script.End = nil // the test ends it
	upgradeSetups(t, func(t *testing.T, front func(exchangetest.Script) *front) {
		f := front(script)
		p := f.upgraded(handshake)
		p.head()
		q := f.server.Next(t)
		for i := range 500 {
			s := strings.Repeat("x", 1+i*i%40000)
			p.send(s)
			p.want(s)
			if i%3 == 0 {
				q.Send([]byte("pushed"))
				p.want("pushed")
			}
		}
		p.closeWrite()
		q.Until(t, "the end", func(s *exchangetest.Seen) bool { return s.Ended })
		time.Sleep(10 * time.Millisecond) // the reader is over, and nobody writes
		q.Send([]byte("late"))
		p.want("late")
		q.Finish([]exchange.Field(nil)...)
		if _, err := p.r.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("after the end: %v", err)
		}
		if !q.WaitDone(t).Delivered {
			t.Error("the end was not delivered")
		}
	})
}
