package jsoncodec

import (
	"github.com/sluice-rpc/sluice/internal/transcode"
	"github.com/sluice-rpc/sluice/rpc"
)

// call is a call in JSON. As an rpc.Request it takes the request; toClient takes the
// response.
type call struct {
	h        *handler
	response rpc.Response
	next     rpc.Request
	in, out  *transcode.Message
	written  transcode.EncodeOptions

	request assembler
	answer  assembler
	void    bool        // the request is; what else comes of it is dropped
	broken  *rpc.Status // why the response could not be converted
}

// toClient is the same call as the place of its response.
type toClient call

func (c *call) Begin() { c.next.Begin() }

// Data takes JSON.
func (c *call) Data(b []byte) {
	if c.void {
		c.response.Credit(len(b))
		return
	}
	err := c.request.take(b, c.decode)
	if err != nil {
		c.fail(c.request.status(err, rpc.InvalidArgument, "request"))
		return
	}
	if n := c.request.ledger.Settle(); n > 0 {
		c.response.Credit(n)
	}
}

// decode sends a message as protobuf.
func (c *call) decode(message []byte) error {
	a := &c.request
	out, err := c.in.AppendWire(a.begin(len(message)), message, c.h.decode)
	if err != nil {
		return err
	}
	if out, err = a.end(out); err != nil {
		return err
	}
	c.next.Data(out)
	return nil
}

// End implements [rpc.Request]. Protocols end no request inside of a message; a policy
// may.
func (c *call) End() {
	switch {
	case c.void:
	case len(c.request.buf) > 0:
		c.fail(rpc.Status{Code: rpc.InvalidArgument, Message: "the request ended inside of a message"})
	default:
		c.next.End()
	}
}

// fail voids the request.
func (c *call) fail(st rpc.Status) {
	c.void = true
	if n := c.request.free(); n > 0 {
		c.response.Credit(n)
	}
	c.next.Cancel(st)
}

// Cancel implements [rpc.Request].
func (c *call) Cancel(cause rpc.Status) { c.next.Cancel(cause) }

// Credit implements [rpc.Request].
func (c *call) Credit(n int) {
	if n = c.answer.credit(n); n > 0 {
		c.next.Credit(n)
	}
}

// Done implements [rpc.Request].
func (c *call) Done(o rpc.Outcome) {
	c.request.done()
	c.answer.done()
	c.next.Done(o)
}

// Head implements [rpc.Response].
func (t *toClient) Head(h *rpc.Head) {
	t.answer.encoding = h.Encoding
	t.response.Head(&rpc.Head{Metadata: h.Metadata, AcceptEncodings: encodings, Codec: "json"})
}

// Data takes protobuf.
func (t *toClient) Data(b []byte) {
	if t.broken != nil {
		t.next.Credit(len(b))
		return
	}
	err := t.answer.take(b, t.encode)
	n := 0
	if err != nil {
		st := t.answer.status(err, rpc.Internal, "response")
		t.broken = &st
		n = t.answer.free()
	} else {
		n = t.answer.ledger.Settle()
	}
	if n > 0 {
		t.next.Credit(n)
	}
	if t.broken != nil {
		t.next.Cancel(*t.broken)
	}
}

// encode sends a message as JSON.
func (t *toClient) encode(message []byte) error {
	a := &t.answer
	out, err := t.out.AppendJSON(a.begin(2*len(message)), message, &t.written)
	if err != nil {
		return err
	}
	if out, err = a.end(out); err != nil {
		return err
	}
	t.response.Data(out)
	return nil
}

// End implements [rpc.Response].
func (t *toClient) End(st rpc.Status, trailer rpc.Metadata) {
	switch {
	case !st.OK():
	case t.broken != nil: // the end has overtaken the cancel
		st = *t.broken
	case len(t.answer.buf) > 0:
		st = rpc.Status{Code: rpc.Internal, Message: "the backend ended the response inside of a message"}
	}
	t.answer.drop()
	t.response.End(st, trailer)
}

// Credit implements [rpc.Response].
func (t *toClient) Credit(n int) {
	if n = t.request.credit(n); n > 0 {
		t.response.Credit(n)
	}
}
