package transcode

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The tags of the types with a JSON form of their own: google/protobuf/*.proto.
const (
	varint1 = 1<<3 | uint64(protowire.VarintType)
	varint2 = 2<<3 | uint64(protowire.VarintType)
	bytes1  = 1<<3 | uint64(protowire.BytesType)
	bytes2  = 2<<3 | uint64(protowire.BytesType)

	valueNull   = 1<<3 | uint64(protowire.VarintType)
	valueNumber = 2<<3 | uint64(protowire.Fixed64Type)
	valueString = 3<<3 | uint64(protowire.BytesType)
	valueBool   = 4<<3 | uint64(protowire.VarintType)
	valueStruct = 5<<3 | uint64(protowire.BytesType)
	valueList   = 6<<3 | uint64(protowire.BytesType)
)

// How their text looks, for errors.
const (
	timestampForm = `a time between the years 1 and 9999, like "2006-01-02T15:04:05.999Z"`
	durationForm  = `a duration of at most 315576000000 seconds, like "3.5s"`
	maskForm      = `names of fields with commas between them, like "displayName,address.city"`
)

// The fields of Struct and ListValue.
var (
	structFields = &field{
		tag:   bytes1,
		key:   &field{kind: protoreflect.StringKind, tag: bytes1},
		value: &field{kind: protoreflect.MessageKind, tag: bytes2, message: &Message{wkt: wktValue}},
	}
	listValues = &field{
		kind: protoreflect.MessageKind, tag: bytes1, list: true, message: &Message{wkt: wktValue},
	}
)

// wellKnown reads a message with a JSON form of its own.
func (d *decoder) wellKnown(m *Message) bool {
	switch m.wkt {
	case wktAny:
		return d.any()
	case wktTimestamp:
		return d.timeText(timestampForm, parseTimestamp)
	case wktDuration:
		return d.timeText(durationForm, parseDuration)
	case wktWrapper:
		m.compile()
		return d.scalar(m.fields[0], m.fields[0].tag, false)
	case wktStruct:
		return d.mapField(structFields)
	case wktListValue:
		return d.list(listValues)
	case wktFieldMask:
		return d.fieldMask()
	case wktEmpty:
		return d.object(m, -1)
	default:
		return d.value()
	}
}

// value reads any JSON as a google.protobuf.Value.
func (d *decoder) value() bool {
	switch d.at() {
	case 'n':
		return d.literal("null") && d.varint(valueNull, 0, true)
	case 't':
		return d.literal("true") && d.varint(valueBool, 1, true)
	case 'f':
		return d.literal("false") && d.varint(valueBool, 0, true)
	case '"':
		raw, escaped, ok := d.text()
		if ok {
			d.string(valueString, raw, escaped)
		}
		return ok
	case '{':
		d.tag(valueStruct)
		length := d.openLength()
		if !d.mapField(structFields) {
			return false
		}
		d.closeLength(length)
		return true
	case '[':
		d.tag(valueList)
		length := d.openLength()
		if !d.list(listValues) {
			return false
		}
		d.closeLength(length)
		return true
	}
	at := d.pos
	raw, ok := d.number()
	if !ok {
		return false
	}
	v, ok := parseFloat(raw, 64)
	if !ok {
		return d.fail(at, "expects a number that a double can hold, got "+clip(raw))
	}
	return d.fixed64(valueNumber, math.Float64bits(v), true)
}

// timeText reads a Timestamp or Duration, which both have seconds as field 1 and
// nanoseconds as field 2.
func (d *decoder) timeText(what string, parse func(text []byte) (seconds int64, nanos int32, ok bool)) bool {
	if d.at() != '"' {
		return d.expect(what)
	}
	at := d.pos
	raw, escaped, ok := d.text()
	if !ok {
		return false
	}
	seconds, nanos, ok := parse(d.plain(raw, escaped))
	if !ok {
		d.pos = at
		return d.expect(what)
	}
	d.putTime(seconds, nanos, false)
	return true
}

func (d *decoder) putTime(seconds int64, nanos int32, zero bool) {
	d.varint(varint1, uint64(seconds), zero)
	d.varint(varint2, uint64(nanos), zero)
}

// fieldMask reads a FieldMask: paths in camel case, with commas between them.
func (d *decoder) fieldMask() bool {
	if d.at() != '"' {
		return d.expect(maskForm)
	}
	at := d.pos
	raw, escaped, ok := d.text()
	if !ok {
		return false
	}
	// The text may stand behind the output, where the paths are going to be written, so it
	// is copied first: the one place that needs it.
	text := d.plain(raw, escaped)
	if escaped {
		text = append([]byte(nil), text...)
	}
	if !d.maskPaths(text, false) {
		d.pos = at
		return d.expect(maskForm)
	}
	return true
}
