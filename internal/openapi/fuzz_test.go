package openapi

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/goccy/go-yaml"

	"github.com/sluice-rpc/sluice/internal/schema"
)

// FuzzNew: whatever descriptors say, there is a document that parses in both forms, and each
// reference in it has its component.
func FuzzNew(f *testing.F) {
	for _, text := range []string{
		`syntax = "proto3"; package p; import "google/api/annotations.proto"; import "google/protobuf/wrappers.proto"; enum E { A = 0; }
			message M { string a = 1; M m = 2; repeated E e = 3; map<int32, M> c = 4; google.protobuf.BoolValue b = 5; }
			service S { rpc Do(M) returns (M) { option (google.api.http) = {get: "/v1/{a=x/*}:y" response_body: "m"}; } }`,
		`syntax = "proto2"; package p; message M { required string a = 1; optional group G = 2 { optional M m = 1; } extensions 100 to max; } service S { rpc Do(M) returns (M); }`,
		`edition = "2023"; message M { oneof o { M a = 1; string b = 2; } map<string, M> c = 3; } service S { rpc Do(stream M) returns (stream M); }`,
	} {
		s := compile(f, text)
		set := &descriptorpb.FileDescriptorSet{}
		for _, sd := range s.Services()[:1] {
			set.File = append(set.File, fileOf(sd))
		}
		b, err := proto.Marshal(set)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		// A field_behavior of another type.
		f.Add(append(b, protowire.AppendTag(nil, 1052, protowire.StartGroupType)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return // time, not sense
		}
		parsed, err := schema.FromDescriptorSets(b)
		if err != nil {
			return
		}
		store := schema.NewStore(0, nil)
		store.Set(schema.Given, parsed)
		s := store.Snapshot()
		rules, _ := s.Rules(schema.RuleOptions{})
		d, err := New(s, rules, Options{})
		if err != nil {
			return
		}
		var fromJSON, fromYAML any
		if err := json.Unmarshal(d.JSON(), &fromJSON); err != nil {
			t.Fatalf("%v\n%s", err, d.JSON())
		}
		if err := yaml.Unmarshal(d.YAML(), &fromYAML); err != nil {
			t.Fatalf("%v\n%s", err, d.YAML())
		}
		refs(t, fromJSON, fromJSON)
	})
}

// refs looks each $ref up.
func refs(t *testing.T, root, v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if ref, ok := value.(string); ok && key == "$ref" {
				resolve(t, root, ref)
			}
			if key != "properties" { // a field may be called so
				refs(t, root, value)
			} else if m, ok := value.(map[string]any); ok {
				for _, s := range m {
					refs(t, root, s)
				}
			}
		}
	case []any:
		for _, e := range v {
			refs(t, root, e)
		}
	}
}

func resolve(t *testing.T, root any, ref string) {
	at := root
	for key := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		m, _ := at.(map[string]any)
		if at = m[key]; at == nil {
			t.Fatalf("%s is not there", ref)
		}
	}
}

func fileOf(sd protoreflect.ServiceDescriptor) *descriptorpb.FileDescriptorProto {
	return protodesc.ToFileDescriptorProto(sd.ParentFile())
}
