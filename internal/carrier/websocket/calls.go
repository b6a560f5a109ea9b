package websocket

import (
	"encoding/binary"
	"errors"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
	wire "github.com/sluice-rpc/sluice/internal/wire/websocket"
	"github.com/sluice-rpc/sluice/rpc"
)

// calls is the session of grpc-websockets and grpc-websockets-multiplex. They differ in
// the number of a call before each message.
type calls struct {
	k       *socket
	head    exchange.RequestHead // of the handshake, as that of each call
	refused *rpc.Status
	many    bool
	only    *call // unless many; written under the lock, for drain

	// The message that comes.
	part  part
	id    [4]byte
	have  int // bytes of id
	last  bool
	to    *call
	block []byte

	// Under the lock of the socket.
	byID    map[uint32]*call // of those that have not ended, and have a number
	code    wire.Code        // to close with after the last call, or 0
	reason  string
	drained bool
}

// part is what of a message comes next.
type part int

const (
	partID part = iota
	partFirst
	partControl
	partData
	partEnd // nothing
	partBlock
	partIgnored
)

// lastBit of a number marks the last message of a direction.
const lastBit = 1 << 31

func newCalls(k *socket, head exchange.RequestHead, many bool, refused *rpc.Status) *calls {
	c := &calls{k: k, head: head, many: many, refused: refused}
	if many {
		c.byID = map[uint32]*call{}
	}
	return c
}

func (s *calls) open() {
	k := s.k
	k.mu.Lock()
	if !k.closing {
		if s.many {
			k.limit.set(k, k.s.o.Idle, s.idle)
		} else {
			k.limit.set(k, k.s.o.Header, s.silent)
		}
	}
	k.mu.Unlock()
}

// idle has waited for a call on a socket for many.
func (s *calls) idle() {
	k := s.k
	k.mu.Lock()
	if k.running == 0 {
		k.close(wire.NormalClosure, "no call (timeouts.idle)")
	}
	k.flush()
}

// silent has waited for the header block.
func (s *calls) silent() {
	k := s.k
	k.mu.Lock()
	if k.running == 0 {
		st := rpc.Errorf(rpc.DeadlineExceeded, "no header block within %v (timeouts.header)", k.s.o.Header)
		k.message(nil, 0, statusFrame(nil, &st), true)
		k.close(wire.PolicyViolation, st.Message)
	}
	k.flush()
}

func (s *calls) drain() {
	k := s.k
	k.mu.Lock()
	s.drained = true
	if k.running == 0 && (s.many || s.only == nil) {
		k.close(wire.GoingAway, "the gateway is shutting down")
	}
	k.flush()
}

// ended implements session.
func (s *calls) ended(*stream) {
	k := s.k
	switch {
	case s.code != 0:
		k.close(s.code, s.reason)
	case !s.many: // its call closes
	case s.drained:
		k.close(wire.GoingAway, "the gateway is shutting down")
	case !k.closing:
		k.limit.set(k, k.s.o.Idle, s.idle)
	}
}

// left implements session: calls never outlive their socket.
func (s *calls) left(wire.Code) exchange.Code { return exchange.Cancel }

// refuse ends calls that run with a status, where a limit was passed; and so a call that
// has not begun where it has a socket of its own.
func (s *calls) refuse(err *wire.Error) bool {
	code := exchange.FrameSizeError
	switch {
	case err == errMemory:
		code = exchange.EnhanceYourCalm
	case err == wire.ErrAbuse:
		code = exchange.Cancel
	case err.Code != wire.MessageTooBig && err.Code != wire.PolicyViolation:
		return false
	}
	st := rpc.Status{Code: rpc.ResourceExhausted, Message: err.Reason}
	k := s.k
	k.mu.Lock()
	running := k.running > 0
	if running || !s.many {
		s.code, s.reason = err.Code, err.Reason
	}
	for _, c := range s.byID {
		c.giveUp(&st)
	}
	if s.only != nil {
		s.only.giveUp(&st)
	}
	k.flush()
	switch {
	case running:
		k.reset(code)
	case s.many || s.only != nil:
		return false
	default:
		s.answer(0, st)
	}
	return true
}

func (s *calls) kept() int { return len(s.block) }

func (s *calls) begin(op wire.Opcode) error {
	if op == wire.Text {
		return errText
	}
	s.have, s.last, s.to = 0, false, s.only
	switch {
	case s.many:
		s.part = partID
	case s.only == nil:
		s.part = partBlock
	default:
		s.part = partControl
	}
	return nil
}

var (
	errNoID     = &wire.Error{Code: wire.ProtocolError, Reason: "message without the number of its call"}
	errControl  = &wire.Error{Code: wire.ProtocolError, Reason: "message with another first byte than 0 and 1"}
	errTooLong  = &wire.Error{Code: wire.ProtocolError, Reason: "half-close with data"}
	errBlockBig = &wire.Error{Code: wire.MessageTooBig, Reason: "header block larger than the limit (limits.header_bytes)"}
)

