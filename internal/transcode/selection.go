package transcode

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A Selection is a part of the fields of a message type, for partial responses. A nil
// Selection is all of them.
type Selection struct {
	m      *Message
	fields map[protoreflect.FieldNumber]*Selection
}

// Selection reads a mask as the parameter "fields" of Google's APIs has it
// (https://cloud.google.com/apis/docs/system-parameters): names with commas between them,
// each as JSON or as the .proto file has it; "a.b" and "a/b" are a field of a field,
// "a(b,c)" several; "*" is all. Below a list its elements are meant. Required fields are
// always in it, since JSON can't be without them.
func (m *Message) Selection(mask string) (*Selection, error) {
	p := maskParser{rest: mask}
	s := newSelection(m)
	all, err := p.list(s, MaxDepth)
	if err == nil && p.rest != "" {
		err = p.error(m, "expects a comma or the end")
	}
	if err != nil || all {
		return nil, err
	}
	return s, nil
}

func newSelection(m *Message) *Selection {
	m.compile()
	s := &Selection{m: m, fields: map[protoreflect.FieldNumber]*Selection{}}
	for _, f := range m.fields {
		if f.required {
			s.fields[f.number] = nil
		}
	}
	return s
}

type maskParser struct{ rest string }

func (p *maskParser) error(m *Message, reason string) error {
	at := "the end"
	if p.rest != "" {
		at = clip([]byte(p.rest))
	}
	return fmt.Errorf("fields of %s: %s, at %s", m.desc.FullName(), reason, at)
}

// list reads paths until the end or a bracket. It says whether they are all fields.
func (p *maskParser) list(s *Selection, depth int) (all bool, err error) {
	for {
		one, err := p.path(s, depth)
		if err != nil {
			return false, err
		}
		all = all || one
		if !strings.HasPrefix(p.rest, ",") {
			return all, nil
		}
		p.rest = p.rest[1:]
	}
}

func (p *maskParser) path(s *Selection, depth int) (all bool, err error) {
	if depth == 0 {
		return false, p.error(s.m, "they are nested too deep")
	}
	p.rest = strings.TrimLeft(p.rest, " ")
	n := strings.IndexAny(p.rest, ",./()")
	if n < 0 {
		n = len(p.rest)
	}
	name := strings.TrimRight(p.rest[:n], " ")
	if name == "*" {
		p.rest = p.rest[n:]
		return true, nil
	}
	f := s.m.byName[name]
	if f == nil {
		return false, p.error(s.m, "there is no "+misspelt(s.m, name))
	}
	p.rest = p.rest[n:]
	open := byte(0)
	if p.rest != "" && strings.IndexByte("./(", p.rest[0]) >= 0 {
		open, p.rest = p.rest[0], p.rest[1:]
	}
	old, had := s.fields[f.number]
	switch {
	case open == 0 || f.required:
	case f.message == nil || f.message.wkt != notWellKnown || f.kind == protoreflect.GroupKind:
		return false, p.error(s.m, fmt.Sprintf("%s is %s, which has no fields to choose from", clip([]byte(name)), f.describe()))
	}
	if open == 0 {
		s.fields[f.number] = nil
		return false, nil
	}
	inner := old
	if inner == nil {
		if f.message == nil {
			return false, p.error(s.m, "it has no fields")
		}
		inner = newSelection(f.message)
	}
	if open == '(' {
		all, err = p.list(inner, depth-1)
		if err == nil && !strings.HasPrefix(p.rest, ")") {
			err = p.error(s.m, "expects )")
		}
		if err == nil {
			p.rest = p.rest[1:]
		}
	} else {
		all, err = p.path(inner, depth-1)
	}
	if err != nil {
		return false, err
	}
	if all || had && old == nil { // all of it is chosen already
		inner = nil
	}
	s.fields[f.number] = inner
	return false, nil
}

// AppendWire appends what a message has of the selection to dst. A message that is
// malformed is appended as far as it is sound, and then as it is: who reads it says what
// is wrong.
func (s *Selection) AppendWire(dst, wire []byte) []byte {
	for len(wire) > 0 {
		num, typ, n := protowire.ConsumeTag(wire)
		if n < 0 {
			return append(dst, wire...)
		}
		size := protowire.ConsumeFieldValue(num, typ, wire[n:])
		if size < 0 {
			return append(dst, wire...)
		}
		inner, ok := s.fields[num]
		switch {
		case !ok:
		case inner == nil || typ != protowire.BytesType:
			dst = append(dst, wire[:n+size]...)
		default:
			value, _ := protowire.ConsumeBytes(wire[n:])
			dst = append(dst, wire[:n]...)
			start := len(dst)
			dst = inner.AppendWire(dst, value)
			dst = insertLength(dst, start)
		}
		wire = wire[n+size:]
	}
	return dst
}

// insertLength puts the length of what stands behind start before it.
func insertLength(b []byte, start int) []byte {
	n := len(b) - start
	size := protowire.SizeVarint(uint64(n))
	for range size {
		b = append(b, 0)
	}
	copy(b[start+size:], b[start:start+n])
	protowire.AppendVarint(b[:start], uint64(n))
	return b
}
