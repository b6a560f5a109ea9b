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
