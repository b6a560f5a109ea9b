package transcode

import "math/bits"

// An index says where the occurrences of each field of a message are. It has four bytes
// for each, which has at least two bytes itself: so the indexes of all messages that are
// open at a time have at most twice the size of the wire. With what maps and groups add,
// it is at most four times.
type index struct {
	present []uint64 // the set of fields
	before  []uint32 // of each word of the set: how many fields are in those before it
	ends    []uint32 // of each field that is present, in at
	at      []uint32 // the tags, by field, then in the order of the wire
	next    int      // where the message ends
}

// A mark is how high the stacks are that indexes are on.
type mark struct{ flags, words, choices int }

func (e *encoder) mark() mark { return mark{len(e.flags), len(e.words), len(e.choices)} }

// free takes what was put on the stacks since a mark.
func (e *encoder) free(to mark) {
	e.flags, e.words, e.choices = e.flags[:to.flags], e.words[:to.words], e.choices[:to.choices]
}

// pushWords returns n zeros. Many of them are not for the stack, which stays as it is
// between messages.
func (e *encoder) pushWords(n int) []uint32 {
	const most = 4096
	if n > most/16 {
		return make([]uint32, n)
	}
	if e.words == nil {
		e.words = make([]uint32, 0, most)
	}
	old := len(e.words)
	if n > most-old {
		return make([]uint32, n)
	}
	e.words = e.words[:old+n]
	clear(e.words[old:])
	return e.words[old : old+n : old+n]
}

// index makes the index of a message. It needs three walks: which fields, how many of
// each, and where. The caller frees it.
func (e *encoder) index(m *Message, p parts) (index, error) {
	m.compile()
	x := index{present: e.pushFlags(len(m.fields))}
	x.before = e.pushWords(len(x.present))
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
	// With an entry more in front, what is first the number of a field's occurrences
	// becomes where they begin, and when all are there, where they end.
	starts, total := e.pushWords(fields+1), 0
	for c := e.cursor(m, p); ; total++ {
		if more, _ := c.step(); !more {
			break
		}
		starts[x.rank(c.f)+1]++
	}
	for i := range fields {
		starts[i+1] += starts[i]
	}
	x.at = e.pushWords(total)
	c := e.cursor(m, p)
	for {
		if more, _ := c.step(); !more {
			break
		}
		r := x.rank(c.f)
		x.at[starts[r]] = uint32(c.at)
		starts[r]++
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
func (x *index) of(f *field) []uint32 {
	if x.present[f.index>>6]>>(f.index&63)&1 == 0 {
		return nil
	}
	r, start := x.rank(f), uint32(0)
	if r > 0 {
		start = x.ends[r-1]
	}
	return x.at[start:x.ends[r]]
}

// fields calls yield with the fields that are present, in the order of the descriptor.
func (x *index) fields(m *Message, yield func(*field, []uint32) error) error {
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
