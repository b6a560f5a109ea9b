package websocket

import (
	"encoding/binary"
	"unicode/utf8"
)

// Events take what a peer sent, in order. Slices are valid during the call only. Pings,
// pongs and a Close may come between the pieces of a message. None of them may call
// [Decoder.Feed].
type Events interface {
	Begin(op Opcode) // a message, Text or Binary
	Data(p []byte)   // a piece of it that is not empty; with Whole exactly one, all of it
	End()
	Ping(p []byte)
	Pong(p []byte)
	Close(code Code, reason string) // code is NoStatus if there was none; nothing follows
}

// Defaults of a Decoder's limits.
const (
	DefaultMaxMessage = 4 << 20
	DefaultMaxRatio   = 100
	DefaultMaxEmpty   = 100
)

// A Decoder reads the frames of one peer. Its exported fields are set before the first
// Feed.
type Decoder struct {
	Client  bool           // we are the client: the peer's frames are not masked
	Deflate *DeflateParams // what was agreed upon, or nil
	Whole   bool           // messages are delivered in one piece

	// Limits. 0 is the default.
	MaxMessage int // bytes of a message, both as it is sent and decompressed
	MaxRatio   int // how many times larger than its compressed form a message may be, above 1 MiB
	MaxEmpty   int // fragments of a message that are empty

	// The frame.
	header  [maxHeader]byte
	have    int // bytes of the header
	payload bool
	first   byte // of the header
	key     uint32
	left    uint64 // bytes of the payload still to come
	held    []byte // of a control frame that came in pieces

	// The message, if op is not 0.
	op         Opcode
	compressed bool
	size       int // bytes of its frames, as announced
	empty      int
	text       scan
	kept       *buffer // what is kept of it

	window []byte // of the peer's context takeover
	cost   int
	closed bool
	err    *Error
}

// What a Decoder refuses.
var (
	errReserved     = &Error{ProtocolError, "a reserved bit is set"}
	errOpcode       = &Error{ProtocolError, "unknown opcode"}
	errControlFin   = &Error{ProtocolError, "fragmented control frame"}
	errControlLong  = &Error{ProtocolError, "control frame of more than 125 bytes"}
	errContinuation = &Error{ProtocolError, "continuation without a message"}
	errNoEnd        = &Error{ProtocolError, "a message within a message"}
	errUnmasked     = &Error{ProtocolError, "frame of a client without a mask"}
	errMasked       = &Error{ProtocolError, "frame of a server with a mask"}
	errLength       = &Error{ProtocolError, "length of a frame not in its shortest form"}
	errLengthRange  = &Error{ProtocolError, "length of a frame out of range"}
	errClose        = &Error{ProtocolError, "Close frame with a bad code"}
	errCloseReason  = &Error{InvalidPayload, "reason of a Close frame is not UTF-8"}
	errText         = &Error{InvalidPayload, "text is not UTF-8"}
	errTooBig       = &Error{MessageTooBig, "message larger than the limit (limits.message_bytes)"}
	errEmpty        = &Error{PolicyViolation, "too many empty fragments"}
)

// Feed reads b, which it overwrites: payloads are unmasked in place. The error is always
// an [*Error], and final; bytes after a Close are ignored (RFC 6455, section 1.4).
func (d *Decoder) Feed(b []byte, ev Events) error {
	for d.err == nil && !d.closed {
		if !d.payload {
			n, whole := d.readHeader(b, ev)
			b = b[n:]
			if !whole {
				break
			}
		}
		n := int(min(uint64(len(b)), d.left))
		d.left -= uint64(n)
		d.readPayload(b[:n], ev)
		b = b[n:]
		if d.left > 0 {
			break
		}
		d.payload = false
	}
	if d.err != nil {
		return d.err
	}
	return nil
}

// Cost returns how many frames came since the last call that were work and no use:
// control frames, and fragments of less than 5 bytes that don't end their message. Who
// knows the time charges them to the budget of the connection.
func (d *Decoder) Cost() int {
	n := d.cost
	d.cost = 0
	return n
}

// Between says whether no message and no frame is open: an end of the connection here
// loses nothing.
func (d *Decoder) Between() bool { return d.op == 0 && !d.payload && d.have == 0 }

// Buffered says how many bytes are kept of a message that has not ended.
func (d *Decoder) Buffered() int {
	if d.kept == nil {
		return 0
	}
	return len(d.kept.b)
}

// tiny is the length below which a fragment is not worth its frame.
const tiny = 5

func (d *Decoder) fail(err *Error) {
	d.err = err
	d.release()
}

// readHeader reads a header as far as b goes. whole says that a payload follows, which
// may be empty.
func (d *Decoder) readHeader(b []byte, ev Events) (n int, whole bool) {
	if d.have < 2 {
		n = copy(d.header[d.have:2], b)
		if d.have += n; d.have < 2 {
			return n, false
		}
		if err := d.checkFirst(); err != nil {
			d.fail(err)
			return n, false
		}
	}
	want := d.headerWant()
	m := copy(d.header[d.have:want], b[n:])
	n += m
	if d.have += m; d.have < want {
		return n, false
	}
	d.have = 0
	if err := d.beginFrame(want, ev); err != nil {
		d.fail(err)
		return n, false
	}
	return n, true
}

