package rest

import (
	"strconv"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/websocket"
	"github.com/sluice-rpc/sluice/internal/wire/wsjson"
	"github.com/sluice-rpc/sluice/rpc"
)

// write appends a frame to the output, unless nothing may follow. The lock is held.
func (k *socket) write(frame func([]byte) []byte) {
	if k.closing {
		return
	}
	n := len(k.out.buf)
	k.out.append(0, frame)
	k.pong.Sent(len(k.out.buf) - n)
}

func (k *socket) writeText(p []byte) {
	k.write(func(b []byte) []byte { return k.enc.Message(b, websocket.Text, p) })
}

// message appends a message of the backend; the lock is held.
func (k *socket) appendMessage(b, m []byte) []byte {
	if k.closing {
		return b
	}
	n := len(b)
	switch {
	case k.protobuf:
		b = k.enc.Message(b, websocket.Binary, m)
	case k.enveloped:
		k.scratch = append(append(append(k.scratch[:0], wsjson.MessagePrefix...), m...), wsjson.MessageSuffix...)
		b = k.enc.Message(b, websocket.Text, k.scratch)
		if cap(k.scratch) > keepBuffer {
			k.scratch = nil
		}
	default:
		b = k.enc.Message(b, websocket.Text, m)
	}
	k.pong.Sent(len(b) - n)
	return b
}

// head takes the backend's headers.
func (k *socket) head(h *rpc.Head) {
	r := &k.out
	r.encoding = h.Encoding
	if !k.enveloped {
		return
	}
	md := visible(h.Metadata, k.style.Response)
	if len(md) == 0 {
		return
	}
	r.mu.Lock()
	k.writeText(wsjson.AppendHead(nil, md))
	r.flush()
}

// visible is the metadata that the client may see, as the rules name it.
func visible(md rpc.Metadata, rules FieldRules) rpc.Metadata {
	var some rpc.Metadata
	for _, f := range appendMetadata(nil, md, rules) {
		some = append(some, rpc.Field{Key: f.Name, Value: f.Value})
	}
	return some
}

// finish says how the call has ended, and closes. The lock is held.
func (k *socket) finish(st *rpc.Status, trailer rpc.Metadata) {
	k.phase = callOver
	if !k.closing {
		switch {
		case k.enveloped:
			k.writeText(wsjson.AppendEnd(nil, appendBriefStatus(nil, st, k.binding.anyJSON), visible(trailer, k.style.Trailer)))
		case !st.OK():
			k.writeText(append(appendStatus([]byte(`{"@error":`), st, k.binding.anyJSON), '}'))
		}
		reason := st.Message
		if st.OK() {
			reason = ""
		}
		k.write(func(b []byte) []byte { return k.enc.Close(b, websocket.CloseCode(st.Code), reason) })
		k.closing = true
		k.quiet()
		if !k.closed {
			k.last = &ending{}
			k.wait.set(k, websocket.CloseWait, k.waited)
		}
	}
	k.settle()
}

// appendBriefStatus appends a status without members that have no value.
func appendBriefStatus(b []byte, st *rpc.Status, enc anyEncoder) []byte {
	b = strconv.AppendUint(append(b, `{"code":`...), uint64(st.Code), 10)
	if !st.OK() && st.Message != "" {
		b = appendString(append(b, `,"message":`...), st.Message)
	}
	if details := appendDetails(nil, st.Details, enc); !st.OK() && string(details) != "[]" {
		b = append(append(b, `,"details":`...), details...)
	}
	return append(b, '}')
}

// settle ends the transport if nothing is left to say on either side, and no call will
// end later. The lock is held.
func (k *socket) settle() {
	if k.closed && k.phase == callOver && k.out.last == nil {
		k.wait.clear()
		k.out.last = k.last
	}
}

// leave ends the WebSocket before its call, which is canceled: with a Close if there
// is one. Nothing more is expected of the client.
func (k *socket) leave(last func([]byte) []byte, e *ending, cause rpc.Status) {
	k.out.mu.Lock()
	if last != nil {
		k.write(last)
	}
	if !k.closing || e.cut {
		k.last = e
	}
	k.closing, k.closed = true, true
	k.quiet()
	k.cancel(cause)
}

