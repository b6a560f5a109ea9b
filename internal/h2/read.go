package h2

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// input is the parser: it is fed pieces of any size and keeps what is incomplete, at
// most a frame header or a small frame.
type input struct {
	preface int // bytes of the preface still to come
	hdr     [frameHeaderLen]byte
	hdrLen  int
	inFrame bool
	frameHeader
	left    int // payload bytes still to come
	padding int // of these, padding at the end; -1: its length is still to come
	prio    int // bytes of the priority block still to come
	prioBuf [5]byte
	small   []byte  // the payload of a frame that is looked at whole
	data    *stream // whose DATA it is
}

type frameHeader struct {
	length     int
	typ, flags byte
	stream     uint32
}

// maxSmall bounds frames that are kept whole: SETTINGS and GOAWAY.
const maxSmall = maxFrame

func (c *Conn) feed(b []byte) error {
	in := &c.in
	for len(b) > 0 {
		switch {
		case in.preface > 0:
			n := min(len(b), in.preface)
			at := len(Preface) - in.preface
			if string(b[:n]) != Preface[at:at+n] {
				return connError{exchange.ProtocolError, "the client's preface is not that of HTTP/2"}
			}
			in.preface -= n
			b = b[n:]
		case !in.inFrame:
			n := copy(in.hdr[in.hdrLen:], b)
			in.hdrLen += n
			b = b[n:]
			if in.hdrLen < frameHeaderLen {
				return nil
			}
			in.hdrLen = 0
			h := in.hdr
			in.frameHeader = frameHeader{
				length: int(h[0])<<16 | int(h[1])<<8 | int(h[2]), typ: h[3], flags: h[4],
				stream: binary.BigEndian.Uint32(h[5:]) &^ (1 << 31),
			}
			in.left, in.padding, in.prio = in.length, 0, 0
			in.inFrame = true
			if err := c.frameBegins(); err != nil {
				return err
			}
			if in.left == 0 {
				if err := c.frameEnds(); err != nil {
					return err
				}
			}
		default:
			n := min(len(b), in.left)
			if err := c.payload(b[:n]); err != nil {
				return err
			}
			b = b[n:]
			if in.left == 0 {
				if err := c.frameEnds(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (c *Conn) frameBegins() error {
	in := &c.in
	if in.length > maxFrame {
		return connError{exchange.FrameSizeError, fmt.Sprintf("a frame of %d bytes; the limit is %d", in.length, maxFrame)}
	}
	if !c.gotSettings && (in.typ != frameSettings || in.flags&flagAck != 0) {
		return connError{exchange.ProtocolError, "the first frame is not SETTINGS"}
	}
	if c.block.on && (in.typ != frameContinuation || in.stream != c.block.id) {
		return connError{exchange.ProtocolError, "a frame inside of a field section"}
	}
	switch in.typ {
	case frameData:
		return c.dataBegins()
	case frameHeaders:
		if err := c.padded(); err != nil {
			return err
		}
		if in.flags&flagPriority != 0 {
			in.prio = 5
		}
		if in.left-max(0, -in.padding) < in.prio {
			return connError{exchange.FrameSizeError, "HEADERS is too short"}
		}
		return c.blockBegins()
	case frameContinuation:
		if !c.block.on {
			return connError{exchange.ProtocolError, "CONTINUATION without HEADERS"}
		}
		c.block.frames++
		if c.block.frames > maxContinuations {
			return abusive("conn_abuse", "a field section in too many frames")
		}
		return nil
	case framePushPromise:
		return connError{exchange.ProtocolError, "PUSH_PROMISE was not allowed"}
	case frameSettings, framePing, frameGoAway:
		if in.stream != 0 {
			return connError{exchange.ProtocolError, "a frame of the connection on a stream"}
		}
	case framePriority, frameRSTStream:
		if in.stream == 0 {
			return connError{exchange.ProtocolError, "a frame of a stream on the connection"}
		}
	}
	fixed := -1
	switch in.typ {
	case framePing:
		fixed = 8
	case frameRSTStream, frameWindowUpdate:
		fixed = 4
	case framePriority:
		if in.length != 5 {
			c.skip()
			return c.streamError(in.stream, exchange.FrameSizeError)
		}
	}
	if fixed >= 0 && in.length != fixed {
		return connError{exchange.FrameSizeError, "a frame of a wrong length"}
	}
	in.small = in.small[:0]
	return nil
}

// skip makes the rest of a frame pass without being looked at.
func (c *Conn) skip() { c.in.typ = frameSkipped }

// frameSkipped is no type of the wire's that we know.
const frameSkipped = 0xff

// padded notes that a pad length is to come.
func (c *Conn) padded() error {
	in := &c.in
	if in.flags&flagPadded == 0 {
		return nil
	}
	if in.left == 0 {
		return connError{exchange.FrameSizeError, "a padded frame without a pad length"}
	}
	in.padding = -1
	return nil
}

// payload takes a part of the current frame's payload.
func (c *Conn) payload(b []byte) error {
	in := &c.in
	switch in.typ {
	case frameData, frameHeaders:
		if in.padding < 0 {
			in.padding = int(b[0])
			b = b[1:]
			in.left--
			if in.padding > in.left-in.prio {
				return connError{exchange.ProtocolError, "more padding than payload"}
			}
			if in.typ == frameData {
				c.dataPadding(1 + in.padding)
			}
		}
		for in.prio > 0 && len(b) > 0 {
			in.prioBuf[5-in.prio] = b[0]
			in.prio--
			in.left--
			b = b[1:]
		}
		content := min(len(b), in.left-in.padding)
		in.left -= len(b)
		if content <= 0 {
			return nil
		}
		if in.typ == frameData {
			c.dataPiece(b[:content])
			return nil
		}
		return c.blockPiece(b[:content])
	case frameContinuation:
		in.left -= len(b)
		return c.blockPiece(b)
	case framePriority, frameRSTStream, frameSettings, framePing, frameGoAway, frameWindowUpdate:
		in.left -= len(b)
		if len(in.small)+len(b) <= maxSmall {
			in.small = append(in.small, b...)
		}
		return nil
	}
	in.left -= len(b)
	return nil
}

func (c *Conn) frameEnds() error {
	in := &c.in
	in.inFrame = false
	switch in.typ {
	case frameData:
		return c.dataEnds()
	case frameHeaders:
		if in.flags&flagPriority != 0 && binary.BigEndian.Uint32(in.prioBuf[:])&^(1<<31) == in.stream {
			c.block.selfDependent = true
		}
		if in.flags&flagEndHeaders != 0 {
			return c.blockEnds()
		}
	case frameContinuation:
		if in.flags&flagEndHeaders != 0 {
			return c.blockEnds()
		}
	case framePriority:
		if binary.BigEndian.Uint32(in.small)&^(1<<31) == in.stream {
			return c.streamError(in.stream, exchange.ProtocolError)
		}
		return c.charge(costControl)
	case frameRSTStream:
		return c.onReset(exchange.Code(binary.BigEndian.Uint32(in.small)))
	case frameSettings:
		return c.onSettings()
	case framePing:
		return c.onPing()
	case frameGoAway:
		return c.onGoAway()
	case frameWindowUpdate:
		return c.onWindowUpdate(int(binary.BigEndian.Uint32(in.small) &^ (1 << 31)))
	default:
		return c.charge(costControl)
	}
	return nil
}

// charge takes from the abuse budget.
func (c *Conn) charge(n int) error {
	if c.client {
		return c.owes()
	}
	c.mu.Lock()
	ok := c.abuse.charge(n)
	c.mu.Unlock()
	if !ok {
		return abusive("conn_abuse", "too many frames that do no work")
	}
	return c.owes()
}

// owes looks that a peer that doesn't read does not make us owe it more and more.
func (c *Conn) owes() error {
	c.mu.Lock()
	over := c.control > maxControl
	c.mu.Unlock()
	if over {
		return abusive("conn_abuse", "the peer asks and does not read the answers")
	}
	return nil
}

// streamError answers a broken rule of one stream (RFC 9113, section 5.4.2).
func (c *Conn) streamError(id uint32, code exchange.Code) error {
	c.mu.Lock()
	s := c.streams[id]
	if s == nil {
		if !c.resetLately(id) {
			(&stream{c: c, id: id}).rstLocked(code)
		}
		c.mu.Unlock()
		c.readMark = true
		return c.charge(costError)
	}
	c.mu.Unlock()
	if c.client {
		s.resetClient(code, code, fmt.Errorf("the backend broke a rule of HTTP/2: %s", code))
		return nil
	}
	if i := s.startIndex(); i >= 0 {
		c.mu.Lock()
		s.rstLocked(code)
		s.reset = true
		s.removeLocked()
		c.mu.Unlock()
		c.starts[i].s = nil
		c.readMark = true
	} else {
		s.fail(code, code)
	}
	return c.charge(costError)
}

// take gets the baton of a stream's events for the reader. It says false if nobody
// wants them.
func (c *Conn) take(s *stream) bool {
	if c.held == s {
		return !s.gone.Load()
	}
	return c.pass(s)
}

// release gives the baton back, and delivers what waited for that.
func (c *Conn) release() {
	if c.held != nil {
		c.pass(nil)
	}
}

// pass gives the baton of one stream back and takes that of another; either may be nil.
func (c *Conn) pass(to *stream) bool {
	c.mu.Lock()
	from, tell, done := c.passLocked(to)
	taken := c.held != nil
	c.mu.Unlock()
	from.passed(tell, done)
	return taken
}

// find looks a stream up and takes its baton, if anybody wants its events. Without a
// stream it says whether the id was reset lately.
func (c *Conn) find(id uint32) (s *stream, late bool) {
	c.mu.Lock()
	s = c.streams[id]
	if s == nil {
		late = c.resetLately(id)
		c.mu.Unlock()
		return nil, late
	}
	from, tell, done := c.passLocked(s)
	c.mu.Unlock()
	from.passed(tell, done)
	return s, false
}

func (c *Conn) passLocked(to *stream) (from *stream, tell, done bool) {
	from = c.held
	c.held = nil
	if from != nil && from != to {
		from.reading = false
		tell = from.toTell
		from.toTell = false
		done = !c.client && from.doneLocked()
	}
	if to != nil && (from == to || !to.gone.Load()) {
		to.reading = true
		c.held = to
	}
	return from, tell, done
}

// passed delivers what waited for the baton.
func (s *stream) passed(tell, done bool) {
	if tell {
		s.resp.Reset(s.resetCode, s.resetCause)
	}
	if done {
		s.req.Done(s.delivered())
	}
}

// dataBegins counts the whole frame against both windows (RFC 9113, section 6.9.1).
func (c *Conn) dataBegins() error {
	in := &c.in
	if in.stream == 0 {
		return connError{exchange.ProtocolError, "DATA on stream 0"}
	}
	if err := c.padded(); err != nil {
		return err
	}
	in.data = nil
	if c.recvOpen.Add(int64(-in.length)) < 0 {
		return connError{exchange.FlowControlError, "more DATA than the connection's window"}
	}
	if int64(max(c.cfg.ConnBuffer, initialWindow))-c.recvOpen.Load() >= int64(max(c.cfg.ConnBuffer, initialWindow))/2 {
		c.readMark = true
	}
	s, late := c.held, false
	if s == nil || s.id != in.stream || s.gone.Load() {
		s, late = c.find(in.stream)
	}
	if s == nil {
		if c.idle(in.stream) {
			return connError{exchange.ProtocolError, "DATA on an idle stream"}
		}
		c.skip()
		if late || c.client {
			return c.charge(costControl)
		}
		return c.streamError(in.stream, exchange.StreamClosed)
	}
	if s.recvEnded {
		c.skip()
		return c.streamError(in.stream, exchange.StreamClosed)
	}
	if s.recvOpen.Add(int32(-in.length)) < 0 {
		c.skip()
		return c.streamError(in.stream, exchange.FlowControlError)
	}
	if in.length < tinyData && in.flags&flagEndStream == 0 {
		if err := c.charge(costTinyData); err != nil {
			return err
		}
	}
	if s.length >= 0 {
		s.length -= int64(in.length)
		if in.flags&flagPadded != 0 {
			s.length = -2 // counted by pieces is not worth it: padding is rare
		} else if s.length < 0 || (in.flags&flagEndStream != 0 && s.length != 0) {
			c.skip()
			return c.streamError(in.stream, exchange.ProtocolError)
		}
	}
	if c.client && !s.headSeen {
		c.skip()
		return c.streamError(in.stream, exchange.ProtocolError)
	}
	if !c.client {
		if i := s.startIndex(); i >= 0 {
			c.start(i)
		}
	}
	in.data = s
	return nil
}

// idle says whether a stream was never opened.
func (c *Conn) idle(id uint32) bool {
	if c.client {
		c.mu.Lock()
		defer c.mu.Unlock()
		return id%2 == 0 || id >= c.nextID
	}
	return id%2 == 0 || id > c.lastID
}

// dataPadding credits what is no content at once.
func (c *Conn) dataPadding(n int) {
	if s := c.in.data; s != nil {
		s.waits.Add(int32(n))
		c.buffer(n)
		s.credit(n)
	}
}

func (c *Conn) dataPiece(b []byte) {
	s := c.in.data
	if s == nil || !c.take(s) {
		return
	}
	w := s.waits.Add(int32(len(b)))
	c.buffer(len(b))
	if w > rpc.WindowMin && c.cfg.Budget.over() {
		c.cfg.LimitHit("buffer_bytes")
		if c.client {
			s.resetClient(exchange.Cancel, exchange.EnhanceYourCalm, exchange.ErrBuffers)
		} else {
			s.fail(exchange.EnhanceYourCalm, exchange.EnhanceYourCalm)
		}
		return
	}
	if c.client {
		s.resp.Data(b)
	} else {
		s.req.Data(b)
	}
}

func (c *Conn) dataEnds() error {
	s := c.in.data
	if s == nil || c.in.flags&flagEndStream == 0 {
		return nil
	}
	c.in.data = nil
	if s.length > 0 {
		return c.streamError(s.id, exchange.ProtocolError)
	}
	c.recvEnd(s, nil)
	return nil
}

// recvEnd delivers the end of what a peer sends on a stream.
func (c *Conn) recvEnd(s *stream, trailer []exchange.Field) {
	deliver := c.take(s)
	c.mu.Lock()
	s.recvEnded = true
	if c.client {
		deliver = s.finishLocked() && deliver
		c.readMark = c.readMark || s.reset || c.closeOnIdle
	}
	c.mu.Unlock()
	switch {
	case !deliver:
	case c.client:
		s.resp.End(trailer)
	default:
		s.req.End(trailer)
	}
}

func (c *Conn) onReset(code exchange.Code) error {
	id := c.in.stream
	if c.idle(id) {
		return connError{exchange.ProtocolError, "RST_STREAM on an idle stream"}
	}
	c.mu.Lock()
	s := c.streams[id]
	c.mu.Unlock()
	if s == nil {
		return c.charge(costControl)
	}
	if c.client {
		c.release() // the baton must not be in the way of the end
		s.lose(code, nil)
		return nil
	}
	if i := s.startIndex(); i >= 0 {
		// Opened and reset in one batch: nobody ever hears of it.
		c.starts[i].s = nil
		c.mu.Lock()
		s.reset = true
		s.removeLocked()
		c.mu.Unlock()
		return c.charge(costEarlyReset)
	}
	cost := costReset
	if s.delivered() {
		cost = costControl
	}
	s.abandon(code)
	return c.charge(cost)
}

func (c *Conn) onPing() error {
	in := &c.in
	data := [8]byte(in.small)
	c.mu.Lock()
	if in.flags&flagAck != 0 {
		if data == pingDrain {
			c.goAwayLocked()
			c.readMark = true
		}
		c.mu.Unlock()
		return nil
	}
	c.controlLocked(appendPing(c.wbuf, flagAck, data))
	c.mu.Unlock()
	c.readMark = true
	return c.charge(costControl)
}

func (c *Conn) onWindowUpdate(n int) error {
	id := c.in.stream
	if id == 0 {
		if n == 0 {
			return connError{exchange.ProtocolError, "WINDOW_UPDATE of zero"}
		}
		c.mu.Lock()
		c.sendOpen += int64(n)
		over := c.sendOpen > maxWindow
		c.mu.Unlock()
		if over {
			return connError{exchange.FlowControlError, "the connection's window is larger than 2^31-1"}
		}
		c.readMark = true
		return c.charge(costControl)
	}
	if c.idle(id) {
		return connError{exchange.ProtocolError, "WINDOW_UPDATE on an idle stream"}
	}
	if n == 0 {
		return c.streamError(id, exchange.ProtocolError)
	}
	c.mu.Lock()
	s := c.streams[id]
	over := false
	if s != nil {
		s.sendOpen += int64(n)
		over = s.sendOpen > maxWindow
		if s.sendOpen > 0 && s.queued > 0 {
			s.ringLocked()
			c.readMark = true
		}
	}
	c.mu.Unlock()
	if over {
		return c.streamError(id, exchange.FlowControlError)
	}
	return c.charge(costControl)
}

func (c *Conn) onSettings() error {
	in := &c.in
	if in.flags&flagAck != 0 {
		if in.length != 0 {
			return connError{exchange.FrameSizeError, "an acknowledgement of SETTINGS with a payload"}
		}
		c.mu.Lock()
		c.settingsAt = time.Time{}
		c.mu.Unlock()
		return nil
	}
	if in.length%6 != 0 {
		return connError{exchange.FrameSizeError, "SETTINGS of a wrong length"}
	}
	c.mu.Lock()
	err := c.applySettings(in.small)
	if err == nil {
		c.controlLocked(appendFrameHeader(c.wbuf, 0, frameSettings, flagAck, 0))
	}
	first := !c.gotSettings
	c.gotSettings = true
	if first {
		c.ready = true
	}
	c.roomLocked()
	c.mu.Unlock()
	c.readMark = true
	if err != nil {
		return err
	}
	if first {
		if !c.client {
			c.blockSince.Store(0)
			return nil
		}
		c.events.Ready()
		return nil
	}
	return c.charge(costSettings)
}

// applySettings takes the settings in order, which counts if one stands twice.
func (c *Conn) applySettings(b []byte) error {
	for ; len(b) >= 6; b = b[6:] {
		v := binary.BigEndian.Uint32(b[2:])
		switch binary.BigEndian.Uint16(b) {
		case settingHeaderTableSize:
			c.enc.setLimit(int(min(v, encoderTable)))
		case settingEnablePush:
			if v > 1 || (c.client && v != 0) {
				return connError{exchange.ProtocolError, "ENABLE_PUSH is neither 0 nor 1"}
			}
		case settingMaxConcurrentStreams:
			c.peerStreams = int(min(v, 1<<20))
		case settingInitialWindowSize:
			if v > maxWindow {
				return connError{exchange.FlowControlError, "INITIAL_WINDOW_SIZE is larger than 2^31-1"}
			}
			delta := int64(v) - c.peerWindow
			c.peerWindow = int64(v)
			for _, s := range c.streams {
				s.sendOpen += delta
				if s.sendOpen > maxWindow {
					return connError{exchange.FlowControlError, "a stream's window is larger than 2^31-1"}
				}
				if s.sendOpen > 0 {
					s.ringLocked()
				} else {
					s.unringLocked()
				}
			}
		case settingMaxFrameSize:
			if v < maxFrame || v > 1<<24-1 {
				return connError{exchange.ProtocolError, "MAX_FRAME_SIZE is out of its range"}
			}
		case settingEnableConnect:
			if v > 1 || (c.peerConnect && v == 0) {
				return connError{exchange.ProtocolError, "ENABLE_CONNECT_PROTOCOL is neither 0 nor 1, or was taken back"}
			}
			c.peerConnect = v == 1
		}
	}
	return nil
}

func (c *Conn) onGoAway() error {
	in := &c.in
	if in.length < 8 {
		return connError{exchange.FrameSizeError, "GOAWAY is too short"}
	}
	if !c.client {
		return c.charge(costControl)
	}
	last := binary.BigEndian.Uint32(in.small) &^ (1 << 31)
	code := exchange.Code(binary.BigEndian.Uint32(in.small[4:]))
	debug := string(in.small[8:min(len(in.small), 8+256)])
	cause := fmt.Errorf("the backend sent GOAWAY %s %q", code, debug)
	c.release()
	c.mu.Lock()
	c.peerGone, c.closeOnIdle = true, true
	c.roomLocked()
	var refused []*stream
	for id, s := range c.streams {
		if id > last {
			refused = append(refused, s)
		}
	}
	c.mu.Unlock()
	c.readMark = true
	c.events.Draining()
	for _, s := range refused {
		s.lose(exchange.RefusedStream, cause)
	}
	return nil
}
