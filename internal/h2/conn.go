// Package h2 is the gateway's HTTP/2 engine (RFC 9113): one connection, in either
// role, driven by events.
//
// # Goroutines
//
// One goroutine reads a connection and delivers all its events ([Conn.Run]). Nothing
// else belongs to a connection, except for a writer that lives only while the socket
// takes less than there is. Events append to send queues; at the end of a batch the
// connections that have something to write are flushed ([netio.Work]).
//
// # Locks
//
// Conn.mu guards the streams, both send windows, and the bytes that are to be
// written, so a stream's id, its header block and their place in the queue are one
// critical section. It is never held across a call into another layer. What only the
// reader touches needs no lock; counters that both sides change are atomic.
//
// # The end of a stream
//
// A server's stream is done when the handler has ended its response, the end has been
// taken by the kernel or the stream was reset, and nobody is delivering one of its
// events. A client's stream gives its response exactly one end, from the reader, or
// from whoever resets it while the reader is elsewhere.
package h2

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/netio"
)

// A Conn is one connection. As a client's it is an [exchange.Handler].
type Conn struct {
	cfg     *Config
	nc      netio.Conn
	client  bool
	handler exchange.Handler // a server's
	events  Events           // a client's
	addr    net.Addr
	tls     *tls.ConnectionState

	// The reader's alone.
	in          input
	dec         *decoder
	block       block
	starts      []start
	rhead       exchange.ResponseHead // lent with the event
	held        *stream               // whose events the reader is delivering
	lastID      uint32                // the highest stream id of the peer
	gotSettings bool
	readMark    bool // enough was received to announce a new connection window

	// Both sides count.
	recvOpen   atomic.Int64 // what the peer may send on the connection
	buffered   atomic.Int64 // what came and was not credited
	charged    atomic.Int64 // what of it the budget knows of
	starved    atomic.Bool  // the connection's window is held back until something is credited
	lastRead   atomic.Int64 // Unix nanoseconds
	blockSince atomic.Int64 // when the preface or a field section began that is not complete; 0 is none
	room       atomic.Int64 // availableLocked, for who asks without the lock
	stuck      atomic.Bool  // streams wait for the connection's send window

	mu          sync.Mutex
	streams     map[uint32]*stream
	nextID      uint32 // a client's
	sentID      uint32 // a client's: streams from here on have not left for the socket
	enc         *encoder
	abuse       abuse
	idleSince   time.Time
	settingsAt  time.Time // SETTINGS without acknowledgement since; zero is none
	pingAt      time.Time // keep-alive PING without answer since
	drainAt     time.Time // the first GOAWAY of a drain
	goneAway    bool      // GOAWAY with a last id was sent: no new streams of the peer
	ready       bool      // a client's: the server's SETTINGS have come
	peerGone    bool      // GOAWAY came
	dead        bool      // the reader has ended, or is told to
	cause       error     // why
	closeOnIdle bool      // close when everything is written

	// Sending.
	sendOpen     int64 // the peer's connection window
	peerWindow   int64 // its initial window for streams
	peerStreams  int   // how many streams it allows
	peerConnect  bool  // it has extended CONNECT
	wbuf, wspare []byte
	ledger       []entry // what is credited when wbuf is written
	lspare       []entry
	last         lastFrame
	ring         *stream // streams that have something to send and a window; a circle, ring is the next
	waiting      int     // streams with queued data
	credits      []*stream
	control      int // bytes of control frames in wbuf
	dirty        bool
	writing      bool
	reset        [64]uint32 // ids that we have reset lately: what comes for them is ignored
	resetNext    int

	writers sync.WaitGroup
}

// lastFrame is the frame at the end of wbuf, which may still be changed.
type lastFrame struct {
	s    *stream
	at   int // of its header
	data bool
}

// entry is a part of wbuf for which something is due once it is written.
type entry struct {
	s   *stream
	n   int
	end bool
}

const (
	maxWbuf    = 64 << 10 // DATA is cut while less than this waits for the socket
	maxControl = 64 << 10 // control frames that a peer may make us owe while it doesn't read
	keepWbuf   = 16 << 10 // an idle connection keeps no more
	bigWbuf    = 72 << 10 // what outgrows that is of this size: DATA, and some control frames
)

