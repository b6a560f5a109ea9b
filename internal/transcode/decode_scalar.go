package transcode

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// scalar reads the value of a field that is no message, and writes it with a tag; 0 is
// none, for packed lists. A zero is written only if zero is true.
func (d *decoder) scalar(f *field, tag uint64, zero bool) bool {
	switch f.kind {
	case protoreflect.StringKind:
		return d.stringField(f, tag, zero)
	case protoreflect.BytesKind:
		return d.bytesField(f, tag, zero)
	case protoreflect.BoolKind:
		v, ok := d.boolean(f)
		return ok && d.varint(tag, v, zero)
	case protoreflect.EnumKind:
		v, ok := d.enum(f)
		return ok && (d.dropped || d.varint(tag, uint64(v), zero))
	case protoreflect.FloatKind:
		v, ok := d.float(f, 32)
		return ok && d.fixed32(tag, math.Float32bits(float32(v)), zero)
	case protoreflect.DoubleKind:
		v, ok := d.float(f, 64)
		return ok && d.fixed64(tag, math.Float64bits(v), zero)
	default:
		return d.integer(f, tag, zero)
	}
}

// integer is scalar for all kinds of them.
func (d *decoder) integer(f *field, tag uint64, zero bool) bool {
	at := d.pos
	if raw, ok := d.numeral(); ok && d.putInteger(f.kind, tag, raw, zero) {
		return true
	}
	return d.wrong(f, at)
}

// putInteger writes a number, if the kind of integer has it.
func (d *decoder) putInteger(kind protoreflect.Kind, tag uint64, raw []byte, zero bool) bool {
	switch kind {
	case protoreflect.Int32Kind:
		v, ok := parseInt(raw, 32)
		return ok && d.varint(tag, uint64(v), zero)
	case protoreflect.Int64Kind:
		v, ok := parseInt(raw, 64)
		return ok && d.varint(tag, uint64(v), zero)
	case protoreflect.Uint32Kind:
		v, ok := parseUint(raw, 32)
		return ok && d.varint(tag, v, zero)
	case protoreflect.Uint64Kind:
		v, ok := parseUint(raw, 64)
		return ok && d.varint(tag, v, zero)
	case protoreflect.Sint32Kind:
		v, ok := parseInt(raw, 32)
		return ok && d.varint(tag, protowire.EncodeZigZag(v), zero)
	case protoreflect.Sint64Kind:
		v, ok := parseInt(raw, 64)
		return ok && d.varint(tag, protowire.EncodeZigZag(v), zero)
	case protoreflect.Sfixed32Kind:
		v, ok := parseInt(raw, 32)
		return ok && d.fixed32(tag, uint32(v), zero)
	case protoreflect.Sfixed64Kind:
		v, ok := parseInt(raw, 64)
		return ok && d.fixed64(tag, uint64(v), zero)
	case protoreflect.Fixed32Kind:
		v, ok := parseUint(raw, 32)
		return ok && d.fixed32(tag, uint32(v), zero)
	default: // Fixed64Kind
		v, ok := parseUint(raw, 64)
		return ok && d.fixed64(tag, v, zero)
	}
}

// numeral reads a number, which may be in quotes.
func (d *decoder) numeral() ([]byte, bool) {
	if d.at() == '"' {
		raw, escaped, ok := d.text()
		if !ok {
			return nil, false
		}
		raw = d.plain(raw, escaped)
		return raw, numberEnd(raw, 0) == len(raw)
	}
	end := numberEnd(d.in, d.pos)
	if end < 0 {
		return nil, false
	}
	raw := d.in[d.pos:end]
	d.pos = end
	return raw, true
}

func (d *decoder) float(f *field, bits int) (float64, bool) {
	at := d.pos
	raw, ok := d.numeral()
	if !ok && d.err == nil { // a string that is no number; raw is its text
		if v, ok := notFinite(raw); ok {
			return v, true
		}
	}
	if ok {
		if v, ok := parseFloat(raw, bits); ok {
			return v, true
		}
	}
	return 0, d.wrong(f, at)
}

// notFinite reads the names of values that JSON has no numbers for.
func notFinite(text []byte) (float64, bool) {
	switch string(text) {
	case "NaN":
		return math.NaN(), true
	case "Infinity":
		return math.Inf(1), true
	case "-Infinity":
		return math.Inf(-1), true
	}
	return 0, false
}

