package transcode

import (
	"bytes"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// special appends a message of a well-known type, and returns where it ends.
func (e *encoder) special(m *Message, p parts) (int, error) {
	if m.wkt == wktValue {
		return e.bare(m, p) // its struct and its list are levels of nesting, it is none
	}
	if err := e.enter(m); err != nil {
		return 0, err
	}
	var end int
	var err error
	switch m.wkt {
	case wktTimestamp, wktDuration:
		end, err = e.time(m, p)
	case wktFieldMask:
		end, err = e.fieldMask(m, p)
	case wktAny:
		end, err = e.any(m, p)
	default:
		end, err = e.bare(m, p)
	}
	e.depth--
	return end, err
}

// bare appends a message that is in JSON what its only field is: wrappers, Struct,
// ListValue, and Value with its oneof.
func (e *encoder) bare(m *Message, p parts) (int, error) {
	m.compile()
	if e.careful || !p.at.none() {
		return e.bareScattered(m, p)
	}
	i, end, group := p.one.i, p.one.end, p.one.group
	done := false
	for i < end {
		tag, j := e.varintIn(i, end)
		f := m.find(tag)
		if j < 0 || f == nil {
			if j > 0 && group != 0 && tag == protowire.EncodeTag(group, protowire.EndGroupType) {
				i, group = j, 0
				break
			}
			next, err := e.skipField(i, end)
			if err != nil {
				return 0, wireError(m, nil, err)
			}
			i = next
			continue
		}
		if done {
			return 0, errScattered
		}
		done = true
		var err error
		switch {
		case f.key != nil:
			i, err = e.mapRun(f, i, end)
		case f.list:
			i, err = e.listRun(f, i, end)
		default:
			i, err = e.bareValue(m, f, j, end)
		}
		if err != nil {
			return 0, wireError(m, f, err)
		}
	}
	if group != 0 {
		return 0, wireError(m, nil, errTruncated)
	}
	if !done {
		return i, e.bareZero(m)
	}
	return i, nil
}

func (e *encoder) bareScattered(m *Message, p parts) (int, error) {
	stacks := e.mark()
	defer e.free(stacks)
	x, err := e.index(m, p)
	if err != nil {
		return 0, err
	}
	f, at := m.fields[0], places{}
	if m.wkt == wktValue {
		chosen, err := e.oneofs(m, &x)
		if err != nil {
			return 0, err
		}
		f, at = chosen[0].f, chosen[0].at
	} else {
		at = x.of(f)
	}
	if at.none() {
		return x.next, e.bareZero(m)
	}
	if err := e.finite(m, f, at.last); err != nil {
		return 0, wireError(m, f, err)
	}
	if err := e.gathered(f, at); err != nil {
		return 0, wireError(m, f, err)
	}
	return x.next, nil
}

// bareZero appends a message whose only field is not there.
func (e *encoder) bareZero(m *Message) error {
	switch m.wkt {
	case wktValue:
		return wireError(m, nil, fault("none of its fields is set"))
	case wktStruct:
		e.out = append(e.out, "{}"...)
	case wktListValue:
		e.out = append(e.out, "[]"...)
	default:
		e.zero(m.fields[0])
	}
	return nil
}

func (e *encoder) bareValue(m *Message, f *field, i, end int) (int, error) {
	if m.wkt == wktValue && f.kind == protoreflect.DoubleKind {
		if err := e.finiteNumber(i, end); err != nil {
			return 0, err
		}
	}
	return e.value(f, i, end)
}

// finite complains of a number in a Value that JSON does not have.
func (e *encoder) finite(m *Message, f *field, at uint32) error {
	if m.wkt != wktValue || f.kind != protoreflect.DoubleKind {
		return nil
	}
	_, i := e.varint(int(at), len(e.wire))
	return e.finiteNumber(i, len(e.wire))
}

func (e *encoder) finiteNumber(i, end int) error {
	x, _, err := e.number(protowire.Fixed64Type, i, end)
	if n := math.Float64frombits(x); err == nil && (math.IsNaN(n) || math.IsInf(n, 0)) {
		err = fault("a value is no finite number")
	}
	return err
}

// fieldMask appends the paths of a FieldMask, in lowerCamelCase and with commas.
func (e *encoder) fieldMask(m *Message, p parts) (int, error) {
	e.out = append(e.out, '"')
	empty := len(e.out)
	c := e.cursor(m, p)
	for {
		more, err := c.step()
		if err != nil {
			return 0, err
		}
		if !more {
			break
		}
		i, j, _ := e.prefixed(c.value, c.end) // the cursor has been there
		if len(e.out) > empty {
			e.out = append(e.out, ',')
		}
		var ok bool
		if e.out, ok = appendMaskPath(e.out, e.wire[i:j]); !ok {
			return 0, wireError(m, c.f, fault("a path has no form in JSON that gives it back"))
		}
		if len(e.out) > e.limit {
			return 0, ErrTooLarge
		}
	}
	e.out = append(e.out, '"')
	return c.i, nil
}

// appendMaskPath appends a path as JSON has it. It has names with dots in between, and
// each underscore becomes the upper case of the letter after it.
func appendMaskPath(out, path []byte) ([]byte, bool) {
	begin, under := true, false // what comes is the first of a name; is after an underscore
	for _, c := range path {
		switch {
		case c >= 'a' && c <= 'z':
			if under {
				c -= 'a' - 'A'
			}
			out = append(out, c)
			begin, under = false, false
		case under:
			return out, false
		case c == '_':
			begin, under = false, true
		case c >= '0' && c <= '9' && !begin:
			out = append(out, c)
		case c == '.' && !begin:
			out = append(out, c)
			begin = true
		default:
			return out, false
		}
	}
	return out, !begin && !under
}

// any appends an Any with the JSON of the message in it.
func (e *encoder) any(m *Message, p parts) (int, error) {
	var name, value span
	c := e.cursor(m, p)
	for {
		more, err := c.step()
		if err != nil {
			return 0, err
		}
		if !more {
			break
		}
		i, j, _ := e.prefixed(c.value, c.end) // the cursor has been there
		if c.f.number == 1 {
			name = span{i, j, 0}
			if !validUTF8(e.wire[i:j]) {
				return 0, wireError(m, c.f, errUTF8)
			}
		} else {
			value = span{i, j, 0}
		}
	}
	if name.i == name.end {
		if value.i < value.end {
			return 0, wireError(m, m.fields[0], fault("it is not set, but the value is"))
		}
		e.out = append(e.out, "{}"...)
		return c.i, nil
	}
	url := e.wire[name.i:name.end]
	in := m.types.resolve(url[bytes.LastIndexByte(url, '/')+1:])
	if in == nil {
		const enough = 200 // of a name that a peer has chosen
		return 0, wireError(m, m.fields[0], fault("the schema has no type "+strconv.Quote(string(url[:min(len(url), enough)]))))
	}
	e.open('{')
	e.newline()
	e.out = append(e.out, `"@type":`...)
	e.space()
	if err := e.string(url); err != nil {
		return 0, wireError(m, m.fields[0], err)
	}
	e.out = append(e.out, ',')
	e.inAny++
	var err error
	if in.wkt == notWellKnown || in.wkt == wktEmpty {
		_, err = e.object(in, value.i, value.end, 0)
	} else {
		e.newline()
		e.out = append(e.out, `"value":`...)
		e.space()
		_, err = e.special(in, parts{one: value})
		e.out = append(e.out, ',')
	}
	e.inAny--
	e.close('}')
	return c.i, err
}

// resolve returns the message type of this name, nil if there is none.
func (t *Types) resolve(name []byte) *Message {
	t.mu.RLock()
	m := t.plans[protoreflect.FullName(name)]
	t.mu.RUnlock()
	if m != nil {
		return m
	}
	d, err := t.files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil
	}
	md, ok := d.(protoreflect.MessageDescriptor)
	if !ok {
		return nil
	}
	return t.Message(md)
}