var (
	errClosed = errors.New("connection closed by the gateway")
	errIdle   = errors.New("idle connection closed")
)

// NewServer makes the server's end of a connection whose preface may be still to
// come. [Conn.Run] serves it.
func NewServer(nc netio.Conn, cfg *Config, h exchange.Handler) *Conn {
	c := newConn(nc, cfg)
	c.handler = h
	c.abuse = newAbuse(cfg.Abuse, time.Now())
	c.in.preface = len(Preface)
	c.blockSince.Store(time.Now().UnixNano())
	c.wbuf = c.appendSettings(c.wbuf)
	return c
}

// NewClient makes the client's end. [Conn.Run] drives it.
func NewClient(nc netio.Conn, cfg *Config, ev Events) *Conn {
	c := newConn(nc, cfg)
	c.client, c.events = true, ev
	c.nextID = 1
	c.wbuf = c.appendSettings(append(c.wbuf, Preface...))
	return c
}

func newConn(nc netio.Conn, cfg *Config) *Conn {
	now := time.Now()
	c := &Conn{
		cfg: cfg, nc: nc, addr: nc.RemoteAddr(), tls: nc.TLS(),
		streams: map[uint32]*stream{}, idleSince: now, settingsAt: now,
		sendOpen: initialWindow, peerWindow: initialWindow, peerStreams: math.MaxInt32, // no limit unless one comes
	}
	c.lastRead.Store(now.UnixNano())
	c.recvOpen.Store(initialWindow)
	c.enc = newEncoder()
	// A single field above the limit is refused like many that are: it ends the call, not
	// the connection with all of its calls.
	c.dec = newDecoder(hopeless*cfg.HeaderBytes, c.field)
	return c
}

func (c *Conn) appendSettings(b []byte) []byte {
	var s []byte
	if c.client {
		s = appendSetting(s, settingEnablePush, 0)
	} else {
		s = appendSetting(s, settingMaxConcurrentStreams, uint32(c.cfg.MaxStreams))
		if c.cfg.ExtendedConnect {
			s = appendSetting(s, settingEnableConnect, 1)
		}
	}
	s = appendSetting(s, settingInitialWindowSize, uint32(c.cfg.StreamWindow))
	s = appendSetting(s, settingMaxHeaderListSize, uint32(c.cfg.HeaderBytes))
	b = append(appendFrameHeader(b, len(s), frameSettings, 0, 0), s...)
	if more := c.cfg.ConnBuffer - initialWindow; more > 0 {
		b = appendWindowUpdate(b, 0, more)
		c.recvOpen.Add(int64(more))
	}
	return b
}

// Run reads the connection until its end, and delivers its events. initial is what
// was read of it already. Run returns when nothing of the connection is left: every
// stream has had its end.
func (c *Conn) Run(initial []byte) error {
	c.cfg.Keeper.add(c)
	c.mark()
	var err error
	if len(initial) > 0 {
		err = c.batch(initial)
	}
	for err == nil {
		var b *netio.Buffer
		b, err = c.nc.Read()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = c.woken()
				continue
			}
			break
		}
		c.lastRead.Store(time.Now().UnixNano())
		err = c.batch(b.B)
		b.Free()
	}
	c.end(err)
	c.writers.Wait()
	return err
}

// batch delivers the events of what was read, then flushes all that they made ready.
func (c *Conn) batch(b []byte) error {
	c.cfg.Work.Enter()
	err := c.feed(b)
	if err == nil {
		c.startAll()
	}
	c.release()
	if c.readMark {
		c.readMark = false
		c.mark()
	}
	c.cfg.Work.Leave()
	return err
}

// woken looks why somebody ended the reader's wait.
func (c *Conn) woken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return c.cause
	}
	_ = c.nc.SetReadDeadline(time.Time{})
	return nil
}

// stop tells the reader to end the connection.
func (c *Conn) stop(cause error) {
	c.mu.Lock()
	if c.dead {
		c.mu.Unlock()
		return
	}
	c.dead, c.cause = true, cause
	c.roomLocked()
	c.mu.Unlock()
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
}

