package demo

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "github.com/sluice-rpc/sluice/cmd/sluice/internal/demo/demopb"
)

// dial is a client of a server of its own.
func dial(t *testing.T) pb.DemoClient {
	t.Helper()
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	conn, err := grpc.NewClient(s.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return pb.NewDemoClient(conn)
}

type roomStream = grpc.BidiStreamingClient[pb.RoomRequest, pb.RoomResponse]

// enter waits until the server knows of the new member.
func enter(t *testing.T, client pb.DemoClient, ctx context.Context, members uint32) roomStream {
	t.Helper()
	stream, err := client.Room(ctx)
	if err != nil {
		t.Fatal(err)
	}
	hear(t, stream, &pb.RoomResponse{Members: members})
	return stream
}

// hear reads until the message comes.
func hear(t *testing.T, stream roomStream, want *pb.RoomResponse) *pb.RoomResponse {
	t.Helper()
	for {
		got, err := stream.Recv()
		if err != nil {
			t.Fatalf("%v, before %v", err, want)
		}
		if got.GetNumber() == want.GetNumber() && got.GetText() == want.GetText() && got.GetName() == want.GetName() && got.GetMembers() == want.GetMembers() {
			return got
		}
	}
}

func speak(t *testing.T, stream roomStream, name, text string) {
	t.Helper()
	if err := stream.Send(&pb.RoomRequest{Name: name, Text: text}); err != nil {
		t.Fatal(err)
	}
}

func TestRoom(t *testing.T) {
	t.Run("all hear what one says", func(t *testing.T) {
		client := dial(t)
		ann := enter(t, client, t.Context(), 1)
		bob := enter(t, client, t.Context(), 2)
		hear(t, ann, &pb.RoomResponse{Members: 2})
		speak(t, ann, "Ann", "hello")
		for _, stream := range []roomStream{ann, bob} {
			said := hear(t, stream, &pb.RoomResponse{Number: 1, Name: "Ann", Text: "hello", Members: 2})
			if age := time.Since(time.UnixMilli(said.GetUnixMs())); age < -time.Second || age > time.Minute {
				t.Errorf("said %v ago", age)
			}
		}
		speak(t, bob, "Bob", "") // says nothing
		speak(t, bob, "Bob", "hello Ann")
		hear(t, ann, &pb.RoomResponse{Number: 2, Name: "Bob", Text: "hello Ann", Members: 2})
	})
	t.Run("who comes later hears the last messages first", func(t *testing.T) {
		client := dial(t)
		ann := enter(t, client, t.Context(), 1)
		for n := range uint32(someHistory + 5) {
			speak(t, ann, "Ann", "word")
			hear(t, ann, &pb.RoomResponse{Number: n + 1, Name: "Ann", Text: "word", Members: 1})
		}
		bob, err := client.Room(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for n := range uint32(someHistory) {
			if got, err := bob.Recv(); err != nil || got.GetNumber() != n+6 {
				t.Fatalf("got %v, %v, want number %d", got, err, n+6)
			}
		}
		if got, err := bob.Recv(); err != nil || got.GetNumber() != 0 || got.GetMembers() != 2 {
			t.Fatalf("got %v, %v, want two members", got, err)
		}
	})
	t.Run("who half-closes listens on, and who cancels has left", func(t *testing.T) {
		client := dial(t)
		ann := enter(t, client, t.Context(), 1)
		ctx, cancel := context.WithCancel(t.Context())
		bob := enter(t, client, ctx, 2)
		if err := bob.CloseSend(); err != nil {
			t.Fatal(err)
		}
		speak(t, ann, "Ann", "still there?")
		hear(t, bob, &pb.RoomResponse{Number: 1, Name: "Ann", Text: "still there?", Members: 2})
		cancel()
		hear(t, ann, &pb.RoomResponse{Members: 1})
	})
	t.Run("limits", func(t *testing.T) {
		client := dial(t)
		for _, c := range []struct{ name, text, want string }{
			{strings.Repeat("n", maxName+1), "hello", "name has 41 bytes, and may have 40"},
			{"Ann", strings.Repeat("t", maxText+1), "text has 1001 bytes, and may have 1000"},
		} {
			stream, err := client.Room(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			speak(t, stream, c.name, c.text)
			for err == nil {
				_, err = stream.Recv()
			}
			if s := status.Convert(err); s.Code() != codes.InvalidArgument || s.Message() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		}
	})
}

func TestRoomLimits(t *testing.T) {
	t.Run("members", func(t *testing.T) {
		r := newRoom()
		r.maxMembers = 1
		first, err := r.join()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.join(); status.Code(err) != codes.ResourceExhausted {
			t.Fatalf("got %v", err)
		}
		r.leave(first)
		if _, err := r.join(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("unread messages", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &service{room: newRoom()}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel() // ends listen
			stuck := &stuckStream{ctx: ctx, reads: make(chan struct{})}
			ended := make(chan error, 1)
			go func() { ended <- s.Room(stuck) }() // waited for below
			synctest.Wait()
			for range maxUnread + 1 {
				if err := s.room.say("Ann", "more"); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(s.room.members); n != 0 {
				t.Fatalf("%d members", n)
			}
			close(stuck.reads)
			if err := <-ended; status.Code(err) != codes.ResourceExhausted {
				t.Fatalf("got %v", err)
			}
		})
	})
}

// A stuckStream takes nothing until its client reads.
type stuckStream struct {
	grpc.BidiStreamingServer[pb.RoomRequest, pb.RoomResponse]
	ctx   context.Context
	reads chan struct{}
}

func (s *stuckStream) Context() context.Context { return s.ctx }

func (s *stuckStream) Send(*pb.RoomResponse) error {
	<-s.reads
	return nil
}

func (s *stuckStream) Recv() (*pb.RoomRequest, error) {
	<-s.ctx.Done()
	return nil, s.ctx.Err()
}
