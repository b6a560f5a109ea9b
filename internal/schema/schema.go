// Package schema knows what descriptors say of services: which there are, the kinds of
// their methods, which of them have no side effects. Descriptors come from descriptor
// sets ([FromDescriptorSet]) or from a backend by server reflection ([Reflect]); a
// [Store] holds those of all backends.
//
// A Schema never changes. A new one is built aside and swapped in whole; a bad one
// leaves the old in force.
package schema

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// A Schema is what a set of descriptors says.
type Schema struct {
	methods  map[string]*rpc.Method
	services []string
	files    *protoregistry.Files
}

// Lookup returns what is known of the method "/package.Service/Method", or nil.
func (s *Schema) Lookup(method string) *rpc.Method { return s.methods[method] }

// Services returns the full names of the services, sorted.
func (s *Schema) Services() []string { return s.services }

// Methods returns how many methods there are.
func (s *Schema) Methods() int { return len(s.methods) }

// Files returns the descriptors.
func (s *Schema) Files() *protoregistry.Files { return s.files }

// Load reads descriptor sets from files, such as protoc --descriptor_set_out
// --include_imports or buf build -o write.
func Load(paths ...string) (*Schema, error) {
	var sets [][]byte
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			return nil, fmt.Errorf("schema %w", err)
		}
		if _, err := FromDescriptorSets(b); err != nil {
			return nil, fmt.Errorf("schema %s: %w", p, err)
		}
		sets = append(sets, b)
	}
	return FromDescriptorSets(sets...)
}

// FromDescriptorSets makes a Schema of serialized google.protobuf.FileDescriptorSet
// messages.
func FromDescriptorSets(sets ...[]byte) (*Schema, error) {
	var files []*descriptorpb.FileDescriptorProto
	for _, b := range sets {
		var set descriptorpb.FileDescriptorSet
		if err := proto.Unmarshal(b, &set); err != nil {
			return nil, errors.New("this is no serialized google.protobuf.FileDescriptorSet: make one with " +
				"protoc --include_imports --descriptor_set_out=FILE, or buf build -o FILE.binpb")
		}
		files = append(files, set.File...)
	}
	return fromFiles(files, nil)
}

// fromFiles builds a Schema. only names the services that count; nil is all.
func fromFiles(files []*descriptorpb.FileDescriptorProto, only []string) (*Schema, error) {
	byName := make(map[string]*descriptorpb.FileDescriptorProto, len(files))
	set := &descriptorpb.FileDescriptorSet{}
	for _, f := range files {
		if old := byName[f.GetName()]; old != nil {
			if !proto.Equal(old, f) {
				return nil, fmt.Errorf("file %q is there twice and not the same", f.GetName())
			}
			continue
		}
		byName[f.GetName()] = f
		set.File = append(set.File, f)
	}
	for _, f := range set.File {
		for _, dep := range f.GetDependency() {
			if byName[dep] != nil {
				continue
			}
			// Well-known types are often left out, and everybody has the same.
			if fd, err := protoregistry.GlobalFiles.FindFileByPath(dep); err == nil {
				byName[dep] = protodesc.ToFileDescriptorProto(fd)
				set.File = append(set.File, byName[dep])
			}
		}
	}
	registry, err := protodesc.FileOptions{AllowUnresolvable: true}.NewFiles(set)
	if err != nil {
		return nil, fmt.Errorf("descriptors: %w", err)
	}
	s := &Schema{methods: map[string]*rpc.Method{}, files: registry}
	registry.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Services().Len() {
			sd := fd.Services().Get(i)
			if only != nil && !slices.Contains(only, string(sd.FullName())) {
				continue
			}
			s.services = append(s.services, string(sd.FullName()))
			for j := range sd.Methods().Len() {
				s.add(sd, sd.Methods().Get(j))
			}
		}
		return true
	})
	slices.Sort(s.services)
	return s, nil
}

func (s *Schema) add(sd protoreflect.ServiceDescriptor, md protoreflect.MethodDescriptor) {
	name := "/" + string(sd.FullName()) + "/" + string(md.Name())
	options, _ := md.Options().(*descriptorpb.MethodOptions)
	s.methods[name] = &rpc.Method{
		Name: name, ClientStreaming: md.IsStreamingClient(), ServerStreaming: md.IsStreamingServer(),
		NoSideEffects: options.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS,
	}
}

// equal says whether two schemas say the same of every method.
func (s *Schema) equal(o *Schema) bool {
	if s == nil || o == nil || len(s.methods) != len(o.methods) {
		return s == o
	}
	for k, m := range s.methods {
		if n := o.methods[k]; n == nil || *n != *m {
			return false
		}
	}
	return slices.Equal(s.services, o.services)
}

// service returns the service of "/service/method".
func service(method string) string {
	s, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return s
}
