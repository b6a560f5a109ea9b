// Command gen makes the Go code of library.proto: it compiles the file and gives it to the plugins of
// protoc, so that no protoc is needed. What the file imports is linked.
package main

import (
	"bytes"
	"context"
	"log"
	"os"
	"os/exec"
	"slices"

	"github.com/bufbuild/protocompile"
	_ "google.golang.org/genproto/googleapis/api/annotations"
	_ "google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"
	"google.golang.org/protobuf/types/pluginpb"
)

const file = "library.proto"

var plugins = []string{
	"google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12",
	"google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.0",
	"github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-grpc-gateway", // a tool of go.mod, which pins its genproto
}

func main() {
	linked := protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
		fd, err := protoregistry.GlobalFiles.FindFileByPath(path)
		return protocompile.SearchResult{Desc: fd}, err
	})
	compiler := protocompile.Compiler{
		Resolver:       protocompile.CompositeResolver{&protocompile.SourceResolver{}, linked},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	roots, err := compiler.Compile(context.Background(), file)
	if err != nil {
		log.Fatal(err)
	}
	request := &pluginpb.CodeGeneratorRequest{FileToGenerate: []string{file}, Parameter: proto.String("paths=source_relative")}
	var add func(fd protoreflect.FileDescriptor)
	add = func(fd protoreflect.FileDescriptor) {
		if slices.ContainsFunc(request.ProtoFile, func(f *descriptorpb.FileDescriptorProto) bool { return f.GetName() == fd.Path() }) {
			return
		}
		for imports, i := fd.Imports(), 0; i < imports.Len(); i++ {
			add(imports.Get(i).FileDescriptor)
		}
		request.ProtoFile = append(request.ProtoFile, protodesc.ToFileDescriptorProto(fd))
	}
	add(roots[0])
	input, err := proto.Marshal(request)
	if err != nil {
		log.Fatal(err)
	}
	for _, plugin := range plugins {
		var response pluginpb.CodeGeneratorResponse
		cmd := exec.Command("go", "run", plugin)
		cmd.Stdin, cmd.Stderr = bytes.NewReader(input), os.Stderr
		output, err := cmd.Output()
		if err == nil {
			err = proto.Unmarshal(output, &response)
		}
		if err != nil || response.Error != nil {
			log.Fatal(plugin, ": ", err, response.GetError())
		}
		for _, f := range response.File {
			if err := os.WriteFile(f.GetName(), []byte(f.GetContent()), 0o644); err != nil {
				log.Fatal(err)
			}
		}
	}
}
