package matrix

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A Backend is a grpc-go server that plays scripts. What it is asked to echo of the metadata
// are names with x-echo- in the header, and with x-end- in the trailer. A call has an id of its
// client's, x-id, by which it is found by Release and Saw.
type Backend struct {
	Addr string

	begun  atomic.Int64
	mu     sync.Mutex
	plays  map[string]*play
	server *grpc.Server
	served chan error
}

// A play is a call.
type play struct {
	released chan struct{}
	over     chan struct{}
	saw      Sight
}

// A Sight is what the backend saw of a call.
type Sight struct {
	Received   int  `json:"received"` // messages
	HalfClosed bool `json:"halfClosed"`
	Gone       bool `json:"gone"` // its client, before the end
}

// Serve starts a Backend on loopback.
func Serve() (*Backend, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &Backend{Addr: l.Addr().String(), plays: map[string]*play{}, served: make(chan error, 1)}
	b.server = grpc.NewServer(grpc.UnknownServiceHandler(b.serve), grpc.ForceServerCodecV2(raw{}))
	go func() { b.served <- b.server.Serve(l) }() // ended by Stop
	return b, nil
}

// Stop ends the server and its calls.
func (b *Backend) Stop() error {
	b.server.Stop()
	if err := <-b.served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// Begun is how many calls there were.
func (b *Backend) Begun() int64 { return b.begun.Load() }

// Open is how many calls run.
func (b *Backend) Open() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, p := range b.plays {
		select {
		case <-p.over:
		default:
			n++
		}
	}
	return n
}

// play returns the call with an id, which it may be the first to name.
func (b *Backend) play(id string) *play {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.plays[id]
	if p == nil {
		p = &play{released: make(chan struct{}), over: make(chan struct{})}
		b.plays[id] = p
	}
	return p
}

func (b *Backend) serve(_ any, s grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(s)
	in, _ := metadata.FromIncomingContext(s.Context())
	id := strings.Join(in.Get("x-id"), "")
	b.begun.Add(1)
	service, method := path.Split(full)
	switch {
	case service != "/"+Service+"/":
		return status.Error(codes.Unimplemented, full)
	case id == "":
		return status.Error(codes.InvalidArgument, "x-id is missing")
	case method == "Release":
		close(b.play(id).released)
		return s.SendMsg(&[]byte{})
	case method == "Saw":
		return b.sawOf(s, id)
	}
	p := b.play(id)
	defer close(p.over)
	a := &actor{ServerStream: s, play: p, in: in}
	steps, err := parse(strings.Join(in.Get("x-script"), ""))
	if err == nil {
		err = a.play1(steps)
	}
	if s.Context().Err() != nil {
		p.saw.Gone = true
	}
	if _, ok := status.FromError(err); !ok {
		err = status.Error(codes.FailedPrecondition, err.Error())
	}
	return err
}

// sawOf answers what a call saw, when it is over.
func (b *Backend) sawOf(s grpc.ServerStream, id string) error {
	p := b.play(id)
	select {
	case <-p.over:
	case <-time.After(5 * time.Second):
		return status.Error(codes.FailedPrecondition, "the call is not over at the backend")
	case <-s.Context().Done():
		return s.Context().Err()
	}
	b.mu.Lock()
	delete(b.plays, id)
	b.mu.Unlock()
	reply, err := json.Marshal(p.saw)
	if err != nil {
		return err
	}
	return s.SendMsg(&reply)
}

// An actor plays one call.
type actor struct {
	grpc.ServerStream
	play *play
	in   metadata.MD
	sent int
}

// play1 plays a script.
func (a *actor) play1(steps []step) error {
	header, trailer := metadata.MD{}, metadata.MD{}
	for name, values := range a.in {
		switch {
		case strings.HasPrefix(name, "x-echo-"):
			header[name] = values
		case strings.HasPrefix(name, "x-end-"):
			trailer[name] = values
		}
	}
	a.SetTrailer(trailer)
	if err := a.SetHeader(header); err != nil {
		return err
	}
	for _, p := range steps {
		if err := a.step(p); err != nil {
			return err
		}
	}
	return nil
}

func (a *actor) step(p step) error {
	switch p.verb {
	case "send":
		for range p.n {
			if err := a.send(p.size); err != nil {
				return err
			}
		}
		return nil
	case "recv":
		return a.take(p.n, func(int) error { return nil })
	case "echo":
		return a.take(-1, a.send)
	case "head":
		return a.SendHeader(nil)
	case "hold":
		select {
		case <-a.play.released:
			return nil
		case <-a.Context().Done():
			return status.FromContextError(a.Context().Err()).Err()
		}
	case "wait":
		<-a.Context().Done()
		return status.FromContextError(a.Context().Err()).Err()
	case "fail":
		code := codes.Code(p.n)
		if code == codes.OK {
			code = failCode
		}
		st, err := status.New(code, failMessage).WithDetails(&errdetails.ErrorInfo{Reason: failReason, Domain: "test"})
		if err != nil {
			return err
		}
		return st.Err()
	}
	return fmt.Errorf("no such step: %s", p.verb)
}

func (a *actor) send(size int) error {
	b := Message(a.sent, size)
	a.sent++
	return a.SendMsg(&b)
}

// take receives n messages, or all up to the half-close.
func (a *actor) take(n int, each func(size int) error) error {
	for i := 0; n < 0 || i < n; i++ {
		var b []byte
		err := a.RecvMsg(&b)
		if err == io.EOF && n < 0 {
			a.play.saw.HalfClosed = true
			return nil
		}
		if err != nil {
			return err
		}
		if err := check(b, a.play.saw.Received, -1); err != nil {
			return err
		}
		a.play.saw.Received++
		if err := each(len(b)); err != nil {
			return err
		}
	}
	return nil
}

// raw is a codec of messages as they are.
type raw struct{}

// Marshal implements [encoding.CodecV2].
func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

// Unmarshal implements [encoding.CodecV2].
func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// Name implements [encoding.CodecV2].
func (raw) Name() string { return "proto" }
