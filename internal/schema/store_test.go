package schema

import (
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

func schemaOf(t testing.TB, files ...*descriptorpb.FileDescriptorProto) *Schema {
	t.Helper()
	s, err := fromFiles(files, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// version is the test file whose message has a field of its own.
func version(field string) *descriptorpb.FileDescriptorProto {
	f := testFile("t.proto")
	f.MessageType[0].Field = []*descriptorpb.FieldDescriptorProto{{Name: &field, Number: proto.Int32(1),
		Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}}
	return f
}

// field is the name of the first field of a method's input by the source that counts.
func field(t testing.TB, s *Snapshot, source int) string {
	t.Helper()
	md := s.Schemas()[source].Method("/t.S/Unary")
	if md == nil || md.Input().Fields().Len() != 1 {
		t.Fatalf("source %d: %v", source, md)
	}
	return string(md.Input().Fields().Get(0).Name())
}

func TestStore(t *testing.T) {
	a := schemaOf(t, testFile("t.proto"))
	s := NewStore(2, nil)
	if s.Lookup("/t.S/Get") != nil || len(s.Snapshot().Sources("t.S")) != 0 {
		t.Error("an empty store knows something")
	}
	if md, _ := s.Snapshot().Method("/t.S/Get"); md != nil {
		t.Error("an empty store describes something")
	}
	if _, changed := s.Set(2, a); !changed {
		t.Error("not changed")
	}
	before := s.Snapshot()
	if _, changed := s.Set(2, schemaOf(t, testFile("t.proto"))); changed || s.Snapshot() != before {
		t.Error("the same again is a change")
	}
	if shadowed, _ := s.Set(1, a); shadowed != nil {
		t.Error("the first is shadowed by", shadowed)
	}
	if md, source := s.Snapshot().Method("/t.S/Get"); source != 1 || md == nil || s.Lookup("/t.S/Get") == nil {
		t.Error("the first source does not count")
	}
	if of := before.Sources("t.S"); !slices.Equal(of, []int{2}) {
		t.Error("a snapshot has changed:", of)
	}
	s.Set(2, nil)
	if shadowed, _ := s.Set(2, a); !slices.Equal(shadowed, []string{"t.S"}) {
		t.Errorf("shadowed: %v", shadowed)
	}
	s.Set(Given, a)
	if of := s.Snapshot().Sources("t.S"); !slices.Equal(of, []int{Given, 1, 2}) {
		t.Error("sources", of)
	}
	s.Set(1, nil)
	if shadowed, _ := s.Set(1, a); shadowed != nil {
		t.Error("shadowed by the configuration:", shadowed)
	}
}

// TestStoreVersions: two backends have messages of one name with different fields, and
// each is asked with its own.
func TestStoreVersions(t *testing.T) {
	s := NewStore(2, nil)
	s.Set(1, schemaOf(t, version("old")))
	s.Set(2, schemaOf(t, version("new")))
	now := s.Snapshot()
	if one, two := field(t, now, 1), field(t, now, 2); one != "old" || two != "new" {
		t.Error(one, two)
	}
	md, source := now.Method("/t.S/Unary")
	if name := md.Input().Fields().Get(0).Name(); source != 1 || name != "old" {
		t.Error(source, name)
	}
	// The configuration says that the second has the service.
	s = NewStore(2, map[string]int{"t.S": 2})
	s.Set(1, schemaOf(t, version("old")))
	if s.Lookup("/t.S/Unary") != nil {
		t.Error("described by a backend that does not get the calls")
	}
	s.Set(2, schemaOf(t, version("new")))
	md, source = s.Snapshot().Method("/t.S/Unary")
	if name := md.Input().Fields().Get(0).Name(); source != 2 || name != "new" {
		t.Error(source, name)
	}
	s.Set(Given, schemaOf(t, version("given")))
	md, source = s.Snapshot().Method("/t.S/Unary")
	if name := md.Input().Fields().Get(0).Name(); source != Given || name != "given" {
		t.Error(source, name)
	}
}

// TestStoreVersion: what only a message says counts too.
func TestStoreVersion(t *testing.T) {
	s := NewStore(1, nil)
	seen := map[uint64]bool{s.Snapshot().Version(): true}
	for i, name := range []string{"a", "b", "b", "a", ""} {
		var next *Schema
		if name != "" {
			next = schemaOf(t, version(name))
		}
		_, changed := s.Set(1, next)
		v := s.Snapshot().Version()
		if repeated := i == 2; changed == repeated || seen[v] != repeated {
			t.Errorf("%d, %q: changed %v, version %d of %v", i, name, changed, v, seen)
		}
		seen[v] = true
	}
}

func TestStoreOnChange(t *testing.T) {
	s := NewStore(2, nil)
	var order []string
	var seen []uint64
	s.OnChange(func(now *Snapshot) {
		order = append(order, "first")
		seen = append(seen, now.Version())
		if now.Version() == 1 {
			// Neither reading nor changing waits for whoever builds from it.
			s.Set(2, schemaOf(t, version("b")))
			if s.Snapshot().Version() != 2 {
				t.Error("not set")
			}
		}
	})
	s.OnChange(func(now *Snapshot) {
		order = append(order, "second")
		if now != s.Snapshot() {
			t.Error("not the newest")
		}
	})
	s.Set(1, schemaOf(t, version("a")))
	s.Set(1, schemaOf(t, version("a")))
	if !slices.Equal(seen, []uint64{0, 1, 2}) {
		t.Error("versions", seen)
	}
	if want := []string{"first", "second", "first", "first", "second"}; !slices.Equal(order, want) {
		t.Error(order)
	}
}

// TestStoreOnChangeTogether: with many that change at once calls come one at a time,
// and the last sees the last.
func TestStoreOnChangeTogether(t *testing.T) {
	s := NewStore(8, nil)
	var mu sync.Mutex
	var last uint64
	s.OnChange(func(now *Snapshot) {
		if !mu.TryLock() {
			t.Error("two calls at once")
			return
		}
		defer mu.Unlock()
		if v := now.Version(); v < last {
			t.Errorf("version %d after %d", v, last)
		}
		last = now.Version()
	})
	a, b := schemaOf(t, version("a")), schemaOf(t, version("b"))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				s.Set(i+1, a)
				s.Set(i+1, b)
			}
		})
	}
	wg.Wait()
	if last != 800 || s.Snapshot().Version() != 800 {
		t.Errorf("last seen %d of %d", last, s.Snapshot().Version())
	}
}

