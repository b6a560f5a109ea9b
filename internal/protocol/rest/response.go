package rest

import (
	"encoding/binary"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/compress"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/transcode"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	grpcwire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/internal/wire/ledger"
	"github.com/sluice-rpc/sluice/rpc"
)

// responseBody makes the response of the messages of a call.
//
// A stream has two sources, the backend's events and the timer of heartbeats. They
// append to buf under the lock; one of them at a time, the one that finds writing unset,
// takes it to the carrier, outside of the lock, until nothing is left.
type responseBody struct {
	c      *call
	ledger ledger.Ledger

	encoding string // of the backend's messages
	message  []byte // that is not whole yet
	count    int    // messages that came
	scratch  []byte // a message as the client gets it
	// contentType is that of a raw body.
	contentType string
	raw         rawBody
	status      int // of HTTP, if the head leaves before the status of the call
	broken      *rpc.Status

	mu       sync.Mutex
	w        writer
	meta     rpc.Metadata // of the backend's head
	fields   []exchange.Field
	headDue  bool
	headSent bool
	long     [][]byte // output that is before buf: long messages, which are not copied
	buf      []byte
	spare    []byte
	last     *ending // how it ends, once that is known
	writing  bool
	over     bool
	quiet    bool // nothing was written since the timer fired last
	stop     func() bool
}

// An ending is the last event of a response.
type ending struct {
	trailer []exchange.Field
	reset   exchange.Code
	cause   error
	cut     bool
}

func (r *responseBody) init(c *call, head *exchange.RequestHead) {
	r.c = c
	r.status = 200
	r.w.mode, r.w.style = c.mode, c.style
	r.w.envelope = c.style.Envelope && c.binding.info.ServerStreaming
	r.w.event.numbers = c.style.Events.Number
	r.raw.scan.field = c.binding.responseField
	if c.mode == SSE {
		if n, err := strconv.ParseUint(exchange.Get(head.Fields, "last-event-id"), 10, 62); err == nil {
			r.w.event.number = n
		}
	}
}

// stream says whether the head may leave before the end of the call.
func (r *responseBody) stream() bool {
	return r.c.mode != Unary && (r.c.mode != HTTPBody || r.c.binding.info.ServerStreaming || r.raw.flows)
}

