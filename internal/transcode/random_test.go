package transcode

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// testTypes are the message types that random messages are made of.
var testTypes = []protoreflect.FullName{
	"sluice.test.p3.Scalars", "sluice.test.p3.Optionals", "sluice.test.p3.Lists", "sluice.test.p3.Maps",
	"sluice.test.p3.Oneofs", "sluice.test.p3.Tree", "sluice.test.p3.WellKnown", "sluice.test.p3.WellKnownLists",
	"sluice.test.p3.Names", "sluice.test.p3.Empty", "sluice.test.p2.All", "sluice.test.p2.Required",
	"sluice.test.p2.Scope", "sluice.test.p2.Backwards", "sluice.test.ed.Mix", "sluice.test.ed.Strict",
	"sluice.test.shop.Order", "sluice.test.wide.Wide", "google.protobuf.Any", "google.protobuf.Timestamp",
	"google.protobuf.Duration", "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue",
	"google.protobuf.FieldMask", "google.protobuf.Empty", "google.protobuf.DoubleValue", "google.protobuf.StringValue",
}

// A generator makes random valid messages.
type generator struct {
	*rand.Rand
	types *Types
	depth int
	left  int // how many more fields may be set, about
}

func newGenerator(types *Types, seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 0)), types: types}
}

// one tells in one of n cases that something happens.
func (g *generator) one(n int) bool { return g.IntN(n) == 0 }

// message makes a message of a type of testdata.
func (g *generator) message(t testing.TB, name protoreflect.FullName) *dynamicpb.Message {
	g.left = 10 + g.IntN(60)
	return g.fill(dynamicpb.NewMessage(testMessage(t, g.types, name).desc))
}

func (g *generator) fill(m *dynamicpb.Message) *dynamicpb.Message {
	g.depth++
	defer func() { g.depth-- }()
	md := m.Descriptor()
	fields := md.Fields()
	switch md.FullName() {
	case "google.protobuf.Any":
		g.fillAny(m)
		return m
	case "google.protobuf.Timestamp":
		seconds := []int64{0, -62135596800, 253402300799, g.Int64N(253402300799), -g.Int64N(62135596800)}[g.IntN(5)]
		m.Set(fields.ByNumber(1), protoreflect.ValueOfInt64(seconds))
		m.Set(fields.ByNumber(2), protoreflect.ValueOfInt32(g.nanos()))
		return m
	case "google.protobuf.Duration":
		sign := int64(1 - 2*g.IntN(2))
		seconds := []int64{0, 315576000000, g.Int64N(315576000000), g.Int64N(10)}[g.IntN(4)]
		m.Set(fields.ByNumber(1), protoreflect.ValueOfInt64(sign*seconds))
		m.Set(fields.ByNumber(2), protoreflect.ValueOfInt32(int32(sign)*g.nanos()))
		return m
	case "google.protobuf.FieldMask":
		paths := m.Mutable(fields.ByNumber(1)).List()
		for range g.IntN(4) {
			paths.Append(protoreflect.ValueOfString([]string{"a", "foo_bar", "foo_bar.b_az.x1", "a0_b"}[g.IntN(4)]))
		}
		return m
	case "google.protobuf.Value":
		n := protoreflect.FieldNumber(1 + g.IntN(6))
		if g.depth > 6 || g.left < 0 {
			n = protoreflect.FieldNumber(1 + g.IntN(4))
		}
		if n == 2 {
			m.Set(fields.ByNumber(n), protoreflect.ValueOfFloat64(g.NormFloat64()*1e6))
		} else {
			m.Set(fields.ByNumber(n), g.value(m.NewField(fields.ByNumber(n)), fields.ByNumber(n)))
		}
		return m
	}
	few := min(fields.Len(), 6)
	for range g.IntN(2+2*few) * min(few, 1) {
		g.set(m, fields.Get(g.IntN(fields.Len())))
	}
	for _, xd := range g.types.extensionsOf(md.FullName()) {
		if g.one(6) {
			g.set(m, dynamicpb.NewExtensionType(xd).TypeDescriptor())
		}
	}
	for i := range fields.Len() {
		if fd := fields.Get(i); fd.Cardinality() == protoreflect.Required && !m.Has(fd) {
			g.set(m, fd)
		}
	}
	return m
}

// deep is the depth from where on messages are left out where they can be.
const deep = 5

