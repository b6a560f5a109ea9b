package transcode

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// mapField reads the members of a map. Each is an entry on the wire, a message with
// the key as field 1 and the value as field 2, which are always written.
func (d *decoder) mapField(f *field) bool {
	if !d.open('{', "an object") {
		return false
	}
	var keys keySet
	for first := true; d.more(first, '}'); first = false {
		at, entry := d.pos, len(d.out)
		raw, escaped, ok := d.text()
		if !ok {
			return false
		}
		d.tag(f.tag)
		length := d.openLength()
		if !d.mapKey(f.key, raw, escaped) {
			return d.wrongKey(f, d.plain(raw, escaped), at)
		}
		if keys.has(d.out, length) {
			return d.fail(at, "the key "+strconv.Quote(clip(d.plain(raw, escaped)))+" is there twice")
		}
		if !d.colon() {
			return false
		}
		if f.value.message != nil {
			ok = d.messageField(f.value)
		} else {
			d.dropped = false
			ok = d.scalar(f.value, f.value.tag, true)
			if ok && d.dropped { // and so the whole entry is
				d.out = d.out[:entry]
				continue
			}
		}
		if !ok {
			return d.within("[" + clip(d.plain(raw, escaped)) + "]")
		}
		d.closeLength(length)
		keys.add(d.out, entry)
		if !d.fits() {
			return false
		}
	}
	if d.err != nil {
		return false
	}
	d.braces--
	return true
}

// mapKey writes a key.
func (d *decoder) mapKey(f *field, raw []byte, escaped bool) bool {
	if f.kind == protoreflect.StringKind {
		d.string(f.tag, raw, escaped)
		return true
	}
	text := d.plain(raw, escaped)
	switch f.kind {
	case protoreflect.BoolKind:
		switch string(text) {
		case "true":
			return d.varint(f.tag, 1, true)
		case "false":
			return d.varint(f.tag, 0, true)
		}
		return false
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		v, err := strconv.ParseUint(string(text), 10, 32)
		if f.kind == protoreflect.Fixed32Kind {
			return err == nil && d.fixed32(f.tag, uint32(v), true)
		}
		return err == nil && d.varint(f.tag, v, true)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		v, err := strconv.ParseUint(string(text), 10, 64)
		if f.kind == protoreflect.Fixed64Kind {
			return err == nil && d.fixed64(f.tag, v, true)
		}
		return err == nil && d.varint(f.tag, v, true)
	}
	bits := 64
	switch f.kind {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		bits = 32
	}
	v, err := strconv.ParseInt(string(text), 10, bits)
	if err != nil {
		return false
	}
	switch f.kind {
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		return d.varint(f.tag, protowire.EncodeZigZag(v), true)
	case protoreflect.Sfixed32Kind:
		return d.fixed32(f.tag, uint32(v), true)
	case protoreflect.Sfixed64Kind:
		return d.fixed64(f.tag, uint64(v), true)
	}
	return d.varint(f.tag, uint64(v), true)
}

// A keySet tells whether a key of a map was there before. It keeps no keys: those are
// in the output already, so it holds where each entry begins, four bytes for each. Few
// are compared one by one, many are hashed, with a seed that peers don't know.
type keySet struct {
	few   [16]uint32
	table []uint32 // open addressing; 0 is free, so entries are counted from 1
	n     int
	base  int // where the first entry begins
}

var keySeed = maphash.MakeSeed()

// key returns the first field of an entry, tag and all, at its place in out.
func key(out []byte, at int) []byte {
	b := out[at:]
	switch b[0] & 7 {
	case byte(protowire.BytesType):
		n, size := binary.Uvarint(b[1:])
		return b[:1+size+int(n)]
	case byte(protowire.Fixed32Type):
		return b[:5]
	case byte(protowire.Fixed64Type):
		return b[:9]
	}
	_, size := binary.Uvarint(b[1:])
	return b[:1+size]
}

// entryKey returns the key of a whole entry.
func entryKey(out []byte, entry int) []byte {
	_, tag := binary.Uvarint(out[entry:])
	_, length := binary.Uvarint(out[entry+tag:])
	return key(out, entry+tag+length)
}

// has tells whether an entry that was added has the key at a place in out.
func (s *keySet) has(out []byte, at int) bool {
	if s.n == 0 {
		return false
	}
	k := key(out, at)
	if s.table == nil {
		for _, entry := range s.few[:s.n] {
			if bytes.Equal(k, entryKey(out, s.base+int(entry))) {
				return true
			}
		}
		return false
	}
	_, found := s.find(out, k)
	return found
}

// find returns the slot of a key, or the one it belongs in.
func (s *keySet) find(out, k []byte) (int, bool) {
	mask := len(s.table) - 1
	for i := int(maphash.Bytes(keySeed, k)) & mask; ; i = (i + 1) & mask {
		if s.table[i] == 0 {
			return i, false
		}
		if bytes.Equal(k, entryKey(out, s.base+int(s.table[i]-1))) {
			return i, true
		}
	}
}

// add adds an entry, which is complete.
func (s *keySet) add(out []byte, entry int) {
	if s.n == 0 {
		s.base = entry
	}
	at := uint32(entry - s.base)
	if s.table == nil && s.n < len(s.few) {
		s.few[s.n] = at
		s.n++
		return
	}
	if old := s.table; s.n >= len(old)/4*3 {
		s.table = make([]uint32, max(64, 2*len(old)))
		if old == nil {
			for _, entry := range s.few {
				s.put(out, entry)
			}
		}
		for _, entry := range old {
			if entry != 0 {
				s.put(out, entry-1)
			}
		}
	}
	s.put(out, at)
	s.n++
}

func (s *keySet) put(out []byte, entry uint32) {
	i, _ := s.find(out, entryKey(out, s.base+int(entry)))
	s.table[i] = entry + 1
}
