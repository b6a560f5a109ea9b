package websocket

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

// flushed is what a compressor leaves out at the end of a message (RFC 7692, section
// 7.2.1): the end of an empty block that is not compressed.
const flushed = "\x00\x00\xff\xff"

// ending is what a decompressor gets at the end of a message: what was left out, and
// an empty last block, so that it ends.
const ending = flushed + "\x01\x00\x00\xff\xff"

// What a Decoder refuses in a compressed message.
var (
	errDeflate  = &Error{InvalidPayload, "compressed message is corrupt"}
	errRatio    = &Error{PolicyViolation, "message compressed by more than the limit"}
	errRestarts = &Error{PolicyViolation, "too many final blocks in a compressed message"}
)

const (
	// ratioFree is how large a message may become whatever its ratio.
	ratioFree = 1 << 20
	// maxWindow is the history that DEFLATE can refer to (RFC 1951, section 2).
	maxWindow = 1 << 15
	// inflateChunk is how much is decompressed at a time.
	inflateChunk = 16 << 10
)

// An inflater is what decompressing needs, shared by all connections.
type inflater struct {
	r     io.ReadCloser
	src   bytes.Reader
	chunk [inflateChunk]byte
	past  history
}

var inflaters = sync.Pool{New: func() any {
	return &inflater{r: flate.NewReader(nil)}
}}

// history keeps what was decompressed last.
type history struct{ b []byte }

func (h *history) add(p []byte) {
	if len(h.b)+len(p) > 2*maxWindow {
		h.b = append(h.b[:0], last(h.b, maxWindow)...)
	}
	h.b = append(h.b, p...)
}

// last returns the last n bytes of b.
func last(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// inflate decompresses the message that is kept (RFC 7692, section 7.2.2), and passes on
// what comes out.
func (d *Decoder) inflate(ev Events) *Error {
	in := d.kept
	d.kept = nil // what comes out may have to be kept too
	length := len(in.b)
	in.b = append(in.b, ending...)
	z := inflaters.Get().(*inflater)
	z.src.Reset(in.b)
	z.past.b = append(z.past.b[:0], d.window...)

	err := z.run(length, d, ev)

	if bits := d.Deflate.windowOf(d.Client); err == nil && bits > 0 {
		d.window = append(d.window[:0], last(z.past.b, 1<<bits)...)
	}
	z.src.Reset(nil)
	inflaters.Put(z)
	out := d.kept
	d.kept = in
	d.release()
	d.kept = out
	if err != nil {
		return err
	}
	return d.data(nil, true, ev)
}

func (z *inflater) run(length int, d *Decoder, ev Events) *Error {
	most, tooMuch := orDefault(d.MaxMessage, DefaultMaxMessage), errTooBig
	if n := max(ratioFree, orDefault(d.MaxRatio, DefaultMaxRatio)*length); n < most {
		most, tooMuch = n, errRatio
	}
	z.r.(flate.Resetter).Reset(&z.src, d.window)
	for total, restarts := 0, 0; ; {
		n, err := z.r.Read(z.chunk[:])
		if total += n; total > most {
			return tooMuch
		}
		z.past.add(z.chunk[:n])
		if err := d.data(z.chunk[:n], false, ev); err != nil {
			return err
		}
		switch {
		case err == nil:
		case err != io.EOF:
			return errDeflate
		case z.src.Len() <= len(ending):
			// The last block was ours, or the sender's with nothing after it.
			return nil
		default:
			// A block may say that it is the last one, and others follow at the next
			// byte (section 7.2.3.4). To go on costs a copy of the window, so it has
			// to be worth it.
			if restarts++; restarts > 16+total/1024 {
				return errRestarts
			}
			z.r.(flate.Resetter).Reset(&z.src, last(z.past.b, maxWindow))
		}
	}
}
