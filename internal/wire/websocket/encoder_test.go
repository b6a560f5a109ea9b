package websocket

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/race"
)

// TestEncoder has the examples of RFC 6455, section 5.7, and RFC 7692, section 7.2.3.
func TestEncoder(t *testing.T) {
	var e Encoder
	for name, test := range map[string]struct {
		got  []byte
		want string
	}{
		"text":      {e.Message(nil, Text, []byte("Hello")), "\x81\x05Hello"},
		"appended":  {e.Message([]byte("x"), Text, []byte("Hello")), "x\x81\x05Hello"},
		"empty":     {e.Message(nil, Text, nil), "\x81\x00"},
		"ping":      {e.Ping(nil, []byte("Hello")), "\x89\x05Hello"},
		"pong":      {e.Pong(nil, []byte("Hello")), "\x8a\x05Hello"},
		"256 bytes": {e.Message(nil, Binary, make([]byte, 256)), "\x82\x7e\x01\x00" + strings.Repeat("\x00", 256)},
		"64 KiB": {
			e.Message(nil, Binary, make([]byte, 65536)),
			"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + strings.Repeat("\x00", 65536),
		},
		"a ping that is too long": {e.Ping(nil, make([]byte, 126)), "\x89\x7d" + strings.Repeat("\x00", 125)},
		"close":                   {e.Close(nil, GoingAway, "bye"), "\x88\x05\x03\xe9bye"},
		"close without a code":    {e.Close(nil, NoStatus, "bye"), "\x88\x00"},
		"close with a long reason": {
			e.Close(nil, 4013, strings.Repeat("ä", 70)), "\x88\x7c\x0f\xad" + strings.Repeat("ä", 61),
		},
	} {
		if string(test.got) != test.want {
			t.Errorf("%s: %.40q", name, test.got)
		}
	}

	e.Begin(Text, true)
	b := e.Data(nil, []byte("Hel"))
	b = e.Data(b, nil)
	b = e.Ping(b, nil)
	b = e.End(e.Data(b, []byte("lo")))
	if want := "\x01\x03Hel\x89\x00\x00\x02lo\x80\x00"; string(b) != want {
		t.Errorf("in pieces: %q", b)
	}
	e.Begin(Binary, false)
	if b := e.End(nil); string(b) != "\x82\x00" {
		t.Errorf("in no piece: %q", b)
	}
	e.Deflate = &DeflateParams{}
	e.Begin(Binary, true)
	if b := e.End(nil); string(b) != "\xc2\x01\x00" {
		t.Errorf("in no piece, compressed: %q", b)
	}
}

// TestThreshold: short messages and those that don't become shorter are sent as they
// are, and don't become part of the window.
func TestThreshold(t *testing.T) {
	long := []byte(strings.Repeat("Hello", 200))
	noise := make([]byte, 600)
	for i, key := 0, uint32(1); i < len(noise); i++ {
		key = key*1664525 + 1013904223
		noise[i] = byte(key >> 24)
	}
	for threshold, e := range map[int]Encoder{
		DefaultThreshold:         {Deflate: &both[1]},
		DefaultTakeoverThreshold: {Deflate: &both[0]},
		300:                      {Deflate: &both[0], Threshold: 300},
		301:                      {Deflate: &both[1], Threshold: 301},
	} {
		kept := 0
		if e.Deflate == &both[0] {
			kept = threshold
		}
		if b := e.Message(nil, Text, long[:threshold-1]); b[0] != 0x81 || e.window != nil {
			t.Errorf("%d: short: %x", threshold, b[:2])
		}
		if b := e.Message(nil, Text, long[:threshold]); b[0] != 0xc1 || len(b) > 40 || len(e.window) != kept {
			t.Errorf("%d: long: %x", threshold, b[:2])
		}
		if b := e.Message(nil, Binary, noise); b[0] != 0x82 || len(b) != 604 || len(e.window) != kept {
			t.Errorf("%d: noise: %x", threshold, b[:2])
		}
	}
}

