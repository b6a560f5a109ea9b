package duplex

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	grpcwire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/internal/wire/ledger"
	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// Raw returns who takes the bytes of a raw session of a method, as the pipe that other carriers
// have for it, or the HTTP status and the reason of a refusal.
func (s *Server) Raw(method string) (h exchange.Handler, status int, reason string) {
	h, bad := s.raw(method)
	if bad != nil {
		return nil, bad.status, bad.text
	}
	return h, 0, ""
}

// raw returns who takes the pipe of a raw session.
func (s *Server) raw(method string) (exchange.Handler, *refusal) {
	if s.o.Calls == nil || s.o.Types == nil {
		return nil, &refusal{404, "there are no raw sessions here"}
	}
	t, ok := s.o.Types(method)
	if pending := s.o.Pending(); !ok && pending != "" {
		return nil, &refusal{503, "the method is not known yet: waiting for " + pending}
	}
	if !ok {
		return nil, &refusal{404, "the method is not known: the gateway needs its schema, by reflection or descriptors"}
	}
	up, down := carries[t.Request], carries[t.Response]
	if !t.Bidi || up == nil || down == nil {
		return nil, &refusal{501, "raw bytes are for bidirectional methods of google.protobuf.BytesValue or google.api.HttpBody"}
	}
	return &raw{calls: s.o.Calls, up: up, down: down, max: s.o.MaxMessage}, nil
}

// A body is a message that is nothing but bytes.
type body struct {
	lead  []byte           // what goes before the field of a request
	field protowire.Number // of the bytes
}

var carries = map[string]*body{
	"google.protobuf.BytesValue": {field: 1},
	"google.api.HttpBody": {
		field: 2,
		lead:  protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "application/octet-stream"),
	},
}

// append appends the prefix of a message of n bytes, and all of the message that goes before
// them.
func (m *body) append(b []byte, n int) []byte {
	b = envelope.Append(b, 0, len(m.lead)+protowire.SizeTag(m.field)+protowire.SizeBytes(n))
	b = append(b, m.lead...)
	b = protowire.AppendTag(b, m.field, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(n))
}

// rawMetadata says which fields of the GET are metadata of its call: not those of HTTP, of
// browsers, or of these protocols.
func rawMetadata(name string) bool {
	switch name {
	case "accept", "accept-encoding", "accept-language", "cache-control", "connection", "content-encoding", "content-length", "content-type",
		"dnt", "expect", "host", "if-modified-since", "if-none-match", "keep-alive", "pragma", "priority", "referer", "te", "trailer",
		"transfer-encoding", "upgrade", "upgrade-insecure-requests":
		return false
	}
	return !strings.HasPrefix(name, "sec-") && !strings.HasPrefix(name, "sluice-") && !strings.HasPrefix(name, "http2-duplex-") &&
		(!strings.HasPrefix(name, "grpc-") || name == "grpc-timeout")
}

// raw makes a call of a pipe: what comes up in one piece is a message, and of messages that
// come down the bytes are passed on, as they come. It is a translator without I/O.
type raw struct {
	calls    exchange.Handler
	up, down *body
	max      int
}

// Start implements [exchange.Handler].
func (r *raw) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	c := &rawCall{response: response, up: r.up, in: bytesOf{field: r.down.field, max: r.max}}
	h := *head
	h.Method = "POST"
	h.Fields = append([]exchange.Field{{Name: "content-type", Value: "application/grpc+proto"}, {Name: "te", Value: "trailers"}}, head.Fields...)
	c.next = r.calls.Start(&h, (*rawAnswer)(c))
	return c
}

type rawCall struct {
	response exchange.Response
	next     exchange.Request
	up       *body
	ledger   ledger.Ledger // of the bytes up
	prefix   [64]byte
	in       bytesOf
	over     atomic.Bool // the pipe has its end

	mu        sync.Mutex
	ended     bool // the call has
	done      bool // the pipe
	delivered bool
}

// Begin implements [exchange.Request].
func (c *rawCall) Begin() { c.next.Begin() }

// Data implements [exchange.Request].
func (c *rawCall) Data(b []byte) {
	lead := c.up.append(c.prefix[:0], len(b))
	c.ledger.Put(len(b), len(lead)+len(b))
	c.next.Data(lead)
	c.next.Data(b)
}

// End implements [exchange.Request].
func (c *rawCall) End([]exchange.Field) { c.next.End(nil) }

// Reset implements [exchange.Request]. Such a call waits for nobody.
func (c *rawCall) Reset(exchange.Code) { c.next.Reset(exchange.Cancel) }

// Credit implements [exchange.Request].
func (c *rawCall) Credit(n int) { c.next.Credit(n) }

// Done implements [exchange.Request].
func (c *rawCall) Done(delivered bool) {
	c.mu.Lock()
	c.done, c.delivered = true, delivered
	ended := c.ended
	c.mu.Unlock()
	if ended {
		c.next.Done(delivered)
	}
}

// end notes that the call has ended. If the pipe ended before it, nobody else is left to say
// Done.
func (c *rawCall) end() {
	c.mu.Lock()
	c.ended = true
	done := c.done
	c.mu.Unlock()
	if done {
		c.next.Done(c.delivered)
	}
}

// rawAnswer is the same as the response of its call.
type rawAnswer rawCall

// Inform implements [exchange.Response].
func (c *rawAnswer) Inform(*exchange.ResponseHead) {}

// Head implements [exchange.Response].
func (c *rawAnswer) Head(h *exchange.ResponseHead, end bool) {
	switch {
	case h.Status != 200:
		c.fail(rpc.Errorf(rpc.Unknown, "the call was answered with HTTP status %d", h.Status))
		if end {
			(*rawCall)(c).end()
		} else {
			c.next.Reset(exchange.Cancel)
		}
	case end:
		c.finish(h.Fields)
	}
}

