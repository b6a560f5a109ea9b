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
	c.mu.Lock()
	if c.link != nil || c.closed || c.mute {
		c.mu.Unlock()
		return
	}
	epoch := c.epoch
	kept := c.send.Buffered() + len(c.head) + len(c.end)
	c.stopWait = s.o.After(s.o.Detach, func() { c.expire(epoch) })
	c.mu.Unlock()
	s.mu.Lock()
	var over []*call
	if s.closed {
		over = append(over, c)
	} else {
		over = s.waiting.add(c, kept, s.o.MaxWaiting, s.o.MaxWaitingBytes, s.o.MaxWaitingAll)
	}
	s.mu.Unlock()
	c.mu.Lock()
	left := c.link != nil || c.closed
	c.mu.Unlock()
	if left { // it went on before it was on the list
		s.arrive(c, nil)
	}
	for _, c := range over {
		s.o.LimitHit("waiting_calls")
		c.expire(0)
	}
}

// arrive takes a call off that goes on.
func (s *Server) arrive(c *call, stop func() bool) {
	if stop != nil {
		stop()
	}
	s.mu.Lock()
	s.waiting.remove(c)
	s.mu.Unlock()
}

// add returns the calls for which there is no room.
func (w *waiting) add(c *call, kept, most, bytes, all int) (over []*call) {
	w.remove(c)
	id := c.session
	ws := w.sessions[id]
	if ws == nil {
		ws = &waitingSession{}
		w.sessions[id] = ws
	}
	c.kept = kept
	ws.calls = append(ws.calls, c)
	ws.bytes += kept
	w.count++
	for len(ws.calls) > most || ws.bytes > bytes || w.count > all && len(ws.calls) > 0 {
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
