package duplex

import (
	"encoding/binary"
	"fmt"
)

// Events are what a [Decoder] calls. What they get is valid during the call only.
type Events interface {
	// Data is a part of a DATA frame; how DATA was cut means nothing.
	Data(call uint32, b []byte) error
	// Frame is any other frame, whole, of a kind that is known.
	Frame(kind Kind, call uint32, payload []byte) error
}

// A Decoder cuts what comes on a pipe into frames. It keeps at most one frame that is not
// DATA. Only frames themselves are looked at, not what they may do where.
type Decoder struct {
	Form Form

	head [8]byte
	have int // of head
	kind Kind
	call uint32
	left int  // of the payload
	in   bool // a payload is read
	buf  []byte
	err  error
}

// Feed takes more bytes. An error, of an event or of its own, is final.
func (d *Decoder) Feed(b []byte, ev Events) error {
	for d.err == nil && len(b) > 0 {
		if !d.in {
			n := copy(d.head[d.have:d.Form.header()], b)
			d.have += n
			b = b[n:]
			if d.have == d.Form.header() {
				d.err = d.begin(ev)
			}
			continue
		}
		n := min(d.left, len(b))
		d.err = d.payload(b[:n], ev)
		b = b[n:]
	}
	return d.err
}

// Between says whether the pipe may end here.
func (d *Decoder) Between() bool { return d.have == 0 && !d.in }

// Buffered is how many bytes are kept.
func (d *Decoder) Buffered() int { return cap(d.buf) }

// begin has a whole head.
func (d *Decoder) begin(ev Events) error {
	d.have = 0
	d.kind = Kind(d.head[0])
	d.left = int(d.head[1])<<16 | int(d.head[2])<<8 | int(d.head[3])
	d.call = 0
	if d.Form == MuxForm {
		d.call = binary.BigEndian.Uint32(d.head[4:])
		if d.kind.known() && d.kind.Connection() != (d.call == 0) {
			return fmt.Errorf("%v with call number %d", d.kind, d.call)
		}
	}
	fixed, is := d.kind.length()
	switch {
	case is && d.left != fixed:
		return fmt.Errorf("%v of %d bytes; it has %d", d.kind, d.left, fixed)
	case d.left > MaxFrame:
		return fmt.Errorf("%v of %d bytes; a frame has at most %d", d.kind, d.left, MaxFrame)
	case d.kind == Data && (d.left == 0 || d.left > MaxData):
		return fmt.Errorf("DATA of %d bytes; it has 1 to %d", d.left, MaxData)
	case d.left > 0:
		d.in = true
		return nil
	case d.kind.known():
		return ev.Frame(d.kind, d.call, nil)
	}
	return nil
}

// payload has a part of a payload.
func (d *Decoder) payload(b []byte, ev Events) error {
	d.left -= len(b)
	d.in = d.left > 0
	switch {
	case d.kind == Data:
		return ev.Data(d.call, b)
	case !d.kind.known():
		return nil
	case len(d.buf) == 0 && !d.in: // all of it is here
		return ev.Frame(d.kind, d.call, b)
	}
	d.buf = append(d.buf, b...)
	if d.in {
		return nil
	}
	err := ev.Frame(d.kind, d.call, d.buf)
	d.buf = d.buf[:0]
	if cap(d.buf) > 4<<10 {
		d.buf = nil
	}
	return err
}
