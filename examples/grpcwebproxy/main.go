// Command grpcwebproxy runs an old setup, a gRPC server, a page of another origin and a proxy between them, with
// Sluice in the place of grpcwebproxy.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/sluice-rpc/sluice/examples/grpcwebproxy/weatherpb"
)

type weather struct{ pb.UnimplementedWeatherServer }

func (weather) Now(_ context.Context, r *pb.NowRequest) (*pb.Report, error) {
	return &pb.Report{City: r.GetCity(), Celsius: -3}, nil
}

func (weather) Watch(r *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.Report]) error {
	if r.GetReports() > 100 {
		return status.Error(codes.InvalidArgument, "at most 100 reports")
	}
	for n := range int32(r.GetReports()) {
		if err := stream.Send(&pb.Report{City: r.GetCity(), Celsius: n - 3}); err != nil {
			return err
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	server := grpc.NewServer()
	pb.RegisterWeatherServer(server, weather{})
	backend := listen("0")
	go func() { log.Fatal(server.Serve(backend)) }() // until the program ends

	// `grpcwebproxy` was here, with these flags.
	proxy := exec.CommandContext(ctx, "go", "tool", "sluice", "grpcwebproxy",
		"--backend_addr="+backend.Addr().String(),
		"--server_bind_address=localhost",
		"--server_http_debug_port="+cmp.Or(os.Getenv("VITE_PROXY_PORT"), "8081"),
		"--run_tls_server=false",
		"--use_websockets",
		"--allow_all_origins",
	)
	proxy.Cancel = func() error { return proxy.Process.Signal(syscall.SIGTERM) }
	proxy.Stderr = os.Stderr
	if err := proxy.Start(); err != nil {
		log.Fatal(err)
	}

	page := listen(cmp.Or(os.Getenv("PORT"), "8080"))
	go func() { log.Fatal(http.Serve(page, http.FileServer(http.Dir("dist")))) }() // the same
	fmt.Printf("http://%s/\n", page.Addr())
	if err := proxy.Wait(); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

func listen(port string) net.Listener {
	l, err := net.Listen("tcp", "localhost:"+port)
	if err != nil {
		log.Fatal(err)
	}
	return l
}
