package transcode

import (
	"math"
	"strconv"
)

// number reads a number.
func (s *scanner) number() ([]byte, bool) {
	end := numberEnd(s.in, s.pos)
	if end < 0 {
		return nil, s.syntax("expects a value")
	}
	raw := s.in[s.pos:end]
	s.pos = end
	return raw, true
}

// numberEnd returns where the number at i ends, or -1 if there is none. It is the
// grammar of RFC 8259, section 6, but that "1e" and "1e+" pass before a bracket, a
// comma or a space, as protojson lets them.
func numberEnd(in []byte, i int) int {
	if i < len(in) && in[i] == '-' {
		i++
	}
	switch {
	case i >= len(in) || !digit(in[i]):
		return -1
	case in[i] == '0':
		i++
	default:
		i = digits(in, i)
	}
	if i+1 < len(in) && in[i] == '.' && digit(in[i+1]) {
		i = digits(in, i+1)
	}
	if i+1 < len(in) && (in[i] == 'e' || in[i] == 'E') {
		i++
		if in[i] == '+' || in[i] == '-' {
			if i++; i == len(in) {
				return -1
			}
		}
		i = digits(in, i)
	}
	if i < len(in) && wordByte(in[i]) {
		return -1
	}
	return i
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// digits returns the end of the digits at i.
func digits(in []byte, i int) int {
	for i < len(in) && digit(in[i]) {
		i++
	}
	return i
}

// whole reads a number without a fraction: 1, 1.0 and 10e-1 are one.
func whole(raw []byte) (magnitude uint64, negative, ok bool) {
	if len(raw) > 0 && raw[0] == '-' {
		negative, raw = true, raw[1:]
	}
	if len(raw) > 19 {
		return wholeSlow(raw, negative)
	}
	for _, c := range raw {
		if !digit(c) {
			return wholeSlow(raw, negative)
		}
		magnitude = magnitude*10 + uint64(c-'0')
	}
	return magnitude, negative, true
}

// wholeSlow reads numbers with a point, an exponent, or many digits. raw has no sign.
func wholeSlow(raw []byte, negative bool) (uint64, bool, bool) {
	if last := raw[len(raw)-1]; last == '+' || last == '-' {
		return 0, false, false
	}
	end := digits(raw, 0)
	integer, fraction := raw[:end], raw[end:end]
	if integer[0] == '0' {
		integer = nil
	}
	if end < len(raw) && raw[end] == '.' {
		point := end
		end = digits(raw, point+1)
		fraction = raw[point+1 : end]
		for len(fraction) > 0 && fraction[len(fraction)-1] == '0' {
			fraction = fraction[:len(fraction)-1]
		}
	}
	if len(integer) == 0 && len(fraction) == 0 {
		return 0, negative, true
	}
	exponent := 0
	if end+1 < len(raw) {
		e, err := strconv.ParseInt(string(raw[end+1:]), 10, 32)
		if err != nil {
			return 0, false, false
		}
		exponent = int(e)
	}
	const maxDigits = 20 // of the largest uint64; protojson counts in the same way
	zeros := exponent - len(fraction)
	switch {
	case exponent < 0:
		kept := len(integer) + exponent
		if len(fraction) > 0 || kept < 0 {
			return 0, false, false
		}
		for _, c := range integer[kept:] {
			if c != '0' {
				return 0, false, false
			}
		}
		integer, zeros = integer[:kept], 0
	case zeros < 0 || len(integer)+exponent > maxDigits:
		return 0, false, false
	}
	if len(integer) > maxDigits {
		return 0, false, false
	}
	var n uint64
	for i := range len(integer) + len(fraction) + zeros {
		var c byte
		switch {
		case i < len(integer):
			c = integer[i] - '0'
		case i < len(integer)+len(fraction):
			c = fraction[i-len(integer)] - '0'
		}
		if n > math.MaxUint64/10 || n*10 > math.MaxUint64-uint64(c) {
			return 0, false, false
		}
		n = n*10 + uint64(c)
	}
	return n, negative, true
}

// parseInt reads a whole number that fits in so many bits, the sign included.
func parseInt(raw []byte, bits int) (int64, bool) {
	n, negative, ok := whole(raw)
	limit := uint64(1) << (bits - 1)
	if negative {
		return -int64(n), ok && n <= limit
	}
	return int64(n), ok && n < limit
}

// parseUint reads a whole number that is not negative and fits in so many bits.
func parseUint(raw []byte, bits int) (uint64, bool) {
	n, negative, ok := whole(raw)
	return n, ok && (n == 0 || !negative) && n <= math.MaxUint64>>(64-bits)
}

// parseFloat reads a number that is finite in so many bits.
func parseFloat(raw []byte, bits int) (float64, bool) {
	if v, ok := shortFloat(raw); ok && bits == 64 {
		return v, true
	}
	v, err := strconv.ParseFloat(string(raw), bits)
	return v, err == nil
}

// powers are those of ten that shortFloat needs.
var powers = [16]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// shortFloat reads a number of few digits without an exponent. Such digits and the power
// of ten below them are both exact as doubles, so that one division rounds correctly.
func shortFloat(raw []byte) (float64, bool) {
	negative := raw[0] == '-'
	if negative {
		raw = raw[1:]
	}
	if len(raw) > len(powers)-1 {
		return 0, false
	}
	n, point := uint64(0), len(raw)-1
	for i, c := range raw {
		switch {
		case digit(c):
			n = n*10 + uint64(c-'0')
		case c == '.':
			point = i
		default:
			return 0, false
		}
	}
	v := float64(n) / powers[len(raw)-1-point]
	if negative {
		v = -v
	}
	return v, true
}
