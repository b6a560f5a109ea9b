package http2

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/h2"
	"github.com/sluice-rpc/sluice/internal/netio"
)

// serve gives every connection of a listener to a Server.
func serve(t *testing.T, script exchangetest.Script) (s *Server, seen *exchangetest.Server, addr string, conns *sync.WaitGroup) {
	t.Helper()
	return serveLogging(t, script, slog.DiscardHandler)
}

func serveLogging(t *testing.T, script exchangetest.Script, log slog.Handler) (s *Server, seen *exchangetest.Server, addr string, conns *sync.WaitGroup) {
	t.Helper()
	seen = exchangetest.NewServer(script)
	s = New(seen, &h2.Config{
		Work: &netio.Work{}, Keeper: h2.NewKeeper(), Budget: h2.NewBudget(1 << 20), LimitHit: func(string) {},
		MaxStreams: 10, HeaderBytes: 16 << 10, StreamWindow: 64 << 10, ConnBuffer: 1 << 20, Abuse: 1000,
		Idle: time.Minute, Stall: time.Minute, SettingsAck: time.Minute, Header: time.Minute,
	}, slog.New(log))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns = &sync.WaitGroup{}
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { s.ServeConn(netio.New(c), nil) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.Close()
		waitAll(t, conns)
	})
	return s, seen, l.Addr().String(), conns
}

func waitAll(t *testing.T, conns *sync.WaitGroup) {
	t.Helper()
	ended := make(chan struct{})
	go func() { conns.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(exchangetest.Timeout):
		t.Fatal("ServeConn does not return")
	}
}

func client(t *testing.T) *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: exchangetest.Timeout}
}

// open counts the connections that are served.
func (s *Server) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(exchangetest.Timeout); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited for ", what)
		}
	}
}

// TestDrain lets a running exchange end, and then its connection.
func TestDrain(t *testing.T) {
	s, seen, addr, _ := serve(t, exchangetest.Script{})
	answers := make(chan string, 1)
	go func() {
		resp, err := client(t).Post("http://"+addr+"/a", "a/b", strings.NewReader("x"))
		if err != nil {
			answers <- err.Error()
			return
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		answers <- string(b)
	}()
	q := seen.Next(t)
	q.Until(t, "the end", func(s *exchangetest.Seen) bool { return s.Ended })
	s.Drain()
	s.Drain()
	time.Sleep(20 * time.Millisecond)
	if n := s.open(); n != 1 {
		t.Fatalf("%d connections while an exchange runs", n)
	}
	q.Answer(200)
	q.Send([]byte("drained"))
	q.Finish()
	if got := <-answers; got != "drained" {
		t.Errorf("got %s", got)
	}
	if seen := q.WaitDone(t); !seen.Delivered || seen.Reset {
		t.Errorf("%+v", seen)
	}
	q.Check(t)
	until(t, "the connection to end", func() bool { return s.open() == 0 })
}

// TestDrainedFromTheStart takes a connection that comes while draining, and ends it.
func TestDrainedFromTheStart(t *testing.T) {
	s, seen, addr, _ := serve(t, exchangetest.Script{})
	s.Drain()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	_ = c.SetReadDeadline(time.Now().Add(exchangetest.Timeout))
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "\x07\x00\x00\x00\x00\x00") {
		t.Errorf("no GOAWAY in % x", b)
	}
	if len(seen.Requests) != 0 {
		t.Error("a request came")
	}
}

// TestClose ends connections with and without exchanges, and such as come then.
func TestClose(t *testing.T) {
	s, seen, addr, conns := serve(t, exchangetest.Script{})
	failed := make(chan error, 1)
	go func() {
		_, err := client(t).Get("http://" + addr)
		failed <- err
	}()
	q := seen.Next(t)
	for range 10 { // idle, or without a preface
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	until(t, "the connections", func() bool { return s.open() == 11 })
	s.Close()
	s.Close()
	if err := <-failed; err == nil {
		t.Error("the client saw no error")
	}
	if seen := q.WaitDone(t); !seen.Reset || seen.Delivered {
		t.Errorf("%+v", seen)
	}
	q.Check(t)
	until(t, "all to end", func() bool { return s.open() == 0 })
	a, b := net.Pipe()
	defer b.Close()
	conns.Go(func() { s.ServeConn(netio.New(a), nil) }) // returns
	if _, err := b.Read(make([]byte, 1)); err == nil {
		t.Error("a connection that came late is open")
	}
}

type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// TestWhyItEnded: the log says why a connection ended, unless its client has closed it.
func TestWhyItEnded(t *testing.T) {
	log := make(lines, 2)
	_, _, addr, _ := serveLogging(t, exchangetest.Script{}, slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for _, settings := range []string{"\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00\x00\x01\x04\x00\x00\x00\x00\x00x"} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, preface+settings)
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
		c.Close()
	}
	if got := <-log; !strings.Contains(got, "HTTP/2 connection ended") || !strings.Contains(got, "SETTINGS") {
		t.Errorf("the log says %s", got)
	}
	if len(log) > 0 {
		t.Errorf("and %s", <-log)
	}
}
