// Package compress decompresses single messages, within a limit, for clients that
// cannot read what a backend answered with. Between clients and backends that agree,
// compressed messages pass as they are.
package compress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// names are the encodings that Decompress knows.
var names = []string{"gzip", "zstd", "br", "deflate", "snappy"}

// Names returns the encodings that [Decompress] knows.
func Names() []string { return slices.Clone(names) }

// Known says whether Decompress knows an encoding; identity is none.
func Known(name string) bool { return slices.Contains(names, name) }

// ErrTooLarge is the error of a message that is larger than the limit once it is
// decompressed, or more than ratio times its compressed form.
var ErrTooLarge = errors.New("decompressed message larger than the limit")

// ratioFree is how large a message may become whatever its ratio.
const ratioFree = 1 << 20

// zstdWindow is the window that a decoder should support (RFC 8878, section 3.1.1.1.2).
// Encoders announce theirs whatever the size of the message, so it is no sign of a
// large one, and the limit is no bound for it.
const zstdWindow = 8 << 20

// Decompress returns what b says. Memory grows with what comes out, never with what
// the input announces, but for one window of zstd.
func Decompress(name string, b []byte, limit, ratio int) ([]byte, error) {
	var r io.Reader
	var err error
	src := bytes.NewReader(b)
	switch name {
	case "gzip":
		r, err = gzip.NewReader(src)
	case "deflate": // RFC 9110, section 8.4.1.2: the zlib format
		r, err = zlib.NewReader(src)
	case "br":
		r = brotli.NewReader(src)
	case "snappy":
		r = snappy.NewReader(src)
	case "zstd":
		var d *zstd.Decoder
		d, err = zstd.NewReader(src, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderMaxMemory(max(uint64(limit)+1, zstdWindow)))
		if err == nil {
			defer d.Close()
			r = d
		}
	default:
		return nil, fmt.Errorf("unknown encoding %q", name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	most := limit
	if ratio > 0 {
		most = min(limit, max(ratioFree, ratio*len(b)))
	}
	out, err := readAll(r, most+1)
	if len(out) > most || errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return nil, ErrTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

// readAll reads up to limit bytes. Its buffer never becomes larger than that, as one that
// only doubles would.
func readAll(r io.Reader, limit int) ([]byte, error) {
	b := make([]byte, 0, min(512, limit))
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF || len(b) >= limit {
			return b, nil
		}
		if err != nil {
			return b, err
		}
		if len(b) == cap(b) {
			b = append(make([]byte, 0, min(2*cap(b), limit)), b...)
		}
	}
}
