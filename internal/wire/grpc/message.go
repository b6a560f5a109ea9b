package grpc

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// EncodeMessage percent-encodes a grpc-message: UTF-8 outside of 0x20 to 0x7E, and '%'.
// What is no UTF-8 is replaced.
func EncodeMessage(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			return encodeMessage(s)
		}
	}
	return s
}

const hexDigits = "0123456789ABCDEF"

func encodeMessage(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		part := s[i : i+n]
		if r == utf8.RuneError && n == 1 {
			part = "\uFFFD"
		}
		for j := range len(part) {
			if c := part[j]; c >= ' ' && c <= '~' && c != '%' {
				b.WriteByte(c)
			} else {
				b.WriteByte('%')
				b.WriteByte(hexDigits[c>>4])
				b.WriteByte(hexDigits[c&15])
			}
		}
		i += n
	}
	return b.String()
}

// DecodeMessage reads a grpc-message. Escapes that are none stay as they are: a message
// is never a reason to fail.
func DecodeMessage(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, ok1 := unhex(s[i+1])
			lo, ok2 := unhex(s[i+2])
			if ok1 && ok2 {
				b.WriteByte(hi<<4 | lo)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// DecodeBinary reads a value of a "-bin" field, padded or not.
func DecodeBinary(s string) ([]byte, error) {
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
}

// EncodeBinary writes one, without padding.
func EncodeBinary(b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }

// Unpad makes the canonical form of a "-bin" value: without padding.
func Unpad(s string) string { return strings.TrimRight(s, "=") }
