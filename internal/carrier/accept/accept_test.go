package accept

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/netio"
)

// timeout bounds every wait.
const timeout = 10 * time.Second

// took is a connection that came out.
type took struct {
	h2      bool
	initial string
	h1      net.Conn
	conn    netio.Conn
	end     chan struct{} // lets the carrier return
}

type gate struct {
	*Server
	t      *testing.T
	l      net.Listener
	took   chan *took
	limits atomic.Int32
	ended  chan error
}

// newGate serves; each connection is handed to the test and stays until it ends it.
func newGate(t *testing.T, cfg Config, tlsCfg *tls.Config) *gate {
	t.Helper()
	g := &gate{t: t, took: make(chan *took, 1024), ended: make(chan error, 1)}
	var mu sync.Mutex
	var all []*took
	keep := func(k *took) {
		mu.Lock()
		all = append(all, k)
		mu.Unlock()
		g.took <- k
		<-k.end
	}
	cfg.HTTP1 = func(c net.Conn, done func()) {
		go func() {
			keep(&took{h1: c, end: make(chan struct{})})
			c.Close()
			done()
		}()
	}
	cfg.HTTP2 = func(c netio.Conn, initial []byte) bool {
		keep(&took{h2: true, conn: c, initial: string(initial), end: make(chan struct{})})
		c.Close()
		return false
	}
	cfg.LimitHit = func(string) { g.limits.Add(1) }
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 100
	}
	if cfg.Handshake == 0 {
		cfg.Handshake = time.Minute
	}
	g.Server = New(cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.l = l
	go func() { g.ended <- g.Serve(l, tlsCfg) }()
	t.Cleanup(func() {
		g.Close()
		mu.Lock()
		for _, k := range all {
			select {
			case <-k.end:
			default:
				close(k.end)
			}
		}
		mu.Unlock()
		waited := make(chan struct{})
		go func() { g.Wait(); close(waited) }()
		select {
		case <-waited:
		case <-time.After(timeout):
			t.Error("a connection does not end")
		}
	})
	return g
}

func (g *gate) dial() net.Conn {
	g.t.Helper()
	c, err := net.Dial("tcp", g.l.Addr().String())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	_ = c.SetReadDeadline(time.Now().Add(timeout))
	return c
}

func (g *gate) next() *took {
	g.t.Helper()
	select {
	case k := <-g.took:
		return k
	case <-time.After(timeout):
		g.t.Fatal("no connection came out")
		return nil
	}
}

// closed waits for the end of a connection.
func closed(t *testing.T, c net.Conn) string {
	t.Helper()
	b, err := io.ReadAll(c)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Fatal("the connection stays open")
	}
	return string(b)
}

// TestSniff cuts the first bytes anywhere; nothing of them is lost.
func TestSniff(t *testing.T) {
	g := newGate(t, Config{}, nil)
	const after = "and what follows"
	for cut := range len(preface) + 1 {
		c := g.dial()
		_, _ = io.WriteString(c, preface[:cut])
		time.Sleep(2 * time.Millisecond)
		_, _ = io.WriteString(c, preface[cut:]+after)
		k := g.next()
		if !k.h2 || k.initial != preface {
			t.Fatalf("cut at %d: %+v", cut, k)
		}
		var got []byte
		for len(got) < len(after) {
			b, err := k.conn.Read()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, b.B...)
			b.Free()
		}
		if string(got) != after {
			t.Errorf("cut at %d: then came %q", cut, got)
		}
		close(k.end)
	}
	// HTTP/1.1 that begins with any part of the preface.
	for n := range len(preface) {
		for _, cut := range []int{0, n / 2, n, n + 1} {
			request := preface[:n] + "~rest of the request"
			c := g.dial()
			_, _ = io.WriteString(c, request[:cut])
			time.Sleep(time.Millisecond)
			_, _ = io.WriteString(c, request[cut:])
			k := g.next()
			if k.h2 {
				t.Fatalf("%q is HTTP/2", request)
			}
			got := make([]byte, len(request))
			if _, err := io.ReadFull(k.h1, got); err != nil || string(got) != request {
				t.Errorf("%q became %q, %v", request, got, err)
			}
			if n, ok := k.h1.(interface{ NetConn() net.Conn }); !ok {
				t.Error("the socket is hidden")
			} else if _, ok := n.NetConn().(*net.TCPConn); !ok {
				t.Errorf("below is a %T", n.NetConn())
			}
			close(k.end)
		}
	}
}

// TestHandshakeDeadline has clients that begin and stop.
func TestHandshakeDeadline(t *testing.T) {
	for _, secure := range []bool{false, true} {
		var cfg *tls.Config
		if secure {
			cfg = certificate()
		}
		g := newGate(t, Config{Handshake: 100 * time.Millisecond}, cfg)
		for _, sent := range []string{"", "P", preface[:len(preface)-1], "\x16\x03\x01"} {
			c := g.dial()
			begun := time.Now()
			_, _ = io.WriteString(c, sent)
			if sent[:min(1, len(sent))] == "\x16" && !secure {
				k := g.next() // no TLS here: whatever it is, HTTP/1.1 says so
				close(k.end)
				continue
			}
			closed(t, c)
			if d := time.Since(begun); d > 5*time.Second || d < 90*time.Millisecond && !strings.HasPrefix(sent, "P") {
				t.Errorf("%q closed after %v", sent, d)
			}
		}
		if len(g.took) != 0 {
			t.Error("half a preface came out")
		}
	}
	// What came through has no deadline any more.
	g := newGate(t, Config{Handshake: 50 * time.Millisecond}, nil)
	c := g.dial()
	_, _ = io.WriteString(c, "GET")
	k := g.next()
	time.Sleep(100 * time.Millisecond)
	_, _ = io.WriteString(c, " / ")
	if b := make([]byte, 6); true {
		if _, err := io.ReadFull(k.h1, b); err != nil {
			t.Error(err)
		}
	}
}

