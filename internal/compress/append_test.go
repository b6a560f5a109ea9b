package compress

import (
	"bytes"
	"strings"
	"sync"
	"testing"
)

// TestAppend: what was appended decompresses to what it was made of, also by many at once.
func TestAppend(t *testing.T) {
	text := []byte(strings.Repeat(`{"id":"7","tags":["a","b"]},`, 1000))
	for _, name := range Encodings {
		var wg sync.WaitGroup
		for _, b := range [][]byte{nil, []byte("x"), text, random(100000)} {
			wg.Go(func() {
				for range 20 {
					out, err := Append([]byte("before"), name, b)
					if err != nil || !bytes.HasPrefix(out, []byte("before")) {
						t.Errorf("%s: %q, %v", name, out[:min(len(out), 10)], err)
						return
					}
					got, err := Decompress(name, out[6:], 1<<20, 0)
					if err != nil || !bytes.Equal(got, b) {
						t.Errorf("%s of %d bytes: %d bytes, %v", name, len(b), len(got), err)
						return
					}
					if len(b) == len(text) && len(out) > len(text)/20 {
						t.Errorf("%s: %d bytes of %d", name, len(out), len(b))
					}
				}
			})
		}
		wg.Wait()
	}
	if _, err := Append(nil, "snappy", nil); err == nil {
		t.Error("no error for an encoding that is not known")
	}
}

func BenchmarkAppend(b *testing.B) {
	text := []byte(strings.Repeat(`{"id":"7","tags":["a","b"]},`, 150))
	for _, name := range Encodings {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var out []byte
			for range b.N {
				out, _ = Append(out[:0], name, text)
			}
		})
	}
}
