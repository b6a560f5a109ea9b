package mux

import "slices"

// waiting are the calls whose client is away, by the connection on which they were begun. Their
// number and what they keep is bounded; beyond that the one that waits longest is ended. The
// server's lock guards it.
type waiting struct {
	sessions map[sessionID]*waitingSession
	count    int
}

type waitingSession struct {
	calls []*call // the one that waits longest first
	bytes int
}

// wait has a call wait for its client.
func (s *Server) wait(c *call) {
	s.mu.Lock()
	c.mu.Lock()
	if c.link != nil || c.closed || c.mute || c.stopWait != nil { // or it waits already
		c.mu.Unlock()
		s.mu.Unlock()
		return
	}
	epoch := c.epoch
	c.stopWait = s.o.After(s.o.Detach, func() { c.expire(epoch) })
	kept := c.keeps()
	c.mu.Unlock()
	var over []*call
	if s.closed {
		over = append(over, c)
	} else {
		over = s.waiting.add(c, kept, &s.o)
	}
	s.mu.Unlock()
	s.expire(over)
}

// grow counts what a call keeps that was waiting a moment ago, and has got more.
func (s *Server) grow(c *call) {
	s.mu.Lock()
	c.mu.Lock()
	kept := c.keeps()
	c.mu.Unlock()
	over := s.waiting.grow(c, kept, &s.o)
	s.mu.Unlock()
	s.expire(over)
}

// expire ends calls for which there is no room.
func (s *Server) expire(over []*call) {
	for _, c := range over {
		s.o.LimitHit("waiting_calls")
		c.expire(0)
	}
}

// keeps is what counts of a call that waits. The lock is held.
func (c *call) keeps() int { return c.send.Buffered() + len(c.head) + len(c.end) }

// waits says whether the call may be among those that wait, so that what it keeps is to be counted
// anew. The lock is held.
func (c *call) waits() bool { return c.stopWait != nil && c.link == nil }

// arrive takes a call off that goes on, unless it waits again already.
func (s *Server) arrive(c *call, stop func() bool) {
	if stop != nil {
		stop()
	}
	s.mu.Lock()
	c.mu.Lock()
	there := c.link != nil
	c.mu.Unlock()
	if there {
		s.waiting.remove(c)
	}
	s.mu.Unlock()
}

// add returns the calls for which there is no room.
func (w *waiting) add(c *call, kept int, o *Options) (over []*call) {
	w.remove(c)
	ws := w.sessions[c.session]
	if ws == nil {
		ws = &waitingSession{}
		w.sessions[c.session] = ws
	}
	c.kept = kept
	ws.calls = append(ws.calls, c)
	ws.bytes += kept
	w.count++
	return w.bound(ws, o)
}

// grow is add for a call that keeps its place, if it has one.
func (w *waiting) grow(c *call, kept int, o *Options) (over []*call) {
	ws := w.sessions[c.session]
	if ws == nil || !slices.Contains(ws.calls, c) {
		return nil
	}
	ws.bytes += kept - c.kept
	c.kept = kept
	return w.bound(ws, o)
}

// bound takes out what is too much.
func (w *waiting) bound(ws *waitingSession, o *Options) (over []*call) {
	for len(ws.calls) > o.MaxWaiting || ws.bytes > o.MaxWaitingBytes || w.count > o.MaxWaitingAll && len(ws.calls) > 0 {
		first := ws.calls[0]
		over = append(over, first)
		w.remove(first)
	}
	return over
}

func (w *waiting) remove(c *call) {
	ws := w.sessions[c.session]
	if ws == nil {
		return
	}
	i := slices.Index(ws.calls, c)
	if i < 0 {
		return
	}
	ws.calls = slices.Delete(ws.calls, i, i+1)
	ws.bytes -= c.kept
	w.count--
	if len(ws.calls) == 0 {
		delete(w.sessions, c.session)
	}
}
