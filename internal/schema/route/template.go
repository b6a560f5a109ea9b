package route

import (
	"fmt"
	"strings"
)

// Limits of a template. The longest of Google's own has 13 segments.
const (
	MaxTemplate = 2048 // bytes
	MaxSegments = 64
)

// A Template is a parsed path template. It never changes.
type Template struct {
	text     string
	segments []segment
	verb     string // decoded, without its colon
	vars     []variable
}

type kind uint8

const (
	literal kind = iota
	star         // *
	rest         // **
)

type segment struct {
	kind kind
	text string // of a literal, decoded
}

// A variable captures the segments from up to, and without, to.
type variable struct {
	path     string
	from, to int
	multi    bool // it may be more than one segment
}

// String returns the template as it was written.
func (t *Template) String() string { return t.text }

// Literal tells whether the template fits one path only: it has no wildcard.
func (t *Template) Literal() bool {
	for _, s := range t.segments {
		if s.kind != literal {
			return false
		}
	}
	return true
}

// First returns the first segment, decoded, or "" if that is a wildcard.
func (t *Template) First() string { return t.segments[0].text }

// Verb returns the custom verb, decoded and without its colon, or "".
func (t *Template) Verb() string { return t.verb }

// Variables returns the field paths of the variables, in order.
func (t *Template) Variables() []string {
	paths := make([]string, len(t.vars))
	for i, v := range t.vars {
		paths[i] = v.path
	}
	return paths
}

// A Segment is one segment of a template.
type Segment struct {
	Literal  string // decoded; of a wildcard ""
	Wildcard string // "*" or "**"; of a literal ""
	Variable string // the field path of the variable that it is in, or ""
	Whole    bool   // it is all of its variable, which is one segment
}

// Segments returns the segments, in order, for who describes a template.
func (t *Template) Segments() []Segment {
	all := make([]Segment, len(t.segments))
	for i, s := range t.segments {
		all[i] = Segment{Literal: s.text, Wildcard: [...]string{literal: "", star: "*", rest: "**"}[s.kind]}
	}
	for _, v := range t.vars {
		for i := v.from; i < v.to; i++ {
			all[i].Variable, all[i].Whole = v.path, !v.multi
		}
	}
	return all
}

// A ParseError says what is wrong with a template, and where.
type ParseError struct {
	Template string
	Column   int // in bytes, from 1
	Reason   string
}

// Error implements error.
func (e *ParseError) Error() string {
	return fmt.Sprintf("path template %q, column %d: %s", e.Template, e.Column, e.Reason)
}

// Parse reads a path template. Its errors are of the type [*ParseError].
func Parse(s string) (*Template, error) {
	p := parser{text: s, t: &Template{text: s}}
	if err := p.template(); err != nil {
		return nil, err
	}
	return p.t, nil
}

type parser struct {
	text string
	pos  int
	t    *Template
}

func (p *parser) errorf(at int, format string, args ...any) error {
	text := p.text
	if len(text) > MaxTemplate {
		text = text[:100] + "…"
	}
	return &ParseError{Template: text, Column: at + 1, Reason: fmt.Sprintf(format, args...)}
}

