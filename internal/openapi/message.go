package openapi

import (
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// ref returns a reference to the schema of a message or an enum, or what its JSON form is if
// that is not an object of its fields.
func (b *builder) ref(d protoreflect.Descriptor) *object {
	if d.IsPlaceholder() {
		return b.object().set("description", string(d.FullName())+", which the descriptors lack.")
	}
	if name, ok := strings.CutPrefix(string(d.FullName()), "google.protobuf."); ok {
		if make := wellKnown[name]; make != nil {
			return make(b)
		}
	}
	return b.object().set("$ref", "#/components/schemas/"+b.name(d))
}

// name returns the name of a component: the full name, and a number if another backend has
// something else of this name.
func (b *builder) name(d protoreflect.Descriptor) string {
	name := string(d.FullName())
	for n := 2; ; n++ {
		known := b.names[name]
		if known == nil {
			b.names[name] = d
			b.queue = append(b.queue, component{name, d})
			return name
		}
		if known == d || b.sameFile(known.ParentFile(), d.ParentFile()) {
			return name
		}
		name = fmt.Sprintf("%s_%d", d.FullName(), n)
	}
}

// sameFile tells whether two files say the same, with all that they import.
func (b *builder) sameFile(x, y protoreflect.FileDescriptor) bool {
	if x == y {
		return true
	}
	key := [2]protoreflect.FileDescriptor{x, y}
	same, known := b.byFile[key]
	if known {
		return same
	}
	same = x.Path() == y.Path() && x.Imports().Len() == y.Imports().Len() &&
		proto.Equal(protodesc.ToFileDescriptorProto(x), protodesc.ToFileDescriptorProto(y))
	for i := 0; same && i < x.Imports().Len(); i++ {
		a, c := x.Imports().Get(i), y.Imports().Get(i)
		same = a.IsPlaceholder() == c.IsPlaceholder() && (a.IsPlaceholder() || b.sameFile(a.FileDescriptor, c.FileDescriptor))
	}
	b.byFile[key] = same
	return same
}

// message returns the schema of a message, without the fields in without.
func (b *builder) message(md protoreflect.MessageDescriptor, without map[string]bool) *object {
	s := b.object().set("type", "object")
	var texts, required []string
	texts = append(texts, b.comment(md))
	properties, named := b.object(), map[string]bool{}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		name := b.jsonName(fd)
		if without[string(fd.Name())] || named[name] {
			continue // protoc lets two fields of proto2 have one name in JSON, with a warning
		}
		named[name] = true
		properties.set(name, b.field(fd))
		if isRequired(fd) {
			required = append(required, name)
		}
	}
	var both []any
	for i := range md.Oneofs().Len() {
		od := md.Oneofs().Get(i)
		if od.IsSynthetic() {
			continue
		}
		names := b.oneof(od, without)
		if len(names) < 2 {
			continue
		}
		texts = append(texts, "At most one of `"+strings.Join(names, "`, `")+"`.")
		both = append(both, b.pairs(names)...)
	}
	s.set("description", paragraphs(texts...)).set("deprecated", deprecated(md))
	if len(properties.members) > 0 {
		s.set("properties", properties)
	}
	s.set("required", required)
	if len(both) > 0 {
		s.set("not", b.object().set("anyOf", both))
	}
	return s
}

func (b *builder) oneof(od protoreflect.OneofDescriptor, without map[string]bool) (names []string) {
	for i := range od.Fields().Len() {
		if fd := od.Fields().Get(i); !without[string(fd.Name())] {
			names = append(names, b.jsonName(fd))
		}
	}
	return names
}

// maxPairs is the largest oneof that is written out: pairs grow with the square. Of a larger
// one only the text speaks.
const maxPairs = 16

// pairs returns schemas of objects that have two of the names.
func (b *builder) pairs(names []string) (both []any) {
	if len(names) > maxPairs {
		return nil
	}
	for i := range names {
		for _, other := range names[i+1:] {
			both = append(both, b.object().set("required", []string{names[i], other}))
		}
	}
	return both
}

