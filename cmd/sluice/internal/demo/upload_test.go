package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/sluice-rpc/sluice/cmd/sluice/internal/demo/demopb"
)

func TestUpload(t *testing.T) {
	t.Run("answers with what it got", func(t *testing.T) {
		stream, err := dial(t).Upload(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, piece := range []string{"one ", "two ", "three"} {
			if err := stream.Send(&pb.UploadRequest{Chunk: []byte(piece)}); err != nil {
				t.Fatal(err)
			}
		}
		sum := sha256.Sum256([]byte("one two three"))
		got, err := stream.CloseAndRecv()
		if err != nil || got.GetSize() != 13 || got.GetCount() != 3 || got.GetSha256() != hex.EncodeToString(sum[:]) {
			t.Fatalf("got %v, %v", got, err)
		}
	})
	for _, c := range []struct {
		name     string
		requests []*pb.UploadRequest
		takes    time.Duration
		want     codes.Code
	}{
		{"as fast as it comes", []*pb.UploadRequest{{Chunk: make([]byte, 1e6)}}, 0, codes.OK},
		{"at a pace", []*pb.UploadRequest{{Chunk: make([]byte, 2000), BytesPerSecond: 1000}, {Chunk: make([]byte, 500)}}, 2500 * time.Millisecond, codes.OK},
		{"at another pace", []*pb.UploadRequest{{BytesPerSecond: 1000}, {Chunk: make([]byte, 1000)}, {Chunk: make([]byte, 4000), BytesPerSecond: 2000}}, 3 * time.Second, codes.OK},
		{"too slow a pace", []*pb.UploadRequest{{BytesPerSecond: minPace - 1}}, 0, codes.InvalidArgument},
		{"too large", []*pb.UploadRequest{{Chunk: make([]byte, 1e6)}, {Chunk: make([]byte, 1)}}, 0, codes.ResourceExhausted},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				stream := &uploadStream{ctx: t.Context(), requests: c.requests}
				if err := (&service{maxUpload: 1e6}).Upload(stream); status.Code(err) != c.want {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if took := time.Since(began); took != c.takes {
					t.Errorf("took %v, want %v", took, c.takes)
				}
			})
		})
	}
	t.Run("whose client is gone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			stream := &uploadStream{ctx: ctx, requests: []*pb.UploadRequest{{Chunk: make([]byte, 1e6), BytesPerSecond: 1000}}}
			if err := (&service{maxUpload: 1e6}).Upload(stream); status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("got %v", err)
			}
		})
	})
}

// An uploadStream has all requests at once.
type uploadStream struct {
	grpc.ClientStreamingServer[pb.UploadRequest, pb.UploadResponse]
	ctx      context.Context
	requests []*pb.UploadRequest
}

func (s *uploadStream) Context() context.Context { return s.ctx }

func (s *uploadStream) SendAndClose(*pb.UploadResponse) error { return nil }

func (s *uploadStream) Recv() (*pb.UploadRequest, error) {
	if len(s.requests) == 0 {
		return nil, io.EOF
	}
	next := s.requests[0]
	s.requests = s.requests[1:]
	return next, nil
}
