package websocket

import (
	"bytes"
	stdflate "compress/flate"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"
)

// emptyBlocks makes n of the shortest blocks that have codes of their own.
func emptyBlocks(n int) []byte {
	var b []byte
	at := 0
	put := func(v, bits int) {
		for i := range bits {
			if at%8 == 0 {
				b = append(b, 0)
			}
			b[at/8] |= byte(v>>i&1) << (at % 8)
			at++
		}
	}
	for range n {
		put(0b100, 3)       // not final, with codes
		put(0, 5+5)         // 257 literals and lengths, 1 distance
		put(14, 4)          // 18 lengths of lengths
		for i := range 18 { // 1 bit each for 1 and for 18
			put(map[int]int{2: 1, 17: 1}[i], 3)
		}
		put(1|127<<1|1<<8|(256-138-11)<<9, 16) // 256 symbols that are not used
		put(0, 2)                              // the end of a block, and a distance
		put(0, 1)                              // the end of this one
	}
	put(0, 3)
	return b
}

// FuzzInflate: what we make of a message is what the library makes of it. A message is
// the input as it is, or compressed at some level first.
func FuzzInflate(f *testing.F) {
	f.Add([]byte("\xf2\x48\xcd\xc9\xc9\x07\x00"), int8(0), []byte(nil))
	f.Add([]byte("\xf2\x00\x11\x00\x00"), int8(0), []byte("Hello"))
	f.Add(emptyBlocks(3), int8(0), []byte(nil))
	f.Add([]byte(strings.Repeat("Hello κόσμε ", 50)), int8(1), []byte("Hello κόσμε"))
	f.Add([]byte(strings.Repeat("Hello κόσμε ", 50)), int8(-9), []byte(nil))
	f.Add([]byte{0xed, 0xc0, 1, 1, 0, 0, 0, 0x80, 0x90, 0xfe, 0xaf, 0xee, 8, 0x0a}, int8(0), []byte(nil))
	f.Fuzz(func(t *testing.T, in []byte, level int8, past []byte) {
		past = last(past, maxWindow)
		wire := in
		if level != 0 {
			wire = compressed(in, int(level), past)
		}
		if len(wire) > 1<<20 {
			return
		}

		const ending = flushed + "\x01\x00\x00\xff\xff"
		src := bytes.NewReader(append(bytes.Clone(wire), ending...))
		want, err := io.ReadAll(flate.NewReaderDict(src, past))
		if len(want) > 1<<20 {
			return // too much for us
		}

		d := Decoder{Deflate: &DeflateParams{}, Whole: true, window: bytes.Clone(past), MaxRatio: 1 << 20}
		var got []byte
		refused := d.Feed(frame(fin|rsv1|byte(Binary), string(wire)), &seen{data: func(p []byte) { got = bytes.Clone(p) }})
		if refused == errBlocks {
			return
		}
		switch whole := src.Len() == 0 || src.Len() == len(ending); {
		case level != 0 && (refused != nil || !bytes.Equal(got, want)):
			// Not in: with a dictionary compress/flate sometimes says that twice.
			t.Errorf("level %d: %v, %q of %q", level, refused, got, want)
		case refused == nil && (err != nil || !bytes.HasPrefix(got, want) || whole && len(got) > len(want)):
			// The library stops at a last block, we go on.
			t.Errorf("%x: got %q, want %q, %v", wire, got, want, err)
		case refused != nil && err == nil && len(wire) < 2000:
			// The library may have found an end in what we added for it.
			f := &inflateStrictly{window: maxWindow, out: bytes.Clone(past)}
			if f.run(append(bytes.Clone(wire), flushed...)) == nil {
				t.Errorf("%x: %v, want %q", wire, refused, want)
			}
		}
	})
}

// compressed is a message by a library: Go's own for levels below zero.
func compressed(p []byte, level int, past []byte) []byte {
	var b bytes.Buffer
	if level < 0 {
		w, _ := stdflate.NewWriterDict(&b, -level%12-2, past)
		w.Write(p)
		w.Flush()
	} else {
		w, _ := flate.NewWriterDict(&b, level%12-2, past)
		w.Write(p)
		w.Flush()
	}
	return bytes.TrimSuffix(b.Bytes(), []byte(flushed))
}

// TestInflate has messages of several windows, in which all kinds of blocks come up.
func TestInflate(t *testing.T) {
	var b strings.Builder
	for i := range 9000 {
		fmt.Fprintf(&b, `{"id":%d,"name":"κόσμε %d"}`, i*i, i)
		if i%1000 == 0 {
			b.WriteString(strings.Repeat("a", i))
		}
	}
	p := []byte(b.String())
	for level := -12; level <= 12; level++ {
		d := Decoder{Deflate: &DeflateParams{}, Whole: true}
		var got []byte
		err := d.Feed(frame(fin|rsv1|byte(Text), string(compressed(p, level, nil))), &seen{data: func(p []byte) { got = bytes.Clone(p) }})
		if err != nil || !bytes.Equal(got, p) {
			t.Errorf("level %d: %v, %d bytes of %d", level, err, len(got), len(p))
		}
		if !bytes.Equal(d.window, last(p, maxWindow)) {
			t.Errorf("level %d: a window of %d bytes", level, len(d.window))
		}
	}
}

func last(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

func BenchmarkInflate(b *testing.B) {
	var s strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&s, `{"id":%d,"name":"a name %d","tags":["x","y"]},`, i*i, i)
	}
	p := []byte(s.String())
	for name, wire := range map[string][]byte{
		"JSON": compressed(p, 7, nil), "empty blocks": emptyBlocks(20), "stored": compressed(p, 2, nil),
	} {
		d := Decoder{Deflate: &DeflateParams{ClientNoContextTakeover: true}}
		in := frame(fin|rsv1|byte(Binary), string(wire))
		again := make([]byte, len(in))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				d.err = nil
				d.op = 0
				d.Feed(again[:copy(again, in)], &seen{})
			}
		})
		b.Run(name+"/library", func(b *testing.B) {
			b.SetBytes(int64(len(p)))
			in := append(bytes.Clone(wire), flushed+"\x01\x00\x00\xff\xff"...)
			r := flate.NewReader(nil)
			for b.Loop() {
				r.(flate.Resetter).Reset(bytes.NewReader(in), nil)
				io.Copy(io.Discard, r)
			}
		})
	}
}
