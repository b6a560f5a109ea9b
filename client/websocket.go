package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/websocket"
)

// WebSocket is the carrier of docs/protocols/websocket.md, with the subprotocol sluice.v1.
type WebSocket struct {
	// HTTP2 opens the WebSocket over HTTP/2 (RFC 8441) and not over HTTP/1.1.
	HTTP2 bool
}

// Name is "websocket", or "websocket-h2".
func (w WebSocket) Name() string {
	if w.HTTP2 {
		return "websocket-h2"
	}
	return "websocket"
}

// Dial opens a WebSocket.
func (w WebSocket) Dial(ctx context.Context, t *Target) (*Connection, error) {
	if w.HTTP2 {
		return dialWebSocket2(ctx, t)
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: cloneTLS(t.TLS), TLSHandshakeTimeout: 10 * time.Second,
		// HTTP/1.1 only: an upgrade is of a connection.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}, DisableCompression: true,
	}
	if transport.TLSClientConfig != nil {
		transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	var key [16]byte
	_, _ = rand.Read(key[:]) // it never fails
	secret := base64.StdEncoding.EncodeToString(key[:])
	var addr net.Addr
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { addr = i.Conn.RemoteAddr() }})
	// What ends the request's context later would end the WebSocket.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, end)
	req, err := http.NewRequestWithContext(life, http.MethodGet, t.URL.String(), nil)
	if err != nil {
		end()
		return nil, err
	}
	req.Header = handshake(t)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("Sec-WebSocket-Key", secret)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		end()
		return nil, err
	}
	body, ok := resp.Body.(io.ReadWriteCloser)
	switch {
	case resp.StatusCode != http.StatusSwitchingProtocols || !ok:
		err = refused(resp)
	case resp.Header.Get("Sec-WebSocket-Accept") != websocket.AcceptKey(secret):
		err = errors.New("the answer to the WebSocket handshake is not for us")
	default:
		err = agreed(resp)
	}
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		_ = resp.Body.Close()
		end()
		return nil, err
	}
	return &Connection{Pipe: newSocket(body, end), Addr: addr}, nil
}

// cloneTLS returns a configuration of our own, or nil.
func cloneTLS(cfg *tls.Config) *tls.Config {
	if cfg == nil {
		return nil
	}
	cfg = cfg.Clone()
	cfg.NextProtos = nil
	return cfg
}

// handshake are the fields of an opening request in either version of HTTP.
func handshake(t *Target) http.Header {
	h := t.Opening()
	h.Set("Sec-WebSocket-Version", "13")
	h.Set("Sec-WebSocket-Protocol", exchange.PipeMux)
	return h
}

func agreed(resp *http.Response) error {
	if resp.Header.Get("Sec-WebSocket-Protocol") != exchange.PipeMux || resp.Header.Get("Sec-WebSocket-Extensions") != "" {
		return fmt.Errorf("the server does not speak %s over WebSocket", exchange.PipeMux)
	}
	return nil
}

// refused says what a server answered that did not accept.
func refused(resp *http.Response) error {
	if err := CheckDirected(resp); err != nil {
		return err
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	text := strings.TrimSpace(string(b))
	if text != "" && isText(strings.ReplaceAll(text, "\n", " ")) {
		return fmt.Errorf("the WebSocket was refused: %s: %s", resp.Status, text)
	}
	return fmt.Errorf("the WebSocket was refused: %s", resp.Status)
}

// socket is a WebSocket as a pipe. How bytes are cut into messages means nothing.
type socket struct {
	raw  io.ReadWriteCloser
	done func()

	dec    websocket.Decoder
	f      func([]byte) error
	failed error // of f
	ended  error // by a Close

	writing sync.Mutex // whoever writes
	enc     websocket.Encoder
	out     []byte

	mu     sync.Mutex
	pong   []byte // to be sent
	ponged bool
	closed bool
}

func newSocket(raw io.ReadWriteCloser, done func()) *socket {
	return &socket{
		raw: raw, done: done,
		dec: websocket.Decoder{Client: true, MaxMessage: 1 << 30}, // nothing is kept of a message
		enc: websocket.Encoder{Client: true},
	}
}

// Receive implements [Pipe].
func (s *socket) Receive(f func(b []byte) error) error {
	s.f = f
	buf := make([]byte, 32<<10)
	for {
		n, err := s.raw.Read(buf)
		if n > 0 {
			bad := s.dec.Feed(buf[:n], (*socketEvents)(s))
			switch {
			case s.failed != nil:
				return s.failed
			case s.ended != nil:
				return s.ended
			case bad != nil:
				s.Close(Violation, bad.Error())
				return bad
			}
		}
		if err != nil {
			return err
		}
	}
}

// socketEvents is a socket as the place of what its decoder finds; see [websocket.Events].
type socketEvents socket

// Begin of a message.
func (s *socketEvents) Begin(op websocket.Opcode) {
	if op != websocket.Binary && s.failed == nil {
		s.failed = errors.New("a text message came over the WebSocket")
	}
}

// Data is a piece of it.
func (s *socketEvents) Data(p []byte) {
	if s.failed == nil {
		s.failed = s.f(p)
	}
}

// End of a message.
func (s *socketEvents) End() {}

// Pong means nothing: whether somebody is there is a matter of the protocol above.
func (s *socketEvents) Pong([]byte) {}

// Ping is answered; if somebody writes at the moment, by them: the reader never waits.
func (s *socketEvents) Ping(p []byte) {
	s.mu.Lock()
	s.pong, s.ponged = append(s.pong[:0], p...), true
	s.mu.Unlock()
	if s.writing.TryLock() {
		go (*socket)(s).answer() // ends when the Pong is written, or the connection is closed
	}
}

// Close is the gateway's last word.
func (s *socketEvents) Close(code websocket.Code, reason string) {
	switch {
	case code == websocket.NormalClosure:
		s.ended = io.EOF
	case reason != "":
		s.ended = fmt.Errorf("the gateway closed the WebSocket: %d, %s", code, reason)
	default:
		s.ended = fmt.Errorf("the gateway closed the WebSocket: %d", code)
	}
}

// answer writes a Pong.
func (s *socket) answer() {
	s.out = s.appendPong(s.out[:0])
	_, _ = s.raw.Write(s.out)
	s.writing.Unlock()
}

func (s *socket) appendPong(dst []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ponged {
		s.ponged = false
		dst = s.enc.Pong(dst, s.pong)
	}
	return dst
}

// Send implements [Pipe].
func (s *socket) Send(b []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.out = s.appendPong(s.enc.Message(s.out[:0], websocket.Binary, b))
	_, err := s.raw.Write(s.out)
	if cap(s.out) > 2*batch {
		s.out = nil
	}
	return err
}

// CloseSend implements [Pipe]; a WebSocket of many calls has no half-close.
func (s *socket) CloseSend() error { return nil }

// closeWait bounds the words of farewell.
const closeWait = time.Second

// Close implements [Pipe]. Only a Close of our side says that we have left (RFC 6455, section 7.1.1).
func (s *socket) Close(why Reason, text string) {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return
	}
	if why != Cut {
		// A writer that is stuck lets nobody through: then the connection just ends.
		stuck := time.AfterFunc(closeWait, func() { _ = s.raw.Close() })
		code := websocket.NormalClosure
		if why == Violation {
			code = websocket.ProtocolError
		}
		s.writing.Lock()
		_, _ = s.raw.Write(s.enc.Close(nil, code, text))
		s.writing.Unlock()
		stuck.Stop()
	}
	_ = s.raw.Close()
	s.done()
}
