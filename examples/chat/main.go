// Command chat is a room in which pages talk: one bidirectional call of gRPC for each of them.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-rpc/sluice"
	pb "github.com/sluice-rpc/sluice/examples/chat/chatpb"
)

// A room passes on what one says to all.
type room struct {
	pb.UnimplementedChatServer

	mu     sync.Mutex
	people map[chan *pb.TalkResponse]bool
}

// behind is how many messages somebody may be behind before they have to leave.
const behind = 256

func (r *room) Talk(stream grpc.BidiStreamingServer[pb.TalkRequest, pb.TalkResponse]) error {
	heard := make(chan *pb.TalkResponse, behind)
	r.mu.Lock()
	r.people[heard] = true
	r.mu.Unlock()
	defer r.leave(heard)

	ended := make(chan error, 1)
	go func() { ended <- r.listen(stream) }() // until Talk returns, which ends the stream
	for {
		select {
		case err := <-ended:
			return err
		case m, ok := <-heard:
			if !ok {
				return status.Errorf(codes.ResourceExhausted, "you are %d messages behind", behind)
			}
			if err := stream.Send(m); err != nil {
				return err
			}
		}
	}
}

// listen takes what one person says.
func (r *room) listen(stream grpc.BidiStreamingServer[pb.TalkRequest, pb.TalkResponse]) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r.tell(&pb.TalkResponse{Name: m.GetName(), Text: m.GetText()})
	}
}

func (r *room) tell(m *pb.TalkResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.people {
		select {
		case p <- m:
		default:
			delete(r.people, p)
			close(p)
		}
	}
}

func (r *room) leave(p chan *pb.TalkResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.people, p)
}

func main() {
	server := grpc.NewServer()
	pb.RegisterChatServer(server, &room{people: map[chan *pb.TalkResponse]bool{}})

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
