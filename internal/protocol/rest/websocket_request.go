package rest

import (
	"errors"
	"fmt"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/transcode"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/internal/wire/jsonstream"
	"github.com/sluice-rpc/sluice/internal/wire/websocket"
	"github.com/sluice-rpc/sluice/internal/wire/wsjson"
	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// Begin of a message; see [websocket.Events].
func (e *frames) Begin(op websocket.Opcode) { e.op = op }

// frames are the events of the decoder.
type frames socket

// Data is a message of the WebSocket.
func (e *frames) Data(p []byte) { (*socket)(e).frame(p) }

// End of a message.
func (e *frames) End() {}

// Ping is answered.
func (e *frames) Ping(p []byte) { (*socket)(e).answer(p) }

// Pong was heard, which is all.
func (e *frames) Pong([]byte) {}

// Close is answered with the same code, and is the client's last word.
func (e *frames) Close(code websocket.Code, _ string) {
	k := (*socket)(e)
	k.leave(func(b []byte) []byte { return k.enc.Close(b, code, "") }, &ending{}, rpc.Status{Code: rpc.Canceled, Message: "the client closed the WebSocket"})
}

// room says whether the rule leaves room for a message of the client.
func (k *socket) room() bool { return k.binding.bodyAll || k.binding.body != nil }

// takesOne says whether the method's request is one message.
func (k *socket) takesOne() bool { return !k.binding.info.ClientStreaming }

// open starts a call that needs no message of the client.
func (k *socket) open() {
	switch {
	case !k.takesOne():
		if k.start() && k.now {
			k.send(nil)
		}
	case !k.room():
		k.send(nil)
	}
}

// frame takes a message of the WebSocket.
func (k *socket) frame(p []byte) {
	if !k.listens() {
		return
	}
	first := !k.spoke
	k.spoke = true
	if k.op == websocket.Binary {
		k.begins(first)
		k.message(p, true)
		return
	}
	kind, inner := wsjson.Message, p
	if k.enveloped {
		var err error
		if kind, inner, err = wsjson.Parse(p); err != nil {
			k.refuseFrame(err)
			return
		}
	} else if len(p) == 0 {
		kind = wsjson.End
	}
	if kind == wsjson.Head {
		if !first {
			k.refuseFrame(errors.New("@head is not the first frame"))
			return
		}
		if err := k.takeHead(inner); errors.Is(err, wsjson.ErrTooLarge) {
			k.fail(rpc.Errorf(rpc.ResourceExhausted, "%v (limits.header_bytes)", err))
			return
		} else if err != nil {
			k.refuseFrame(err)
			return
		}
	}
	k.begins(first)
	switch kind {
	case wsjson.End:
		k.halfClose()
	case wsjson.Message:
		k.message(inner, false)
	}
}

// begins opens a call of sluice.json at the first frame, which may have been its head.
func (k *socket) begins(first bool) {
	if first && k.enveloped {
		k.open()
	}
}

// listens says whether messages still count.
func (k *socket) listens() bool {
	k.out.mu.Lock()
	defer k.out.mu.Unlock()
	return !k.closing && k.phase < callCanceled
}

func (k *socket) refuseFrame(err error) {
	k.fail(rpc.Errorf(rpc.InvalidArgument, "%v", err))
}

// takeHead takes metadata and timeout.
func (k *socket) takeHead(b []byte) error {
	md, timeout, err := wsjson.ParseHead(b, k.s.o.MaxFields, func(name string) bool { return !allowedName(name) })
	if err != nil {
		return err
	}
	fields := make([]exchange.Field, len(md))
	for i, m := range md {
		fields[i] = exchange.Field{Name: m.Key, Value: m.Value}
	}
	md = requestMetadata(fields, k.style.Request)
	if md.Get(authorization) != "" { // goes before that of the handshake
		k.token = ""
		k.Metadata = deleteKey(k.Metadata, authorization)
	}
	k.Metadata = append(k.Metadata, md...)
	if timeout > 0 {
		k.Deadline = k.s.o.Now().Add(timeout)
	}
	return nil
}

const authorization = "authorization"

func deleteKey(md rpc.Metadata, key string) (rest rpc.Metadata) {
	for _, m := range md {
		if m.Key != key {
			rest = append(rest, m)
		}
	}
	return rest
}

// start starts the call, and says whether it takes messages.
func (k *socket) start() bool {
	r := &k.out
	r.mu.Lock()
	if k.phase != callWaiting {
		ok := k.phase == callRunning
		r.mu.Unlock()
		return ok
	}
	k.phase = callStarting
	k.first.clear()
	r.mu.Unlock()
	if k.token != "" && k.Metadata.Get(authorization) == "" {
		k.Metadata = append(k.Metadata, rpc.Field{Key: authorization, Value: "Bearer " + k.token, Sensitive: true})
	}
	k.token = ""
	k.Received = k.s.o.Now()
	k.next = k.s.next.Start(&k.Call, (*fromBackend)(k))
	k.next.Begin()
	r.mu.Lock()
	var cancel *rpc.Status
	if k.phase == callStarting { // it may be over already
		k.phase = callRunning
		if cancel = k.pending; cancel != nil {
			k.phase = callCanceled
		}
	}
	ok := k.phase == callRunning
	r.mu.Unlock()
	if cancel != nil {
		k.next.Cancel(*cancel)
	}
	return ok
}

// halfClose ends the client's direction of the call.
func (k *socket) halfClose() {
	if k.half {
		if !k.abuse.Charge(1, k.s.o.Abuse, time.Duration(k.heard.Load())) {
			k.abused()
		}
		return
	}
	k.half = true
	switch {
	case k.ended:
	case k.takesOne():
		k.send(nil)
	case k.in.count == 0 && k.values():
		if k.send(nil) {
			k.endRequest()
		}
	default:
		if k.start() { // a reset or a timer may have ended it, or have seen to it that there is none
			k.endRequest()
		}
	}
}

func (k *socket) endRequest() {
	if !k.ended {
		k.ended = true
		k.next.End()
	}
}

// A piece is what one message of the client is made of.
type piece struct {
	data   []byte
	binary bool
}

// message takes a message of the client.
func (k *socket) message(p []byte, binary bool) {
	if !k.listens() {
		return
	}
	k.count++
	switch {
	case k.half:
		k.refuseFrame(fmt.Errorf("message %d comes after the half-close", k.count))
	case k.takesOne() && !k.room():
		k.refuseFrame(fmt.Errorf("message %d: the request is in path and query, there is no room for a message", k.count))
	case k.takesOne() && k.count > 1:
		k.refuseFrame(fmt.Errorf("message %d: the method takes one", k.count))
	case len(p) > k.s.o.MaxMessage:
		k.abort(websocket.MessageTooBig, "message larger than the limit (limits.message_bytes)")
	default:
		k.send(&piece{p, binary})
	}
}

// send makes a message of what the client sent, if it sent something, and of path and
// query if it is the first, and sends it. One that is wrong does not reach the backend.
func (k *socket) send(p *piece) bool {
	size := 64
	if p != nil {
		size += len(p.data)
	}
	out, err := k.build(make([]byte, envelope.PrefixLen, envelope.PrefixLen+size), p)
	if err == nil && len(out)-envelope.PrefixLen > k.s.o.MaxMessage {
		err = jsonstream.ErrTooLarge
	}
	if err != nil {
		if p != nil {
			err = fmt.Errorf("message %d: %w", k.count, err)
		}
		if errors.Is(err, jsonstream.ErrTooLarge) || errors.Is(err, transcode.ErrTooLarge) {
			k.abort(websocket.MessageTooBig, err.Error())
		} else {
			k.refuseFrame(err)
		}
		return false
	}
	if !k.start() {
		return false
	}
	envelope.Append(out[:0], 0, len(out)-envelope.PrefixLen)
	k.in.count++
	k.Stats.RequestMessages.Add(1)
	k.Stats.RequestBytes.Add(int64(len(out)))
	k.in.ledger.Put(0, len(out)) // before the credit for it can come
	k.next.Data(out)
	if k.takesOne() {
		k.endRequest()
	}
	return true
}

var (
	errNoProtobuf = errors.New("binary frames hold messages, and the body of this rule is a field that is none")
	errWire       = errors.New("no protobuf")
)

// build appends a message in protobuf.
func (k *socket) build(b []byte, p *piece) (_ []byte, err error) {
	bind := k.binding
	switch {
	case p == nil:
	case p.binary && !wellFormed(p.data):
		err = errWire
	case p.binary && !bind.bodyAll && bind.body == nil:
		b = append(b, p.data...)
	case p.binary && bind.content == nil:
		err = errNoProtobuf
	case p.binary:
		b = bind.place(b, p.data)
	case blank(p.data):
		err = errors.New("no JSON")
	default:
		o := transcode.DecodeOptions{DiscardUnknown: k.style.IgnoreFields, MaxOutput: k.s.o.MaxMessage}
		if k.room() {
			b, err = k.in.json(b, p.data, &o)
		} else {
			b, err = bind.in.AppendWire(b, p.data, &o)
		}
	}
	if err != nil || k.in.count > 0 && !k.style.EachMessage || k.now && p != nil {
		return b, err
	}
	return k.appendValues(b)
}

// wellFormed says whether b is made of fields. What is in them the backend will see.
func wellFormed(b []byte) bool {
	for len(b) > 0 {
		n, _, size := protowire.ConsumeField(b)
		if size < 0 || n > protowire.MaxValidNumber {
			return false
		}
		b = b[size:]
	}
	return true
}
