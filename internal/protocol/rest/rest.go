// Package rest is HTTP with JSON as a translator from exchanges to calls: methods are
// reached by the rules of google.api.http and by their own path, unary ones with a JSON
// document each way, streams in the framing that the client accepts
// (docs/protocols/rest-streams.md). Which request is whose is decided in negotiate.go
// (docs/protocols/negotiation.md).
//
// What is protobuf here is JSON there, so messages are assembled, within the limit, and
// written anew; a ledger maps what the other side has taken back to what came.
package rest

import (
	"math"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/transcode"
	grpcwire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/rpc"
)

// Options are what the protocol needs to know.
type Options struct {
	// Table returns the methods that can be reached now. It is called for each exchange.
	Table func() *Table
	// Unknown is told of a path that nobody has, and returns what the schema still waits
	// for, or "". Nil is nothing.
	Unknown func(path string) (pending string)

	MaxMessage int           // bytes of one message, as JSON and as protobuf
	Ratio      int           // of decompression, at most
	HeadWait   time.Duration // before the head of a stream leaves without a message; 0 is never
	Heartbeat  time.Duration // of silence before a sign of life; 0 is never

	// Of WebSockets.
	MaxFields   int            // bytes of the metadata in a head; 0 is no bound
	Ping        time.Duration  // of silence before a Ping; 0 is never
	PingTimeout time.Duration  // of more silence before the client is given up
	Idle        time.Duration  // until a client that has to speak first does; 0 is for ever
	Abuse       int            // frames of no use in a second; 0 is no bound
	Abused      func(net.Addr) // is told who was cut off for more; nil is nobody
	Compression bool           // permessage-deflate is agreed to

	Now func() time.Time // nil is time.Now
	// After calls f once, later, from any goroutine, unless it is stopped before.
	After func(d time.Duration, f func()) (stop func() bool)
	// Reserve takes n bytes of the gateway's memory for what has to be kept, or gives them
	// back if n is negative. It says false if there are none. Nil is no bound.
	Reserve func(n int) bool
}

type server struct {
	next rpc.Handler
	o    Options
}

// NewServer makes a call of each exchange and gives it to next.
func NewServer(next rpc.Handler, o Options) exchange.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxFields == 0 {
		o.MaxFields = math.MaxInt
	}
	if o.Reserve == nil {
		o.Reserve = func(int) bool { return true }
	}
	if o.After == nil {
		o.After = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	return &server{next, o}
}

// Start implements [exchange.Handler].
func (s *server) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	d := s.o.Table().decide(head)
	if d.unknown && s.o.Unknown != nil {
		path, _, _ := strings.Cut(head.Path, "?")
		if pending := s.o.Unknown(path); pending != "" {
			d.status, d.message = 503, "nothing is at "+path+" yet: the gateway waits for "+pending
		}
	}
	if d.binding == nil {
		return refuse(head, response, &d)
	}
	if d.mode == SSE && d.style.Events.End && exchange.Get(head.Fields, "last-event-id") == endOfStream {
		d.status = 204 // nothing else ends an EventSource
		return refuse(head, response, &d)
	}
	c := &call{s: s, response: response, decision: d, bodiless: head.Method == "HEAD"}
	c.Method, c.Schema = d.binding.info.Name, d.binding.info
	c.Received = s.o.Now()
	c.Codec, c.Protocol, c.Carrier = "proto", "rest", head.Carrier
	c.Authority = head.Authority
	c.Peer = rpc.Peer{Addr: head.Addr, TLS: head.TLS}
	c.Metadata = requestMetadata(head.Fields, d.style.Request)
	if d.style.Forwarded {
		c.Metadata = appendForwarded(c.Metadata, head)
	}
	c.UserAgent = exchange.Get(head.Fields, "user-agent")
	c.Ahead = s.o.MaxMessage + 8*rpc.WindowDefault // "0," can be as long as 13 bytes of protobuf
	c.Deadline, c.refused = deadline(head.Fields, c.Received)
	if d.mode == WebSocket {
		return s.startSocket(c, head)
	}
	// RFC 9110, section 6.5.1; HTTP/2 always has a place for trailers.
	c.trailers = head.Carrier != "h1" || strings.Contains(strings.ToLower(exchange.Get(head.Fields, "te")), "trailers")
	c.only = onlyEvents(values(head.Fields, "accept"))
	if c.refused == nil {
		c.refused = c.chooseRepresentation(head)
	}
	c.out.init(c, head)
	c.in.init(c, head)
	if head.Length > int64(s.o.MaxMessage) && !c.in.streams() && c.refused == nil {
		st := c.tooLarge(head.Length)
		c.refused = &st
	}
	if c.refused == nil {
		c.next = s.next.Start(&c.Call, (*toClient)(c))
	}
	return c
}