// end is the reader's last act.
func (c *Conn) end(err error) {
	var ce connError
	c.cfg.Keeper.remove(c)
	c.mu.Lock()
	c.dead = true
	if c.cause == nil {
		c.cause = err
	}
	cause := c.cause
	ready, sentID := c.ready, c.sentID
	if c.client {
		// What has not left must not leave now: its streams are replayed elsewhere.
		c.wbuf = c.wbuf[:0]
	}
	if errors.As(err, &ce) {
		c.wbuf = appendGoAway(c.wbuf, c.lastID, ce.code, ce.reason)
	}
	c.last = lastFrame{} // wbuf goes now, and its streams may still get data
	streams := make([]*stream, 0, len(c.streams))
	for _, s := range c.streams {
		streams = append(streams, s)
	}
	c.peerGone = true
	c.roomLocked()
	c.mu.Unlock()
	if c.client {
		c.events.Draining()
	}
	var ae abuseError
	if errors.As(err, &ae) {
		c.cfg.LimitHit(ae.limit)
	}

	// A goodbye, if the socket takes it.
	c.mu.Lock()
	if !c.writing && len(c.wbuf) > 0 {
		c.writing = true
		b := c.wbuf
		c.wbuf, c.last = nil, lastFrame{}
		c.mu.Unlock()
		if n, werr := c.nc.TryWrite(b); n == 0 && werr == nil { // no TryWrite for this kind of connection
			_ = c.nc.SetWriteDeadline(time.Now().Add(time.Second))
			_ = c.nc.Write(b)
		}
	} else {
		c.mu.Unlock()
	}
	if err == io.EOF {
		cause = errors.New("the peer closed the connection")
	}
	c.cfg.Work.Enter()
	for _, s := range streams {
		if c.client {
			code := exchange.Disconnected
			if !ready || s.id >= sentID {
				code = exchange.RefusedStream // nothing of it was ever looked at
			}
			s.lose(code, cause)
		} else {
			s.abandon(exchange.Disconnected)
		}
	}
	// What was never written is due nothing, but its streams wait for it.
	c.mu.Lock()
	led := c.ledger
	c.ledger = nil
	c.mu.Unlock()
	c.written(nil, led, errClosed)
	c.cfg.Work.Leave()

	// The calls come first: an attacker that is back at once would have more of them
	// than one connection may.
	if errors.As(err, &ce) {
		c.linger()
	}
	_ = c.nc.Close()
	if c.client {
		c.events.Closed(cause)
	}
}

// linger reads what the peer has sent already: a socket that is closed with bytes
// unread sends a TCP reset, which may overtake the GOAWAY.
func (c *Conn) linger() {
	if c.nc.CloseWrite() != nil || c.nc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	for n := 0; n < lingerBytes; {
		b, err := c.nc.Read()
		if err != nil {
			return
		}
		n += len(b.B)
		b.Free()
	}
}

const (
	lingerTime  = time.Second // for what is on its way from a slow network, or a busy peer
	lingerBytes = 1 << 20
)

// mark puts the connection on the work list.
func (c *Conn) mark() {
	c.mu.Lock()
	need := c.markLocked()
	c.mu.Unlock()
	if need {
		c.cfg.Work.Add(c)
	}
}

// markLocked says whether the caller has to add the connection to the work list, once
// it has released the lock.
func (c *Conn) markLocked() bool {
	if c.dirty {
		return false
	}
	c.dirty = true
	return true
}

// Close ends the connection at once. Streams end with Disconnected.
func (c *Conn) Close() { c.stop(errClosed) }

// Drain lets the open streams end and takes no new ones, then closes. A server
// announces it in two steps, so that no request that is under way is lost
// (RFC 9113, section 6.8).
func (c *Conn) Drain() {
	c.mu.Lock()
	if !c.drainAt.IsZero() || c.dead {
		c.mu.Unlock()
		return
	}
	c.drainAt = time.Now()
	if c.client {
		c.peerGone = true // no new streams
		c.closeOnIdle = true
		c.roomLocked()
	} else {
		c.wbuf = appendGoAway(c.wbuf, maxStreamID, exchange.NoError, "")
		c.wbuf = appendPing(c.wbuf, 0, pingDrain)
		c.last = lastFrame{}
	}
	need := c.markLocked()
	c.mu.Unlock()
	if need {
		c.cfg.Work.Add(c)
	}
}

