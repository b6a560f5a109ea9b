package client

import (
	"encoding/binary"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/sluice-rpc/sluice/internal/wire/envelope"
)

// codecV1 makes a codec of the old kind one of the new kind.
type codecV1 struct{ encoding.Codec }

func (c codecV1) Marshal(v any) (mem.BufferSlice, error) {
	b, err := c.Codec.Marshal(v)
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (c codecV1) Unmarshal(data mem.BufferSlice, v any) error {
	return c.Codec.Unmarshal(data.Materialize(), v)
}

// encode makes a message ready to be sent: its prefix, and its bytes, which the caller frees.
func (o *options) encode(m any) (prefix [envelope.PrefixLen]byte, data mem.BufferSlice, err error) {
	if data, err = o.codec.Marshal(m); err != nil {
		return prefix, nil, status.Errorf(codes.Internal, "marshal the message: %v", err)
	}
	if o.compressor != "" && data.Len() > 0 {
		packed, err := compress(o.compressor, data)
		data.Free()
		if err != nil {
			return prefix, nil, status.Errorf(codes.Internal, "compress the message: %v", err)
		}
		data, prefix[0] = packed, envelope.Compressed
	}
	if n := data.Len(); n > o.maxSend {
		data.Free()
		return prefix, nil, status.Errorf(codes.ResourceExhausted, "a message of %d bytes is larger than the limit of %d", n, o.maxSend)
	}
	binary.BigEndian.PutUint32(prefix[1:], uint32(data.Len()))
	return prefix, data, nil
}

func compress(name string, data mem.BufferSlice) (mem.BufferSlice, error) {
	var out mem.BufferSlice
	w, err := encoding.GetCompressor(name).Compress(mem.NewWriter(&out, mem.DefaultBufferPool()))
	if err == nil {
		for _, b := range data {
			if _, err = w.Write(b.ReadOnlyData()); err != nil {
				break
			}
		}
		if closeErr := w.Close(); err == nil {
			err = closeErr
		}
	}
	if err != nil {
		out.Free()
		return nil, err
	}
	return out, nil
}

// decode reads a message, and frees its bytes.
func (o *options) decode(flags byte, encodingName string, data mem.BufferSlice, m any) error {
	defer func() { data.Free() }()
	if flags&envelope.Compressed != 0 {
		if encodingName == "" || encodingName == encoding.Identity {
			return status.Error(codes.Internal, "a message is compressed, and no grpc-encoding was announced")
		}
		c := encoding.GetCompressor(encodingName)
		if c == nil {
			// Not asked for (https://github.com/grpc/grpc/blob/master/doc/compression.md).
			return status.Errorf(codes.Internal, "no compressor is registered for grpc-encoding %q", encodingName)
		}
		plain, err := decompress(c, data, o.maxReceive)
		if err != nil {
			return err
		}
		data.Free()
		data = plain
	}
	if err := o.codec.Unmarshal(data, m); err != nil {
		return status.Errorf(codes.Internal, "unmarshal the message: %v", err)
	}
	return nil
}

func decompress(c encoding.Compressor, data mem.BufferSlice, limit int) (mem.BufferSlice, error) {
	r, err := c.Decompress(data.Reader())
	if err != nil {
		return nil, status.Errorf(codes.Internal, "decompress the message: %v", err)
	}
	if closer, ok := r.(io.Closer); ok {
		defer closer.Close() //nolint:errcheck // everything was read
	}
	out, err := mem.ReadAll(io.LimitReader(r, int64(limit)+1), mem.DefaultBufferPool())
	switch {
	case err != nil:
		out.Free()
		return nil, status.Errorf(codes.Internal, "decompress the message: %v", err)
	case out.Len() > limit:
		out.Free()
		return nil, status.Errorf(codes.ResourceExhausted, "a message is larger than the limit of %d bytes after decompression", limit)
	}
	return out, nil
}
