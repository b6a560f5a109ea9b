package websocket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A record writes events down: "T(a ping(x) b)close(1000 bye)!1002". It is the same
// wherever pieces of a message are cut.
type record struct {
	b      strings.Builder
	pieces int
	open   bool
	t      testing.TB
	whole  bool
}

func (r *record) Begin(op Opcode) {
	if r.open {
		r.t.Error("a message within a message")
	}
	r.open, r.pieces = true, 0
	r.b.WriteString(map[Opcode]string{Text: "T(", Binary: "B("}[op])
}

func (r *record) Data(p []byte) {
	if !r.open || len(p) == 0 && !r.whole {
		r.t.Error("an empty piece, or one outside of a message")
	}
	r.pieces++
	r.b.Write(p)
}

func (r *record) End() {
	if r.whole && r.pieces != 1 {
		r.t.Errorf("a whole message in %d pieces", r.pieces)
	}
	r.open = false
	r.b.WriteString(")")
}

func (r *record) Ping(p []byte)                  { fmt.Fprintf(&r.b, " ping(%s) ", p) }
func (r *record) Pong(p []byte)                  { fmt.Fprintf(&r.b, " pong(%s) ", p) }
func (r *record) Close(code Code, reason string) { fmt.Fprintf(&r.b, "close(%d %s)", code, reason) }

// cut says how long the next piece is.
type cut func(left int) int

func uncut(left int) int { return left }
func bytewise(int) int   { return 1 }
func chops(n int) cut    { return func(int) int { return n } }
func random(r *rand.Rand) cut {
	return func(left int) int { return 1 + r.IntN(min(left, 1+r.IntN(40))) }
}

// decode returns what was recorded of in.
func decode(t testing.TB, d Decoder, in []byte, cut cut) string {
	r := &record{t: t, whole: d.Whole}
	in = slices.Clone(in) // Feed overwrites it
	var err error
	for len(in) > 0 && err == nil {
		n := min(cut(len(in)), len(in))
		err = d.Feed(in[:n:n], r)
		in = in[n:]
	}
	if err != nil {
		var e *Error
		if !errors.As(err, &e) || !e.Code.Valid() || Reason(e.Reason) != e.Reason {
			t.Errorf("error %v can't be sent", err)
		}
		if again := d.Feed([]byte{0x81, 0x80, 0, 0, 0, 0}, r); again != err {
			t.Errorf("after %v came %v", err, again)
		}
		fmt.Fprintf(&r.b, "!%d", e.Code)
		if d.kept != nil {
			t.Error("a buffer is kept after the end")
		}
	}
	if (d.op == 0 || d.closed) && d.kept != nil {
		t.Error("a buffer is kept between messages, or after a Close")
	}
	return r.b.String()
}

const (
	fin  = 0x80
	rsv1 = 0x40
	rsv2 = 0x20
	rsv3 = 0x10
)

// frame makes a frame of a client.
func frame(first byte, payload string) []byte {
	b := make([]byte, headerLen(len(payload)))
	putHeader(b, first, bitMask, len(payload))
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d} // of the examples in RFC 6455, section 5.7
	b = append(b, key[:]...)
	n := len(b)
	b = append(b, payload...)
	xor(b[n:], binary.LittleEndian.Uint32(key[:]))
	return b
}

func frames(f ...[]byte) []byte { return slices.Concat(f...) }

func text(s string) []byte      { return frame(fin|byte(Text), s) }
func pingFrame(s string) []byte { return frame(fin|byte(opPing), s) }
func closeFrame(code Code, s string) []byte {
	return frame(fin|byte(opClose), string(binary.BigEndian.AppendUint16(nil, uint16(code)))+s)
}

// pieces makes a message in fragments.
func pieces(op Opcode, s ...string) []byte {
	var b []byte
	for i, p := range s {
		first := byte(opContinuation)
		if i == 0 {
			first = byte(op)
		}
		if i == len(s)-1 {
			first |= fin
		}
		b = append(b, frame(first, p)...)
	}
	return b
}
