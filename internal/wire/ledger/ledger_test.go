package ledger

import "testing"

func TestLedger(t *testing.T) {
	var l Ledger
	step := func(n, want int) {
		t.Helper()
		if got := l.Credit(n); got != want {
			t.Errorf("Credit(%d) is %d, want %d", n, got, want)
		}
	}
	l.Put(4, 3)
	step(2, 0)
	step(1, 4)
	l.Put(2, 0) // nothing yet
	step(0, 0)
	l.Put(2, 3)
	l.Put(8, 6)
	step(4, 4) // with what came before it
	step(5, 8)
	l.Put(0, 10) // nobody's
	l.Put(1, 1)
	step(10, 0)
	step(1, 1)
	l.Put(0, 0)
	l.Put(3, 2)
	l.Put(5, 0)
	step(1, 0)
	if got := l.Rest(); got != 8 {
		t.Errorf("Rest is %d, want 8", got)
	}
	step(1, 0)
	if got := l.Rest(); got != 0 {
		t.Errorf("Rest again is %d", got)
	}
}

// FuzzLedger: each byte of input is credited once, never before the output that it
// became, and all of it when all of the output is.
func FuzzLedger(f *testing.F) {
	f.Add([]byte{0x43, 0x80, 0x20, 0xc1, 0x23, 0x81})
	f.Add([]byte{0x00, 0x0f, 0xf0, 0x90})
	f.Fuzz(func(t *testing.T, script []byte) {
		var l Ledger
		var in, out, credited, taken int
		var ends []struct{ in, out int } // the sums after each Put
		for _, b := range script {
			if b < 0x80 {
				i, o := int(b>>4), int(b&15)
				l.Put(i, o)
				in, out = in+i, out+o
				ends = append(ends, struct{ in, out int }{in, out})
				continue
			}
			n := min(int(b&0x7f), out-taken)
			taken += n
			credited += l.Credit(n)
			due := 0
			for _, e := range ends {
				if e.out <= taken {
					due = e.in
				}
			}
			if credited > due {
				t.Fatalf("%d credited, %d due, of %x", credited, due, script)
			}
		}
		credited += l.Credit(out - taken)
		if rest := l.Rest(); credited+rest != in {
			t.Errorf("%d credited and %d left of %d, of %x", credited, rest, in, script)
		}
	})
}

// TestKeep: an assembler's input is credited at once while nothing waits, and else when
// nothing waits any more.
func TestKeep(t *testing.T) {
	var l Ledger
	is := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %d, want %d", what, got, want)
		}
	}
	keep := func(n int) int {
		l.Keep(n)
		return l.Settle()
	}
	is("Keep(10)", keep(10), 10)
	l.Put(2, 20) // the rest of the message
	is("Keep(5)", keep(5), 0)
	is("Keep(6)", keep(6), 0)
	is("Credit(19)", l.Credit(19), 0)
	is("Credit(1)", l.Credit(1), 2+5+6)
	is("Keep(0)", keep(0), 0)
	l.Put(1, 1)
	is("Keep(3)", keep(3), 0)
	l.Put(4, 2) // with what was kept
	is("Credit(1)", l.Credit(1), 1)
	is("Credit(2)", l.Credit(2), 7)
	l.Put(1, 1)
	is("Keep(8)", keep(8), 0)
	is("Rest", l.Rest(), 9)
	is("Credit(1)", l.Credit(1), 0)
}

// FuzzKeep: each byte that was kept is credited once; never more than the last message
// is ahead of what was taken.
func FuzzKeep(f *testing.F) {
	f.Add([]byte{0x13, 0x45, 0x82, 0x21, 0xff})
	f.Add([]byte{0x41, 0x10, 0x4f, 0x83, 0x18, 0x90})
	f.Fuzz(func(t *testing.T, script []byte) {
		var l Ledger
		in, out, credited, taken := 0, 0, 0, 0
		for _, b := range script {
			switch n := int(b & 0x3f); b >> 6 {
			case 0:
				in += n
				l.Keep(n)
				got := l.Settle()
				if got > 0 && out > taken {
					t.Fatalf("%d credited while %d bytes wait, of %x", got, out-taken, script)
				}
				credited += got
			case 1:
				in, out = in+n, out+n/2+1
				l.Put(n, n/2+1)
			default:
				n = min(n, out-taken)
				taken += n
				credited += l.Credit(n)
			}
			if credited > in {
				t.Fatalf("%d credited of %d, of %x", credited, in, script)
			}
		}
		if credited += l.Credit(out - taken); credited != in {
			t.Errorf("%d credited of %d, of %x", credited, in, script)
		}
	})
}
