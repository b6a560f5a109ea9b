package demo

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/sluice-rpc/sluice/cmd/sluice/internal/demo/demopb"
)

const (
	maxUpload = 256 << 20 // bytes of one upload
	minPace   = 1000      // bytes in a second, so that one message does not take hours
)

// Upload keeps nothing of the file. One that reads at a pace shows how a slow server holds
// back its client, however much is in between.
func (s *service) Upload(stream grpc.ClientStreamingServer[pb.UploadRequest, pb.UploadResponse]) error {
	var answer pb.UploadResponse
	var pace uint32
	sum := sha256.New()
	due := time.Now() // when the next message may be read
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			answer.Sha256 = hex.EncodeToString(sum.Sum(nil))
			return stream.SendAndClose(&answer)
		}
		if err != nil {
			return err
		}
		if next := r.GetBytesPerSecond(); next != 0 {
			if next < minPace {
				return status.Errorf(codes.InvalidArgument, "bytes_per_second is %d, and at least %d", next, minPace)
			}
			pace, due = next, time.Now()
		}
		chunk := r.GetChunk()
		if len(chunk) > s.maxUpload-int(answer.Size) {
			return status.Errorf(codes.ResourceExhausted, "the file has more than %d bytes", s.maxUpload)
		}
		sum.Write(chunk)
		answer.Size += uint32(len(chunk))
		answer.Count++
		if pace == 0 {
			continue
		}
		due = due.Add(time.Duration(len(chunk)) * time.Second / time.Duration(pace))
		pause.Reset(time.Until(due))
		select {
		case <-pause.C:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}
