package attack

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A conn is a client's connection on which everything can be written.
type conn struct {
	*http2.Framer // its writes go to bw
	ctx           context.Context
	log           *Log
	nc            net.Conn
	bw            *bufio.Writer
	enc           *hpack.Encoder
	block         bytes.Buffer
	next          uint32 // stream id
	frames        int    // since the last burst ended
	began         time.Time

	window  atomic.Int64 // what may be sent on the connection
	stopped chan struct{}
}

// options of a connection.
type options struct {
	settings []http2.Setting
	deaf     bool // reads nothing, and has a small receive buffer
}

var errDial = errors.New("dial")

// burst is how many frames are written before a rest.
const burst = 100

// h2 makes an attack of what is done on an HTTP/2 connection.
func h2(o options, do func(c *conn) error) func(context.Context, Target, *Log) error {
	return func(ctx context.Context, at Target, l *Log) error {
		c, err := dial(ctx, at.Addr, o, l)
		if err != nil {
			return err
		}
		err = do(c)
		l.sent(c.frames)
		if err == nil {
			err = c.flush()
		}
		if err != nil && ctx.Err() == nil {
			select { // the GOAWAY is still to be read
			case <-c.stopped:
			case <-time.After(50 * time.Millisecond):
			}
		}
		_ = c.nc.Close()
		if !o.deaf {
			<-c.stopped
		}
		return err
	}
}

func dial(ctx context.Context, addr string, o options, l *Log) (*conn, error) {
	nc, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w", errDial, err)
	}
	c := &conn{ctx: ctx, log: l, nc: nc, bw: bufio.NewWriterSize(nc, 64<<10), next: 1, began: time.Now(), stopped: make(chan struct{})}
	c.window.Store(65535)
	c.Framer = http2.NewFramer(c.bw, nil)
	c.AllowIllegalWrites = true
	c.enc = hpack.NewEncoder(&c.block)
	context.AfterFunc(ctx, func() { _ = nc.SetWriteDeadline(time.Unix(1, 0)) })
	_, _ = c.bw.WriteString(http2.ClientPreface)
	_ = c.WriteSettings(o.settings...)
	_ = c.WriteSettingsAck()
	if err := c.bw.Flush(); err != nil {
		_ = nc.Close()
		return nil, err
	}
	if o.deaf {
		_ = nc.(*net.TCPConn).SetReadBuffer(4 << 10)
	} else {
		go c.read() // ends with the connection
	}
	return c, nil
}

// read notes what the gateway answers.
func (c *conn) read() {
	defer close(c.stopped)
	fr := http2.NewFramer(nil, bufio.NewReaderSize(c.nc, 16<<10))
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			c.log.saw("GOAWAY(" + f.ErrCode.String() + ")")
		case *http2.RSTStreamFrame:
			c.log.saw("RST_STREAM(" + f.ErrCode.String() + ")")
		case *http2.MetaHeadersFrame:
			if s := f.PseudoValue("status"); s != "" && s != "200" {
				c.log.saw("HTTP " + s)
			}
		case *http2.WindowUpdateFrame:
			if f.StreamID == 0 {
				c.window.Add(int64(f.Increment))
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				c.log.saw("PING")
			}
		}
	}
}

// open writes a request's head and returns its stream.
func (c *conn) open(path string, end bool) (uint32, error) {
	c.block.Reset()
	c.head(path)
	id := c.next
	c.next += 2
	return id, c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block.Bytes(), EndHeaders: true, EndStream: end})
}

// head appends the fields of a gRPC request to block.
func (c *conn) head(path string) {
	for _, f := range [...][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":authority", "localhost"}, {":path", path},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		_ = c.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
}

// call writes a request with one message.
func (c *conn) call(path string, message []byte) (uint32, error) {
	id, err := c.open(path, false)
	if err != nil {
		return 0, err
	}
	return id, c.WriteData(id, true, prefixed(message))
}

// prefixed is a gRPC message with its prefix.
func prefixed(b []byte) []byte {
	out := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b)))
	return append(out, b...)
}

func (c *conn) flush() error {
	if err := c.bw.Flush(); err != nil {
		return err
	}
	select {
	case <-c.stopped:
		return errors.New("closed by the gateway")
	default:
		return c.ctx.Err()
	}
}

// step counts frames that were written, and rests after a burst.
func (c *conn) step(frames int) error {
	c.frames += frames
	if c.frames < burst {
		return nil
	}
	c.log.sent(c.frames)
	c.frames = 0
	err := c.flush()
	sleep(c.ctx, max(2*time.Millisecond, 3*time.Since(c.began)))
	c.began = time.Now()
	return err
}

// hold keeps the connection as it is until the end of it or of the attack.
func (c *conn) hold() error {
	err := c.flush()
	if err != nil {
		return err
	}
	select {
	case <-c.stopped:
	case <-c.ctx.Done():
	}
	return c.ctx.Err()
}

// repeat does something until it fails: i counts.
func repeat(do func(c *conn, i int) error) func(c *conn) error {
	return func(c *conn) error {
		for i := range math.MaxInt {
			if err := do(c, i); err != nil {
				return err
			}
		}
		return nil
	}
}
