package sluice_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/internal/wire/websocket"
)

// shake asks for a WebSocket at a path, and returns the status of the answer.
func shake(t *testing.T, addr, path, protocol, origin string) (status int, c net.Conn, r *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: %s\r\n%s\r\n", path, addr, protocol, origin)
	r = bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, c, r
}

// TestSiblings: a page of one listener of a gateway may call another one, as long as both
// are open.
func TestSiblings(t *testing.T) {
	addr, g := startGateway(t, sluice.Config{Backends: []sluice.Backend{{Handler: testServer(t)}}})
	l := listen(t)
	ended := make(chan error, 1)
	go func() { ended <- g.ServeTLS(l, &tls.Config{Certificates: make([]tls.Certificate, 1)}) }() // until l is closed
	other := listen(t)
	defer other.Close()
	origin := func(scheme string, l net.Listener) string {
		return "Origin: " + scheme + "://" + l.Addr().String() + "\r\n"
	}
	for _, path := range []string{"/sluice/v1", "/grpc.testing.TestService/FullDuplexCall"} {
		protocol := "grpc-websockets"
		if path == "/sluice/v1" {
			protocol = "sluice.v1"
		}
		for _, c := range []struct {
			origin string
			want   int
		}{{"", 101}, {origin("https", l), 101}, {origin("http", l), 403}, {origin("https", other), 403}, {"Origin: https://evil.example\r\n", 403}, {"Origin: null\r\n", 403}} {
			if got, _, _ := shake(t, addr, path, protocol, c.origin); got != c.want {
				t.Errorf("%s, %q: status %d, want %d", path, c.origin, got, c.want)
			}
		}
	}
	_ = l.Close()
	<-ended
	if got, _, _ := shake(t, addr, "/sluice/v1", "sluice.v1", origin("https", l)); got != 403 {
		t.Errorf("a listener that is gone: status %d", got)
	}
}

// last reads frames until the Close, and returns its code.
func last(r *bufio.Reader) (websocket.Code, error) {
	d, e := websocket.Decoder{Client: true}, &closes{}
	b := make([]byte, 4096)
	for {
		n, err := r.Read(b)
		if err := d.Feed(b[:n], e); err != nil {
			return 0, err
		}
		if e.code != 0 {
			return e.code, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

type closes struct{ code websocket.Code }

func (*closes) Begin(websocket.Opcode)                  {}
func (*closes) Data([]byte)                             {}
func (*closes) End()                                    {}
func (*closes) Ping([]byte)                             {}
func (*closes) Pong([]byte)                             {}
func (e *closes) Close(code websocket.Code, why string) { e.code = code }

// TestWebSocketDrain: WebSockets without a call are told that the gateway goes, and one with a
// call when that has ended.
func TestWebSocketDrain(t *testing.T) {
	addr, g := startGateway(t, sluice.Config{Backends: []sluice.Backend{{Handler: testServer(t)}}})
	const path = "/grpc.testing.TestService/FullDuplexCall"
	_, _, idle := shake(t, addr, path, "grpc-websockets", "")
	_, _, many := shake(t, addr, path, "grpc-websockets-multiplex", "")
	_, _, pipe := shake(t, addr, "/sluice/v1", "sluice.v1", "")
	_, conn, busy := shake(t, addr, path, "grpc-websockets", "")
	enc := websocket.Encoder{Client: true}
	if _, err := conn.Write(enc.Message(nil, websocket.Binary, []byte("content-type: application/grpc-web+proto\r\n"))); err != nil {
		t.Fatal(err)
	}
	for g.Status().ActiveCalls == 0 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- g.Shutdown(ctx) }() // ended by ctx
	for name, r := range map[string]*bufio.Reader{"idle": idle, "many": many, "pipe": pipe} {
		if code, err := last(r); code != websocket.GoingAway {
			t.Errorf("%s: close %d, %v", name, code, err)
		}
	}
	if _, err := conn.Write(enc.Message(nil, websocket.Binary, []byte{1})); err != nil {
		t.Fatal(err)
	}
	if code, err := last(busy); code != websocket.NormalClosure {
		t.Errorf("with a call: close %d, %v", code, err)
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if _, err := busy.ReadByte(); !errors.Is(err, io.EOF) && err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("after it: %v", err)
	}
}

// TestNoWebSocket: where WebSockets are switched off no handshake is accepted, and nobody is told of one.
func TestNoWebSocket(t *testing.T) {
	addr, _ := startGateway(t, sluice.Config{Backends: []sluice.Backend{{Handler: testServer(t)}}, WebSocket: sluice.WebSocket{Disabled: true}})
	for path, protocol := range map[string]string{
		"/sluice/v1": "sluice.v1", "/grpc.testing.TestService/FullDuplexCall": "grpc-websockets", "/v1/anything": "chat",
	} {
		if status, _, _ := shake(t, addr, path, protocol, ""); status != http.StatusNotImplemented {
			t.Errorf("%s: %d", path, status)
		}
	}
	r, err := http.Get("http://" + addr + "/.well-known/sluice")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || strings.Contains(string(b), `"websocket"`) || !strings.Contains(string(b), `"duplex"`) {
		t.Errorf("%s, %v", b, err)
	}
}

// TestWebSocketAbuse: who was cut off a WebSocket for frames of no use has to wait for the next connection, as over HTTP/2.
func TestWebSocketAbuse(t *testing.T) {
	enc := websocket.Encoder{Client: true}
	for name, flood := range map[string]struct {
		path, protocol string
		frame          []byte
	}{
		"frames of WebSocket":    {"/grpc.testing.TestService/FullDuplexCall", "grpc-websockets", enc.Ping(nil, nil)},
		"frames of the protocol": {"/sluice/v1", "sluice.v1", enc.Message(nil, websocket.Binary, []byte("\x12\x00\x00\x08\x00\x00\x00\x0012345678"))},
	} {
		t.Run(name, func(t *testing.T) {
			addr, g := startGateway(t, sluice.Config{Backends: []sluice.Backend{{Handler: testServer(t)}}, Limits: sluice.Limits{ConnAbuse: 20}})
			_, conn, r := shake(t, addr, flood.path, flood.protocol, "")
			for range 30 {
				if _, err := conn.Write(flood.frame); err != nil {
					break
				}
			}
			if code, err := last(r); code != websocket.PolicyViolation {
				t.Fatalf("close %d, %v", code, err)
			}
			shake(t, addr, "/sluice/v1", "sluice.v1", "")
			w := httptest.NewRecorder()
			g.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			for _, want := range []string{"conn_abuse", "conn_penalty"} {
				if !strings.Contains(w.Body.String(), `sluice_limits_hit_total{limit="`+want+`"} `) {
					t.Errorf("%s was not hit", want)
				}
			}
		})
	}
}