func (g *generator) set(m *dynamicpb.Message, fd protoreflect.FieldDescriptor) {
	g.left--
	if (g.depth > deep || g.left < 0) && fd.Message() != nil && fd.Cardinality() != protoreflect.Required {
		return
	}
	switch {
	case fd.IsList():
		list := m.Mutable(fd).List()
		for range g.size() {
			list.Append(g.value(list.NewElement(), fd))
		}
	case fd.IsMap():
		mv := m.Mutable(fd).Map()
		for range g.size() {
			key := g.value(fd.MapKey().Default(), fd.MapKey())
			mv.Set(key.MapKey(), g.value(mv.NewValue(), fd.MapValue()))
		}
	default:
		m.Set(fd, g.value(m.NewField(fd), fd))
	}
}

// size is a number of elements: small, and now and then not.
func (g *generator) size() int {
	n := g.IntN(4)
	if g.depth < 3 && g.one(30) {
		n = g.IntN(60)
	}
	g.left -= n
	return n
}

func (g *generator) nanos() int32 {
	return []int32{0, 999999999, 1, 120000000, 120300000, 1000 * g.Int32N(1e6), g.Int32N(1e9)}[g.IntN(7)]
}

func (g *generator) fillAny(m *dynamicpb.Message) {
	if g.one(8) || g.depth > deep || g.left < 0 {
		return
	}
	name := testTypes[g.IntN(len(testTypes))]
	d, _ := g.types.files.FindDescriptorByName(name)
	in := g.fill(dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor)))
	wire, err := proto.MarshalOptions{AllowPartial: true}.Marshal(in)
	if err != nil {
		panic(err)
	}
	prefix := []string{"type.googleapis.com/", "", "a/b/c/", "/"}[g.IntN(4)]
	m.Set(m.Descriptor().Fields().ByNumber(1), protoreflect.ValueOfString(prefix+string(name)))
	m.Set(m.Descriptor().Fields().ByNumber(2), protoreflect.ValueOfBytes(wire))
}

// value makes a value for one element; zero is its type's.
func (g *generator) value(zero protoreflect.Value, fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(g.one(2))
	case protoreflect.EnumKind:
		values := fd.Enum().Values()
		if g.one(10) {
			return protoreflect.ValueOfEnum(protoreflect.EnumNumber(g.Int32()))
		}
		return protoreflect.ValueOfEnum(values.Get(g.IntN(values.Len())).Number())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(g.integer()))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(g.integer()))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(int64(g.integer()))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(g.integer())
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(g.float(math.Float64frombits(g.Uint64()))))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(g.float(math.Float64frombits(g.Uint64())))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(g.text())
	case protoreflect.BytesKind:
		b := make([]byte, g.IntN(10))
		for i := range b {
			b[i] = byte(g.Uint32())
		}
		return protoreflect.ValueOfBytes(b)
	}
	return protoreflect.ValueOfMessage(g.fill(zero.Message().Interface().(*dynamicpb.Message)))
}

func (g *generator) integer() uint64 {
	switch g.IntN(4) {
	case 0:
		return uint64(g.IntN(4))
	case 1:
		return -uint64(g.IntN(4))
	case 2:
		return []uint64{math.MaxInt32, 1 << 31, math.MaxUint32, math.MaxInt64, 1 << 63, math.MaxUint64}[g.IntN(6)]
	}
	return g.Uint64() >> g.IntN(64)
}

func (g *generator) float(any float64) float64 {
	switch g.IntN(4) {
	case 0:
		return any
	case 1:
		return float64(g.IntN(100000)) / []float64{1, 10, 100, 1000, 8}[g.IntN(5)]
	case 2:
		return []float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), 1e-6, 9.99e-7, 1e21, 9.99e20,
			5e-324, math.MaxFloat64, math.MaxFloat32, 1 << 53, 1e15, 123456789012345678, 16777217, 1e-7, 0.1}[g.IntN(18)]
	}
	return g.NormFloat64() * math.Pow10(g.IntN(50)-25)
}

func (g *generator) text() string {
	pieces := []string{"plain", "a", "\"quoted\"", "\\", "\n\r\t\b\f", "\x00\x1f", "äöü€", "𝄞", "\u2028", "\x7f", "<&>", "\ufffd", "0123456789abcdef"}
	var b strings.Builder
	for range g.IntN(4) {
		b.WriteString(pieces[g.IntN(len(pieces))])
	}
	return b.String()
}

