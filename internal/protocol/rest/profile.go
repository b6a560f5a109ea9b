package rest

import (
	"maps"
	"slices"
	"strings"

	"github.com/sluice-rpc/sluice/internal/transcode"
)

// compressFrom is a little less than what one packet takes: below it nothing is won.
const compressFrom = 1 << 10

// Sluice is the style of who comes from nowhere else (docs/rest.md).
func Sluice() Style {
	return Style{
		FillMask: true, Stream: NDJSON, Document: Array,
		EarlyHead: true, FirstByte: true, Heartbeats: true,
		Compress: compressFrom,
		Events:   Events{Failure: "failure", End: true, EndFailed: true, Number: true, Retry: 1000},
		Request:  passAll, Response: passAll, Trailer: passAll,
	}
}

// Google is how Google's own APIs answer: streams are arrays, which are closed behind an
// error too, and errors are as AIP-193 has them.
func Google() Style {
	s := Sluice()
	s.Stream = Array
	s.Failure = FailClosed
	s.Errors = ErrorGoogle
	return s
}

// GRPCGateway is grpc-gateway v2 with its defaults: runtime/handler.go has the envelope
// and when the head leaves, runtime/context.go the fields, runtime/marshaler_registry.go
// the JSON.
func GRPCGateway() Style {
	s := Sluice()
	s.JSON = transcode.EncodeOptions{EmitUnpopulated: true}
	s.Compress = 0
	s.IgnoreParams, s.IgnoreFields, s.AnyAccept = true, true, true
	s.Stream, s.Document, s.Envelope = NDJSON, NDJSON, true
	s.EarlyHead, s.FirstByte, s.Heartbeats = false, false, false
	s.Request = gatewayRequest
	s.Response, s.Trailer = mustRules("*=grpc-metadata-*"), mustRules("*=grpc-trailer-*")
	s.TrailerSection, s.Forwarded = true, true
	return s
}

// Envoy is its filter grpc_json_transcoder with its defaults: arrays, which stay open if
// the call fails, and errors without a body.
func Envoy() Style {
	s := Sluice()
	s.IgnoreFields, s.AnyAccept, s.FillMask = true, true, false
	s.Stream, s.Failure = Array, FailOpen
	s.FirstByte, s.Heartbeats = false, false
	s.Compress = 0
	s.Errors = ErrorNone
	return s
}

// Meshapi is meshapi/grpc-api-gateway with its defaults: lines without an envelope, and
// events as its streaming.md has them.
func Meshapi() Style {
	s := GRPCGateway()
	s.Envelope, s.Failure = false, FailBare
	s.Events = Events{Failure: "failure", End: true}
	return s
}

var profiles = map[string]func() Style{
	"sluice": Sluice, "google": Google, "grpc-gateway": GRPCGateway, "envoy": Envoy, "meshapi": Meshapi,
}

// Profile returns the style with a name.
func Profile(name string) (Style, error) {
	if f, ok := profiles[name]; ok {
		return f(), nil
	}
	_, err := choose("profile", name, Profiles())
	return Style{}, err
}

// Profiles are the names, sluice first.
func Profiles() []string {
	names := slices.Sorted(maps.Keys(profiles))
	slices.SortStableFunc(names, func(a, b string) int {
		return strings.Compare(order(a), order(b))
	})
	return names
}

func order(name string) string {
	if name == "sluice" {
		return ""
	}
	return name
}

var (
	passAll = mustRules("*")

	// gatewayRequest is DefaultHeaderMatcher of grpc-gateway's runtime/mux.go: IANA's
	// permanent fields with a prefix, others only behind Grpc-Metadata-, and what the
	// gateway says itself from nobody else.
	gatewayRequest = mustRules(append([]string{
		"authorization=authorization grpcgateway-authorization",
		"!grpc-metadata-grpcgateway-*", "!grpc-metadata-x-forwarded-for", "!grpc-metadata-x-forwarded-host", "grpc-metadata-*=*",
	}, prefixed("grpcgateway-", "accept", "accept-charset", "accept-language", "accept-ranges", "cache-control", "content-type",
		"cookie", "date", "expect", "from", "host", "if-match", "if-modified-since", "if-none-match", "if-schedule-tag-match",
		"if-unmodified-since", "max-forwards", "origin", "pragma", "referer", "user-agent", "via", "warning")...)...)
)

func prefixed(prefix string, names ...string) (rules []string) {
	for _, n := range names {
		rules = append(rules, n+"="+prefix+n)
	}
	return rules
}
