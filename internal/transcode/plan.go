package transcode

import (
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Types compiles the messages of a set of files, each when it is first needed.
type Types struct {
	files *protoregistry.Files
	types *dynamicpb.Types // finds extensions, and the messages in an Any

	mu    sync.RWMutex
	plans map[protoreflect.FullName]*Message

	extensionsOnce sync.Once
	extensions     map[protoreflect.FullName][]protoreflect.ExtensionDescriptor // of each message, by their names
}

// NewTypes returns the plans of files, none of them made yet.
func NewTypes(files *protoregistry.Files) *Types {
	return &Types{files: files, types: dynamicpb.NewTypes(files), plans: map[protoreflect.FullName]*Message{}}
}

// Message returns the plan of a message type. The descriptor must be of the files that
// t was made of, or of one that they import.
func (t *Types) Message(md protoreflect.MessageDescriptor) *Message {
	t.mu.RLock()
	m := t.plans[md.FullName()]
	t.mu.RUnlock()
	if m != nil {
		return m
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if m = t.plans[md.FullName()]; m == nil {
		m = &Message{types: t, desc: md, wkt: wellKnownOf(md)}
		t.plans[md.FullName()] = m
	}
	return m
}

// A Message is the plan of a message type. Its parts are compiled when they are first
// used, so that a recursive type and one with thousands of types below it cost nothing
// before that.
type Message struct {
	types *Types
	desc  protoreflect.MessageDescriptor
	wkt   wellKnown

	once     sync.Once // guards what compile sets
	fields   []*field  // in the order of the descriptor, then extensions by name
	declared int       // how many of the fields are no extensions
	low      []*field  // by number, those that are small
	byNumber map[protoreflect.FieldNumber]*field
	byName   map[string]*field // JSON names and names of the .proto file
	required []*field
	wide     int // words of bits for the fields and oneofs, beyond the first

	messageSet bool // proto1's, which JSON knows nothing of
	oneofs     int  // synthetic ones counted
}

// Descriptor returns the type that m is the plan of.
func (m *Message) Descriptor() protoreflect.MessageDescriptor { return m.desc }

// A field is the plan of a field.
type field struct {
	desc   protoreflect.FieldDescriptor
	number protoreflect.FieldNumber
	kind   protoreflect.Kind
	index  int // in Message.fields

	tag          uint64 // number and wire type, as written: that of a packed list is one of bytes
	list, packed bool
	key, value   *field   // of a map: the fields of its entries
	message      *Message // of messages and groups, not of maps
	enum         *enum
	oneof        int // 1 + the index of its oneof, synthetic ones not counted; 0 is none
	required     bool
	presence     bool // set or not is told apart
	utf8         bool // of strings: what is not UTF-8 is refused
	null         bool // null is a value of it, and does not mean that it is not set

	jsonName, protoName string
	quoted              string // jsonName as JSON mostly has it

	// What only the way to JSON needs, see prepareEncode.
	jsonKey, protoKey string         // the names in quotes, with a colon
	wire              protowire.Type // of a value outside of a packed list
	otherTag          uint64         // of a list that may be packed and is not, or the other way round
	significant       uint64         // the bits of a number on the wire that count
	is64              bool           // an integer of 64 bits
	entry             *Message       // of a map
	slot              int            // the index, or that of the first member of its oneof
	ifUnset           int
}

// An enum is the plan of an enum type.
type enum struct {
	desc   protoreflect.EnumDescriptor
	names  map[protoreflect.EnumNumber]string // the first of each number
	low    []string                           // of small numbers; "" has none
	byName map[string]protoreflect.EnumNumber
	closed bool
	null   bool // google.protobuf.NullValue, which is null in JSON
}

// lowFields is up to which number fields are found without a map.
const lowFields = 64

func (m *Message) compile() { m.once.Do(m.compileOnce) }

func (m *Message) compileOnce() {
	fds, extensions := m.desc.Fields(), m.types.extensionsOf(m.desc.FullName())
	m.declared = fds.Len()
	if set, ok := m.desc.(interface{ IsMessageSet() bool }); ok {
		m.messageSet = set.IsMessageSet()
	}
	m.byNumber = make(map[protoreflect.FieldNumber]*field, fds.Len()+len(extensions))
	m.byName = make(map[string]*field, 2*fds.Len()+len(extensions))
	for i := range fds.Len() {
		m.fields = append(m.fields, m.types.field(fds.Get(i)))
	}
	for _, xd := range extensions {
		m.fields = append(m.fields, m.types.field(xd))
	}
	m.oneofs = m.desc.Oneofs().Len()
	for i, f := range m.fields {
		f.index, f.slot = i, i
		if f.oneof != 0 {
			f.slot = f.desc.ContainingOneof().Fields().Get(0).Index()
		}
		m.byNumber[f.number] = f
		if f.number < lowFields {
			for int(f.number) >= len(m.low) {
				m.low = append(m.low, nil)
			}
			m.low[f.number] = f
		}
		if f.required {
			m.required = append(m.required, f)
		}
	}
	m.wide = (len(m.fields) + m.desc.Oneofs().Len()) / 64

	// What the descriptor finds by a name decides: a JSON name wins over another
	// field's name, and groups have names in lower case too.
	for _, f := range m.fields[m.declared:] {
		m.byName[f.jsonName] = f
	}
	for _, f := range m.fields[:m.declared] {
		for _, name := range []string{f.jsonName, f.protoName, strings.ToLower(f.jsonName), strings.ToLower(f.protoName)} {
			found := fds.ByJSONName(name)
			if found == nil {
				found = fds.ByTextName(name)
			}
			if found == f.desc {
				m.byName[name] = f
			}
		}
	}
}

// extensionsOf returns the extensions that the files have for a message. They are
// looked for once, since a set of files can be asked only for one whose number is known.
func (t *Types) extensionsOf(name protoreflect.FullName) []protoreflect.ExtensionDescriptor {
	t.extensionsOnce.Do(func() {
		t.extensions = map[protoreflect.FullName][]protoreflect.ExtensionDescriptor{}
		t.files.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
			t.addExtensions(fd.Extensions(), fd.Messages())
			return true
		})
		for _, xds := range t.extensions {
			slices.SortFunc(xds, func(a, b protoreflect.ExtensionDescriptor) int {
				return strings.Compare(string(a.FullName()), string(b.FullName()))
			})
		}
	})
	return t.extensions[name]
}

