package transcode

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxRescan bounds how much of the input is read twice: each byte as often as this on
// average, and a megabyte. Only an Any whose "@type" is not its first member is searched
// for it. Many of them in each other, each with its type at its end, are read as often
// as they are deep, which is too much of a long document.
const maxRescan = 16

// any reads a google.protobuf.Any: the members of the message in it, or, if that has a
// JSON form of its own, this form as "value"; and its type as "@type", in any place.
func (d *decoder) any() bool {
	start, maxBraces := d.pos, d.maxBraces
	if !d.open('{', "an object") {
		return false
	}
	if d.peek() == '}' {
		d.pos++
		d.braces--
		return true // no type, no value
	}
	typeAt, ok := d.findType()
	switch {
	case !ok:
		return false
	case typeAt < 0 && !d.discard:
		return d.fail(start, `expects "@type" in an Any`)
	case typeAt < 0: // all of it is unknown
		d.pos = start
		d.braces--
		return d.skipValue()
	}
	inside := d.pos
	d.pos = typeAt
	m, ok := d.anyType()
	if !ok {
		return false
	}

	// protojson looks for the type first, and counts braces as it does, with the levels
	// that are left as the limit.
	d.maxBraces = min(maxBraces, d.braces+d.depth)
	before, partial := len(d.out), d.partial
	d.tag(bytes2)
	length := d.openLength()
	d.partial = true // what is in an Any may have no required fields
	if m.wkt != notWellKnown {
		d.pos = inside
		ok = d.anyValue(m, typeAt)
	} else {
		d.pos = start
		d.braces--
		if d.depth--; d.depth < 0 {
			return d.tooDeep()
		}
		ok = d.object(m, typeAt)
		d.depth++
	}
	if !ok {
		return false
	}
	d.partial, d.maxBraces = partial, maxBraces
	if len(d.out) == length {
		d.out = d.out[:before]
	} else {
		d.closeLength(length)
	}
	return true
}

// anyType reads the member with the type, writes it and finds the plan.
func (d *decoder) anyType() (*Message, bool) {
	if _, _, ok := d.text(); !ok || !d.colon() {
		return nil, false
	}
	at := d.pos
	if d.at() != '"' {
		return nil, d.expect("a string")
	}
	raw, escaped, ok := d.text()
	if !ok {
		return nil, false
	}
	if len(raw) == 0 {
		return nil, d.fail(at, `"@type" is empty`)
	}
	name := d.plain(raw, escaped)
	name = name[bytes.LastIndexByte(name, '/')+1:]
	found, err := d.types.files.FindDescriptorByName(protoreflect.FullName(name))
	md, ok := found.(protoreflect.MessageDescriptor)
	if err != nil || !ok {
		return nil, d.fail(at, fmt.Sprintf("the schema has no message type %s", clip(name)))
	}
	d.string(bytes1, raw, escaped)
	return d.types.Message(md), true
}

// anyValue reads the members of an Any whose message has a JSON form of its own.
func (d *decoder) anyValue(m *Message, typeAt int) bool {
	found := false
	for first := true; d.more(first, '}'); first = false {
		at := d.pos
		raw, escaped, ok := d.text()
		if !ok || !d.colon() {
			return false
		}
		switch name := d.plain(raw, escaped); {
		case string(name) == "@type":
			if at != typeAt {
				return d.fail(at, `"@type" is there twice`)
			}
			_, _, ok = d.text()
		case string(name) == "value":
			if found {
				return d.fail(at, `"value" is there twice`)
			}
			if found, ok = true, d.wellKnown(m); !ok {
				return d.within("value")
			}
		case d.discard:
			ok = d.skipValue()
		default:
			return d.fail(at, fmt.Sprintf(`unknown field %s: an Any with %s has "@type" and "value"`, clip(name), m.desc.FullName()))
		}
		if !ok {
			return false
		}
	}
	if d.err != nil {
		return false
	}
	d.braces--
	if !found && m.wkt != wktEmpty { // protojson takes that from other implementations
		return d.fail(d.pos-1, fmt.Sprintf(`expects "value" in an Any with %s`, m.desc.FullName()))
	}
	return true
}

// findType returns where the "@type" of the object is whose first member is next, or
// -1. It only looks at strings and braces: the members are read again, and strictly.
func (d *decoder) findType() (int, bool) {
	level := 0
	for i := d.pos; i < len(d.in); i++ {
		switch d.in[i] {
		case '{', '[':
			level++
		case '}', ']':
			if level--; level < 0 {
				return -1, d.searched(i)
			}
		case '"':
			end := stringEnd(d.in, i+1)
			if level == 0 && namesType(d.in[i+1:end]) {
				after := scanner{in: d.in, pos: end + 1}
				if after.peek() == ':' {
					return i, d.searched(i)
				}
			}
			i = end
		}
	}
	return -1, d.searched(len(d.in))
}

// searched takes what was searched from what may be read twice.
func (d *decoder) searched(end int) bool {
	if d.rescan -= end - d.pos; d.rescan < 0 {
		return d.fail(d.pos, `too much comes before "@type" in messages that are in each other: it should come first`)
	}
	return true
}

// stringEnd returns where the string that i is in ends, at its quote or with the input.
func stringEnd(in []byte, i int) int {
	for {
		n := bytes.IndexByte(in[i:], '"')
		if n < 0 {
			return len(in)
		}
		slash := i + n
		for slash > i && in[slash-1] == '\\' {
			slash--
		}
		if (i+n-slash)%2 == 0 {
			return i + n
		}
		i += n + 1
	}
}

// namesType tells whether a string is "@type", with escapes or without.
func namesType(raw []byte) bool {
	const name = "@type"
	if len(raw) > len(name)*len(`\u0040`) {
		return false
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw) == name
	}
	var buf [64]byte
	return badEscape(raw) < 0 && string(unescape(buf[:0], raw)) == name
}
