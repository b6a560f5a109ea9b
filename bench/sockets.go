package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go"
)

// Loads that are written by hand, for what package client does not speak.

// dialTimeout bounds the opening of a connection.
const dialTimeout = 10 * time.Second

func dialTLS() *tls.Config { return &tls.Config{InsecureSkipVerify: true} } //nolint:gosec // our own certificate

// dialSocket opens a WebSocket over TLS, without compression.
func dialSocket(ctx context.Context, addr, path, subprotocol string) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	o := &websocket.DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: dialTLS()}}}
	if subprotocol != "" {
		o.Subprotocols = []string{subprotocol}
	}
	c, _, err := websocket.Dial(ctx, "wss://"+addr+path, o)
	if err != nil {
		return nil, err
	}
	if got := c.Subprotocol(); got != subprotocol {
		_ = c.CloseNow()
		return nil, fmt.Errorf("subprotocol %q was agreed on, want %q", got, subprotocol)
	}
	return c, nil
}

func dialQUIC(ctx context.Context, addr string) (*quic.Conn, error) {
	cfg := dialTLS()
	cfg.NextProtos = []string{"h3"}
	return quic.DialAddr(ctx, addr, cfg, &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true})
}

// volley sends a message and waits for its echo, until one of both fails.
func volley(m messages, count *counter) error {
	message := make([]byte, pipeMessage)
	for {
		begun := time.Now()
		if err := m.send(message); err != nil {
			return err
		}
		b, err := m.receive()
		if err != nil {
			return err
		}
		if len(b) != len(message) {
			return fmt.Errorf("the echo has %d bytes, want %d", len(b), len(message))
		}
		count.add(time.Since(begun))
	}
}

// webSockets are calls of the subprotocol grpc-websockets, one on each WebSocket.
type webSockets struct {
	addr   string
	oneWay bool
}

func openWebSockets(p *peer) (session, error) { return &webSockets{addr: p.tlsAddr}, nil }

func openWebSocketsOneWay(p *peer) (session, error) {
	return &webSockets{addr: p.tlsAddr, oneWay: true}, nil
}

func (*webSockets) Close() error { return nil }

// webSocketsHead is the first message of a call.
const webSocketsHead = "content-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\n"

func (l *webSockets) run(ctx context.Context, count *counter) error {
	path := bidiPath
	if l.oneWay {
		path = sinkPath
	}
	c, err := dialSocket(ctx, l.addr, path, "grpc-websockets")
	if err != nil {
		return err
	}
	defer c.CloseNow() //nolint:errcheck // it only ends
	if err := c.Write(ctx, websocket.MessageBinary, []byte(webSocketsHead)); err != nil {
		return err
	}
	m := &webMessages{ctx: ctx, c: c, r: bufio.NewReader(websocket.NetConn(ctx, c, websocket.MessageBinary))}
	if !l.oneWay {
		return volley(m, count)
	}
	ended := make(chan error, 1)
	go func() { // ends with the WebSocket; also answers Pings
		_, err := m.receive()
		ended <- err
	}()
	message := make([]byte, pipeMessage)
	for {
		begun := time.Now()
		if err := m.send(message); err != nil {
			_ = c.CloseNow()
			<-ended
			return err
		}
		count.add(time.Since(begun))
	}
}

// webMessages are those of one call: each request message is a message of the WebSocket, and the
// response is a stream of gRPC-Web's frames.
type webMessages struct {
	ctx context.Context
	c   *websocket.Conn
	r   *bufio.Reader
	out []byte
}

func (m *webMessages) send(b []byte) error {
	m.out = appendFrame(append(m.out[:0], 0), b) // 0: more follows
	return m.c.Write(m.ctx, websocket.MessageBinary, m.out)
}

func (m *webMessages) receive() ([]byte, error) {
	for heads := 0; ; heads++ {
		flags, b, err := readFrame(m.r)
		if err != nil || flags&0x80 == 0 {
			return b, err
		}
		if heads == 1 {
			return nil, fmt.Errorf("the call has ended: %q", b)
		}
	}
}

// A relay passes bytes on after a while, both ways.
type relay struct {
	to    string
	delay time.Duration
	tcp   net.Listener
	udp   *net.UDPConn
}

// newRelay relays TCP and UDP of one port to the address to.
func newRelay(to string, delay time.Duration) (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u, err := listenUDP(l.Addr().String())
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	r := &relay{to: to, delay: delay, tcp: l, udp: u}
	go r.serveTCP() // both end with Close
	go r.serveUDP()
	return r, nil
}

func (r *relay) addr() string { return r.tcp.Addr().String() }

func (r *relay) Close() {
	_ = r.tcp.Close()
	_ = r.udp.Close()
}

func (r *relay) serveTCP() {
	for {
		in, err := r.tcp.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		go r.pass(in, out) // both end with the connection
		go r.pass(out, in)
	}
}

// late is what waits in a relay.
type late struct {
	at time.Time
	b  []byte
}

// lateMax bounds what waits in one direction, in reads of at most 32 KiB.
const lateMax = 4096

// after calls f with what comes out of the channel, each when it is due.
func after(in <-chan late, f func(b []byte)) {
	for p := range in {
		time.Sleep(time.Until(p.at))
		f(p.b)
	}
}

func (r *relay) pass(from, to net.Conn) {
	queue := make(chan late, lateMax)
	go func() { // ends with the queue
		after(queue, func(b []byte) { _, _ = to.Write(b) })
		_ = to.Close()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			queue <- late{time.Now().Add(r.delay), append([]byte(nil), buf[:n]...)}
		}
		if err != nil {
			close(queue)
			return
		}
	}
}

func (r *relay) serveUDP() {
	clients := map[string]chan late{}
	defer func() {
		for _, q := range clients {
			close(q)
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, from, err := r.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		q := clients[from.String()]
		if q == nil {
			out, err := net.Dial("udp", r.to)
			if err != nil {
				continue
			}
			q = make(chan late, lateMax)
			clients[from.String()] = q
			go func() { // ends with the queue
				after(q, func(b []byte) { _, _ = out.Write(b) })
				_ = out.Close()
			}()
			back := make(chan late, lateMax)
			go after(back, func(b []byte) { _, _ = r.udp.WriteToUDPAddrPort(b, from) }) // ends with the queue
			go func() {                                                                 // ends when out is closed
				defer close(back)
				buf := make([]byte, 64<<10)
				for {
					n, err := out.Read(buf)
					if err != nil {
						return
					}
					back <- late{time.Now().Add(r.delay), append([]byte(nil), buf[:n]...)}
				}
			}()
		}
		select {
		case q <- late{time.Now().Add(r.delay), append([]byte(nil), buf[:n]...)}:
		default: // as networks do
		}
	}
}
