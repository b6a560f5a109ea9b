package client

import (
	"errors"
	"fmt"
	"sync"

	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"google.golang.org/grpc/status"
)

// lane is one pipe with its two goroutines: that of all calls of a connection, that of one
// call, or one for frames of the connection.
type lane struct {
	n       *conn
	form    duplex.Form
	pipe    Pipe             // nil while it is opened
	calls   map[uint32]*call // of the call form, number 0
	quiet   map[*call]bool   // calls of which nothing was sent on this pipe: they have no number yet
	last    uint32           // the highest number given
	control []byte           // frames to be sent before those of calls
	ready   []*call          // calls that may have something to send
	wake    *sync.Cond       // the writer
	done    bool             // our direction ends when all is sent
	fin     bool             // it has
	eof     bool             // and so has the gateway's
	closed  bool
	err     error
}

// lane makes a lane.
func (n *conn) lane(form duplex.Form) *lane {
	l := &lane{n: n, form: form, calls: map[uint32]*call{}, quiet: map[*call]bool{}, wake: sync.NewCond(&n.c.mu)}
	n.lanes[l] = struct{}{}
	return l
}

// run begins to read and write a pipe.
func (l *lane) run(pipe Pipe) {
	l.pipe = pipe
	l.n.c.wg.Add(2)
	go l.read()  // both end with the pipe
	go l.write() //
}

// open opens a pipe of the session, which may take time.
func (l *lane) open() {
	c := l.n.c
	c.wg.Add(1)
	go func() { // ends when the pipe is open, or with the client
		defer c.wg.Done()
		pipe, err := l.n.session.Open(c.ctx)
		c.mu.Lock()
		defer c.unlock()
		switch {
		case err != nil:
			l.n.ended(l, err)
		case l.closed:
			c.later(func() { pipe.Close(Leave, "") })
		default:
			l.run(pipe)
		}
	}()
}

// read is the goroutine that takes what comes. It never waits for a call.
func (l *lane) read() {
	c := l.n.c
	defer c.wg.Done()
	dec := duplex.Decoder{Form: l.form}
	var violation error
	err := l.pipe.Receive(func(b []byte) error {
		c.mu.Lock()
		defer c.unlock()
		if l.closed {
			return errClosed
		}
		l.n.heard, l.n.pinged = now(), false
		violation = dec.Feed(b, (*incoming)(l))
		return violation
	})
	c.mu.Lock()
	defer c.unlock()
	switch {
	case l.closed:
	case violation != nil:
		l.n.violation(violation)
	default:
		l.n.ended(l, err)
	}
}

var errClosed = errors.New("the pipe is closed")

// incoming is a lane as the place of what its decoder finds.
type incoming lane

// Data is a part of a message; see [duplex.Events].
func (i *incoming) Data(num uint32, b []byte) error {
	l := (*lane)(i)
	l.trace(false, duplex.Data, num, b)
	k, err := l.call(num, duplex.Data)
	if k == nil {
		return err
	}
	return k.receive(b)
}

// Frame is any other frame.
func (i *incoming) Frame(kind duplex.Kind, num uint32, payload []byte) error {
	l := (*lane)(i)
	l.trace(false, kind, num, payload)
	if kind.Connection() {
		return l.n.frame(l, kind, payload)
	}
	k, err := l.call(num, kind)
	if k == nil {
		return err
	}
	return k.frame(kind, payload)
}

// call finds the call of a frame. A call that is over has none, and its frames are skipped.
func (l *lane) call(num uint32, kind duplex.Kind) (*call, error) {
	if num > l.last {
		return nil, fmt.Errorf("%v of call %d, which was never begun", kind, num)
	}
	if l.n.mux != nil && !l.n.welcome.said {
		return nil, fmt.Errorf("%v before WELCOME", kind)
	}
	return l.calls[num], nil
}

// number gives a call its number, when its first frame is sent: numbers go up in the order of
// frames, and calls may begin to speak in another order than they came in.
func (l *lane) number(k *call) {
	if l == l.n.mux {
		l.last++
		if l.last == 1<<31 { // long before the numbers are used up
			l.n.draining = true
		}
	}
	k.num = l.last
	delete(l.quiet, k)
	l.calls[k.num] = k
}

// all are the calls of the pipe.
func (l *lane) all() []*call {
	list := make([]*call, 0, len(l.calls)+len(l.quiet))
	for _, k := range l.calls {
		list = append(list, k)
	}
	for k := range l.quiet {
		list = append(list, k)
	}
	return list
}

// mark says that a call may have something to send.
func (l *lane) mark(k *call) {
	if !k.marked {
		k.marked = true
		l.ready = append(l.ready, k)
		l.wake.Signal()
	}
}

// batch is how much is written at a time, about.
const batch = 64 << 10

// write is the goroutine that sends. What is sent is decided when the pipe can take it.
func (l *lane) write() {
	c := l.n.c
	defer c.wg.Done()
	var buf []byte
	tracer := duplex.Decoder{Form: l.form}
	c.mu.Lock()
	for {
		for !l.closed && len(l.control) == 0 && len(l.ready) == 0 && !l.done {
			l.wake.Wait()
		}
		if l.closed {
			c.unlock()
			return
		}
		buf = append(buf[:0], l.control...)
		if l.control = l.control[:0]; cap(l.control) > 4<<10 {
			l.control = nil
		}
		for len(buf) < batch && len(l.ready) > 0 {
			k := l.ready[0]
			l.ready[0] = nil
			if l.ready = l.ready[1:]; len(l.ready) == 0 {
				l.ready = nil
			}
			if k.marked = false; k.lane != l { // it is over, or elsewhere
				continue
			}
			var more bool
			if buf, more = k.fill(buf); more {
				l.mark(k) // behind the others
			}
		}
		last := l.done && len(l.control) == 0 && len(l.ready) == 0
		if last {
			l.done = false
		}
		c.unlock()
		var err error
		if len(buf) > 0 {
			if c.cfg.Trace != nil {
				_ = tracer.Feed(buf, (*outgoing)(l))
			}
			err = l.pipe.Send(buf)
		}
		if err == nil && last {
			err = l.pipe.CloseSend()
		}
		if cap(buf) > batch+duplex.MaxFrame {
			buf = nil
		}
		c.mu.Lock()
		switch {
		case l.closed:
		case err != nil:
			l.n.ended(l, err)
		case last:
			if l.fin = true; l.eof {
				l.end(Done, "", nil)
			}
		}
	}
}

// finish ends our direction of a pipe of one call.
func (l *lane) finish() {
	l.done = true
	l.wake.Signal()
}

// end closes the pipe. Calls end with st, or wait for another connection.
func (l *lane) end(why Reason, text string, st *status.Status) {
	if l.closed {
		return
	}
	l.closed = true
	delete(l.n.lanes, l)
	l.wake.Signal()
	if pipe := l.pipe; pipe != nil {
		l.n.c.later(func() { pipe.Close(why, text) })
	}
	if l.err == nil {
		l.err = l.n.err
	}
	for _, k := range l.all() {
		if st != nil {
			k.finish(st)
		} else {
			k.lost(l.err)
		}
	}
}
