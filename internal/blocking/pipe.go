package blocking

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// A Stream is what a pipe is made of in a library whose reads and writes block, such as
// a stream of WebTransport. One goroutine reads and another one writes; the other
// methods may be called beside them, and but for Lost they do not block.
type Stream interface {
	io.ReadWriter
	// Close ends our direction, after what was written.
	Close() error
	// Reset cuts both directions. Read and Write return.
	Reset(code exchange.Code, cause error)
	// Linger gives the peer a while to end its direction, after which Read returns.
	Linger()
	// Stop asks the peer to send no more, after it has had that while.
	Stop()
	// Stall gives the next write a while, after which it returns.
	Stall()
	// Context ends when nothing can be written any more. Its cause says why.
	Context() context.Context
	// Lost says what an error of Read or Write, or the cause of the context, means. It may
	// wait a while to find out.
	Lost(err error) exchange.Code
}

// ServePipe gives a stream to h as a pipe, and returns when it is over and nothing of it
// runs any more. The calling goroutine reads; another one exists only while there is
// something to write. While the stream is silent it has no buffer but a small one.
func ServePipe(h exchange.Handler, head *exchange.RequestHead, s Stream, o *Options) {
	p := &pipe{s: s, o: o, window: rpc.WindowDefault}
	p.changed.L = &p.mu
	p.start(h, head)
	stop := context.AfterFunc(s.Context(), p.gone)
	p.read()
	delivered := p.finish()
	stop()
	p.req.Done(delivered)
}

// pipe is the Response of the exchange.
type pipe struct {
	s   Stream
	o   *Options
	req exchange.Request

	small [256]byte // the reader's, for streams that are silent

	mu      sync.Mutex
	changed sync.Cond
	inside  int // others than the reader that may call req

	// The request.
	window int  // bytes that may be pushed now
	reset  bool // Request.Reset was called

	// The response.
	queue     []byte // not yet written
	spare     []byte // the other buffer
	end       bool   // to be ended after queue
	broken    bool   // was reset
	listed    bool   // on the list of Work
	writing   bool   // the writer runs
	ended     bool   // End was written, or failed to be
	delivered bool
}

func (p *pipe) start(h exchange.Handler, head *exchange.RequestHead) {
	p.o.enter()
	defer p.o.leave()
	p.req = h.Start(head, p)
	p.req.Begin()
}

// finalLocked says whether the last event of the response has come.
func (p *pipe) finalLocked() bool { return p.end || p.broken }

// read pushes what comes until the peer has ended its direction, or the response is over.
func (p *pipe) read() {
	buf := p.small[:]
	var big *[pieceSize]byte
	defer func() {
		if big != nil {
			pieces.Put(big)
		}
	}()
	for {
		most := p.waitCredit(len(buf))
		if most == 0 {
			return
		}
		n, err := p.s.Read(buf[:most])
		if !p.push(buf[:n], err) {
			return
		}
		// Where a small buffer was not enough there is probably more. To wait in a large one
		// would cost it for as long as the stream is silent.
		switch full := n == len(buf); {
		case full && big == nil:
			big = pieces.Get().(*[pieceSize]byte)
			buf = big[:]
		case !full && big != nil:
			pieces.Put(big)
			big, buf = nil, p.small[:]
		}
	}
}

// waitCredit waits until something may be read, and returns how much; 0 is never. What
// comes after the end of the response is read too, to be dropped.
func (p *pipe) waitCredit(most int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.window <= 0 && !p.finalLocked() {
		p.changed.Wait()
	}
	switch {
	case p.broken:
		return 0
	case p.end:
		return most
	}
	return min(most, p.window)
}

// push pushes what was read, and says whether to go on.
func (p *pipe) push(b []byte, err error) (more bool) {
	eof := errors.Is(err, io.EOF)
	p.mu.Lock()
	p.window -= len(b)
	over := p.finalLocked() || p.reset
	p.mu.Unlock()
	switch {
	case over:
		return err == nil
	case err != nil && !eof:
		if len(b) > 0 {
			p.event(b, false)
		}
		p.resetRequest(err)
		return false
	}
	p.event(b, eof)
	return !eof
}

func (p *pipe) event(b []byte, eof bool) {
	p.o.enter()
	defer p.o.leave()
	if len(b) > 0 {
		p.req.Data(b)
	}
	if eof {
		p.req.End(nil)
	}
}

// gone is called when nothing can be written any more.
func (p *pipe) gone() { p.resetRequest(context.Cause(p.s.Context())) }

