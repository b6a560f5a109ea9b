package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A load says what a client connection does.
type load struct {
	addr     string
	tls      bool
	conns    int
	inFlight int // calls on each connection
	path     string
	web      bool // gRPC-Web
	rest     bool // JSON, without message and path
	http1    bool // over HTTP/1.1
	message  int  // bytes of each message
	bidi     int  // messages in flight on a call that stays; 0: unary calls
	read     int  // bytes a second that the client takes of responses; 0: all
}

// The frame types and flags that matter here.
const (
	windowConn    = 1 << 30
	windowStream  = 1 << 30
	creditAt      = 1 << 20
	initialWindow = 65535
	maxFrame      = 16384
)

// h2conn is one client connection, driven by one goroutine: it answers every frame that
// has come, and writes when nothing more is there to read, as h2load does. So the
// client costs little, and its batches are what a busy client's are.
type h2conn struct {
	load
	count *counter
	nc    net.Conn
	br    *bufio.Reader
	out   []byte
	enc   *hpack.Encoder
	block bytes.Buffer
	dec   *hpack.Decoder
	caller
	msg []byte // prefix and message

	streams     map[uint32]*h2stream
	free        []*h2stream
	nextID      uint32
	window      int // to send, connection
	peerInitial int
	taken       int // received and not yet credited
	waiting     []*h2stream
	status      string // of the block being decoded
	httpStatus  string
}

type h2stream struct {
	id      uint32
	window  int
	pending []byte // not yet sent for want of window
	end     bool   // END_STREAM goes with the last of it
	queued  bool
	begin   time.Time
	got     int // bytes of the message being received
	taken   int // received and not yet credited, bidi only
	tail    []byte
	sentAt  []time.Time // bidi: when each message in flight was sent
}

func dialH2(l load, count *counter, seed uint64) (*h2conn, error) {
	nc, err := dial(l, "h2")
	if err != nil {
		return nil, err
	}
	c := &h2conn{load: l, count: count, nc: nc, br: bufio.NewReaderSize(nc, 64<<10), streams: map[uint32]*h2stream{}, nextID: 1,
		window: initialWindow, peerInitial: initialWindow}
	c.caller = caller{rand: rand.New(rand.NewPCG(seed, 7)), scheme: "http", contentType: l.contentType()}
	if l.tls {
		c.scheme = "https"
	}
	c.enc = hpack.NewEncoder(&c.block)
	c.dec = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		switch f.Name {
		case "grpc-status":
			c.status = f.Value
		case ":status":
			c.httpStatus = f.Value
		}
	})
	c.msg = l.request()
	c.out = append(c.out, http2.ClientPreface...)
	c.frame(http2.FrameSettings, 0, 0, binary.BigEndian.AppendUint32([]byte{0, byte(http2.SettingInitialWindowSize)}, windowStream))
	c.frame(http2.FrameWindowUpdate, 0, 0, binary.BigEndian.AppendUint32(nil, windowConn))
	return c, nil
}

// message returns a gRPC message: prefix and bytes that are a valid protobuf message
// (grpc.testing.SimpleRequest with a payload).
func message(n int) []byte {
	var body []byte
	if n > 12 {
		inner := binary.AppendUvarint([]byte{0x12}, uint64(n-12)) // payload.body
		inner = append(inner, make([]byte, n-12)...)
		body = binary.AppendUvarint([]byte{0x1a}, uint64(len(inner))) // payload
		body = append(body, inner...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
}

func dial(l load, proto string) (net.Conn, error) {
	nc, err := net.DialTimeout("tcp", l.addr, 5*time.Second)
	if err != nil || !l.tls {
		return nc, err
	}
	tc := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}, ServerName: "localhost"}) //nolint:gosec // our own certificate
	if err := tc.Handshake(); err != nil {
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	if got := tc.ConnectionState().NegotiatedProtocol; got != proto && proto == "h2" {
		return nil, fmt.Errorf("ALPN gave %q, want %q", got, proto)
	}
	return tc, nil
}

func (c *h2conn) frame(t http2.FrameType, flags http2.Flags, id uint32, payload []byte) {
	n := len(payload)
	c.out = append(c.out, byte(n>>16), byte(n>>8), byte(n), byte(t), byte(flags), byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
	c.out = append(c.out, payload...)
}

// open begins a call and says nothing on it.
func (c *h2conn) open() {
	c.block.Reset()
	c.encode(c.enc, c.path)
	c.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, c.nextID, c.block.Bytes())
	c.nextID += 2
}

