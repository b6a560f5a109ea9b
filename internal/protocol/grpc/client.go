package grpc

import (
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	wire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/rpc"
)

// ClientOptions are what a client half needs to know.
type ClientOptions struct {
	Scheme     string           // "http" or "https"
	Authority  string           // "" passes the client's on
	Fallback   string           // the authority of calls that have none: the gateway's own
	MaxMessage int              // bytes of one response message
	Now        func() time.Time // nil is time.Now
}

type client struct {
	next  exchange.Handler
	o     ClientOptions
	lists lists
}

// NewClient returns the client half: it makes an exchange of each call and gives it to
// next, the way to a backend.
func NewClient(next exchange.Handler, o ClientOptions) rpc.Handler {
	o.Now = now(o.Now)
	return &client{next: next, o: o}
}

// clientCall is a call on its way to a backend. Its methods named as in [rpc.Request]
// take the request; fromBackend takes the response.
type clientCall struct {
	c        *client
	call     *rpc.Call
	response rpc.Response
	next     exchange.Request
	draft    *draft // the head, until Begin

	cause atomic.Pointer[rpc.Status] // why the call ends before the backend has ended it

	// The response direction's.
	scan   envelope.Scanner
	held   int        // response bytes that were kept from the client, and not credited
	status rpc.Status // of the head
	hasSt  bool
	ended  bool
	rhead  rpc.Head
}

// fromBackend is the same call as the place of the backend's response.
type fromBackend clientCall

func (c *client) Start(call *rpc.Call, response rpc.Response) rpc.Request {
	cc := &clientCall{c: c, call: call, response: response}
	cc.scan.Limit = c.o.MaxMessage
	cc.scan.Single = call.Schema != nil && !call.Schema.ServerStreaming
	d := drafts.Get().(*draft)
	f := append(d.fields,
		exchange.Field{Name: "te", Value: "trailers"}, // grpc-c++ insists on it
		exchange.Field{Name: "content-type", Value: kind{codec: call.Codec}.contentType()})
	ua := call.UserAgent
	if ua == "" {
		ua = "sluice"
	}
	f = append(f, exchange.Field{Name: "user-agent", Value: ua})
	if !call.Deadline.IsZero() {
		var b [12]byte
		left := call.Deadline.Sub(c.o.Now())
		f = append(f, exchange.Field{Name: "grpc-timeout", Value: string(wire.AppendTimeout(b[:0], left))})
	}
	if call.Encoding != "" {
		f = append(f, exchange.Field{Name: "grpc-encoding", Value: call.Encoding})
	}
	if len(call.AcceptEncodings) > 0 {
		f = append(f, exchange.Field{Name: "grpc-accept-encoding", Value: strings.Join(call.AcceptEncodings, ",")})
	}
	f = appendMetadata(f, call.Metadata)
	authority := c.o.Authority
	if authority == "" {
		authority = call.Authority
	}
	if authority == "" {
		authority = c.o.Fallback
	}
	d.request = exchange.RequestHead{
		Method: "POST", Scheme: c.o.Scheme, Authority: authority, Path: call.Method, Fields: f, Length: -1,
		Addr: call.Peer.Addr, TLS: call.Peer.TLS, Carrier: call.Carrier,
	}
	d.fields, cc.draft = f, d
	cc.next = c.next.Start(&d.request, (*fromBackend)(cc))
	return cc
}

func (cc *clientCall) Begin() {
	cc.next.Begin()
	cc.draft.free(cc.draft.fields)
	cc.draft = nil
}

func (cc *clientCall) Data(b []byte) { cc.next.Data(b) }
func (cc *clientCall) End()          { cc.next.End(nil) }
func (cc *clientCall) Credit(n int)  { cc.next.Credit(n) }

// Cancel implements [rpc.Request]: the carrier answers the reset with the end.
func (cc *clientCall) Cancel(cause rpc.Status) {
	if cc.cause.CompareAndSwap(nil, &cause) {
		cc.next.Reset(exchange.Cancel)
	}
}

func (cc *clientCall) Done(o rpc.Outcome) { cc.next.Done(o.Delivered) }

// Inform implements [exchange.Response]. Informational responses mean nothing to gRPC.
func (r *fromBackend) Inform(*exchange.ResponseHead) {}

// fail ends the call for a reason that the backend gave. The end comes from the
// carrier, as the answer to the reset.
func (r *fromBackend) fail(st rpc.Status) { (*clientCall)(r).Cancel(st) }

func (r *fromBackend) Head(h *exchange.ResponseHead, end bool) {
	ct := exchange.Get(h.Fields, "content-type")
	k, isGRPC := parseType(ct)
	r.status, r.hasSt = wire.ReadStatus(h.Fields)
	if !r.hasSt && (h.Status != 200 || !isGRPC || k.web) {
		st := rpc.Errorf(wire.FromHTTP(h.Status), "the backend answered with HTTP status %d and content-type %q instead of gRPC", h.Status, ct)
		if h.Status == 200 {
			st.Code = rpc.Unknown
		}
		if end {
			r.end(st, nil)
			return
		}
		r.fail(st)
		return
	}
	if end {
		r.end(r.judge(r.status, r.hasSt), Metadata(h.Fields))
		return
	}
	// Clients are told that it is what they asked for.
	if isGRPC && codecName(k.codec) != codecName(r.call.Codec) {
		r.fail(rpc.Errorf(rpc.Internal, "the backend answered with content-type %q, and was asked for %s", ct, codecName(r.call.Codec)))
		return
	}
	head := &r.rhead
	head.Metadata, head.Codec = Metadata(h.Fields), k.codec
	for i := range h.Fields {
		switch f := &h.Fields[i]; f.Name {
		case "grpc-encoding":
			head.Encoding = encoding(f.Value)
		case "grpc-accept-encoding":
			head.AcceptEncodings = r.c.lists.get(f.Value)
		}
	}
	r.scan.Encoded = head.Encoding != ""
	r.response.Head(head)
	head.Metadata = nil // who wants it has it
}

