package transcode

import (
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// AppendWire appends the wire form of a message that is given as JSON. It takes what
// protojson.Unmarshal takes, and nothing else, within two limits: [MaxDepth], and how
// much of a long document the types of Any may come behind (see maxRescan). Fields are
// written in the order of the input; those without presence that are zero are left out.
// On an error, which is a [*JSONError] or wraps [ErrTooLarge], dst comes back as it was.
func (m *Message) AppendWire(dst, json []byte, o *DecodeOptions) ([]byte, error) {
	d := newDecoder(m.types, dst, json, o)
	d.grow(len(json) / 2) // about what JSON comes to
	if d.peek(); d.message(m) {
		d.atEnd()
	}
	return d.finish(dst)
}

// A decoder is one walk over JSON that writes the wire form as it goes.
type decoder struct {
	scanner
	types   *Types
	out     []byte
	limit   int // of len(out)
	discard bool

	depth      int  // how many levels of messages may still be opened
	braces     int  // how many braces and brackets are open
	maxBraces  int  // how many may be: an Any counts them too, see any
	partial    bool // within an Any, where required fields may be missing
	rescan     int  // how many bytes may still be read twice, see any
	dropped    bool // the last value was an enum's name that nobody knows, and nothing was written
	overflowed bool // out is over the limit

	seen []uint64 // of the messages that are open, see seenBits
}

func newDecoder(types *Types, dst, json []byte, o *DecodeOptions) decoder {
	d := decoder{
		scanner: scanner{in: json}, types: types, out: dst,
		limit: len(dst) + math.MaxInt32, // protobuf's own
		depth: MaxDepth, maxBraces: math.MaxInt,
		rescan: maxRescan*len(json) + 1<<20,
	}
	if o != nil {
		d.discard = o.DiscardUnknown
		if o.MaxOutput > 0 && o.MaxOutput < math.MaxInt32 {
			d.limit = len(dst) + o.MaxOutput
		}
	}
	return d
}

// grow makes place for n bytes.
func (d *decoder) grow(n int) { d.out = slices.Grow(d.out, min(n, d.limit-len(d.out))) }

// atEnd checks that nothing follows the value.
func (d *decoder) atEnd() bool {
	if d.peek(); d.pos < len(d.in) {
		return d.syntax("expects nothing after the value")
	}
	return d.fits()
}

// finish returns what was written, or dst and what was wrong.
func (d *decoder) finish(dst []byte) ([]byte, error) {
	if d.overflowed {
		return dst, fmt.Errorf("JSON to protobuf: %w of %d bytes", ErrTooLarge, d.limit-len(dst))
	}
	if d.err != nil {
		return dst, d.err
	}
	return d.out, nil
}

// fits tells whether the output is within its limit. It is asked after each value, so
// that one value is the most that is written too much.
func (d *decoder) fits() bool {
	if len(d.out) <= d.limit {
		if cap(d.out)-len(d.out) < 16 {
			d.grow(len(d.out)) // less is left behind than when append grows it, by a quarter at a time
		}
		return true
	}
	d.overflowed = true
	return d.fail(d.pos, ErrTooLarge.Error())
}

// message reads a message and writes its fields.
func (d *decoder) message(m *Message) bool {
	if d.depth--; d.depth < 0 {
		return d.tooDeep()
	}
	ok := false
	if m.wkt == notWellKnown || m.wkt == wktEmpty {
		ok = d.object(m, -1)
	} else {
		ok = d.wellKnown(m)
	}
	d.depth++
	return ok
}

// open reads the brace or bracket that a value begins with.
func (d *decoder) open(c byte, what string) bool {
	if d.at() != c {
		return d.expect(what)
	}
	if d.braces++; d.braces > d.maxBraces {
		return d.tooDeep()
	}
	d.pos++
	return true
}

// object reads the members of a message. typeAt is where the "@type" of an Any is that
// they stand in, or -1.
func (d *decoder) object(m *Message, typeAt int) bool {
	m.compile()
	if m.messageSet {
		return d.fail(d.pos, "is a MessageSet, which JSON has no form for")
	}
	if !d.open('{', "an object") {
		return false
	}
	seen := seenBits{wide: len(d.seen)}
	for range m.wide {
		d.seen = append(d.seen, 0)
	}
	for next, first := 0, true; d.more(first, '}'); first = false {
		at := d.pos
		f, ok := d.name(m, next, typeAt)
		if !ok {
			return false
		}
		if f == nil {
			continue
		}
		if !d.mark(&seen, f.index) {
			return d.fail(at, fmt.Sprintf("the field %q is there twice", f.jsonName))
		}
		next = f.index + 1
		if !d.field(m, f, at, &seen) {
			return d.within(f.jsonName)
		}
	}
	if d.err != nil {
		return false
	}
	d.braces--
	if !d.partial {
		for _, f := range m.required {
			if d.mark(&seen, f.index) {
				return d.fail(d.pos-1, fmt.Sprintf("the required field %q is missing", f.jsonName))
			}
		}
	}
	d.seen = d.seen[:seen.wide]
	return true
}

// seenBits are a bit for each field of a message, and then for each oneof: the first 64
// in it, more of them in decoder.seen.
type seenBits struct {
	few  uint64
	wide int // where the others begin
}

// mark sets a bit. It is false if it was set.
func (d *decoder) mark(seen *seenBits, bit int) bool {
	word, mask := &seen.few, uint64(1)<<(bit%64)
	if bit >= 64 {
		word = &d.seen[seen.wide+bit/64-1]
	}
	if *word&mask != 0 {
		return false
	}
	*word |= mask
	return true
}

// name reads the name of a member and finds its field. next is the one that comes if
// the members are in the order of the descriptor, as they mostly are. Without a field
// the value was skipped.
func (d *decoder) name(m *Message, next, typeAt int) (f *field, ok bool) {
	if next < len(m.fields) {
		if quoted := m.fields[next].quoted; len(d.in)-d.pos > len(quoted) && string(d.in[d.pos:d.pos+len(quoted)]) == quoted {
			d.pos += len(quoted)
			return m.fields[next], d.colon()
		}
	}
	at := d.pos
	raw, escaped, ok := d.text()
	if !ok || !d.colon() {
		return nil, false
	}
	name := d.plain(raw, escaped)
	if typeAt >= 0 && string(name) == "@type" {
		if at != typeAt {
			return nil, d.fail(at, `"@type" is there twice`)
		}
		_, _, ok = d.text()
		return nil, ok
	}
	if f = m.byName[string(name)]; f != nil {
		return f, true
	}
	if m.wkt != wktEmpty && len(name) > 1 && name[0] == '[' && name[len(name)-1] == ']' {
		// Unknown is only what has no such name at all.
		extension := protoreflect.FullName(name[1 : len(name)-1])
		if _, err := d.types.files.FindDescriptorByName(extension); err == nil {
			return nil, d.fail(at, fmt.Sprintf("%s is no extension of %s", clip(name), m.desc.FullName()))
		}
	}
	if !d.discard {
		return nil, d.unknown(m, name, at)
	}
	return nil, d.skipValue()
}

// plain returns the text of a string. With escapes it stands behind the output, and is
// good until something is written.
func (d *decoder) plain(raw []byte, escaped bool) []byte {
	if !escaped {
		return raw
	}
	n := len(d.out)
	d.out = unescape(d.out, raw)
	text := d.out[n:]
	d.out = d.out[:n]
	return text
}

// skipValue reads a value that is discarded.
func (d *decoder) skipValue() bool {
	return d.skip(min(d.depth, d.maxBraces-d.braces))
}

// field reads the value of a field.
func (d *decoder) field(m *Message, f *field, at int, seen *seenBits) bool {
	if d.at() == 'n' && !f.null {
		if f.required && !d.partial {
			return d.fail(d.pos, "is required, and null is no value")
		}
		return d.literal("null")
	}
	switch {
	case f.key != nil:
		return d.mapField(f)
	case f.list:
		return d.list(f)
	}
	if f.oneof != 0 && !d.mark(seen, len(m.fields)+f.oneof-1) {
		return d.fail(at, fmt.Sprintf("another field of the oneof %q is there already", f.desc.ContainingOneof().Name()))
	}
	if f.message != nil {
		return d.messageField(f) && d.fits()
	}
	d.dropped = false
	if !d.scalar(f, f.tag, f.presence) {
		return false
	}
	if d.dropped && f.required && !d.partial {
		return d.fail(d.pos, "is required, and this name is no value")
	}
	return d.fits()
}

// messageField writes the tag of a message or group, the message, and its end.
func (d *decoder) messageField(f *field) bool {
	d.tag(f.tag)
	if f.kind == protoreflect.GroupKind {
		if !d.message(f.message) {
			return false
		}
		d.tag(endGroup(f.tag))
		return true
	}
	at := d.openLength()
	if !d.message(f.message) {
		return false
	}
	d.closeLength(at)
	return true
}

// list reads the elements of a list.
func (d *decoder) list(f *field) bool {
	if !d.open('[', "a list") {
		return false
	}
	before, length, tag := len(d.out), 0, f.tag
	if f.packed {
		d.tag(f.tag)
		length, tag = d.openLength(), 0
	}
	for i := 0; d.more(i == 0, ']'); i++ {
		var ok bool
		if f.message != nil {
			ok = d.messageField(f)
		} else {
			ok = d.scalar(f, tag, true)
		}
		if !ok || !d.fits() {
			return d.within(fmt.Sprintf("[%d]", i))
		}
	}
	if d.err != nil {
		return false
	}
	d.braces--
	switch {
	case !f.packed:
	case len(d.out) == length: // empty
		d.out = d.out[:before]
	default:
		d.closeLength(length)
	}
	return true
}

// tag writes a tag.
func (d *decoder) tag(tag uint64) {
	if tag < 0x80 {
		d.out = append(d.out, byte(tag))
	} else {
		d.out = protowire.AppendVarint(d.out, tag)
	}
}

const (
	// lengthRoom is how many bytes are kept for the length of a message when much of the
	// input is still to come: a large message around many others would be moved by each.
	lengthRoom = 4
	muchInput  = 64 << 10
)

// openLength leaves place for the length of what follows, and returns where that
// begins; closeLength writes it. If it needs other than one byte, all behind it moves.
func (d *decoder) openLength() int {
	if len(d.in)-d.pos < muchInput {
		d.out = append(d.out, 1)
	} else {
		d.out = append(d.out, 0, 0, 0, lengthRoom)
	}
	return len(d.out)
}

func (d *decoder) closeLength(start int) {
	n, room := len(d.out)-start, int(d.out[start-1])
	if n < 0x80 && room == 1 {
		d.out[start-1] = byte(n)
		return
	}
	if n >= muchInput && n < 1<<(7*lengthRoom) && room == lengthRoom {
		// Not moved if three bytes are enough: a varint may be longer than it must be.
		length := d.out[start-lengthRoom : start]
		for i := range length {
			length[i] = byte(n>>(7*i)) | 0x80
		}
		length[lengthRoom-1] &^= 0x80
		return
	}
	size := protowire.SizeVarint(uint64(n))
	for len(d.out) < start-room+size+n {
		d.out = append(d.out, 0)
	}
	copy(d.out[start-room+size:], d.out[start:start+n])
	protowire.AppendVarint(d.out[:start-room], uint64(n))
	d.out = d.out[:start-room+size+n]
}
