package transcode

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
)

// A span is where the fields of a message stand. If it is a group, of that number, it
// ends with its end tag, before end.
type span struct {
	i, end int
	group  protowire.Number
}

// find returns the field with this tag, nil if there is none or it has another wire type.
func (m *Message) find(tag uint64) *field {
	var f *field
	if number := tag >> 3; number < uint64(len(m.low)) {
		f = m.low[number]
	} else if number <= uint64(protowire.MaxValidNumber) {
		f = m.byNumber[protowire.Number(number)]
	}
	if f == nil || tag != f.tag && tag != f.otherTag {
		return nil
	}
	return f
}

// varint reads a varint at i. The position after it is negative if there is none.
func (e *encoder) varint(i, end int) (uint64, int) {
	if i >= end {
		return 0, -1
	}
	return e.varintIn(i, end)
}

// varintIn is varint where i is before end. In this form it is inlined.
func (e *encoder) varintIn(i, end int) (x uint64, after int) {
	x, after = uint64(e.wire[i]), i+1
	if x >= 0x80 {
		x, after = e.longVarint(i, end)
	}
	return
}

func (e *encoder) longVarint(i, end int) (uint64, int) {
	x, n := protowire.ConsumeVarint(e.wire[i:end])
	if n < 0 {
		return 0, n
	}
	return x, i + n
}

// varintFault says what is wrong with the varint at i.
func (e *encoder) varintFault(i, end int) error {
	if end-i < binary.MaxVarintLen64 {
		return errTruncated
	}
	return errVarint
}

// number reads a number of any type but those with a length.
func (e *encoder) number(typ protowire.Type, i, end int) (uint64, int, error) {
	switch typ {
	case protowire.VarintType:
		if i >= end {
			return 0, 0, errTruncated
		}
		x, j := e.varintIn(i, end)
		if j < 0 {
			return 0, 0, e.varintFault(i, end)
		}
		return x, j, nil
	case protowire.Fixed32Type:
		if end-i < 4 {
			return 0, 0, errTruncated
		}
		return uint64(binary.LittleEndian.Uint32(e.wire[i:])), i + 4, nil
	default:
		if end-i < 8 {
			return 0, 0, errTruncated
		}
		return binary.LittleEndian.Uint64(e.wire[i:]), i + 8, nil
	}
}

// prefixed reads the length at i and returns where what has it begins and ends.
func (e *encoder) prefixed(i, end int) (int, int, error) {
	if i >= end {
		return 0, 0, errTruncated
	}
	n, j := e.varintIn(i, end)
	if j < 0 {
		return 0, 0, e.varintFault(i, end)
	}
	if n > uint64(end-j) {
		return 0, 0, errTruncated
	}
	return j, j + int(n), nil
}

// skipField returns where the field ends whose tag is at i.
func (e *encoder) skipField(i, end int) (int, error) {
	tag, j := e.varint(i, end)
	if j < 0 {
		return 0, e.varintFault(i, end)
	}
	if tag>>3 == 0 || tag>>3 > uint64(protowire.MaxValidNumber) {
		return 0, errTag
	}
	return e.skipValue(tag, j, end, e.depth)
}

// skipValue returns where the value ends that begins at i, after its tag.
func (e *encoder) skipValue(tag uint64, i, end, depth int) (int, error) {
	switch typ := protowire.Type(tag & 7); typ {
	case protowire.VarintType, protowire.Fixed32Type, protowire.Fixed64Type:
		_, i, err := e.number(typ, i, end)
		return i, err
	case protowire.BytesType:
		_, i, err := e.prefixed(i, end)
		return i, err
	case protowire.StartGroupType:
		return e.skipGroup(tag, i, end, depth+1)
	case protowire.EndGroupType:
		return 0, errGroup
	default:
		return 0, errTag
	}
}

// skipGroup returns where a group ends. In a careful walk each level of nested groups
// looks for the ends of those in it, so the ends of long groups in every eighth level
// are remembered: no byte is skipped more often than that for each walk over its level,
// and what is remembered is at most about as large as the wire.
func (e *encoder) skipGroup(start uint64, i, end, depth int) (int, error) {
	if depth > MaxDepth {
		return 0, errDepth
	}
	const long, levels = 64, 8
	if depth%levels == 0 {
		if known, ok := e.ends[uint32(i)]; ok {
			return int(known), nil
		}
	}
	begin := i
	for {
		tag, j := e.varint(i, end)
		if j < 0 {
			return 0, e.varintFault(i, end)
		}
		if tag == start+uint64(protowire.EndGroupType-protowire.StartGroupType) {
			if e.careful && depth%levels == 0 && j-begin >= long {
				if e.ends == nil {
					e.ends = map[uint32]uint32{}
				}
				e.ends[uint32(begin)] = uint32(j)
			}
			return j, nil
		}
		if tag>>3 == 0 || tag>>3 > 1<<31-1 {
			return 0, errTag
		}
		var err error
		if i, err = e.skipValue(tag, j, end, depth); err != nil {
			return 0, err
		}
	}
}