// next returns the byte at hand, or 0 at the end.
func (p *parser) next() byte {
	if p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

func (p *parser) template() error {
	switch {
	case len(p.text) > MaxTemplate:
		return p.errorf(0, "it has %d bytes, the limit is %d", len(p.text), MaxTemplate)
	case p.next() != '/':
		return p.errorf(0, "a template begins with a slash, as /v1/{name}")
	case p.text == "/":
		p.t.segments = []segment{{kind: literal}}
		return nil
	}
	for {
		p.pos++ // the slash
		if err := p.segment(); err != nil {
			return err
		}
		switch c := p.next(); {
		case c == '/':
		case c == ':':
			return p.customVerb()
		case p.pos == len(p.text):
			return nil
		default:
			return p.errorf(p.pos, "%q follows a wildcard or variable, which is a whole segment: only / or :verb may stand here", c)
		}
	}
}

// segment reads one of the template's own segments.
func (p *parser) segment() error {
	switch p.next() {
	case '*':
		return p.wildcard()
	case '{':
		return p.variable()
	}
	end := len(p.text)
	if i := strings.IndexByte(p.text[p.pos:], '/'); i >= 0 {
		end = p.pos + i
	} else if i := strings.LastIndexByte(p.text[p.pos:], ':'); i >= 0 {
		end = p.pos + i // only at the end of a template is a colon more than a letter
	}
	return p.literal(end)
}

func (p *parser) wildcard() error {
	at := p.pos
	p.pos++
	if p.next() != '*' {
		return p.add(at, segment{kind: star})
	}
	p.pos++
	return p.add(at, segment{kind: rest})
}

func (p *parser) add(at int, s segment) error {
	if n := len(p.t.segments); n > 0 && p.t.segments[n-1].kind == rest {
		return p.errorf(at, "a segment after **, which takes all that is left: ** is the last segment")
	}
	if len(p.t.segments) == MaxSegments {
		return p.errorf(at, "it has more than %d segments", MaxSegments)
	}
	p.t.segments = append(p.t.segments, s)
	return nil
}

// literal reads a literal segment that is to end at end.
func (p *parser) literal(end int) error {
	at := p.pos
	if at == end {
		if end == len(p.text) {
			return p.errorf(max(at-1, 0), "an empty segment at the end: a template does not end with a slash")
		}
		return p.errorf(at, "an empty segment: write a literal, * or {field}")
	}
	text, err := p.letters(end)
	if err != nil {
		return err
	}
	return p.add(at, segment{kind: literal, text: text})
}

// letters reads a literal or a verb, and decodes it.
func (p *parser) letters(end int) (string, error) {
	at := p.pos
	for ; p.pos < end; p.pos++ {
		switch c := p.text[p.pos]; {
		case c == '%':
			if !escape(p.text[p.pos:end]) {
				return "", p.errorf(p.pos, "%% without two hexadecimal digits: a percent sign itself is %%25")
			}
		case c == '*':
			return "", p.errorf(p.pos, "a wildcard is a whole segment: an asterisk as a letter is %%2A")
		case c == '{':
			return "", p.errorf(p.pos, "a variable is a whole segment: put a slash before it")
		case c == '}':
			return "", p.errorf(p.pos, "a brace that closes nothing")
		case !pchar(c):
			return "", p.errorf(p.pos, "%q cannot stand in a path: write %%%02X", c, c)
		}
	}
	return unescape(p.text[at:end]), nil
}

func (p *parser) variable() error {
	open := p.pos
	p.pos++
	path, err := p.fieldPath()
	if err != nil {
		return err
	}
	for _, v := range p.t.vars {
		if v.path == path {
			return p.errorf(open+1, "the field %s is there twice", path)
		}
		if strings.HasPrefix(v.path, path+".") || strings.HasPrefix(path, v.path+".") {
			return p.errorf(open+1, "%s and %s: one of them is a part of the other", v.path, path)
		}
	}
	v := variable{path: path, from: len(p.t.segments)}
	switch p.next() {
	case '}':
		if err := p.add(open, segment{kind: star}); err != nil {
			return err
		}
	case '=':
		if err := p.variableSegments(open); err != nil {
			return err
		}
	default:
		if p.pos == len(p.text) {
			return p.errorf(open, "the variable is not closed: write {%s}", path)
		}
		return p.errorf(p.pos, "%q in the name of a field: it is written as in the .proto file, as {a.b_c}, and a pattern follows it after =", p.next())
	}
	p.pos++ // the closing brace
	v.to = len(p.t.segments)
	v.multi = v.to-v.from > 1 || p.t.segments[v.from].kind == rest
	p.t.vars = append(p.t.vars, v)
	return nil
}

// variableSegments reads what is between = and the closing brace.
func (p *parser) variableSegments(open int) error {
	length := strings.IndexByte(p.text[p.pos:], '}')
	if length < 0 {
		return p.errorf(open, "the variable is not closed: a } is missing")
	}
	closing := p.pos + length
	for {
		p.pos++ // the equals sign or the slash
		switch p.next() {
		case '{':
			return p.errorf(p.pos, "a variable in a variable: close the first one")
		case '}':
			return p.errorf(p.pos, "an empty segment: write a literal, * or **")
		case '*':
			if err := p.wildcard(); err != nil {
				return err
			}
		default:
			end := closing
			if i := strings.IndexByte(p.text[p.pos:closing], '/'); i >= 0 {
				end = p.pos + i
			}
			if err := p.literal(end); err != nil {
				return err
			}
		}
		switch p.next() {
		case '}':
			return nil
		case '/':
		default:
			return p.errorf(p.pos, "%q follows a wildcard, which is a whole segment: only / or } may stand here", p.next())
		}
	}
}

func (p *parser) fieldPath() (string, error) {
	at := p.pos
	for {
		start := p.pos
		for c := p.next(); c == '_' || alpha(c) || p.pos > start && digit(c); c = p.next() {
			p.pos++
		}
		if p.pos == start {
			return "", p.errorf(p.pos, "the name of a field is missing: write {field} or {field.of_it}")
		}
		if p.next() != '.' {
			return p.text[at:p.pos], nil
		}
		p.pos++
	}
}

func (p *parser) customVerb() error {
	p.pos++ // the colon
	if i := strings.IndexByte(p.text[p.pos:], '/'); i >= 0 {
		return p.errorf(p.pos+i, "a custom verb ends the template: no segment may follow it")
	}
	if p.pos == len(p.text) {
		return p.errorf(p.pos, "the verb after : is missing")
	}
	verb, err := p.letters(len(p.text))
	p.t.verb = verb
	return err
}

func alpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func digit(c byte) bool { return '0' <= c && c <= '9' }

// pchar tells whether c may stand in a segment as it is (RFC 3986, section 3.3).
func pchar(c byte) bool {
	return alpha(c) || digit(c) || c < 0x80 && strings.IndexByte("-._~!$&'()*+,;=:@", c) >= 0
}