// onlyEvents says whether a client reads nothing but events.
func onlyEvents(accept []string) bool {
	for _, r := range parseAccept(accept) {
		if r.quality > 0 && r.name != "text/event-stream" {
			return false
		}
	}
	return true
}

// call is one call. As an exchange.Request it takes the request; toClient takes the
// response.
type call struct {
	rpc.Call
	decision
	s        *server
	response exchange.Response
	next     rpc.Request

	bodiless bool // HEAD: the response has no content
	trailers bool // the response may have trailers
	only     bool // the client reads nothing but events
	refused  *rpc.Status
	// What the client says of the form of a unary answer.
	accepted    string // the content coding that it likes best, or ""
	conditional bool   // it is a GET, and has an ETag
	ifNoneMatch []string
	selection   *transcode.Selection // of the message's fields
	large       bool                 // an end with RESOURCE_EXHAUSTED means that the client sent too much
	outcome     rpc.Status

	in     requestBody
	out    responseBody
	socket *socket // if the call is one over a WebSocket
}

// toClient is the same call as the place of its response.
type toClient call

func (c *call) tooLarge(n int64) rpc.Status {
	c.large = true
	return rpc.Errorf(rpc.ResourceExhausted, "request body of %d bytes; the gateway's limit is %d (limits.message_bytes)", n, c.s.o.MaxMessage)
}

func (c *call) Begin() {
	if c.refused != nil {
		(*toClient)(c).End(*c.refused, nil)
		return
	}
	c.next.Begin()
	c.out.begin()
}

func (c *call) Data(b []byte) {
	if c.next == nil {
		c.response.Credit(len(b))
		return
	}
	c.in.data(b)
}

func (c *call) End([]exchange.Field) {
	if c.next != nil {
		c.in.end()
	}
}

func (c *call) Reset(code exchange.Code) {
	if c.next != nil {
		c.next.Cancel(grpcwire.FromClientReset(code))
	}
}

func (c *call) Credit(n int) {
	if c.next == nil {
		return
	}
	if n = c.out.ledger.Credit(n); n > 0 {
		c.next.Credit(n)
	}
}

func (c *call) Done(delivered bool) {
	c.in.free()
	c.out.done()
	if c.next != nil {
		c.next.Done(rpc.Outcome{Status: c.outcome, Delivered: delivered})
	}
}

// Head implements [rpc.Response].
func (t *toClient) Head(h *rpc.Head) { t.out.head(h) }

// Data implements [rpc.Response].
func (t *toClient) Data(b []byte) { t.out.data(b) }

// Credit implements [rpc.Response].
func (t *toClient) Credit(n int) {
	if n = t.in.ledger.Credit(n); n > 0 {
		t.response.Credit(n)
	}
}

// End implements [rpc.Response].
func (t *toClient) End(st rpc.Status, trailer rpc.Metadata) { t.out.end(st, trailer) }

