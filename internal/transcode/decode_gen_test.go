package transcode

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// jsonGen writes random JSON for a message type, in all the spellings that are allowed,
// and now and then with a mistake.
type jsonGen struct {
	*rand.Rand
	files      *protoregistry.Files
	messages   []protoreflect.MessageDescriptor // for Any
	extensions map[protoreflect.FullName][]protoreflect.ExtensionDescriptor
	wrong      float64 // how often a value is not the field's
	out        bytes.Buffer
}

func newJSONGen(files *protoregistry.Files, seed uint64) *jsonGen {
	g := &jsonGen{
		Rand: rand.New(rand.NewPCG(seed, 1)), files: files,
		extensions: map[protoreflect.FullName][]protoreflect.ExtensionDescriptor{},
	}
	var walk func(ms protoreflect.MessageDescriptors, xs protoreflect.ExtensionDescriptors)
	walk = func(ms protoreflect.MessageDescriptors, xs protoreflect.ExtensionDescriptors) {
		for i := range xs.Len() {
			name := xs.Get(i).ContainingMessage().FullName()
			g.extensions[name] = append(g.extensions[name], xs.Get(i))
		}
		for i := range ms.Len() {
			if !ms.Get(i).IsMapEntry() {
				g.messages = append(g.messages, ms.Get(i))
			}
			walk(ms.Get(i).Messages(), ms.Get(i).Extensions())
		}
	}
	for _, path := range []string{"proto2.proto", "proto3.proto", "editions.proto", "shop.proto",
		"google/protobuf/any.proto", "google/protobuf/timestamp.proto", "google/protobuf/duration.proto",
		"google/protobuf/struct.proto", "google/protobuf/wrappers.proto", "google/protobuf/field_mask.proto",
		"google/protobuf/empty.proto"} {
		fd, err := files.FindFileByPath(path)
		if err != nil {
			panic(err)
		}
		walk(fd.Messages(), fd.Extensions())
	}
	return g
}

// json returns a new document.
func (g *jsonGen) json(md protoreflect.MessageDescriptor, depth int) []byte {
	g.out.Reset()
	g.message(md, depth)
	return bytes.Clone(g.out.Bytes())
}

func (g *jsonGen) chance(p float64) bool { return g.Float64() < p }

func (g *jsonGen) put(s string) { g.out.WriteString(s) }

func (g *jsonGen) space() {
	if g.chance(0.05) {
		g.put([]string{" ", "\n", "\t", "\r\n", "   "}[g.IntN(5)])
	}
}

