package conformance

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// TestHonest is the reverse of the floods: a client that streams small messages both ways
// as fast as it can is never punished. Each message of grpc-go's is a DATA frame of its
// own; besides there are its WINDOW_UPDATEs and the PINGs by which it measures the line.
// HONEST_TIME makes it longer.
func TestHonest(t *testing.T) {
	long := period(t, "HONEST_TIME", 3*time.Second)
	s := backends(t).gateway(t, "", "")
	var dials atomic.Int64
	conn, err := grpc.NewClient("passthrough:///"+s.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			dials.Add(1)
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), long+time.Minute)
	defer cancel()
	call, err := testpb.NewTestServiceClient(conn).FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan uint64, 1)
	go func() { // ends with the time, or with the call
		var n uint64
		defer func() { sent <- n }()
		for end := time.Now().Add(long); time.Now().Before(end); n++ {
			body := make([]byte, 100)
			binary.BigEndian.PutUint64(body, n)
			if call.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: body}}) != nil {
				return // Recv has the reason
			}
		}
		_ = call.CloseSend()
	}()
	var got uint64
	for ; ; got++ {
		resp, err := call.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("after %d messages: %v\n%s", got, err, s.Output())
		}
		if body := resp.GetPayload().GetBody(); len(body) != 100 || binary.BigEndian.Uint64(body) != got {
			t.Fatalf("message %d: got %x", got, body)
		}
	}
	if n := <-sent; n != got || n == 0 {
		t.Errorf("sent %d messages, got %d", n, got)
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("the client had to connect %d times", n)
	}
	if hit := s.limits(t); hit != "" {
		t.Errorf("limits hit: %s", hit)
	}
	t.Logf("%d messages in %v", got, long)
}
