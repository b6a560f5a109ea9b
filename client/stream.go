package client

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
	wiregrpc "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// stream is a call as the application sees it.
type stream struct {
	*call
	ctx  context.Context
	desc *grpc.StreamDesc
	o    *options

	// Of RecvMsg, which one goroutine at a time calls. What it puts together is its own.
	prefix  [envelope.PrefixLen]byte
	have    int
	message *[]byte
	filled  int
	err     error // the last one
}

var _ grpc.ClientStream = (*stream)(nil)

// Invoke makes a unary call.
func (c *Client) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	s, err := c.stream(ctx, &grpc.StreamDesc{}, method, opts)
	if err != nil {
		return err
	}
	if err := s.SendMsg(args); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return s.RecvMsg(reply)
}

// NewStream begins a call that streams. As in grpc-go, the call lives until its context ends,
// or RecvMsg has returned an error.
func (c *Client) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := c.stream(ctx, desc, method, opts)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (c *Client) stream(ctx context.Context, desc *grpc.StreamDesc, method string, opts []grpc.CallOption) (*stream, error) {
	o, err := c.options(opts)
	if err != nil {
		return nil, err
	}
	k := c.newCall(method)
	if k.block, err = c.block(ctx, method, o); err != nil {
		return nil, err
	}
	if len(o.credentials) > 0 {
		k.refresh = func() ([]byte, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(c.ctx, cancel)() // Close does not wait for them
			return c.block(ctx, method, o)
		}
	}
	k.failFast, k.lossy = o.failFast, o.lossy
	k.resume = c.cfg.Resume == ResumeAll || c.cfg.Resume == ResumeStreams && (desc.ClientStreams || desc.ServerStreams)
	if o.resume != nil {
		k.resume = *o.resume
	}
	k.finished = o.finished
	s := &stream{call: k, ctx: ctx, desc: desc, o: o}
	if err := ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	c.mu.Lock()
	defer c.unlock()
	k.corked = !desc.ClientStreams // the message follows at once
	k.start(ctx)
	return s, nil
}

// block makes the fields of HEADERS.
func (c *Client) block(ctx context.Context, method string, o *options) ([]byte, error) {
	var list []exchange.Field
	if o.subtype != "proto" {
		list = append(list, exchangeField("content-type", "application/grpc+"+o.subtype))
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		if left <= 0 {
			return nil, status.FromContextError(context.DeadlineExceeded).Err()
		}
		list = append(list, exchangeField("grpc-timeout", string(wiregrpc.AppendTimeout(nil, left))))
	}
	if o.compressor != "" {
		list = append(list, exchangeField("grpc-encoding", o.compressor))
	}
	if accepted := acceptEncoding(o.compressor); accepted != "" {
		list = append(list, exchangeField("grpc-accept-encoding", accepted))
	}
	md, _ := metadata.FromOutgoingContext(ctx)
	list, err := appendMetadata(list, md)
	if err != nil {
		return nil, err
	}
	if len(o.credentials) > 0 {
		if md, err = c.authorize(ctx, o.credentials, method); err != nil {
			return nil, err
		}
		if list, err = appendMetadata(list, md); err != nil {
			return nil, err
		}
	}
	if len(method) == 0 || method[0] != '/' || !isText(method) {
		return nil, status.Errorf(codes.Internal, "%q is not the path of a method", method)
	}
	block := fields.Append(nil, list)
	// What the protocol adds: the path, the id, the ticket and numbers.
	if len(block)+len(method)+1024 > duplex.MaxFrame {
		return nil, status.Errorf(codes.ResourceExhausted, "metadata of %d bytes is larger than a frame", len(block))
	}
	return block, nil
}

// acceptEncoding lists the encodings of the usual names that this program has registered.
func acceptEncoding(more string) string {
	out := ""
	for _, name := range []string{"gzip", "zstd", "snappy", more} {
		if name == "" || name == more && out == more || encoding.GetCompressor(name) == nil {
			continue
		}
		if out != "" {
			out += ","
		}
		out += name
		if name == more {
			more = ""
		}
	}
	return out
}

// Context is that of the call.
func (s *stream) Context() context.Context { return s.ctx }

// Header waits for the server's metadata.
func (s *stream) Header() (metadata.MD, error) {
	s.c.mu.Lock()
	defer s.c.unlock()
	s.uncork()
	for !s.heads {
		s.readable.Wait()
	}
	if s.header == nil && s.over && s.got == duplex.GotNothing {
		return nil, s.status.Err()
	}
	return s.header, nil
}

// Trailer is the server's trailing metadata, once RecvMsg has returned an error.
func (s *stream) Trailer() metadata.MD {
	s.c.mu.Lock()
	defer s.c.unlock()
	return s.trailer
}

// SendMsg hands a message over. It waits while more than a window is on its way. If the
// call has ended it returns io.EOF, and RecvMsg says why.
func (s *stream) SendMsg(m any) error {
	prefix, data, err := s.o.encode(m)
	if err != nil {
		s.c.mu.Lock()
		s.finish(status.Convert(err))
		s.c.unlock()
		return err
	}
	defer data.Free()
	s.c.mu.Lock()
	defer s.c.unlock()
	if s.half {
		return status.Error(codes.Internal, "SendMsg called after CloseSend")
	}
	if b := s.lossy.pack(prefix, data); b != nil && s.desc.ClientStreams {
		session := s.lossy.conn.session
		s.c.later(func() { _ = session.SendDatagram(b) }) // it may wait a moment, and be lost
		return nil
	}
	ok := s.write(prefix[:])
	for _, b := range data {
		ok = ok && s.write(b.ReadOnlyData())
	}
	if !ok {
		return io.EOF
	}
	if !s.desc.ClientStreams {
		s.halfClose() // the only message
	}
	s.send()
	return nil
}

