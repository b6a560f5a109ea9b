package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// The bridge is what people write by hand who need one bidirectional method in a browser:
// a WebSocket, or a stream of WebTransport, is one call of a method that is known, and
// grpc-go is behind it. There are no limits, no deadlines, no metadata, no log, and no
// status. A message is a message of the WebSocket; on a stream it has gRPC's prefix.

// bridgePath is where both are opened.
const bridgePath = "/bridge"

func serveBridge(addr, tlsAddr, backend, cert, key string) error {
	cc, err := grpc.NewClient(backend, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})))
	if err != nil {
		return err
	}
	h1 := new(http.Protocols)
	h1.SetHTTP1(true)
	sockets := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		_ = bridge(r.Context(), cc, &socketMessages{ctx: r.Context(), c: c})
		_ = c.CloseNow()
	})
	s := &webtransport.Server{H3: &http3.Server{}}
	webtransport.ConfigureHTTP3Server(s.H3)
	s.H3.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := s.Upgrade(w, r)
		if err != nil {
			return
		}
		for {
			str, err := session.AcceptStream(r.Context())
			if err != nil {
				return
			}
			go func() { // ends with the stream
				_ = bridge(session.Context(), cc, newStreamMessages(str))
				_ = str.Close()
			}()
		}
	})
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return err
	}
	s.H3.Addr, s.H3.TLSConfig = tlsAddr, http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13})
	failed := make(chan error)
	go func() { failed <- (&http.Server{Addr: addr, Handler: sockets, Protocols: h1}).ListenAndServe() }()
	go func() {
		failed <- (&http.Server{Addr: tlsAddr, Handler: sockets, Protocols: h1}).ListenAndServeTLS(cert, key)
	}()
	go func() { failed <- s.ListenAndServe() }()
	return <-failed
}

// messages are those of one call, both ways; the two methods may run side by side.
type messages interface {
	receive() ([]byte, error)
	send(b []byte) error
}

func bridge(ctx context.Context, cc *grpc.ClientConn, m messages) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	call, err := cc.NewStream(ctx, bidiDesc, bidiPath)
	if err != nil {
		return err
	}
	go func() { // ends with the client's direction
		for {
			b, err := m.receive()
			if errors.Is(err, io.EOF) {
				_ = call.CloseSend()
				return
			}
			if err != nil || call.SendMsg(&frame{b}) != nil {
				cancel()
				return
			}
		}
	}()
	for {
		var f frame
		if err := call.RecvMsg(&f); err != nil {
			return err
		}
		if err := m.send(f.b); err != nil {
			return err
		}
	}
}

// socketMessages are those of a WebSocket.
type socketMessages struct {
	ctx context.Context
	c   *websocket.Conn
}

func (s *socketMessages) receive() ([]byte, error) {
	_, b, err := s.c.Read(s.ctx)
	return b, err
}

func (s *socketMessages) send(b []byte) error { return s.c.Write(s.ctx, websocket.MessageBinary, b) }

// streamMessages are those of a stream of bytes, each with gRPC's prefix.
type streamMessages struct {
	r   *bufio.Reader
	w   io.Writer
	out []byte
}

func newStreamMessages(s io.ReadWriter) *streamMessages {
	return &streamMessages{r: bufio.NewReader(s), w: s}
}

func (s *streamMessages) receive() ([]byte, error) {
	_, b, err := readFrame(s.r)
	return b, err
}

func (s *streamMessages) send(b []byte) error {
	s.out = appendFrame(s.out[:0], b)
	_, err := s.w.Write(s.out)
	return err
}

// appendFrame appends a message with gRPC's prefix.
func appendFrame(dst, b []byte) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, 0), uint32(len(b)))
	return append(dst, b...)
}

// readFrame reads a message with its flags.
func readFrame(r *bufio.Reader) (flags byte, b []byte, err error) {
	var prefix [5]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return 0, nil, err
	}
	b = make([]byte, binary.BigEndian.Uint32(prefix[1:]))
	_, err = io.ReadFull(r, b)
	return prefix[0], b, err
}

// A bridgeLoad is the same by hand at the client: one WebSocket, or one stream of a session, a call.
type bridgeLoad struct {
	addr string
	wt   *webtransport.Session // nil: WebSockets
	end  func()
}

func openBridge(p *peer) (session, error) {
	return &bridgeLoad{addr: p.tlsAddr, end: func() {}}, nil
}

func openBridgeSession(p *peer) (session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	conn, err := dialQUIC(ctx, p.tlsAddr)
	if err != nil {
		return nil, err
	}
	end := func() { _ = conn.CloseWithError(0x100, "") } // H3_NO_ERROR
	c, err := new(webtransport.Transport).NewClientConn(conn)
	if err == nil {
		var s *webtransport.Session
		if _, s, err = c.Dial(ctx, "https://"+p.tlsAddr+bridgePath, nil); err == nil {
			return &bridgeLoad{wt: s, end: end}, nil
		}
	}
	end()
	return nil, err
}

func (l *bridgeLoad) Close() error {
	l.end()
	return nil
}

// run plays ping-pong.
func (l *bridgeLoad) run(ctx context.Context, count *counter) error {
	var m messages
	if l.wt != nil {
		str, err := l.wt.OpenStreamSync(ctx)
		if err != nil {
			return err
		}
		defer context.AfterFunc(ctx, func() { str.CancelRead(0); str.CancelWrite(0) })()
		m = newStreamMessages(str)
	} else {
		c, err := dialSocket(ctx, l.addr, bridgePath, "")
		if err != nil {
			return err
		}
		defer c.CloseNow() //nolint:errcheck // it only ends
		m = &socketMessages{ctx, c}
	}
	return volley(m, count)
}

func listenUDP(addr string) (*net.UDPConn, error) {
	a, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	return net.ListenUDP("udp", a)
}