// headerWant is the length of the header whose first two bytes are there.
func (d *Decoder) headerWant() int {
	want := 2
	switch d.header[1] &^ bitMask {
	case 126:
		want += 2
	case 127:
		want += 8
	}
	if !d.Client {
		want += keyLen
	}
	return want
}

// checkFirst looks at the first two bytes of a header (RFC 6455, sections 5.1, 5.2, 5.4,
// 5.5; RFC 7692, section 6.1).
func (d *Decoder) checkFirst() *Error {
	first, second := d.header[0], d.header[1]
	op := Opcode(first & 0xf)
	if first&bitsRSV != 0 {
		return errReserved
	}
	if first&bitRSV1 != 0 && (d.Deflate == nil || op != Text && op != Binary) {
		return errReserved
	}
	switch op {
	case opContinuation:
		if d.op == 0 {
			return errContinuation
		}
	case Text, Binary:
		if d.op != 0 {
			return errNoEnd
		}
	case opClose, opPing, opPong:
		if first&bitFin == 0 {
			return errControlFin
		}
		if second&^bitMask > maxControl {
			return errControlLong
		}
	default:
		return errOpcode
	}
	switch masked := second&bitMask != 0; {
	case !masked && !d.Client:
		return errUnmasked
	case masked && d.Client:
		return errMasked
	}
	return nil
}

// beginFrame takes the header, whose n bytes are there.
func (d *Decoder) beginFrame(n int, ev Events) *Error {
	d.first = d.header[0]
	length := uint64(d.header[1] &^ bitMask)
	switch length {
	case 126:
		length = uint64(binary.BigEndian.Uint16(d.header[2:]))
		if length < 126 {
			return errLength
		}
	case 127:
		length = binary.BigEndian.Uint64(d.header[2:])
		if length > 1<<63-1 {
			return errLengthRange
		}
		if length < 1<<16 {
			return errLength
		}
	}
	if !d.Client {
		d.key = binary.LittleEndian.Uint32(d.header[n-keyLen:])
	}
	d.left = length
	d.payload = true
	op := Opcode(d.first & 0xf)
	if op.control() {
		d.cost++
		return nil
	}
	if op != opContinuation {
		d.op, d.compressed = op, d.first&bitRSV1 != 0
		d.size, d.empty = 0, 0
		ev.Begin(op)
	}
	if length > uint64(orDefault(d.MaxMessage, DefaultMaxMessage)-d.size) {
		return errTooBig
	}
	d.size += int(length)
	if d.first&bitFin == 0 && length < tiny {
		d.cost++
		if length == 0 {
			if d.empty++; d.empty > orDefault(d.MaxEmpty, DefaultMaxEmpty) {
				return errEmpty
			}
		}
	}
	return nil
}

func orDefault(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// readPayload takes a piece of the payload; d.left is what is left after it.
func (d *Decoder) readPayload(p []byte, ev Events) {
	if !d.Client {
		d.key = xor(p, d.key)
	}
	var err *Error
	switch whole := d.left == 0; {
	case Opcode(d.first & 0xf).control():
		if !whole || len(d.held) > 0 {
			d.held = append(d.held, p...)
			p = d.held
		}
		if whole {
			d.held = nil
			err = d.endControl(p, ev)
		}
	case d.compressed:
		d.keep(p)
		if whole && d.first&bitFin != 0 {
			if err = d.inflate(ev); err == nil {
				d.end(ev)
			}
		}
	default:
		last := whole && d.first&bitFin != 0
		if err = d.data(p, last, ev); err == nil && last {
			d.end(ev)
		}
	}
	if err != nil {
		d.fail(err)
	}
}

// data takes a piece of a message, as the sender meant it. last says that it is known
// that no other follows.
func (d *Decoder) data(p []byte, last bool, ev Events) *Error {
	var err *Error
	if d.op == Text {
		if i := d.text.check(p); i >= 0 {
			p, err = p[:i], errText
		} else if last && d.text.need > 0 {
			err = errText
		}
	}
	switch {
	case !d.Whole:
		if len(p) > 0 {
			ev.Data(p)
		}
	case err != nil, len(p) == 0 && !last:
	case last && d.kept == nil:
		ev.Data(p)
	default:
		d.keep(p)
		if last {
			ev.Data(d.kept.b)
		}
	}
	return err
}

// end ends a message, whose data were delivered.
func (d *Decoder) end(ev Events) {
	d.op = 0
	d.release()
	ev.End()
}

// endControl takes a control frame (RFC 6455, section 5.5).
func (d *Decoder) endControl(p []byte, ev Events) *Error {
	switch Opcode(d.first & 0xf) {
	case opPing:
		ev.Ping(p)
	case opPong:
		ev.Pong(p)
	case opClose:
		code, reason := NoStatus, ""
		if len(p) > 0 {
			if len(p) < 2 {
				return errClose
			}
			if code = Code(binary.BigEndian.Uint16(p)); !code.Valid() {
				return errClose
			}
			if !utf8.Valid(p[2:]) {
				return errCloseReason
			}
			reason = string(p[2:])
		}
		d.closed = true
		d.release()
		ev.Close(code, reason)
	}
	return nil
}
