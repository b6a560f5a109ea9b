// Command gen makes the generated code of all examples from their .proto files, by the plugins of
// protoc. It needs no protoc; where you have buf, `buf generate` does the same.
//
//	go run ./gen
package main

import (
	"bytes"
	"errors"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	_ "google.golang.org/genproto/googleapis/api/annotations" // what the files import has to be linked
	_ "google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/sluice-rpc/sluice/internal/schema/schematest"
)

// A plugin is a program that makes code.
type plugin struct {
	command   []string
	parameter string
}

var (
	goMessages = plugin{[]string{"go", "run", "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12"}, "paths=source_relative"}
	goServices = plugin{[]string{"go", "run", "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.0"}, "paths=source_relative"}
	connectES  = plugin{[]string{"npm", "exec", "--yes", "--package=@bufbuild/protoc-gen-es@2.17.0", "--", "protoc-gen-es"}, "target=ts"}
	grpcWeb    = plugin{[]string{"npm", "exec", "--yes", "--package=ts-proto@2.18.0", "--", "protoc-gen-ts_proto"}, "outputClientImpl=grpc-web,esModuleInterop=true"}
)

// outputs say by which plugin the code of which file comes where.
var outputs = []struct {
	file, to string
	plugin   plugin
}{
	{"chat/chat.proto", "chat/chatpb", goMessages},
	{"chat/chat.proto", "chat/chatpb", goServices},
	{"chat/chat.proto", "chat/src/gen", connectES},
	{"cursors/cursors.proto", "cursors/cursorspb", goMessages},
	{"cursors/cursors.proto", "cursors/cursorspb", goServices},
	{"cursors/cursors.proto", "cursors/src/gen", connectES},
	{"dashboard/prices.proto", "dashboard/pricespb", goMessages},
	{"dashboard/prices.proto", "dashboard/pricespb", goServices},
	{"dashboard/prices.proto", "dashboard/src/gen", connectES},
	{"grpcwebproxy/weather.proto", "grpcwebproxy/weatherpb", goMessages},
	{"grpcwebproxy/weather.proto", "grpcwebproxy/weatherpb", goServices},
	{"grpcwebproxy/weather.proto", "grpcwebproxy/src/gen", grpcWeb},
	{"notifications/notifications.proto", "notifications/notificationspb", goMessages},
	{"notifications/notifications.proto", "notifications/notificationspb", goServices},
	{"upload/upload.proto", "upload/uploadpb", goMessages},
	{"upload/upload.proto", "upload/uploadpb", goServices},
	{"websocket/game.proto", "websocket/gamepb", goMessages},
	{"websocket/game.proto", "websocket/gamepb", goServices},
}

func main() {
	for _, o := range outputs {
		files, err := schematest.Files(filepath.Dir(o.file), filepath.Base(o.file))
		if err != nil {
			log.Fatal(err)
		}
		if err := run(o.plugin, o.to, &pluginpb.CodeGeneratorRequest{
			FileToGenerate: []string{filepath.Base(o.file)}, Parameter: &o.plugin.parameter, ProtoFile: schematest.Set(files...).File,
		}); err != nil {
			log.Fatalf("%s, %v: %v", o.file, o.plugin.command, err)
		}
	}
}

// run lets a plugin make its files below a directory.
func run(p plugin, to string, request *pluginpb.CodeGeneratorRequest) error {
	input, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	cmd := exec.Command(p.command[0], p.command[1:]...)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(output, &response); err != nil {
		return err
	}
	if response.Error != nil {
		return errors.New(response.GetError())
	}
	for _, f := range response.File {
		path := filepath.Join(to, filepath.FromSlash(f.GetName()))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
