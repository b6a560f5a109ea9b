// Package feed is a gRPC server for judges of streams over REST: a feed of numbered events
// that can be cut, quiet, late or wrong as its request says, and that knows which of its
// calls were cancelled, and when. feed.proto is its service.
package feed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-rpc/sluice/internal/schema/schematest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// A Server is a running feed.
type Server struct {
	Addr  string
	Proto string // path of feed.proto
	Rules string // path of rules.yaml

	calls   ledger
	service protoreflect.ServiceDescriptor
	server  *grpc.Server
	served  chan error
}

// Serve starts a feed on loopback.
func Serve() (*Server, error) {
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Dir(file)
	s := &Server{Proto: filepath.Join(dir, "feed.proto"), Rules: filepath.Join(dir, "rules.yaml"), served: make(chan error, 1)}
	files, err := schematest.Files(dir, "feed.proto")
	if err != nil {
		return nil, err
	}
	s.service = files[0].Services().ByName("Feed")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.Addr = l.Addr().String()
	s.server = grpc.NewServer(grpc.UnknownServiceHandler(s.serve))
	go func() { s.served <- s.server.Serve(l) }() // ended by Stop
	return s, nil
}

// Descriptors are those of feed.proto and of all that it imports.
func (s *Server) Descriptors() *descriptorpb.FileDescriptorSet {
	return schematest.Set(s.service.ParentFile())
}

// Stop ends the feed and its calls.
func (s *Server) Stop() error {
	s.server.Stop()
	if err := <-s.served; !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// Cancelled waits until a call with the key was cancelled, and says when.
func (s *Server) Cancelled(ctx context.Context, key string) (time.Time, error) {
	c := s.calls.wait(ctx, key, 1)
	if len(c.cancelled) == 0 {
		return time.Time{}, fmt.Errorf("%s: %d calls started, none cancelled: %w", key, c.started, ctx.Err())
	}
	return c.cancelled[0], nil
}

// Started waits until a call with the key has begun.
func (s *Server) Started(ctx context.Context, key string) error {
	for s.calls.of(key).started == 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: no call started: %w", key, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func (s *Server) serve(_ any, stream grpc.ServerStream) error {
	path, _ := grpc.MethodFromServerStream(stream)
	method := s.service.Methods().ByName(protoreflect.Name(filepath.Base(path)))
	if method == nil {
		return status.Error(codes.Unimplemented, path)
	}
	in, out := message{dynamicpb.NewMessage(method.Input())}, message{dynamicpb.NewMessage(method.Output())}
	if err := stream.RecvMsg(in.Message); err != nil {
		return err
	}
	if method.Name() == "Calls" {
		return s.report(stream, in, out)
	}
	key := in.text("key")
	md, _ := metadata.FromIncomingContext(stream.Context())
	n := s.calls.start(key, strings.Join(md.Get("last-event-id"), ","))
	stop := context.AfterFunc(stream.Context(), func() { s.calls.cancel(key) })
	defer func() { // who sees the end of the context may be here before the function that waits for it
		if stop() && stream.Context().Err() != nil {
			s.calls.cancel(key)
		}
	}()
	switch method.Name() {
	case "Watch", "File":
		return watch(stream, in, out, n)
	case "Upload":
		return upload(stream, in, out)
	case "Chat":
		return chat(stream, in)
	default: // Drain
		<-stream.Context().Done()
		return stream.Context().Err()
	}
}

// watch sends the n-th call of its key what it asks for.
func watch(stream grpc.ServerStream, in, out message, n int) error {
	ctx := stream.Context()
	if n <= int(in.number("refuse")) {
		return status.Error(codes.Unavailable, "not yet")
	}
	header := metadata.MD{}
	if in.Get(in.field("names")).Bool() {
		header = metadata.Pairs("sse-id-field", "cursor", "sse-event-field", "kind")
	}
	if in.Get(in.field("head")).Bool() {
		if err := stream.SendHeader(header); err != nil {
			return err
		}
	} else if err := stream.SetHeader(header); err != nil {
		return err
	}
	if err := pause(ctx, in.number("quiet_ms")); err != nil {
		return err
	}
	filler := strings.Repeat("x", int(min(in.number("size"), 1<<20)))
	var sent uint64
	for number := last(ctx) + 1; number <= in.number("count"); number++ {
		if after := in.number("cut_after"); after > 0 && sent == after {
			return status.Error(codes.Unavailable, "cut")
		}
		if err := pause(ctx, in.number("every_ms")); err != nil {
			return err
		}
		line := strconv.FormatUint(number, 10)
		if out.Descriptor().Name() == "HttpBody" {
			out.set("content_type", "text/plain")
			out.Set(out.field("data"), protoreflect.ValueOfBytes([]byte(line+filler+"\n")))
		} else {
			out.Set(out.field("number"), protoreflect.ValueOfUint64(number))
			out.set("cursor", "c-"+line)
			out.set("kind", []string{"even", "odd"}[number%2])
			out.set("filler", filler)
		}
		if err := stream.SendMsg(out.Message); err != nil {
			return err
		}
		sent++
	}
	if code := in.number("fail"); code != 0 {
		return status.Error(codes.Code(code), "as asked")
	}
	return nil
}

// last is the number of the last event that the client has seen: an id is a number, or a
// cursor.
func last(ctx context.Context) uint64 {
	md, _ := metadata.FromIncomingContext(ctx)
	n, _ := strconv.ParseUint(strings.TrimPrefix(strings.Join(md.Get("last-event-id"), ""), "c-"), 10, 64)
	return n
}

func pause(ctx context.Context, ms uint64) error {
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func upload(stream grpc.ServerStream, in, out message) error {
	count := uint64(1)
	for ; ; count++ {
		if err := stream.RecvMsg(in.Message); err != nil {
			if stream.Context().Err() != nil {
				return err
			}
			break
		}
	}
	out.Set(out.field("count"), protoreflect.ValueOfUint64(count))
	return stream.SendMsg(out.Message)
}

func chat(stream grpc.ServerStream, in message) error {
	for {
		if err := stream.SendMsg(in.Message); err != nil {
			return err
		}
		if err := stream.RecvMsg(in.Message); err != nil {
			return stream.Context().Err() // none after a half-close
		}
	}
}

// report answers Calls.
func (s *Server) report(stream grpc.ServerStream, in, out message) error {
	ctx, cancel := context.WithTimeout(stream.Context(), 15*time.Second)
	defer cancel()
	c := s.calls.wait(ctx, in.text("key"), int(in.number("cancelled")))
	out.Set(out.field("started"), protoreflect.ValueOfUint32(uint32(c.started)))
	out.Set(out.field("cancelled"), protoreflect.ValueOfUint32(uint32(len(c.cancelled))))
	ids := out.Mutable(out.field("last_event_ids")).List()
	for _, id := range c.lastIDs {
		ids.Append(protoreflect.ValueOfString(id))
	}
	return stream.SendMsg(out.Message)
}

// A message is one of feed.proto, by the names of its fields.
type message struct{ *dynamicpb.Message }

func (m message) field(name protoreflect.Name) protoreflect.FieldDescriptor {
	return m.Descriptor().Fields().ByName(name)
}
func (m message) number(name protoreflect.Name) uint64 { return m.Get(m.field(name)).Uint() }
func (m message) text(name protoreflect.Name) string   { return m.Get(m.field(name)).String() }
func (m message) set(name protoreflect.Name, s string) {
	m.Set(m.field(name), protoreflect.ValueOfString(s))
}
