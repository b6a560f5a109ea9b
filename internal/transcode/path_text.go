package transcode

import (
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// AppendText appends the field with a value that is given as text, as in the path or
// query of a URL: numbers, true and false, names and numbers of enums, bytes in
// base64, and of messages a Timestamp, Duration or FieldMask as in JSON but without
// quotes, wrappers as what they wrap, all others as JSON. A list gets one element.
func (p *Path) AppendText(dst []byte, text string) ([]byte, error) {
	d := newDecoder(p.root.types, dst, []byte(text), nil)
	d.depth -= len(p.outer)
	if !d.path(p, 0, true) {
		return dst, p.fail(d.err.Reason)
	}
	return d.out, nil
}

// textValue writes a field with the whole input as the text of its value.
func (d *decoder) textValue(f *field) bool {
	tag := f.tag
	switch {
	case f.key != nil:
		return d.peek() == '{' && d.mapField(f) && d.atEnd() || d.wrongText("a JSON object")
	case f.message != nil:
		return d.textMessage(f)
	case f.packed: // one element needs no packing, and every parser takes both
		tag = protowire.EncodeTag(f.number, wireTypes[f.kind])
	}
	return d.textScalar(f, tag, d.in)
}

// textMessage writes a message.
func (d *decoder) textMessage(f *field) bool {
	switch f.message.wkt {
	case notWellKnown, wktAny, wktEmpty, wktStruct:
		return d.peek() == '{' && d.messageField(f) && d.atEnd() || d.wrongText("a JSON object")
	case wktListValue:
		return d.peek() == '[' && d.messageField(f) && d.atEnd() || d.wrongText("a JSON list")
	case wktValue:
		d.peek()
		return d.messageField(f) && d.atEnd() || d.wrongText("JSON")
	}
	d.tag(f.tag)
	length := -1
	if f.kind != protoreflect.GroupKind {
		length = d.openLength()
	}
	if !d.textWellKnown(f.message) {
		return false
	}
	if length < 0 {
		d.tag(endGroup(f.tag))
	} else {
		d.closeLength(length)
	}
	return true
}

// textWellKnown writes the fields of a type that is not JSON in text. Zeros are
// written, so that they win over what came before.
func (d *decoder) textWellKnown(m *Message) bool {
	switch m.wkt {
	case wktTimestamp:
		seconds, nanos, ok := parseTimestamp(d.in)
		if !ok {
			return d.wrongText(timestampForm)
		}
		d.putTime(seconds, nanos, true)
	case wktDuration:
		seconds, nanos, ok := parseDuration(d.in)
		if !ok {
			return d.wrongText(durationForm)
		}
		d.putTime(seconds, nanos, true)
	case wktFieldMask:
		if !d.maskPaths(d.in, true) {
			return d.wrongText(maskForm)
		}
	default: // a wrapper
		m.compile()
		return d.textScalar(m.fields[0], m.fields[0].tag, d.in)
	}
	return true
}

// textScalar writes a value that is no message.
func (d *decoder) textScalar(f *field, tag uint64, text []byte) bool {
	number := len(text) > 0 && numberEnd(text, 0) == len(text)
	ok := false
	switch f.kind {
	case protoreflect.StringKind:
		if ok = utf8.Valid(text); ok {
			d.bytes(tag, text)
		}
	case protoreflect.BytesKind:
		ok = d.base64(tag, text, false, true)
	case protoreflect.BoolKind:
		switch string(text) {
		case "true":
			ok = d.varint(tag, 1, true)
		case "false":
			ok = d.varint(tag, 0, true)
		}
	case protoreflect.EnumKind:
		return d.textEnum(f, tag, text)
	case protoreflect.FloatKind:
		v, finite := textFloat(text, number, 32)
		ok = finite && d.fixed32(tag, math.Float32bits(float32(v)), true)
	case protoreflect.DoubleKind:
		v, finite := textFloat(text, number, 64)
		ok = finite && d.fixed64(tag, math.Float64bits(v), true)
	default:
		ok = number && d.putInteger(f.kind, tag, text, true)
	}
	return ok || d.wrongText(expected(f))
}

func (d *decoder) textEnum(f *field, tag uint64, text []byte) bool {
	n, ok := f.enum.byName[string(text)]
	switch {
	case ok:
	case f.enum.null && string(text) == "null":
	case numberEnd(text, 0) == len(text):
		v, fits := parseInt(text, 32)
		if !fits {
			return d.wrongText(expected(f))
		}
		n = protoreflect.EnumNumber(v)
	default:
		return d.unknownName(f, text, 0)
	}
	return d.varint(tag, uint64(n), true)
}

// textFloat reads a number, or what is not one.
func textFloat(text []byte, number bool, bits int) (float64, bool) {
	if number {
		return parseFloat(text, bits)
	}
	return notFinite(text)
}

// wrongText is for text that is not a value of the field, unless the error is known.
func (d *decoder) wrongText(what string) bool {
	got := "nothing"
	if len(d.in) > 0 {
		got = clip(d.in)
	}
	return d.fail(0, "expects "+what+", got "+got)
}
