package websocket

import (
	"github.com/sluice-rpc/sluice/internal/exchange"
	wire "github.com/sluice-rpc/sluice/internal/wire/websocket"
	"github.com/sluice-rpc/sluice/rpc"
)

// A pipe is the session of sluice.v1: the bytes of binary messages, one after the other.
type pipe struct {
	stream
	head    exchange.RequestHead
	refused *rpc.Status
}

func newPipe(k *socket, head exchange.RequestHead, refused *rpc.Status) *pipe {
	return &pipe{stream: stream{k: k}, head: head, refused: refused}
}

func (p *pipe) open() {
	if p.refused != nil {
		p.k.mu.Lock()
		p.k.close(wire.PolicyViolation, p.refused.Message)
		p.k.flush()
		return
	}
	p.start(p.k.s.o.Pipes, &p.head, (*fromPipe)(p))
	p.head = exchange.RequestHead{}
}

var errText = &wire.Error{Code: wire.UnsupportedData, Reason: "messages have to be binary"}

func (p *pipe) begin(op wire.Opcode) error {
	if op == wire.Text {
		return errText
	}
	return nil
}

func (p *pipe) data(b []byte) error {
	p.stream.data(b)
	return nil
}

func (p *pipe) end() error              { return nil }
func (p *pipe) kept() int               { return 0 }
func (p *pipe) refuse(*wire.Error) bool { return false }
func (p *pipe) drain()                  {} // who speaks on it says goodbye
func (p *pipe) ended(*stream)           {}

// left: a page that closes, or is closed, has left on purpose. Everything else is a
// loss, also a Close without a code, which libraries send when they fail.
func (p *pipe) left(code wire.Code) exchange.Code {
	if code == wire.NormalClosure || code == wire.GoingAway {
		return exchange.Cancel
	}
	return exchange.Disconnected
}

// fromPipe is the same pipe as the place of what comes from the other side.
type fromPipe pipe

// Inform implements [exchange.Response]; nobody calls it.
func (p *fromPipe) Inform(*exchange.ResponseHead) {}

// Head implements [exchange.Response]; nobody calls it: a pipe is open at once.
func (p *fromPipe) Head(*exchange.ResponseHead, bool) {}

// Data implements [exchange.Response].
func (p *fromPipe) Data(b []byte) {
	k := p.k
	k.mu.Lock()
	sent := k.message(&p.stream, len(b), b, false)
	k.flush()
	if !sent {
		p.request.Credit(len(b))
	}
}

// End implements [exchange.Response].
func (p *fromPipe) End([]exchange.Field) {
	code, reason := wire.NormalClosure, ""
	if p.k.s.leaving() {
		code, reason = wire.GoingAway, "the gateway is shutting down"
	}
	p.finish(code, reason)
}

// Reset implements [exchange.Response].
func (p *fromPipe) Reset(code exchange.Code, cause error) {
	reason := ""
	if cause != nil {
		reason = cause.Error()
	}
	p.finish(closeCode(code), reason)
}

func (p *fromPipe) finish(code wire.Code, reason string) {
	k := p.k
	k.mu.Lock()
	k.close(code, reason)
	p.ended()
	k.flush()
	p.forgive()
}

// Credit implements [exchange.Response].
func (p *fromPipe) Credit(n int) { p.stream.credit(n) }

// closeCode says with a Close why the other side reset an exchange.
func closeCode(code exchange.Code) wire.Code {
	switch code {
	case exchange.NoError, exchange.Cancel:
		return wire.NormalClosure
	case exchange.ProtocolError, exchange.FlowControlError, exchange.StreamClosed, exchange.CompressionError:
		return wire.ProtocolError
	case exchange.FrameSizeError:
		return wire.MessageTooBig
	case exchange.EnhanceYourCalm, exchange.RefusedStream, exchange.InadequateSecurity:
		return wire.PolicyViolation
	}
	return wire.InternalError
}
