package h2

import (
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/netio"
)

var _ netio.Flusher = (*Conn)(nil)

// A chunk is a piece of a stream's queue.
type chunk struct {
	next *chunk
	b    []byte           // what is left of it
	mem  [4<<10 - 32]byte // with the fields above a size class of the allocator
}

var chunks = sync.Pool{New: func() any { return new(chunk) }}

func (s *stream) popChunk() {
	ch := s.head
	s.head = ch.next
	if s.head == nil {
		s.tail = nil
	}
	ch.next, ch.b = nil, nil
	chunks.Put(ch)
}

// enqueueLocked keeps data for later.
func (s *stream) enqueueLocked(b []byte) {
	if len(b) == 0 {
		return
	}
	if s.queued == 0 {
		s.c.waiting++
	}
	s.queued += len(b)
	for len(b) > 0 {
		t := s.tail
		if t == nil || &t.b[:cap(t.b)][cap(t.b)-1] != &t.mem[len(t.mem)-1] || len(t.b) == cap(t.b) {
			t = chunks.Get().(*chunk)
			t.b = t.mem[:0]
			if s.tail == nil {
				s.head = t
			} else {
				s.tail.next = t
			}
			s.tail = t
		}
		n := min(len(b), cap(t.b)-len(t.b))
		t.b = append(t.b, b[:n]...)
		b = b[n:]
	}
}

// send is Data of both roles. What fits goes into the write buffer at once; the rest
// waits in the stream's queue for a window, or for the socket.
func (s *stream) send(b []byte) {
	c := s.c
	c.mu.Lock()
	if s.ended || s.reset {
		c.mu.Unlock()
		return
	}
	if s.queued == 0 && c.ring == nil {
		for len(b) > 0 {
			n := s.frameRoomLocked(len(b))
			if n == 0 {
				break
			}
			s.appendDataLocked(b[:n])
			b = b[n:]
		}
	}
	if len(b) > 0 {
		s.enqueueLocked(b)
		if s.sendOpen > 0 {
			s.ringLocked()
		}
	}
	need := c.markLocked()
	c.mu.Unlock()
	if need {
		c.cfg.Work.Add(c)
	}
}

// bigBufs are write buffers for much DATA. Made by append, each connection would double
// its way up again after each write.
var bigBufs = sync.Pool{New: func() any { return new([bigWbuf]byte) }}

// growLocked makes room for n bytes in the write buffer, unless append does it as well.
func (c *Conn) growLocked(n int) {
	need := len(c.wbuf) + n
	if need <= cap(c.wbuf) || need <= keepWbuf || need > bigWbuf {
		return
	}
	small := c.wbuf
	c.wbuf = append(bigBufs.Get().(*[bigWbuf]byte)[:0], small...)
	if c.wspare == nil {
		c.wspare = small[:0]
	}
}

// forget gives up a write buffer.
func forget(b []byte) {
	if cap(b) == bigWbuf {
		bigBufs.Put((*[bigWbuf]byte)(b[:bigWbuf]))
	}
}

// frameRoomLocked returns how much of n bytes may go into the write buffer as one frame.
func (s *stream) frameRoomLocked(n int) int {
	c := s.c
	room := maxWbuf - len(c.wbuf)
	if room <= 0 || s.sendOpen <= 0 || c.sendOpen <= 0 {
		return 0
	}
	return min(n, maxFrame, room, int(min(s.sendOpen, c.sendOpen)))
}

// appendDataLocked cuts a DATA frame, or makes the last one longer.
func (s *stream) appendDataLocked(b []byte) {
	c := s.c
	n := len(b)
	s.sendOpen -= int64(n)
	c.sendOpen -= int64(n)
	s.stallSent += n
	c.growLocked(frameHeaderLen + n)
	if c.last.s == s && c.last.data {
		h := c.wbuf[c.last.at:]
		if l := int(h[0])<<16 | int(h[1])<<8 | int(h[2]); l+n <= maxFrame {
			l += n
			h[0], h[1], h[2] = byte(l>>16), byte(l>>8), byte(l)
			c.wbuf = append(c.wbuf, b...)
			c.ledger[len(c.ledger)-1].n += n
			return
		}
	}
	c.last = lastFrame{s: s, at: len(c.wbuf), data: true}
	c.wbuf = append(appendFrameHeader(c.wbuf, n, frameData, 0, s.id), b...)
	c.ledger = append(c.ledger, entry{s: s, n: n})
	s.inflight++
}

// sendEndLocked ends what is sent on the stream, after its queue.
func (s *stream) sendEndLocked(trailer []exchange.Field) {
	if s.queued > 0 {
		s.hasEnd = true
		s.trailer = append([]exchange.Field(nil), trailer...)
		return
	}
	s.cutEndLocked(trailer)
}

// cutEndLocked puts END_STREAM into the write buffer: with trailers, on the last frame
// if that is this stream's, else on an empty DATA frame.
func (s *stream) cutEndLocked(trailer []exchange.Field) {
	c := s.c
	switch {
	case len(trailer) > 0:
		c.encodeTrailer(s, trailer)
	case c.last.s == s:
		c.wbuf[c.last.at+4] |= flagEndStream
	default:
		c.wbuf = appendFrameHeader(c.wbuf, 0, frameData, flagEndStream, s.id)
	}
	c.last = lastFrame{}
	s.endCutLocked()
}

// endCutLocked notes that END_STREAM is in the write buffer. A server that has
// answered before the request ended says that it does not want the rest
// (RFC 9113, section 8.1).
func (s *stream) endCutLocked() {
	c := s.c
	s.cutEnd = true
	c.ledger = append(c.ledger, entry{s: s, end: true})
	s.inflight++
	if !c.client && !s.recvEnded {
		s.rstLocked(exchange.NoError)
	}
}

