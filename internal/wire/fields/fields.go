// Package fields holds the field block that several protocols write where HTTP would have
// a field section: lines of "name: value", each ended by CR LF, without an empty line at
// the end. gRPC-Web has it for trailers, grpc-websockets for heads too, the duplex protocol for
// everything.
package fields

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// ErrTooLarge is a block that counts as more than it may.
var ErrTooLarge = errors.New("field block too large")

// Overhead is what a field counts for besides its name and value, as in RFC 9113, section
// 6.5.2.
const Overhead = 32

// Append appends a block.
func Append(dst []byte, list []exchange.Field) []byte {
	for i := range list {
		dst = AppendField(dst, list[i].Name, list[i].Value)
	}
	return dst
}

// AppendField appends a line. The name is in lower case, and neither has a control
// character: exchanges see to both.
func AppendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// Parse appends the fields of a block to list. Names are made lower case, white space around
// values is dropped, and the last CR LF may be missing. max bounds what the block counts for:
// names, values, and Overhead for each.
func Parse(list []exchange.Field, b []byte, max int) ([]exchange.Field, error) {
	left := max
	for line := 1; len(b) > 0; line++ {
		var l []byte
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			l, b = b[:i], b[i+1:]
		} else {
			l, b = b, nil
		}
		l = bytes.TrimSuffix(l, []byte("\r"))
		f, err := parseLine(l)
		if err != nil {
			return list, fmt.Errorf("field block, line %d: %w", line, err)
		}
		if left -= len(f.Name) + len(f.Value) + Overhead; left < 0 {
			return list, fmt.Errorf("%w: the limit is %d bytes", ErrTooLarge, max)
		}
		list = append(list, f)
	}
	return list, nil
}

func parseLine(l []byte) (f exchange.Field, err error) {
	if len(l) == 0 {
		return f, errors.New("it is empty")
	}
	end := bytes.IndexByte(l[1:], ':') + 1 // a name may begin with a colon
	if end == 0 {
		return f, errors.New("there is no colon")
	}
	name, value := l[:end], bytes.Trim(l[end+1:], " \t")
	lower := true
	for i, c := range name {
		switch {
		case 'A' <= c && c <= 'Z':
			lower = false
		case c == ':' && i == 0 && len(name) > 1, token[c]:
		default:
			return f, fmt.Errorf("%q is not a field name", name)
		}
	}
	if !lower {
		name = bytes.ToLower(name)
	}
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return f, fmt.Errorf("the value of %s has a control character", name)
		}
	}
	return exchange.Field{Name: string(name), Value: string(value)}, nil
}

// token are the characters of a field name (RFC 9110, section 5.6.2).
var token = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()