func TestHash(t *testing.T) {
	a, b := version("a"), &descriptorpb.FileDescriptorProto{Name: proto.String("b.proto"), Syntax: proto.String("proto3")}
	if schemaOf(t, a, b).Hash() != schemaOf(t, b, a).Hash() {
		t.Error("the order of files counts")
	}
	comment := proto.CloneOf(a)
	comment.SourceCodeInfo = &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{
		{Path: []int32{4, 0}, Span: []int32{1, 2, 3}, LeadingComments: proto.String("A message.")}}}
	seen := map[Hash]string{}
	for name, s := range map[string]*Schema{"a": schemaOf(t, a), "b": schemaOf(t, b), "both": schemaOf(t, a, b), "none": schemaOf(t),
		"other field": schemaOf(t, version("b")), "comment": schemaOf(t, comment)} {
		if other, ok := seen[s.Hash()]; ok {
			t.Errorf("%s and %s have the same hash", name, other)
		}
		seen[s.Hash()] = name
	}
	s, err := fromFiles([]*descriptorpb.FileDescriptorProto{a}, []string{"t.S"}, nil)
	if err != nil || seen[s.Hash()] != "" {
		t.Error("which services count is not in the hash", err)
	}
	if again, err := fromFiles([]*descriptorpb.FileDescriptorProto{a}, []string{"t.S"}, s); again != s {
		t.Error("the same is built again", err)
	}
}
