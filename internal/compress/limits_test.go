package compress

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// random returns bytes that no encoding makes smaller.
func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

// TestSmallLimit: the window that an encoder announces is no sign of a large message.
func TestSmallLimit(t *testing.T) {
	for _, name := range names {
		for _, size := range []int{0, 1, 100, 1000} {
			want := random(size)
			got, err := Decompress(name, compressed(t, name, want), 1000, 100)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s of %d bytes: %d bytes, %v", name, size, len(got), err)
			}
		}
		if _, err := Decompress(name, compressed(t, name, random(1001)), 1000, 100); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: one byte above the limit: %v", name, err)
		}
	}
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, zstd.WithWindowSize(8<<20), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte("hello"))
	_ = w.Flush() // now the size is not known when the frame begins
	_, _ = w.Write([]byte(" again"))
	_ = w.Close()
	if got, err := Decompress("zstd", out.Bytes(), 1000, 100); err != nil || string(got) != "hello again" {
		t.Errorf("window of 8 MiB: %q, %v", got, err)
	}
}

// TestRatioFree: below ratioFree the ratio means nothing: short messages compress well.
func TestRatioFree(t *testing.T) {
	for _, name := range names {
		for size, ok := range map[int]bool{ratioFree: true, ratioFree + 1: false} {
			b := compressed(t, name, make([]byte, size))
			if got, err := Decompress(name, b, 1<<30, 2); (err == nil) != ok || ok && len(got) != size {
				t.Errorf("%s of %d bytes: %d bytes, %v", name, size, len(got), err)
			}
		}
	}
}

// TestBroken: what is cut or garbage is an error, and not one of size.
func TestBroken(t *testing.T) {
	for _, name := range names {
		whole := compressed(t, name, random(300))
		for n := 1; n < len(whole); n++ {
			got, err := Decompress(name, whole[:n], 1000, 100)
			if name == "snappy" && err == nil && len(got) < 300 {
				continue // a sequence of frames, which ends anywhere between two
			}
			if err == nil || errors.Is(err, ErrTooLarge) || !strings.HasPrefix(err.Error(), name) {
				t.Errorf("%s cut at %d: %d bytes, %v", name, n, len(got), err)
				break
			}
		}
	}
	if _, err := Decompress("lzw", nil, 1000, 100); err == nil || Known("lzw") || Known("identity") || Known("") {
		t.Error("lzw is known")
	}
}

// TestNames: the list is the caller's own.
func TestNames(t *testing.T) {
	Names()[0] = "lzw"
	if !Known("gzip") || Names()[0] != "gzip" {
		t.Error("a caller changed the list")
	}
}

// TestAnnounced: memory is taken for what comes out, not for what a frame announces,
// but for one window.
func TestAnnounced(t *testing.T) {
	// Magic, descriptor (content size of 8 bytes, window descriptor), a window of
	// 8 MiB, a content size of 1 TiB, one raw block of one byte (RFC 8878, section 3.1.1).
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xc0, 13 << 3, 0, 0, 0, 0, 0, 1, 0, 0, 9, 0, 0, 'x'}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Decompress("zstd", b, 1<<30, 100)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > zstdWindow+2<<20 || err == nil {
		t.Errorf("%d bytes were allocated, %v", n, err)
	}
}