// field returns the schema of a field.
func (b *builder) field(fd protoreflect.FieldDescriptor) *object {
	var s *object
	switch {
	case fd.IsMap():
		s = b.object().set("type", "object")
		switch fd.MapKey().Kind() {
		case protoreflect.StringKind:
		case protoreflect.BoolKind:
			s.set("propertyNames", b.object().set("enum", []string{"false", "true"}))
		default:
			s.set("propertyNames", b.object().set("pattern", "^-?[0-9]+$"))
		}
		s.set("additionalProperties", b.value(fd.MapValue()))
	case fd.IsList():
		s = b.object().set("type", "array").set("items", b.value(fd))
	default:
		s = b.value(fd)
	}
	if text := b.comment(fd); text != "" {
		// In the place of that of the type, which is the less special.
		for i := range s.members {
			if s.members[i].key == "description" {
				s.members[i].value = text
			}
		}
		if !s.has("description") {
			s.set("description", text)
		}
	}
	behavior := behaviors(fd)
	return s.set("deprecated", deprecated(fd)).set("readOnly", behavior[behaviorOutputOnly]).set("writeOnly", behavior[behaviorInputOnly])
}

// value returns the schema of one value of a field (https://protobuf.dev/programming-guides/json/).
func (b *builder) value(fd protoreflect.FieldDescriptor) *object {
	typed := func(name, format string) *object { return b.object().set("type", name).set("format", format) }
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return typed("boolean", "")
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return typed("integer", "int32")
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return typed("integer", "uint32").set("minimum", 0)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return typed("string", "int64")
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return typed("string", "uint64")
	case protoreflect.FloatKind:
		return typed("number", "float")
	case protoreflect.DoubleKind:
		return typed("number", "double")
	case protoreflect.BytesKind:
		return typed("string", "byte").set("contentEncoding", "base64")
	case protoreflect.EnumKind:
		return b.ref(fd.Enum())
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return b.ref(fd.Message())
	}
	return typed("string", "")
}

func (b *builder) enum(ed protoreflect.EnumDescriptor) *object {
	var names, texts []string
	for i := range ed.Values().Len() {
		v := ed.Values().Get(i)
		names = append(names, string(v.Name()))
		text := strings.Join(strings.Fields(b.comment(v)), " ")
		if deprecated(v) {
			text = strings.TrimSpace("Deprecated. " + text)
		}
		if text != "" {
			texts = append(texts, "* `"+string(v.Name())+"`: "+text)
		}
	}
	s := b.object().set("type", "string").set("enum", names)
	if b.options.EnumNumbers {
		s = b.object().set("type", "integer").set("format", "int32")
		for i := range names {
			names[i] = fmt.Sprintf("%d: %s", ed.Values().Get(i).Number(), names[i])
		}
		texts = append([]string{"* " + strings.Join(names, "\n* ")}, texts...)
	}
	return s.
		set("description", paragraphs(b.comment(ed), strings.Join(texts, "\n"))).set("deprecated", deprecated(ed))
}

// Values of google.api.FieldBehavior.
const (
	behaviorRequired   = annotations.FieldBehavior_REQUIRED
	behaviorOutputOnly = annotations.FieldBehavior_OUTPUT_ONLY
	behaviorInputOnly  = annotations.FieldBehavior_INPUT_ONLY
)

// isRequired tells whether a field has to be there: by google.api.field_behavior, or by
// proto2.
func isRequired(fd protoreflect.FieldDescriptor) bool {
	return fd.Cardinality() == protoreflect.Required || behaviors(fd)[behaviorRequired]
}

// behaviors reads google.api.field_behavior from the bytes of a field's options: whoever
// parsed them may have known the extension as another Go type, or not at all.
func behaviors(fd protoreflect.FieldDescriptor) map[annotations.FieldBehavior]bool {
	o := fd.Options()
	if o == nil || !o.ProtoReflect().IsValid() {
		return nil
	}
	raw, err := proto.MarshalOptions{AllowPartial: true}.Marshal(o)
	if err != nil {
		return nil
	}
	found := map[annotations.FieldBehavior]bool{}
	for len(raw) > 0 {
		num, typ, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return nil
		}
		raw = raw[n:]
		if n = protowire.ConsumeFieldValue(num, typ, raw); n < 0 {
			return nil
		}
		if num == annotations.E_FieldBehavior.TypeDescriptor().Number() {
			packed := raw[:n]
			if typ == protowire.BytesType {
				packed, _ = protowire.ConsumeBytes(packed)
			}
			for len(packed) > 0 && (typ == protowire.BytesType || typ == protowire.VarintType) {
				v, m := protowire.ConsumeVarint(packed)
				if m < 0 {
					break
				}
				found[annotations.FieldBehavior(v)] = true
				packed = packed[m:]
			}
		}
		raw = raw[n:]
	}
	return found
}
