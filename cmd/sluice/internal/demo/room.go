package demo

import (
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/sluice-rpc/sluice/cmd/sluice/internal/demo/demopb"
)

const (
	maxMembers  = 1000 // of the room
	maxName     = 40   // bytes
	maxText     = 1000 // bytes
	maxUnread   = 256  // messages that wait for a member who reads slowly
	someHistory = 20   // messages that a new member hears
)

// A room gives what each member says to all of them, in one order.
type room struct {
	maxMembers int

	mu      sync.Mutex
	members map[*member]struct{}
	history []*pb.RoomResponse // the last ones
	number  uint32
}

// A member is one call.
type member struct {
	unread chan *pb.RoomResponse
	slow   chan struct{} // closed when unread was full, and the member was put out
}

func newRoom() *room {
	return &room{maxMembers: maxMembers, members: map[*member]struct{}{}}
}

// join lets somebody in, who hears the last messages first.
func (r *room) join() (*member, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.members) >= r.maxMembers {
		return nil, status.Errorf(codes.ResourceExhausted, "the room is full: it has %d members", len(r.members))
	}
	m := &member{unread: make(chan *pb.RoomResponse, maxUnread), slow: make(chan struct{})}
	for _, said := range r.history {
		m.unread <- said // it has room for more than the history
	}
	r.members[m] = struct{}{}
	r.tell(&pb.RoomResponse{})
	return m, nil
}

func (r *room) leave(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, m)
	r.tell(&pb.RoomResponse{})
}

func (r *room) say(name, text string) error {
	switch {
	case len(name) > maxName:
		return status.Errorf(codes.InvalidArgument, "name has %d bytes, and may have %d", len(name), maxName)
	case len(text) > maxText:
		return status.Errorf(codes.InvalidArgument, "text has %d bytes, and may have %d", len(text), maxText)
	case text == "":
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.number++
	said := &pb.RoomResponse{Number: r.number, Name: name, Text: text, UnixMs: time.Now().UnixMilli()}
	if len(r.history) == someHistory {
		r.history = r.history[1:]
	}
	r.history = append(r.history, said)
	r.tell(said)
	return nil
}

// tell needs the lock. It waits for nobody: who reads too slowly is put out.
func (r *room) tell(what *pb.RoomResponse) {
	what.Members = uint32(len(r.members))
	for m := range r.members {
		select {
		case m.unread <- what:
		default:
			delete(r.members, m)
			close(m.slow)
		}
	}
}

func (s *service) Room(stream grpc.BidiStreamingServer[pb.RoomRequest, pb.RoomResponse]) error {
	m, err := s.room.join()
	if err != nil {
		return err
	}
	defer s.room.leave(m)
	failed := make(chan error, 1)
	go s.listen(stream, failed)
	for {
		select {
		case what := <-m.unread:
			if err := stream.Send(what); err != nil {
				return err
			}
		case err := <-failed:
			return err
		case <-m.slow:
			return status.Errorf(codes.ResourceExhausted, "%d messages of the room are unread", maxUnread)
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

// listen passes on what a member says. It ends with the stream, which ends when Room
// returns; nobody waits for it longer.
func (s *service) listen(stream grpc.BidiStreamingServer[pb.RoomRequest, pb.RoomResponse], failed chan<- error) {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return // it stays to hear the others
		}
		if err == nil {
			err = s.room.say(r.GetName(), r.GetText())
		}
		if err != nil {
			failed <- err
			return
		}
	}
}
