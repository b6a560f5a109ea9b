package rest

import (
	"encoding/binary"
	"strconv"

	"github.com/sluice-rpc/sluice/internal/compress"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	grpcwire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/rpc"
)

// rawBody takes messages that are a google.api.HttpBody apart, as they come.
//
// The data of a stream leaves at once. So does that of a unary answer longer than
// smallBody; a shorter one waits for the status of its call, as JSON does. Only the first
// message has the content type, so if its data stands before it, the data is kept.
type rawBody struct {
	prefix  [envelope.PrefixLen]byte
	have    int  // bytes of prefix
	open    bool // a message has begun
	left    int  // bytes of it to come
	whole   bool // it is assembled first
	scan    bodyScanner
	held    []byte
	settled bool // the content type is known
	flows   bool // the head of a unary answer leaves before its status
	sent    int  // bytes of data
	// tail is the last byte of an answer that flows. It waits for the status, so that what
	// fails is never as long as its content-length says.
	tail []byte
	owed int // bytes that came, and are not in the ledger
}

// smallBody is how long a unary answer may be that waits for its status.
const smallBody = rpc.WindowDefault

// defaultType keeps clients from guessing (RFC 9110, section 8.3).
const defaultType = "application/octet-stream"

// between says whether the last message is whole.
func (p *rawBody) between() bool { return !p.open && p.have == 0 }

// dataRaw takes a piece of the backend's messages.
func (r *responseBody) dataRaw(b []byte) {
	p := &r.raw
	p.owed = len(b)
	for len(b) > 0 && r.broken == nil {
		n, err := r.rawPart(b)
		if err != nil {
			r.fail(err)
		}
		b = b[n:]
	}
	if p.owed > 0 { // kept: taken on receipt
		r.c.next.Credit(p.owed)
		p.owed = 0
	}
	r.mu.Lock()
	r.flush()
}

// rawPart takes what belongs together at the beginning of b.
func (r *responseBody) rawPart(b []byte) (n int, err error) {
	p := &r.raw
	if !p.open {
		n = copy(p.prefix[p.have:], b)
		if p.have += n; p.have == envelope.PrefixLen {
			err = r.beginRaw(int(binary.BigEndian.Uint32(p.prefix[1:])))
		}
		return n, err
	}
	n = min(len(b), p.left)
	p.left -= n
	switch {
	case p.whole && !r.keep(b[:n]):
		return n, nil
	case !p.whole:
		err = p.scan.feed(b[:n], r.piece)
	}
	if p.left == 0 && err == nil && r.broken == nil {
		err = r.endRaw()
	}
	return n, err
}

// beginRaw begins a message of n bytes.
func (r *responseBody) beginRaw(n int) error {
	p, c := &r.raw, r.c
	if n > c.s.o.MaxMessage {
		return compress.ErrTooLarge
	}
	if r.count++; r.count > 1 && !c.binding.info.ServerStreaming {
		return errTwoMessages
	}
	p.have, p.open, p.left = 0, true, n
	p.whole = p.prefix[0]&envelope.Compressed != 0 && n > 0
	if !c.binding.info.ServerStreaming && (n <= smallBody || noContentStatus(statusOf(r.meta))) {
		p.whole = true
	}
	p.scan.reset(n)
	if n == 0 {
		return r.endRaw()
	}
	return nil
}

// endRaw ends a message.
func (r *responseBody) endRaw() (err error) {
	p := &r.raw
	p.open = false
	if p.whole {
		m := r.message
		if p.prefix[0]&envelope.Compressed != 0 && len(m) > 0 {
			if m, err = compress.Decompress(r.encoding, m, r.c.s.o.MaxMessage, r.c.s.o.Ratio); err != nil {
				return err
			}
		}
		p.scan.reset(len(m))
		if err = p.scan.feed(m, r.piece); err != nil {
			return err
		}
	}
	if !p.settled && r.broken == nil {
		r.settle()
	}
	r.release()
	return nil
}

// piece takes data.
func (r *responseBody) piece(b []byte) {
	p := &r.raw
	switch {
	case r.broken != nil:
		return
	case p.settled:
	case p.whole && !r.c.binding.info.ServerStreaming:
		r.scratch = append(r.scratch, b...)
		return
	case !p.scan.typed && !p.scan.last():
		if !r.c.s.o.Reserve(len(b)) {
			r.fail(grpcwire.BuffersFull)
			return
		}
		p.held = append(p.held, b...)
		return
	default:
		r.settle()
	}
	r.emit(b)
}

// settle has the head leave, now that the content type is known, unless the answer waits
// for its status.
func (r *responseBody) settle() {
	p := &r.raw
	p.settled = true
	if r.contentType = string(p.scan.contentType); r.contentType == "" {
		r.contentType = defaultType
	}
	if p.flows = !p.whole && !r.c.binding.info.ServerStreaming; !r.stream() {
		return
	}
	r.mu.Lock()
	r.due()
	r.mu.Unlock()
	r.emit(p.held)
	r.c.s.o.Reserve(-len(p.held))
	p.held = nil
}

// emit has data leave.
func (r *responseBody) emit(b []byte) {
	p := &r.raw
	if p.sent += len(b); p.flows && p.sent == p.scan.size && len(b) > 0 {
		p.tail = append(p.tail, b[len(b)-1])
		b = b[:len(b)-1]
	}
	if len(b) == 0 {
		return
	}
	r.mu.Lock()
	r.append(p.owed, func(out []byte) []byte { return append(out, b...) })
	r.mu.Unlock()
	p.owed = 0
}

// rawHead is the head of a unary answer that flows.
func (r *responseBody) rawHead() []exchange.Field {
	return appendMetadata([]exchange.Field{
		{Name: "content-type", Value: r.contentType},
		{Name: "content-length", Value: strconv.Itoa(r.raw.scan.size)},
		{Name: "vary", Value: "Accept"},
	}, r.meta, r.c.style.Response)
}

// noContentStatus says whether responses with a status have no content (RFC 9110,
// sections 15.3.5 and 15.4.5).
func noContentStatus(status int) bool { return status == 204 || status == 304 }