// addExtensions adds the extensions that a file, or a message in it, declares.
func (t *Types) addExtensions(xds protoreflect.ExtensionDescriptors, nested protoreflect.MessageDescriptors) {
	for i := range xds.Len() {
		name := xds.Get(i).ContainingMessage().FullName()
		t.extensions[name] = append(t.extensions[name], xds.Get(i))
	}
	for i := range nested.Len() {
		t.addExtensions(nested.Get(i).Extensions(), nested.Get(i).Messages())
	}
}

// field compiles a field or an extension.
func (t *Types) field(fd protoreflect.FieldDescriptor) *field {
	f := &field{
		desc: fd, number: fd.Number(), kind: fd.Kind(),
		list: fd.IsList(), packed: fd.IsPacked(), presence: fd.HasPresence(),
		required: fd.Cardinality() == protoreflect.Required,
		jsonName: fd.JSONName(), protoName: fd.TextName(),
	}
	if f.kind == protoreflect.GroupKind && (fd.IsMap() || fd.ContainingMessage().IsMapEntry()) {
		f.kind = protoreflect.MessageKind // maps are never delimited, protobuf-go has that wrong
	}
	wireType := wireTypes[f.kind]
	if f.packed {
		wireType = protowire.BytesType
	}
	f.tag = protowire.EncodeTag(f.number, wireType)
	if fd.IsExtension() {
		f.jsonName = "[" + string(fd.FullName()) + "]"
		f.protoName = f.jsonName
	}
	if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
		f.oneof = 1 + o.Index()
	}
	f.quoted = `"` + f.jsonName + `"`
	if strings.ContainsAny(f.jsonName, "\"\\@") {
		f.quoted = "\x00" // nothing that JSON has: it is found by its name
	}
	switch {
	case fd.IsMap():
		f.key, f.value = t.field(fd.MapKey()), t.field(fd.MapValue())
		f.entry = t.Message(fd.Message())
	case fd.Message() != nil:
		f.message = t.Message(fd.Message())
		f.null = f.message.wkt == wktValue
	case fd.Enum() != nil:
		f.enum = newEnum(fd.Enum())
		f.null = f.enum.null
	case f.kind == protoreflect.StringKind:
		f.utf8 = enforcesUTF8(fd)
	}
	f.prepareEncode()
	return f
}

var wireTypes = map[protoreflect.Kind]protowire.Type{
	protoreflect.BoolKind: protowire.VarintType, protoreflect.EnumKind: protowire.VarintType,
	protoreflect.Int32Kind: protowire.VarintType, protoreflect.Sint32Kind: protowire.VarintType, protoreflect.Uint32Kind: protowire.VarintType,
	protoreflect.Int64Kind: protowire.VarintType, protoreflect.Sint64Kind: protowire.VarintType, protoreflect.Uint64Kind: protowire.VarintType,
	protoreflect.Sfixed32Kind: protowire.Fixed32Type, protoreflect.Fixed32Kind: protowire.Fixed32Type, protoreflect.FloatKind: protowire.Fixed32Type,
	protoreflect.Sfixed64Kind: protowire.Fixed64Type, protoreflect.Fixed64Kind: protowire.Fixed64Type, protoreflect.DoubleKind: protowire.Fixed64Type,
	protoreflect.StringKind: protowire.BytesType, protoreflect.BytesKind: protowire.BytesType, protoreflect.MessageKind: protowire.BytesType,
	protoreflect.GroupKind: protowire.StartGroupType,
}

// enforcesUTF8 tells whether a string that is not UTF-8 is an error: everywhere but in
// proto2, and in editions as their feature says.
func enforcesUTF8(fd protoreflect.FieldDescriptor) bool {
	if f, ok := fd.(interface{ EnforceUTF8() bool }); ok {
		return f.EnforceUTF8()
	}
	return fd.Syntax() == protoreflect.Proto3
}

func newEnum(ed protoreflect.EnumDescriptor) *enum {
	values := ed.Values()
	e := &enum{
		desc: ed, closed: ed.IsClosed(), null: ed.FullName() == "google.protobuf.NullValue",
		names:  make(map[protoreflect.EnumNumber]string, values.Len()),
		byName: make(map[string]protoreflect.EnumNumber, values.Len()),
	}
	for i := range values.Len() {
		v := values.Get(i)
		if _, ok := e.names[v.Number()]; !ok {
			e.names[v.Number()] = string(v.Name())
			if n := int(v.Number()); n >= 0 && n < lowFields {
				e.low = append(e.low, make([]string, max(0, n+1-len(e.low)))...)
				e.low[n] = string(v.Name())
			}
		}
		e.byName[string(v.Name())] = v.Number()
	}
	return e
}
