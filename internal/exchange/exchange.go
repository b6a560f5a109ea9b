// Package exchange holds the contract between carriers, which move bytes, and
// protocols, which know what the bytes mean: one HTTP-shaped exchange of a request
// and a response. It knows nothing of gRPC.
//
// Its interfaces have the shape of those in package rpc, and the same rules of
// order, locking and credit; read them there. What differs is what HTTP adds:
// heads with status and fields, informational responses, trailers in both
// directions, and resets with a code.
//
// An exchange ends for its response with exactly one of Head(h, true), End and
// Reset, also after Request.Reset (which a carrier answers with Response.Reset
// unless the response had ended before). Then comes Request.Done exactly once,
// last.
//
// # WebSockets
//
// A protocol that speaks WebSocket gets the raw bytes of one, as the Data of an
// exchange. It is opened in one of two ways:
//
//   - HTTP/1.1 (RFC 6455, section 4.2): [RequestHead.Upgrades] says so. Only then are
//     hop-by-hop fields among the fields of a head, those that a handshake is checked by:
//     connection, upgrade and transfer-encoding, as they came. Fields of sec-websocket
//     are among them always. A handler that accepts calls Head with status 101 within
//     Begin, and the carrier sends it with the connection and upgrade fields that belong
//     to it. If Begin returns without, the request is like any other: whoever does not
//     speak WebSocket need not know what the client had asked for.
//   - HTTP/2 (RFC 8441): the method is CONNECT and Protocol is "websocket"; whether it is
//     accepted, with 200, may be said at any time.
//
// From then on Data is what stands on the connection or the stream, in both directions
// and bound by credit as always. The request's End is the client's end of stream, the
// response's End closes the other direction after what was sent. A Reset cuts. There is
// nothing more of the exchange after the response's end, so a protocol that wants to
// hear the peer's last words hears them before it; a carrier sees to it that its own last
// words are not lost.
//
// A carrier resets the exchange of a handler that answers with 101 where it may not, and
// does not send it.
//
// # Pipes
//
// A pipe is ordered bytes both ways and nothing else, which carries calls of the duplex
// protocol (docs/protocols/duplex.md). A carrier that rides on others makes an exchange of it:
// the method is CONNECT, and Protocol is [PipeMux] or [PipeCall]. Its fields are those of the
// request that opened it which may count as metadata of its calls. It is open at Begin, so
// nobody calls Head or Inform.
//
// The request's End is that of the client's bytes, the response's End that of ours. A
// Reset of the request with [Cancel] says that the client has left on purpose, so its calls
// are canceled; with any other code, that the way to it was lost, which a call may survive.
// A Reset of the response closes the pipe, and cause is for the peer too, where a
// carrier has a place for it.
//
// Where each call has a pipe of its own ([PipeCall]), pipes belong to a [Session]: what is
// said about the connection, and datagrams, go there.
package exchange

import (
	"crypto/tls"
	"errors"
	"mime"
	"net"
	"strings"
)

// A Field is one field line (RFC 9110, section 5). Names are in lower case.
type Field struct {
	Name, Value string
	// Sensitive marks a literal that is never indexed (RFC 7541, section 7.1.3).
	Sensitive bool
}

// What is spoken on a pipe, as the Protocol of its head.
const (
	PipeMux  = "sluice.v1"      // many calls: the multiplexed form
	PipeCall = "sluice.v1.call" // one call, or the connection's own frames
)

// A RequestHead begins an exchange. It is valid until Begin has returned, its strings
// for good: who needs it longer copies it.
type RequestHead struct {
	Method    string
	Scheme    string // "http" or "https"
	Authority string
	Path      string // with the query
	Protocol  string // of an extended CONNECT (RFC 8441, section 4), else ""
	Fields    []Field
	Length    int64 // the content length if known, else -1

	// Allowed says that a page asks, and that it is of an origin that may.
	Allowed bool
	// Origin is that page's, "" if no page asks. There is no such field among Fields behind
	// the policy that decides about origins.
	Origin string

	// What the carrier knows about the client.
	Addr    net.Addr
	TLS     *tls.ConnectionState
	Carrier string // "h1", "h2", …
}

// Upgrades says whether a client asks for a WebSocket over HTTP/1.1, and the carrier
// could give it. Both fields are lists: browsers send "keep-alive, Upgrade". Whether
// the rest of the handshake is in order is not looked at.
func (h *RequestHead) Upgrades() bool {
	return h.Protocol == "" && lists(h.Fields, "upgrade", "websocket") && lists(h.Fields, "connection", "upgrade")
}

// Handshake says whether a client asks for a WebSocket, in whichever version of HTTP.
func (h *RequestHead) Handshake() bool {
	return h.Protocol == "websocket" && h.Method == "CONNECT" || h.Upgrades()
}

