package grpcweb

import (
	"errors"
	"strings"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// The errors of a header block.
var (
	ErrLine  = errors.New("a line is not \"name: value\"")
	ErrName  = errors.New("the name of a field is not one")
	ErrValue = errors.New("the value of a field has a control character")
)

// ParseFields reads a header block as clients of gRPC over WebSockets send it: lines of
// "name: value" that end with CR LF, or LF. Names become lower case. A blank line ends it,
// as in HTTP/1.1; there may be none.
func ParseFields(block []byte) (fields []exchange.Field, err error) {
	rest := string(block)
	for rest != "" {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			if strings.Trim(rest, "\r\n") != "" {
				return nil, ErrLine
			}
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, ErrLine
		}
		if name = fieldName(name); name == "" {
			return nil, ErrName
		}
		value = strings.Trim(value, " \t")
		for i := range len(value) {
			if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
				return nil, ErrValue
			}
		}
		fields = append(fields, exchange.Field{Name: name, Value: value})
	}
	return fields, nil
}

// fieldName returns a token (RFC 9110, section 5.6.2) in lower case, or "".
func fieldName(s string) string {
	upper := false
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case 'A' <= c && c <= 'Z':
			upper = true
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0:
			return ""
		}
	}
	if upper {
		return strings.ToLower(s)
	}
	return s
}
