package transcode

import (
	"sync"

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
		m = &Message{types: t, desc: md}
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

	once     sync.Once // guards what compile sets
	fields   []*field  // in the order of the descriptor
	low      []*field  // by number, those that are small
	byNumber map[protoreflect.FieldNumber]*field
	byName   map[string]*field // JSON names and names of the .proto file
}

// Descriptor returns the type that m is the plan of.
func (m *Message) Descriptor() protoreflect.MessageDescriptor { return m.desc }

// A field is the plan of a field.
type field struct {
	desc   protoreflect.FieldDescriptor
	number protoreflect.FieldNumber
	kind   protoreflect.Kind
	index  int // in Message.fields

	list, packed bool
	key, value   *field   // of a map: the fields of its entries
	message      *Message // of messages and groups, not of maps
	enum         *enum
	oneof        int  // 1 + the index of its oneof, synthetic ones not counted; 0 is none
	presence     bool // set or not is told apart
	utf8         bool // of strings: what is not UTF-8 is refused

	jsonName, protoName string
}

// An enum is the plan of an enum type.
type enum struct {
	desc   protoreflect.EnumDescriptor
	names  map[protoreflect.EnumNumber]string // the first of each number
	byName map[string]protoreflect.EnumNumber
	closed bool
	null   bool // google.protobuf.NullValue, which is null in JSON
}

// lowFields is up to which number fields are found without a map.
const lowFields = 64

func (m *Message) compile() { m.once.Do(m.compileOnce) }

func (m *Message) compileOnce() {
	fds := m.desc.Fields()
	m.byNumber = make(map[protoreflect.FieldNumber]*field, fds.Len())
	m.byName = make(map[string]*field, 2*fds.Len())
	for i := range fds.Len() {
		f := m.types.field(fds.Get(i))
		f.index = i
		m.fields = append(m.fields, f)
		m.byNumber[f.number] = f
		if f.number < lowFields {
			for int(f.number) >= len(m.low) {
				m.low = append(m.low, nil)
			}
			m.low[f.number] = f
		}
		m.byName[f.protoName] = f
	}
	for _, f := range m.fields { // a JSON name wins over another field's name
		m.byName[f.jsonName] = f
	}
}

// field compiles a field or an extension.
func (t *Types) field(fd protoreflect.FieldDescriptor) *field {
	f := &field{
		desc: fd, number: fd.Number(), kind: fd.Kind(),
		list: fd.IsList(), packed: fd.IsPacked(), presence: fd.HasPresence(),
		jsonName: fd.JSONName(), protoName: fd.TextName(),
	}
	if fd.IsExtension() {
		f.jsonName = "[" + string(fd.FullName()) + "]"
		f.protoName = f.jsonName
	}
	if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
		f.oneof = 1 + o.Index()
	}
	switch {
	case fd.IsMap():
		f.key, f.value = t.field(fd.MapKey()), t.field(fd.MapValue())
	case fd.Message() != nil:
		f.message = t.Message(fd.Message())
	case fd.Enum() != nil:
		f.enum = newEnum(fd.Enum())
	case f.kind == protoreflect.StringKind:
		f.utf8 = enforcesUTF8(fd)
	}
	return f
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
		}
		e.byName[string(v.Name())] = v.Number()
	}
	return e
}
