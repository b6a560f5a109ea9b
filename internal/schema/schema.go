// Package schema knows what descriptors say of services: which there are, the kinds of
// their methods, which of them have no side effects, what their messages are made of.
// Descriptors come from descriptor sets ([FromDescriptorSets]) or from a backend by
// server reflection ([Reflect]), which a [Watcher] repeats when there may be news. A
// [Store] holds those of all sources; what it says at one moment is a [Snapshot].
//
// The ways to reach methods by HTTP are rules ([Schema.Rules], [Snapshot.Rules]): from the
// option google.api.http, from files ([ReadHTTPRules]) and by a pattern ([ParseNaming]).
// [NewTable] makes of them what finds the rule of a request; package route says how.
//
// A Schema never changes. A new one is built aside and swapped in whole; a bad one
// leaves the old in force. Each source has files of its own, so that two backends may
// have different versions of one file, each used for its own calls.
package schema

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
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
	methods     map[string]method
	services    []string
	undescribed []string
	unresolved  []string
	files       *protoregistry.Files
	hash        Hash
	answers     [sha256.Size]byte // the fingerprint of what a backend said, if it did
}

// A Hash tells whether two schemas say the same.
type Hash [sha256.Size]byte

type method struct {
	*rpc.Method
	desc protoreflect.MethodDescriptor
}

// Lookup returns what is known of the method "/package.Service/Method", or nil.
func (s *Schema) Lookup(name string) *rpc.Method { return s.methods[name].Method }

// Method returns the descriptor of the method "/package.Service/Method", or nil.
func (s *Schema) Method(name string) protoreflect.MethodDescriptor { return s.methods[name].desc }

// Services returns the full names of the services, sorted.
func (s *Schema) Services() []string { return s.services }

// Undescribed returns those of the services that a backend has named, and not described.
func (s *Schema) Undescribed() []string { return s.undescribed }

// Unresolved returns the full names of the types that methods and fields use, and no
// file describes: their messages cannot be turned into JSON.
func (s *Schema) Unresolved() []string { return s.unresolved }

// Methods returns how many methods there are.
func (s *Schema) Methods() int { return len(s.methods) }

// Files returns the descriptors.
func (s *Schema) Files() *protoregistry.Files { return s.files }

// Hash is that of all that the descriptors say, comments included. The order of the
// files does not count.
func (s *Schema) Hash() Hash { return s.hash }

// FromDescriptorSets makes a Schema of serialized google.protobuf.FileDescriptorSet
// messages. An image of buf is one, too.
func FromDescriptorSets(sets ...[]byte) (*Schema, error) {
	var files []*descriptorpb.FileDescriptorProto
	for _, b := range sets {
		var set descriptorpb.FileDescriptorSet
		if err := unmarshal.Unmarshal(b, &set); err != nil {
			return nil, errors.New("this is no serialized google.protobuf.FileDescriptorSet: make one with " +
				"protoc --include_imports --descriptor_set_out=FILE, or buf build -o FILE.binpb")
		}
		files = append(files, set.File...)
	}
	return fromFiles(files, nil, nil)
}

// fromFiles builds a Schema, or returns old if it would be the same. only names the
// services that count; nil is all.
func fromFiles(files []*descriptorpb.FileDescriptorProto, only []string, old *Schema) (*Schema, error) {
	set, err := merge(files)
	if err != nil {
		return nil, err
	}
	s := &Schema{methods: map[string]method{}}
	if s.hash, err = hash(set.File, only); err != nil {
		return nil, fmt.Errorf("descriptors: %w", err)
	}
	if old != nil && old.hash == s.hash {
		return old, nil
	}
	if s.files, err = (protodesc.FileOptions{AllowUnresolvable: true}).NewFiles(set); err != nil {
		return nil, fmt.Errorf("descriptors: %w", err)
	}
	described := map[string]bool{}
	s.files.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Services().Len() {
			sd := fd.Services().Get(i)
			if only != nil && !slices.Contains(only, string(sd.FullName())) {
				continue
			}
			described[string(sd.FullName())] = true
			s.services = append(s.services, string(sd.FullName()))
			for j := range sd.Methods().Len() {
				s.add(sd, sd.Methods().Get(j))
			}
		}
		return true
	})
	for _, name := range only {
		if !described[name] {
			described[name] = true
			s.services = append(s.services, name)
			s.undescribed = append(s.undescribed, name)
		}
	}
	slices.Sort(s.services)
	slices.Sort(s.undescribed)
	s.unresolved = unresolved(s.files)
	return s, nil
}

