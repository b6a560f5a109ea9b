package h2

import (
	"encoding/binary"
	"errors"
	"strings"
	"unsafe"

	"golang.org/x/net/http2/hpack"
)

// A decoder reads field sections (RFC 7541) that come in pieces, cut anywhere. It
// stands beside golang.org/x/net's for speed: decoding is the largest part of what a
// call costs a gateway. Strings are cut from chunks, most characters of a Huffman code
// take one lookup, and a field that refers to the table brings along what was found
// wrong with it when it was put there. Its oracle in tests is x/net's decoder.
type decoder struct {
	emit func(f decodedField)

	// The dynamic table: entry i, from the newest at 0, is entries[(next-1-i)%len].
	entries []decodedField
	oldest  uint32
	next    uint32
	size    int
	limit   int // what the encoder has chosen
	most    int // what we allow

	maxString int
	save      []byte // a field that has not come whole: two strings at most
	began     bool   // a field of this section came, so the table's size is fixed
	chunk     []byte // strings are cut from here
}

// decodedField is a field, and what is wrong with it.
type decodedField struct {
	name, value string
	invalid     string
	sensitive   bool
}

func (d *decodedField) size() int { return len(d.name) + len(d.value) + 32 }

const (
	decoderTable = 4096 // RFC 9113, section 6.5.2: the default, which we leave
	// decoderChunk is how much is allocated at once for strings. Each entry of the table
	// keeps at most one chunk from being freed.
	decoderChunk = 1 << 10
)

var (
	errIndex      = errors.New("an index that is in no table")
	errInteger    = errors.New("an integer that is too large")
	errString     = errors.New("a string that is too long")
	errHuffman    = errors.New("malformed Huffman code")
	errTableSize  = errors.New("a table size above the limit, or not at the beginning")
	errIncomplete = errors.New("a field section that ends inside of a field")
)

// newDecoder returns a decoder that gives each field to emit.
func newDecoder(maxString int, emit func(decodedField)) *decoder {
	return &decoder{emit: emit, limit: decoderTable, most: decoderTable, maxString: maxString}
}

// write takes a piece of a field section.
func (d *decoder) write(p []byte) error {
	kept := len(d.save) > 0
	if kept {
		d.save = append(d.save, p...)
		p = d.save
	}
	whole := len(p)
	for len(p) > 0 {
		n, err := d.field(p)
		if err != nil {
			return err
		}
		if n == 0 {
			if !kept || len(p) < whole { // else a long string that comes bytewise would be copied for each byte
				d.save = append(d.save[:0], p...)
			}
			return nil
		}
		p = p[n:]
	}
	d.save = d.save[:0]
	return nil
}

// end ends a field section.
func (d *decoder) end() error {
	d.began = false
	if len(d.save) > 0 {
		d.save = nil
		return errIncomplete
	}
	return nil
}

// field decodes one representation (RFC 7541, section 6) and says how long it is; 0 is
// that it has not come whole.
func (d *decoder) field(p []byte) (int, error) {
	b := p[0]
	switch {
	case b&0x80 != 0: // indexed
		i, n, err := decodeInt(p, 7)
		if n == 0 || err != nil {
			return 0, err
		}
		f, ok := d.at(i)
		if !ok {
			return 0, errIndex
		}
		d.began = true
		d.emit(*f)
		return n, nil
	case b&0xc0 == 0x40:
		return d.literal(p, 6, true, false)
	case b&0xe0 == 0x20:
		v, n, err := decodeInt(p, 5)
		if n == 0 || err != nil {
			return 0, err
		}
		if d.began || v > uint64(d.most) {
			return 0, errTableSize
		}
		d.limit = int(v)
		d.evict(d.limit)
		return n, nil
	default:
		return d.literal(p, 4, false, b&0x10 != 0)
	}
}

func (d *decoder) literal(p []byte, prefix uint, index, sensitive bool) (int, error) {
	i, n, err := decodeInt(p, prefix)
	if n == 0 || err != nil {
		return 0, err
	}
	var f decodedField
	known := i > 0
	var name, value stringAt
	if known {
		of, ok := d.at(i)
		if !ok {
			return 0, errIndex
		}
		f.name = of.name
	} else {
		if name, n, err = d.stringAt(p, n); n == 0 || err != nil {
			return 0, err
		}
	}
	if value, n, err = d.stringAt(p, n); n == 0 || err != nil {
		return 0, err
	}
	if !known {
		if f.name, err = d.string(name); err != nil {
			return 0, err
		}
	}
	if f.value, err = d.string(value); err != nil {
		return 0, err
	}
	f.sensitive = sensitive
	f.invalid = invalid(f.name, f.value)
	d.began = true
	if index {
		d.add(f)
	}
	d.emit(f)
	return n, nil
}