// abort ends a WebSocket that broke its rules. What comes after is not read.
func (k *socket) abort(code websocket.Code, reason string) {
	k.deaf = true
	st := rpc.Errorf(rpc.InvalidArgument, "WebSocket: %s", reason)
	switch code {
	case websocket.PolicyViolation, websocket.MessageTooBig, websocket.InternalError:
		st.Code = rpc.ResourceExhausted
	}
	k.leave(func(b []byte) []byte { return k.enc.Close(b, code, reason) }, &ending{}, st)
}

// abused cuts the client off for frames of no use.
func (k *socket) abused() {
	if f := k.s.o.Abused; f != nil {
		f(k.Peer.Addr)
	}
	k.abort(websocket.ErrAbuse.Code, websocket.ErrAbuse.Reason)
}

// fail ends the call with a status of the gateway.
func (k *socket) fail(st rpc.Status) {
	k.out.mu.Lock()
	if k.phase == callWaiting {
		k.outcome = st
		k.finish(&st, nil)
		k.out.flush()
		return
	}
	k.cancel(st)
}

// cancel is called with the lock, and lets go of it.
func (k *socket) cancel(cause rpc.Status) {
	switch k.phase {
	case callWaiting:
		k.phase, k.outcome = callOver, cause
	case callStarting:
		if k.pending == nil {
			k.pending = &cause
		}
	case callRunning:
		k.phase = callCanceled
		k.out.flush()
		k.next.Cancel(cause)
		return
	}
	k.settle()
	k.out.flush()
}

// A timer is set and cleared under the lock.
type timer struct{ stop func() bool }

// set has f called after d; 0 is never.
func (t *timer) set(k *socket, d time.Duration, f func()) {
	t.clear()
	if d > 0 {
		t.stop = k.s.o.After(d, f)
	}
}

func (t *timer) clear() {
	if t.stop != nil {
		t.stop()
		t.stop = nil
	}
}

// quiet stops what is about a WebSocket that is not closing. The lock is held.
func (k *socket) quiet() {
	k.ping.clear()
	k.first.clear()
	k.pong.clear()
}

// waited has waited for the client's Close.
func (k *socket) waited() {
	k.out.mu.Lock()
	k.closed = true
	k.settle()
	k.out.flush()
}

// silent has waited for the client to speak first.
func (k *socket) silent() {
	k.out.mu.Lock()
	mute := k.phase == callWaiting && !k.closing
	k.out.mu.Unlock()
	if mute {
		const reason = "the client says nothing (timeouts.idle)"
		k.leave(func(b []byte) []byte { return k.enc.Close(b, websocket.PolicyViolation, reason) }, &ending{}, rpc.Errorf(rpc.DeadlineExceeded, reason))
	}
}

// tick looks after a client that is quiet.
func (k *socket) tick() {
	r, o := &k.out, &k.s.o
	r.mu.Lock()
	if k.closing || r.over {
		r.mu.Unlock()
		return
	}
	// The carrier may have stopped reading, and the Pong waits behind messages.
	do, wait := k.ping.Check(o.Now().Sub(k.opened), time.Duration(k.heard.Load()), k.unpaid.Load() >= rpc.WindowMin)
	switch do {
	case websocket.SendPing:
		k.write(func(b []byte) []byte { return k.enc.Ping(b, nil) })
	case websocket.GiveUp:
		r.mu.Unlock()
		st := rpc.Errorf(rpc.Canceled, "the client does not answer a ping within %v (websocket.ping_timeout)", o.PingTimeout)
		k.leave(nil, &ending{cut: true, reset: exchange.Cancel, cause: st}, st)
		return
	}
	k.ping.set(k, wait, k.tick)
	r.flush()
}

// answer answers a Ping.
func (k *socket) answer(p []byte) {
	r := &k.out
	r.mu.Lock()
	if !k.pong.Ask(p) {
		r.mu.Unlock()
		return
	}
	k.sendPongLocked(p)
}

// sendPong sends the one that waited.
func (k *socket) sendPong() {
	k.out.mu.Lock()
	p, due := k.pong.Due()
	if !due {
		k.out.mu.Unlock()
		return
	}
	k.sendPongLocked(p)
}

// sendPongLocked lets go of the lock.
func (k *socket) sendPongLocked(p []byte) {
	k.write(func(b []byte) []byte { return k.enc.Pong(b, p) })
	k.pong.Answered()
	k.out.flush()
}
