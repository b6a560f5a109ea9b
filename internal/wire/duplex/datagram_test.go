package duplex

import (
	"bytes"
	"testing"
)

func TestDatagram(t *testing.T) {
	// The varints of RFC 9000, appendix A.1.
	for _, c := range []struct {
		n    uint64
		wire string
	}{{151288809941952652, "\xc2\x19\x7c\x5e\xff\x14\xe8\x8c"}, {494878333, "\x9d\x7f\x3e\x7d"}, {15293, "\x7b\xbd"}, {37, "\x25"}} {
		d := Datagram{Number: c.n, Sequence: 1, Message: []byte("m")}
		b := d.Append(nil)
		if string(b) != c.wire+"\x01m" {
			t.Errorf("%d: % x", c.n, b)
		}
		got, ok := ParseDatagram(b)
		if !ok || got.Number != c.n || got.Sequence != 1 || string(got.Message) != "m" {
			t.Errorf("%d: %+v, %v", c.n, got, ok)
		}
	}
	if d, ok := ParseDatagram([]byte("\x40\x25\x01")); !ok || d.Number != 37 || len(d.Message) != 0 {
		t.Errorf("a long form, and an empty message: %+v, %v", d, ok)
	}
	for _, bad := range []string{"", "\x25", "\x25\x00m", "\x40", "\x25\xc0\x00"} {
		if d, ok := ParseDatagram([]byte(bad)); ok {
			t.Errorf("%q: %+v", bad, d)
		}
	}
	for text, want := range map[string]uint64{"0": 0, "7": 7, "4611686018427387903": maxVarint} {
		if n, ok := ParseNumber(text); !ok || n != want {
			t.Errorf("%q: %d, %v", text, n, ok)
		}
	}
	for _, bad := range []string{"", "-1", "+1", "01", "x", "4611686018427387904", "99999999999999999999"} {
		if n, ok := ParseNumber(bad); ok {
			t.Errorf("%q: %d", bad, n)
		}
	}
}

func TestOrder(t *testing.T) {
	for name, c := range map[string]struct {
		late bool
		come []uint64
		want []bool
	}{
		"in order":          {false, []uint64{1, 2, 3}, []bool{true, true, true}},
		"lost":              {false, []uint64{2, 9, 500}, []bool{true, true, true}},
		"repeated":          {false, []uint64{1, 1, 2, 2}, []bool{true, false, true, false}},
		"late":              {false, []uint64{2, 1, 3}, []bool{true, false, true}},
		"late is delivered": {true, []uint64{5, 1, 4, 4, 1, 6, 5, 3}, []bool{true, true, true, false, false, true, false, true}},
		"too late":          {true, []uint64{100, 37, 36, 164, 100, 101}, []bool{true, true, false, true, false, true}},
		"none":              {true, []uint64{0}, []bool{false}},
	} {
		o := Order{Late: c.late}
		for i, n := range c.come {
			if got := o.Take(n); got != c.want[i] {
				t.Errorf("%s: %d of %v: %v", name, n, c.come, got)
			}
		}
	}
}

func FuzzDatagram(f *testing.F) {
	f.Add([]byte("\x25\x01m"))
	f.Add([]byte("\xc2\x19\x7c\x5e\xff\x14\xe8\x8c\x40\x01"))
	f.Add([]byte("\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, ok := ParseDatagram(b)
		if !ok {
			return
		}
		again, ok := ParseDatagram(d.Append(nil))
		if !ok || again.Number != d.Number || again.Sequence != d.Sequence || !bytes.Equal(again.Message, d.Message) {
			t.Errorf("% x: %+v, then %+v", b, d, again)
		}
	})
}
