package gateways

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/sluice-rpc/sluice/conformance/gateways/librarypb"
)

// library answers by what it was asked, so that the answers of two gateways are equal
// only if their requests were.
type library struct {
	pb.UnimplementedLibraryServer
}

// serve starts a gRPC server, and returns its address.
func serve(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	pb.RegisterLibraryServer(s, library{})
	reflection.Register(s)
	go s.Serve(l) // ends with Stop
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

func book(n int) *pb.Book {
	b := &pb.Book{Name: fmt.Sprintf("shelves/1/books/%d", n), Title: "A <b>book</b> \u2028 \"é\"", Pages: int64(n) << 40, Genre: pb.Genre_POETRY}
	if n > 0 {
		b.Published = &timestamppb.Timestamp{Seconds: int64(n), Nanos: 5e8}
		b.Tags = []string{"x", "y"}
		b.Labels = map[string]string{"b": "2", "a": "1"}
		b.Source = &pb.Book_Scan{Scan: 0}
		b.Isbn = []byte{0xfb, 0xff}
	}
	return b
}

func (library) GetBook(_ context.Context, r *pb.GetBookRequest) (*pb.Book, error) {
	b := book(len(r.Name))
	b.Name = r.Name
	return b, nil
}

func (library) ListBooks(_ context.Context, r *pb.ListBooksRequest) (*pb.ListBooksResponse, error) {
	return &pb.ListBooksResponse{Asked: r, Books: []*pb.Book{book(0), book(1)}}, nil
}

func (library) CreateBook(_ context.Context, r *pb.CreateBookRequest) (*pb.Book, error) {
	b := r.GetBook()
	if b == nil {
		b = &pb.Book{}
	}
	b.Name = r.Parent + "/books/" + r.BookId
	return b, nil
}

func (library) UpdateBook(_ context.Context, r *pb.UpdateBookRequest) (*pb.UpdateBookRequest, error) {
	slices.Sort(r.GetUpdateMask().GetPaths())
	return r, nil
}

func (library) DeleteBook(context.Context, *pb.GetBookRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (library) Echo(_ context.Context, b *pb.Book) (*pb.Book, error) { return b, nil }

func (library) Cover(context.Context, *pb.GetBookRequest) (*httpbody.HttpBody, error) {
	return &httpbody.HttpBody{ContentType: "image/png", Data: []byte("\x89PNG\r\n\x00")}, nil
}

// Headers says which metadata came, but for what the two clients say of themselves.
func (library) Headers(ctx context.Context, r *pb.HeadersRequest) (*pb.HeadersResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	var got []string
	for k, values := range md {
		switch k {
		case ":authority", "content-type", "user-agent", "grpc-accept-encoding":
			continue
		}
		for _, v := range values {
			got = append(got, fmt.Sprintf("%s: %q", k, v))
		}
	}
	slices.Sort(got)
	grpc.SetHeader(ctx, metadata.Pairs("x-head", "h1", "x-head", "h2", "set-cookie", "a=b"))
	grpc.SetTrailer(ctx, metadata.Pairs("x-trail", "t"))
	if r.Fail {
		return nil, status.Error(codes.NotFound, "none")
	}
	return &pb.HeadersResponse{Got: got}, nil
}

func (library) Fail(_ context.Context, r *pb.FailRequest) (*pb.Book, error) {
	st := status.New(codes.Code(r.Code), "it \"failed\"")
	if r.Details {
		st, _ = st.WithDetails(&errdetails.ErrorInfo{Reason: "R", Domain: "d", Metadata: map[string]string{"k": "v"}}, &pb.Author{FullName: "x"})
	}
	return nil, st.Err()
}

func (library) Watch(r *pb.WatchRequest, s grpc.ServerStreamingServer[pb.Book]) error {
	if r.Head {
		s.SendHeader(metadata.Pairs("x-head", "h"))
	}
	s.SetTrailer(metadata.Pairs("x-trail", "t"))
	for i := range r.Count {
		b := book(int(i))
		b.Name = r.Shelf
		if err := s.Send(b); err != nil {
			return err
		}
	}
	if r.Fail != 0 {
		st, _ := status.New(codes.Code(r.Fail), "broken").WithDetails(&pb.Author{FullName: "x"})
		return st.Err()
	}
	return nil
}

func (l library) Search(r *pb.WatchRequest, s grpc.ServerStreamingServer[pb.Book]) error {
	return l.Watch(r, s)
}

func (library) Pages(_ *pb.GetBookRequest, s grpc.ServerStreamingServer[httpbody.HttpBody]) error {
	for _, part := range []string{"one,", "two"} {
		if err := s.Send(&httpbody.HttpBody{ContentType: "text/csv", Data: []byte(part)}); err != nil {
			return err
		}
	}
	return nil
}

func (library) Import(s grpc.ClientStreamingServer[pb.CreateBookRequest, pb.ListBooksResponse]) error {
	all := &pb.ListBooksResponse{}
	for {
		r, err := s.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return s.SendAndClose(all)
		case err != nil:
			return err
		case strings.HasPrefix(r.BookId, "bad"):
			return status.Error(codes.AlreadyExists, r.BookId)
		}
		b := r.GetBook()
		if b == nil {
			b = &pb.Book{}
		}
		b.Title += "|" + r.BookId
		all.Books = append(all.Books, b)
	}
}

func (library) Chat(s grpc.BidiStreamingServer[pb.Book, pb.Book]) error {
	for {
		b, err := s.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case b.Title == "stop":
			return status.Error(codes.Aborted, "stopped")
		}
		if err := s.Send(b); err != nil {
			return err
		}
	}
}