// stringAt is where a string literal is (RFC 7541, section 5.2).
type stringAt struct {
	b       []byte
	huffman bool
}

func (d *decoder) stringAt(p []byte, at int) (stringAt, int, error) {
	if at >= len(p) {
		return stringAt{}, 0, nil
	}
	length, n, err := decodeInt(p[at:], 7)
	if err != nil {
		return stringAt{}, 0, err
	}
	if length > uint64(d.maxString) {
		return stringAt{}, 0, errString
	}
	if n == 0 || len(p)-at-n < int(length) {
		return stringAt{}, 0, nil
	}
	from := at + n
	return stringAt{p[from : from+int(length)], p[at]&0x80 != 0}, from + int(length), nil
}

// string makes a string of a literal.
func (d *decoder) string(s stringAt) (string, error) {
	if len(s.b) == 0 {
		return "", nil
	}
	most := len(s.b)
	if s.huffman {
		most = huffmanRoom(len(s.b))
	}
	if most > decoderChunk/2 {
		if !s.huffman {
			return string(s.b), nil
		}
		b, err := appendHuffman(make([]byte, 0, most), s.b)
		if len(b) > d.maxString {
			return "", errString
		}
		return unsafe.String(unsafe.SliceData(b), len(b)), err
	}
	if cap(d.chunk)-len(d.chunk) < most {
		d.chunk = make([]byte, 0, decoderChunk)
	}
	from := len(d.chunk)
	var err error
	if s.huffman {
		d.chunk, err = appendHuffman(d.chunk, s.b)
	} else {
		d.chunk = append(d.chunk, s.b...)
	}
	// What is cut off is never written again.
	b := d.chunk[from:]
	return unsafe.String(unsafe.SliceData(b), len(b)), err
}

// at returns the field of an index (RFC 7541, section 2.3.3).
func (d *decoder) at(i uint64) (*decodedField, bool) {
	if i == 0 {
		return nil, false
	}
	if i <= staticEntries {
		return &staticFields[i-1], true
	}
	i -= staticEntries
	if i > uint64(d.next-d.oldest) {
		return nil, false
	}
	return &d.entries[(d.next-uint32(i))%uint32(len(d.entries))], true
}

// add puts a field into the table (RFC 7541, section 4.4).
func (d *decoder) add(f decodedField) {
	n := f.size()
	d.evict(d.limit - n)
	if n > d.limit {
		return
	}
	if have := uint32(len(d.entries)); d.next-d.oldest == have {
		larger := make([]decodedField, max(2*have, 16)) // a power of two, for the remainder to go on when next wraps
		for i := d.oldest; i != d.next; i++ {
			larger[i%uint32(len(larger))] = d.entries[i%have]
		}
		d.entries = larger
	}
	d.entries[d.next%uint32(len(d.entries))] = f
	d.next++
	d.size += n
}

func (d *decoder) evict(limit int) {
	for d.size > limit && d.oldest != d.next {
		f := &d.entries[d.oldest%uint32(len(d.entries))]
		d.size -= f.size()
		*f = decodedField{}
		d.oldest++
	}
}

// decodeInt reads an integer with a prefix of n bits (RFC 7541, section 5.1), and says
// how many bytes it has; 0 is that it has not come whole.
func decodeInt(p []byte, n uint) (v uint64, size int, err error) {
	if len(p) == 0 {
		return 0, 0, nil
	}
	limit := uint64(1)<<n - 1
	if v = uint64(p[0]) & limit; v < limit {
		return v, 1, nil
	}
	for i, b := range p[1:] {
		if i == maxIntBytes {
			return 0, 0, errInteger
		}
		v += uint64(b&0x7f) << (7 * i)
		if b&0x80 == 0 {
			return v, i + 2, nil
		}
	}
	if len(p) > maxIntBytes {
		return 0, 0, errInteger
	}
	return 0, 0, nil
}

// maxIntBytes bounds integers, which nothing needs beyond 32 bits.
const maxIntBytes = 5

// Huffman codes (RFC 7541, appendix B) are 5 to 30 bits long. One lookup finds what the
// next huffmanBits begin with: one or two characters, which all usual ones are short
// enough for, or the beginning of a long code.
const (
	huffmanBits     = 11
	huffmanShortest = 5
	huffmanLongest  = 30
)

