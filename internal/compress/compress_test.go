package compress

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

func compressed(t testing.TB, name string, b []byte) []byte {
	var out bytes.Buffer
	var w io.WriteCloser
	switch name {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "deflate":
		w = zlib.NewWriter(&out)
	case "br":
		w = brotli.NewWriter(&out)
	case "snappy":
		w = snappy.NewBufferedWriter(&out)
	case "zstd":
		var err error
		if w, err = zstd.NewWriter(&out); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestDecompress(t *testing.T) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			want := bytes.Repeat([]byte("hello "), 1000)
			got, err := Decompress(name, compressed(t, name, want), len(want), 100)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if _, err := Decompress(name, compressed(t, name, want), len(want)-1, 100); !errors.Is(err, ErrTooLarge) {
				t.Errorf("one byte above the limit: %v", err)
			}
		})
	}
}

// TestBombs: what is small on the wire and huge behind it ends at the limit, or at the
// ratio.
func TestBombs(t *testing.T) {
	huge := make([]byte, 8<<20)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			bomb := compressed(t, name, huge)
			if _, err := Decompress(name, bomb, 4<<20, 0); !errors.Is(err, ErrTooLarge) {
				t.Errorf("limit: %v", err)
			}
			if name == "snappy" {
				return // cannot reach the ratio
			}
			if _, err := Decompress(name, bomb, 1<<30, 100); !errors.Is(err, ErrTooLarge) {
				t.Errorf("ratio: %v", err)
			}
		})
	}
}

func FuzzDecompress(f *testing.F) {
	for i, name := range names {
		f.Add(uint8(i), compressed(f, name, []byte("hello hello hello")))
	}
	f.Fuzz(func(t *testing.T, i uint8, b []byte) {
		out, err := Decompress(names[int(i)%len(names)], b, 1<<16, 100)
		if err == nil && len(out) > 1<<16 {
			t.Errorf("%d bytes", len(out))
		}
	})
}