// drain answers what comes, until the connection ends.
func (c *h2conn) drain() {
	var head [9]byte
	for {
		if _, err := io.ReadFull(c.br, head[:]); err != nil {
			return
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(c.br, payload); err != nil {
			return
		}
		if err := c.handle(http2.FrameType(head[3]), http2.Flags(head[4]), binary.BigEndian.Uint32(head[5:])&(1<<31-1), payload); err != nil {
			return
		}
		if c.flush() != nil {
			return
		}
	}
}

func (c *h2conn) call() {
	var s *h2stream
	if n := len(c.free); n > 0 {
		s, c.free = c.free[n-1], c.free[:n-1]
		*s = h2stream{sentAt: s.sentAt[:0], tail: s.tail[:0]}
	} else {
		s = new(h2stream)
	}
	s.id, s.window, s.begin = c.nextID, c.peerInitial, time.Now()
	c.nextID += 2
	c.streams[s.id] = s
	c.block.Reset()
	c.encode(c.enc, c.path)
	c.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, s.id, c.block.Bytes())
	if c.bidi == 0 {
		c.send(s, true)
		return
	}
	for range c.bidi {
		c.send(s, false)
		s.sentAt = append(s.sentAt, s.begin)
	}
}

// send queues one message.
func (c *h2conn) send(s *h2stream, end bool) {
	if len(s.pending) == 0 {
		s.pending = c.msg
	} else {
		s.pending = append(s.pending[:len(s.pending):len(s.pending)], c.msg...)
	}
	s.end = end
	c.push(s)
}

// push sends as much as the windows allow.
func (c *h2conn) push(s *h2stream) {
	for len(s.pending) > 0 {
		n := min(len(s.pending), c.window, s.window, maxFrame)
		if n <= 0 {
			if !s.queued {
				s.queued = true
				c.waiting = append(c.waiting, s)
			}
			return
		}
		c.window -= n
		s.window -= n
		var flags http2.Flags
		if n == len(s.pending) && s.end {
			flags = http2.FlagDataEndStream
		}
		c.frame(http2.FrameData, flags, s.id, s.pending[:n])
		s.pending = s.pending[n:]
	}
}

func (c *h2conn) pushAll() {
	waiting := c.waiting
	c.waiting = nil
	for _, s := range waiting {
		s.queued = false
		if c.streams[s.id] == s {
			c.push(s)
		}
	}
}

