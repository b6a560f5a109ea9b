package websocket

import (
	"errors"
	"strings"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// values calls f for each element of the lists in all fields of a name (RFC 9110,
// section 5.6.1), without the empty ones. Elements are not quoted.
func values(fields []exchange.Field, name string, f func(string)) {
	for i := range fields {
		if fields[i].Name != name {
			continue
		}
		for v := range strings.SplitSeq(fields[i].Value, ",") {
			if v = strings.Trim(v, " \t"); v != "" {
				f(v)
			}
		}
	}
}

// only returns the value of a field that has to be there once.
func only(fields []exchange.Field, name string) (value string, count int) {
	for i := range fields {
		if fields[i].Name == name {
			value = fields[i].Value
			count++
		}
	}
	return strings.Trim(value, " \t"), count
}

// isToken says whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if !tokenChar(s[i]) {
			return false
		}
	}
	return s != ""
}

func tokenChar(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// An extension is one element of Sec-WebSocket-Extensions.
type extension struct {
	name   string
	params []param
}

type param struct {
	name, value string
	valued      bool
}

// parseExtensions reads one line of Sec-WebSocket-Extensions (RFC 6455, section 9.1).
func parseExtensions(s string) ([]extension, error) {
	var out []extension
	p := parser{s}
	for {
		p.space()
		if p.skip(',') { // an empty element
			continue
		}
		if p.s == "" {
			return out, nil
		}
		e := extension{name: p.token()}
		if e.name == "" {
			return nil, errExtensions
		}
		p.space()
		for p.skip(';') {
			p.space()
			q := param{name: p.token()}
			if q.name == "" {
				return nil, errExtensions
			}
			p.space()
			if p.skip('=') {
				p.space()
				q.valued = true
				q.value = p.value()
				if !isToken(q.value) {
					return nil, errExtensions
				}
			}
			p.space()
			e.params = append(e.params, q)
		}
		out = append(out, e)
		if p.s != "" && !p.skip(',') {
			return nil, errExtensions
		}
	}
}

var errExtensions = errors.New("malformed sec-websocket-extensions")

type parser struct{ s string }

func (p *parser) space() { p.s = strings.TrimLeft(p.s, " \t") }

func (p *parser) skip(c byte) bool {
	if p.s == "" || p.s[0] != c {
		return false
	}
	p.s = p.s[1:]
	return true
}

func (p *parser) token() string {
	n := 0
	for n < len(p.s) && tokenChar(p.s[n]) {
		n++
	}
	t := p.s[:n]
	p.s = p.s[n:]
	return t
}

// value is a token, bare or quoted: "the value after quoted-string unescaping MUST
// conform to the 'token' ABNF". It returns "" if it is neither.
func (p *parser) value() string {
	if !p.skip('"') {
		return p.token()
	}
	var b []byte
	for p.s != "" {
		c := p.s[0]
		p.s = p.s[1:]
		switch c {
		case '"':
			return string(b)
		case '\\':
			if p.s == "" {
				return ""
			}
			c = p.s[0]
			p.s = p.s[1:]
		}
		b = append(b, c)
	}
	return ""
}
