package websocket

import "math/bits"

// fastBits is the length up to which a code is found in one step.
const fastBits = 10

// A huffman decodes the codes of a block (RFC 1951, section 3.2.2).
type huffman struct {
	fast   [1 << fastBits]uint16 // by the next bits: symbol<<4 | length, 0 for a longer code
	mask   uint64                // of the bits that fast is used with
	count  [16]uint16            // codes of each length
	symbol [288]uint16           // in the order of their codes
}

// build takes the lengths of all symbols. It says false if they are no code: too many,
// or too few, but for one alone or none, which compressors use for distances.
func (h *huffman) build(lengths []uint8) bool {
	h.count = [16]uint16{}
	for _, l := range lengths {
		h.count[l]++
	}
	used := len(lengths) - int(h.count[0])
	h.count[0] = 0
	var next [16]uint16
	left, longest := 1, 0
	for l := 1; l < 16; l++ {
		if h.count[l] > 0 {
			longest = l
		}
		if left = left<<1 - int(h.count[l]); left < 0 {
			return false
		}
		if l < 15 {
			next[l+1] = next[l] + h.count[l]
		}
	}
	if left > 0 && used > 0 && (used > 1 || h.count[1] != 1) {
		return false
	}
	for s, l := range lengths {
		if l > 0 {
			h.symbol[next[l]] = uint16(s)
			next[l]++
		}
	}
	// No more of the table is used than the code needs: who sends many small blocks is
	// to cost little.
	fast := h.fast[:1<<min(longest, fastBits)]
	h.mask = uint64(len(fast) - 1)
	if left > 0 || longest > fastBits {
		clear(fast)
	}
	code, index := uint16(0), 0
	for l := 1; l <= min(longest, fastBits); l++ {
		for range h.count[l] {
			entry := h.symbol[index]<<4 | uint16(l)
			// Codes come with their first bit lowest.
			for i := int(bits.Reverse16(code) >> (16 - l)); i < len(fast); i += 1 << l {
				fast[i] = entry
			}
			index++
			code++
		}
		code <<= 1
	}
	return true
}

// find returns the symbol that the bits begin with, and its length, which is 0 if there
// is none.
func (h *huffman) find(b uint64) (symbol int, length int) {
	if e := h.fast[b&h.mask&(1<<fastBits-1)]; e != 0 {
		return int(e >> 4), int(e & 15)
	}
	code, first, index := 0, 0, 0
	for l := 1; l < 16; l++ {
		code |= int(b & 1)
		b >>= 1
		count := int(h.count[l])
		if code-first < count {
			return int(h.symbol[index+code-first]), l
		}
		index += count
		first = (first + count) << 1
		code <<= 1
	}
	return 0, 0
}

// The fixed codes (section 3.2.6).
var fixedLiterals, fixedDistances = fixed()

func fixed() (literals, distances *huffman) {
	var l [288]uint8
	for i := range l {
		switch {
		case i < 144, i >= 280:
			l[i] = 8
		case i < 256:
			l[i] = 9
		default:
			l[i] = 7
		}
	}
	var d [32]uint8
	for i := range d {
		d[i] = 5
	}
	literals, distances = new(huffman), new(huffman)
	literals.build(l[:])
	distances.build(d[:])
	return literals, distances
}

// The lengths and distances that symbols stand for, and how many bits follow (section
// 3.2.5). Symbols 286, 287 and distances 30, 31 stand for nothing.
var (
	lengthBase  = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}

	distanceBase = [30]uint16{
		1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097,
		6145, 8193, 12289, 16385, 24577,
	}
	distanceExtra = [30]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}

	// lengthOrder is the order in which the lengths of the code for lengths come
	// (section 3.2.7).
	lengthOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
)
