// Command gen makes the Go code of library.proto: it compiles the file and gives it to the plugins of
// protoc, so that no protoc is needed. What the file imports is linked.
package main

import (
	"bytes"
	"log"
	"os"
	"os/exec"

	"github.com/sluice-rpc/sluice/internal/schema/schematest"
	"google.golang.org/protobuf/proto"
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
	files, err := schematest.Files(".", file)
	if err != nil {
		log.Fatal(err)
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{file}, Parameter: proto.String("paths=source_relative"), ProtoFile: schematest.Set(files...).File,
	}
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
