package transcode

import (
	"bytes"
	"cmp"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A pair is an entry of a map: where in the wire its key is, 0 if it has none, and
// where the entry is, with its length. Nearly always an entry is a key and a value: then
// it is plain, and nothing in it is looked for again.
type pair struct{ key, entry uint32 }

// plain is a bit of entry that positions don't need, see maxWire.
const plain = 1 << 31

// fewEntries is up to how many entries each key is looked for among those before it.
// Of more, the keys are sorted.
const fewEntries = 16

// mapRun appends a map, whose first tag is at i, up to the first tag of another field.
func (e *encoder) mapRun(f *field, i, end int) (int, error) {
	base := len(e.pairs)
	for i < end {
		tag, j := e.varintIn(i, end)
		if j < 0 || tag != f.tag {
			break // who reads on finds what is wrong
		}
		if len(e.pairs) == cap(e.pairs) {
			e.growPairs(e.entriesAhead(f, i, end))
		}
		var err error
		if i, err = e.addEntry(f, base, j, end); err != nil {
			return 0, err
		}
	}
	return i, e.entries(f, base)
}

// entriesAhead counts the entries of a run that may have a key.
func (e *encoder) entriesAhead(f *field, i, end int) int {
	n := 0
	for i < end {
		tag, j := e.varintIn(i, end)
		if j < 0 || tag != f.tag {
			break
		}
		begin, after, err := e.prefixed(j, end)
		if err != nil {
			break
		}
		if after-begin >= 2 {
			n++
		}
		i = after
	}
	return n
}

// growPairs makes place for n pairs, and at least for one, so that many of them are not
// copied again and again.
func (e *encoder) growPairs(n int) {
	if free := cap(e.pairs) - len(e.pairs); free == 0 || free < n {
		e.pairs = append(make([]pair, 0, len(e.pairs)+n+fewEntries), e.pairs...)
	}
}

// addEntry puts the entry at i, behind its tag, to those from base on.
func (e *encoder) addEntry(f *field, base, i, end int) (int, error) {
	entry := uint32(i)
	i, end, err := e.prefixed(i, end)
	if err != nil {
		return 0, err
	}
	if e.isPlain(f, i, end) {
		e.pairs = append(e.pairs, pair{uint32(i + 1), entry | plain})
		return end, nil
	}
	key := 0
	for i < end {
		tag, j := e.varintIn(i, end)
		if tag == f.key.tag {
			key = j
		}
		if i, err = e.skipField(i, end); err != nil {
			return 0, err
		}
	}
	if key == 0 { // it is two bytes at least, less than a pair: so only the last one is kept, in front
		if len(e.pairs) > base && e.pairs[base].key == 0 {
			before := e.pairs[base]
			e.pairs[base].entry = entry
			return end, e.checkEntry(f, before)
		}
		e.pairs = slices.Insert(e.pairs, base, pair{0, entry})
		return end, nil
	}
	e.pairs = append(e.pairs, pair{uint32(key), entry})
	return end, nil
}

// isPlain tells whether an entry is a key and a value, and nothing more.
func (e *encoder) isPlain(f *field, i, end int) bool {
	if i >= end || uint64(e.wire[i]) != f.key.tag {
		return false
	}
	i, err := e.skipValue(f.key.tag, i+1, end, e.depth)
	if err != nil || i >= end || uint64(e.wire[i]) != f.value.tag {
		return false
	}
	i, err = e.skipValue(f.value.tag, i+1, end, e.depth)
	return err == nil && i == end
}

// entries appends the pairs from base on as an object, and takes them from the stack.
// Of those with the same key the last one counts.
func (e *encoder) entries(f *field, base int) error {
	ps := e.pairs[base:]
	if e.unsorted(f.key, ps) {
		slices.SortFunc(ps, func(a, b pair) int {
			if c := e.compareKeys(f.key, a.key, b.key); c != 0 {
				return c
			}
			return cmp.Compare(a.entry&^plain, b.entry&^plain)
		})
		unique := ps[:0]
		for i, p := range ps {
			if i+1 < len(ps) && e.compareKeys(f.key, p.key, ps[i+1].key) == 0 {
				if err := e.checkEntry(f, p); err != nil {
					return err
				}
				continue
			}
			unique = append(unique, p)
		}
		ps = unique
	}
	e.open('{')
	for _, p := range ps { // values may hold maps, which go above these on the stack
		if err := e.entry(f, p); err != nil {
			return err
		}
		e.out = append(e.out, ',')
		if len(e.out) > e.limit {
			return ErrTooLarge
		}
	}
	e.close('}')
	e.pairs = e.pairs[:base]
	return nil
}

// unsorted tells whether pairs have to be sorted, for their order or to find those with
// the same key.
func (e *encoder) unsorted(key *field, ps []pair) bool {
	ascending := true
	for i := 1; i < len(ps) && ascending; i++ {
		ascending = e.compareKeys(key, ps[i-1].key, ps[i].key) < 0
	}
	if ascending {
		return false
	}
	if e.ordered || len(ps) > fewEntries {
		return true
	}
	for i := range ps {
		for j := range ps[:i] {
			if e.compareKeys(key, ps[i].key, ps[j].key) == 0 {
				return true
			}
		}
	}
	return false
}

// compareKeys orders the keys at two places: numbers by value, strings by their bytes.
func (e *encoder) compareKeys(key *field, a, b uint32) int {
	if key.wire == protowire.BytesType {
		return bytes.Compare(e.keyString(a), e.keyString(b))
	}
	return cmp.Compare(e.keyNumber(key, a), e.keyNumber(key, b))
}

func (e *encoder) keyString(at uint32) []byte {
	if at == 0 {
		return nil
	}
	i, j, _ := e.prefixed(int(at), len(e.wire)) // without error when it was gathered
	return e.wire[i:j]
}

// keyNumber returns a number that is ordered as the key is.
func (e *encoder) keyNumber(key *field, at uint32) uint64 {
	x := uint64(0)
	if at != 0 {
		x, _, _ = e.number(key.wire, int(at), len(e.wire)) // without error when it was gathered
	}
	const sign = 1 << 63
	switch key.kind {
	case protoreflect.BoolKind:
		return min(x, 1)
	case protoreflect.Int32Kind, protoreflect.Sfixed32Kind:
		return uint64(int64(int32(x))) ^ sign
	case protoreflect.Sint32Kind:
		return uint64(protowire.DecodeZigZag(x&0xffffffff)) ^ sign
	case protoreflect.Uint32Kind:
		return uint64(uint32(x))
	case protoreflect.Int64Kind, protoreflect.Sfixed64Kind:
		return x ^ sign
	case protoreflect.Sint64Kind:
		return uint64(protowire.DecodeZigZag(x)) ^ sign
	}
	return x
}

// entry appends a key and its value.
func (e *encoder) entry(f *field, p pair) error {
	if p.entry&plain != 0 {
		if err := e.mapKey(f.key, p.key); err != nil {
			return err
		}
		i, err := e.skipValue(f.key.tag, int(p.key), len(e.wire), e.depth)
		if err == nil {
			_, err = e.value(f.value, i+1, len(e.wire)) // tags of entries have one byte
		}
		return err
	}
	i, end, err := e.prefixed(int(p.entry), len(e.wire))
	if err != nil {
		return err
	}
	stacks := e.mark()
	defer e.free(stacks)
	x, err := e.index(f.entry, parts{one: span{i, end, 0}})
	if err != nil {
		return err
	}
	keys, values := x.of(f.entry.low[1]), x.of(f.entry.low[2])
	if err := e.checkAll(f.key, keys, nil); err != nil {
		return err
	}
	if values.none() {
		return e.keyOnly(f, p)
	}
	if err := e.mapKey(f.key, p.key); err != nil {
		return err
	}
	return e.gathered(f.value, values)
}

// keyOnly appends an entry without a value.
func (e *encoder) keyOnly(f *field, p pair) error {
	if err := e.mapKey(f.key, p.key); err != nil {
		return err
	}
	if m := f.value.message; m != nil {
		_, err := e.message(m, 0, 0, 0)
		return err
	}
	e.zero(f.value)
	return nil
}

// mapKey begins the member for a key.
func (e *encoder) mapKey(key *field, at uint32) error {
	e.newline()
	switch key.kind {
	case protoreflect.StringKind:
		if err := e.string(e.keyString(at)); err != nil {
			return err
		}
	default:
		x := uint64(0)
		if at != 0 {
			x, _, _ = e.number(key.wire, int(at), len(e.wire)) // without error when it was gathered
		}
		quoted := key.is64
		if !quoted {
			e.out = append(e.out, '"')
		}
		e.scalar(key, x)
		if !quoted {
			e.out = append(e.out, '"')
		}
	}
	e.out = append(e.out, ':')
	e.space()
	return nil
}
