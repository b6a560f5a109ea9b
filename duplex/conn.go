package duplex

import (
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// A Conn is a client's stream of bytes. It is a [net.Conn]: Read and Write block, and may be called side by
// side.
//
//   - Read returns io.EOF when the client has ended its direction, and another error when it has left or was lost.
//   - Write returns when what it was given is on its way. At most 64 KiB are, that the client's system has not taken.
//   - Close ends the stream to the client, whole, and drops what still comes.
type Conn struct {
	response exchange.Response
	header   http.Header
	remote   net.Addr
	carrier  string

	writing sync.Mutex // one Write at a time

	mu      sync.Mutex
	changed sync.Cond
	in      []byte // came, and was not read
	eof     bool
	err     error // why nothing more comes or goes
	room    int   // may be written
	read    deadline
	write   deadline
	inside  int    // events of the response that are being delivered
	last    func() // ends the response, when nobody is inside
	over    bool   // it was called
}

func newConn(head *exchange.RequestHead, response exchange.Response) *Conn {
	c := &Conn{response: response, header: http.Header{}, remote: head.Addr, carrier: head.Carrier, room: rpc.WindowDefault}
	for _, f := range head.Fields {
		c.header.Add(f.Name, f.Value)
	}
	c.changed.L = &c.mu
	return c
}

// Header has the fields of the request that opened the stream which say who the client is, and those that
// the application has set. Of a WebSocket these are Authorization and Cookie only.
func (c *Conn) Header() http.Header { return c.header }

// Carrier says how the client has come: "ws" or "dx", a WebSocket or plain HTTP requests.
func (c *Conn) Carrier() string { return c.carrier }

// Read implements [net.Conn].
func (c *Conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	for len(c.in) == 0 && !c.eof && c.err == nil && !c.read.passed {
		if len(p) == 0 {
			break
		}
		c.changed.Wait()
	}
	switch {
	case c.err == net.ErrClosed:
	case c.read.passed:
		c.mu.Unlock()
		return 0, os.ErrDeadlineExceeded
	case len(c.in) > 0:
		n := copy(p, c.in)
		if c.in = c.in[n:]; len(c.in) == 0 {
			c.in = nil
		}
		credit := n > 0 && c.enter()
		c.mu.Unlock()
		if credit {
			c.response.Credit(n)
			c.leave()
		}
		return n, nil
	case len(p) == 0:
		c.mu.Unlock()
		return 0, nil
	case c.err == nil:
		c.mu.Unlock()
		return 0, io.EOF
	}
	err := c.err
	c.mu.Unlock()
	return 0, err
}

// Write implements [net.Conn].
func (c *Conn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for {
		c.mu.Lock()
		for len(p) > 0 && c.room <= 0 && c.err == nil && !c.write.passed {
			c.changed.Wait()
		}
		switch {
		case c.err != nil:
			err = c.err
		case c.write.passed:
			err = os.ErrDeadlineExceeded
		}
		if err != nil || len(p) == 0 {
			c.mu.Unlock()
			return n, err
		}
		size := min(len(p), c.room)
		c.room -= size
		c.enter()
		c.mu.Unlock()
		c.response.Data(p[:size])
		c.leave()
		n += size
		p = p[size:]
	}
}

// Close implements [net.Conn]. A Read or Write that waits fails.
func (c *Conn) Close() error {
	c.mu.Lock()
	again := c.err == net.ErrClosed
	c.end(net.ErrClosed, func() { c.response.End(nil) })
	if again {
		return net.ErrClosed
	}
	return nil
}

// end begins the end of the response, unless another one did. The lock is held, and
// released.
func (c *Conn) end(err error, last func()) {
	if c.err == nil || err == net.ErrClosed {
		c.err = err
	}
	if c.last == nil {
		c.last = last
	}
	if err == net.ErrClosed {
		c.in = nil
	}
	c.changed.Broadcast()
	c.finish()
}

// enter begins an event of the response, and says whether there may be one. The lock is
// held.
func (c *Conn) enter() bool {
	if c.last != nil {
		return false
	}
	c.inside++
	return true
}

// leave ends it.
func (c *Conn) leave() {
	c.mu.Lock()
	c.inside--
	c.finish()
}

// finish ends the response if that is due. The lock is held, and released.
func (c *Conn) finish() {
	due := c.last != nil && c.inside == 0 && !c.over
	c.over = c.over || due
	last := c.last
	c.mu.Unlock()
	if due {
		last()
	}
}

// RemoteAddr implements [net.Conn]; behind a proxy it is the proxy's.
func (c *Conn) RemoteAddr() net.Addr {
	if c.remote == nil {
		return addr{}
	}
	return c.remote
}

// LocalAddr implements [net.Conn]. A Conn is of many connections, so it has none.
func (c *Conn) LocalAddr() net.Addr { return addr{} }

type addr struct{}

func (addr) Network() string { return "duplex" }
func (addr) String() string  { return "duplex" }

// A deadline is one of a direction.
type deadline struct {
	timer  *time.Timer
	passed bool
	count  int // of deadlines, by which a late timer is known
}

// set sets a deadline. The lock is held.
func (c *Conn) set(d *deadline, t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.count++
	d.passed = false
	count := d.count
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		d.passed = true
	default:
		d.timer = time.AfterFunc(wait, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if d.count == count {
				d.passed = true
				c.changed.Broadcast()
			}
		})
	}
	c.changed.Broadcast()
}

