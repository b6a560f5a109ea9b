package http3

import (
	"sync"
	"time"

	"github.com/quic-go/webtransport-go"
)

// maxControl is what may wait on the stream that only the server writes.
const maxControl = 64 << 10

// control is that stream. It is opened with the first bytes, and has a goroutine only while
// there is something to write.
type control struct {
	x   *session
	str *webtransport.SendStream // the writer's

	mu      sync.Mutex
	queue   []byte
	writing bool
	over    bool
}

func (c *control) add(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	if len(c.queue)+len(b) > maxControl {
		c.over = true
		c.x.close(codeStalled, "the client does not read the server's stream")
		return
	}
	c.queue = append(c.queue, b...)
	if !c.writing {
		c.writing = true
		c.x.others.Go(c.write) // ends when nothing is left, or the session has ended
	}
}

// stop takes nothing more.
func (c *control) stop() {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
}

func (c *control) write() {
	for {
		c.mu.Lock()
		b := c.queue
		if c.queue = nil; len(b) == 0 {
			c.writing = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		if err := c.put(b); err != nil {
			c.stop()
			c.x.close(codeStalled, "the client does not take the server's stream")
			return
		}
	}
}

func (c *control) put(b []byte) (err error) {
	if c.str == nil {
		if c.str, err = c.x.wt.OpenUniStreamSync(c.x.wt.Context()); err != nil {
			return err
		}
	}
	if d := c.x.s.cfg.Stall; d > 0 {
		_ = c.str.SetWriteDeadline(time.Now().Add(d))
	}
	_, err = c.str.Write(b)
	return err
}

const (
	// maxDatagram fits into the smallest packet of QUIC (RFC 9000, section 14), with all that
	// stands before it.
	maxDatagram = 1100
	// maxDatagrams may wait; the library has room for 32 more.
	maxDatagrams = 64
)

// datagrams are those that wait to be sent.
type datagrams struct {
	x *session

	mu      sync.Mutex
	queue   [][]byte
	writing bool
	over    bool
}

// add takes a datagram, if there is room. There are no empty ones: after one Chromium
// receives no more.
func (d *datagrams) add(b []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over || len(b) == 0 || len(b) > maxDatagram || len(d.queue) >= maxDatagrams {
		return false
	}
	d.queue = append(d.queue, append([]byte(nil), b...))
	if !d.writing {
		d.writing = true
		d.x.others.Go(d.write) // ends when nothing is left, or the session has ended
	}
	return true
}

func (d *datagrams) stop() {
	d.mu.Lock()
	d.over = true
	d.mu.Unlock()
}

func (d *datagrams) write() {
	for {
		d.mu.Lock()
		batch := d.queue
		if d.queue = nil; len(batch) == 0 {
			d.writing = false
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
		for _, b := range batch {
			if d.x.wt.SendDatagram(b) != nil { // it blocks while the library's queue is full
				break
			}
		}
	}
}
