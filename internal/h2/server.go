package h2

import (
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

var timeNow = time.Now

// serverStream is a stream as the handler sees it: the place of a response.
type serverStream stream

func (ss *serverStream) Inform(h *exchange.ResponseHead) {
	if h.Status != 101 { // RFC 9113, section 8.6
		(*stream)(ss).serverHead(h, false, true)
	}
}

func (ss *serverStream) Head(h *exchange.ResponseHead, end bool) {
	switch {
	case h.Status >= 200:
		(*stream)(ss).serverHead(h, end, false)
	case end:
		ss.Reset(exchange.InternalError, nil)
	default: // an Upgrade is of HTTP/1.1 (RFC 9113, section 8.6); its handler has still to end
		(*stream)(ss).fail(exchange.InternalError, exchange.InternalError)
	}
}

func (ss *serverStream) Data(b []byte) { (*stream)(ss).send(b) }

func (ss *serverStream) Credit(n int) { (*stream)(ss).credit(n) }

func (s *stream) serverHead(h *exchange.ResponseHead, end, inform bool) {
	c := s.c
	c.mu.Lock()
	if s.ended {
		c.mu.Unlock()
		return
	}
	need := false
	if !s.reset {
		c.encodeResponse(s, h, end)
		s.sentHead = !inform
		need = c.markLocked()
	}
	done := false
	if end {
		done = s.endServerLocked()
	}
	c.mu.Unlock()
	if need {
		c.cfg.Work.Add(c)
	}
	if done {
		s.req.Done(false)
	}
}

// End implements [exchange.Response].
func (ss *serverStream) End(trailer []exchange.Field) {
	s := (*stream)(ss)
	c := s.c
	c.mu.Lock()
	if s.ended {
		c.mu.Unlock()
		return
	}
	need := false
	if !s.reset {
		s.sendEndLocked(trailer)
		need = c.markLocked()
	}
	done := s.endServerLocked()
	c.mu.Unlock()
	if need {
		c.cfg.Work.Add(c)
	}
	if done {
		s.req.Done(false)
	}
}

// Reset implements [exchange.Response].
func (ss *serverStream) Reset(code exchange.Code, _ error) {
	s := (*stream)(ss)
	c := s.c
	c.mu.Lock()
	if s.ended {
		c.mu.Unlock()
		return
	}
	need := false
	if !s.reset {
		s.reset = true
		s.dropLocked()
		s.rstLocked(wire(code))
		need = c.markLocked()
	}
	done := s.endServerLocked()
	c.mu.Unlock()
	if need {
		c.cfg.Work.Add(c)
	}
	if done {
		s.req.Done(false)
	}
}

// endServerLocked notes that the handler has ended its response. What comes of the
// request from now on is of no use.
func (s *stream) endServerLocked() (done bool) {
	s.ended = true
	s.told = true // a reset is no news any more
	s.gone.Store(true)
	return s.doneLocked()
}

// doneLocked says whether the caller has to call Done now.
func (s *stream) doneLocked() bool {
	if s.done || !s.started || !s.ended || s.reading || s.inflight > 0 || (!s.flushed && !s.reset) {
		return false
	}
	s.done = true
	if s.flushed && !s.reset {
		s.c.abuse.pay(payCall)
	}
	s.removeLocked()
	return true
}

// delivered is what Done says. It is called after doneLocked, so nothing changes.
func (s *stream) delivered() bool { return s.flushed }

// abandon tells the handler that the client is gone, and forgets the stream. It is for
// a reset that came, or a connection that died.
func (s *stream) abandon(code exchange.Code) {
	c := s.c
	c.mu.Lock()
	s.reset = true
	s.gone.Store(true)
	s.dropLocked()
	tell := s.started && !s.told
	s.told = true
	done := s.doneLocked()
	c.mu.Unlock()
	if tell {
		s.req.Reset(code)
	}
	if done {
		s.req.Done(s.delivered())
	}
}

// fail resets a stream of a client that broke a rule: the client gets wireCode, the
// handler code.
func (s *stream) fail(wireCode, code exchange.Code) {
	c := s.c
	c.mu.Lock()
	need := false
	if !s.reset {
		s.rstLocked(wireCode)
		need = c.markLocked()
	}
	c.mu.Unlock()
	s.abandon(code)
	if need {
		c.cfg.Work.Add(c)
	}
}