// maxUnsent bounds what is kept of a call: a window that is on its way, and what is sent next.
const maxUnsent = 2 * duplex.Window

// write adds bytes to what is to be sent, and waits for room. It says whether the call goes on.
func (k *call) write(b []byte) bool {
	for {
		if k.over {
			return false
		}
		if n := min(len(b), maxUnsent-k.up.Buffered()); n > 0 {
			k.up.Write(b[:n])
			b = b[n:]
		}
		if len(b) == 0 {
			return true
		}
		k.uncork()
		k.writable.Wait()
	}
}

// CloseSend says that no message follows.
func (s *stream) CloseSend() error {
	s.c.mu.Lock()
	defer s.c.unlock()
	if !s.half && !s.over {
		s.halfClose()
	}
	return nil
}

// RecvMsg waits for a message. It returns io.EOF when the call has ended well, and otherwise the
// status.
func (s *stream) RecvMsg(m any) error {
	if s.err != nil {
		return s.err
	}
	err := s.receiveMessage(m)
	if err == nil && s.desc.ServerStreams {
		return nil
	}
	switch {
	case err == nil:
		// There may be one message only, and the status counts.
		if err = s.receiveMessage(nil); errors.Is(err, io.EOF) {
			s.err = io.EOF
			s.ended()
			return nil
		}
	case errors.Is(err, io.EOF) && !s.desc.ServerStreams:
		// Response cardinality violation (https://github.com/grpc/grpc/blob/master/doc/statuscodes.md).
		err = status.Error(codes.Unimplemented, "the call ended without a message, and the method has exactly one")
	}
	s.err = err
	s.ended()
	return err
}

// ended fills in what call options asked for.
func (s *stream) ended() {
	s.c.mu.Lock()
	defer s.c.unlock()
	for _, md := range s.o.headers {
		*md = s.header
	}
	for _, md := range s.o.trailers {
		*md = s.trailer
	}
	for _, p := range s.o.peers {
		*p = peer.Peer{Addr: s.addr}
	}
}

// receiveMessage waits for a message, or, if m is nil, for the end.
func (s *stream) receiveMessage(m any) error {
	flags, data, err := s.next(m != nil)
	if err != nil {
		return err
	}
	if err := s.o.decode(flags, s.encoding, data, m); err != nil {
		s.c.mu.Lock()
		s.finish(status.Convert(err))
		s.c.unlock()
		return err
	}
	return nil
}

var pool = mem.DefaultBufferPool()

// next takes the bytes of the next message.
func (s *stream) next(wanted bool) (flags byte, _ mem.BufferSlice, _ error) {
	s.c.mu.Lock()
	defer s.c.unlock()
	s.uncork()
	for {
		if s.have == 0 && wanted { // between two messages
			if b := s.lossy.next(); b != nil {
				return 0, mem.BufferSlice{mem.SliceBuffer(b)}, nil
			}
		}
		if s.have < len(s.prefix) {
			n := s.pull(s.prefix[s.have:])
			if s.have += n; s.have == len(s.prefix) {
				if err := s.begin(wanted); err != nil {
					return 0, nil, err
				}
			}
		}
		if s.message != nil {
			s.filled += s.pull((*s.message)[s.filled:])
			if s.filled == len(*s.message) {
				b := s.message
				s.have, s.message, s.filled = 0, nil, 0
				return s.prefix[0], mem.BufferSlice{mem.NewBuffer(b, pool)}, nil
			}
		}
		switch {
		case len(s.buf) > 0: // the prefix was there, and the message is
		case s.over:
			return 0, nil, s.end()
		default:
			s.readable.Wait()
		}
	}
}

// begin looks at a prefix.
func (s *stream) begin(wanted bool) error {
	length := binary.BigEndian.Uint32(s.prefix[1:])
	var st *status.Status
	switch {
	case !wanted:
		st = status.New(codes.Unimplemented, "the call has a second message, and the method has exactly one")
	case s.prefix[0]&^envelope.Compressed != 0:
		st = status.Newf(codes.Internal, "a message has the unknown flags %#x", s.prefix[0])
	case uint64(length) > uint64(s.o.maxReceive):
		st = status.Newf(codes.ResourceExhausted, "a message of %d bytes is larger than the limit of %d", length, s.o.maxReceive)
	default:
		s.message = pool.Get(int(length))
		return nil
	}
	s.finish(st)
	return st.Err()
}

// pull moves bytes that came to their place.
func (s *stream) pull(dst []byte) int {
	n := copy(dst, s.buf)
	if s.buf = s.buf[n:]; len(s.buf) == 0 {
		s.buf = s.buf[:0:0]
	}
	if n > 0 {
		s.took(n)
	}
	return n
}

// end is what RecvMsg returns after the last message.
func (s *stream) end() error {
	if s.status.Code() != codes.OK {
		return s.status.Err()
	}
	if s.have > 0 {
		return status.Error(codes.Internal, "the call ended inside of a message")
	}
	return io.EOF
}
