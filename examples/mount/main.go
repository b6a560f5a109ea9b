// Command mount adds Sluice to a server that is there already: its pages and handlers stay as they are,
// and all that they don't have are calls to a *grpc.Server, from browsers, curl and gRPC clients.
package main

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/sluice-rpc/sluice"
)

//go:embed index.html
var page embed.FS

func main() {
	// What was there: handlers, and a gRPC server.
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", http.FileServerFS(page))
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "1.2.3") })
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	reflection.Register(server)

	// What is new. Where "/" is taken, mount the gateway at "/grpc.health.v1.Health/", the path of the
	// service, and for @sluice-rpc/client at "/sluice/v1" and "/.well-known/sluice".
	gateway, err := sluice.New(sluice.Config{Backends: []sluice.Backend{{Handler: server}}})
	if err != nil {
		log.Fatal(err)
	}
	mux.Handle("/", gateway)

	web := &http.Server{Handler: mux, Protocols: new(http.Protocols)}
	web.Protocols.SetHTTP1(true)
	web.Protocols.SetHTTP2(true)
	web.Protocols.SetUnencryptedHTTP2(true) // for gRPC clients without TLS
	listener, err := net.Listen("tcp", "localhost:"+cmp.Or(os.Getenv("PORT"), "8080"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s/\n", listener.Addr())
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(listener) }() // until Shutdown

	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	select {
	case err := <-ended:
		log.Fatal(err)
	case <-interrupted.Done():
	}
	// The gateway ends its calls, WebSockets too, of which net/http knows nothing any more.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := errors.Join(gateway.Shutdown(ctx), web.Shutdown(ctx)); err != nil {
		log.Fatal(err)
	}
}
