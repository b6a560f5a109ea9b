package connect

import (
	"encoding/binary"
	"errors"
	"math"
	"sync/atomic"

	"github.com/sluice-rpc/sluice/internal/compress"
	"github.com/sluice-rpc/sluice/internal/exchange"
	wire "github.com/sluice-rpc/sluice/internal/wire/connect"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	grpcwire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/internal/wire/ledger"
	"github.com/sluice-rpc/sluice/rpc"
)

// stream is a call of the streaming form. As an exchange.Request it takes the request;
// toStream takes the response.
type stream struct {
	*call
	refused *rpc.Status
	scan    envelope.Scanner
	failed  bool

	headSent bool
	out      envelope.Scanner // follows the response: whether an end is inside of a message
	convert  *converter       // nil: messages pass as they come
	broken   *rpc.Status      // why the response could not be converted

	// What the client takes of the end was never the backend's.
	passed int64        // of the response
	bound  atomic.Int64 // the same, once the end is written
	taken  atomic.Int64
}

// toStream is the same call as the place of its response.
type toStream stream

func startStream(c *call, head *exchange.RequestHead, bad *rpc.Status) exchange.Request {
	st := &stream{call: c, refused: bad}
	if e := st.encodings(exchange.Get(head.Fields, "connect-content-encoding"), exchange.Get(head.Fields, "connect-accept-encoding")); e != nil {
		st.refused = e
	}
	if st.Schema != nil && st.Schema.ClientStreaming && st.Schema.ServerStreaming && head.Carrier == "h1" {
		return refuse(c.response, 505, nil)
	}
	st.scan = envelope.Scanner{Limit: c.s.o.MaxMessage, Encoded: st.encoding != "", Single: st.Schema != nil && !st.Schema.ClientStreaming}
	st.out = envelope.Scanner{Limit: 1<<32 - 1, Encoded: true}
	st.bound.Store(math.MaxInt64)
	if st.refused == nil {
		st.next = c.s.next.Start(&st.Call, (*toStream)(st))
	}
	return st
}

func (c *stream) Begin() {
	if c.refused != nil {
		(*toStream)(c).End(*c.refused, nil)
		return
	}
	c.next.Begin()
}

func (c *stream) Data(b []byte) {
	if c.failed || c.next == nil {
		c.response.Credit(len(b))
		return
	}
	before := c.scan.Messages()
	n, err := c.scan.Scan(b)
	if d := c.scan.Messages() - before; d > 0 {
		c.Stats.RequestMessages.Add(int64(d))
	}
	if n > 0 {
		c.Stats.RequestBytes.Add(int64(n))
		c.next.Data(b[:n])
	}
	if err != nil {
		c.response.Credit(len(b) - n)
		c.fail(requestError(err, &c.scan))
	}
}

func (c *stream) fail(st rpc.Status) {
	c.failed = true
	c.next.Cancel(st)
}

// requestError is the status for a request that breaks the protocol's rules.
func requestError(err error, s *envelope.Scanner) rpc.Status {
	switch {
	case errors.Is(err, envelope.ErrTooLarge):
		return tooLarge(s.Length(), s.Limit)
	case errors.Is(err, envelope.ErrTooMany):
		return rpc.Status{Code: rpc.Unimplemented, Message: "the method takes one request message, and the client sent more"}
	case errors.Is(err, envelope.ErrFlags):
		if s.Flags()&wire.EndStream != 0 {
			return rpc.Status{Code: rpc.InvalidArgument, Message: "a client must not send an end-stream envelope"}
		}
		return rpc.Errorf(rpc.InvalidArgument, "request envelope with unknown flags %#02x", s.Flags())
	}
	return rpc.Status{Code: rpc.Internal, Message: "compressed request message without connect-content-encoding"}
}

func tooLarge(n, limit int) rpc.Status {
	return rpc.Errorf(rpc.ResourceExhausted, "request message of %d bytes; the gateway's limit is %d (limits.message_bytes)", n, limit)
}

func (c *stream) End([]exchange.Field) {
	switch {
	case c.failed || c.next == nil:
	case !c.scan.Between():
		c.fail(rpc.Status{Code: rpc.InvalidArgument, Message: "the request ended inside of a message"})
	case c.scan.Single && c.scan.Messages() == 0:
		c.fail(rpc.Status{Code: rpc.Unimplemented, Message: "the method takes one request message, and the client sent none"})
	default:
		c.next.End()
	}
}

func (c *stream) Reset(code exchange.Code) {
	if c.next != nil {
		c.next.Cancel(grpcwire.FromClientReset(code))
	}
}

func (c *stream) Credit(n int) {
	if c.next == nil {
		return
	}
	if c.convert != nil {
		n = c.convert.ledger.Credit(n)
	} else if over := c.taken.Add(int64(n)) - c.bound.Load(); over > 0 {
		n -= int(over)
	}
	if n > 0 {
		c.next.Credit(n)
	}
}

func (c *stream) Done(delivered bool) {
	if c.next != nil {
		c.next.Done(rpc.Outcome{Status: c.outcome, Delivered: delivered})
	}
}

