package connect

import (
	"errors"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/sluice-rpc/sluice/internal/compress"
	"github.com/sluice-rpc/sluice/internal/exchange"
	wire "github.com/sluice-rpc/sluice/internal/wire/connect"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	grpcwire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/rpc"
)

// acceptEncodings is what the gateway says that it reads.
var acceptEncodings = strings.Join(compress.Names(), ", ")

// unary is a call of the unary form. As an exchange.Request it takes the request;
// toUnary takes the response.
type unary struct {
	*call
	refused *rpc.Status
	get     bool
	failed  bool

	// The request. A body of known length passes as it comes; else it is kept.
	length int64
	came   int64
	body   []byte
	taken  atomic.Int64 // of what was sent to the backend, the prefix included

	// The response is kept until its status is known.
	packed  string // how messages whose prefix says so are compressed
	head    rpc.Metadata
	scan    envelope.Scanner
	message []byte      // with its prefix
	broken  *rpc.Status // what is wrong with the response
}

// toUnary is the same call as the place of its response.
type toUnary unary

func startUnary(c *call, head *exchange.RequestHead, bad *rpc.Status) exchange.Request {
	u := &unary{call: c, refused: bad, length: head.Length, get: head.Method == "GET"}
	u.scan = envelope.Scanner{Limit: c.s.o.MaxMessage, Single: true}
	own := exchange.Get(head.Fields, "content-encoding")
	if u.get {
		if u.Schema == nil || !u.Schema.NoSideEffects {
			st := rpc.Errorf(rpc.Unimplemented, "GET is for methods with idempotency_level NO_SIDE_EFFECTS only, which %s is not", u.Method)
			if u.Schema == nil {
				st.Message = "GET is for methods with idempotency_level NO_SIDE_EFFECTS only, and the gateway has no descriptor of " + u.Method +
					": enable server reflection on the backend or give its descriptors by --schema"
			}
			return refuse(c.response, 405, &st)
		}
		g, err := wire.ParseGet(head.Path)
		switch {
		case err != nil:
			u.refused = invalid("%s", err)
		case !known(g.Codec):
			return refuse(c.response, 415, nil)
		case len(g.Message) > c.s.o.MaxMessage:
			st := tooLarge(len(g.Message), c.s.o.MaxMessage)
			u.refused = &st
		}
		u.body, own = g.Message, g.Compression
		if err == nil {
			u.codec = g.Codec
		}
	}
	u.Codec = u.codec
	if e := u.encodings(own, exchange.Get(head.Fields, "accept-encoding")); e != nil {
		u.refused = e
	}
	if u.length > int64(c.s.o.MaxMessage) && u.refused == nil {
		st := tooLarge(int(u.length), c.s.o.MaxMessage)
		u.refused = &st
	}
	if u.refused == nil {
		u.next = c.s.next.Start(&u.Call, (*toUnary)(u))
	}
	return u
}

func (u *unary) Begin() {
	if u.refused != nil {
		(*toUnary)(u).End(*u.refused, nil)
		return
	}
	u.next.Begin()
	if u.get {
		u.send(u.prefix(len(u.body)))
		u.send(u.body)
		u.body = nil
	}
}

// prefix is what gRPC puts before the body. A body of no bytes is an empty message,
// and not compressed.
func (u *unary) prefix(n int) []byte {
	flags := byte(0)
	if u.encoding != "" && n > 0 {
		flags = envelope.Compressed
	}
	u.Stats.RequestMessages.Add(1)
	return envelope.Append(nil, flags, n)
}

func (u *unary) send(b []byte) {
	if len(b) > 0 {
		u.Stats.RequestBytes.Add(int64(len(b)))
		u.next.Data(b)
	}
}

func (u *unary) Data(b []byte) {
	if u.failed || u.next == nil || u.get {
		u.response.Credit(len(b))
		return
	}
	first := u.came == 0
	u.came += int64(len(b))
	switch {
	case u.length < 0:
	case u.came > u.length:
		u.response.Credit(len(b))
		u.fail(rpc.Status{Code: rpc.InvalidArgument, Message: "the request body is longer than its content-length"})
		return
	default:
		if first {
			u.send(u.prefix(int(u.length)))
		}
		u.send(b)
		return
	}
	// Kept: taken on receipt, within the limit.
	u.response.Credit(len(b))
	switch {
	case len(u.body)+len(b) > u.s.o.MaxMessage:
		u.fail(rpc.Errorf(rpc.ResourceExhausted, "request message of more than %d bytes, which is the gateway's limit (limits.message_bytes)", u.s.o.MaxMessage))
	case !u.s.o.Reserve(len(b)):
		u.fail(grpcwire.BuffersFull)
	default:
		u.body = append(u.body, b...)
	}
}

func (u *unary) fail(st rpc.Status) {
	u.failed = true
	u.free()
	u.next.Cancel(st)
}

func (u *unary) free() {
	if !u.get {
		u.s.o.Reserve(-len(u.body))
	}
	u.body = nil
}

func (u *unary) End([]exchange.Field) {
	if u.failed || u.next == nil {
		return
	}
	switch {
	case u.get:
	case u.length < 0:
		u.send(append(u.prefix(len(u.body)), u.body...))
		u.free()
	case u.came != u.length:
		u.fail(rpc.Status{Code: rpc.InvalidArgument, Message: "the request body is shorter than its content-length"})
		return
	case u.came == 0:
		u.send(u.prefix(0))
	}
	u.next.End()
}

func (u *unary) Reset(code exchange.Code) {
	if u.next != nil {
		u.next.Cancel(grpcwire.FromClientReset(code))
	}
}

func (u *unary) Credit(int) {} // the response was taken on receipt