func TestMaxConns(t *testing.T) {
	g := newGate(t, Config{MaxConns: 2}, nil)
	var ks []*took
	for range 2 {
		_, _ = io.WriteString(g.dial(), "GET ")
		ks = append(ks, g.next())
	}
	if g.Conns() != 2 {
		t.Errorf("%d connections", g.Conns())
	}
	closed(t, g.dial())
	if n := g.limits.Load(); n != 1 {
		t.Errorf("the limit was counted %d times", n)
	}
	close(ks[0].end)
	for end := time.Now().Add(timeout); g.Conns() != 1 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	_, _ = io.WriteString(g.dial(), "GET ")
	g.next()
}

func certificate() *tls.Config {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return &tls.Config{Certificates: s.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}
}

// TestALPN decides by what was negotiated, and not by the first bytes.
func TestALPN(t *testing.T) {
	g := newGate(t, Config{}, certificate())
	for _, c := range []struct {
		offer []string
		h2    bool
	}{
		{[]string{"h2"}, true},
		{[]string{"http/1.1"}, false},
		{[]string{"http/1.1", "h2"}, true}, // the server's preference
		{nil, false},
	} {
		tc := tls.Client(g.dial(), &tls.Config{InsecureSkipVerify: true, NextProtos: c.offer})
		if err := tc.Handshake(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(tc, preface)
		k := g.next()
		if k.h2 != c.h2 {
			t.Errorf("%v: HTTP/2 %v", c.offer, k.h2)
		}
		if k.h2 {
			b, err := k.conn.Read()
			if err != nil || string(b.B) != preface || k.conn.TLS() == nil {
				t.Errorf("%v: %v", c.offer, err)
			}
		} else if _, ok := k.h1.(*tls.Conn); !ok {
			t.Errorf("%v: a %T", c.offer, k.h1)
		}
	}
	tc := tls.Client(g.dial(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"spdy/3"}})
	if err := tc.Handshake(); err == nil {
		t.Error("a client of something else was taken")
	}
}

// TestPlainToTLS tells a client that has forgotten the s of https.
func TestPlainToTLS(t *testing.T) {
	var log bytes.Buffer
	g := newGate(t, Config{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, certificate())
	for _, method := range []string{"GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE"} {
		c := g.dial()
		_, _ = io.WriteString(c, method+" / HTTP/1.1\r\nHost: h\r\nX: "+strings.Repeat("x", 5000)+"\r\n\r\n")
		if got := closed(t, c); !strings.HasPrefix(got, "HTTP/1.0 400 Bad Request\r\n") || !strings.Contains(got, "https") {
			t.Errorf("%s: %q", method, got)
		}
	}
	for _, other := range []string{preface, "\x00\x00\x00\x00\x00\x00\x00"} {
		c := g.dial()
		_, _ = io.WriteString(c, other)
		if got := closed(t, c); strings.Contains(got, "HTTP/1") {
			t.Errorf("%q: %q", other, got)
		}
	}
	if len(g.took) > 0 {
		t.Error("it came out")
	}
	g.Close()
	g.Wait()
	if !strings.Contains(log.String(), "TLS handshake failed") {
		t.Errorf("log: %s", log.String())
	}
}

// troubled is a listener that fails now and then.
type troubled struct {
	net.Listener
	fails atomic.Int32
}

type tooMany struct{}

func (tooMany) Error() string   { return "too many open files" }
func (tooMany) Timeout() bool   { return false }
func (tooMany) Temporary() bool { return true }

func (l *troubled) Accept() (net.Conn, error) {
	if l.fails.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: tooMany{}}
	}
	return l.Listener.Accept()
}

func TestAcceptErrors(t *testing.T) {
	g := newGate(t, Config{}, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tl := &troubled{Listener: l}
	tl.fails.Store(3)
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(tl, nil) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET")
	g.next()
	l.Close() // by somebody else: not ours to hide
	select {
	case err := <-ended:
		if err == nil || errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	case <-time.After(timeout):
		t.Fatal("Serve does not return")
	}
}

// TestClose ends what nobody serves yet, and leaves the rest to its carrier.
func TestClose(t *testing.T) {
	g := newGate(t, Config{}, nil)
	served := g.dial()
	_, _ = io.WriteString(served, "GET")
	k := g.next()
	silent, half := g.dial(), g.dial()
	_, _ = io.WriteString(half, preface[:5])
	for end := time.Now().Add(timeout); g.Conns() != 3 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	g.Close()
	g.Close()
	closed(t, silent)
	closed(t, half)
	if err := <-g.ended; err != ErrClosed {
		t.Errorf("Serve returned %v", err)
	}
	if _, err := k.h1.Write([]byte("still here")); err != nil {
		t.Error(err)
	}
	b := make([]byte, 10)
	if _, err := io.ReadFull(served, b); err != nil || string(b) != "still here" {
		t.Errorf("%q %v", b, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Serve(l, nil); err != ErrClosed {
		t.Errorf("Serve after Close: %v", err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("its listener is open")
	}
}
