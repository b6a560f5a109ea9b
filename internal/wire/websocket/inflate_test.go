package websocket

import (
	"bytes"
	stdflate "compress/flate"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"

	"github.com/sluice-rpc/sluice/internal/race"
)

// A bitWriter writes blocks by hand.
type bitWriter struct {
	b  []byte
	at int
}

// put writes the lowest bits of v, the lowest one first.
func (w *bitWriter) put(v, bits int) *bitWriter {
	for i := range bits {
		if w.at%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[w.at/8] |= byte(v>>i&1) << (w.at % 8)
		w.at++
	}
	return w
}

// code writes a Huffman code, the highest bit first.
func (w *bitWriter) code(v, bits int) *bitWriter {
	for i := bits - 1; i >= 0; i-- {
		w.put(v>>i, 1)
	}
	return w
}

// lengths begins a block with codes of its own, whose lengths are written with 4 bits
// each.
func (w *bitWriter) lengths(literals, distances []int) *bitWriter {
	w.put(0b100, 3).put(len(literals)-257, 5).put(len(distances)-1, 5).put(15, 4)
	for _, symbol := range lengthOrder {
		length := 4
		if symbol > 15 {
			length = 0
		}
		w.put(length, 3)
	}
	for _, l := range append(append([]int{}, literals...), distances...) {
		w.code(l, 4)
	}
	return w
}

// emptyBlocks makes n of the shortest blocks that have codes of their own.
func emptyBlocks(n int) []byte {
	var w bitWriter
	for range n {
		w.put(0b100, 3)     // not final, with codes
		w.put(0, 5+5)       // 257 literals and lengths, 1 distance
		w.put(14, 4)        // 18 lengths of lengths
		for i := range 18 { // 1 bit each for 1 and for 18
			w.put(map[int]int{2: 1, 17: 1}[i], 3)
		}
		w.put(1|127<<1|1<<8|(256-138-11)<<9, 16) // 256 symbols that are not used
		w.put(0, 2)                              // the end of a block, and a distance
		w.put(0, 1)                              // the end of this one
	}
	return w.put(0, 3).b
}