// lists says whether a field is a list with a member, in whatever case.
func lists(fields []Field, name, member string) bool {
	for i := range fields {
		if fields[i].Name != name {
			continue
		}
		for m := range strings.SplitSeq(fields[i].Value, ",") {
			if strings.EqualFold(strings.Trim(m, " \t"), member) {
				return true
			}
		}
	}
	return false
}

// A ResponseHead begins a response. It is valid during the call only.
type ResponseHead struct {
	Status int // not below 200, but for 101 to a request that [RequestHead.Upgrades]
	Fields []Field
}

// A Handler serves exchanges. A carrier calls it for each request that a client
// makes; the client side of a carrier is one, and makes a request for each call.
type Handler interface {
	// Start begins an exchange. No event reaches response before Begin.
	Start(head *RequestHead, response Response) Request
}

// A Request takes the events that go towards the server.
type Request interface {
	Begin()
	Data(b []byte)       // valid during the call only; never blocks
	End(trailer []Field) // half-close
	Reset(code Code)     // the client is gone, or gives up; may run beside Data
	Credit(n int)        // n response bytes were taken
	Done(delivered bool) // exactly once, last; delivered: the end of the response has left for the client
}

// A Response takes the events that go towards the client.
type Response interface {
	Inform(h *ResponseHead)         // a 1xx response; any number, before Head
	Head(h *ResponseHead, end bool) // at most once; with end there is no content and no trailer, and no End follows
	Data(b []byte)                  // valid during the call only; never blocks
	End(trailer []Field)            // the end, whole; a nil trailer is none
	Reset(code Code, cause error)   // the end, broken; cause is for logs and may be nil
	Credit(n int)                   // n request bytes were taken
}

// A Session is a connection on which each call has a pipe of its own. Its methods do not
// block, and may be called from any goroutine; after the end of the session they do nothing.
type Session interface {
	// Control appends frames of the connection to the stream that only the server writes.
	Control(b []byte)
	// Datagram sends b, if there is room for it now, and says whether. It is not sent
	// again if it is lost.
	Datagram(b []byte) bool
	// MaxDatagram is how many bytes fit into one; 0 if there are none.
	MaxDatagram() int
	// Close ends the session and resets its pipes. The client gets the reason.
	Close(code Code, reason string)
}

// A SessionHandler serves sessions.
type SessionHandler interface {
	// StartSession is called with the head of what opened a session, before its first pipe.
	StartSession(head *RequestHead, s Session) SessionServer
}

// A SessionServer serves one session, and is the Handler of its pipes.
type SessionServer interface {
	Handler
	Datagram(b []byte) // valid during the call only; from one goroutine at a time
	Done()             // exactly once, last, when its pipes are over too
}

// Get returns the first value of the field name, or "".
func Get(fields []Field, name string) string {
	for i := range fields {
		if fields[i].Name == name {
			return fields[i].Value
		}
	}
	return ""
}

// MediaType reads a content type without its parameters, in lower case (RFC 9110, section
// 8.3.1). What is in no order is read up to its first parameter.
func MediaType(contentType string) string {
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		t, _, _ = strings.Cut(contentType, ";")
		t = strings.ToLower(strings.TrimSpace(t))
	}
	return t
}

// Misdirected says that what a request is about is at another node.
type Misdirected struct{ Node string }

func (m *Misdirected) Error() string { return "another gateway has it: " + m.Node }

// The fields by which requests that open pipes name what they want to go on with, and answers
// the node that has it (docs/protocols/duplex.md, "Several servers").
const (
	FieldTicket = "sluice-ticket"
	FieldNode   = "sluice-node"
)

// ErrBuffers is why a gateway resets a client's exchange with [EnhanceYourCalm], and why
// others that would have to keep more can't.
var ErrBuffers = errors.New("the gateway's buffers are full (limits.buffer_bytes)")

// A Code says why an exchange was reset, in the numbers of HTTP/2
// (RFC 9113, section 7). Other carriers map them.
type Code uint32

// The codes of RFC 9113, section 7.
const (
	NoError            Code = 0x0
	ProtocolError      Code = 0x1
	InternalError      Code = 0x2
	FlowControlError   Code = 0x3
	SettingsTimeout    Code = 0x4
	StreamClosed       Code = 0x5
	FrameSizeError     Code = 0x6
	RefusedStream      Code = 0x7
	Cancel             Code = 0x8
	CompressionError   Code = 0x9
	ConnectError       Code = 0xa
	EnhanceYourCalm    Code = 0xb
	InadequateSecurity Code = 0xc
	HTTP11Required     Code = 0xd
	// Disconnected stands outside of the wire's range: the connection broke, and
	// nobody knows how far the server had come.
	Disconnected Code = 1 << 31
)

var codeNames = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
	"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
	"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

// String returns the name in RFC 9113.
func (c Code) String() string {
	switch {
	case int64(c) < int64(len(codeNames)):
		return codeNames[c]
	case c == Disconnected:
		return "DISCONNECTED"
	}
	return "UNKNOWN_ERROR"
}