// begin starts the clock of a stream. A raw body begins with its type, which only the
// first message tells, and has no place for signs of life.
func (r *responseBody) begin() {
	if !r.stream() || r.c.mode == HTTPBody {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	wait := r.c.s.o.HeadWait
	if !r.c.style.EarlyHead {
		wait = 0
	}
	r.clock(wait)
}

// clock has tick called after some time, or else when a sign of life is due.
func (r *responseBody) clock(d time.Duration) {
	if d <= 0 && r.c.style.Heartbeats {
		d = r.c.s.o.Heartbeat
	}
	if d > 0 && !r.over {
		r.stop = r.c.s.o.After(d, r.tick)
	}
}

func (r *responseBody) done() {
	r.mu.Lock()
	r.over = true
	stop := r.stop
	r.mu.Unlock()
	if stop != nil {
		stop()
	}
	r.release()
}

// tick sends the head of a stream that is quiet, and then signs of life.
func (r *responseBody) tick() {
	r.mu.Lock()
	if r.over || r.last != nil {
		r.mu.Unlock()
		return
	}
	r.clock(0)
	sent := r.headSent || r.headDue
	switch {
	case !r.w.open && r.c.style.EarlyHead && (!sent || r.c.style.FirstByte):
		r.due()
		r.append(0, r.w.begin)
	case r.quiet && sent:
		r.append(0, func(b []byte) []byte { return append(b, framings[r.c.mode].heartbeat...) })
	}
	r.quiet = true
	r.flush()
}

// append adds to the output what is made of in bytes of input.
func (r *responseBody) append(in int, f func([]byte) []byte) {
	n := len(r.buf)
	r.buf = f(r.buf)
	r.ledger.Put(in, len(r.buf)-n)
	r.quiet = false
}

// due has the head leave with the next flush.
func (r *responseBody) due() {
	if r.headSent || r.headDue {
		return
	}
	r.headDue = true
	if r.raw.flows {
		r.fields = r.rawHead()
		if n := statusOf(r.meta); n != 0 {
			r.status = n
		}
		return
	}
	contentType := r.c.offer.contentType
	if r.c.mode == HTTPBody {
		if contentType = r.contentType; contentType == "" {
			contentType = defaultType
		}
	}
	r.fields = appendMetadata([]exchange.Field{{Name: "content-type", Value: contentType}}, r.meta, r.c.style.Response)
	for _, f := range [...]exchange.Field{
		{Name: "cache-control", Value: "no-cache, no-transform"}, {Name: "x-accel-buffering", Value: "no"}, {Name: "vary", Value: "Accept"},
	} {
		if exchange.Get(r.fields, f.Name) == "" {
			r.fields = append(r.fields, f)
		}
	}
}

// flush is called with the lock, and lets go of it.
func (r *responseBody) flush() {
	if r.writing {
		r.mu.Unlock()
		return
	}
	r.writing = true
	for {
		var head, end bool
		if r.headDue {
			head, r.headDue, r.headSent = true, false, true
		}
		long, b := r.long, r.buf
		r.long, r.buf = nil, r.spare[:0]
		last := r.last
		if last != nil && !r.over {
			end, r.over = true, true
		}
		if !head && len(long) == 0 && len(b) == 0 && !end {
			r.spare, r.writing = b, false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		r.write(head, long, b, end, last)
		r.mu.Lock()
		r.spare = b
		if cap(b) > keepBuffer {
			r.spare = nil
		}
	}
}

// keepBuffer is how large a buffer may be that waits for more output.
const keepBuffer = 64 << 10

// write carries out what flush has taken.
func (r *responseBody) write(head bool, long [][]byte, b []byte, end bool, last *ending) {
	out := r.c.response
	if r.c.bodiless {
		switch { // the head ends the response, so it waits for the end of the call
		case end:
			out.Head(&exchange.ResponseHead{Status: r.status, Fields: r.fields}, true)
		case head:
			r.c.next.Cancel(rpc.Status{Code: rpc.Canceled, Message: "HEAD has been answered"})
		}
		n := len(b)
		for _, b := range long {
			n += len(b)
		}
		r.c.Credit(n) // nobody else will
		return
	}
	if head {
		out.Head(&exchange.ResponseHead{Status: r.status, Fields: r.fields}, false)
	}
	for _, b := range long {
		out.Data(b)
	}
	if len(b) > 0 {
		out.Data(b)
	}
	switch {
	case !end:
	case last.cut:
		out.Reset(last.reset, last.cause)
	default:
		out.End(last.trailer)
	}
}

// head takes the backend's head. That of a stream goes on at once; the first byte of
// its content waits for the first message, or the timer.
func (r *responseBody) head(h *rpc.Head) {
	r.encoding = h.Encoding
	r.mu.Lock()
	r.meta = h.Metadata
	if !r.stream() || r.c.mode == HTTPBody {
		r.mu.Unlock()
		return
	}
	r.w.event.read(h.Metadata, r.c.binding.out)
	if r.c.style.EarlyHead {
		r.due()
	}
	r.flush()
}

// data takes a piece of the backend's messages.
func (r *responseBody) data(b []byte) {
	if r.c.mode == HTTPBody {
		r.dataRaw(b)
		return
	}
	total := len(b)
	if r.broken != nil || len(r.message) > 0 && !r.keep(b) {
		r.c.next.Credit(total)
		return
	}
	kept := len(r.message) > 0
	if kept {
		b = r.message
	}
	r.ledger.Keep(total)
	taken, wrote, err := r.messages(b)
	switch {
	case err != nil:
		r.fail(err)
	case kept:
		r.shorten(b[taken:])
	case taken < len(b):
		r.keep(b[taken:])
	}
	if wrote {
		r.mu.Lock()
		r.flush()
	}
	if n := r.ledger.Settle(); n > 0 { // assembled: taken on receipt, while the client takes what is whole
		r.c.next.Credit(n)
	}
}

// keep keeps a piece of a message.
func (r *responseBody) keep(b []byte) bool {
	if !r.c.s.o.Reserve(len(b)) {
		r.fail(grpcwire.BuffersFull)
		return false
	}
	most := 2 * cap(r.message)
	if r.c.mode == HTTPBody {
		most = len(r.message) + len(b) + r.raw.left
	} else if len(r.message) >= envelope.PrefixLen {
		most = envelope.PrefixLen + min(int(binary.BigEndian.Uint32(r.message[1:])), r.c.s.o.MaxMessage)
	}
	r.message = append(grow(r.message, len(b), most), b...)
	return true
}

// shorten leaves only the last bytes of what was kept.
func (r *responseBody) shorten(rest []byte) {
	if len(rest) == len(r.message) { // a long message in small pieces is not moved at each of them
		return
	}
	r.c.s.o.Reserve(len(rest) - len(r.message))
	if len(rest) == 0 && cap(r.message) > keepBuffer {
		r.message = nil
		return
	}
	r.message = append(r.message[:0], rest...)
}

func (r *responseBody) release() {
	r.c.s.o.Reserve(-len(r.message) - len(r.raw.held))
	r.message, r.raw.held = nil, nil
}

// fail ends the call because of its response.
func (r *responseBody) fail(err error) {
	var st rpc.Status
	switch {
	case errors.As(err, &st):
	case errors.Is(err, compress.ErrTooLarge), errors.Is(err, transcode.ErrTooLarge):
		st = rpc.Errorf(rpc.ResourceExhausted, "response message: %v (limits.message_bytes)", err)
	default:
		st = rpc.Errorf(rpc.Internal, "response message: %v", err)
	}
	r.broken = &st
	r.release()
	r.c.next.Cancel(st)
}

var errTwoMessages = rpc.Status{Code: rpc.Unimplemented, Message: "the method has one response message, and the backend sent more"}

// messages writes the messages that are whole. It returns how many bytes it took, and
// whether there is output.
func (r *responseBody) messages(b []byte) (taken int, wrote bool, err error) {
	for len(b)-taken >= envelope.PrefixLen {
		rest := b[taken:]
		n := int(binary.BigEndian.Uint32(rest[1:]))
		if n > r.c.s.o.MaxMessage {
			return taken, wrote, compress.ErrTooLarge
		}
		if len(rest) < envelope.PrefixLen+n {
			break
		}
		if r.count++; r.count > 1 && !r.c.binding.info.ServerStreaming {
			return taken, wrote, errTwoMessages
		}
		m := rest[envelope.PrefixLen : envelope.PrefixLen+n]
		if rest[0]&envelope.Compressed != 0 && n > 0 {
			if m, err = compress.Decompress(r.encoding, m, r.c.s.o.MaxMessage, r.c.s.o.Ratio); err != nil {
				return taken, wrote, err
			}
		}
		if err = r.convert(m); err != nil {
			return taken, wrote, err
		}
		if r.stream() {
			r.put(m)
			wrote = true
		}
		taken += envelope.PrefixLen + n
	}
	return taken, wrote, nil
}

// convert writes a message as the client gets it to scratch.
func (r *responseBody) convert(m []byte) (err error) {
	c := r.c
	if c.selection != nil {
		m = c.selection.AppendWire(nil, m)
	}
	if c.protobuf {
		r.scratch = append(r.scratch[:0], m...)
		return nil
	}
	most := maxJSON(c.s.o.MaxMessage)
	if need := min(2*len(m), most); need > keepBuffer && cap(r.scratch) < need {
		r.scratch = make([]byte, 0, need+1024) // the limit is looked at when it is passed
	}
	o := c.style.JSON
	if c.selection != nil {
		o.EmitDefaults, o.EmitUnpopulated = false, false // what was not asked for has no default
	}
	o.Deterministic = o.Deterministic || c.conditional
	o.MaxOutput = most
	o.Indent = ""
	if c.mode == Unary || c.mode == Array {
		o.Indent = c.pretty
	}
	o.EnumNumbers = o.EnumNumbers || c.enumInts
	if c.binding.response != nil {
		r.scratch, err = c.binding.response.AppendJSON(r.scratch[:0], m, &o)
	} else {
		r.scratch, err = c.binding.out.AppendJSON(r.scratch[:0], m, &o)
	}
	return err
}

// put adds the message in scratch to a stream.
func (r *responseBody) put(m []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var id, name string
	if r.c.mode == SSE {
		id, name = r.w.event.of(m)
	}
	r.due()
	long := len(r.scratch) > keepBuffer
	switch {
	case r.c.socket != nil:
		if long { // with room for what stands around it, so that it grows once
			r.buf = grow(r.buf, len(r.scratch)+1024, 0)
		}
		r.append(0, func(b []byte) []byte { return r.c.socket.appendMessage(b, r.scratch) })
	case long:
		r.append(0, func(b []byte) []byte { return r.w.before(b, len(r.scratch), id, name) })
		r.ledger.Put(0, len(r.scratch))
		r.long, r.buf = append(r.long, r.buf, r.scratch), nil
		r.append(0, r.w.after)
	default:
		r.append(0, func(b []byte) []byte {
			return r.w.after(append(r.w.before(b, len(r.scratch), id, name), r.scratch...))
		})
	}
	if cap(r.scratch) > keepBuffer {
		r.scratch = nil
	}
}

// maxJSON is how long the JSON of a message may be. A message of bytes, as long as the
// limit, fits as base64; what grows to much more, such as control characters, does not. So
// an answer and its copy on the way to the client have a bound near the limit.
func maxJSON(limit int) int { return limit + limit*3/8 }

// end takes the end of the call.
func (r *responseBody) end(st rpc.Status, trailer rpc.Metadata) {
	c := r.c
	switch {
	case r.broken != nil:
		st = *r.broken
	case !st.OK():
	case len(r.message) > 0 || !r.raw.between():
		st = rpc.Status{Code: rpc.Internal, Message: "the backend ended the response inside of a message"}
	case r.count == 0 && !c.binding.info.ServerStreaming:
		st = rpc.Status{Code: rpc.Unimplemented, Message: "the method has one response message, and the backend sent none"}
	}
	c.outcome = st
	r.mu.Lock()
	if r.stop != nil {
		r.stop()
	}
	switch {
	case !r.stream() || !st.OK() && !r.headSent && !r.headDue:
		r.over = true
		r.mu.Unlock()
		r.whole(&st, trailer)
	default:
		r.finish(&st, trailer)
		r.flush()
	}
}

// finish ends a stream whose head is out.
func (r *responseBody) finish(st *rpc.Status, trailer rpc.Metadata) {
	c := r.c
	if c.socket != nil {
		c.socket.finish(st, trailer)
		return
	}
	if !st.OK() {
		if !r.w.fails() {
			r.last = &ending{cut: true, reset: grpcwire.ToReset(st.Code), cause: *st}
			return
		}
		r.append(0, func(b []byte) []byte {
			_, body := c.style.Errors.write(HTTPStatus(st.Code), st, c.binding.anyJSON)
			return r.w.fail(b, appendStatus(nil, st, c.binding.anyJSON), body, retryable(st.Code))
		})
	} else {
		r.due()
		r.append(0, func(b []byte) []byte { return r.w.end(append(b, r.raw.tail...)) })
	}
	r.last = &ending{}
	if c.trailers && (!r.raw.flows || c.Carrier != "h1") { // RFC 9112, section 7.1.2: only chunked content has them
		r.last.trailer = appendMetadata(grpcwire.AppendStatus(nil, rpc.Status{Code: st.Code, Message: st.Message}), trailer, c.style.Trailer)
	}
}

// whole answers with a length: a unary call, or a stream that failed before it began.
func (r *responseBody) whole(st *rpc.Status, trailer rpc.Metadata) {
	c := r.c
	a := answer{status: 200, contentType: "application/json", body: r.scratch, vary: "Accept"}
	if c.mode == HTTPBody && r.contentType != "" {
		a.contentType = r.contentType
	}
	switch {
	case !st.OK() && c.mode == SSE && c.only && c.style.Events.Retry > 0 && retryable(st.Code):
		// Anything but 200 would end an EventSource for good.
		a.contentType, a.body = framings[SSE].contentType, r.w.begin(nil)
		a.body = r.w.again(a.body)
	case !st.OK():
		if a.status, a.contentType, a.body = c.errorBody(st); a.contentType != "" {
			a.body = append(a.body, '\n')
		}
	case c.protobuf:
		a.contentType = framings[Delimited].contentType
	default:
		if code := statusOf(r.meta); code != 0 {
			a.status = code
		}
	}
	at, last := appendMetadata(nil, trailer, c.style.Trailer), []exchange.Field(nil)
	if c.style.TrailerSection {
		at, last = nil, at
	}
	a.meta = append(appendMetadata(nil, r.meta, c.style.Response), at...)
	if st.OK() && c.mode == Unary {
		r.represent(&a)
	}
	none := len(a.body) == 0 || c.bodiless || noContentStatus(a.status)
	if none || !c.trailers {
		last = nil
	}
	c.response.Head(&exchange.ResponseHead{Status: a.status, Fields: a.fields(st, last == nil)}, none)
	if !none {
		c.response.Data(a.body)
		c.response.End(last)
	}
}

// statusOf is the HTTP status that the backend has chosen, or 0.
func statusOf(md rpc.Metadata) int {
	for i := range md {
		if md[i].Key == keyStatus {
			if n, err := strconv.Atoi(md[i].Value); err == nil && n >= 200 && n <= 599 {
				return n
			}
		}
	}
	return 0
}
