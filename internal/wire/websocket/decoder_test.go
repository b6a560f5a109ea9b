package websocket

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDecoderRefuses(t *testing.T) {
	unmasked := []byte{0x81, 1, 'a'}
	for _, test := range []struct {
		name string
		d    Decoder
		in   []byte
		want string
	}{
		{"RFC 6455, section 5.7", Decoder{}, []byte{0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}, "T(Hello)"},
		{"the same of a server", Decoder{Client: true}, []byte{0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f}, "T(Hello)"},
		{"in fragments", Decoder{Client: true}, []byte{0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f}, "T(Hello)"},
		{"a ping of a server", Decoder{Client: true}, []byte{0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f}, " ping(Hello) "},
		{"a client without a mask", Decoder{}, unmasked, "!1002"},
		{"a server with a mask", Decoder{Client: true}, text("a"), "!1002"},
		{"16 bits for 125", Decoder{}, append([]byte{0x82, 0xfe, 0, 125, 0, 0, 0, 0}, make([]byte, 125)...), "!1002"},
		{"64 bits for 65535", Decoder{}, []byte{0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0}, "!1002"},
		{"the highest bit of a length", Decoder{}, []byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "!1002"},
		{"a frame that announces too much", Decoder{}, []byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, "B(!1009"},
		{"at the limit", Decoder{MaxMessage: 5}, text("Hello"), "T(Hello)"},
		{"above the limit", Decoder{MaxMessage: 4}, text("Hello"), "T(!1009"},
		{"above it in fragments", Decoder{MaxMessage: 7, Whole: true}, pieces(Text, "1234", "1234"), "T(!1009"},
		{"at the default", Decoder{}, []byte{0x82, 0xff, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0}, "B("},
		{"above the default", Decoder{}, []byte{0x82, 0xff, 0, 0, 0, 0, 0, 0x40, 0, 1, 0, 0, 0, 0}, "B(!1009"},
		{"control of 126 bytes in a long form", Decoder{}, []byte{0x89, 0xfe, 0, 126, 0, 0, 0, 0}, "!1002"},
		{"100 empty fragments", Decoder{}, pieces(Text, append(make([]string, 100), "x")...), "T(x)"},
		{"101 empty fragments", Decoder{}, pieces(Text, append(make([]string, 101), "x")...), "T(!1008"},
		{"a limit for empty fragments", Decoder{MaxEmpty: 1}, pieces(Text, "", "a", "", "x"), "T(a!1008"},
		{"the next message starts anew", Decoder{MaxEmpty: 1}, frames(pieces(Text, "", "a"), pieces(Text, "", "b")), "T(a)T(b)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, c := range []cut{uncut, bytewise} {
				if got := decode(t, test.d, test.in, c); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			}
		})
	}
}

// TestWholeInPlace: a message that came in one piece is not copied, one in several
// pieces is kept, and what is kept can be asked for.
func TestWholeInPlace(t *testing.T) {
	var got []byte
	ev := &seen{data: func(p []byte) { got = p }}
	d := Decoder{Whole: true}
	in := text("Hello")
	if err := d.Feed(in, ev); err != nil || &got[0] != &in[6] {
		t.Errorf("%v, %q", err, got)
	}
	d.Feed(frame(byte(Text), "abc"), ev)
	if n := d.Buffered(); n != 3 || d.Between() {
		t.Errorf("%d bytes kept", n)
	}
	d.Feed(frame(fin, ""), ev)
	if n := d.Buffered(); n != 0 || !d.Between() || string(got) != "abc" {
		t.Errorf("%d bytes kept, %q", n, got)
	}
}

func TestBetween(t *testing.T) {
	for in, want := range map[string]bool{
		"": true, string(text("a")): true, string(text("a")[:1]): false, string(text("a")[:6]): false,
		string(frame(byte(Text), "a")): false, string(pingFrame("a")[:6]): false, string(pingFrame("a")): true,
	} {
		var d Decoder
		d.Feed([]byte(in), &seen{})
		if d.Between() != want {
			t.Errorf("%x: %v", in, !want)
		}
	}
}

func TestCost(t *testing.T) {
	var d Decoder
	feed := func(b []byte) int {
		if err := d.Feed(b, &seen{}); err != nil {
			t.Fatal(err)
		}
		return d.Cost()
	}
	for i, test := range []struct {
		in   []byte
		want int
	}{
		{frames(pingFrame(""), pingFrame("x"), frame(fin|byte(opPong), "")), 3},
		{frames(text(""), text("a"), frame(fin|byte(Binary), "Hello")), 0}, // messages are the application's
		{pieces(Text, "", "1234", "12345", ""), 2},
		{nil, 0},
	} {
		if got := feed(test.in); got != test.want {
			t.Errorf("%d: got %d, want %d", i, got, test.want)
		}
	}
}

// seen takes events without a word.
type seen struct {
	data   func(p []byte)
	begun  int
	length int
}

func (s *seen) Begin(Opcode) { s.begun++ }
func (s *seen) Data(p []byte) {
	s.length += len(p)
	if s.data != nil {
		s.data(p)
	}
}
func (s *seen) End()               {}
func (s *seen) Ping([]byte)        {}
func (s *seen) Pong([]byte)        {}
func (s *seen) Close(Code, string) {}

func TestXor(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for n := range 100 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		key := [4]byte{1, 2, 4, 8}
		want := bytes.Clone(b)
		for i := range want {
			want[i] ^= key[i%4]
		}
		at := 0
		if n > 0 {
			at = rnd.IntN(n)
		}
		xor(b[at:], xor(b[:at], 0x08040201))
		if !bytes.Equal(b, want) {
			t.Fatalf("%d bytes cut at %d", n, at)
		}
	}
}

