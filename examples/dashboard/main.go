// Command dashboard sends prices to pages that draw them.
package main

import (
	"cmp"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-rpc/sluice"
	pb "github.com/sluice-rpc/sluice/examples/dashboard/pricespb"
)

type prices struct{ pb.UnimplementedPricesServer }

// Watch makes prices up. Send waits while the page does not read, so a slow page gets fewer.
func (prices) Watch(r *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.Price]) error {
	symbols := r.GetSymbols()
	if len(symbols) == 0 || len(symbols) > 100 {
		return status.Error(codes.InvalidArgument, "from 1 to 100 symbols")
	}
	now := make([]float64, len(symbols))
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		for i, symbol := range symbols {
			now[i] = max(now[i]+rand.NormFloat64(), 0)
			if now[i] == 0 {
				now[i] = 100
			}
			if err := stream.Send(&pb.Price{Symbol: symbol, Price: now[i]}); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func main() {
	server := grpc.NewServer()
	pb.RegisterPricesServer(server, prices{})

	files := http.FileServer(http.Dir("dist")) // what Vite has built
	gateway, err := sluice.New(sluice.Config{
		Backends: []sluice.Backend{{Handler: server}},
		Handlers: map[string]http.Handler{"/": files, "/assets/": files},
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