// goAwayLocked is the second step of a server's drain.
func (c *Conn) goAwayLocked() {
	if c.goneAway || c.client {
		return
	}
	c.goneAway, c.closeOnIdle = true, true
	c.wbuf = appendGoAway(c.wbuf, c.lastID, exchange.NoError, "")
	c.last = lastFrame{}
}

var (
	pingDrain     = [8]byte{'s', 'l', 'u', 'i', 'c', 'e', 0, 1}
	pingKeepAlive = [8]byte{'s', 'l', 'u', 'i', 'c', 'e', 0, 2}
)

// tick looks at the timeouts. The Keeper calls it.
func (c *Conn) tick(now time.Time) {
	cfg := c.cfg
	over := func(since time.Time, limit time.Duration) bool {
		return limit > 0 && !since.IsZero() && now.Sub(since) > limit
	}
	if b := c.blockSince.Load(); b != 0 && over(time.Unix(0, b), cfg.Header) {
		c.stop(abusive("header_timeout", "header timeout: the request head took longer than the gateway waits"))
		return
	}
	c.mu.Lock()
	if c.dead {
		c.mu.Unlock()
		return
	}
	lastRead := time.Unix(0, c.lastRead.Load())
	need := false
	switch {
	case over(c.settingsAt, cfg.SettingsAck):
		c.mu.Unlock()
		c.stop(connError{exchange.SettingsTimeout, "SETTINGS were not acknowledged"})
		return
	case !c.client && len(c.streams) == 0 && over(c.idleSince, cfg.Idle):
		c.goAwayLocked()
		need = c.markLocked()
	case !c.drainAt.IsZero() && !c.client && !c.goneAway && now.Sub(c.drainAt) > time.Second:
		c.goAwayLocked()
		need = c.markLocked()
	case !c.pingAt.IsZero() && lastRead.After(c.pingAt):
		c.pingAt = time.Time{}
	case over(c.pingAt, pingTimeout):
		c.mu.Unlock()
		c.stop(fmt.Errorf("no answer to PING within %v", pingTimeout))
		return
	case len(c.streams) > 0 && over(lastRead, cfg.KeepAlive) && c.pingAt.IsZero():
		c.pingAt = now
		c.wbuf = appendPing(c.wbuf, 0, pingKeepAlive)
		c.last = lastFrame{}
		need = c.markLocked()
	}
	var stalled []*stream
	if c.waiting > 0 && cfg.Stall > 0 {
		stalled = c.stalledLocked(now)
	}
	c.mu.Unlock()
	if need {
		cfg.Work.Add(c)
	}
	for _, s := range stalled {
		cfg.LimitHit("stall")
		s.stall()
	}
}

const pingTimeout = 20 * time.Second

// stalledLocked returns the streams whose peer takes less than stallRate.
func (c *Conn) stalledLocked(now time.Time) (out []*stream) {
	for _, s := range c.streams {
		switch {
		case s.queued == 0:
			s.stallAt = 0
		case s.stallAt == 0:
			s.stallAt, s.stallSent = now.UnixNano(), 0
		case now.UnixNano()-s.stallAt >= int64(c.cfg.Stall):
			if float64(s.stallSent) < stallRate*c.cfg.Stall.Seconds() {
				out = append(out, s)
			}
			s.stallAt, s.stallSent = now.UnixNano(), 0
		}
	}
	return out
}

// stallRate is how many bytes a second a peer has to take of what waits for it.
const stallRate = 1024

// Available returns how many more streams a client may open now.
func (c *Conn) Available() int { return int(c.room.Load()) }

// roomLocked is called after whatever availableLocked depends on has changed.
func (c *Conn) roomLocked() {
	if c.client {
		c.room.Store(int64(c.availableLocked()))
	}
}

func (c *Conn) availableLocked() int {
	if !c.ready || c.peerGone || c.dead || c.nextID > maxStreamID {
		return 0
	}
	return max(0, min(c.cfg.MaxStreams, c.peerStreams)-len(c.streams))
}

// Open returns how many streams are open.
func (c *Conn) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.streams)
}

// Stalled says whether streams wait for the connection's send window, which is zero.
func (c *Conn) Stalled() bool { return c.stuck.Load() }
