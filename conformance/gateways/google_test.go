package gateways

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/googleapis/gax-go/v2"
	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/api/googleapi"
	"google.golang.org/protobuf/testing/protocmp"

	pb "github.com/sluice-rpc/sluice/conformance/gateways/librarypb"

	"github.com/sluice-rpc/sluice"
)

// TestGoogleClients reads the profile google with what Google's clients for Go read
// REST with.
func TestGoogleClients(t *testing.T) {
	url := gateway(t, serve(t), sluice.RESTOptions{Profile: "google"})
	get := func(path string) *http.Response {
		req, err := http.NewRequestWithContext(context.Background(), "GET", url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	read := func(resp *http.Response) (books []*pb.Book, err error) {
		if err := googleapi.CheckResponse(resp); err != nil {
			return nil, err
		}
		s := gax.NewProtoJSONStreamReader(resp.Body, (&pb.Book{}).ProtoReflect().Type())
		for {
			m, err := s.Recv()
			if err != nil {
				return books, err
			}
			books = append(books, m.(*pb.Book))
		}
	}
	t.Run("stream", func(t *testing.T) {
		books, err := read(get("/v1/shelves/1:watch?count=2&$alt=json;enum-encoding=int"))
		want := []*pb.Book{book(0), book(1)}
		want[0].Name, want[1].Name = "shelves/1", "shelves/1"
		if diff := cmp.Diff(want, books, protocmp.Transform()); diff != "" || !errors.Is(err, io.EOF) {
			t.Error(err, diff)
		}
	})
	t.Run("stream of nothing", func(t *testing.T) {
		if books, err := read(get("/v1/shelves/1:watch")); len(books) != 0 || !errors.Is(err, io.EOF) {
			t.Error(books, err)
		}
	})
	t.Run("stream fails early", func(t *testing.T) {
		_, err := read(get("/v1/shelves/1:watch?fail=5"))
		var e *googleapi.Error
		if !errors.As(err, &e) || e.Code != 404 || e.Message != "broken" {
			t.Error(err)
		}
	})
	t.Run("stream fails", func(t *testing.T) {
		// The client takes the error for a message without known fields; what counts is that the array
		// is one, and that its end is seen.
		if books, err := read(get("/v1/shelves/1:watch?count=1&fail=5")); len(books) != 2 || !errors.Is(err, io.EOF) {
			t.Error(books, err)
		}
	})
	t.Run("details", func(t *testing.T) {
		err := googleapi.CheckResponse(get("/v1/fail/9?details=true"))
		e, ok := apierror.FromError(err)
		if !ok || e.Reason() != "R" || e.Domain() != "d" || e.Metadata()["k"] != "v" || e.HTTPCode() != 400 {
			t.Errorf("%v: %+v", err, e)
		}
	})
}