type huffmanCode struct {
	code uint32 // from the highest bit
	bits uint8
	char byte
}

// huffmanEntry is what a lookup finds.
type huffmanEntry struct {
	chars [2]byte
	count uint8 // of chars; 0 is a long code, or none
	bits  uint8 // of all
	first uint8 // bits of the first
}

var (
	huffmanTable [1 << huffmanBits]huffmanEntry
	huffmanLong  []huffmanCode
)

// The codes are taken from x/net's encoder.
func init() {
	var short []huffmanCode
	for c := range 256 {
		one := string([]byte{byte(c)})
		bits := int(hpack.HuffmanEncodeLength(strings.Repeat(one, 8))) // bytes of eight are the bits of one
		b := append(hpack.AppendHuffmanString(nil, one), 0, 0, 0)
		h := huffmanCode{code: binary.BigEndian.Uint32(b) >> (32 - bits) << (32 - bits), bits: uint8(bits), char: byte(c)}
		if bits > huffmanBits {
			huffmanLong = append(huffmanLong, h)
		} else {
			short = append(short, h)
		}
	}
	find := func(next uint32) *huffmanCode {
		for i := range short {
			if short[i].begins(next) {
				return &short[i]
			}
		}
		return nil
	}
	for i := range huffmanTable {
		next := uint32(i) << (32 - huffmanBits)
		first := find(next)
		if first == nil {
			continue
		}
		e := huffmanEntry{chars: [2]byte{first.char}, count: 1, bits: first.bits, first: first.bits}
		if second := find(next << first.bits); second != nil && first.bits+second.bits <= huffmanBits {
			e = huffmanEntry{[2]byte{first.char, second.char}, 2, first.bits + second.bits, first.bits}
		}
		huffmanTable[i] = e
	}
}

// begins says whether the next bits begin with this code.
func (h *huffmanCode) begins(next uint32) bool { return (next^h.code)>>(32-h.bits) == 0 }

// huffmanRoom is how much room appendHuffman needs for n bytes.
func huffmanRoom(n int) int { return n*8/huffmanShortest + 2 }

// appendHuffman decodes s to the end of out, which has room.
func appendHuffman(out, s []byte) ([]byte, error) {
	n := len(out)
	buf := out[:cap(out)]
	var acc uint64 // the next bits, from the highest
	var bits uint
	for len(s) >= 8 {
		// This puts more bits there than it counts: they come again, and are the same.
		acc |= binary.BigEndian.Uint64(s) >> bits
		s = s[(63-bits)>>3:]
		bits |= 56
		for bits >= huffmanLongest {
			e := &huffmanTable[acc>>(64-huffmanBits)]
			buf[n], buf[n+1] = e.chars[0], e.chars[1]
			n += int(e.count)
			acc <<= e.bits
			bits -= uint(e.bits)
			if e.count == 0 {
				h := longCode(uint32(acc >> 32))
				if h == nil {
					return out, errHuffman
				}
				buf[n] = h.char
				n++
				acc <<= h.bits
				bits -= uint(h.bits)
			}
		}
	}
	for {
		for bits <= 56 && len(s) > 0 {
			acc |= uint64(s[0]) << (56 - bits)
			s = s[1:]
			bits += 8
		}
		// The second character of a pair may be padding, so one is taken at a time.
		e := &huffmanTable[acc>>(64-huffmanBits)]
		char, size := e.chars[0], uint(e.first)
		if e.count == 0 {
			h := longCode(uint32(acc >> 32))
			if h == nil {
				break
			}
			char, size = h.char, uint(h.bits)
		}
		if size > bits {
			break
		}
		buf[n] = char
		n++
		acc <<= size
		bits -= size
	}
	// What is left is padding: less than a byte of the highest bits of EOS, which are ones.
	if len(s) > 0 || bits > 7 || acc != ^uint64(0)<<(64-bits) {
		return out, errHuffman
	}
	return buf[:n], nil
}
func longCode(next uint32) *huffmanCode {
	for i := range huffmanLong {
		if huffmanLong[i].begins(next) {
			return &huffmanLong[i]
		}
	}
	return nil
}

// staticFields is the static table, as the decoder needs it.
var staticFields = func() (t [staticEntries]decodedField) {
	for i, f := range staticList {
		t[i] = decodedField{name: f[0], value: f[1]}
	}
	return
}()
