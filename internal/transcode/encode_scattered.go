package transcode

import "google.golang.org/protobuf/encoding/protowire"

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
			if at := x.of(f); at.none() {
				return wireError(m, f, errRequired)
			}
		}
	}
	chosen, err := e.oneofs(m, &x)
	if err != nil {
		return err
	}
	last := -1
	err = x.fields(m, func(f *field, at places) error {
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
	f   *field
	at  places
	not uint32 // the last one of another member
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
	_ = x.fields(m, func(f *field, at places) error {
		if f.oneof == 0 {
			return nil
		}
		c := &chosen[f.oneof-1]
		if c.f == nil || at.last > c.at.last {
			*c = choice{f: f, at: at, not: c.at.last}
		} else {
			c.not = max(c.not, at.last)
		}
		return nil
	})
	return chosen, x.fields(m, func(f *field, at places) error {
		if f.oneof == 0 {
			return nil
		}
		c := &chosen[f.oneof-1]
		for !at.none() {
			from := at
			tag := at.take()
			if c.f == f && tag >= c.not {
				c.at = from
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
func (e *encoder) memberOf(f *field, at places) error {
	if !f.list && f.key == nil && !f.presence && !e.defaults {
		if zero, err := e.isZero(f, at.last); err != nil || zero {
			return e.checkAll(f, at, err)
		}
	}
	before := len(e.out)
	e.key(f)
	value := len(e.out)
	if err := e.gathered(f, at); err != nil {
		return err
	}
	if f.list && !e.showsEmpty(f) && string(e.out[value:]) == "[]" {
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
func (e *encoder) gathered(f *field, at places) error {
	switch {
	case f.key != nil:
		base, keys := len(e.pairs), 0
		for at := at; !at.none(); {
			if s := e.span(at.take()); s.end-s.i >= 2 {
				keys++
			}
		}
		e.growPairs(keys)
		for !at.none() {
			_, i := e.varint(int(at.take()), len(e.wire))
			if _, err := e.addEntry(f, base, i, len(e.wire)); err != nil {
				return err
			}
		}
		return e.entries(f, base)
	case f.list:
		e.open('[')
		for !at.none() {
			tag, i := e.varint(int(at.take()), len(e.wire))
			if _, err := e.elements(f, tag, i, len(e.wire)); err != nil {
				return err
			}
		}
		e.close(']')
		return nil
	}
	whole := at
	tag := at.take()
	if f.message != nil && !at.none() {
		return e.merged(f.message, whole)
	}
	for ; !at.none(); tag = at.take() {
		if err := e.check(f, tag); err != nil {
			return err
		}
	}
	_, i := e.varint(int(tag), len(e.wire))
	_, err := e.value(f, i, len(e.wire))
	return err
}

// merged appends a message of many parts.
func (e *encoder) merged(m *Message, at places) error {
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
