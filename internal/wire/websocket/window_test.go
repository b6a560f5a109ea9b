package websocket

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestWindowBits: no match goes back further than the window that was agreed upon. A peer
// with a smaller history than 32 KiB could not read it; decompressors in Go don't look.
func TestWindowBits(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 10))
	// Phrases that come back after any distance.
	var phrases [400][]byte
	for i := range phrases {
		phrases[i] = fmt.Appendf(nil, "<%x %x>", rnd.Uint64(), rnd.Uint64())
	}
	for bits := minWindowBits; bits <= maxWindowBits; bits++ {
		for _, none := range []bool{false, true} {
			e := Encoder{Threshold: 1, Deflate: &DeflateParams{ServerNoContextTakeover: none, ServerMaxWindowBits: bits}}
			f := &inflateStrictly{window: 1 << bits}
			for i := range 30 {
				var p []byte
				for range 1 + rnd.IntN(1<<(i%12)) {
					p = append(p, phrases[rnd.IntN(min(len(phrases), 2+1<<bits/80))]...)
				}
				if none {
					f.out = f.out[:0]
				}
				at := len(f.out)
				b := e.Message(nil, Binary, p)
				if len(e.window) > 1<<bits {
					t.Fatalf("%d bytes kept with %d bits", len(e.window), bits)
				}
				if b[0] != bitFin|bitRSV1|byte(Binary) {
					continue // not compressed
				}
				b = append(b[headerLen(len(b)-headerLen(len(b))):], flushed...)
				if err := f.run(b); err != nil || !bytes.Equal(f.out[at:], p) {
					t.Fatalf("%d bits, takeover %v, message %d of %d bytes: %v", bits, !none, i, len(p), err)
				}
			}
			if bits < maxWindowBits && f.furthest < 1<<bits/2 {
				t.Errorf("%d bits, takeover %v: no further back than %d", bits, !none, f.furthest)
			}
		}
	}
}

// TestRemember: what is kept is what was sent last, and no more than the window.
func TestRemember(t *testing.T) {
	e := Encoder{Deflate: &DeflateParams{ServerMaxWindowBits: 8}}
	var sent []byte
	for i := range 100 {
		p := bytes.Repeat([]byte{byte(i)}, i*i%300)
		sent = append(sent, p...)
		e.remember(p)
		if !bytes.Equal(e.window, last(sent, 256)) {
			t.Fatalf("after %d bytes %d are kept", len(sent), len(e.window))
		}
	}
}

// inflateStrictly is DEFLATE as RFC 1951 tells it, to be read and not to be fast: an
// oracle that knows how far back a match may go.
type inflateStrictly struct {
	window, furthest int
	out              []byte

	in  []byte
	bit int
}

func (f *inflateStrictly) bits(n int) (v int) {
	for i := range n {
		v |= int(f.in[f.bit/8]>>(f.bit%8)&1) << i
		f.bit++
	}
	return v
}

// A code is a Huffman code by the lengths of its symbols (section 3.2.2).
type code map[[2]int]int // {length, bits} → symbol

func newCode(lengths []int) code {
	c := code{}
	next := 0
	for length := 1; length <= 15; length++ {
		next <<= 1
		for symbol, l := range lengths {
			if l == length {
				c[[2]int{length, next}] = symbol
				next++
			}
		}
	}
	return c
}

func (f *inflateStrictly) symbol(c code) int {
	for length, v := 1, 0; length <= 15; length++ {
		v = v<<1 | f.bits(1)
		if s, ok := c[[2]int{length, v}]; ok {
			return s
		}
	}
	panic("no such symbol")
}

func (f *inflateStrictly) run(in []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	f.in, f.bit = in, 0
	for f.bit/8 < len(in) {
		if f.bits(1) == 1 {
			return fmt.Errorf("a final block")
		}
		switch f.bits(2) {
		case 0:
			f.bit = (f.bit + 7) &^ 7
			n := f.bits(16)
			f.bit += 16
			f.out = append(f.out, f.in[f.bit/8:f.bit/8+n]...)
			f.bit += 8 * n
		case 1:
			lengths := make([]int, 288)
			for i := range lengths {
				lengths[i] = 8
				if i >= 144 && i < 256 {
					lengths[i] = 9
				} else if i >= 256 && i < 280 {
					lengths[i] = 7
				}
			}
			f.block(newCode(lengths), newCode(bytesOf(5, 30)))
		case 2:
			literals, distances, n := 257+f.bits(5), 1+f.bits(5), 4+f.bits(4)
			order := []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
			lengths := make([]int, 19)
			for _, i := range order[:n] {
				lengths[i] = f.bits(3)
			}
			c := newCode(lengths)
			lengths = nil
			for len(lengths) < literals+distances {
				switch s := f.symbol(c); s {
				case 16:
					lengths = append(lengths, bytesOf(lengths[len(lengths)-1], 3+f.bits(2))...)
				case 17:
					lengths = append(lengths, make([]int, 3+f.bits(3))...)
				case 18:
					lengths = append(lengths, make([]int, 11+f.bits(7))...)
				default:
					lengths = append(lengths, s)
				}
			}
			f.block(newCode(lengths[:literals]), newCode(lengths[literals:]))
		default:
			return fmt.Errorf("a reserved block")
		}
	}
	return nil
}

func bytesOf(v, n int) []int {
	b := make([]int, n)
	for i := range b {
		b[i] = v
	}
	return b
}

// block reads symbols (section 3.2.5).
func (f *inflateStrictly) block(literals, distances code) {
	for {
		s := f.symbol(literals)
		switch {
		case s < 256:
			f.out = append(f.out, byte(s))
			continue
		case s == 256:
			return
		}
		length := 258
		if s < 265 {
			length = s - 254
		} else if s < 285 {
			extra := (s - 261) / 4
			length = 3 + (4+(s-265)%4)<<extra + f.bits(extra)
		}
		distance := f.symbol(distances) + 1
		if distance > 4 {
			extra := (distance - 3) / 2
			distance = 1 + (2+(distance-1)%2)<<extra + f.bits(extra)
		}
		if distance > f.window || distance > len(f.out) {
			panic(fmt.Sprintf("a match %d bytes back, with a window of %d", distance, f.window))
		}
		f.furthest = max(f.furthest, distance)
		for range length {
			f.out = append(f.out, f.out[len(f.out)-distance])
		}
	}
}
