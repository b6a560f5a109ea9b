package duplex_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/duplex"
)

// Example has a server that sends back in capitals what its clients type.
func Example() {
	h, err := duplex.New(duplex.Options{
		Path: "/shout",
		Serve: func(c *duplex.Conn) {
			b := make([]byte, 1024)
			for {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				if _, err := c.Write(bytes.ToUpper(b[:n])); err != nil {
					return
				}
			}
		},
		Next: http.FileServer(http.Dir("public")),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(h) // or http.ListenAndServeTLS, for HTTP/2
	defer server.Close()            // waits for the requests of clients, so the Handler ends them first
	defer h.Close()

	// What the npm package http2-duplex does, by hand.
	down, _ := http.Get(server.URL + "/shout")
	up, _ := http.NewRequest("POST", server.URL+"/shout", strings.NewReader("hello"))
	up.Header.Set("http2-duplex-id", down.Header.Get("http2-duplex-id"))
	_, _ = http.DefaultClient.Do(up)
	b := make([]byte, 6)
	_, _ = io.ReadFull(down.Body, b)
	fmt.Printf("%s\n", b[1:]) // the first byte is nobody's
	// Output: HELLO
}

// serve runs a Handler, over HTTP/1.1 and HTTP/2.
func serve(t *testing.T, f func(*duplex.Conn), change ...func(*duplex.Options)) (*duplex.Handler, *httptest.Server) {
	t.Helper()
	o := duplex.Options{Path: "/d", Serve: f, Next: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(418) })}
	for _, c := range change {
		c(&o)
	}
	h, err := duplex.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(func() {
		h.Close()
		s.CloseClientConnections()
		s.Close()
	})
	return h, s
}

func echo(c *duplex.Conn) { _, _ = io.Copy(c, c) }

type client struct {
	t    *testing.T
	c    *http.Client
	url  string
	get  *http.Response
	name string
}

func (c *client) do(method string, body io.Reader, pairs ...string) *http.Response {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.url, body)
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		r.Header.Set(pairs[i], pairs[i+1])
	}
	resp, err := c.c.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// open opens a session as npm http2-duplex does.
func open(t *testing.T, s *httptest.Server, h2 bool, pairs ...string) *client {
	t.Helper()
	p := new(http.Protocols)
	p.SetHTTP1(!h2)
	p.SetUnencryptedHTTP2(h2)
	tr := &http.Transport{Protocols: p}
	t.Cleanup(tr.CloseIdleConnections)
	c := &client{t: t, c: &http.Client{Transport: tr}, url: s.URL + "/d"}
	c.get = c.do("GET", nil, pairs...)
	if _, err := io.ReadFull(c.get.Body, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	c.name = c.get.Header.Get("http2-duplex-id")
	return c
}

func (c *client) post(body io.Reader, pairs ...string) int {
	c.t.Helper()
	return c.do("POST", body, append([]string{"http2-duplex-id", c.name}, pairs...)...).StatusCode
}

// TestEcho sends more than windows, both ways at once, and ends in order.
func TestEcho(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("h2=%v", h2), func(t *testing.T) {
			_, s := serve(t, echo)
			c := open(t, s, h2)
			want := make([]byte, 500_000)
			_, _ = rand.Read(want)
			sent := make(chan int, 1)
			go func() { sent <- c.post(bytes.NewReader(want), "http2-duplex-single", "true") }()
			got, err := io.ReadAll(c.get.Body)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes came back, %v", len(got), err)
			}
			if status := <-sent; status != 200 {
				t.Error(status)
			}
		})
	}
}

