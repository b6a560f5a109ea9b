package transcode

import (
	"math/bits"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// parts are where a message stands in the wire: in one place, or in several, which are
// then merged. Of these the tags are known.
type parts struct {
	one span
	at  []uint32
}

// span returns the part whose tag is at a place where a walk has been before.
func (e *encoder) span(at uint32) span {
	tag, i := e.varint(int(at), len(e.wire))
	if protowire.Type(tag&7) == protowire.StartGroupType {
		return span{i, len(e.wire), protowire.Number(tag >> 3)}
	}
	i, end, _ := e.prefixed(i, len(e.wire))
	return span{i, end, 0}
}

// A cursor goes over the fields of a message that its plan knows, through all parts.
type cursor struct {
	e    *encoder
	m    *Message
	span          // what is left of this part; when all is read, i is its end
	more []uint32 // parts

	f         *field // what step has found
	tag       uint64
	at, value int // its tag and its value
}

func (e *encoder) cursor(m *Message, p parts) cursor {
	m.compile()
	c := cursor{e: e, m: m, span: p.one, more: p.at}
	if len(p.at) > 0 {
		c.span, c.more = e.span(p.at[0]), p.at[1:]
	}
	return c
}

// step goes on to the next field, and says whether there is one.
func (c *cursor) step() (bool, error) {
	for {
		for c.i < c.end {
			tag, j := c.e.varintIn(c.i, c.end)
			f := c.m.find(tag)
			if f == nil && c.group != 0 && tag == protowire.EncodeTag(c.group, protowire.EndGroupType) {
				c.i, c.end, c.group = j, j, 0
				break
			}
			next, err := c.e.skipField(c.i, c.end)
			if err != nil {
				return false, wireError(c.m, f, err)
			}
			at := c.i
			c.i = next
			if f != nil {
				c.f, c.tag, c.at, c.value = f, tag, at, j
				return true, nil
			}
		}
		if c.group != 0 {
			return false, wireError(c.m, nil, errTruncated)
		}
		if len(c.more) == 0 {
			return false, nil
		}
		c.span, c.more = c.e.span(c.more[0]), c.more[1:]
	}
}

// regular tells whether [encoder.fields] can write a message, and returns where it ends.
func (e *encoder) regular(m *Message, p parts) (next int, regular bool, err error) {
	c := e.cursor(m, p)
	seen := e.pushFlags(len(m.fields))
	regular = true
	var last *field
	end := 0 // of last
	for {
		more, err := c.step()
		if !more || err != nil {
			e.flags = e.flags[:len(e.flags)-len(seen)]
			return c.i, regular, err
		}
		run := c.f == last && c.at == end && (c.f.list || c.f.key != nil)
		if word, bit := &seen[c.f.slot>>6], uint64(1)<<(c.f.slot&63); !run {
			if *word&bit != 0 {
				regular = false // but the end is to be found
			}
			*word |= bit
		}
		last, end = c.f, c.i
	}
}

// An index says where the occurrences of each field of a message are. It has four bytes
// for each, which has at least two bytes itself: so the indexes of all messages that are
// open at a time have at most twice the size of the wire.
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

// scattered appends the fields of a message from an index of them, without braces, in
// the order of the descriptor.
func (e *encoder) scattered(m *Message, p parts) error {
	stacks := e.mark()
	defer e.free(stacks)
	x, err := e.index(m, p)
	if err != nil {
		return err
	}
	if e.inAny == 0 {
		for _, f := range m.required {
			if x.of(f) == nil {
				return wireError(m, f, errRequired)
			}
		}
	}
	chosen, err := e.oneofs(m, &x)
	if err != nil {
		return err
	}
	last := -1
	err = x.fields(m, func(f *field, at []uint32) error {
		if f.oneof != 0 {
			if c := chosen[f.oneof-1]; c.f != f {
				return nil
			} else {
				at = c.at
			}
		}
		e.absentBetween(m, last+1, f.index)
		last = f.index
		if err := e.memberOf(f, at); err != nil {
			return wireError(m, f, err)
		}
		if len(e.out) > e.limit {
			return ErrTooLarge
		}
		return nil
	})
	if err == nil {
		e.absentBetween(m, last+1, m.declared)
	}
	return err
}

// absentBetween appends fields that are not set, those from one index to another.
func (e *encoder) absentBetween(m *Message, from, to int) {
	for to = min(to, m.declared); e.defaults && from < to; from++ {
		e.absent(m.fields[from])
	}
}

// A choice is the member of a oneof that came last, and its occurrences after that of
// any other member: another one clears it.
type choice struct {
	f    *field
	at   []uint32
	last uint32 // occurrence
	not  uint32 // the last one of another member
}

// oneofs makes the choices of a message, and checks what was not chosen.
func (e *encoder) oneofs(m *Message, x *index) ([]choice, error) {
	if m.oneofs == 0 {
		return nil, nil
	}
	old := len(e.choices)
	for range m.oneofs {
		e.choices = append(e.choices, choice{})
	}
	chosen := e.choices[old:]
	_ = x.fields(m, func(f *field, at []uint32) error {
		if f.oneof == 0 {
			return nil
		}
		c, last := &chosen[f.oneof-1], at[len(at)-1]
		if c.f == nil || last > c.last {
			*c = choice{f: f, at: at, last: last, not: c.last}
		} else {
			c.not = max(c.not, last)
		}
		return nil
	})
	return chosen, x.fields(m, func(f *field, at []uint32) error {
		if f.oneof == 0 {
			return nil
		}
		c := &chosen[f.oneof-1]
		for i, tag := range at {
			if c.f == f && tag >= c.not {
				c.at = at[i:]
				break
			}
			if err := e.check(f, tag); err != nil {
				return wireError(m, f, err)
			}
		}
		return nil
	})
}

// memberOf appends a field from its occurrences.
func (e *encoder) memberOf(f *field, at []uint32) error {
	if !f.list && f.key == nil && !f.presence && !e.defaults {
		if zero, err := e.isZero(f, at[len(at)-1]); err != nil || zero {
			return e.checkAll(f, at, err)
		}
	}
	before := len(e.out)
	e.key(f)
	value := len(e.out)
	if err := e.gathered(f, at); err != nil {
		return err
	}
	if f.list && !e.defaults && string(e.out[value:]) == "[]" {
		e.out = e.out[:before]
		return nil
	}
	e.out = append(e.out, ',')
	return nil
}

// isZero tells whether the value whose tag is at a place is that of a field not set.
func (e *encoder) isZero(f *field, at uint32) (bool, error) {
	_, i := e.varint(int(at), len(e.wire))
	if f.wire == protowire.BytesType {
		i, j, err := e.prefixed(i, len(e.wire))
		return i == j, err
	}
	x, _, err := e.number(f.wire, i, len(e.wire))
	return x&f.significant == 0, err
}

// gathered appends the value of a field from its occurrences, which are at least one.
func (e *encoder) gathered(f *field, at []uint32) error {
	switch {
	case f.key != nil:
		base, keys := len(e.pairs), 0
		for _, tag := range at {
			if s := e.span(tag); s.end-s.i >= 2 {
				keys++
			}
		}
		e.growPairs(keys)
		for _, tag := range at {
			_, i := e.varint(int(tag), len(e.wire))
			if _, err := e.addEntry(f, base, i, len(e.wire)); err != nil {
				return err
			}
		}
		return e.entries(f, base)
	case f.list:
		e.open('[')
		for _, at := range at {
			tag, i := e.varint(int(at), len(e.wire))
			if _, err := e.elements(f, tag, i, len(e.wire)); err != nil {
				return err
			}
		}
		e.close(']')
		return nil
	case f.message != nil && len(at) > 1:
		return e.merged(f.message, at)
	}
	last := len(at) - 1
	if err := e.checkAll(f, at[:last], nil); err != nil {
		return err
	}
	_, i := e.varint(int(at[last]), len(e.wire))
	_, err := e.value(f, i, len(e.wire))
	return err
}

// merged appends a message of many parts.
func (e *encoder) merged(m *Message, at []uint32) error {
	if m.wkt != notWellKnown && m.wkt != wktEmpty {
		_, err := e.special(m, parts{at: at})
		return err
	}
	if err := e.enter(m); err != nil {
		return err
	}
	e.open('{')
	err := e.scattered(m, parts{at: at})
	e.close('}')
	e.depth--
	return err
}

// checkAll checks occurrences of a field that count no more, if there is no error yet.
func (e *encoder) checkAll(f *field, at []uint32, err error) error {
	for i := 0; i < len(at) && err == nil; i++ {
		err = e.check(f, at[i])
	}
	return err
}

// check reads an occurrence of a field that counts no more, since another one came
// later. It must be well-formed all the same.
func (e *encoder) check(f *field, at uint32) error {
	tag, i := e.varint(int(at), len(e.wire))
	switch {
	case f.key != nil:
		return e.checkEntry(f, pair{0, uint32(i)})
	case f.message != nil:
		return e.checkMessage(f.message, e.span(at))
	case protowire.Type(tag&7) != protowire.BytesType:
		return nil // the walk that has found it has read it
	}
	i, end, err := e.prefixed(i, len(e.wire))
	if f.kind == protoreflect.StringKind && f.utf8 && !validUTF8(e.wire[i:end]) {
		return errUTF8
	}
	if f.wire != protowire.BytesType { // packed
		for i < end && err == nil {
			_, i, err = e.number(f.wire, i, end)
		}
	}
	return err
}

func (e *encoder) checkEntry(f *field, p pair) error {
	i, end, err := e.prefixed(int(p.entry&^plain), len(e.wire))
	if err != nil {
		return err
	}
	return e.checkFields(f.entry, span{i, end, 0})
}

func (e *encoder) checkMessage(m *Message, s span) error {
	if err := e.enter(m); err != nil {
		return err
	}
	err := e.checkFields(m, s)
	e.depth--
	return err
}

func (e *encoder) checkFields(m *Message, s span) error {
	c := e.cursor(m, parts{one: s})
	for {
		more, err := c.step()
		if !more || err != nil {
			return err
		}
		if err := e.check(c.f, uint32(c.at)); err != nil {
			return wireError(m, c.f, err)
		}
	}
}
