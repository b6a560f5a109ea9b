package websocket

import (
	"errors"
	"strconv"
	"sync/atomic"

	"github.com/sluice-rpc/sluice/internal/exchange"
	wire "github.com/sluice-rpc/sluice/internal/wire/websocket"
	"github.com/sluice-rpc/sluice/rpc"
)

// A pipe is the session of sluice.v1: the bytes of binary messages, one after the other. Where
// the bytes are raw, so that nothing in them is about flow, text messages are: how many bytes a side
// has taken, and that the client's direction has ended. A raw pipe is read always, since what the
// client has taken stands behind its bytes; so these have a window of their own.
type pipe struct {
	stream
	to      exchange.Handler // until it is open, like head
	head    *exchange.RequestHead
	refused *rpc.Status
	raw     bool

	// Of the text that comes.
	isText bool
	have   int
	text   [maxText]byte

	untaken atomic.Int64 // bytes that were sent, and not taken by the client's application
	came    atomic.Int64 // bytes that have come and were not credited
	untold  atomic.Int64 // of those that were, what the client does not know
}

// toldBytes are told at once: enough not to be a message for each of the client's, and much less than
// the window.
const toldBytes = 8 << 10

// maxText is the length of the longest text message of raw bytes: a number.
const maxText = 10

func (p *pipe) open() {
	if p.refused != nil {
		p.k.mu.Lock()
		p.k.close(wire.PolicyViolation, p.refused.Message)
		p.k.flush()
		return
	}
	p.start(p.to, p.head, (*fromPipe)(p))
	p.to, p.head = nil, nil
}

var (
	errText  = &wire.Error{Code: wire.UnsupportedData, Reason: "messages have to be binary"}
	errWord  = &wire.Error{Code: wire.UnsupportedData, Reason: "text messages are a number of bytes, or end"}
	errTaken = &wire.Error{Code: wire.ProtocolError, Reason: "more bytes were taken than sent"}
	errFull  = &wire.Error{Code: wire.ProtocolError, Reason: "more bytes than the window"}
	errHalf  = &wire.Error{Code: wire.ProtocolError, Reason: "bytes after the end of their direction"}
)

func (p *pipe) begin(op wire.Opcode) error {
	p.isText, p.have = op == wire.Text, 0
	if p.isText && !p.raw {
		return errText
	}
	return nil
}

func (p *pipe) data(b []byte) error {
	switch {
	case p.isText && len(b) > len(p.text)-p.have:
		return errWord
	case p.isText:
		p.have += copy(p.text[p.have:], b)
	case p.half:
		return errHalf
	case !p.raw:
		p.stream.data(b)
	case p.came.Add(int64(len(b))) > rpc.WindowDefault:
		return errFull
	case p.enter():
		p.request.Data(b)
		p.leave()
	}
	return nil
}

func (p *pipe) end() error {
	if !p.isText {
		return nil
	}
	word := string(p.text[:p.have])
	if word == "end" {
		if p.half {
			return errHalf
		}
		p.stream.end()
		return nil
	}
	n, err := strconv.ParseUint(word, 10, 31)
	if err != nil || n == 0 {
		return errWord
	}
	return p.took(int64(n))
}

// took says that the client's application has taken bytes.
func (p *pipe) took(n int64) error {
	if p.untaken.Add(-n) < 0 {
		return errTaken
	}
	if p.enter() {
		p.request.Credit(int(n))
		p.leave()
	}
	return nil
}

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
	k, in := p.k, len(b)
	if p.raw { // the credit is the client's to give
		p.untaken.Add(int64(in))
		in = 0
	}
	k.mu.Lock()
	sent := k.message(&p.stream, in, b, false)
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
	var st rpc.Status
	switch {
	case p.raw && errors.As(cause, &st):
		p.finish(wire.CloseCode(st.Code), st.Message)
	case cause != nil:
		p.finish(closeCode(code), cause.Error())
	default:
		p.finish(closeCode(code), "")
	}
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
func (p *fromPipe) Credit(n int) {
	if !p.raw {
		p.stream.credit(n)
		return
	}
	p.came.Add(int64(-n))
	if told := p.untold.Add(int64(n)); told >= toldBytes && told-int64(n) < toldBytes {
		p.k.s.o.After(0, p.tell) // who credits must not be called back
	}
}

// tell says what was taken.
func (p *fromPipe) tell() {
	k := p.k
	k.mu.Lock()
	if n := p.untold.Swap(0); n > 0 {
		k.control(func(b []byte) []byte { return k.enc.Message(b, wire.Text, strconv.AppendInt(nil, n, 10)) })
	}
	k.flush()
}

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