// TestNext: what is not for the Handler is passed on, and after Detach all but what runs.
func TestNext(t *testing.T) {
	h, s := serve(t, echo)
	ask := func(path string) int {
		t.Helper()
		resp, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, path := range []string{"/", "/d/", "/d/raw/a.B/C", "/dd"} {
		if got := ask(path); got != 418 {
			t.Errorf("%s: %d", path, got)
		}
	}
	c := open(t, s, false)
	h.Detach()
	if got := ask("/d"); got != 418 {
		t.Error(got)
	}
	if got := c.post(strings.NewReader("still")); got != 200 {
		t.Error(got)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(c.get.Body, b); err != nil || string(b) != "still" {
		t.Errorf("%q %v", b, err)
	}
}

// TestConn has what a net.Conn has to do.
func TestConn(t *testing.T) {
	got := make(chan error, 10)
	conns := make(chan *duplex.Conn, 1)
	hold := make(chan struct{})
	_, s := serve(t, func(c *duplex.Conn) {
		conns <- c
		<-hold
	})
	defer close(hold)
	client := open(t, s, false, "x-user", "me")
	c := <-conns
	if c.Header().Get("X-User") != "me" || c.Carrier() != "dx" || c.RemoteAddr().String() == "" || c.LocalAddr().Network() != "duplex" {
		t.Errorf("%v %s %v %v", c.Header(), c.Carrier(), c.RemoteAddr(), c.LocalAddr())
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	_ = c.SetReadDeadline(time.Time{})
	_ = c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	for { // the client does not read
		if _, err := c.Write(make([]byte, 1<<20)); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
			break
		}
	}
	_ = c.SetDeadline(time.Time{})
	if n, err := c.Read(nil); n != 0 || err != nil {
		t.Error(n, err)
	}
	go func() { _, err := c.Read(make([]byte, 1)); got <- err }()
	go func() {
		for {
			if _, err := c.Write(make([]byte, 1<<20)); err != nil {
				got <- err
				return
			}
		}
	}()
	time.Sleep(20 * time.Millisecond)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-got; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, client.get.Body); err != nil {
		t.Errorf("the end was not clean: %v", err)
	}
}

// TestLeave: the program is told that its client has left.
func TestLeave(t *testing.T) {
	got := make(chan error, 1)
	_, s := serve(t, func(c *duplex.Conn) {
		_, err := io.Copy(io.Discard, c)
		got <- err
	})
	c := open(t, s, true)
	if status := c.post(nil, "http2-duplex-end", "true", "http2-duplex-destroyed", "true"); status != 200 {
		t.Error(status)
	}
	if err := <-got; err == nil || !strings.Contains(err.Error(), "the client has left") {
		t.Error(err)
	}
}

// TestWebSocket has a client without a subprotocol.
func TestWebSocket(t *testing.T) {
	_, s := serve(t, echo)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "GET /d HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Protocol") != "" {
		t.Fatalf("%v %v", resp, err)
	}
	// A binary frame with a mask of zeros (RFC 6455, section 5.2).
	if _, err := conn.Write(append([]byte{0x82, 0x85, 0, 0, 0, 0}, "hello"...)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 7)
	if _, err := io.ReadFull(r, b); err != nil || b[0] != 0x82 || string(b[2:]) != "hello" {
		t.Errorf("%q %v", b, err)
	}
	// Close with 1000 is answered.
	if _, err := conn.Write(binary.BigEndian.AppendUint16([]byte{0x88, 0x82, 0, 0, 0, 0}, 1000)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, b[:1]); err != nil || b[0] != 0x88 {
		t.Errorf("%x %v", b[0], err)
	}
}

// TestOrigins: pages of others are refused, but for the path only.
func TestOrigins(t *testing.T) {
	_, s := serve(t, echo, func(o *duplex.Options) { o.Origins = []string{"https://app.example"} })
	for origin, want := range map[string]int{"https://app.example": 200, "https://evil.example": 403} {
		r, _ := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/d", nil)
		r.Header.Set("Origin", origin)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d", origin, resp.StatusCode)
		}
	}
}

func TestOptions(t *testing.T) {
	f := func(*duplex.Conn) {}
	for _, o := range []duplex.Options{{}, {Path: "d", Serve: f}, {Path: "/d"}, {Path: "/d", Serve: f, Origins: []string{"app.example"}}} {
		if _, err := duplex.New(o); err == nil {
			t.Errorf("%+v is allowed", o)
		}
	}
	h, s := serve(t, f, func(o *duplex.Options) { o.Next = nil })
	resp, err := http.Get(s.URL + "/")
	if err != nil || resp.StatusCode != 404 {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	h.Close()
	if resp, err = http.Get(s.URL + "/d"); err == nil {
		defer resp.Body.Close()
		if _, err := io.ReadAll(resp.Body); resp.StatusCode == 200 && err == nil {
			t.Error("served after Close")
		}
	}
}