// resetRequest takes the request back, unless the response is over.
func (p *pipe) resetRequest(err error) {
	p.mu.Lock()
	if p.finalLocked() || p.reset {
		p.mu.Unlock()
		return
	}
	p.reset = true
	p.inside++
	p.mu.Unlock()
	code := p.s.Lost(err)
	p.o.enter()
	p.req.Reset(code)
	p.o.leave()
	p.mu.Lock()
	p.inside--
	p.changed.Broadcast()
	p.mu.Unlock()
}

// finish waits for the end of the response, and of whoever else is at work.
func (p *pipe) finish() (delivered bool) {
	p.mu.Lock()
	for !p.broken && !p.ended || p.writing || p.inside > 0 {
		p.changed.Wait()
	}
	delivered = p.delivered
	p.freeLocked()
	p.mu.Unlock()
	if delivered {
		p.s.Stop()
	}
	return delivered
}

// Inform implements [exchange.Response]. A pipe has no heads.
func (p *pipe) Inform(*exchange.ResponseHead) {}

// Head implements [exchange.Response]. A pipe is open at Begin, so nobody calls it.
func (p *pipe) Head(_ *exchange.ResponseHead, end bool) {
	if end {
		p.End(nil)
	}
}

// Credit implements [exchange.Response].
func (p *pipe) Credit(n int) {
	p.mu.Lock()
	if p.window += n; p.window > 0 {
		p.changed.Broadcast()
	}
	p.mu.Unlock()
}

// Data implements [exchange.Response].
func (p *pipe) Data(b []byte) {
	p.add(func() {
		if p.queue == nil {
			p.queue = *datas.Get().(*[]byte)
		}
		p.queue = append(p.queue, b...)
	})
}

// End implements [exchange.Response].
func (p *pipe) End([]exchange.Field) { p.add(func() { p.end = true }) }

// add puts an event into the queue, to be written at the end of the batch of events.
func (p *pipe) add(f func()) {
	p.mu.Lock()
	if p.finalLocked() {
		p.mu.Unlock()
		return
	}
	f()
	tell := !p.listed
	p.listed = true
	p.mu.Unlock()
	switch {
	case !tell:
	case p.o.Work != nil:
		p.o.Work.Add(p)
	default:
		p.Flush()
	}
}

// Reset implements [exchange.Response].
func (p *pipe) Reset(code exchange.Code, cause error) {
	p.mu.Lock()
	if p.finalLocked() {
		p.mu.Unlock()
		return
	}
	p.broken = true
	p.changed.Broadcast()
	p.mu.Unlock()
	p.s.Reset(code, cause) // a write that waits ends with it
}

// Flush implements [netio.Flusher]: a batch of events is over.
func (p *pipe) Flush() {
	p.mu.Lock()
	p.listed = false
	begin := !p.writing && !p.broken && (len(p.queue) > 0 || p.end && !p.ended)
	p.writing = p.writing || begin
	p.mu.Unlock()
	if begin {
		p.o.Writers.start(p.write) // ends when nothing is left; ServePipe waits for it
	}
}

// write writes what is queued.
func (p *pipe) write() {
	for {
		p.mu.Lock()
		b, end := p.queue, p.end && !p.ended
		if p.broken || len(b) == 0 && !end {
			p.writing = false
			p.freeLocked()
			p.changed.Broadcast()
			p.mu.Unlock()
			return
		}
		p.queue, p.spare = p.spare[:0], nil
		p.mu.Unlock()
		err := p.put(b, end)
		p.mu.Lock()
		p.spare = b[:0]
		if end {
			p.ended, p.delivered = true, err == nil
			p.changed.Broadcast()
		}
		p.mu.Unlock()
	}
}

// freeLocked gives the buffers back: an idle stream has none.
func (p *pipe) freeLocked() {
	for _, b := range [][]byte{p.queue, p.spare} {
		if cap(b) > 0 && cap(b) <= 2*rpc.WindowDefault {
			b = b[:0]
			datas.Put(&b)
		}
	}
	p.queue, p.spare = nil, nil
}

// put writes one batch.
func (p *pipe) put(b []byte, end bool) error {
	var err error
	if len(b) > 0 {
		p.s.Stall()
		if _, err = p.s.Write(b); err != nil {
			p.resetRequest(err)
		} else if !end {
			p.o.enter()
			p.req.Credit(len(b))
			p.o.leave()
		}
	}
	switch {
	case !end:
		return err
	case err != nil:
		p.s.Reset(exchange.Cancel, err)
		return err
	}
	err = p.s.Close()
	p.s.Linger()
	return err
}
