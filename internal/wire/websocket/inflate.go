package websocket

import (
	"encoding/binary"
	"sync"
)

// flushed is what a compressor leaves out at the end of a message (RFC 7692, section
// 7.2.1): the end of an empty block that is not compressed.
const flushed = "\x00\x00\xff\xff"

// What a Decoder refuses in a compressed message.
var (
	errDeflate = &Error{InvalidPayload, "compressed message is corrupt"}
	errRatio   = &Error{PolicyViolation, "message compressed by more than the limit (limits.decompression_ratio)"}
	errBlocks  = &Error{PolicyViolation, "compressed message of too many blocks"}
)

const (
	// ratioFree is how large a message may become whatever its ratio.
	ratioFree = 1 << 20
	// maxWindow is the history that DEFLATE can refer to (RFC 1951, section 2), maxMatch
	// the longest match (section 3.2.5).
	maxWindow = 1 << 15
	maxMatch  = 258
)

// An inflater decompresses a message that is there as a whole (RFC 1951). It is our own
// because of what a hostile peer can do, and libraries don't let us see: eleven bytes are
// a block with codes of its own and no content, which costs microseconds, so the number
// of such blocks is bounded by their bytes. And after a block that is the last one others
// may follow, for which a library has to be started anew with a copy of its window.
//
// Inflaters are shared by all connections.
type inflater struct {
	in   []byte
	at   int    // what of in was not taken into bits
	bits uint64 // the next ones, the first one lowest
	n    int    // how many of them count; negative if more were taken than there are

	out   [2*maxWindow + maxMatch]byte // history, and what was not passed on yet
	start int                          // of what was not passed on
	end   int

	literals, distances huffman
	lengths             [286 + 30]uint8

	most    int // bytes that may come out
	tooMuch *Error
	blocks  int // with codes of their own, that may come
}

var inflaters = sync.Pool{New: func() any { return new(inflater) }}

// inflate decompresses the message that is kept (RFC 7692, section 7.2.2), and passes on
// what comes out.
func (d *Decoder) inflate(ev Events) *Error {
	in := d.kept
	d.kept = nil // what comes out may have to be kept too
	z := inflaters.Get().(*inflater)
	z.most, z.tooMuch = orDefault(d.MaxMessage, DefaultMaxMessage), errTooBig
	if n := max(ratioFree, orDefault(d.MaxRatio, DefaultMaxRatio)*len(in.b)); n < z.most {
		z.most, z.tooMuch = n, errRatio
	}
	z.blocks = 16 + len(in.b)/32
	in.b = append(in.b, flushed...)
	z.in, z.at, z.bits, z.n = in.b, 0, 0, 0
	z.start = copy(z.out[:], d.window)
	z.end = z.start

	err := z.message(d, ev)
	if bits := d.Deflate.windowOf(d.Client); err == nil && bits > 0 {
		d.window = append(d.window[:0], z.out[max(0, z.end-1<<bits):z.end]...)
	}

	z.in = nil
	inflaters.Put(z)
	in.release()
	if err != nil {
		return err
	}
	return d.data(nil, true, ev)
}

// message reads blocks until all is read.
func (z *inflater) message(d *Decoder, ev Events) *Error {
	for {
		z.fill()
		final := z.take(1)
		var err *Error
		switch z.take(2) {
		case 0:
			err = z.stored(d, ev)
		case 1:
			err = z.block(fixedLiterals, fixedDistances, d, ev)
		case 2:
			if err = z.codes(); err == nil {
				err = z.block(&z.literals, &z.distances, d, ev)
			}
		default:
			err = errDeflate
		}
		if err == nil && z.n < 0 {
			err = errDeflate
		}
		if err != nil {
			return err
		}
		if final == 1 {
			// A block may say that it is the last one, and others follow at the next
			// byte (RFC 7692, section 7.2.3.4). Some senders forget those.
			if z.align(); string(z.in[z.at:]) == flushed {
				z.at = len(z.in)
			}
		}
		if z.at == len(z.in) && z.n == 0 {
			return z.pass(d, ev)
		}
	}
}

// fill takes bytes in, so that there are 56 bits if there is as much.
func (z *inflater) fill() {
	if z.at+8 <= len(z.in) {
		z.bits |= binary.LittleEndian.Uint64(z.in[z.at:]) << z.n
		z.at += (63 - z.n) >> 3
		z.n |= 56
		return
	}
	for z.n < 56 && z.at < len(z.in) {
		z.bits |= uint64(z.in[z.at]) << z.n
		z.at++
		z.n += 8
	}
}

