// Package multipart takes multipart/form-data (RFC 7578) apart as it comes: it is fed
// pieces of any size, hands out the content of parts at once, and keeps no more than the
// header of a part.
package multipart

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"strings"
)

// A Header is what a part says of itself.
type Header struct {
	Name        string // of the field
	Filename    string
	File        bool   // there is a file name
	ContentType string // as it stands there, or ""
}

// A Sink takes what is found. An error ends the parsing.
type Sink interface {
	Part(h *Header) error
	Data(b []byte) error // valid during the call only
	PartEnd() error
}

// A Parser takes one body apart.
type Parser struct {
	MaxHeader int // bytes of the header of a part
	MaxParts  int

	delimiter []byte // CR LF "--" and the boundary
	state     state
	matched   int  // bytes of the delimiter
	virtual   bool // the CR LF of what is matched is not in the content
	line      []byte
	parts     int
}

type state int

const (
	preamble state = iota
	header
	content
	delimited // behind a delimiter
	closed    // behind the last one and its "--"
	epilogue
)

// What is wrong with a body.
var (
	ErrBoundary = errors.New("the content-type has no boundary, or one that is no 1 to 70 characters of RFC 2046, section 5.1.1")
	ErrCut      = errors.New("the body ends before its last boundary")
	errLine     = errors.New("a boundary is followed by something else than the end of its line")
)

// New returns a parser for a body of a content type.
func New(contentType string, maxHeader, maxParts int) (*Parser, error) {
	_, params, err := mime.ParseMediaType(contentType)
	boundary := params["boundary"]
	if err != nil || boundary == "" || len(boundary) > 70 || strings.HasSuffix(boundary, " ") {
		return nil, ErrBoundary
	}
	for i := range len(boundary) {
		c := boundary[i]
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && strings.IndexByte("'()+_,-./:=? ", c) < 0 {
			return nil, ErrBoundary
		}
	}
	// The first boundary may stand at the very beginning, without a line end before it.
	return &Parser{MaxHeader: maxHeader, MaxParts: maxParts, delimiter: []byte("\r\n--" + boundary), matched: 2, virtual: true}, nil
}

// Buffered returns how many bytes are kept.
func (p *Parser) Buffered() int { return len(p.line) }

