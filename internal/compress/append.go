package compress

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Encodings are the content codings that [Append] knows, the one first that costs least for
// what it saves.
var Encodings = [...]string{"zstd", "gzip", "br"}

// Writers are kept for who comes next: each has tables of some hundred KiB. Levels are
// those for content that is made anew for each answer.
var (
	gzips = sync.Pool{New: func() any {
		w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed)
		return w
	}}
	brotlis = sync.Pool{New: func() any { return brotli.NewWriterLevel(nil, 2) }}
	zstds   = sync.Pool{New: func() any {
		// With one goroutine at a time and a window no larger than what browsers take
		// (RFC 9659), whatever the length of the content.
		w, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
			zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true))
		return w
	}}
)

// Append appends b to dst in a content coding of [Encodings].
func Append(dst []byte, name string, b []byte) ([]byte, error) {
	switch name {
	case "zstd":
		w := zstds.Get().(*zstd.Encoder)
		dst = w.EncodeAll(b, dst)
		zstds.Put(w)
		return dst, nil
	case "gzip":
		return appendBy(dst, b, &gzips)
	case "br":
		return appendBy(dst, b, &brotlis)
	}
	return dst, fmt.Errorf("unknown encoding %q", name)
}

// writer is what a coding of the standard library's form has.
type writer interface {
	io.WriteCloser
	Reset(w io.Writer)
}

func appendBy(dst, b []byte, pool *sync.Pool) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	w := pool.Get().(writer)
	w.Reset(out)
	_, err := w.Write(b)
	if closing := w.Close(); err == nil {
		err = closing
	}
	w.Reset(nil)
	pool.Put(w)
	return out.Bytes(), err
}