// quote writes a string, some of it escaped.
func (g *jsonGen) quote(s string) {
	g.put(`"`)
	all := g.chance(0.05)
	for _, r := range s {
		switch {
		case all && r > 0xFFFF:
			r -= 0x10000
			fmt.Fprintf(&g.out, `\u%04x\u%04X`, 0xD800+r>>10, 0xDC00+r&0x3FF)
		case all || r < ' ' || g.chance(0.002) && r < 0x10000:
			fmt.Fprintf(&g.out, `\u%04x`, r)
		case r == '"' || r == '\\':
			g.put(`\` + string(r))
		case r == '/' && g.chance(0.3):
			g.put(`\/`)
		default:
			g.put(string(r))
		}
	}
	g.put(`"`)
}

// members writes an object.
func (g *jsonGen) members(n int, member func(i int)) {
	g.put("{")
	for i := range n {
		if i > 0 {
			g.put(",")
		}
		g.space()
		member(i)
	}
	g.space()
	g.put("}")
}

func (g *jsonGen) name(s string) {
	g.quote(s)
	g.space()
	g.put(":")
	g.space()
}

func (g *jsonGen) message(md protoreflect.MessageDescriptor, depth int) {
	if g.chance(g.wrong) {
		g.junk(3)
		return
	}
	if g.wellKnown(md, depth) {
		return
	}
	g.put("{")
	g.fields(md, depth, false)
	g.put("}")
}

// fields writes members of a message.
func (g *jsonGen) fields(md protoreflect.MessageDescriptor, depth int, more bool) {
	var fds []protoreflect.FieldDescriptor
	density := []float64{0.1, 0.3, 0.9}[g.IntN(3)]
	if depth <= 0 {
		density = 0.05
	}
	oneofs := map[protoreflect.FullName]bool{}
	add := func(fd protoreflect.FieldDescriptor) {
		if fd.Cardinality() == protoreflect.Required && depth > -3 && !g.chance(g.wrong) {
			fds = append(fds, fd)
			return
		}
		if !g.chance(density) || depth <= 0 && fd.Message() != nil {
			return
		}
		if o := fd.ContainingOneof(); o != nil {
			if oneofs[o.FullName()] && !g.chance(g.wrong) {
				return
			}
			oneofs[o.FullName()] = true
		}
		fds = append(fds, fd)
	}
	for i := range md.Fields().Len() {
		add(md.Fields().Get(i))
	}
	for _, xd := range g.extensions[md.FullName()] {
		add(xd)
	}
	if g.chance(0.3) {
		g.Shuffle(len(fds), func(i, j int) { fds[i], fds[j] = fds[j], fds[i] })
	}
	if len(fds) > 0 && g.chance(g.wrong) {
		fds = append(fds, fds[g.IntN(len(fds))])
	}
	for i, fd := range fds {
		if i > 0 || more {
			g.put(",")
		}
		g.space()
		if g.chance(g.wrong) {
			g.name("unknown")
			g.junk(2)
			g.put(",")
		}
		switch {
		case fd.IsExtension():
			g.name("[" + string(fd.FullName()) + "]")
		case g.chance(0.3):
			g.name(fd.TextName())
		default:
			g.name(fd.JSONName())
		}
		if g.chance(0.03) {
			g.put("null")
			continue
		}
		g.field(fd, depth)
	}
	g.space()
}

func (g *jsonGen) field(fd protoreflect.FieldDescriptor, depth int) {
	switch {
	case fd.IsMap():
		seen := map[string]bool{}
		n := g.IntN(4)
		if g.chance(0.02) {
			n = 100
		}
		g.put("{")
		for i := 0; i < n; i++ {
			key := g.key(fd.MapKey())
			if seen[key] && !g.chance(g.wrong) {
				continue
			}
			if len(seen) > 0 {
				g.put(",")
			}
			seen[key] = true
			g.name(key)
			g.single(fd.MapValue(), depth)
		}
		g.put("}")
	case fd.IsList():
		g.put("[")
		for i := range g.IntN(4) {
			if i > 0 {
				g.put(",")
			}
			g.space()
			g.single(fd, depth)
		}
		g.put("]")
	default:
		g.single(fd, depth)
	}
}

func (g *jsonGen) single(fd protoreflect.FieldDescriptor, depth int) {
	if g.chance(g.wrong) {
		g.junk(2)
		return
	}
	if fd.Message() != nil {
		g.message(fd.Message(), depth-1)
		return
	}
	g.scalar(fd.Kind(), fd.Enum())
}

func (g *jsonGen) key(fd protoreflect.FieldDescriptor) string {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return g.text()
	case protoreflect.BoolKind:
		return strconv.FormatBool(g.chance(0.5))
	}
	s := g.integer(fd.Kind())
	if g.chance(0.02) {
		s = "0" + s
	}
	return s
}

// integer returns one that the kind has, mostly.
func (g *jsonGen) integer(kind protoreflect.Kind) string {
	shift := g.IntN(64)
	switch kind {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		if g.chance(0.1) {
			return []string{"2147483647", "-2147483648", "0", "-0", "-1"}[g.IntN(5)]
		}
		return strconv.FormatInt(int64(int32(g.Uint32())>>(shift/2)), 10)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return strconv.FormatUint(uint64(g.Uint32()>>(shift/2)), 10)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		if g.chance(0.1) {
			return []string{"18446744073709551615", "0", "-0", "9223372036854775808"}[g.IntN(4)]
		}
		return strconv.FormatUint(g.Uint64()>>shift, 10)
	}
	if g.chance(0.1) {
		return []string{"9223372036854775807", "-9223372036854775808", "0", "-1"}[g.IntN(4)]
	}
	return strconv.FormatInt(int64(g.Uint64())>>shift, 10)
}

// text returns a string.
func (g *jsonGen) text() string {
	const alphabet = "aaabcdefghijklmnopqrstuvwxyz ABC \"\\/\n\x00\x7fäß€中文😀\u2028\ufffd"
	runes := []rune(alphabet)
	n := g.IntN(12)
	if g.chance(0.03) {
		n = g.IntN(400)
	}
	out := make([]rune, n)
	for i := range out {
		out[i] = runes[g.IntN(len(runes))]
	}
	return string(out)
}

func (g *jsonGen) scalar(kind protoreflect.Kind, ed protoreflect.EnumDescriptor) {
	switch kind {
	case protoreflect.BoolKind:
		g.put(strconv.FormatBool(g.chance(0.5)))
	case protoreflect.StringKind:
		g.quote(g.text())
	case protoreflect.BytesKind:
		b := []byte(g.text())
		for i := range b {
			b[i] ^= byte(g.Uint32())
		}
		enc := []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding}[g.IntN(4)]
		s := enc.EncodeToString(b)
		if g.chance(0.02) {
			s = "\r\n" + s
		}
		g.quote(s)
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		bits := 64
		if kind == protoreflect.FloatKind {
			bits = 32
		}
		if g.chance(0.2) {
			g.put([]string{`"NaN"`, `"Infinity"`, `"-Infinity"`, "-0", "0", "0.0", "1e-400", "-0e5", `"-0"`}[g.IntN(9)])
			return
		}
		v := g.NormFloat64() * math.Pow(10, float64(g.IntN(60)-30))
		g.maybeQuoted(strconv.FormatFloat(v, "efg"[g.IntN(3)], -1, bits))
	case protoreflect.EnumKind:
		values := ed.Values()
		switch {
		case g.chance(0.7):
			g.quote(string(values.Get(g.IntN(values.Len())).Name()))
		case ed.FullName() == "google.protobuf.NullValue": // in JSON all its numbers are null
			g.put([]string{"null", "0"}[g.IntN(2)])
		default:
			g.put(strconv.Itoa(int(int32(g.Uint32()) >> g.IntN(32))))
		}
	default:
		s := g.integer(kind)
		switch {
		case g.chance(0.03):
			s += ".00"
		case g.chance(0.03):
			s += "e0"
		case g.chance(0.03):
			s += "0e-1"
		case g.chance(0.03) && len(s) > 1 && s[len(s)-1] == '0':
			s = s[:len(s)-1] + "E+1"
		}
		g.maybeQuoted(s)
	}
}

func (g *jsonGen) maybeQuoted(s string) {
	if g.chance(0.3) {
		s = `"` + s + `"`
	}
	g.put(s)
}

// junk writes any JSON, or nearly.
func (g *jsonGen) junk(depth int) {
	n := g.IntN(14)
	if depth <= 0 {
		n = g.IntN(12)
	}
	switch n {
	case 12:
		g.put("[")
		for i := range g.IntN(3) {
			if i > 0 {
				g.put(",")
			}
			g.junk(depth - 1)
		}
		g.put("]")
	case 13:
		g.members(g.IntN(3), func(i int) {
			g.name(g.text())
			g.junk(depth - 1)
		})
	default:
		g.put([]string{"null", "true", "1", "-1.5", `"x"`, `"1"`, "1e400", `""`, "nul", "01", "1e", `"\ud800"`}[n])
	}
}

// mutate breaks a document in one place.
func (g *jsonGen) mutate(doc []byte) []byte {
	doc = bytes.Clone(doc)
	if len(doc) == 0 {
		return doc
	}
	i := g.IntN(len(doc))
	switch g.IntN(5) {
	case 0:
		return doc[:i]
	case 1:
		return append(doc[:i], doc[i+1:]...)
	case 2:
		const bytes = `{}[]",:\0123456789-+.eE truefalsnlu@_` + "\xff\x00\n"
		doc[i] = bytes[g.IntN(len(bytes))]
		return doc
	case 3:
		j := i + g.IntN(len(doc)-i)
		return append(doc[:j:j], doc[i:]...)
	default:
		j := i + g.IntN(min(len(doc)-i, 20))
		return append(doc[:i], doc[j:]...)
	}
}