// mutate writes the fields of a message in another way that is allowed: in another
// order, twice, split into parts, with lists packed or not, with unknown fields and with
// long varints; most of the time to the same effect, but not always.
func (g *generator) mutate(md protoreflect.MessageDescriptor, wire []byte) []byte {
	var fields [][]byte
	add := func(b []byte) { fields = append(fields, b) }
	for len(wire) > 0 {
		number, typ, n := protowire.ConsumeTag(wire)
		m := protowire.ConsumeFieldValue(number, typ, wire[n:])
		if n < 0 || m < 0 {
			panic("mutate: the wire is not valid")
		}
		whole, value := wire[:n+m], wire[n:n+m]
		wire = wire[n+m:]
		f := g.types.Message(md)
		f.compile()
		fd := f.byNumber[number]
		switch {
		case fd == nil:
			add(whole)
		case typ == protowire.BytesType && (fd.message != nil || fd.entry != nil):
			inner, _ := protowire.ConsumeBytes(value)
			in := fd.entry
			if in == nil {
				in = fd.message
			}
			changed := g.mutate(in.desc, inner)
			if fd.message != nil && !fd.list && g.one(3) {
				for _, part := range g.split(changed) {
					add(protowire.AppendBytes(protowire.AppendTag(nil, number, typ), part))
				}
			} else {
				add(protowire.AppendBytes(protowire.AppendTag(nil, number, typ), changed))
			}
		case typ == protowire.StartGroupType:
			inner, _ := protowire.ConsumeGroup(number, value)
			parts := [][]byte{g.mutate(fd.message.desc, inner)}
			if !fd.list && g.one(3) {
				parts = g.split(parts[0])
			}
			for _, part := range parts {
				add(protowire.AppendGroup(protowire.AppendTag(nil, number, typ), number, part))
			}
		case typ == protowire.BytesType && fd.list && fd.wire != protowire.BytesType && g.one(2): // unpack
			packed, _ := protowire.ConsumeBytes(value)
			for len(packed) > 0 {
				n := protowire.ConsumeFieldValue(1, fd.wire, packed)
				add(append(protowire.AppendTag(nil, number, fd.wire), packed[:n]...))
				packed = packed[n:]
			}
		default:
			add(whole)
		}
	}
	for i, f := range fields {
		switch g.IntN(24) {
		case 0:
			j := g.IntN(len(fields))
			fields[i], fields[j] = fields[j], fields[i]
		case 1:
			add(f)
		case 2: // what no descriptor has
			number := protowire.Number(90000 + g.IntN(10))
			unknown := protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), g.integer())
			unknown = protowire.AppendGroup(protowire.AppendTag(unknown, number, protowire.StartGroupType), number, f)
			fields[i] = append(unknown, f...)
		case 3: // another type than the descriptor has
			number, _, _ := protowire.ConsumeTag(f)
			fields[i] = protowire.AppendFixed64(protowire.AppendTag(nil, number, protowire.Fixed64Type), g.Uint64())
		case 4: // a tag longer than it need be
			number, typ, n := protowire.ConsumeTag(f)
			tag := protowire.AppendTag(nil, number, typ)
			tag[len(tag)-1] |= 0x80
			fields[i] = append(append(tag, 0), f[n:]...)
		}
	}
	if m := g.types.Message(md); g.one(4) && md.Fields().Len() > 0 { // a zero or an empty list, which need not be there
		m.compile()
		f := m.fields[g.IntN(len(m.fields))]
		zero := map[protowire.Type][]byte{protowire.VarintType: {0}, protowire.BytesType: {0},
			protowire.Fixed32Type: make([]byte, 4), protowire.Fixed64Type: make([]byte, 8)}[protowire.Type(f.tag&7)]
		if zero != nil {
			fields = append(fields, append(protowire.AppendVarint(nil, f.tag), zero...))
		}
	}
	if g.one(8) {
		g.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	}
	var out []byte
	for _, f := range fields {
		out = append(out, f...)
	}
	return out
}

// split cuts a message into two or three parts between its fields.
func (g *generator) split(wire []byte) [][]byte {
	var parts [][]byte
	for len(parts) < 2 {
		n := 0
		for n < len(wire) && !g.one(3) {
			_, _, m := protowire.ConsumeField(wire[n:])
			n += m
		}
		parts = append(parts, wire[:n])
		wire = wire[n:]
	}
	return append(parts, wire)
}

// corrupt changes some bytes.
func (g *generator) corrupt(wire []byte) []byte {
	wire = append([]byte(nil), wire...)
	for range 1 + g.IntN(3) {
		if len(wire) == 0 {
			return wire
		}
		i := g.IntN(len(wire))
		switch g.IntN(4) {
		case 0:
			wire[i] = byte(g.Uint32())
		case 1:
			wire[i] ^= 1 << g.IntN(8)
		case 2:
			wire = wire[:i]
		case 3:
			wire = append(wire[:i], wire[i+1:]...)
		}
	}
	return wire
}