// Head implements [rpc.Response]. The status is 200 whatever comes: the end says how
// the call ended.
func (t *toStream) Head(h *rpc.Head) {
	t.headSent = true
	f := []exchange.Field{{Name: "content-type", Value: streamType + t.codec}}
	if h != nil {
		if t.accepts(h.Encoding) {
			if h.Encoding != "" {
				f = append(f, exchange.Field{Name: "connect-content-encoding", Value: h.Encoding})
			}
		} else {
			t.convert = &converter{encoding: h.Encoding, limit: t.s.o.MaxMessage, ratio: t.s.o.Ratio, reserve: t.s.o.Reserve, ledger: &ledger.Ledger{}}
		}
		f = appendMetadata(f, "", h.Metadata)
	}
	f = append(f, exchange.Field{Name: "connect-accept-encoding", Value: acceptEncodings})
	t.response.Head(&exchange.ResponseHead{Status: 200, Fields: f}, false)
}

// Data implements [rpc.Response].
func (t *toStream) Data(b []byte) {
	if t.convert == nil {
		_, _ = t.out.Scan(b)
		t.passed += int64(len(b))
		t.response.Data(b)
		return
	}
	if t.broken != nil {
		t.next.Credit(len(b))
		return
	}
	out, err := t.convert.take(b)
	if len(out) > 0 {
		t.response.Data(out)
	}
	if n := t.convert.ledger.Settle(); n > 0 { // assembled: taken on receipt, while the client takes what is whole
		t.next.Credit(n)
	}
	if err != nil {
		st := convertError(err)
		t.broken = &st
		t.convert.free()
		t.next.Cancel(st)
	}
}

// End implements [rpc.Response].
func (t *toStream) End(st rpc.Status, trailer rpc.Metadata) {
	switch {
	case !st.OK():
	case t.broken != nil:
		st = *t.broken
	case t.convert != nil && len(t.convert.buf) > 0 || !t.out.Between():
		st = rpc.Status{Code: rpc.Internal, Message: "the backend ended the response inside of a message"}
	}
	t.outcome = st
	if t.convert != nil {
		t.convert.free()
	}
	if !t.headSent {
		t.Head(nil)
	}
	if !t.out.Between() {
		t.response.Reset(grpcwire.ToReset(st.Code), st)
		return
	}
	end := wire.AppendEnd(envelope.Append(nil, wire.EndStream, 0), &st, trailer)
	copy(end, envelope.Append(nil, wire.EndStream, len(end)-envelope.PrefixLen))
	if t.convert != nil {
		t.convert.ledger.Put(0, len(end))
	}
	t.bound.Store(t.passed)
	t.response.Data(end)
	t.response.End(nil)
}

// Credit implements [rpc.Response].
func (t *toStream) Credit(n int) { t.response.Credit(n) }

// converter decompresses the messages of a stream for a client that can't: whole
// messages, within the limit.
type converter struct {
	encoding     string
	limit, ratio int
	reserve      func(int) bool
	ledger       *ledger.Ledger
	buf          []byte
}

// convertError is the status for a response that can't be converted.
func convertError(err error) rpc.Status {
	switch {
	case errors.Is(err, exchange.ErrBuffers):
		return grpcwire.BuffersFull
	case errors.Is(err, compress.ErrTooLarge):
		return rpc.Status{Code: rpc.ResourceExhausted, Message: "response message: " + err.Error()}
	}
	return rpc.Status{Code: rpc.Internal, Message: "response message: " + err.Error()}
}

// take appends a piece of the response and returns the messages that are whole now,
// uncompressed; with an error those before the one that is wrong.
func (c *converter) take(b []byte) (out []byte, err error) {
	c.ledger.Keep(len(b))
	if !c.reserve(len(b)) {
		return nil, exchange.ErrBuffers
	}
	c.buf = append(c.buf, b...)
	taken := 0
	for len(c.buf)-taken >= envelope.PrefixLen {
		rest := c.buf[taken:]
		n := int(binary.BigEndian.Uint32(rest[1:]))
		if n > c.limit {
			err = compress.ErrTooLarge
			break
		}
		if len(rest) < envelope.PrefixLen+n {
			break
		}
		msg := rest[envelope.PrefixLen : envelope.PrefixLen+n]
		if rest[0]&envelope.Compressed != 0 && n > 0 {
			if msg, err = compress.Decompress(c.encoding, msg, c.limit, c.ratio); err != nil {
				break
			}
		}
		out = append(envelope.Append(out, 0, len(msg)), msg...)
		taken += envelope.PrefixLen + n
	}
	if taken > 0 { // a long message in small pieces is not moved at each of them
		c.buf = append(c.buf[:0], c.buf[taken:]...)
		c.reserve(-taken)
	}
	if len(out) > 0 {
		c.ledger.Put(0, len(out))
	}
	return out, err
}

func (c *converter) free() {
	c.reserve(-len(c.buf))
	c.buf = nil
}
