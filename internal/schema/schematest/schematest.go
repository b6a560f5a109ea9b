// Package schematest compiles .proto files for tests, and for the tools of tests. What they
// import is found beside them, among the Go packages that are linked (google/api is), and
// among the files that come with every compiler.
package schematest

import (
	"context"

	"github.com/bufbuild/protocompile"
	_ "google.golang.org/genproto/googleapis/api/annotations" // what files import
	_ "google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Files compiles files of a directory. Names are those by which others would import them.
func Files(dir string, names ...string) ([]protoreflect.FileDescriptor, error) {
	return compile(&protocompile.SourceResolver{ImportPaths: []string{dir}}, names...)
}

// Text compiles one file.
func Text(name, text string) (protoreflect.FileDescriptor, error) {
	files, err := compile(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(map[string]string{name: text})}, name)
	if err != nil {
		return nil, err
	}
	return files[0], nil
}

func compile(source protocompile.Resolver, names ...string) ([]protoreflect.FileDescriptor, error) {
	linked := protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
		fd, err := protoregistry.GlobalFiles.FindFileByPath(path)
		return protocompile.SearchResult{Desc: fd}, err
	})
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(protocompile.CompositeResolver{source, linked}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), names...)
	if err != nil {
		return nil, err
	}
	out := make([]protoreflect.FileDescriptor, len(files))
	for i, fd := range files {
		out[i] = fd
	}
	return out, nil
}

// Set returns files with all that they import, each behind its imports.
func Set(files ...protoreflect.FileDescriptor) *descriptorpb.FileDescriptorSet {
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
	for _, fd := range files {
		add(fd)
	}
	return set
}
