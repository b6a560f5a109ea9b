package transcode

import (
	"encoding/binary"
	"math/bits"

	"google.golang.org/protobuf/encoding/protowire"
)

// An index says where the occurrences of each field of a message are. It has their
// distances as varints, and a field that occurs so often that its distances are small has
// one byte for each. So the indexes of all messages that are open at a time are smaller
// than the wire, but for some bytes for each field of the schema. What maps and groups add
// is at most twice the wire.
type index struct {
	present   []uint64 // the set of fields
	before    []uint32 // of each word of the set: how many fields are in those before it
	ends      []uint32 // of each field that is present, in distances
	last      []uint32 // the last tag of each field that is present
	distances []byte   // between the tags, by field, then in the order of the wire
	next      int      // where the message ends
}

// places are those of the tags of a field, in the order of the wire.
type places struct {
	from, last uint32 // what the first distance counts from; the last place
	distances  []byte
}

func (p *places) none() bool { return len(p.distances) == 0 }

// take returns the first place, and takes it from the others.
func (p *places) take() uint32 {
	distance, n := uint64(p.distances[0]), 1
	if distance >= 0x80 {
		distance, n = binary.Uvarint(p.distances)
	}
	p.distances = p.distances[n:]
	p.from += uint32(distance)
	return p.from
}

// add adds a place behind the others.
func (p *places) add(at uint32) {
	p.distances = binary.AppendUvarint(p.distances, uint64(at-p.last))
	p.last = at
}

// A mark is how high the stacks are that indexes are on.
type mark struct{ flags, words, bytes, choices int }

func (e *encoder) mark() mark {
	return mark{len(e.flags), len(e.words), len(e.bytes), len(e.choices)}
}

// free takes what was put on the stacks since a mark.
func (e *encoder) free(to mark) {
	e.flags, e.words, e.bytes, e.choices = e.flags[:to.flags], e.words[:to.words], e.bytes[:to.bytes], e.choices[:to.choices]
}

// push puts n zeros on a stack, and returns them. Many of them are not for the stack,
// which stays as it is between messages.
func push[T byte | uint32](stack *[]T, n int) []T {
	const most = 4096
	if n > most/16 {
		return make([]T, n)
	}
	if *stack == nil {
		*stack = make([]T, 0, most)
	}
	old := len(*stack)
	if n > most-old {
		return make([]T, n)
	}
	*stack = (*stack)[:old+n]
	clear((*stack)[old:])
	return (*stack)[old : old+n : old+n]
}

// index makes the index of a message. It needs three walks: which fields, how long the
// distances of each are, and where it is. The caller frees it.
func (e *encoder) index(m *Message, p parts) (index, error) {
	m.compile()
	x := index{present: e.pushFlags(len(m.fields))}
	x.before = push(&e.words, len(x.present))
	for c := e.cursor(m, p); ; {
		more, err := c.step()
		if err != nil {
			return x, err
		}
		if !more {
			break
		}
		x.present[c.f.index>>6] |= 1 << (c.f.index & 63)
	}
	fields := 0
	for i, word := range x.present {
		x.before[i] = uint32(fields)
		fields += bits.OnesCount64(word)
	}
	// With an entry more in front, what is first the length of a field's distances becomes
	// where they begin, and when all are there, where they end.
	starts := push(&e.words, fields+1)
	x.last = push(&e.words, fields)
	for c := e.cursor(m, p); ; {
		if more, _ := c.step(); !more {
			break
		}
		r := x.rank(c.f)
		starts[r+1] += uint32(protowire.SizeVarint(uint64(uint32(c.at) - x.last[r])))
		x.last[r] = uint32(c.at)
	}
	for i := range fields {
		starts[i+1] += starts[i]
	}
	x.distances = push(&e.bytes, int(starts[fields]))
	clear(x.last)
	c := e.cursor(m, p)
	for {
		if more, _ := c.step(); !more {
			break
		}
		r := x.rank(c.f)
		starts[r] += uint32(binary.PutUvarint(x.distances[starts[r]:], uint64(uint32(c.at)-x.last[r])))
		x.last[r] = uint32(c.at)
	}
	x.ends, x.next = starts[:fields], c.i
	return x, nil
}

// rank is how many of the fields that are present are before f.
func (x *index) rank(f *field) int {
	word := f.index >> 6
	return int(x.before[word]) + bits.OnesCount64(x.present[word]&(1<<(f.index&63)-1))
}

// of returns where the tags of a field are.
func (x *index) of(f *field) places {
	if x.present[f.index>>6]>>(f.index&63)&1 == 0 {
		return places{}
	}
	r, start := x.rank(f), uint32(0)
	if r > 0 {
		start = x.ends[r-1]
	}
	return places{last: x.last[r], distances: x.distances[start:x.ends[r]]}
}

// fields calls yield with the fields that are present, in the order of the descriptor.
func (x *index) fields(m *Message, yield func(*field, places) error) error {
	for i, word := range x.present {
		for ; word != 0; word &= word - 1 {
			f := m.fields[i*64+bits.TrailingZeros64(word)]
			if err := yield(f, x.of(f)); err != nil {
				return err
			}
		}
	}
	return nil
}
