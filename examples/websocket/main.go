// Command websocket is a game over plain WebSockets with JSON. The server has one bidirectional method
// of gRPC, and knows nothing of WebSockets.
package main

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/sluice-rpc/sluice"
	pb "github.com/sluice-rpc/sluice/examples/websocket/gamepb"
)

//go:embed index.html
var page embed.FS

type game struct{ pb.UnimplementedGameServer }

func (game) Play(stream grpc.BidiStreamingServer[pb.Guess, pb.Hint]) error {
	secret := rand.Int32N(100) + 1
	for {
		guess, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil // the player gives up
		}
		if err != nil {
			return err
		}
		n := guess.GetNumber()
		if n < 1 || n > 100 {
			return status.Errorf(codes.OutOfRange, "%d is not from 1 to 100", n) // closes with 4011
		}
		hint := [...]string{"higher", "right", "lower"}[cmp.Compare(n, secret)+1]
		if err := stream.Send(&pb.Hint{Number: n, Hint: hint}); err != nil {
			return err
		}
		if n == secret {
			return nil // closes with 1000
		}
	}
}

func main() {
	server := grpc.NewServer()
	pb.RegisterGameServer(server, game{})
	reflection.Register(server) // tells the gateway the routes of game.proto

	gateway, err := sluice.New(sluice.Config{
		Backends: []sluice.Backend{{Handler: server}},
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