func (s *calls) data(p []byte) error {
	for len(p) > 0 {
		switch s.part {
		case partID:
			n := copy(s.id[s.have:], p)
			p = p[n:]
			if s.have += n; s.have == len(s.id) {
				s.part = partFirst
			}
		case partFirst:
			s.find(p[0])
		case partControl:
			switch p[0] {
			case 0:
				s.part = partData
			case 1:
				s.part, s.last = partEnd, true
			default:
				return errControl
			}
			p = p[1:]
		case partData:
			if s.to.half && s.to.runs() {
				return errHalf
			}
			s.to.data(p)
			return nil
		case partEnd:
			return errTooLong
		case partBlock:
			if len(p) > s.k.s.o.MaxHeader-len(s.block) {
				s.block = nil
				if !s.many {
					return errBlockBig
				}
				s.part = partIgnored
				s.fail(s.number(), rpc.Errorf(rpc.ResourceExhausted, "%s", errBlockBig.Reason))
				return nil
			}
			s.block = append(s.block, p...)
			return nil
		case partIgnored:
			return nil
		}
	}
	return nil
}

func (s *calls) number() uint32 { return binary.BigEndian.Uint32(s.id[:]) &^ lastBit }

// find finds the call of a message by its number. One that nobody has begins a call, if
// what follows may be the name of a field; else it is the rest of a call that has ended.
func (s *calls) find(first byte) {
	s.k.mu.Lock()
	s.to = s.byID[s.number()]
	s.k.mu.Unlock()
	switch {
	case s.to != nil:
		s.part, s.last = partControl, s.id[0]&(lastBit>>24) != 0
	case first <= 1:
		s.part = partIgnored
	default:
		s.part = partBlock
	}
}

func (s *calls) end() error {
	switch s.part {
	case partID, partFirst:
		return errNoID
	case partBlock:
		block := s.block
		s.block = nil
		s.start(block)
	case partData, partEnd, partControl: // the last one: an empty message, which means nothing
		if s.last {
			s.to.end()
		}
	}
	return nil
}

// start starts a call.
func (s *calls) start(block []byte) {
	id := uint32(0)
	if s.many {
		id = s.number()
	}
	head, st := s.request(block)
	if st != nil {
		s.fail(id, *st)
		return
	}
	c := &call{stream: stream{k: s.k, frees: s.many}, s: s, id: id, scan: envelope.Scanner{Limit: 1<<32 - 1, Encoded: true}}
	if s.many {
		s.k.mu.Lock()
		full := len(s.byID) >= s.k.s.o.MaxCalls
		if !full {
			s.byID[id] = c
		}
		s.k.mu.Unlock()
		if full {
			s.fail(id, rpc.Errorf(rpc.ResourceExhausted, "more than %d calls on one WebSocket (limits.streams_per_conn)", s.k.s.o.MaxCalls))
			return
		}
	} else {
		s.k.mu.Lock()
		s.only = c
		s.k.mu.Unlock()
	}
	c.start(s.k.s.o.Calls, head, (*fromCall)(c))
}

// request makes the head of a call of its header block.
func (s *calls) request(block []byte) (*exchange.RequestHead, *rpc.Status) {
	if s.refused != nil {
		return nil, s.refused
	}
	list, err := fields.Parse(nil, block, s.k.s.o.MaxHeader)
	switch {
	case errors.Is(err, fields.ErrTooLarge):
		st := rpc.Errorf(rpc.ResourceExhausted, "%s", errBlockBig.Reason)
		return nil, &st
	case err != nil:
		st := rpc.Errorf(rpc.InvalidArgument, "%v", err)
		return nil, &st
	}
	h := s.head
	h.Fields = make([]exchange.Field, 0, len(s.head.Fields)+len(list)+1)
	for _, f := range s.head.Fields { // the call's own go before
		if exchange.Get(list, f.Name) == "" {
			h.Fields = append(h.Fields, f)
		}
	}
	contentType, path := "", ""
	for _, f := range list {
		switch {
		case f.Name == "content-type":
			contentType = f.Value
		case f.Name == "grpc-websockets-path":
			path = "/" + f.Value
		case f.Name == "accept", f.Name[0] == ':': // what the response is like is not open here
		default:
			h.Fields = append(h.Fields, f)
		}
	}
	if s.many {
		if !s.k.s.o.Method(path) {
			st := rpc.Errorf(rpc.InvalidArgument, "grpc-websockets-path %q is not package.Service/Method", path[min(1, len(path)):])
			return nil, &st
		}
		h.Path = path
	}
	contentType, ok := webType(contentType)
	if !ok {
		st := rpc.Errorf(rpc.InvalidArgument, "content-type %q can't be had over a WebSocket: there is application/grpc-web", contentType)
		return nil, &st
	}
	h.Fields = append(h.Fields, exchange.Field{Name: "content-type", Value: contentType})
	return &h, nil
}

// fail answers what becomes no call with its status.
func (s *calls) fail(id uint32, st rpc.Status) {
	s.k.s.hit(st.Message)
	s.answer(id, st)
}

func (s *calls) answer(id uint32, st rpc.Status) {
	k := s.k
	k.mu.Lock()
	if s.many {
		k.hollow++ // who makes calls in vain pays for them
		k.message(nil, 0, statusFrame(binary.BigEndian.AppendUint32(nil, id|lastBit), &st), true)
		k.flush()
		return
	}
	k.message(nil, 0, statusFrame(nil, &st), true)
	code, reason := wire.NormalClosure, ""
	if s.code != 0 {
		code, reason = s.code, s.reason
	}
	k.close(code, reason)
	k.flush()
}