// Data implements [exchange.Response].
func (c *rawAnswer) Data(b []byte) {
	if c.over.Load() {
		return
	}
	for len(b) > 0 {
		p, n, err := c.in.next(b)
		if err != nil {
			c.fail(rpc.Errorf(rpc.Internal, "a response can't be read: %v", err))
			c.next.Reset(exchange.Cancel)
			return
		}
		b = b[n:]
		if len(p) > 0 {
			c.response.Data(p)
		}
		if n -= len(p); n > 0 { // what is not the client's is taken
			c.next.Credit(n)
		}
	}
}

// End implements [exchange.Response].
func (c *rawAnswer) End(trailer []exchange.Field) { c.finish(trailer) }

// finish ends the pipe as the call has ended.
func (c *rawAnswer) finish(fields []exchange.Field) {
	st, ok := grpcwire.ReadStatus(fields)
	switch {
	case !ok:
		c.fail(rpc.Errorf(rpc.Unknown, "the call ended without a status"))
	case st.Code != rpc.OK:
		c.fail(st)
	case !c.in.between():
		c.fail(rpc.Errorf(rpc.Internal, "a response was cut"))
	case !c.over.Swap(true):
		c.response.End(nil)
	}
	(*rawCall)(c).end()
}

// Reset implements [exchange.Response].
func (c *rawAnswer) Reset(code exchange.Code, cause error) {
	if !c.over.Swap(true) {
		c.response.Reset(code, cause)
	}
	(*rawCall)(c).end()
}

// Credit implements [exchange.Response].
func (c *rawAnswer) Credit(n int) {
	if n = c.ledger.Credit(n); n > 0 {
		c.response.Credit(n)
	}
}

// fail ends the pipe with a status.
func (c *rawAnswer) fail(st rpc.Status) {
	if !c.over.Swap(true) {
		c.response.Reset(exchange.InternalError, st)
	}
}

// bytesOf finds the bytes of one field in messages, as they come in pieces of any size. It
// keeps nothing but what is cut off of numbers.
type bytesOf struct {
	field protowire.Number
	max   int

	state state
	have  [10]byte // of a prefix, or of a varint
	n     int
	left  int // of the message, behind have
	want  int // of the field
	seen  bool
}

type state int

const (
	inPrefix state = iota
	inTag
	inLength // of the field
	inSkippedLength
	inVarint // skipped
	inBytes
	inSkipped
)

// next reads some of b, which is not empty: n bytes, and of these p, the last ones, are the
// field's.
func (s *bytesOf) next(b []byte) (p []byte, n int, err error) {
	switch s.state {
	case inPrefix:
		n = copy(s.have[s.n:envelope.PrefixLen], b)
		if s.n += n; s.n < envelope.PrefixLen {
			return nil, n, nil
		}
		s.n = 0
		if s.have[0] != 0 {
			return nil, n, envelope.ErrFlags
		}
		size := int64(s.have[1])<<24 | int64(s.have[2])<<16 | int64(s.have[3])<<8 | int64(s.have[4])
		if size > int64(s.max) {
			return nil, n, envelope.ErrTooLarge
		}
		s.left, s.seen = int(size), false
		s.field0()
		return nil, n, nil
	case inBytes, inSkipped:
		n = min(len(b), s.want)
		if s.state == inBytes {
			p = b[:n]
		}
		s.want -= n
		s.left -= n
		if s.want == 0 {
			s.field0()
		}
		return p, n, nil
	}
	c := b[0]
	if s.left == 0 || s.n == len(s.have) {
		return nil, 0, errMalformed
	}
	s.left--
	s.have[s.n] = c
	s.n++
	if c >= 0x80 {
		if s.left == 0 {
			return nil, 0, errMalformed
		}
		return nil, 1, nil
	}
	x, size := protowire.ConsumeVarint(s.have[:s.n])
	s.n = 0
	if size < 0 {
		return nil, 0, errMalformed
	}
	return nil, 1, s.varint(x)
}

var errMalformed = errors.New("malformed message")

// field0 goes to the next field, or the next message.
func (s *bytesOf) field0() {
	s.state = inTag
	if s.left == 0 {
		s.state = inPrefix
	}
}

// varint takes a number.
func (s *bytesOf) varint(x uint64) error {
	switch s.state {
	case inTag:
		number, kind := protowire.DecodeTag(x)
		switch {
		case number < protowire.MinValidNumber || number > protowire.MaxValidNumber:
			return errMalformed
		case number == s.field && kind == protowire.BytesType:
			if s.seen {
				return fmt.Errorf("field %d is there twice", number)
			}
			s.seen = true
			s.state = inLength
		case kind == protowire.BytesType:
			s.state = inSkippedLength
		case kind == protowire.VarintType:
			s.state = inVarint
		case kind == protowire.Fixed32Type:
			return s.skip(4)
		case kind == protowire.Fixed64Type:
			return s.skip(8)
		default:
			return errMalformed
		}
		if s.left == 0 {
			return errMalformed
		}
	case inVarint:
		s.field0()
	case inLength, inSkippedLength:
		if x > uint64(s.left) {
			return errMalformed
		}
		s.want = int(x)
		if s.state == inLength {
			s.state = inBytes
		} else {
			s.state = inSkipped
		}
		if x == 0 {
			s.field0()
		}
	}
	return nil
}

func (s *bytesOf) skip(n int) error {
	if n > s.left {
		return errMalformed
	}
	s.state, s.want = inSkipped, n
	return nil
}

// between says whether an end here is a clean one.
func (s *bytesOf) between() bool { return s.state == inPrefix && s.n == 0 }