func (z *inflater) take(n int) int {
	v := int(z.bits & (1<<n - 1))
	z.bits >>= n
	z.n -= n
	return v
}

// align drops the bits of a byte that has begun, and gives whole bytes back.
func (z *inflater) align() {
	z.at -= z.n >> 3
	z.bits, z.n = 0, 0
}

// pass passes on what came out.
func (z *inflater) pass(d *Decoder, ev Events) *Error {
	p := z.out[z.start:z.end]
	if z.most -= len(p); z.most < 0 {
		return z.tooMuch
	}
	z.start = z.end
	return d.data(p, false, ev)
}

// room makes room for a match.
func (z *inflater) room(d *Decoder, ev Events) *Error {
	if z.end+maxMatch <= len(z.out) {
		return nil
	}
	if err := z.pass(d, ev); err != nil {
		return err
	}
	z.start = copy(z.out[:], z.out[z.end-maxWindow:z.end])
	z.end = z.start
	return nil
}

// stored reads a block that is not compressed (RFC 1951, section 3.2.4).
func (z *inflater) stored(d *Decoder, ev Events) *Error {
	if z.n < 0 {
		return errDeflate
	}
	z.align()
	in := z.in[z.at:]
	if len(in) < 4 {
		return errDeflate
	}
	length := int(binary.LittleEndian.Uint16(in))
	if in = in[4:]; binary.LittleEndian.Uint16(z.in[z.at+2:]) != ^uint16(length) || length > len(in) {
		return errDeflate
	}
	z.at += 4 + length
	for in = in[:length]; len(in) > 0; {
		if err := z.room(d, ev); err != nil {
			return err
		}
		n := copy(z.out[z.end:], in)
		z.end += n
		in = in[n:]
	}
	return nil
}

// codes reads the codes of a block (section 3.2.7).
func (z *inflater) codes() *Error {
	if z.blocks--; z.blocks < 0 {
		return errBlocks
	}
	literals, distances, n := 257+z.take(5), 1+z.take(5), 4+z.take(4)
	if literals > 286 || distances > 30 {
		return errDeflate
	}
	var order [19]uint8
	for i, l := range lengthOrder[:n] {
		if i == 12 {
			if z.n < 0 {
				return errDeflate
			}
			z.fill()
		}
		order[l] = uint8(z.take(3))
	}
	if !z.literals.build(order[:]) {
		return errDeflate
	}
	lengths := z.lengths[:literals+distances]
	for i := 0; i < len(lengths); {
		if z.n < 0 {
			return errDeflate
		}
		z.fill()
		s, l := z.literals.find(z.bits)
		if l == 0 {
			return errDeflate
		}
		z.take(l)
		value, times := uint8(0), 1
		switch s {
		case 16:
			if i == 0 {
				return errDeflate
			}
			value, times = lengths[i-1], 3+z.take(2)
		case 17:
			times = 3 + z.take(3)
		case 18:
			times = 11 + z.take(7)
		default:
			value = uint8(s)
		}
		if times > len(lengths)-i {
			return errDeflate
		}
		for range times {
			lengths[i] = value
			i++
		}
	}
	if z.n < 0 || !z.literals.build(lengths[:literals]) || !z.distances.build(lengths[literals:]) {
		return errDeflate
	}
	return nil
}

// block reads a block that is compressed (section 3.2.3).
func (z *inflater) block(literals, distances *huffman, d *Decoder, ev Events) *Error {
	for {
		if z.n < 0 {
			return errDeflate
		}
		// A literal or a match, of at most 48 bits.
		if z.n < 48 {
			z.fill()
		}
		if z.end+maxMatch > len(z.out) {
			if err := z.room(d, ev); err != nil {
				return err
			}
		}
		s, l := literals.find(z.bits)
		z.bits >>= l
		z.n -= l
		switch {
		case l == 0:
			return errDeflate
		case s < 256:
			z.out[z.end] = byte(s)
			z.end++
			continue
		case s == 256:
			return nil
		}
		if s -= 257; s >= len(lengthBase) {
			return errDeflate
		}
		length := int(lengthBase[s]) + z.take(int(lengthExtra[s]))
		s, l = distances.find(z.bits)
		if l == 0 || s >= len(distanceBase) {
			return errDeflate
		}
		z.bits >>= l
		z.n -= l
		distance := int(distanceBase[s]) + z.take(int(distanceExtra[s]))
		if distance > z.end {
			return errDeflate
		}
		// The match may reach into what it makes.
		for from := z.end - distance; length > 0; {
			n := copy(z.out[z.end:z.end+length], z.out[from:z.end])
			z.end += n
			length -= n
		}
	}
}