// merge makes one set of files in which no two have the same name, with the imports
// that everybody has. Those come in different versions with everything that was
// compiled, and they only ever grow: there the first does for all.
func merge(files []*descriptorpb.FileDescriptorProto) (*descriptorpb.FileDescriptorSet, error) {
	byName := make(map[string]*descriptorpb.FileDescriptorProto, len(files))
	set := &descriptorpb.FileDescriptorSet{}
	for _, f := range files {
		if old := byName[f.GetName()]; old != nil {
			if !same(old, f) && !everybodys(f.GetName()) {
				return nil, fmt.Errorf("file %q is there twice and not the same", f.GetName())
			}
			continue
		}
		byName[f.GetName()] = f
		set.File = append(set.File, f)
	}
	for i := 0; i < len(set.File); i++ { // it grows
		for _, dep := range set.File[i].GetDependency() {
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
	return set, nil
}

// everybodys says whether a file is one of those that others import and nobody owns.
func everybodys(file string) bool {
	for _, dir := range []string{"google/api/", "google/longrunning/", "google/protobuf/", "google/rpc/", "google/type/"} {
		if strings.HasPrefix(file, dir) {
			return true
		}
	}
	return false
}

// same says whether two files with one name are the same but for what compilers add:
// comments with their places, and what buf notes in a field of its own.
func same(a, b *descriptorpb.FileDescriptorProto) bool {
	bare := func(f *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
		f = proto.CloneOf(f)
		f.SourceCodeInfo = nil
		f.ProtoReflect().SetUnknown(nil)
		return f
	}
	return proto.Equal(a, b) || proto.Equal(bare(a), bare(b))
}

func hash(files []*descriptorpb.FileDescriptorProto, only []string) (sum Hash, err error) {
	order := slices.SortedFunc(slices.Values(files), func(a, b *descriptorpb.FileDescriptorProto) int {
		return strings.Compare(a.GetName(), b.GetName())
	})
	h := sha256.New()
	var b []byte
	part := func() {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	for _, f := range order {
		if b, err = (proto.MarshalOptions{Deterministic: true}).MarshalAppend(b[:0], f); err != nil {
			return sum, err
		}
		part()
	}
	for _, name := range slices.Sorted(slices.Values(only)) {
		b = append(b[:0], name...)
		part()
	}
	if only == nil {
		b = b[:0]
		part()
	}
	h.Sum(sum[:0])
	return sum, nil
}

func (s *Schema) add(sd protoreflect.ServiceDescriptor, md protoreflect.MethodDescriptor) {
	name := "/" + string(sd.FullName()) + "/" + string(md.Name())
	options, _ := md.Options().(*descriptorpb.MethodOptions)
	s.methods[name] = method{desc: md, Method: &rpc.Method{
		Name: name, ClientStreaming: md.IsStreamingClient(), ServerStreaming: md.IsStreamingServer(),
		NoSideEffects: options.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS,
	}}
}

// unresolved looks for types that are only named.
func unresolved(files *protoregistry.Files) []string {
	found := map[string]bool{}
	look := func(d protoreflect.Descriptor) {
		if d != nil && d.IsPlaceholder() {
			found[string(d.FullName())] = true
		}
	}
	var messages func(protoreflect.MessageDescriptors)
	messages = func(list protoreflect.MessageDescriptors) {
		for i := range list.Len() {
			md := list.Get(i)
			for j := range md.Fields().Len() {
				if fd := md.Fields().Get(j); fd.Message() != nil {
					look(fd.Message())
				} else if fd.Enum() != nil {
					look(fd.Enum())
				}
			}
			messages(md.Messages())
		}
	}
	files.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		messages(fd.Messages())
		for i := range fd.Services().Len() {
			methods := fd.Services().Get(i).Methods()
			for j := range methods.Len() {
				look(methods.Get(j).Input())
				look(methods.Get(j).Output())
			}
		}
		return true
	})
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// service returns the service of "/service/method".
func service(method string) string {
	s, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return s
}
