package transcode

import (
	"sync"
	"testing"

	"github.com/sluice-rpc/sluice/internal/schema/schematest"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// compileTestdata compiles the .proto files of testdata, with all they import, the
// way they get here in life: as a set of descriptors.
var compileTestdata = sync.OnceValues(func() (*protoregistry.Files, error) {
	files, err := schematest.Files("testdata", "proto2.proto", "proto3.proto", "editions.proto", "shop.proto", "wide.proto", "delimited.proto")
	if err != nil {
		return nil, err
	}
	return protodesc.NewFiles(schematest.Set(files...))
})

// testSchema returns the files of testdata.
func testSchema(t testing.TB) *protoregistry.Files {
	t.Helper()
	files, err := compileTestdata()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// testMessage returns the plan of a message of testdata, by its full name.
func testMessage(t testing.TB, types *Types, name protoreflect.FullName) *Message {
	t.Helper()
	d, err := types.files.FindDescriptorByName(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return types.Message(d.(protoreflect.MessageDescriptor))
}

func TestSchema(t *testing.T) {
	types := NewTypes(testSchema(t))
	m := testMessage(t, types, "sluice.test.p3.Scalars")
	m.compile()
	if len(m.fields) != 16 || m.byName["fInt32"] != m.byNumber[2] || m.byName["f_int32"] != m.low[2] {
		t.Errorf("plan of Scalars: %d fields, fInt32 is %v", len(m.fields), m.byName["fInt32"])
	}
	mix := testMessage(t, types, "sluice.test.ed.Mix")
	mix.compile()
	if f := mix.byName["delimited"]; f.kind != protoreflect.GroupKind {
		t.Errorf("delimited is a %v", f.kind)
	}
	if !mix.byName["checked"].utf8 || mix.byName["unchecked"].utf8 {
		t.Errorf("UTF-8 is enforced: %v, %v", mix.byName["checked"].utf8, mix.byName["unchecked"].utf8)
	}
}

func TestExtensionsInPlan(t *testing.T) {
	types := NewTypes(testSchema(t))
	m := testMessage(t, types, "sluice.test.p2.All")
	m.compile()
	last := len(m.fields) - 1
	if got := m.fields[m.declared].jsonName; got != "[sluice.test.p2.Scope.a_double]" {
		t.Errorf("first extension %s", got)
	}
	if f := m.byName["[sluice.test.p2.extgroups]"]; f == nil || f.number != 536870911 || !f.list {
		t.Errorf("an extension by its name: %+v", f)
	}
	if f := m.byNumber[1000]; f.message.wkt != wktTimestamp || m.fields[last].jsonName <= f.jsonName {
		t.Errorf("an extension by its number: %+v", f)
	}
}

// TestWellKnownNames: who names a message as a well-known type is, and gives it other
// fields, gets an ordinary message.
func TestWellKnownNames(t *testing.T) {
	tests := []struct{ name, fields string }{
		{"Timestamp", `string seconds = 1;`},
		{"Timestamp", `int64 seconds = 1; int32 nanos = 3;`},
		{"Duration", `repeated int64 seconds = 1; int32 nanos = 2;`},
		{"Struct", `map<int32, Value> fields = 1;`},
		{"ListValue", `repeated Empty values = 1;`},
		{"Value", `NullValue a = 1; double b = 2; string c = 3; bool d = 4; Empty e = 5; ListValue f = 6;`},
		{"Value", `oneof kind { NullValue a = 1; double b = 2; string c = 3; bool d = 4; Empty e = 5; Empty f = 6; }`},
		{"Int32Value", `int64 value = 1;`},
		{"FieldMask", `string paths = 1;`},
		{"Any", `string type_url = 1; string value = 2;`},
	}
	for _, tt := range tests {
		source := `syntax = "proto3"; package google.protobuf; message ` + tt.name + ` { ` + tt.fields + ` }`
		for _, other := range []string{"Empty", "Value", "ListValue"} {
			if other != tt.name {
				source += ` message ` + other + ` {}`
			}
		}
		source += ` enum NullValue { NULL_VALUE = 0; }`
		fd, err := schematest.Text("fake.proto", source)
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		files, err := protodesc.NewFiles(schematest.Set(fd))
		if err != nil {
			t.Fatal(err)
		}
		m := testMessage(t, NewTypes(files), protoreflect.FullName("google.protobuf."+tt.name))
		if m.wkt != notWellKnown {
			t.Errorf("%s { %s } is well known", tt.name, tt.fields)
		}
		if got, err := m.AppendJSON(nil, nil, &EncodeOptions{}); err != nil || string(got) != "{}" {
			t.Errorf("%s { %s }: %s, %v", tt.name, tt.fields, got, err)
		}
	}
}
