// Command upload takes files from a page, which shows how far they are. The server has a
// client-streaming method; no file is ever whole in memory.
package main

import (
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"

	"github.com/sluice-rpc/sluice"
	pb "github.com/sluice-rpc/sluice/examples/upload/uploadpb"
)

//go:embed index.html
var page embed.FS

type files struct{ pb.UnimplementedFilesServer }

func (files) Upload(stream grpc.ClientStreamingServer[pb.UploadRequest, pb.UploadResponse]) error {
	response := &pb.UploadResponse{}
	hash := sha256.New() // a real server would store it
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			response.Sha256 = hex.EncodeToString(hash.Sum(nil))
			return stream.SendAndClose(response)
		}
		if err != nil {
			return err // an upload that broke off is no file
		}
		response.Name = cmp.Or(response.Name, r.GetName())
		hash.Write(r.GetFile().GetData())
		response.Bytes += int64(len(r.GetFile().GetData()))
	}
}

func main() {
	server := grpc.NewServer()
	pb.RegisterFilesServer(server, files{})
	reflection.Register(server) // tells the gateway the routes of upload.proto

	// Not in the gateway's process: there a *grpc.Server reads as fast as a client sends.
	backend, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(server.Serve(backend)) }() // until the program ends

	gateway, err := sluice.New(sluice.Config{
		Backends: []sluice.Backend{{Target: backend.Addr().String()}},
		Handlers: map[string]http.Handler{"/": http.FileServerFS(page)},
	})
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "localhost:"+cmp.Or(os.Getenv("PORT"), "8080"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s/\n", listener.Addr())
	log.Fatal(gateway.Serve(listener))
}
