package rest

import (
	"fmt"
	"strings"

	"github.com/sluice-rpc/sluice/internal/transcode"
)

// A Style is everything about REST that can be chosen. It belongs to a method, and does not
// change once a table has it. [Sluice] and the other profiles make one.
type Style struct {
	// JSON says how messages are written. Its MaxOutput is not used, and its Indent only for
	// what is one document: a unary answer, an array.
	JSON transcode.EncodeOptions

	IgnoreParams bool // parameters of the query that can't be placed are ignored, else refused
	IgnoreFields bool // so are unknown fields of a body
	FillMask     bool // PATCH fills an update_mask that is not there
	EachMessage  bool // path and query are in each message of a streamed request, else in the first

	Off       Modes // modes of streams that can't be had
	Alias     bool  // GET reaches streaming methods with a POST rule, for an EventSource
	NoRPC     bool  // methods are reached by rules only
	AnyAccept bool  // where nothing is acceptable the usual answer is, and not 406

	// Stream is the mode of a stream if the client accepts anything, Document that for
	// application/json: Array, or NDJSON in that type.
	Stream, Document Mode

	// Envelope puts the messages of streams into {"result":…} and a failure into
	// {"error":…}. It goes before Failure.
	Envelope   bool
	Failure    Failure
	EarlyHead  bool // the head of a stream does not wait for its first message
	FirstByte  bool // something follows the head at once, if it leaves without a message
	Heartbeats bool // signs of life on a quiet stream
	Events     Events

	Compress int  // a unary answer of so many bytes is compressed for a client that accepts it; 0 never
	ETag     bool // unary GETs have an ETag and are conditional; JSON is written in one order then

	Errors ErrorBody // of calls that failed before their response began

	Request  FieldRules // fields of the request to metadata
	Response FieldRules // metadata to fields of the response
	Trailer  FieldRules // metadata of the end to trailer fields, or to fields of a unary answer
	// TrailerSection has a unary answer end with trailer fields if the client takes them,
	// and drops them if not.
	TrailerSection bool
	Forwarded      bool // x-forwarded-for and x-forwarded-host tell the backend who asked, and whom
}

// Events are what can be chosen about Server-Sent Events.
type Events struct {
	Failure   string // the name of the event that says that the call failed
	End       bool   // an event EOS at the end
	EndData   string // its data
	EndFailed bool   // EOS follows a failure too, if trying again would fail again
	Number    bool   // events have running numbers as ids, if they have no other
	Retry     int    // milliseconds until an EventSource tries again what may succeed then; 0 does not ask it to
}

// Modes is a set of modes.
type Modes uint16

// Has says whether a mode is in the set.
func (s Modes) Has(m Mode) bool { return s&(1<<m) != 0 }

// With returns the set with a mode.
func (s Modes) With(m Mode) Modes { return s | 1<<m }

// StreamModes are the modes that can be switched off.
func StreamModes() (all []Mode) {
	for m := NDJSON; m < modes; m++ {
		if m != HTTPBody { // is what the method is
			all = append(all, m)
		}
	}
	return all
}

// ParseMode reads the name of a mode of streams.
func ParseMode(name string) (Mode, error) {
	var names []string
	for _, m := range StreamModes() {
		if m.String() == name {
			return m, nil
		}
		names = append(names, m.String())
	}
	return 0, fmt.Errorf("%q is no mode of streams: there are %s", name, strings.Join(names, ", "))
}

// Failure is how a stream that fails in the middle says so.
type Failure int

// The ways to fail. In modes that have no place for one the stream is cut.
const (
	// FailMark is an item {"@error":S}; an array stays open.
	FailMark Failure = iota
	// FailClosed is an item of what an error body is; an array is closed.
	FailClosed
	// FailBare is S itself; an array stays open.
	FailBare
	// FailOpen says nothing: an array stays open, all others are cut.
	FailOpen
)

// ErrorBody is what the body of an error is.
type ErrorBody int

// The bodies of errors.
const (
	ErrorStatus  ErrorBody = iota // a google.rpc.Status
	ErrorProblem                  // RFC 9457
	ErrorGoogle                   // {"error":…} as Google's own APIs, https://google.aip.dev/193
	ErrorNone                     // nothing; grpc-status and grpc-message are fields
)

var (
	failureNames = []string{FailMark: "mark", FailClosed: "closed", FailBare: "bare", FailOpen: "open"}
	errorNames   = []string{ErrorStatus: "status", ErrorProblem: "problem", ErrorGoogle: "google", ErrorNone: "none"}
)

// String returns the name of a way to fail.
func (f Failure) String() string { return failureNames[f] }

// String returns the name of a body.
func (e ErrorBody) String() string { return errorNames[e] }

// ParseFailure reads a way to fail.
func ParseFailure(name string) (Failure, error) {
	i, err := choose("way to fail", name, failureNames)
	return Failure(i), err
}

// ParseErrorBody reads what the body of an error is.
func ParseErrorBody(name string) (ErrorBody, error) {
	i, err := choose("body of errors", name, errorNames)
	return ErrorBody(i), err
}

func choose(what, name string, names []string) (int, error) {
	for i, n := range names {
		if n == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%q is no %s: there are %s", name, what, strings.Join(names, ", "))
}

// An offer is a way to answer: what the client may accept, and what it then gets.
type offer struct {
	mode        Mode
	protobuf    bool
	accept      []string
	contentType string
}

// offers are the ways to answer a method, the usual one first.
func (s *Style) offers(stream bool) []offer {
	of := func(m Mode) offer {
		return offer{mode: m, accept: framings[m].accept, contentType: framings[m].contentType}
	}
	protobuf := of(Delimited)
	protobuf.protobuf = true
	var all []offer
	if !stream {
		protobuf.mode = Unary
		all = []offer{of(Unary), protobuf, of(SSE), of(NDJSON), of(Seq)}
	} else {
		all = []offer{of(NDJSON), of(SSE), of(Array), of(Seq), protobuf}
		if s.Document == NDJSON {
			lines := of(NDJSON)
			lines.accept, lines.contentType = framings[Array].accept, framings[Array].contentType
			all = append([]offer{lines}, append(all[:2:2], all[3:]...)...)
		}
	}
	var some []offer
	for _, o := range all {
		if s.Off.Has(o.mode) {
			continue
		}
		if stream && o.mode == s.Stream && (len(some) == 0 || some[0].mode != s.Stream) {
			some = append([]offer{o}, some...)
			continue
		}
		some = append(some, o)
	}
	return some
}