// FuzzScan: the check is unicode/utf8's, and finds the first byte after which nothing
// helps.
func FuzzScan(f *testing.F) {
	f.Add([]byte(kosme), uint8(3))
	f.Add([]byte("01234567\xf4\x90\x80\x80"), uint8(9))
	f.Fuzz(func(t *testing.T, p []byte, at uint8) {
		i := min(int(at), len(p))
		var s scan
		bad := s.check(p[:i])
		if bad < 0 {
			if bad = s.check(p[i:]); bad >= 0 {
				bad += i
			}
		}
		if (bad < 0 && s.need == 0) != utf8.Valid(p) {
			t.Fatalf("%x cut at %d: bad at %d, needs %d", p, i, bad, s.need)
		}
		// What is before the first bad byte could have been completed, with it nothing can.
		completable := func(p []byte) bool {
			if utf8.Valid(p) {
				return true
			}
			for _, tail := range []string{"\x80", "\xbf", "\x80\x80", "\xbf\x80", "\x80\x80\x80", "\xbf\x80\x80"} {
				if utf8.Valid(append(bytes.Clone(p), tail...)) {
					return true
				}
			}
			return false
		}
		if bad >= 0 && (!completable(p[:bad]) || completable(p[:bad+1])) {
			t.Errorf("%x: bad at %d", p, bad)
		}
	})
}

// FuzzDecoder: cut anywhere, the events are the same; nothing is delivered or kept beyond
// the limits.
func FuzzDecoder(f *testing.F) {
	for i, v := range chapters() {
		if len(v.in) < 300 && i%5 == 0 {
			f.Add(v.in, uint8(i%4), uint64(i))
		}
	}
	f.Add(frames(frame(rsv1|1, "\xf2\x48\xcd"), pingFrame("p"), frame(fin, "\xc9\xc9\x07\x00"), frame(fin|rsv1|1, "\xf2\x00\x11\x00\x00")), uint8(4), uint64(1))
	f.Add(frame(fin|rsv1|2, bomb(3000)), uint8(4), uint64(2))
	f.Add([]byte{0x81, 0x05, 'H', 'e', 'l', 'l', 'o', 0x88, 0}, uint8(1), uint64(3))
	f.Fuzz(func(t *testing.T, in []byte, mode uint8, seed uint64) {
		d := Decoder{Client: mode&1 != 0, Whole: mode&2 != 0, MaxMessage: 2000, MaxEmpty: 5}
		if mode&4 != 0 {
			d.Deflate = &both[int(mode>>3)%len(both)]
		}
		a := decode(t, d, in, uncut)
		b := decode(t, d, in, bytewise)
		c := decode(t, d, in, random(rand.New(rand.NewPCG(seed, 0))))
		if a != b || a != c {
			t.Errorf("uncut: %q\nbytewise: %q\nrandom: %q", a, b, c)
		}

		other, s := d, &seen{}
		err := d.Feed(bytes.Clone(in), s)
		if s.length > s.begun*d.MaxMessage {
			t.Errorf("%d bytes in %d messages", s.length, s.begun)
		}
		// What is refused in pieces is refused whole.
		other.Whole = !d.Whole
		if again := other.Feed(bytes.Clone(in), s); again != err {
			t.Errorf("%v, and the other way %v", err, again)
		}
		if n := d.Buffered(); n > d.MaxMessage || n > len(in) {
			t.Errorf("%d bytes kept of %d", n, len(in))
		}
		if d.Deflate != nil {
			if bits := d.Deflate.windowOf(d.Client); len(d.window) > 1<<bits {
				t.Errorf("a window of %d bytes with %d bits", len(d.window), bits)
			}
		}
	})
}

// FuzzRoundTrip: what an Encoder says a Decoder understands.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("Hello, Hello, Hello, Hello"), uint8(7), uint8(3), uint16(10))
	f.Add(bytes.Repeat([]byte{0xff}, 200), uint8(0), uint8(125), uint16(126))
	f.Fuzz(func(t *testing.T, p []byte, mode, piece uint8, threshold uint16) {
		e := Encoder{Client: mode&1 != 0, Threshold: int(threshold)}
		if mode&2 != 0 {
			e.Deflate = &both[int(mode>>2)%len(both)]
		}
		op := Binary
		if utf8.Valid(p) {
			op = Text
		}
		var wire []byte
		var want strings.Builder
		letter := map[Opcode]string{Text: "T(", Binary: "B("}[op]
		for range 3 {
			wire = e.Message(wire, op, p)
			want.WriteString(letter + string(p) + ")" + letter)
			if e.Deflate != nil { // what is compressed comes at the end
				want.WriteString(strings.Repeat(" pong("+string(p[:min(len(p), 125)])+") ", (len(p)+int(piece))/(1+int(piece))))
				want.Write(p)
			}
			e.Begin(op, true)
			for rest := p; len(rest) > 0; {
				n := min(len(rest), 1+int(piece))
				wire = e.Data(wire, rest[:n])
				wire = e.Pong(wire, p)
				if e.Deflate == nil {
					want.WriteString(string(rest[:n]) + " pong(" + string(p[:min(len(p), 125)]) + ") ")
				}
				rest = rest[n:]
			}
			wire = e.End(wire)
			want.WriteString(")")
		}
		wire = e.Close(wire, 1000, string(p))
		want.WriteString("close(1000 " + Reason(string(p)) + ")")
		d := Decoder{Client: !e.Client, Deflate: e.Deflate}
		if got := decode(t, d, wire, chops(1+int(threshold))); got != want.String() {
			t.Errorf("got %q, want %q", got, want.String())
		}
	})
}