func (u *unary) Done(delivered bool) {
	if !u.failed {
		u.free()
	}
	if u.next != nil {
		u.next.Done(rpc.Outcome{Status: u.outcome, Delivered: delivered})
	}
}

// Head implements [rpc.Response].
func (t *toUnary) Head(h *rpc.Head) {
	t.head, t.packed = h.Metadata, h.Encoding
	t.scan.Encoded = h.Encoding != ""
}

// Data implements [rpc.Response]. The response is taken on receipt, one message within
// the limit.
func (t *toUnary) Data(b []byte) {
	t.next.Credit(len(b))
	if t.broken != nil {
		return
	}
	_, err := t.scan.Scan(b)
	switch {
	case err != nil:
		t.fail(t.responseError(err))
	case !t.s.o.Reserve(len(b)):
		t.fail(grpcwire.BuffersFull)
	default:
		t.message = append(t.message, b...)
	}
}

func (t *toUnary) fail(st rpc.Status) {
	t.broken = &st
	t.next.Cancel(st)
}

// responseError is the status for a response that is not one message.
func (t *toUnary) responseError(err error) rpc.Status {
	switch {
	case errors.Is(err, envelope.ErrTooMany):
		return rpc.Status{Code: rpc.Unimplemented, Message: "the method has one response message, and the backend sent more"}
	case errors.Is(err, envelope.ErrTooLarge):
		return rpc.Errorf(rpc.ResourceExhausted, "response message of %d bytes; the gateway's limit is %d (limits.message_bytes)", t.scan.Length(), t.scan.Limit)
	}
	return rpc.Status{Code: rpc.Internal, Message: "the backend's response: " + err.Error()}
}

// Credit implements [rpc.Response]. What belongs to the prefix was never the client's.
func (t *toUnary) Credit(n int) {
	if t.length < 0 || t.get {
		return
	}
	taken := t.taken.Add(int64(n)) - envelope.PrefixLen
	if n = int(min(int64(n), taken)); n > 0 {
		t.response.Credit(n)
	}
}

// End implements [rpc.Response].
func (t *toUnary) End(st rpc.Status, trailer rpc.Metadata) {
	defer t.s.o.Reserve(-len(t.message))
	// Nobody knows this path, as far as the gateway can tell.
	unknown := st.Code == rpc.Unimplemented && t.Schema == nil && t.refused == nil
	body, encoding, st := t.result(st)
	t.outcome = st
	var f []exchange.Field
	status := 200
	if st.OK() {
		f = append(f, exchange.Field{Name: "content-type", Value: unaryType + t.codec})
		if encoding != "" {
			f = append(f, exchange.Field{Name: "content-encoding", Value: encoding})
		}
	} else {
		status = wire.HTTPStatus(st.Code)
		if unknown {
			status = 404
		}
		body = wire.AppendError(nil, &st)
		f = append(f, exchange.Field{Name: "content-type", Value: "application/json"})
	}
	f = append(f,
		exchange.Field{Name: "content-length", Value: strconv.Itoa(len(body))},
		exchange.Field{Name: "accept-encoding", Value: acceptEncodings},
		exchange.Field{Name: "vary", Value: "Accept-Encoding"})
	f = appendMetadata(f, "", t.head)
	f = appendMetadata(f, "trailer-", trailer)
	t.response.Head(&exchange.ResponseHead{Status: status, Fields: f}, len(body) == 0)
	if len(body) > 0 {
		t.response.Data(body)
		t.response.End(nil)
	}
}

// result takes the one message out of its framing.
func (t *toUnary) result(st rpc.Status) (body []byte, encoding string, _ rpc.Status) {
	if !st.OK() {
		return nil, "", st
	}
	switch {
	case t.broken != nil:
		return nil, "", *t.broken
	case !t.scan.Between():
		return nil, "", rpc.Status{Code: rpc.Internal, Message: "the backend ended the response inside of a message"}
	case len(t.message) == 0:
		return nil, "", rpc.Status{Code: rpc.Unimplemented, Message: "the method has one response message, and the backend sent none"}
	}
	body = t.message[envelope.PrefixLen:]
	if t.scan.Flags()&envelope.Compressed == 0 || len(body) == 0 {
		return body, "", st
	}
	if t.accepts(t.packed) {
		return body, t.packed, st
	}
	body, err := compress.Decompress(t.packed, body, t.s.o.MaxMessage, t.s.o.Ratio)
	if err != nil {
		return nil, "", convertError(err)
	}
	return body, "", st
}

// refusal answers before there is a call.
type refusal struct {
	response exchange.Response
	head     exchange.ResponseHead
	body     []byte
}

func refuse(response exchange.Response, status int, st *rpc.Status) exchange.Request {
	r := &refusal{response: response, head: exchange.ResponseHead{Status: status}}
	switch status {
	case 405:
		r.head.Fields = append(r.head.Fields, exchange.Field{Name: "allow", Value: "POST"})
	case 415:
		r.head.Fields = append(r.head.Fields, exchange.Field{Name: "accept-post", Value: acceptPost})
	}
	if st != nil {
		r.body = wire.AppendError(nil, st)
		r.head.Fields = append(r.head.Fields, exchange.Field{Name: "content-type", Value: "application/json"})
	}
	return r
}

func (r *refusal) Begin() {
	r.response.Head(&r.head, len(r.body) == 0)
	if len(r.body) > 0 {
		r.response.Data(r.body)
		r.response.End(nil)
	}
}
func (r *refusal) Data(b []byte)        { r.response.Credit(len(b)) }
func (r *refusal) End([]exchange.Field) {}
func (r *refusal) Reset(exchange.Code)  {}
func (r *refusal) Credit(int)           {}
func (r *refusal) Done(bool)            {}
