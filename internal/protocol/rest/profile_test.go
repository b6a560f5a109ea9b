package rest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/rpc"
)

// TestProfileBytes is what the originals write, each with where they do so. That of
// grpc-gateway runs in conformance/gateways, and Google's clients read the profile there.
// Fields of an event are in our order, which means nothing.
func TestProfileBytes(t *testing.T) {
	const full = `{"id":"a","number":"0","tags":[],"kind":"KIND_UNSPECIFIED"}`
	headers := func(r *trial, a exchangetest.Answer) string { return fmt.Sprint(r.call.Metadata, fieldsBut(r, a)) }
	for _, tc := range []struct {
		profile func() Style
		source  string
		run     func(*trial) exchangetest.Answer
		show    func(*trial, exchangetest.Answer) string
		want    string
	}{
		// An array, told by nothing but the method: Accept does not matter to them.
		{Google, "gapic-showcase util/genrest/resttools/server_streamer.go", get(watch, "-", `{"id":"a"}`), typeAndBody, `application/json [{"id":"a"}]`},
		{Google, "aip.dev/193", early("/v1/list", "-", rpc.NotFound), statusAndBody, `404 {"error":{"code":404,"message":"m","status":"NOT_FOUND","details":[]}}` + "\n"},
		{Google, "google.golang.org/api/googleapi/googleapi.go, errorReplyFromBody", early(watch, "-", rpc.NotFound), statusAndBody,
			`404 [{"error":{"code":404,"message":"m","status":"NOT_FOUND","details":[]}}]` + "\n"},
		{Google, "an array that a parser takes, the error as its last element", failing("*/*", rpc.NotFound), statusAndBody,
			`200 [{"id":"a"},{"error":{"code":404,"message":"m","status":"NOT_FOUND","details":[]}}]`},

		{Envoy, "grpc-httpjson-transcoding src/response_to_json_translator.cc, TranslateMessage", get(watch, "-", `{"id":"a"}`), typeAndBody, `application/json [{"id":"a"}]`},
		{Envoy, "the same, NextMessage", func(r *trial) exchangetest.Answer {
			r.start("GET", watch, "-").close()
			r.end(rpc.Status{}, nil)
			return r.finish()
		}, nil, "[]"},
		{Envoy, "the status of a stream is in its trailers, the array stays open: envoy#8315", failing("application/json", rpc.NotFound), func(_ *trial, a exchangetest.Answer) string {
			return fmt.Sprint(string(a.Body), a.Trailer, a.Broken)
		}, `[{"id":"a"}[{grpc-status 5 false} {grpc-message m false}] false`},
		{Envoy, "transcoder.proto, convert_grpc_status is off", early("/v1/list", "-", rpc.NotFound), func(r *trial, a exchangetest.Answer) string {
			return fmt.Sprint(statusAndBody(r, a), fieldsBut(r, a))
		}, "404 grpc-status:5 grpc-message:m"},
		{Envoy, "transcoder.proto, always_print_primitive_fields is off", get("/v1/list", "-", `{"id":"a"}`), nil, `{"id":"a"}`},
		{Envoy, "src/request_message_translator.cc, ignore_unknown_fields", post("/v1/make", `{"x":1,"id":"7"}`), gotMessages, `{"id":"7"}`},
		{Envoy, "transcoder.proto, ignore_unknown_query_parameters is off", get("/v1/list?x=1", "-", `{}`), statusOnly, "400"},

		{Meshapi, "gateway/handler.go: the message, a line feed, no envelope", get(watch, "-", `{"id":"a"}`), typeAndBody, "application/json " + full + "\n"},
		{Meshapi, "gateway/errors.go: a bare status after messages", failing("*/*", rpc.Internal), statusAndBody, "200 " + full + "\n" + failedM + "\n"},
		{Meshapi, "gateway/errors.go: an HTTP status before", early(watch, "-", rpc.NotFound), statusAndBody, `404 {"code":5,"message":"m","details":[]}` + "\n"},
		{Meshapi, "docs/reference/grpc/streaming.md: events without ids, then EOS", get(watch, "accept: text/event-stream", `{"id":"a"}`), typeAndBody,
			"text/event-stream data: " + full + "\n\n" + eos},
		{Meshapi, "the same: failure, without EOS", failing(sseAccept, rpc.Internal), nil, "data: " + full + "\n\nevent: failure\ndata: " + failedM + "\n\n"},
		{Meshapi, "the same: no retry", failing(sseAccept, rpc.Unavailable), nil, "data: " + full + "\n\nevent: failure\ndata: " + strings.Replace(failedM, "13", "14", 1) + "\n\n"},
		{Meshapi, "gateway/mux.go: errors before the backend's headers are HTTP's, for events too", early(watch, "accept: text/event-stream", rpc.Unavailable), statusOnly, "503"},
		{Meshapi, "gateway/context.go", func(r *trial) exchangetest.Answer {
			r.start("GET", "/v1/list", "x-a: dropped; grpc-metadata-b: 1; referer: r").close()
			r.head(rpc.Field{Key: "h", Value: "2"})
			r.send(out, "{}")
			r.end(rpc.Status{}, nil)
			return r.finish()
		}, headers, "[{b 1 false} {grpcgateway-referer r false} {x-forwarded-host a.test false}]grpc-metadata-h:2"},
		{Meshapi, "gateway/query.go: unbound parameters are ignored", get("/v1/list?x=1", "-", `{}`), statusOnly, "200"},
	} {
		t.Run(tc.source, func(t *testing.T) {
			r := newTrial(t).style(func(s *Style) { *s = tc.profile() })
			a := tc.run(r)
			got := string(a.Body)
			if tc.show != nil {
				got = tc.show(r, a)
			}
			if got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}