// The ring holds the streams that have data and a window of their own.

func (s *stream) ringLocked() {
	if s.inRing || s.queued == 0 {
		return
	}
	s.inRing = true
	c := s.c
	if c.ring == nil {
		s.next, s.prev = s, s
		c.ring = s
		return
	}
	r := c.ring
	s.next, s.prev = r, r.prev
	r.prev.next = s
	r.prev = s
}

func (s *stream) unringLocked() {
	if !s.inRing {
		return
	}
	s.inRing = false
	c := s.c
	if s.next == s {
		c.ring = nil
	} else {
		s.prev.next, s.next.prev = s.next, s.prev
		if c.ring == s {
			c.ring = s.next
		}
	}
	s.next, s.prev = nil, nil
}

// cutLocked fills the write buffer from the queues, a frame a stream in turn.
func (c *Conn) cutLocked() {
	for c.ring != nil && c.sendOpen > 0 && len(c.wbuf) < maxWbuf {
		s := c.ring
		for took := 0; s.queued > 0 && took < maxFrame; {
			n := s.frameRoomLocked(min(len(s.head.b), maxFrame-took))
			if n == 0 {
				break
			}
			s.appendDataLocked(s.head.b[:n])
			s.head.b = s.head.b[n:]
			if len(s.head.b) == 0 {
				s.popChunk()
			}
			s.queued -= n
			took += n
		}
		switch {
		case s.queued == 0:
			c.waiting--
			s.unringLocked()
			if s.hasEnd {
				s.hasEnd = false
				s.cutEndLocked(s.trailer)
				s.trailer = nil
			}
		case s.sendOpen <= 0:
			s.unringLocked()
		default:
			c.ring = s.next
		}
	}
}

// Flush writes what there is without blocking. It is called from the work list; one
// goroutine at a time gets further than its first lines.
func (c *Conn) Flush() {
	c.mu.Lock()
	c.dirty = false
	if c.writing {
		c.mu.Unlock()
		return // whoever writes looks again
	}
	c.writing = true
	for {
		buf, led := c.takeLocked()
		if buf == nil {
			return
		}
		c.mu.Unlock()
		n, err := c.nc.TryWrite(buf)
		if err == nil && (n < len(buf) || c.nc.Pending()) {
			c.writers.Add(1)
			go c.writeRest(buf, n, led) // ends when nothing is left to write, or with the connection
			return
		}
		c.written(buf, led, err)
		c.mu.Lock()
		if err != nil {
			c.writing = false
			c.mu.Unlock()
			return
		}
	}
}

// takeLocked takes what is to be written. With nothing to write it gives the token
// back, releases the lock and returns nil.
func (c *Conn) takeLocked() ([]byte, []entry) {
	if !c.dead {
		c.announceLocked()
		c.cutLocked()
		if stuck := c.sendOpen <= 0 && c.waiting > 0; stuck != c.stuck.Load() {
			c.stuck.Store(stuck)
		}
	}
	if len(c.wbuf) == 0 || c.dead {
		c.writing = false
		closing := c.closeOnIdle && len(c.streams) == 0 && !c.dead
		if cap(c.wbuf) > keepWbuf {
			forget(c.wbuf)
			c.wbuf, c.last = nil, lastFrame{}
		}
		if cap(c.wspare) > keepWbuf {
			forget(c.wspare)
			c.wspare = nil
		}
		c.mu.Unlock()
		if closing {
			c.stop(errIdle)
		}
		return nil, nil
	}
	buf, led := c.wbuf, c.ledger
	c.wbuf, c.ledger = c.wspare[:0], c.lspare[:0]
	c.wspare, c.lspare = nil, nil
	c.control = 0
	c.last = lastFrame{}
	c.sentID = c.nextID
	return buf, led
}

// writeRest holds the writing token and blocks.
func (c *Conn) writeRest(buf []byte, n int, led []entry) {
	defer c.writers.Done()
	for {
		if c.cfg.Stall > 0 {
			_ = c.nc.SetWriteDeadline(time.Now().Add(c.cfg.Stall))
		}
		err := c.nc.Write(buf[n:])
		c.cfg.Work.Enter()
		c.written(buf, led, err)
		c.cfg.Work.Leave()
		c.mu.Lock()
		if err != nil {
			c.writing = false
			c.mu.Unlock()
			return
		}
		buf, led = c.takeLocked()
		if buf == nil {
			return
		}
		c.mu.Unlock()
		n = 0
	}
}

// written gives credit for what the kernel has taken, and ends what has ended.
func (c *Conn) written(buf []byte, led []entry, err error) {
	if err != nil {
		c.stop(err)
	}
	for i := range led {
		if e := &led[i]; e.n > 0 && err == nil {
			if c.client {
				e.s.resp.Credit(e.n)
			} else {
				e.s.req.Credit(e.n)
			}
		}
	}
	var few [16]*stream
	dones := few[:0]
	c.mu.Lock()
	for i := range led {
		e := &led[i]
		e.s.inflight--
		if e.end && err == nil {
			e.s.flushed = true
		}
		pay := e.n / payBytes
		if e.n >= tinyData && e.s.sendOpen > 0 {
			pay += payData
		}
		if pay > 0 {
			c.abuse.pay(pay)
		}
		if !c.client && e.s.doneLocked() {
			dones = append(dones, e.s)
		}
	}
	clear(led)
	if c.wspare == nil {
		c.wspare = buf[:0]
	} else {
		forget(buf)
	}
	if c.lspare == nil {
		c.lspare = led[:0]
	}
	c.mu.Unlock()
	for _, s := range dones {
		s.req.Done(s.delivered())
	}
}
