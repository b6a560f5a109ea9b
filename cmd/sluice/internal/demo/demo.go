// Package demo is the gRPC server that `sluice demo` puts behind the gateway: one
// service with methods of each kind, with reflection and health, by grpc-go. It
// knows nothing of the gateway; a client may as well call it directly.
package demo

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	pb "github.com/sluice-rpc/sluice/cmd/sluice/internal/demo/demopb"
)

// Service is the name of the demo's service.
const Service = "sluice.demo.v1.Demo"

// HTTPRules are the rules by which REST reaches the service.
//
//go:embed rules.yaml
var HTTPRules []byte

const (
	maxTicks  = 100_000          // of one Ticker call
	maxPause  = 60 * time.Second // between two ticks
	someTicks = 5
	somePause = 200 * time.Millisecond
)

// A Server is the running demo server.
type Server struct {
	Addr   string // where it listens, "127.0.0.1:port"
	grpc   *grpc.Server
	health *health.Server
	served chan error
}

// Start serves on a free port of the loopback interface. The caller must call Close.
func Start() (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("demo server: %w", err)
	}
	s := &Server{Addr: l.Addr().String(), grpc: grpc.NewServer(), health: health.NewServer(), served: make(chan error, 1)}
	pb.RegisterDemoServer(s.grpc, &service{room: newRoom(), maxUpload: maxUpload})
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	s.health.SetServingStatus(Service, grpc_health_v1.HealthCheckResponse_SERVING)
	go s.serve(l)
	return s, nil
}

// serve is ended and waited for by Close.
func (s *Server) serve(l net.Listener) { s.served <- s.grpc.Serve(l) }

// Close ends the server and the calls that still run.
func (s *Server) Close() error {
	s.health.Shutdown()
	s.grpc.Stop()
	return <-s.served
}

type service struct {
	pb.UnimplementedDemoServer
	room      *room
	maxUpload int // bytes
}

func (*service) Echo(_ context.Context, r *pb.EchoRequest) (*pb.EchoResponse, error) {
	return &pb.EchoResponse{Text: r.GetText()}, nil
}

func (*service) Ticker(r *pb.TickerRequest, stream grpc.ServerStreamingServer[pb.TickerResponse]) error {
	count, pause := r.GetCount(), time.Duration(r.GetEveryMs())*time.Millisecond
	if count == 0 {
		count = someTicks
	}
	if pause == 0 {
		pause = somePause
	}
	if count > maxTicks || pause > maxPause {
		return status.Errorf(codes.InvalidArgument, "count is at most %d and every_ms at most %d", maxTicks, maxPause.Milliseconds())
	}
	timer := time.NewTicker(pause)
	defer timer.Stop()
	for n := range count {
		select {
		case <-timer.C:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
		if err := stream.Send(&pb.TickerResponse{Number: n + 1, UnixMs: time.Now().UnixMilli()}); err != nil {
			return err
		}
	}
	return nil
}

func (*service) EchoBytes(stream grpc.BidiStreamingServer[wrapperspb.BytesValue, wrapperspb.BytesValue]) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(r); err != nil {
			return err
		}
	}
}

func (*service) Sum(stream grpc.ClientStreamingServer[pb.SumRequest, pb.SumResponse]) error {
	var answer pb.SumResponse
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&answer)
		}
		if err != nil {
			return err
		}
		answer.Sum += r.GetNumber()
		answer.Count++
	}
}

func (*service) Chat(stream grpc.BidiStreamingServer[pb.ChatRequest, pb.ChatResponse]) error {
	for n := uint32(1); ; n++ {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&pb.ChatResponse{Text: "you said: " + r.GetText(), Number: n}); err != nil {
			return err
		}
	}
}
