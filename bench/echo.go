package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/sluice-rpc/sluice/bench/orders"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	_ "google.golang.org/grpc/interop/grpc_testing" // the descriptors that reflection gives
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// service is a real service, so that a gateway that knows descriptors uses them.
const service = "grpc.testing.BenchmarkService"

// A frame is a message that stays bytes.
type frame struct{ b []byte }

// rawCodec passes frames as they are, and knows protobuf for reflection and health.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case *frame:
		return mem.BufferSlice{mem.SliceBuffer(v.b)}, nil
	case proto.Message:
		b, err := proto.Marshal(v)
		return mem.BufferSlice{mem.SliceBuffer(b)}, err
	}
	return nil, fmt.Errorf("can't encode %T", v)
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	switch v := v.(type) {
	case *frame:
		v.b = data.Materialize()
		return nil
	case proto.Message:
		return proto.Unmarshal(data.Materialize(), v)
	}
	return fmt.Errorf("can't decode %T", v)
}

func unary(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	f := new(frame)
	return f, dec(f)
}

func bidi(_ any, s grpc.ServerStream) error {
	var f frame
	for {
		if err := s.RecvMsg(&f); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.SendMsg(&frame{f.b}); err != nil {
			return err
		}
	}
}

// flood sends messages like the request's until the client goes away.
func flood(_ any, s grpc.ServerStream) error {
	var f frame
	if err := s.RecvMsg(&f); err != nil {
		return err
	}
	for {
		if err := s.SendMsg(&f); err != nil {
			return err
		}
	}
}

// sink takes messages until there are no more, and answers with the last.
func sink(_ any, s grpc.ServerStream) error {
	var f frame
	for {
		if err := s.RecvMsg(&f); errors.Is(err, io.EOF) {
			return s.SendMsg(&f)
		} else if err != nil {
			return err
		}
	}
}

// serveEcho is the backend of every round.
func serveEcho(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	s := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}))
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: service,
		Methods:     []grpc.MethodDesc{{MethodName: "UnaryCall", Handler: unary}},
		Streams: []grpc.StreamDesc{
			{StreamName: "StreamingCall", Handler: bidi, ServerStreams: true, ClientStreams: true},
			{StreamName: "StreamingFromServer", Handler: flood, ServerStreams: true},
			{StreamName: "StreamingFromClient", Handler: sink, ClientStreams: true},
		},
		Metadata: "grpc/testing/benchmark_service.proto",
	}, nil)
	orders.RegisterOrdersServer(s, orderServer{})
	healthpb.RegisterHealthServer(s, health.NewServer())
	reflection.Register(s)
	return s.Serve(l)
}

// unimplemented is for calls that no handler knows.
var errUnimplemented = status.Error(codes.Unimplemented, "unknown method")