// errorBody writes a status for the client: how HTTP says it, and what is in the body.
func (c *call) errorBody(st *rpc.Status) (status int, contentType string, body []byte) {
	status = HTTPStatus(st.Code)
	if c.large && st.Code == rpc.ResourceExhausted && !st.Remote {
		status = 413
	}
	contentType, body = c.errors.write(status, st, c.binding.anyJSON)
	if c.style.Envelope && c.binding.info.ServerStreaming && c.errors == ErrorStatus {
		body = append(append([]byte(`{"error":`), body...), '}')
	}
	if c.style.Failure == FailClosed && c.mode == Array && c.errors == ErrorGoogle {
		body = append(append([]byte{'['}, body...), ']') // what would have been an array is one
	}
	return status, contentType, body
}

// refusal answers what becomes no call: when the request has ended, if its end can be
// waited for, else at once.
type refusal struct {
	response exchange.Response
	wait     bool
	over     atomic.Bool
	none     bool // there is no content
	status   int
	fields   []exchange.Field
	body     []byte
}

func refuse(head *exchange.RequestHead, response exchange.Response, d *decision) exchange.Request {
	r := &refusal{response: response, status: d.status, wait: head.Method != "CONNECT" && (head.Method != "POST" || head.Length >= 0)}
	if len(d.allow) > 0 {
		r.fields = append(r.fields, exchange.Field{Name: "allow", Value: strings.Join(d.allow, ", ")})
	}
	switch d.status {
	case 415:
		if d.codings != "" { // RFC 9110, section 15.5.16
			r.fields = append(r.fields, exchange.Field{Name: "accept-encoding", Value: d.codings})
			break
		}
		r.fields = append(r.fields, exchange.Field{Name: "accept-post", Value: acceptPost})
	case 503:
		r.fields = append(r.fields, exchange.Field{Name: "retry-after", Value: "1"})
	}
	if d.message != "" {
		st := rpc.Status{Code: codeOf(d.status), Message: d.message}
		contentType, body := d.errors.write(d.status, &st, nil)
		switch {
		case contentType == "":
			r.fields = grpcwire.AppendStatus(r.fields, st)
		case d.errors == ErrorStatus && !reads(exchange.MediaType(exchange.Get(head.Fields, "content-type"))):
			// Somebody else's client, such as Connect's, which takes JSON for its own.
			contentType, body = "text/plain; charset=utf-8", []byte(d.message)
		}
		if contentType != "" {
			r.body = append(body, '\n')
			r.fields = append(r.fields, exchange.Field{Name: "content-type", Value: contentType})
		}
	}
	if d.status != 204 { // RFC 9110, section 8.6: no length with 204
		r.fields = append(r.fields, exchange.Field{Name: "content-length", Value: strconv.Itoa(len(r.body))})
	}
	r.none = len(r.body) == 0 || head.Method == "HEAD"
	return r
}

const acceptPost = "application/json, application/x-ndjson, application/json-seq, application/x-protobuf, application/x-www-form-urlencoded, multipart/form-data, " +
	"application/grpc, application/grpc-web, application/grpc-web-text, application/proto, application/connect+proto, application/connect+json"

// codeOf is the status code for what the gateway says by HTTP status.
func codeOf(status int) rpc.Code {
	switch status {
	case 403:
		return rpc.PermissionDenied
	case 404:
		return rpc.NotFound
	case 405, 501:
		return rpc.Unimplemented
	case 503:
		return rpc.Unavailable
	}
	return rpc.InvalidArgument
}

func (r *refusal) answer() {
	if r.over.Swap(true) {
		return
	}
	r.response.Head(&exchange.ResponseHead{Status: r.status, Fields: r.fields}, r.none)
	if !r.none {
		r.response.Data(r.body)
		r.response.End(nil)
	}
}

func (r *refusal) Begin() {
	if !r.wait {
		r.answer()
	}
}

func (r *refusal) End([]exchange.Field) {
	if r.wait {
		r.answer()
	}
}

func (r *refusal) Reset(code exchange.Code) {
	if !r.over.Swap(true) {
		r.response.Reset(code, nil)
	}
}

func (r *refusal) Data(b []byte) { r.response.Credit(len(b)) }
func (r *refusal) Credit(int)    {}
func (r *refusal) Done(bool)     {}
