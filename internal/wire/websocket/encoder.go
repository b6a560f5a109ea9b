package websocket

import (
	"crypto/rand"
	"encoding/binary"
)

// The lengths from which messages are compressed. Below them little is won, with earlier
// messages to refer to (DefaultTakeoverThreshold) or without. Of less than 128 bytes the
// compressor doesn't even look for what repeats.
const (
	DefaultThreshold         = 512
	DefaultTakeoverThreshold = 128
)

// An Encoder appends frames to slices. Its exported fields are set before its first use.
type Encoder struct {
	Client    bool           // we are the client: frames are masked
	Deflate   *DeflateParams // what was agreed upon, or nil
	Threshold int            // the length from which messages are compressed; 0 is the default

	next       Opcode // of the next frame of a message in pieces
	compressed bool   // the message in pieces is
	window     []byte // of our context takeover
}

// Message appends a message of one frame. A Text has to be UTF-8.
func (e *Encoder) Message(dst []byte, op Opcode, p []byte) []byte {
	if e.Deflate == nil || len(p) < e.threshold() {
		return e.frame(dst, bitFin|byte(op), p)
	}
	at := len(dst)
	dst = e.reserve(dst, len(p))
	body := len(dst)
	dst = e.deflate(dst, p)
	dst = dst[:len(dst)-len(flushed)]
	if len(dst)-body >= len(p) {
		// It is not worth it. What is sent as it is takes no part in the window
		// (RFC 7692, section 7.2).
		return e.frame(dst[:at], bitFin|byte(op), p)
	}
	e.remember(p)
	return e.fill(dst, at, body, bitFin|bitRSV1|byte(op))
}

func (e *Encoder) threshold() int {
	if e.Deflate.windowOf(!e.Client) > 0 {
		return orDefault(e.Threshold, DefaultTakeoverThreshold)
	}
	return orDefault(e.Threshold, DefaultThreshold)
}

// Begin begins a message in pieces. With compress, and if it was agreed upon, each piece
// is compressed. Control frames may be sent between pieces, other messages may not.
func (e *Encoder) Begin(op Opcode, compress bool) {
	e.next, e.compressed = op, compress && e.Deflate != nil
}

// Data appends a piece, as a frame; an empty piece is nothing.
func (e *Encoder) Data(dst, p []byte) []byte {
	if len(p) == 0 {
		return dst
	}
	first := e.nextFirst()
	if !e.compressed {
		return e.frame(dst, first, p)
	}
	at := len(dst)
	dst = e.reserve(dst, len(p)+len(p)/1024+64) // what can't be compressed grows a little
	body := len(dst)
	dst = e.deflate(dst, p)
	e.remember(p)
	return e.fill(dst, at, body, first)
}

// End appends the end of the message.
func (e *Encoder) End(dst []byte) []byte {
	first := e.nextFirst() | bitFin
	if !e.compressed {
		return e.frame(dst, first, nil)
	}
	// An empty block, with its end left out (RFC 7692, section 7.2.3.6).
	return e.frame(dst, first, []byte{0})
}

// nextFirst is the first byte of the next frame of a message in pieces.
func (e *Encoder) nextFirst() byte {
	first := byte(e.next)
	if e.compressed && e.next != opContinuation {
		first |= bitRSV1
	}
	e.next = opContinuation
	return first
}

// Ping appends a Ping with the first 125 bytes of p.
func (e *Encoder) Ping(dst, p []byte) []byte {
	return e.frame(dst, bitFin|byte(opPing), p[:min(len(p), maxControl)])
}

// Pong appends a Pong with the first 125 bytes of p.
func (e *Encoder) Pong(dst, p []byte) []byte {
	return e.frame(dst, bitFin|byte(opPong), p[:min(len(p), maxControl)])
}

// Close appends a Close, after which nothing may follow. The reason is cut as [Reason]
// does it. A code that may not be sent, such as NoStatus, is left out with its reason.
func (e *Encoder) Close(dst []byte, code Code, reason string) []byte {
	var p [maxControl]byte
	if !code.Valid() {
		return e.frame(dst, bitFin|byte(opClose), nil)
	}
	binary.BigEndian.PutUint16(p[:], uint16(code))
	n := copy(p[2:], Reason(reason))
	return e.frame(dst, bitFin|byte(opClose), p[:2+n])
}

// frame appends a frame.
func (e *Encoder) frame(dst []byte, first byte, p []byte) []byte {
	at := len(dst)
	dst = e.reserve(dst, len(p))
	body := len(dst)
	return e.fill(append(dst, p...), at, body, first)
}

// reserve appends room for the header of a frame of up to length bytes.
func (e *Encoder) reserve(dst []byte, length int) []byte {
	n := headerLen(length)
	if e.Client {
		n += keyLen
	}
	var room [maxHeader]byte
	return append(dst, room[:n]...)
}

// fill writes the header of the frame that begins at at, whose payload was appended from
// body on, and masks it. What was reserved too much is closed.
func (e *Encoder) fill(dst []byte, at, body int, first byte) []byte {
	length := len(dst) - body
	n, mask := headerLen(length), byte(0)
	if e.Client {
		n, mask = n+keyLen, bitMask
	}
	if at+n != body {
		copy(dst[at+n:], dst[body:])
		dst = dst[:at+n+length]
		body = at + n
	}
	if e.Client {
		rand.Read(dst[body-keyLen : body]) // never fails
		xor(dst[body:], binary.LittleEndian.Uint32(dst[body-keyLen:]))
		n -= keyLen
	}
	putHeader(dst[at:at+n], first, mask, length)
	return dst
}

// deflate appends p compressed.
func (e *Encoder) deflate(dst, p []byte) []byte {
	bits := e.Deflate.ServerMaxWindowBits
	if e.Client {
		bits = e.Deflate.ClientMaxWindowBits
	}
	return deflate(dst, p, e.window, orDefault(bits, maxWindowBits))
}

// remember keeps what the next message may refer to.
func (e *Encoder) remember(p []byte) {
	bits := e.Deflate.windowOf(!e.Client)
	if bits == 0 {
		return
	}
	if size := 1 << bits; len(p) >= size {
		e.window = append(e.window[:0], p[len(p)-size:]...)
	} else {
		if over := len(e.window) + len(p) - size; over > 0 {
			e.window = append(e.window[:0], e.window[over:]...)
		}
		e.window = append(e.window, p...)
	}
}
