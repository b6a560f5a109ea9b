package http3

import (
	"time"

	"github.com/quic-go/webtransport-go"
)

// maxControl is what may wait on the stream that only the server writes.
const maxControl = 64 << 10

// control is that stream. It is opened with the first bytes.
type control struct {
	x   *session
	str *webtransport.SendStream // the writer's
	queue[byte]
}

func (c *control) send(b []byte) {
	if c.add(c.x, maxControl, c.write, b...) == full {
		c.stop()
		c.x.close(codeStalled, "the client does not read the server's stream")
	}
}

func (c *control) write() {
	if c.drain(c.put) != nil {
		c.x.close(codeStalled, "the client does not take the server's stream")
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
	queue[[]byte]
}

// send takes a datagram, if there is room. There are no empty ones: after one Chromium
// receives no more.
func (d *datagrams) send(b []byte) bool {
	return len(b) > 0 && len(b) <= maxDatagram && d.add(d.x, maxDatagrams, d.write, append([]byte(nil), b...)) == queued
}

func (d *datagrams) write() { _ = d.drain(d.put) }

// put never fails: what can't be sent is lost.
func (d *datagrams) put(batch [][]byte) error {
	for _, b := range batch {
		if d.x.wt.SendDatagram(b) != nil { // it blocks while the library's queue is full
			break
		}
	}
	return nil
}
