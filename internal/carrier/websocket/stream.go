package websocket

import (
	"sync/atomic"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// A stream is an exchange that a socket carries: a pipe, or a call.
type stream struct {
	k       *socket
	request exchange.Request
	owed    atomic.Int64 // bytes that it was given and has not credited
	frees   bool         // it is done when its last words are taken, not with the socket
	half    bool         // the client's direction has ended; of the goroutine of its frames

	// Under the lock of the socket.
	phase      phase
	busy       int // calls into request that run
	pending    *exchange.Code
	gone       bool // it was reset: nothing of the client follows
	finished   bool // Done is due, when nothing is in it any more
	taken      bool // its last words are
	delivered  bool
	done       bool
	next, prev *stream // of the socket
}

type phase int

const (
	streamNew phase = iota
	streamStarting
	streamRunning
	streamOver // its response has ended
)

// start starts the exchange, unless the socket is about to end.
func (c *stream) start(h exchange.Handler, head *exchange.RequestHead, response exchange.Response) bool {
	k := c.k
	k.mu.Lock()
	if k.closing {
		k.mu.Unlock()
		return false
	}
	k.limit.clear()
	c.phase, c.busy = streamStarting, 1
	if c.next = k.streams; c.next != nil {
		c.next.prev = c
	}
	k.streams = c
	k.running++
	k.mu.Unlock()
	c.request = h.Start(head, response)
	c.request.Begin()
	k.mu.Lock()
	var reset *exchange.Code
	if c.phase == streamStarting { // it may be over already
		c.phase, reset = streamRunning, c.pending
	}
	k.mu.Unlock()
	if reset != nil {
		c.request.Reset(*reset)
	}
	c.leave()
	return true
}

// enter says whether the exchange takes events of the client. If so, leave follows.
func (c *stream) enter() bool {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	if c.phase != streamRunning || c.finished || c.gone {
		return false
	}
	c.busy++
	return true
}

func (c *stream) leave() {
	c.k.mu.Lock()
	c.busy--
	c.k.mu.Unlock()
	c.settle()
}

// settle ends the stream if that is due.
func (c *stream) settle() {
	k := c.k
	k.mu.Lock()
	if c.frees && c.taken && c.phase == streamOver && !c.finished {
		c.finished, c.delivered = true, true
	}
	due := c.finished && c.busy == 0 && !c.done
	if due {
		c.done = true
		if c.prev != nil {
			c.prev.next = c.next
		} else {
			k.streams = c.next
		}
		if c.next != nil {
			c.next.prev = c.prev
		}
	}
	k.mu.Unlock()
	if due {
		c.request.Done(c.delivered)
	}
}

// data gives bytes of the client. What is not taken stays with the ledger as bytes that
// have become nothing.
func (c *stream) data(p []byte) {
	if !c.enter() {
		return
	}
	c.k.ledger.Put(0, len(p)) // before the credit for it can come
	c.owed.Add(int64(len(p)))
	c.request.Data(p)
	if !c.runs() {
		c.credit(len(p))
	}
	c.leave()
}

// runs says whether the response has not ended.
func (c *stream) runs() bool {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	return c.phase != streamOver
}

// end is the half-close of the client. A second one means nothing.
func (c *stream) end() {
	if c.half {
		return
	}
	c.half = true
	if c.enter() {
		c.request.End(nil)
		c.leave()
	}
}

// reset says that the client is gone, or gives up.
func (c *stream) reset(code exchange.Code) {
	c.k.mu.Lock()
	c.gone = true
	switch {
	case c.phase == streamStarting && c.pending == nil:
		c.pending = &code
	case c.phase == streamRunning && !c.finished:
		c.busy++
		c.k.mu.Unlock()
		c.request.Reset(code)
		c.leave()
		return
	}
	c.k.mu.Unlock()
}

// credit says that n bytes of the client were taken.
func (c *stream) credit(n int) {
	for {
		owed := c.owed.Load()
		take := min(owed, int64(n))
		if take <= 0 {
			return
		}
		if c.owed.CompareAndSwap(owed, owed-take) {
			c.k.pay(c.k.ledger.Credit(int(take)))
			return
		}
	}
}

// ended notes the end of the response. The lock is held.
func (c *stream) ended() {
	c.phase = streamOver
	c.k.running--
	if c.k.running == 0 {
		c.k.session.ended(c)
	}
	c.k.settle()
}

// forgive credits what the exchange will not take any more, after its end.
func (c *stream) forgive() { c.credit(int(c.owed.Load())) }
