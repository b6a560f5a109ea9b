package websocket

import "encoding/binary"

// A scan checks UTF-8 (RFC 3629, section 4) that comes in pieces, and sees that a
// sequence is bad at its first bad byte, even where the piece ends within it.
type scan struct {
	need   uint8 // bytes that the open sequence still wants
	lo, hi uint8 // between which the next of them has to be
}

// check follows p, and returns the index of the first bad byte, or -1.
func (s *scan) check(p []byte) int {
	for i := 0; i < len(p); {
		if s.need == 0 {
			for i+8 <= len(p) && binary.LittleEndian.Uint64(p[i:])&0x8080808080808080 == 0 {
				i += 8
			}
			if i == len(p) {
				break
			}
		}
		c := p[i]
		switch {
		case s.need > 0:
			if c < s.lo || c > s.hi {
				return i
			}
			s.need--
			s.lo, s.hi = 0x80, 0xbf
		case c < 0x80:
		case c < 0xc2: // a continuation, or a form that is too long
			return i
		case c < 0xe0:
			*s = scan{1, 0x80, 0xbf}
		case c == 0xe0:
			*s = scan{2, 0xa0, 0xbf}
		case c == 0xed: // no surrogates
			*s = scan{2, 0x80, 0x9f}
		case c < 0xf0:
			*s = scan{2, 0x80, 0xbf}
		case c == 0xf0:
			*s = scan{3, 0x90, 0xbf}
		case c < 0xf4:
			*s = scan{3, 0x80, 0xbf}
		case c == 0xf4: // nothing above U+10FFFF
			*s = scan{3, 0x80, 0x8f}
		default:
			return i
		}
		i++
	}
	return -1
}
