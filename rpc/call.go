package rpc

import (
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"
)

// A Call is the head of a call. Its fields are set before Start; a policy may
// change them before it passes the call on, nobody may afterwards (Stats, which is
// atomic, excepted).
type Call struct {
	Method   string   // "/package.Service/Method"
	Metadata Metadata // the application's; reserved names are never in it

	// Deadline is when the client stops waiting; zero means never.
	Deadline time.Time
	// Received is when the head of the call had been read.
	Received time.Time

	Codec           string   // the content sub-type: "proto", "json", …; "" means "proto" by default
	Encoding        string   // how messages whose prefix says so are compressed; "" is identity
	AcceptEncodings []string // what the client can decompress, in its order of preference; nil is identity only

	// Ahead is how many request bytes may come beyond the window, from a translator that
	// has to write whole messages anew: a client within its window can make it as many.
	Ahead int

	Authority string // the host the client asked for
	UserAgent string // the client's own name for itself
	Peer      Peer
	Protocol  string // "grpc", "grpc-web", "grpc-web-text", "connect"
	Carrier   string // "h1", "h2", …

	// Schema describes the method if a descriptor of it is known, else nil.
	Schema *Method

	Stats Stats
}

// A Peer is who the client is as far as the connection tells.
type Peer struct {
	Addr net.Addr             // nil if there is none (in memory)
	TLS  *tls.ConnectionState // nil without TLS
}

// Stats counts what passed. The two directions count side by side, hence atomics.
type Stats struct {
	RequestMessages  atomic.Int64
	ResponseMessages atomic.Int64
	RequestBytes     atomic.Int64 // gRPC framing included
	ResponseBytes    atomic.Int64
	FirstResponse    atomic.Int64 // when the first response message began, in nanoseconds after Received; 0 is never
}

// A Method is what a descriptor says of a method.
type Method struct {
	Name            string // "/package.Service/Method"
	ClientStreaming bool
	ServerStreaming bool
	NoSideEffects   bool // idempotency_level = NO_SIDE_EFFECTS
}

// A Handler serves calls.
type Handler interface {
	// Start begins a call. The caller gives the place where the response goes and
	// gets the place where the request goes. No event reaches response before the
	// caller has called Begin on the result.
	Start(call *Call, response Response) Request
}

// A HandlerFunc is a function that is a Handler.
type HandlerFunc func(call *Call, response Response) Request

// Start implements [Handler].
func (f HandlerFunc) Start(call *Call, response Response) Request { return f(call, response) }

// A Request takes the events that go towards the backend.
type Request interface {
	Begin()               // the caller has stored the Request; response events may come from now on
	Data(b []byte)        // more message bytes, valid during the call only; never blocks
	End()                 // half-close: no more Data
	Cancel(cause Status)  // the client is gone, the deadline has passed, a policy says no
	Credit(n int)         // n response bytes were taken by the client's side
	Done(outcome Outcome) // exactly once, last
}

// A Response takes the events that go towards the client.
type Response interface {
	Head(h *Head)                    // at most once; no Head at all is trailers-only. h is valid during the call only, its Metadata for good
	Data(b []byte)                   // more message bytes, valid during the call only; never blocks
	End(st Status, trailer Metadata) // exactly once, the last response event
	Credit(n int)                    // n request bytes were taken by the backend's side
}

// A Head is what a response begins with.
type Head struct {
	Metadata        Metadata
	Encoding        string   // how messages whose prefix says so are compressed; "" is identity
	AcceptEncodings []string // what the backend says that it can decompress; nil if it says nothing
	Codec           string   // the content sub-type the backend answered with
}

// An Outcome says how a call ended for the client.
type Outcome struct {
	Status    Status // what the client got, or would have got
	Delivered bool   // the end of the response has left for the client; false if its connection or stream died first
}
