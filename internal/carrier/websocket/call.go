package websocket

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	grpcwire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/internal/wire/grpcweb"
	wire "github.com/sluice-rpc/sluice/internal/wire/websocket"
	"github.com/sluice-rpc/sluice/rpc"
)

// A call is one call of gRPC-Web on a socket.
type call struct {
	stream
	s  *calls
	id uint32 // where there are many

	trailer []byte // the response's frame of trailers, which waits to be marked as the last one

	// Under the lock of the socket.
	scan   envelope.Scanner // of the response
	failed bool             // it was answered with a status of our own: the rest of it is dropped
}

// giveUp ends the response with a status of our own, if it does not stand inside of a
// message. The lock is held.
func (c *call) giveUp(st *rpc.Status) {
	if c.phase == streamOver || c.failed || !c.scan.Between() {
		return
	}
	c.failed = true
	var b []byte
	if c.s.many {
		b = binary.BigEndian.AppendUint32(nil, c.id|lastBit)
	}
	c.k.message(&c.stream, 0, statusFrame(b, st), true)
}

// fromCall is the same call as the place of its response.
type fromCall call

// Inform implements [exchange.Response]; there is no place for it.
func (c *fromCall) Inform(*exchange.ResponseHead) {}

// Head implements [exchange.Response]. It is sent at once, before any message.
func (c *fromCall) Head(h *exchange.ResponseHead, end bool) {
	fields, failed := h.Fields, false
	if h.Status != 200 && exchange.Get(fields, "grpc-status") == "" {
		st := rpc.Errorf(grpcwire.FromHTTP(h.Status), "HTTP status %d", h.Status)
		fields, failed = grpcwire.AppendStatus([]exchange.Field{{Name: "content-type", Value: defaultType}}, st), true
	}
	c.send(0, grpcweb.AppendTrailer(nil, fields), end || failed, failed)
	if end {
		c.finish(wire.NormalClosure, "")
	}
}

// Data implements [exchange.Response].
func (c *fromCall) Data(b []byte) {
	if c.s.many && b[0] == grpcweb.TrailerFlag && c.between() {
		c.trailer = slices.Clone(b) // End is next
		return
	}
	c.send(len(b), b, false, false)
}

func (c *fromCall) between() bool {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	return c.scan.Between()
}

// send sends a message that stands for in bytes of the response. failed says that the
// rest of it is to be dropped.
func (c *fromCall) send(in int, b []byte, last, failed bool) {
	k, message := c.k, b
	if c.s.many {
		id := c.id
		if last {
			id |= lastBit
		}
		message = append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), id), b...)
	}
	k.mu.Lock()
	sent := false
	if !c.failed {
		if in > 0 {
			_, _ = c.scan.Scan(b)
		}
		c.failed = failed
		sent = k.message(&c.stream, in, message, last)
	}
	k.flush()
	if !sent && in > 0 {
		c.request.Credit(in)
	}
}

// End implements [exchange.Response].
func (c *fromCall) End([]exchange.Field) {
	if c.s.many {
		c.send(len(c.trailer), c.trailer, true, false)
		c.trailer = nil
	}
	c.finish(wire.NormalClosure, "")
}

// Reset implements [exchange.Response]. A response that was cut has no status: where it
// has a socket of its own the Close says why, elsewhere the mark of its end is all.
func (c *fromCall) Reset(code exchange.Code, cause error) {
	reason := "the response was cut"
	if cause != nil {
		reason = cause.Error()
	}
	if c.s.many {
		c.send(0, nil, true, false)
	}
	c.finish(closeCode(code), reason)
}

// finish ends the call, and its socket if it has one.
func (c *fromCall) finish(code wire.Code, reason string) {
	k := c.k
	k.mu.Lock()
	if c.s.many {
		delete(c.s.byID, c.id)
	} else {
		if c.s.code != 0 {
			code, reason = c.s.code, c.s.reason
		}
		k.close(code, reason)
	}
	c.ended()
	k.flush()
	c.forgive()
	c.settle()
}

// Credit implements [exchange.Response].
func (c *fromCall) Credit(n int) { c.stream.credit(n) }

const defaultType = "application/grpc-web+proto"

// webType is the content type of a call. Clients that know nothing of gRPC-Web but its
// sockets send gRPC's own, or none; its text can't be had.
func webType(s string) (string, bool) {
	if s == "" {
		return defaultType, true
	}
	const grpc = "application/grpc"
	if len(s) < len(grpc) || !strings.EqualFold(s[:len(grpc)], grpc) {
		return s, false
	}
	rest := strings.ToLower(s[len(grpc):])
	if web, ok := strings.CutPrefix(rest, "-web"); ok {
		rest = web
	}
	if rest != "" && rest[0] != '+' && rest[0] != ';' {
		return s, false
	}
	return "application/grpc-web" + rest, true
}

// statusFrame appends a response that is nothing but a status.
func statusFrame(b []byte, st *rpc.Status) []byte {
	return grpcweb.AppendTrailer(b, grpcwire.AppendStatus([]exchange.Field{{Name: "content-type", Value: defaultType}}, *st))
}
