package transcode

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// checkAll checks occurrences of a field that count no more, if there is no error yet.
func (e *encoder) checkAll(f *field, at places, err error) error {
	for !at.none() && err == nil {
		err = e.check(f, at.take())
	}
	return err
}

// check reads an occurrence of a field that counts no more, since another one came
// later. It must be well-formed all the same.
func (e *encoder) check(f *field, at uint32) error {
	tag, i := e.varint(int(at), len(e.wire))
	switch {
	case f.key != nil:
		return e.checkEntry(f, pair{0, uint32(i)})
	case f.message != nil:
		return e.checkMessage(f.message, e.span(at))
	case protowire.Type(tag&7) != protowire.BytesType:
		return nil // the walk that has found it has read it
	}
	i, end, err := e.prefixed(i, len(e.wire))
	if f.kind == protoreflect.StringKind && f.utf8 && !validUTF8(e.wire[i:end]) {
		return errUTF8
	}
	if f.wire != protowire.BytesType { // packed
		for i < end && err == nil {
			_, i, err = e.number(f.wire, i, end)
		}
	}
	return err
}

func (e *encoder) checkEntry(f *field, p pair) error {
	i, end, err := e.prefixed(int(p.entry&^plain), len(e.wire))
	if err != nil {
		return err
	}
	return e.checkFields(f.entry, span{i, end, 0})
}

func (e *encoder) checkMessage(m *Message, s span) error {
	if err := e.enter(m); err != nil {
		return err
	}
	err := e.checkFields(m, s)
	e.depth--
	return err
}

func (e *encoder) checkFields(m *Message, s span) error {
	c := e.cursor(m, parts{one: s})
	for {
		more, err := c.step()
		if !more || err != nil {
			return err
		}
		if err := e.check(c.f, uint32(c.at)); err != nil {
			return wireError(m, c.f, err)
		}
	}
}