// codecName is the name of a codec: that of "application/grpc" is proto.
func codecName(codec string) string {
	if codec == "" {
		return "proto"
	}
	return codec
}

// Data passes on what is sound. Of a prefix nothing passes before it is whole: else how
// the backend's bytes were cut would decide whether a client of gRPC-Web can be told
// that the message was refused.
func (r *fromBackend) Data(b []byte) {
	r.held += len(b)
	if len(b) > 0 {
		r.hasSt = false // a status in the head is one only if there is nothing else
	}
	if r.cause.Load() != nil {
		r.drop() // nobody else will credit it
		return
	}
	before := r.scan.Messages()
	lead, n, err := r.scan.Hold(b)
	if d := r.scan.Messages() - before; d > 0 {
		r.call.Stats.ResponseMessages.Add(int64(d))
		if before == 0 {
			r.call.Stats.FirstResponse.Store(max(1, int64(r.c.o.Now().Sub(r.call.Received))))
		}
	}
	if n > 0 {
		r.held -= len(lead) + n
		r.call.Stats.ResponseBytes.Add(int64(len(lead) + n))
		if len(lead) > 0 {
			r.response.Data(lead)
		}
		r.response.Data(b[:n])
	}
	if err != nil {
		r.drop()
		r.fail(responseError(err, &r.scan))
	}
}

// drop credits what the client will not get.
func (r *fromBackend) drop() {
	r.next.Credit(r.held)
	r.held = 0
}

// responseError is the status for a response that breaks gRPC's rules.
func responseError(err error, s *envelope.Scanner) rpc.Status {
	switch {
	case errors.Is(err, envelope.ErrTooLarge):
		return rpc.Errorf(rpc.ResourceExhausted, "response message of %d bytes; the gateway's limit is %d (limits.message_bytes)", s.Length(), s.Limit)
	case errors.Is(err, envelope.ErrTooMany):
		return rpc.Status{Code: rpc.Unimplemented, Message: "the method has one response message, and the backend sent more"}
	case errors.Is(err, envelope.ErrFlags):
		return rpc.Errorf(rpc.Internal, "response message with unknown flags %#02x", s.Flags())
	}
	return rpc.Status{Code: rpc.Internal, Message: "compressed response message without grpc-encoding"}
}

func (r *fromBackend) End(trailer []exchange.Field) {
	st, ok := wire.ReadStatus(trailer)
	if !ok {
		st, ok = r.status, r.hasSt
	}
	r.end(r.judge(st, ok), Metadata(trailer))
}

// judge is the status of a response that ended whole: what the backend said, unless the
// response is not what it said.
func (r *fromBackend) judge(st rpc.Status, said bool) rpc.Status {
	switch {
	case !said:
		return rpc.Status{Code: rpc.Internal, Message: "the backend ended the response without grpc-status"}
	case !st.OK():
	case !r.scan.Between():
		return rpc.Status{Code: rpc.Internal, Message: "the backend ended the response inside of a message"}
	case r.scan.Single && r.scan.Messages() == 0:
		return rpc.Status{Code: rpc.Unimplemented, Message: "the method has one response message, and the backend sent none"}
	}
	return st
}

func (r *fromBackend) Reset(code exchange.Code, cause error) {
	if c := r.cause.Load(); c != nil {
		r.end(*c, nil)
		return
	}
	var said rpc.Status
	if errors.As(cause, &said) { // whoever refused it has the words already
		r.end(said, nil)
		return
	}
	st := rpc.Status{Code: wire.FromReset(code), Cause: cause}
	switch {
	case code == exchange.Cancel && !r.call.Deadline.IsZero() && !r.c.o.Now().Before(r.call.Deadline):
		st.Code, st.Message = rpc.DeadlineExceeded, "deadline exceeded"
	case code == exchange.Disconnected:
		st.Message = "the connection to the backend was lost"
	case code == exchange.RefusedStream:
		st.Message = "the backend refused the call"
	case cause != nil:
		st.Message = cause.Error()
	default:
		st.Message = "the backend reset the call: " + code.String()
	}
	r.end(st, nil)
}

// end ends the call; a cancel that came first has the last word.
func (r *fromBackend) end(st rpc.Status, trailer rpc.Metadata) {
	if r.ended {
		return
	}
	r.ended = true
	if c := r.cause.Load(); c != nil {
		st, trailer = *c, nil
	}
	r.response.End(st, trailer)
}

func (r *fromBackend) Credit(n int) { r.response.Credit(n) }
