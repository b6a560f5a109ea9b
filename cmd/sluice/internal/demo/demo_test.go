package demo

import (
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	pb "github.com/sluice-rpc/sluice/cmd/sluice/internal/demo/demopb"
)

func TestDemo(t *testing.T) {
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	conn, err := grpc.NewClient(s.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := pb.NewDemoClient(conn)

	t.Run("echo", func(t *testing.T) {
		r, err := client.Echo(t.Context(), &pb.EchoRequest{Text: "hello"})
		if err != nil || r.GetText() != "hello" {
			t.Fatalf("got %v, %v", r, err)
		}
	})
	t.Run("ticker", func(t *testing.T) {
		start := time.Now()
		stream, err := client.Ticker(t.Context(), &pb.TickerRequest{Count: 3, EveryMs: 20})
		if err != nil {
			t.Fatal(err)
		}
		var got []uint32
		for {
			r, err := stream.Recv()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r.GetNumber())
		}
		if len(got) != 3 || got[0] != 1 || got[2] != 3 {
			t.Fatalf("got %v", got)
		}
		if d := time.Since(start); d < 60*time.Millisecond {
			t.Fatalf("three ticks of 20 ms took %v", d)
		}
	})
	t.Run("ticker bounds", func(t *testing.T) {
		stream, err := client.Ticker(t.Context(), &pb.TickerRequest{Count: maxTicks + 1})
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.InvalidArgument {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("sum", func(t *testing.T) {
		stream, err := client.Sum(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for n := range int64(4) {
			if err := stream.Send(&pb.SumRequest{Number: n}); err != nil {
				t.Fatal(err)
			}
		}
		r, err := stream.CloseAndRecv()
		if err != nil || r.GetSum() != 6 || r.GetCount() != 4 {
			t.Fatalf("got %v, %v", r, err)
		}
	})
	t.Run("chat", func(t *testing.T) {
		stream, err := client.Chat(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for n, text := range []string{"one", "two"} {
			if err := stream.Send(&pb.ChatRequest{Text: text}); err != nil {
				t.Fatal(err)
			}
			r, err := stream.Recv()
			if err != nil || r.GetText() != "you said: "+text || r.GetNumber() != uint32(n+1) {
				t.Fatalf("got %v, %v", r, err)
			}
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != io.EOF {
			t.Fatalf("got %v, want the end", err)
		}
	})
	t.Run("health", func(t *testing.T) {
		r, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: Service})
		if err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Fatalf("got %v, %v", r, err)
		}
	})
}