// TestPiecesThatGrow: what can't be compressed needs more room than it has, and a longer
// length in the header.
func TestPiecesThatGrow(t *testing.T) {
	noise := make([]byte, 70000)
	for i, key := 0, uint32(1); i < len(noise); i++ {
		key = key*1664525 + 1013904223
		noise[i] = byte(key >> 24)
	}
	for _, client := range []bool{false, true} {
		for _, from := range []int{100, 65500} {
			for n := from; n < from+40; n++ {
				e := Encoder{Client: client, Deflate: &both[1]}
				e.Begin(Binary, true)
				wire := e.End(e.Data([]byte("x"), noise[:n]))
				d := Decoder{Client: !client, Deflate: &both[1], Whole: true}
				if got := decode(t, d, wire[1:], uncut); got != "B("+string(noise[:n])+")" || wire[0] != 'x' {
					t.Fatalf("%d bytes became %d", n, len(got))
				}
			}
		}
	}
}

// TestMasks: a client takes another key for each frame.
func TestMasks(t *testing.T) {
	e := Encoder{Client: true}
	zeros := make([]byte, 8)
	a, b := e.Message(nil, Binary, zeros), e.Message(nil, Binary, zeros)
	if a[1] != 0x88 || bytes.Equal(a[2:6], b[2:6]) || !bytes.Equal(a[2:6], a[6:10]) || !bytes.Equal(a[2:6], a[10:14]) {
		t.Errorf("%x, %x", a, b)
	}
}

// TestAllocations: frames cost none, compressed or not.
func TestAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector makes sync.Pool forget at random")
	}
	p := []byte(strings.Repeat("Hello, ", 300))
	for name, params := range map[string]*DeflateParams{"plain": nil, "no takeover": &both[1], "takeover": &both[4]} {
		t.Run(name, func(t *testing.T) {
			for _, whole := range []bool{false, true} {
				e := Encoder{Client: true, Deflate: params}
				d := Decoder{Deflate: params, Whole: whole}
				ev := &seen{}
				var wire []byte
				got := testing.AllocsPerRun(100, func() {
					wire = e.Message(wire[:0], Text, p)
					half := len(wire) / 2 // a control frame in pieces would cost one
					wire = e.Ping(wire, p)
					if d.Feed(wire[:half], ev) != nil || d.Feed(wire[half:], ev) != nil {
						t.Fatal("refused")
					}
				})
				if got > 0 {
					t.Errorf("whole %v: %v allocations", whole, got)
				}
			}
		})
	}
}

func BenchmarkMessage(b *testing.B) {
	p := []byte(strings.Repeat(`{"id":12345,"name":"a name","tags":["x","y"]},`, 23))[:1024]
	for name, params := range map[string]*DeflateParams{"plain": nil, "deflate": &both[1], "takeover": {ServerMaxWindowBits: 12, ClientMaxWindowBits: 12}} {
		e := Encoder{Client: true, Deflate: params}
		d := Decoder{Deflate: params, Whole: true}
		ev := &seen{}
		b.Run(name+"/encode", func(b *testing.B) {
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			e := Encoder{Deflate: params}
			var wire []byte
			for b.Loop() {
				wire = e.Message(wire[:0], Text, p)
			}
		})
		b.Run(name+"/decode", func(b *testing.B) {
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			// The first message refers to none before it, so it can be sent again.
			wire := e.Message(nil, Text, p)
			again := make([]byte, len(wire))
			for b.Loop() {
				if d.Feed(again[:copy(again, wire)], ev) != nil {
					b.Fatal("refused")
				}
			}
		})
	}
	b.Run("unmask", func(b *testing.B) {
		big := make([]byte, 16<<10)
		b.SetBytes(int64(len(big)))
		for b.Loop() {
			xor(big, 0x12345678)
		}
	})
	b.Run("ping", func(b *testing.B) {
		ping := pingFrame("12345678")
		d := Decoder{}
		ev := &seen{}
		b.ReportAllocs()
		for b.Loop() {
			d.Feed(ping, ev)
		}
	})
	b.Run("utf8", func(b *testing.B) {
		big := []byte(strings.Repeat(kosme+" and ASCII, ", 700))
		b.SetBytes(int64(len(big)))
		for b.Loop() {
			var s scan
			s.check(big)
		}
	})
}