// Feed takes more of the body.
func (p *Parser) Feed(b []byte, s Sink) error {
	for len(b) > 0 {
		var err error
		var n int
		switch p.state {
		case preamble, content:
			n, err = p.content(b, s)
		case header:
			n, err = p.header(b, s)
		case delimited:
			n, err = p.delimited(b, s)
		case closed:
			n, err = p.closed(b)
		default:
			return nil
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// Close takes the end of the body.
func (p *Parser) Close() error {
	if p.state == closed && len(bytes.Trim(p.line, " \t")) == 0 || p.state == epilogue {
		return nil
	}
	return ErrCut
}

// content looks for a delimiter. There is one CR in it, its first byte, so what was
// matched is never the beginning of another match.
func (p *Parser) content(b []byte, s Sink) (n int, err error) {
	for n < len(b) {
		if p.matched == 0 {
			i := bytes.IndexByte(b[n:], '\r')
			if i < 0 {
				i = len(b) - n
			}
			if err := p.data(b[n:n+i], s); err != nil {
				return n, err
			}
			n += i
			if n < len(b) {
				p.matched = 1
				n++
			}
			continue
		}
		if b[n] != p.delimiter[p.matched] {
			if err := p.mismatch(s); err != nil {
				return n, err
			}
			continue
		}
		n++
		if p.matched++; p.matched == len(p.delimiter) {
			p.line = p.line[:0]
			if p.state == preamble {
				p.parts = -1 // its end is not that of a part
			}
			p.state = delimited
			return n, nil
		}
	}
	return n, nil
}

// mismatch hands out what looked like a delimiter.
func (p *Parser) mismatch(s Sink) error {
	lead := p.delimiter[:p.matched]
	if p.virtual {
		lead = lead[2:]
	}
	p.matched, p.virtual = 0, false
	return p.data(lead, s)
}

func (p *Parser) data(b []byte, s Sink) error {
	if len(b) == 0 || p.state == preamble {
		return nil
	}
	return s.Data(b)
}

// delimited reads what stands behind a delimiter: "--", or white space and a line end.
// With anything else it was none.
func (p *Parser) delimited(b []byte, s Sink) (n int, err error) {
	c := b[0]
	p.line = append(p.line, c)
	switch first := p.line[0]; {
	case first == '-' && len(p.line) == 1:
	case first == '-' && c == '-':
		p.line = p.line[:0]
		err = p.partEnd(s)
		p.state = closed
	case first == '\n':
		return 0, errLine
	case first != '-' && first != ' ' && first != '\t' && first != '\r', first == '-':
		dash := len(p.line) - 1 // one "-" that was part of the content
		p.line = p.line[:0]
		p.state = content
		if p.parts < 0 {
			p.state, p.parts = preamble, 0
		}
		if err = p.mismatch(s); err == nil {
			err = p.data([]byte("-")[:dash], s)
		}
		return 0, err
	case len(p.line) > 1 && p.line[len(p.line)-2] == '\r':
		if c != '\n' {
			return 0, errLine
		}
		p.line = p.line[:0]
		err = p.partEnd(s)
		p.state = header
	case c != ' ' && c != '\t' && c != '\r' || len(p.line) > p.MaxHeader:
		return 0, errLine
	}
	return 1, err
}

// partEnd ends the part before a delimiter, if there is one.
func (p *Parser) partEnd(s Sink) error {
	p.matched, p.virtual = 0, false
	if p.parts < 0 {
		p.parts = 0
		return nil
	}
	return s.PartEnd()
}

// closed reads the rest of the last boundary's line. What follows means nothing.
func (p *Parser) closed(b []byte) (n int, err error) {
	c := b[0]
	p.line = append(p.line, c)
	switch {
	case len(p.line) > 1 && p.line[len(p.line)-2] == '\r':
		if c != '\n' {
			return 0, errLine
		}
		p.line, p.state = nil, epilogue
	case c != ' ' && c != '\t' && c != '\r' || len(p.line) > p.MaxHeader:
		return 0, errLine
	}
	return 1, nil
}

// header reads the header of a part, to the empty line.
func (p *Parser) header(b []byte, s Sink) (n int, err error) {
	for n < len(b) {
		p.line = append(p.line, b[n])
		n++
		if len(p.line) > p.MaxHeader {
			return n, fmt.Errorf("part %d: its header is over %d bytes", p.parts+1, p.MaxHeader)
		}
		if !bytes.HasSuffix(p.line, []byte("\r\n")) || len(p.line) > 2 && !bytes.HasSuffix(p.line, []byte("\r\n\r\n")) {
			continue
		}
		if p.parts++; p.parts > p.MaxParts {
			return n, fmt.Errorf("there are more than %d parts", p.MaxParts)
		}
		h, err := parseHeader(p.line)
		if err != nil {
			return n, fmt.Errorf("part %d: %w", p.parts, err)
		}
		// The empty line may be the line end of a delimiter: RFC 2046, section 5.1.1,
		// body-part.
		p.line, p.state, p.matched, p.virtual = p.line[:0], content, 2, true
		return n, s.Part(h)
	}
	return n, nil
}

// parseHeader reads the fields of a part that mean something (RFC 7578, section 4.8).
func parseHeader(b []byte) (*Header, error) {
	h := &Header{}
	named := false
	for line := range strings.SplitSeq(string(b), "\r\n") {
		if line == "" { // the last ones
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsFunc(name, notToken) || strings.ContainsFunc(value, control) {
			return nil, fmt.Errorf("%.40q is no header field", line)
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "content-disposition":
			kind, params, err := mime.ParseMediaType(value)
			if err != nil || kind != "form-data" {
				return nil, fmt.Errorf("its content-disposition %.80q is not form-data with a name", value)
			}
			if h.Name, named = params["name"]; !named {
				return nil, fmt.Errorf("its content-disposition %.80q is not form-data with a name", value)
			}
			h.Filename, h.File = params["filename"]
		case "content-type":
			h.ContentType = value
		case "content-transfer-encoding": // RFC 7578, section 4.7: senders don't
			if v := strings.ToLower(value); v != "7bit" && v != "8bit" && v != "binary" {
				return nil, fmt.Errorf("its content-transfer-encoding %.40q is not read here", value)
			}
		}
	}
	if !named {
		return nil, errors.New("it has no content-disposition, which names its field")
	}
	return h, nil
}

// notToken is for what is in no name of a field (RFC 9110, section 5.6.2).
func notToken(c rune) bool {
	return c <= ' ' || c >= 0x7f || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", c)
}

func control(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }
