// Command embed puts Sluice in front of an in-process *grpc.Server: one port for
// gRPC, gRPC-Web and Connect, in one program.
package main

import (
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/sluice-rpc/sluice"
)

func main() {
	server := grpc.NewServer() // register your services here
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	reflection.Register(server)

	gateway, err := sluice.New(sluice.Config{Backends: []sluice.Backend{{Handler: server}}})
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "localhost:8080")
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(gateway.Serve(listener))
}
