package route

import "strings"

// escape tells whether s begins with a percent-encoded byte (RFC 3986, section 2.1).
func escape(s string) bool { return len(s) >= 3 && s[0] == '%' && hex(s[1]) >= 0 && hex(s[2]) >= 0 }

func hex(c byte) int {
	switch {
	case digit(c):
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// reserved are the characters that a capture of several segments keeps encoded: those of
// RFC 6570, section 1.5, which are RFC 3986's.
const reserved = ":/?#[]@!$&'()*+,;="

// unescape decodes s, whose escapes are right. Without any it is s itself.
func unescape(s string) string { return unescapeBut(s, "") }

// unescapeBut decodes s but for the encoded characters of keep, which stay as written.
func unescapeBut(s, keep string) string {
	i := strings.IndexByte(s, '%')
	if i < 0 {
		return s
	}
	out := make([]byte, i, len(s))
	copy(out, s)
	for ; i < len(s); i++ {
		if s[i] != '%' {
			out = append(out, s[i])
			continue
		}
		if c := byte(hex(s[i+1])<<4 | hex(s[i+2])); c < 0x80 && strings.IndexByte(keep, c) >= 0 {
			out = append(out, s[i:i+3]...)
		} else {
			out = append(out, c)
		}
		i += 2
	}
	return string(out)
}
