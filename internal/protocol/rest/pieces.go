package rest

import (
	"fmt"
	"strings"

	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/internal/wire/jsonstream"
	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// The fields of google.api.HttpBody.
const (
	httpBodyType protowire.Number = 1 // content_type
	httpBodyData protowire.Number = 2
)

// maxPiece bounds one message of a body that streams: what the window of a call takes.
const maxPiece = rpc.WindowDefault

// pieces says that the body of a request is passed on as it comes.
type pieces struct {
	path   []protowire.Number // from the request message to the bytes field
	length int64              // of the body, which is one message; -1: each piece is one
	came   int64
}

// appendOpening appends to b the tags and lengths that stand before n bytes of data: those
// of the fields of path, from the outermost in. extra stands in the innermost message,
// before the data.
func appendOpening(b []byte, path []protowire.Number, extra []byte, n int) []byte {
	if len(path) > 1 {
		b = protowire.AppendTag(b, path[0], protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(opened(path[1:], extra, n)))
		return appendOpening(b, path[1:], extra, n)
	}
	b = append(b, extra...)
	b = protowire.AppendTag(b, path[0], protowire.BytesType)
	return protowire.AppendVarint(b, uint64(n))
}

// opened is how long the opening is, with the data.
func opened(path []protowire.Number, extra []byte, n int) int {
	inner := n
	if len(path) > 1 {
		inner = opened(path[1:], extra, n)
		extra = nil
	}
	return len(extra) + protowire.SizeTag(path[0]) + protowire.SizeBytes(inner)
}

// pass passes on b, bytes of a google.api.HttpBody.
func (r *requestBody) pass(b []byte) {
	c, p := r.c, r.pieces
	if p.length < 0 {
		for len(b) > 0 && !r.failed {
			n := min(len(b), maxPiece)
			n = r.piece(b[:n], n)
			b = b[n:]
		}
		if len(b) > 0 { // the call has failed
			c.response.Credit(len(b))
		}
		return
	}
	// What is too much is refused after the rest has been looked at, as if it had come later.
	over := max(0, p.came+int64(len(b))-p.length)
	b = b[:int64(len(b))-over]
	switch {
	case len(b) == 0:
	case p.came > 0:
		r.put(len(b), b)
	case r.piece(b, int(p.length)) == 0:
		over += int64(len(b))
	}
	p.came += int64(len(b))
	if over > 0 {
		c.response.Credit(int(over))
		r.fail(rpc.Errorf(rpc.InvalidArgument, "the body is longer than the %d bytes of its content-length", p.length))
	}
}

// passed says at the end of the body whether all of it was passed on.
func (r *requestBody) passed() bool {
	p := r.pieces
	switch {
	case p.came < p.length:
		r.fail(rpc.Errorf(rpc.InvalidArgument, "the body ends after %d of the %d bytes of its content-length", p.came, p.length))
	case r.count == 0 && (p.length == 0 || r.c.values()):
		r.piece(nil, 0)
	}
	return !r.failed
}

// piece begins a message with n bytes of data, of which b are the first. It returns how
// many of n the message has: fewer than n if the limit of a message bounds a piece, none
// if the call has failed.
func (r *requestBody) piece(b []byte, n int) int {
	c, p := r.c, r.pieces
	var fields, extra []byte
	if r.count == 0 || c.style.EachMessage {
		var err error
		if fields, err = c.appendValues(nil); err != nil {
			r.fail(r.status(err))
			return 0
		}
	}
	if r.count == 0 && r.contentType != "" && !c.setsType() {
		extra = appendType(nil, r.contentType)
	}
	n, head := r.opening(fields, p.path, extra, n, p.length < 0)
	if head == nil {
		return 0
	}
	r.put(0, head)
	b = b[:min(len(b), n)]
	r.put(len(b), b)
	return n
}

// opening writes what stands before n bytes of data: the prefix, fields of the request
// message, the tags and lengths of path, and extra in the innermost message. With
// shorter the data may be less than n to fit. It fails the call if there is no room.
func (r *requestBody) opening(fields []byte, path []protowire.Number, extra []byte, n int, shorter bool) (int, []byte) {
	c := r.c
	if over := len(fields) + opened(path, extra, n) - c.s.o.MaxMessage; over > 0 {
		if n -= over; !shorter || n <= 0 {
			r.fail(r.status(fmt.Errorf("%w of %d bytes as protobuf", jsonstream.ErrTooLarge, c.s.o.MaxMessage)))
			return 0, nil
		}
	}
	b := append(make([]byte, envelope.PrefixLen, envelope.PrefixLen+len(fields)+len(extra)+32), fields...)
	if n > 0 {
		b = appendOpening(b, path, extra, n)
	} else {
		b = appendClosed(b, path, extra)
	}
	envelope.Append(b[:0], 0, len(b)-envelope.PrefixLen+n)
	r.count++
	c.Stats.RequestMessages.Add(1)
	return n, b
}

// appendClosed appends the messages around a field without data.
func appendClosed(b []byte, path []protowire.Number, extra []byte) []byte {
	for i := len(path) - 2; i >= 0; i-- {
		extra = protowire.AppendBytes(protowire.AppendTag(nil, path[i], protowire.BytesType), extra)
	}
	return append(b, extra...)
}

// appendType appends the content type of a google.api.HttpBody.
func appendType(b []byte, contentType string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, httpBodyType, protowire.BytesType), contentType)
}

// put sends what was made of in bytes of the body.
func (r *requestBody) put(in int, b []byte) {
	if len(b) == 0 {
		return
	}
	r.c.Stats.RequestBytes.Add(int64(len(b)))
	r.ledger.Put(in, len(b)) // before the credit for it can come
	r.c.next.Data(b)
}

// setsType says whether the path has the content type of the body: the values of path
// stand before the body here, and yet they count.
func (c *call) setsType() bool {
	name := "content_type"
	if !c.binding.bodyAll {
		name = c.binding.body.Name() + "." + name
	}
	for i := range c.binding.vars {
		if strings.EqualFold(c.binding.vars[i].path.Name(), name) {
			return true
		}
	}
	return false
}

// bodyPath is where the data of a body stands that is a google.api.HttpBody.
func (b *binding) bodyPath() []protowire.Number {
	if b.bodyAll {
		return []protowire.Number{httpBodyData}
	}
	return []protowire.Number{b.body.Field().Number(), httpBodyData}
}