// SetDeadline implements [net.Conn].
func (c *Conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements [net.Conn].
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set(&c.read, t)
	return nil
}

// SetWriteDeadline implements [net.Conn].
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set(&c.write, t)
	return nil
}

// A pipe is a Conn as what its carrier brings.
type pipe struct {
	*Conn
	h *Handler
}

// Begin implements [exchange.Request].
func (p *pipe) Begin() {
	h := p.h
	h.mu.Lock()
	ended := h.ended
	if !ended {
		h.conns[p.Conn] = struct{}{}
		h.wg.Add(1)
	}
	h.mu.Unlock()
	if ended {
		p.response.Reset(exchange.RefusedStream, errEnded)
		p.over, p.last = true, func() {}
		return
	}
	go p.serve() // ends when Serve returns, which Handler.Close asks it to and waits for
}

var errEnded = &net.OpError{Op: "accept", Net: "duplex", Err: net.ErrClosed}

func (p *pipe) serve() {
	defer p.h.wg.Done()
	defer func() {
		p.h.mu.Lock()
		delete(p.h.conns, p.Conn)
		p.h.mu.Unlock()
		_ = p.Close() // it may be closed
	}()
	p.h.o.Serve(p.Conn)
}

// Data implements [exchange.Request].
func (p *pipe) Data(b []byte) {
	p.mu.Lock()
	if p.err == nil {
		p.in = append(p.in, b...)
		p.changed.Broadcast()
	}
	p.mu.Unlock()
}

// End implements [exchange.Request].
func (p *pipe) End([]exchange.Field) {
	p.mu.Lock()
	p.eof = true
	p.changed.Broadcast()
	p.mu.Unlock()
}

// Reset implements [exchange.Request].
func (p *pipe) Reset(code exchange.Code) {
	p.mu.Lock()
	p.end(&net.OpError{Op: "read", Net: "duplex", Addr: p.RemoteAddr(), Err: gone(code)}, func() { p.response.Reset(code, nil) })
}

// gone is why a client is.
type gone exchange.Code

func (g gone) Error() string {
	if exchange.Code(g) == exchange.Cancel {
		return "the client has left"
	}
	return "the client was lost"
}

// Credit implements [exchange.Request].
func (p *pipe) Credit(n int) {
	p.mu.Lock()
	p.room += n
	p.changed.Broadcast()
	p.mu.Unlock()
}

// Done implements [exchange.Request].
func (p *pipe) Done(bool) {}
