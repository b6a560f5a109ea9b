package websocket

import (
	"sync"

	"github.com/klauspost/compress/flate"
)

// A deflater is what compressing needs, shared by all connections.
type deflater struct {
	w   *flate.Writer
	out []byte
}

func (z *deflater) Write(p []byte) (int, error) {
	z.out = append(z.out, p...)
	return len(p), nil
}

// deflaters are by the bits of their window.
var deflaters [maxWindowBits + 1]sync.Pool

// deflate appends p compressed to dst: blocks that end with [flushed]. They may refer to
// past, which is no longer than the window.
func deflate(dst, p, past []byte, bits int) []byte {
	z, _ := deflaters[bits].Get().(*deflater)
	if z == nil {
		z = new(deflater)
		// Errors are for levels and windows that don't exist.
		if bits == maxWindowBits {
			z.w, _ = flate.NewWriter(z, flate.BestSpeed)
		} else {
			z.w, _ = flate.NewWriterWindow(z, 1<<bits)
		}
	}
	z.out = dst
	z.w.ResetDict(z, past)
	// Write never fails.
	z.w.Write(p)
	z.w.Flush()
	dst = z.out
	z.out = nil
	if past != nil {
		z.w.ResetDict(z, nil) // it keeps no connection's window
	}
	deflaters[bits].Put(z)
	return dst
}
