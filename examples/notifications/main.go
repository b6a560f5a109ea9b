// Command notifications tells pages what happens to an order. The server streams by gRPC; the page has
// nothing but EventSource.
package main

import (
	"cmp"
	"embed"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"

	"github.com/sluice-rpc/sluice"
	pb "github.com/sluice-rpc/sluice/examples/notifications/notificationspb"
)

//go:embed index.html
var page embed.FS

type orders struct{ pb.UnimplementedOrdersServer }

var steps = []string{"We have your order.", "It is packed.", "It is on its way.", "It is at your door."}

// Watch tells the steps of an order. An EventSource that was cut off comes back by itself, and says by
// last-event-id what it has seen.
func (orders) Watch(r *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.Notification]) error {
	seen := 0
	if md, _ := metadata.FromIncomingContext(stream.Context()); len(md["last-event-id"]) > 0 {
		seen, _ = strconv.Atoi(md["last-event-id"][0]) // what is no number of ours is the beginning
	}
	if err := stream.SetHeader(metadata.Pairs("sse-id-field", "number")); err != nil {
		return err
	}
	for n := max(seen, 0); n < len(steps); n++ {
		select {
		case <-time.After(time.Second):
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
		if err := stream.Send(&pb.Notification{Number: int32(n + 1), Text: steps[n]}); err != nil {
			return err
		}
	}
	return nil // the gateway makes the event EOS of it
}

func main() {
	server := grpc.NewServer()
	pb.RegisterOrdersServer(server, orders{})
	reflection.Register(server) // tells the gateway the routes of notifications.proto

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