func (d *decoder) boolean(f *field) (uint64, bool) {
	switch d.at() {
	case 't':
		return 1, d.literal("true")
	case 'f':
		return 0, d.literal("false")
	}
	return 0, d.wrong(f, d.pos)
}

// enum reads the name or number of an enum's value. Without its name, d.dropped says
// that there is nothing to write.
func (d *decoder) enum(f *field) (protoreflect.EnumNumber, bool) {
	d.dropped = false
	c, at := d.at(), d.pos
	switch {
	case c == '"':
		raw, escaped, ok := d.text()
		if !ok {
			return 0, false
		}
		name := d.plain(raw, escaped)
		n, ok := f.enum.byName[string(name)]
		if !ok && d.discard {
			d.dropped = true
			return 0, true
		}
		if !ok {
			return 0, d.unknownName(f, name, at)
		}
		return n, true
	case c == 'n' && f.enum.null:
		return 0, d.literal("null")
	}
	if raw, ok := d.numeral(); ok {
		if n, ok := parseInt(raw, 32); ok {
			return protoreflect.EnumNumber(n), true
		}
	}
	return 0, d.wrong(f, at)
}

func (d *decoder) stringField(f *field, tag uint64, zero bool) bool {
	if d.at() != '"' {
		return d.wrong(f, d.pos)
	}
	raw, escaped, ok := d.text()
	if ok && (len(raw) > 0 || zero) {
		d.string(tag, raw, escaped)
	}
	return ok
}

// string writes a string that was read.
func (d *decoder) string(tag uint64, raw []byte, escaped bool) {
	if !escaped {
		d.bytes(tag, raw)
		return
	}
	d.tag(tag)
	length := d.openLength()
	d.out = unescape(d.out, raw)
	d.closeLength(length)
}

func (d *decoder) bytesField(f *field, tag uint64, zero bool) bool {
	if d.at() != '"' {
		return d.wrong(f, d.pos)
	}
	at := d.pos
	raw, escaped, ok := d.text()
	if !ok {
		return false
	}
	return d.base64(tag, raw, escaped, zero) || d.wrong(f, at)
}

// base64 writes bytes that are given in base64, in either alphabet, with padding or
// without.
func (d *decoder) base64(tag uint64, text []byte, escaped, zero bool) bool {
	before := len(d.out)
	d.tag(tag)
	start := d.openLength()
	if escaped {
		d.out = unescape(d.out, text)
		text = d.out[start:] // decoding in place is safe: it never writes what it has not read
	}
	enc := base64.StdEncoding
	url := bytes.IndexByte(text, '-') >= 0 || bytes.IndexByte(text, '_') >= 0
	switch padded := len(text)%4 == 0; {
	case url && padded:
		enc = base64.URLEncoding
	case url:
		enc = base64.RawURLEncoding
	case !padded:
		enc = base64.RawStdEncoding
	}
	most := enc.DecodedLen(len(text))
	d.out = slices.Grow(d.out[:start], most)
	n, err := enc.Decode(d.out[start:start+most], text)
	if err != nil {
		d.out = d.out[:before]
		return false
	}
	d.out = d.out[:start+n]
	if n == 0 && !zero {
		d.out = d.out[:before]
		return true
	}
	d.closeLength(start)
	return true
}

// bytes writes a string or bytes.
func (d *decoder) bytes(tag uint64, text []byte) {
	d.tag(tag)
	if n := len(text); n < 0x80 {
		d.out = append(d.out, byte(n))
	} else {
		d.out = protowire.AppendVarint(d.out, uint64(n))
	}
	d.out = append(d.out, text...)
}

// varint, fixed32 and fixed64 write a number. They are always true.
func (d *decoder) varint(tag, v uint64, zero bool) bool {
	if v == 0 && !zero {
		return true
	}
	if tag != 0 {
		d.tag(tag)
	}
	if v < 0x80 {
		d.out = append(d.out, byte(v))
	} else {
		d.out = protowire.AppendVarint(d.out, v)
	}
	return true
}

func (d *decoder) fixed32(tag uint64, v uint32, zero bool) bool {
	if v == 0 && !zero {
		return true
	}
	if tag != 0 {
		d.tag(tag)
	}
	d.out = binary.LittleEndian.AppendUint32(d.out, v)
	return true
}

func (d *decoder) fixed64(tag uint64, v uint64, zero bool) bool {
	if v == 0 && !zero {
		return true
	}
	if tag != 0 {
		d.tag(tag)
	}
	d.out = binary.LittleEndian.AppendUint64(d.out, v)
	return true
}
