package h2

import (
	"errors"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// clientStream is a stream as the caller sees it: the place of a request.
type clientStream struct {
	stream
	head *exchange.RequestHead // until Begin
}

// Start implements [exchange.Handler] for a client's connection. A connection that
// takes no more streams resets the response with RefusedStream.
func (c *Conn) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	cs := &clientStream{head: head}
	cs.resp = response
	cs.c = c
	return cs
}

var errNoStream = errors.New("the connection takes no more streams")

// Begin opens the stream: its id, its header block and their place in the queue are
// one critical section.
func (cs *clientStream) Begin() {
	s, c := &cs.stream, cs.c
	head := cs.head
	cs.head = nil
	c.mu.Lock()
	refused := c.availableLocked() == 0
	need, exhausted := false, false
	if refused {
		s.ended, s.reset, s.told = true, true, true
	} else {
		id := c.nextID
		c.nextID += 2
		c.newStreamLocked(s, id)
		exhausted = c.nextID > maxStreamID
		s.started = true
		c.encodeRequest(s, head)
		need = c.markLocked()
	}
	c.mu.Unlock()
	if refused {
		s.resp.Reset(exchange.RefusedStream, errNoStream)
		return
	}
	if need {
		c.cfg.Work.Add(c)
	}
	if exhausted {
		c.events.Draining()
	}
}

func (cs *clientStream) Data(b []byte) { cs.send(b) }

func (cs *clientStream) Credit(n int) { cs.credit(n) }

// Done implements [exchange.Request]; the stream has ended before.
func (cs *clientStream) Done(bool) {}

// End implements [exchange.Request].
func (cs *clientStream) End(trailer []exchange.Field) {
	s, c := &cs.stream, cs.c
	c.mu.Lock()
	if s.ended {
		c.mu.Unlock()
		return
	}
	s.ended = true
	s.sendEndLocked(trailer)
	need := c.markLocked()
	c.mu.Unlock()
	if need {
		c.cfg.Work.Add(c)
	}
}

// Reset implements [exchange.Request].
func (cs *clientStream) Reset(code exchange.Code) {
	cs.resetClient(wire(code), code, nil)
}

// resetClient ends a stream from this side, and its response, if it has not ended.
func (s *stream) resetClient(wireCode, code exchange.Code, cause error) {
	c := s.c
	c.mu.Lock()
	if s.reset || s.told || !s.started {
		c.mu.Unlock()
		return
	}
	s.rstLocked(wireCode)
	tell := s.loseLocked(code, cause)
	need := c.markLocked()
	c.mu.Unlock()
	if need {
		c.cfg.Work.Add(c)
	}
	if tell {
		s.resp.Reset(code, cause)
	}
}

// lose ends a stream that the peer or the connection has ended.
func (s *stream) lose(code exchange.Code, cause error) {
	s.c.mu.Lock()
	if s.reset || s.told {
		s.c.mu.Unlock()
		return
	}
	tell := s.loseLocked(code, cause)
	s.c.mu.Unlock()
	if tell {
		s.resp.Reset(code, cause)
	}
}

// loseLocked claims the end of the response. If the reader is delivering, it will
// deliver that end too; else the caller does.
func (s *stream) loseLocked(code exchange.Code, cause error) (tell bool) {
	s.reset, s.ended, s.told = true, true, true
	s.removeLocked()
	if s.reading {
		s.toTell, s.resetCode, s.resetCause = true, code, cause
		return false
	}
	return true
}

// finishLocked claims the clean end of a response, from the reader. A request that has
// not ended is reset: the server does not want the rest of it.
func (s *stream) finishLocked() bool {
	if s.told {
		return false
	}
	s.told = true
	if !s.cutEnd {
		s.dropLocked()
		s.rstLocked(exchange.Cancel)
		s.reset = true
	}
	s.ended = true
	s.removeLocked()
	return true
}
