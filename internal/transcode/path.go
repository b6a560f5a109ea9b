package transcode

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A Path is a field of a message, reached through the messages that it is in. What its
// methods append is wire bytes of the outermost message, to be put behind others: as
// protobuf merges messages, a later value of a field wins, and elements of lists and
// entries of maps add up.
type Path struct {
	root  *Message
	text  string
	outer []*field // the messages on the way
	field *field
	key   []byte // of a map: the first field of an entry, as it is on the wire
}

// A PathError says why there is no such path, or why it does not have such a value.
type PathError struct {
	Path   string
	Reason string
}

// Error implements error.
func (e *PathError) Error() string {
	return fmt.Sprintf("field %s: %s", clip([]byte(e.Path)), e.Reason)
}

// Path returns the field with a path of names with dots between them, each as JSON or
// as the .proto file has it. What comes before the last is a message, not repeated.
// A map's path may end in a key: "labels[a.b]".
func (m *Message) Path(path string) (*Path, error) {
	p := &Path{root: m, text: path}
	rest, key, bracket := strings.Cut(path, "[")
	if bracket && !strings.HasSuffix(key, "]") {
		return nil, p.fail("expects ] at the end")
	}
	for {
		name, after, more := strings.Cut(rest, ".")
		m.compile()
		f := m.byName[name]
		if f == nil {
			return nil, p.fail("the message " + string(m.desc.FullName()) + " has no " + misspelt(m, name))
		}
		if !more {
			p.field = f
			break
		}
		if f.message == nil || f.list {
			return nil, p.fail(fmt.Sprintf("%s is %s, which has no fields by name", clip([]byte(name)), f.describe()))
		}
		if len(p.outer) == MaxDepth {
			return nil, p.fail(fmt.Sprintf("is more than %d names long", MaxDepth))
		}
		p.outer = append(p.outer, f)
		m, rest = f.message, after
	}
	if !bracket {
		return p, nil
	}
	if p.field.key == nil {
		return nil, p.fail("is " + p.field.describe() + ", and only maps have keys")
	}
	var d decoder
	text := []byte(key[:len(key)-1])
	if !utf8.Valid(text) || !d.mapKey(p.field.key, text, false) {
		return nil, p.fail("expects " + expected(p.field.key) + " as the key")
	}
	p.key = d.out
	return p, nil
}

// Field returns the field: of a map with a key, the map.
func (p *Path) Field() protoreflect.FieldDescriptor { return p.field.desc }

func (p *Path) fail(reason string) error { return &PathError{Path: p.text, Reason: reason} }

// misspelt says that a name is unknown, and which may be meant.
func misspelt(m *Message, name string) string {
	d := decoder{}
	d.unknown(m, []byte(name), 0)
	return strings.TrimPrefix(d.err.Reason, "unknown ")
}

// describe says what a field is.
func (f *field) describe() string {
	switch {
	case f.key != nil:
		return "a map"
	case f.list:
		return "a list"
	case f.message != nil:
		return "a message " + string(f.message.desc.FullName())
	}
	return "of type " + f.kind.String()
}

// AppendJSON appends the field with a value that is given as JSON, as if it were a
// member of its message: null is nothing, a list or map is all of it.
func (p *Path) AppendJSON(dst, json []byte, o *DecodeOptions) ([]byte, error) {
	d := newDecoder(p.root.types, dst, json, o)
	d.depth -= len(p.outer)
	if d.peek() == 'n' && !p.field.null && p.key == nil {
		if d.literal("null") {
			d.atEnd()
		}
	} else if d.path(p, 0, false) && d.atEnd() && d.dropped && p.plainEnum() {
		return dst, nil
	}
	if d.err != nil {
		d.within(clip([]byte(p.text)))
	}
	return d.finish(dst)
}

// plainEnum tells whether the value is an enum, and not a list or map of it.
func (p *Path) plainEnum() bool {
	return p.key != nil && p.field.value.enum != nil || p.field.enum != nil && !p.field.list
}

// path writes the messages around the field, from the one with number i on, and the
// field with the input as its value.
func (d *decoder) path(p *Path, i int, text bool) bool {
	if i == len(p.outer) {
		switch {
		case p.key != nil:
			return d.entry(p, text)
		case text:
			return d.textValue(p.field)
		default:
			return d.fieldValue(p.field)
		}
	}
	f := p.outer[i]
	d.tag(f.tag)
	if f.kind == protoreflect.GroupKind {
		if !d.path(p, i+1, text) {
			return false
		}
		d.tag(endGroup(f.tag))
		return true
	}
	length := d.openLength()
	if !d.path(p, i+1, text) {
		return false
	}
	d.closeLength(length)
	return true
}

// entry writes an entry of a map.
func (d *decoder) entry(p *Path, text bool) bool {
	d.tag(p.field.tag)
	length := d.openLength()
	d.out = append(d.out, p.key...)
	ok := false
	if text {
		ok = d.textValue(p.field.value)
	} else {
		ok = d.fieldValue(p.field.value)
	}
	d.closeLength(length)
	return ok
}

// fieldValue reads the value of a field that stands in no object.
func (d *decoder) fieldValue(f *field) bool {
	switch {
	case f.key != nil:
		return d.mapField(f)
	case f.list:
		return d.list(f)
	case f.message != nil:
		return d.messageField(f)
	}
	d.dropped = false
	return d.scalar(f, f.tag, true)
}

// endGroup returns the tag that ends what a group's tag begins.
func endGroup(tag uint64) uint64 {
	return tag + uint64(protowire.EndGroupType-protowire.StartGroupType)
}
