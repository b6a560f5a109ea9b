package transcode

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
)

// AppendJSON appends the JSON of a message to dst. In an error case dst is returned as
// it was.
func (m *Message) AppendJSON(dst, wire []byte, o *EncodeOptions) ([]byte, error) {
	return encode(dst, wire, o, m, func(e *encoder) error {
		_, err := e.message(m, 0, len(wire), 0)
		return err
	})
}

// An encoder appends the JSON of one message. It first walks over the wire as if each
// field were there once, lists and maps in one piece, and nothing were wrong. If that
// is not so, it starts again, carefully: each message is looked through before it is
// written, and one whose parts are scattered is written from an index of them. So what
// a peer sends is walked over twice at most, however it has nested the splits; and
// what a later occurrence replaces is not an error, as in a parser that keeps the last.
type encoder struct {
	wire []byte
	out  []byte

	limit    int // of len(out)
	indent   string
	defaults bool // write fields that are not set: those without presence,
	nulls    bool // and those with presence
	ordered  bool // by the descriptor, maps by key
	numbers  bool // for enums
	protoKey bool // names as in the .proto file

	careful bool
	depth   int // of messages that are open
	level   int // of indentation
	inAny   int // required fields of a message in an Any may be missing

	flags   []uint64          // stack of sets of fields, for messages with many
	words   []uint32          // stack of the words of small indexes
	bytes   []byte            // stack of their distances
	choices []choice          // stack of the oneofs of indexes
	pairs   []pair            // stack of the entries of maps
	members []member          // stack of the members of objects, if they are ordered
	moved   []byte            // their bytes, while they are being put into order
	ends    map[uint32]uint32 // of long groups, see skipGroup
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

// maxWire is how long a message can be: positions in it are of 32 bits. Protobuf's own
// limit is 2 GiB.
const maxWire = math.MaxInt32

// errScattered ends the first, careless walk.
var errScattered = errors.New("fields are scattered")

// A fault is what is wrong at some place of the wire. Where message and field are
// known, it becomes a [WireError].
type fault string

func (f fault) Error() string { return string(f) }

const (
	errTruncated fault = "the message ends in the middle of a value"
	errVarint    fault = "a varint has more than 64 bits"
	errTag       fault = "a tag has no valid field number or wire type"
	errGroup     fault = "a group ends that has not begun"
	errUTF8      fault = "a string is not UTF-8"
	errDepth     fault = "messages are nested too deep"
	errRequired  fault = "it is required, and not set"
)

// encode walks with append over wire, and carefully once more if the first walk fails.
func encode(dst, wire []byte, o *EncodeOptions, m *Message, walk func(*encoder) error) ([]byte, error) {
	if len(wire) > maxWire {
		return dst, &WireError{Message: string(m.desc.FullName()), Reason: "it is larger than 2 GiB"}
	}
	if strings.Trim(o.Indent, " \t") != "" {
		return dst, errors.New("JSON: an indent may have spaces and tabs only")
	}
	e := encoders.Get().(*encoder)
	e.wire, e.limit, e.indent = wire, math.MaxInt, o.Indent
	if o.MaxOutput > 0 {
		e.limit = len(dst) + o.MaxOutput
	}
	e.defaults, e.nulls = o.EmitDefaults || o.EmitUnpopulated, o.EmitUnpopulated
	e.ordered, e.numbers, e.protoKey = o.Deterministic, o.EnumNumbers, o.ProtoNames
	var err error
	for _, e.careful = range [...]bool{false, true} {
		e.out, e.depth, e.level, e.inAny = dst, 0, 0, 0
		e.free(mark{})
		e.pairs, e.members = e.pairs[:0], e.members[:0]
		if err = walk(e); err == nil && len(e.out) > e.limit {
			err = ErrTooLarge
		}
		if err == nil {
			dst = e.out
			break
		}
	}
	e.release()
	if err != nil {
		return dst, wireError(m, nil, err)
	}
	return dst, nil
}

// release gives the encoder back, without what is large or the caller's.
func (e *encoder) release() {
	const keep = 1024
	e.wire, e.out, e.ends = nil, nil, nil
	if cap(e.flags) > keep {
		e.flags = nil
	}
	if cap(e.choices) > keep {
		e.choices = nil
	}
	if cap(e.pairs) > keep {
		e.pairs = nil
	}
	if cap(e.members) > keep {
		e.members = nil
	}
	if cap(e.moved) > 64*keep {
		e.moved = nil
	}
	encoders.Put(e)
}

// wireError says where in the schema an error is, if that is not yet known.
func wireError(m *Message, f *field, err error) error {
	if err == ErrTooLarge {
		return fmt.Errorf("JSON of %s: %w", m.desc.FullName(), ErrTooLarge)
	}
	reason, ok := err.(fault)
	if !ok {
		return err
	}
	e := &WireError{Message: string(m.desc.FullName()), Reason: string(reason)}
	if f != nil {
		e.Field = string(f.desc.Name())
	}
	return e
}

// message appends a message, which begins at i, and returns where it ends: at end, or,
// if it is a group of that number, after its end tag.
func (e *encoder) message(m *Message, i, end int, group protowire.Number) (int, error) {
	if m.wkt != notWellKnown && m.wkt != wktEmpty {
		return e.special(m, parts{one: span{i, end, group}})
	}
	e.open('{')
	i, err := e.object(m, i, end, group)
	e.close('}')
	return i, err
}

// enter counts a level of nesting. The caller takes it back by decreasing depth.
func (e *encoder) enter(m *Message) error {
	m.compile()
	if m.messageSet {
		return wireError(m, nil, fault("JSON has no form for MessageSets"))
	}
	if e.depth >= MaxDepth {
		return wireError(m, nil, errDepth)
	}
	e.depth++
	return nil
}

// object appends the fields of a message that is no well-known type, without braces.
func (e *encoder) object(m *Message, i, end int, group protowire.Number) (int, error) {
	if err := e.enter(m); err != nil {
		return 0, err
	}
	if e.careful {
		p := parts{one: span{i, end, group}}
		next, regular, err := e.regular(m, p)
		if err != nil {
			return 0, err
		}
		if !regular {
			err := e.scattered(m, p)
			e.depth--
			return next, err
		}
	}
	var set [4]uint64
	seen := set[:]
	if len(m.fields) > 64*len(set) {
		seen = e.pushFlags(len(m.fields))
	}
	i, err := e.fields(m, i, end, group, seen)
	if len(m.fields) > 64*len(set) {
		e.flags = e.flags[:len(e.flags)-len(seen)]
	}
	e.depth--
	return i, err
}

// pushFlags returns an empty set for n fields.
func (e *encoder) pushFlags(n int) []uint64 {
	old, n := len(e.flags), (n+63)/64
	for range n {
		e.flags = append(e.flags, 0)
	}
	return e.flags[old:]
}

// fields appends fields as they come, each at most once.
func (e *encoder) fields(m *Message, i, end int, group protowire.Number, seen []uint64) (int, error) {
	required, base := 0, len(e.members)
	for i < end {
		tag, j := e.varintIn(i, end)
		f := m.find(tag)
		if j < 0 || f == nil {
			if j > 0 && group != 0 && tag == protowire.EncodeTag(group, protowire.EndGroupType) {
				i, group = j, 0
				break
			}
			next, err := e.skipField(i, end)
			if err != nil {
				return 0, wireError(m, nil, err)
			}
			i = next
			continue
		}
		bit := uint64(1) << (f.slot & 63)
		if seen[f.slot>>6]&bit != 0 {
			return 0, errScattered
		}
		seen[f.slot>>6] |= bit
		if f.required {
			required++
		}
		begin := len(e.out)
		var err error
		switch {
		case f.key != nil:
			e.key(f)
			i, err = e.mapRun(f, i, end)
			e.out = append(e.out, ',')
		case f.list:
			i, err = e.listField(f, i, end)
		default:
			i, err = e.singular(f, j, end)
		}
		if err != nil {
			return 0, wireError(m, f, err)
		}
		if len(e.out) > e.limit {
			return 0, ErrTooLarge
		}
		if e.ordered {
			e.members = append(e.members, member{f.index, begin, len(e.out)})
		}
	}
	if group != 0 {
		return 0, wireError(m, nil, errTruncated)
	}
	if required < len(m.required) && e.inAny == 0 {
		for _, f := range m.required {
			if !has(seen, f) {
				return 0, wireError(m, f, errRequired)
			}
		}
	}
	if e.defaults {
		for _, f := range m.fields[:m.declared] {
			if !has(seen, f) {
				begin := len(e.out)
				e.absent(f)
				if e.ordered {
					e.members = append(e.members, member{f.index, begin, len(e.out)})
				}
			}
		}
	}
	if e.ordered {
		e.order(base)
	}
	return i, nil
}

// has tells whether a field, or another member of its oneof, is in a set.
func has(seen []uint64, f *field) bool { return seen[f.slot>>6]>>(f.slot&63)&1 != 0 }

// absent appends a field that is not set, if the options say so.
func (e *encoder) absent(f *field) {
	if f.ifUnset == unsetDefault || f.ifUnset == unsetNull && e.nulls {
		e.key(f)
		e.unset(f)
		e.out = append(e.out, ',')
	}
}

// A member is one of an object that was written: which field it is, and where it
// stands in the output.
type member struct{ index, begin, end int }

// order puts the members of an object, those on the stack from base on, into the order
// of the descriptor, and takes them from the stack.
func (e *encoder) order(base int) {
	byIndex := func(a, b member) int { return cmp.Compare(a.index, b.index) }
	if members := e.members[base:]; !slices.IsSortedFunc(members, byIndex) {
		first := members[0].begin
		e.moved = append(e.moved[:0], e.out[first:]...)
		e.out = e.out[:first]
		slices.SortFunc(members, byIndex)
		for _, m := range members {
			e.out = append(e.out, e.moved[m.begin-first:m.end-first]...)
		}
	}
	e.members = e.members[:base]
}
