package h2

import (
	"errors"
	"sync/atomic"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// A stream is one exchange on a connection, in either role.
type stream struct {
	c  *Conn
	id uint32

	// Where events go: a server's request, a client's response.
	req  exchange.Request
	resp exchange.Response

	// gone is set when nothing that comes for the stream is of use any more.
	gone atomic.Bool
	// Receiving. recvOpen is what the peer may send, waits is what came and was not
	// credited, credited is what was and has not been announced.
	recvOpen atomic.Int32
	waits    atomic.Int32
	credited atomic.Int32
	creditAt atomic.Int32 // announce from here on: half a window

	// The rest is guarded by c.mu.
	flags
	length   int64 // content that is still to come, by content-length; -1 is unknown
	recvSize int32
	sendOpen int64
	inflight int // parts of wbuf whose credit is due

	head, tail *chunk // queued data
	queued     int
	trailer    []exchange.Field // of an End that waits for the queue
	next, prev *stream          // in the ring of streams to send

	stallAt   int64 // since when the queue has not been empty, Unix nanoseconds
	stallSent int

	resetCode  exchange.Code // for the reader to deliver when it lets go
	resetCause error
}

// flags say how far a stream is.
type flags struct {
	reading   bool // the reader is delivering one of its events
	started   bool // the handler knows it
	recvEnded bool // END_STREAM came
	headSeen  bool // a client's: the final response head came
	ended     bool // the local side has ended: End, Head with end, Reset
	hasEnd    bool // an End waits for the queue
	sentHead  bool
	cutEnd    bool // END_STREAM is in wbuf, or was sent
	flushed   bool // END_STREAM was taken by the kernel
	reset     bool // RST_STREAM was sent or came, or the connection died
	told      bool // a server's handler knows of the reset; a client's response has had its end
	toTell    bool // the reader delivers resetCode when it lets go
	done      bool
	inRing    bool
	inCredits bool
}

// newStreamLocked opens a stream.
func (c *Conn) newStreamLocked(s *stream, id uint32) {
	s.c, s.id = c, id
	s.length = -1
	s.sendOpen = c.peerWindow
	w := int32(c.cfg.StreamWindow)
	s.recvSize = w
	s.recvOpen.Store(w)
	s.creditAt.Store(w / 2)
	c.streams[id] = s
	c.roomLocked()
}

// removeLocked takes a stream off the connection and frees what it holds.
func (s *stream) removeLocked() {
	c := s.c
	if c.streams[s.id] != s {
		return
	}
	delete(c.streams, s.id)
	c.roomLocked()
	s.gone.Store(true)
	s.dropLocked()
	if left := s.waits.Swap(0); left > 0 {
		c.buffer(int(-left))
	}
	if grown := s.recvSize - int32(c.cfg.StreamWindow); grown > 0 && c.client {
		c.cfg.Budget.grow(-grown)
	}
	if len(c.streams) == 0 {
		c.idleSince = timeNow()
		c.settle() // for good, perhaps
	}
}

// dropLocked forgets what was queued to be sent.
func (s *stream) dropLocked() {
	if s.queued > 0 {
		s.c.waiting--
	}
	s.unringLocked()
	for s.head != nil {
		s.popChunk()
	}
	s.queued, s.hasEnd, s.trailer = 0, false, nil
}

// buffer counts bytes that came, or, negative, that were taken. The budget is common to
// all connections, so it hears of steps only.
func (c *Conn) buffer(n int) {
	b := c.buffered.Add(int64(n))
	if d := b - c.charged.Load(); d > budgetStep || d < -budgetStep {
		c.settle()
	}
}

// budgetStep is how far the budget may be off for a connection.
const budgetStep = 2 << 10

// settle makes the budget exact.
func (c *Conn) settle() {
	for {
		was, now := c.charged.Load(), c.buffered.Load()
		if was == now {
			return
		}
		if c.charged.CompareAndSwap(was, now) {
			c.cfg.Budget.add(int(now - was))
			return
		}
	}
}

// credit is what both roles' Credit does: n received bytes were taken.
func (s *stream) credit(n int) {
	c := s.c
	taken := int32(0)
	for {
		w := s.waits.Load()
		taken = min(int32(n), w)
		if s.waits.CompareAndSwap(w, w-taken) {
			break
		}
	}
	if taken <= 0 {
		return
	}
	c.buffer(int(-taken))
	if s.credited.Add(taken) < s.creditAt.Load() && !c.starved.Load() {
		return
	}
	c.mu.Lock()
	if !s.inCredits && !s.recvEnded && !s.reset {
		s.inCredits = true
		c.credits = append(c.credits, s)
	}
	need := c.markLocked()
	c.mu.Unlock()
	if need {
		c.cfg.Work.Add(c)
	}
}

// announceLocked turns credits into WINDOW_UPDATE frames. Windows grow by evidence: a
// peer that came to the end of its window although everything had been taken is
// slowed by the window. A client's connection buffer bounds what its requests can hold,
// but the windows of responses are the only bound there is, so those have a budget.
func (c *Conn) announceLocked() {
	for i, s := range c.credits {
		c.credits[i] = nil
		s.inCredits = false
		n := s.credited.Swap(0)
		if n == 0 || s.recvEnded || s.reset {
			continue
		}
		open := s.recvOpen.Load()
		if open <= s.recvSize/4 && s.waits.Load() <= s.recvSize/4 && s.recvSize < rpc.WindowMax && !c.cfg.Budget.tight() &&
			(!c.client || c.cfg.Budget.grow(s.recvSize)) {
			n += s.recvSize
			s.recvSize *= 2
			s.creditAt.Store(s.recvSize / 2)
		}
		s.recvOpen.Add(n)
		c.controlLocked(appendWindowUpdate(c.wbuf, s.id, int(n)))
	}
	c.credits = c.credits[:0]

	size := int64(max(c.cfg.ConnBuffer, initialWindow))
	used := size - c.recvOpen.Load()
	if used < size/2 {
		return
	}
	// A client's share of the gateway's memory is used up: let it wait. A backend's
	// connection is shared by many clients, so there the stream windows are the bound.
	if !c.client && c.buffered.Load() > size/2 {
		c.starved.Store(true)
		if c.buffered.Load() > size/2 { // nobody credited in between without seeing the flag
			return
		}
	}
	c.starved.Store(false)
	c.recvOpen.Add(used)
	c.controlLocked(appendWindowUpdate(c.wbuf, 0, int(used)))
}

// controlLocked takes wbuf with a control frame appended to it.
func (c *Conn) controlLocked(wbuf []byte) {
	c.control += len(wbuf) - len(c.wbuf)
	c.wbuf = wbuf
	c.last = lastFrame{}
}

// rstLocked sends RST_STREAM, and remembers that frames for the stream may still come.
func (s *stream) rstLocked(code exchange.Code) {
	c := s.c
	c.controlLocked(appendRST(c.wbuf, s.id, code))
	c.reset[c.resetNext%len(c.reset)] = s.id
	c.resetNext++
}

// resetLately says whether frames for an unknown stream are leftovers.
func (c *Conn) resetLately(id uint32) bool {
	for _, r := range c.reset {
		if r == id {
			return true
		}
	}
	return false
}

// wire maps a code to one that may stand in a frame.
func wire(code exchange.Code) exchange.Code {
	if code == exchange.Disconnected {
		return exchange.InternalError
	}
	return code
}

var errStalled = errors.New("the peer takes less of what waits for it than the gateway's minimum rate")

// stall resets a stream whose peer doesn't take its data.
func (s *stream) stall() {
	if s.c.client {
		s.resetClient(exchange.Cancel, exchange.EnhanceYourCalm, errStalled)
		return
	}
	s.fail(exchange.Cancel, exchange.Cancel)
}
