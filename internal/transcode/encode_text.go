package transcode

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// Every member and every element is written with a comma after it. The last one of an
// object or a list is taken back when that is closed.

func (e *encoder) open(bracket byte) {
	e.out = append(e.out, bracket)
	e.level++
}

func (e *encoder) close(bracket byte) {
	e.level--
	if last := len(e.out) - 1; e.out[last] == ',' {
		e.out = e.out[:last]
		e.newline()
	}
	e.out = append(e.out, bracket)
}

// newline begins the line of a member, an element or a closing bracket.
func (e *encoder) newline() {
	if e.indent != "" {
		e.out = append(e.out, '\n')
		for range e.level {
			e.out = append(e.out, e.indent...)
		}
	}
}

// key begins a member.
func (e *encoder) key(f *field) {
	e.newline()
	if e.protoKey {
		e.out = append(e.out, f.protoKey...)
	} else {
		e.out = append(e.out, f.jsonKey...)
	}
	e.space()
}

// space stands after the colon of a member.
func (e *encoder) space() {
	if e.indent != "" {
		e.out = append(e.out, ' ')
	}
}

// string appends s in quotes.
func (e *encoder) string(s []byte) error {
	if room := e.limit - len(e.out); len(s) > longString && len(s) > room/6 && quotedLen(s) > room {
		return ErrTooLarge // before it is written, and out has grown
	}
	var ok bool
	if e.out, ok = appendString(e.out, s); !ok {
		return errUTF8
	}
	return nil
}

// longString is how long a string is that is measured before it is written, if it may be
// too long.
const longString = 4 << 10

// quotedLen returns how long a string is in quotes.
func quotedLen(s []byte) int {
	n := len(s) + 2
	for _, c := range s {
		switch {
		case c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t' || c == '\b' || c == '\f':
			n++
		case c < 0x20:
			n += 5
		}
	}
	return n
}

// appendQuoted appends the name of a field, of which a json_name may be any string.
func appendQuoted(out []byte, s string) []byte {
	out, _ = appendString(out, []byte(s))
	return out
}

// appendString appends s in quotes, and tells whether it is UTF-8. Escaped is what RFC
// 8259, section 7, says, and no more. It looks at eight bytes at once: of those below
// 0x20 and of quotes and backslashes, all of them below 0x80, the lowest is found by
// the carries of a subtraction.
func appendString(out, s []byte) ([]byte, bool) {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	out = append(out, '"')
	start, any := 0, uint64(0)
	i := 0
	for i+8 <= len(s) {
		w := binary.LittleEndian.Uint64(s[i:])
		any |= w
		special := ((w - ones*0x20) | ((w ^ ones*'"') - ones) | ((w ^ ones*'\\') - ones)) & ^w & high
		if special == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(special) / 8
		out = append(out, s[start:i]...)
		out = appendEscape(out, s[i])
		i++
		start = i
	}
	for ; i < len(s); i++ {
		c := s[i]
		any |= uint64(c)
		if c < 0x20 || c == '"' || c == '\\' {
			out = append(out, s[start:i]...)
			out = appendEscape(out, c)
			start = i + 1
		}
	}
	out = append(append(out, s[start:]...), '"')
	return out, any&high == 0 || validUTF8(s)
}

func appendEscape(out []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(out, '\\', c)
	case '\b':
		return append(out, `\b`...)
	case '\f':
		return append(out, `\f`...)
	case '\n':
		return append(out, `\n`...)
	case '\r':
		return append(out, `\r`...)
	case '\t':
		return append(out, `\t`...)
	}
	const digits = "0123456789abcdef"
	return append(out, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
}

// appendFloat appends a number of 32 or 64 bits, with the fewest digits that give it
// back, and with an exponent where ECMAScript has one.
func appendFloat(out []byte, n float64, size int) []byte {
	switch {
	case math.IsNaN(n):
		return append(out, `"NaN"`...)
	case math.IsInf(n, 1):
		return append(out, `"Infinity"`...)
	case math.IsInf(n, -1):
		return append(out, `"-Infinity"`...)
	}
	abs := math.Abs(n)
	if out, ok := appendShort(out, n, size); ok {
		return out
	}
	format := byte('f')
	if abs != 0 {
		if size == 64 && (abs < 1e-6 || abs >= 1e21) || size == 32 && (float32(abs) < 1e-6 || float32(abs) >= 1e21) {
			format = 'e'
		}
	}
	out = strconv.AppendFloat(out, n, format, -1, size)
	if format == 'e' { // e-09 is e-9
		if n := len(out); n >= 4 && out[n-4] == 'e' && out[n-3] == '-' && out[n-2] == '0' {
			out[n-2] = out[n-1]
			out = out[:n-1]
		}
	}
	return out
}

// appendShort appends a number that is a decimal with at most 15 digits, 6 if it has 32
// bits, of which up to 4 are behind the point. That is what most numbers in messages are,
// and it is faster than the general way. With so few digits no two decimals are the same
// number; and the quotient of two numbers without error is rounded correctly. So the
// first decimal whose quotient is n is the one with the fewest digits.
func appendShort(out []byte, n float64, size int) ([]byte, bool) {
	most := 1e15
	if size == 32 {
		most = 1e6
	}
	abs := math.Abs(n)
	if abs == 0 && math.Signbit(n) {
		return out, false
	}
	for digits, scale := 0, 1.0; digits <= 4; digits, scale = digits+1, scale*10 {
		scaled := abs*scale + 0.5
		if !(scaled < most) {
			return out, false
		}
		x := uint64(scaled)
		if q := float64(x) / scale; q != abs && (size == 64 || float32(q) != float32(abs)) {
			continue
		}
		if n < 0 {
			out = append(out, '-')
		}
		if digits == 0 {
			return strconv.AppendUint(out, x, 10), true
		}
		whole := x / tens[digits]
		out = append(strconv.AppendUint(out, whole, 10), '.')
		rest := x - whole*tens[digits]
		for i := digits - 1; i >= 0; i-- {
			out = append(out, byte('0'+rest/tens[i]%10))
		}
		return out, true
	}
	return out, false
}

var tens = [...]uint64{1, 10, 100, 1000, 10000}

func validUTF8(s []byte) bool { return utf8.Valid(s) }
