package schema

import (
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// testFile describes the service t.S with a method of each kind.
func testFile(name string, deps ...string) *descriptorpb.FileDescriptorProto {
	m := func(name string, client, server bool) *descriptorpb.MethodDescriptorProto {
		return &descriptorpb.MethodDescriptorProto{Name: &name, InputType: proto.String(".t.M"), OutputType: proto.String(".t.M"),
			ClientStreaming: &client, ServerStreaming: &server}
	}
	get := m("Get", false, false)
	get.Options = &descriptorpb.MethodOptions{IdempotencyLevel: descriptorpb.MethodOptions_NO_SIDE_EFFECTS.Enum()}
	return &descriptorpb.FileDescriptorProto{
		Name: &name, Package: proto.String("t"), Syntax: proto.String("proto3"), Dependency: deps,
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("M")}},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("S"), Method: []*descriptorpb.MethodDescriptorProto{
			m("Unary", false, false), m("Server", false, true), m("Client", true, false), m("Bidi", true, true), get}}},
	}
}

func marshal(t testing.TB, m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFromDescriptorSets(t *testing.T) {
	set := marshal(t, &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{testFile("t.proto", "google/protobuf/empty.proto")}})
	s, err := FromDescriptorSets(set, set)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]rpc.Method{
		"/t.S/Unary":  {},
		"/t.S/Server": {ServerStreaming: true},
		"/t.S/Client": {ClientStreaming: true},
		"/t.S/Bidi":   {ClientStreaming: true, ServerStreaming: true},
		"/t.S/Get":    {NoSideEffects: true},
	} {
		want.Name = name
		if got := s.Lookup(name); got == nil || *got != want {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	if s.Lookup("/t.S/No") != nil || s.Methods() != 5 || len(s.Services()) != 1 {
		t.Error(s.Services(), s.Methods())
	}
	if _, err := FromDescriptorSets([]byte("no set")); err == nil || !strings.Contains(err.Error(), "protoc") {
		t.Errorf("got %v", err)
	}
}

// TestMerge: sets that were compiled apart.
func TestMerge(t *testing.T) {
	set := func(files ...*descriptorpb.FileDescriptorProto) []byte {
		return marshal(t, &descriptorpb.FileDescriptorSet{File: files})
	}
	commented := testFile("t.proto")
	commented.SourceCodeInfo = &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{{Path: []int32{4, 0}, Span: []int32{1, 2, 3}}}}
	image := testFile("t.proto")
	image.ProtoReflect().SetUnknown([]byte{0xd2, 0xf6, 0x03, 0x02, 0x08, 0x01}) // field 8042, by buf
	api := func(field string) *descriptorpb.FileDescriptorProto {
		f := version(field)
		f.Name, f.Package, f.Service = proto.String("google/api/http.proto"), proto.String("google.api"), nil
		return f
	}
	for name, test := range map[string]struct {
		sets [][]byte
		err  string
	}{
		"comments":            {[][]byte{set(testFile("t.proto")), set(commented)}, ""},
		"image":               {[][]byte{set(image), set(testFile("t.proto"))}, ""},
		"versions of google":  {[][]byte{set(testFile("t.proto"), api("a")), set(api("b"))}, ""},
		"versions":            {[][]byte{set(version("a")), set(version("b"))}, `file "t.proto" is there twice and not the same`},
		"one name, two files": {[][]byte{set(testFile("t.proto")), set(testFile("u.proto"))}, "descriptors: "},
	} {
		s, err := FromDescriptorSets(test.sets...)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: got %v", name, err)
			}
		} else if err != nil || s.Lookup("/t.S/Get") == nil || s.Method("/t.S/Get") == nil || s.Method("/t.S/No") != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzFromDescriptorSets(f *testing.F) {
	f.Add(marshal(f, &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{testFile("t.proto")}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := FromDescriptorSets(b); err == nil {
			s.Lookup("/t.S/Get")
		}
	})
}