func (c *h2conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

// run makes calls until the counter says stop.
func (c *h2conn) run() error {
	defer c.nc.Close() //nolint:errcheck // it only ends
	for range c.inFlight {
		c.call()
	}
	var head [9]byte
	payload := make([]byte, 0, maxFrame)
	started := time.Now()
	var total int
	for !c.count.stopped.Load() {
		if c.br.Buffered() < 9 {
			if err := c.flush(); err != nil {
				return err
			}
			_ = c.nc.SetReadDeadline(time.Now().Add(stuck))
		}
		if _, err := io.ReadFull(c.br, head[:]); err != nil {
			return fmt.Errorf("with %d calls open: %w", len(c.streams), err)
		}
		n := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
		if cap(payload) < n {
			payload = make([]byte, n)
		}
		payload = payload[:n]
		if c.br.Buffered() < n {
			if err := c.flush(); err != nil {
				return err
			}
		}
		if _, err := io.ReadFull(c.br, payload); err != nil {
			return err
		}
		id := binary.BigEndian.Uint32(head[5:]) & (1<<31 - 1)
		if err := c.handle(http2.FrameType(head[3]), http2.Flags(head[4]), id, payload); err != nil {
			return err
		}
		if total += n; c.read > 0 {
			if ahead := time.Duration(total)*time.Second/time.Duration(c.read) - time.Since(started); ahead > 0 {
				time.Sleep(min(ahead, 200*time.Millisecond))
			}
		}
	}
	return nil
}

// stuck is how long an answer may take before the round has failed.
const stuck = 20 * time.Second

func (c *h2conn) handle(t http2.FrameType, flags http2.Flags, id uint32, p []byte) error {
	s := c.streams[id]
	switch t {
	case http2.FrameData:
		return c.data(s, flags, p)
	case http2.FrameHeaders:
		if flags&http2.FlagHeadersPriority != 0 {
			p = p[5:]
		}
		if flags&http2.FlagHeadersEndHeaders == 0 {
			return errors.New("CONTINUATION is not expected of any peer")
		}
		c.status = ""
		if _, err := c.dec.Write(p); err != nil {
			return err
		}
		if flags&http2.FlagHeadersEndStream != 0 && s != nil {
			if c.status != "0" {
				return fmt.Errorf("call ended with grpc-status %q, HTTP status %s", c.status, c.httpStatus)
			}
			return c.ended(s)
		}
	case http2.FrameSettings:
		if flags&http2.FlagSettingsAck != 0 {
			return nil
		}
		for ; len(p) >= 6; p = p[6:] {
			if http2.SettingID(binary.BigEndian.Uint16(p)) == http2.SettingInitialWindowSize {
				v := int(binary.BigEndian.Uint32(p[2:]))
				for _, s := range c.streams {
					s.window += v - c.peerInitial
				}
				c.peerInitial = v
			}
		}
		c.frame(http2.FrameSettings, http2.FlagSettingsAck, 0, nil)
		c.pushAll()
	case http2.FramePing:
		if flags&http2.FlagPingAck == 0 {
			c.frame(http2.FramePing, http2.FlagPingAck, 0, p)
		}
	case http2.FrameWindowUpdate:
		n := int(binary.BigEndian.Uint32(p))
		if id == 0 {
			c.window += n
			c.pushAll()
		} else if s != nil {
			s.window += n
			c.push(s)
		}
	case http2.FrameRSTStream:
		if s != nil {
			return fmt.Errorf("call was reset: %v", http2.ErrCode(binary.BigEndian.Uint32(p)))
		}
	case http2.FrameGoAway:
		return fmt.Errorf("GOAWAY %v", http2.ErrCode(binary.BigEndian.Uint32(p[4:])))
	}
	return nil
}

func (c *h2conn) data(s *h2stream, flags http2.Flags, p []byte) error {
	if c.taken += len(p); c.taken >= creditAt {
		c.frame(http2.FrameWindowUpdate, 0, 0, binary.BigEndian.AppendUint32(nil, uint32(c.taken)))
		c.taken = 0
	}
	if s == nil {
		return nil
	}
	c.count.bytes.Add(int64(len(p)))
	s.got += len(p)
	if c.bidi > 0 {
		if s.taken += len(p); s.taken >= creditAt {
			c.frame(http2.FrameWindowUpdate, 0, s.id, binary.BigEndian.AppendUint32(nil, uint32(s.taken)))
			s.taken = 0
		}
		for s.got >= len(c.msg) {
			s.got -= len(c.msg)
			now := time.Now()
			if len(s.sentAt) > 0 { // a flood has more answers than requests
				c.count.add(now.Sub(s.sentAt[0]))
				copy(s.sentAt, s.sentAt[1:])
				s.sentAt[len(s.sentAt)-1] = now
				c.send(s, false)
			}
		}
		return nil
	}
	if c.web || c.rest {
		s.tail = append(s.tail, p...)
	}
	if flags&http2.FlagDataEndStream != 0 {
		if !c.answered(s.tail, len(c.msg)) {
			return fmt.Errorf("the answer ended without status OK: %q", s.tail[min(len(c.msg), len(s.tail)):])
		}
		s.got = len(c.msg)
		return c.ended(s)
	}
	return nil
}

func (l *load) contentType() string {
	switch {
	case l.rest:
		return "application/json"
	case l.web:
		return "application/grpc-web+proto"
	}
	return "application/grpc"
}

// request is the content of each request.
func (l *load) request() []byte {
	if l.rest {
		return orderJSON
	}
	return message(l.message)
}

// answered says whether a body is a whole answer, and a good one.
func (l *load) answered(body []byte, msg int) bool {
	switch {
	case l.rest:
		return orderOK(body)
	case l.web:
		return webOK(body, msg)
	}
	return false // gRPC ends with trailers
}

// webOK says whether body is one message and a trailers frame that says OK.
func webOK(body []byte, msg int) bool {
	return len(body) > msg+5 && body[msg] == 0x80 && bytes.Contains(body[msg:], []byte("grpc-status:")) &&
		(bytes.Contains(body[msg:], []byte("grpc-status:0")) || bytes.Contains(body[msg:], []byte("grpc-status: 0")))
}

func (c *h2conn) ended(s *h2stream) error {
	if s.got != len(c.msg) {
		return fmt.Errorf("the answer has %d bytes, want %d", s.got, len(c.msg))
	}
	c.count.add(time.Since(s.begin))
	delete(c.streams, s.id)
	c.free = append(c.free, s)
	c.call()
	return nil
}