// TestInflateByHand has blocks that no compressor makes.
func TestInflateByHand(t *testing.T) {
	// The end of a block and three more symbols, of one or two bits.
	literals := func(symbols ...int) []int {
		l := make([]int, 286)
		l[256] = 2
		for _, s := range symbols {
			l[s] = 2
		}
		return l
	}
	w := func() *bitWriter { return new(bitWriter) }
	fixed := func() *bitWriter { return w().put(0b010, 3) }
	end := 0
	for _, test := range []struct {
		name string
		in   *bitWriter
		want string // "!" is refused
	}{
		{"fixed codes", fixed().code(0x30+'a', 8).code(end, 7).put(0, 3), "a"},
		{"a match", fixed().code(0x30+'a', 8).code(1, 7).code(0, 5).code(end, 7).put(0, 3), "aaaa"},
		{"a match before the beginning", fixed().code(0x30+'a', 8).code(1, 7).code(1, 5).code(end, 7).put(0, 3), "!"},
		{"length 286", fixed().code(0x30+'a', 8).code(0b11000110, 8).code(0, 5).code(end, 7).put(0, 3), "!"},
		{"length 287", fixed().code(0x30+'a', 8).code(0b11000111, 8).code(0, 5).code(end, 7).put(0, 3), "!"},
		{"distance 30", fixed().code(0x30+'a', 8).code(1, 7).code(30, 5).put(0, 13).code(end, 7).put(0, 3), "!"},
		{"distance 31", fixed().code(0x30+'a', 8).code(1, 7).code(31, 5).put(0, 13).code(end, 7).put(0, 3), "!"},
		{"reserved block", w().put(0b110, 3), "!"},
		{"stored, two lengths", &bitWriter{b: []byte("\x00\x01\x00\xff\xffa\x00")}, "!"},
		{"stored, more than there is", &bitWriter{b: []byte("\x00\xff\x00\x00\xffa\x00")}, "!"},
		{"stored, no length", &bitWriter{b: []byte("\x00")}, ""},
		{"own codes", w().lengths(literals('a', 'b', 257), []int{1, 1}).code(0, 2).code(1, 2).code(3, 2).code(1, 1).code(2, 2).put(0, 3), "ababa"},
		{"no distance", w().lengths(literals('a', 'b', 'c'), []int{0}).code(0, 2).code(1, 2).code(3, 2).put(0, 3), "ab"},
		{"a distance that has no code", w().lengths(literals('a', 'b', 257), []int{0}).code(0, 2).code(3, 2).code(0, 1).code(2, 2).put(0, 3), "!"},
		{"a distance of no bits", w().lengths(literals('a', 'b', 257), []int{0}).code(0, 2).code(3, 2).code(2, 2).put(0, 3), "!"},
		{"one distance", w().lengths(literals('a', 'b', 257), []int{1}).code(0, 2).code(3, 2).code(0, 1).code(2, 2).put(0, 3), "aaaa"},
		{"one distance, and not that", w().lengths(literals('a', 'b', 257), []int{1}).code(0, 2).code(3, 2).code(1, 1).code(2, 2).put(0, 3), "!"},
		{
			"one distance, and not that, where the block before had it",
			w().lengths(literals('a', 'b', 257), []int{1, 1}).code(0, 2).code(0, 2).code(3, 2).code(1, 1).code(2, 2).
				lengths(literals('a', 'b', 257), []int{1}).code(0, 2).code(3, 2).code(1, 1).code(2, 2).put(0, 3),
			"!",
		},
		{"too many codes", w().lengths(literals('a', 'b', 'c', 'd'), []int{1}).code(0, 2).put(0, 3), "!"},
		{"too few codes", w().lengths(literals('a', 'b'), []int{1}).code(0, 2).code(2, 2).put(0, 3), "!"},
		{"287 literals", w().lengths(append(literals('a', 'b', 'c'), 0), []int{1, 1}).code(3, 2).put(0, 3), "!"},
		{"288 literals, 32 distances", w().lengths(append(literals('a', 'b', 'c'), 0, 0), append([]int{1, 1}, make([]int, 30)...)).code(3, 2).put(0, 3), "!"},
		{"31 distances", w().lengths(literals('a', 'b', 'c'), append([]int{1, 1}, make([]int, 29)...)).code(3, 2).put(0, 3), "!"},
		{"no literals", w().lengths(make([]int, 257), []int{0}).put(0, 20), "!"},
		{"lengths cut off", &bitWriter{b: w().lengths(literals('a', 'b', 'c'), []int{1, 1}).b[:20]}, "!"},
		{"a match cut off", fixed().code(0x30+'a', 8).code(0b11000100, 8).put(0, 3), "!"},
		// 1 bit for "repeat" (16) and for a length of 1.
		{"nothing to repeat", w().put(0b100, 3).put(0, 14).put(1, 3).put(0, 6).put(1, 3).put(1, 1).put(0, 40), "!"},
		// 1 bit for a length of 0 and for 138 of them (18).
		{"more lengths than there are", w().put(0b100, 3).put(0, 14).put(0, 6).put(1, 3).put(1, 3).put(0xff, 8).put(0xff, 8).put(0, 40), "!"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := Decoder{Deflate: new(DeflateParams), Whole: true}
			got := "?"
			err := d.Feed(frame(fin|rsv1|byte(Binary), string(test.in.b)), &seen{data: func(p []byte) { got = string(p) }})
			if err != nil {
				got = "!"
				if err != errDeflate {
					t.Error(err)
				}
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestStoredBeyond: a block that is not compressed and says that it is longer than the
// message gives nothing of what is in memory after it.
func TestStoredBeyond(t *testing.T) {
	d := Decoder{Deflate: new(DeflateParams)}
	s := &seen{}
	if err := d.Feed(frame(fin|rsv1|byte(Binary), "\x00\xff\xff\x00\x00abc"), s); err != errDeflate || s.length > 0 {
		t.Errorf("%v, %d bytes", err, s.length)
	}
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
	if race.Enabled {
		t.Skip("slow, and of one goroutine: make unit runs it without the race detector too")
	}
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
