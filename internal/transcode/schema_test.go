package transcode

import (
	"context"
	"sync"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// compileTestdata compiles the .proto files of testdata, with all they import, the
// way they get here in life: as a set of descriptors.
var compileTestdata = sync.OnceValues(func() (*protoregistry.Files, error) {
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{"testdata"}}),
	}
	roots, err := compiler.Compile(context.Background(),
		"proto2.proto", "proto3.proto", "editions.proto", "shop.proto", "wide.proto", "delimited.proto")
	if err != nil {
		return nil, err
	}
	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(fd protoreflect.FileDescriptor)
	add = func(fd protoreflect.FileDescriptor) {
		if seen[fd.Path()] {
			return
		}
		seen[fd.Path()] = true
		for imports, i := fd.Imports(), 0; i < imports.Len(); i++ {
			add(imports.Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(fd))
	}
	for _, fd := range roots {
		add(fd)
	}
	return protodesc.NewFiles(set)
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
