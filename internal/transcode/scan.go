package transcode

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// A scanner reads JSON (RFC 8259) piece by piece, and is as strict as protojson's.
type scanner struct {
	in  []byte
	pos int
	err *JSONError // the first
}

// peek skips white space and returns the byte after it, or 0 at the end. No JSON has
// a zero outside of strings, so that it is refused like the end is.
func (s *scanner) peek() byte {
	for i := s.pos; i < len(s.in); i++ {
		if c := s.in[i]; c > ' ' || c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			s.pos = i
			return c
		}
	}
	s.pos = len(s.in)
	return 0
}

// at returns the byte at the position, or 0 at the end. Whoever reads a value finds
// the position at its first byte, and leaves it behind its last.
func (s *scanner) at() byte {
	if s.pos < len(s.in) {
		return s.in[s.pos]
	}
	return 0
}

// more tells whether there is another element or member before the end, and reads
// what is in between. It is false at the end and on an error.
func (s *scanner) more(first bool, end byte) bool {
	c := s.peek()
	if c == end {
		s.pos++
		return false
	}
	if first {
		return true // what it is will be seen
	}
	if c != ',' {
		return s.syntax("expects a comma or %q", end)
	}
	s.pos++
	s.peek()
	return true
}

// colon reads what is between a name and its value.
func (s *scanner) colon() bool {
	if s.peek() != ':' {
		return s.syntax("expects a colon after the name")
	}
	s.pos++
	s.peek()
	return true
}

// literal reads null, true or false.
func (s *scanner) literal(word string) bool {
	end := s.pos + len(word)
	if end > len(s.in) || string(s.in[s.pos:end]) != word || end < len(s.in) && wordByte(s.in[end]) {
		return s.syntax("unknown word")
	}
	s.pos = end
	return true
}

// wordByte tells whether a word or number goes on.
func wordByte(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '+' || c == '.' || c == '_'
}

const (
	eachByte = 0x0101010101010101
	highBits = 0x8080808080808080
)

// text reads a string and checks it: UTF-8, no control characters, good escapes. What
// it returns is for unescape if escaped is true.
func (s *scanner) text() (raw []byte, escaped, ok bool) {
	if s.at() != '"' {
		return nil, false, s.syntax("expects a string")
	}
	in, i := s.in, s.pos+1
	start, high := i, uint64(0)
	for {
		for i+8 <= len(in) { // eight bytes at a time, up to a quote, a backslash or a control character
			w := binary.LittleEndian.Uint64(in[i:])
			quote, backslash := w^(eachByte*'"'), w^(eachByte*'\\')
			stop := ((quote-eachByte)&^quote | (backslash-eachByte)&^backslash | (w-eachByte*' ')&^w) & highBits
			high |= w
			if stop != 0 {
				i += bits.TrailingZeros64(stop) / 8
				break
			}
			i += 8
		}
		if i >= len(in) {
			s.pos = len(in)
			return nil, false, s.syntax("a string has no end")
		}
		switch c := in[i]; {
		case c == '"':
			raw = in[start:i]
			if high&highBits != 0 && !utf8.Valid(raw) {
				return nil, false, s.syntax("a string is not UTF-8")
			}
			if escaped {
				if bad := badEscape(raw); bad >= 0 {
					s.pos = start + bad
					return nil, false, s.syntax("a string has an unknown escape")
				}
			}
			s.pos = i + 1
			return raw, escaped, true
		case c == '\\':
			escaped = true
			i += 2
		case c < ' ':
			s.pos = i
			return nil, false, s.syntax("a string has a control character that is not escaped")
		default:
			high |= uint64(c)
			i++
		}
	}
}

// unescape appends the text of a string that has escapes, all of them good ones.
func unescape(dst, raw []byte) []byte {
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return append(dst, raw...)
		}
		r, n := escape(raw[i:])
		dst = utf8.AppendRune(append(dst, raw[:i]...), r)
		raw = raw[i+n:]
	}
}

// escape reads the escape that b begins with: what it stands for, and its length, 0 if
// there is no such escape.
func escape(b []byte) (rune, int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch c := b[1]; c {
	case '"', '\\', '/':
		return rune(c), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	}
	r, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	low, _ := hex4(b[6:]) // only as a pair: RFC 8259, section 8.2
	if r = utf16.DecodeRune(r, low); r == unicode.ReplacementChar {
		return 0, 0
	}
	return r, 12
}

// hex4 reads the \uXXXX that b begins with.
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(v), err == nil
}

// badEscape returns where the first bad escape of a string is, or -1.
func badEscape(raw []byte) int {
	for i := 0; ; {
		next := bytes.IndexByte(raw[i:], '\\')
		if next < 0 {
			return -1
		}
		i += next
		_, n := escape(raw[i:])
		if n == 0 {
			return i
		}
		i += n
	}
}

// skip reads a value that nobody wants, nested at most depth deep. Like protojson it
// is as strict with it as with others.
func (s *scanner) skip(depth int) bool {
	var objects [MaxDepth/64 + 1]uint64 // a bit for each level that is one
	for level := 0; ; {
		switch c := s.peek(); c {
		case '{', '[':
			if level == depth || level == MaxDepth {
				return s.tooDeep()
			}
			s.pos++
			objects[level/64] &^= 1 << (level % 64)
			if c == '{' {
				objects[level/64] |= 1 << (level % 64)
			}
			level++
			if s.after(true, objects[:], &level) {
				continue
			}
		case '"':
			if _, _, ok := s.text(); !ok {
				return false
			}
		default:
			if !s.scalar(c) {
				return false
			}
		}
		for {
			if s.err != nil {
				return false
			}
			if level == 0 {
				return true
			}
			if s.after(false, objects[:], &level) {
				break
			}
		}
	}
}

// after goes on behind a value or an opening brace: to the next value of the same
// level, or it closes the level and returns false.
func (s *scanner) after(first bool, objects []uint64, level *int) bool {
	l := *level - 1
	object := objects[l/64]>>(l%64)&1 != 0
	end := byte(']')
	if object {
		end = '}'
	}
	if !s.more(first, end) {
		*level--
		return false
	}
	if !object {
		return true
	}
	_, _, ok := s.text()
	return ok && s.colon()
}

// scalar reads a number, true, false or null.
func (s *scanner) scalar(c byte) bool {
	switch c {
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	_, ok := s.number()
	return ok
}
