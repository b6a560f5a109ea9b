package transcode

import (
	"encoding/base64"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// What of a field is written when it is not set.
const (
	unsetNothing = iota
	unsetDefault // fields without presence
	unsetNull    // fields with presence that are in no oneof, not even in one of their own
)

// prepareEncode fills in what only the way to JSON needs of a field.
func (f *field) prepareEncode() {
	f.jsonKey = string(appendQuoted(nil, f.jsonName)) + ":"
	f.protoKey = string(appendQuoted(nil, f.protoName)) + ":"
	f.wire = wireTypes[f.kind]
	f.otherTag = f.tag
	if numeric := f.wire != protowire.BytesType && f.wire != protowire.StartGroupType; f.list && numeric {
		f.otherTag = protowire.EncodeTag(f.number, f.wire)
		if !f.packed {
			f.otherTag = protowire.EncodeTag(f.number, protowire.BytesType)
		}
	}
	switch f.kind {
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Uint64Kind,
		protoreflect.Sfixed64Kind, protoreflect.Fixed64Kind:
		f.is64 = true
	}
	f.significant = math.MaxUint64
	switch f.kind {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Uint32Kind, protoreflect.EnumKind:
		f.significant = math.MaxUint32
	}
	switch {
	case f.desc.ContainingOneof() != nil, f.desc.IsExtension():
		f.ifUnset = unsetNothing
	case f.presence:
		f.ifUnset = unsetNull
	default:
		f.ifUnset = unsetDefault
	}
}

// singular appends a field that is no list and no map, whose value is at i.
func (e *encoder) singular(f *field, i, end int) (int, error) {
	var err error
	switch f.wire {
	case protowire.BytesType:
		i, j, err := e.prefixed(i, end)
		if err != nil {
			return 0, err
		}
		if i == j && !f.presence && !e.defaults {
			return j, nil
		}
		e.key(f)
		if f.message != nil {
			_, err = e.message(f.message, i, j, 0)
		} else {
			err = e.text(f, i, j)
		}
		e.out = append(e.out, ',')
		return j, err
	case protowire.StartGroupType:
		e.key(f)
		i, err = e.message(f.message, i, end, f.number)
	default:
		var x uint64
		if f.wire == protowire.VarintType && i < end && e.wire[i] < 0x80 { // most of them
			x, i = uint64(e.wire[i]), i+1
		} else if x, i, err = e.number(f.wire, i, end); err != nil {
			return 0, err
		}
		if x&f.significant == 0 && !f.presence && !e.defaults {
			return i, nil
		}
		e.key(f)
		e.scalar(f, x)
	}
	e.out = append(e.out, ',')
	return i, err
}

// value appends one value of a field, without its name.
func (e *encoder) value(f *field, i, end int) (int, error) {
	switch f.wire {
	case protowire.BytesType:
		i, j, err := e.prefixed(i, end)
		if err != nil {
			return 0, err
		}
		if f.message != nil {
			return e.message(f.message, i, j, 0)
		}
		return j, e.text(f, i, j)
	case protowire.StartGroupType:
		return e.message(f.message, i, end, f.number)
	default:
		x, i, err := e.number(f.wire, i, end)
		if err == nil {
			e.scalar(f, x)
		}
		return i, err
	}
}

// unset appends what stands for a field that is not set.
func (e *encoder) unset(f *field) {
	switch {
	case f.key != nil:
		e.out = append(e.out, "{}"...)
	case f.list:
		e.out = append(e.out, "[]"...)
	case f.presence:
		e.out = append(e.out, "null"...)
	default:
		e.zero(f)
	}
}

// zero appends the zero of a scalar.
func (e *encoder) zero(f *field) {
	switch f.kind {
	case protoreflect.StringKind, protoreflect.BytesKind:
		e.out = append(e.out, `""`...)
	case protoreflect.EnumKind:
		e.enum(f.enum, f.desc.Default().Enum())
	default:
		e.scalar(f, 0)
	}
}

// listField appends a list, whose first tag is at i, with its name, if it is not empty.
func (e *encoder) listField(f *field, i, end int) (int, error) {
	before := len(e.out)
	e.key(f)
	value := len(e.out)
	i, err := e.listRun(f, i, end)
	if len(e.out) == value+len("[]") && !e.showsEmpty(f) {
		e.out = e.out[:before]
		return i, err
	}
	e.out = append(e.out, ',')
	return i, err
}

// showsEmpty tells whether an empty list is written, which an occurrence on the wire may be.
func (e *encoder) showsEmpty(f *field) bool { return e.defaults && f.ifUnset == unsetDefault }

// listRun appends a list, whose first tag is at i, up to the first tag of another
// field. Packed values and others may be mixed.
func (e *encoder) listRun(f *field, i, end int) (int, error) {
	e.open('[')
	for i < end {
		tag, j := e.varintIn(i, end)
		if j < 0 || tag != f.tag && tag != f.otherTag {
			break // who reads on finds what is wrong
		}
		var err error
		if i, err = e.elements(f, tag, j, end); err != nil {
			return 0, err
		}
	}
	e.close(']')
	return i, nil
}

// elements appends what one occurrence of a list holds.
func (e *encoder) elements(f *field, tag uint64, i, end int) (int, error) {
	if protowire.Type(tag&7) == f.wire {
		e.newline()
		i, err := e.value(f, i, end)
		e.out = append(e.out, ',')
		if err == nil && len(e.out) > e.limit {
			err = ErrTooLarge
		}
		return i, err
	}
	i, end, err := e.prefixed(i, end)
	if err != nil {
		return 0, err
	}
	for i < end {
		var x uint64
		if x, i, err = e.number(f.wire, i, end); err != nil {
			return 0, err
		}
		e.newline()
		e.scalar(f, x)
		e.out = append(e.out, ',')
		if len(e.out) > e.limit {
			return 0, ErrTooLarge
		}
	}
	return i, nil
}

// text appends a string or bytes.
func (e *encoder) text(f *field, i, j int) error {
	if j-i > e.limit-len(e.out) {
		return ErrTooLarge
	}
	if f.kind == protoreflect.StringKind {
		return e.string(e.wire[i:j])
	}
	e.out = append(e.out, '"')
	e.out = base64.StdEncoding.AppendEncode(e.out, e.wire[i:j])
	e.out = append(e.out, '"')
	return nil
}

// scalar appends a number, a bool or an enum. Those of 64 bits are strings, since
// JSON's numbers often are doubles.
func (e *encoder) scalar(f *field, x uint64) {
	switch f.kind {
	case protoreflect.BoolKind:
		e.out = strconv.AppendBool(e.out, protowire.DecodeBool(x))
	case protoreflect.EnumKind:
		e.enum(f.enum, protoreflect.EnumNumber(x))
	case protoreflect.Int32Kind, protoreflect.Sfixed32Kind:
		e.out = strconv.AppendInt(e.out, int64(int32(x)), 10)
	case protoreflect.Sint32Kind:
		e.out = strconv.AppendInt(e.out, protowire.DecodeZigZag(x&math.MaxUint32), 10)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		e.out = strconv.AppendUint(e.out, uint64(uint32(x)), 10)
	case protoreflect.Int64Kind, protoreflect.Sfixed64Kind:
		e.out = append(strconv.AppendInt(append(e.out, '"'), int64(x), 10), '"')
	case protoreflect.Sint64Kind:
		e.out = append(strconv.AppendInt(append(e.out, '"'), protowire.DecodeZigZag(x), 10), '"')
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		e.out = append(strconv.AppendUint(append(e.out, '"'), x, 10), '"')
	case protoreflect.FloatKind:
		e.out = appendFloat(e.out, float64(math.Float32frombits(uint32(x))), 32)
	case protoreflect.DoubleKind:
		e.out = appendFloat(e.out, math.Float64frombits(x), 64)
	}
}

// enum appends an enum's name, or its number if it has none.
func (e *encoder) enum(en *enum, n protoreflect.EnumNumber) {
	if en.null {
		e.out = append(e.out, "null"...)
		return
	}
	if !e.numbers {
		name := ""
		if uint(n) < uint(len(en.low)) {
			name = en.low[n]
		} else {
			name = en.names[n]
		}
		if name != "" { // a name is an identifier, nothing in it is to be escaped
			e.out = append(append(append(e.out, '"'), name...), '"')
			return
		}
	}
	e.out = strconv.AppendInt(e.out, int64(n), 10)
}
