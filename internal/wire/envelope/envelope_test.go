package envelope

import (
	"errors"
	"testing"
)

// FuzzScanner: cut anywhere, the result is the same.
func FuzzScanner(f *testing.F) {
	f.Add(Append(Append([]byte{0, 0, 0, 0, 1, 'x'}, 1, 3), 0, 9), uint8(1), true, false)
	f.Fuzz(func(t *testing.T, in []byte, piece uint8, encoded, single bool) {
		scan := func(n int) (int, int, bool, error) {
			s := Scanner{Limit: 1000, Encoded: encoded, Single: single}
			total := 0
			rest := in
			for len(rest) > 0 {
				k := min(n, len(rest))
				m, err := s.Scan(rest[:k])
				total += m
				if err != nil {
					// Bytes of the refused prefix may have passed in an earlier piece.
					return 0, s.Messages(), false, err
				}
				rest = rest[k:]
			}
			return total, s.Messages(), s.Between(), nil
		}
		n1, m1, b1, e1 := scan(len(in) + 1)
		n2, m2, b2, e2 := scan(int(piece) + 1)
		if n1 != n2 || m1 != m2 || b1 != b2 || !errors.Is(e1, e2) {
			t.Errorf("whole: %d %d %v %v, pieces: %d %d %v %v", n1, m1, b1, e1, n2, m2, b2, e2)
		}
	})
}

func TestScannerRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		s    Scanner
		in   []byte
		want error
	}{
		"five bytes that announce 4 GiB": {Scanner{Limit: 4 << 20}, []byte{0, 0xff, 0xff, 0xff, 0xff}, ErrTooLarge},
		"at the limit":                   {Scanner{Limit: 3}, []byte{0, 0, 0, 0, 3}, nil},
		"above the limit":                {Scanner{Limit: 2}, []byte{0, 0, 0, 0, 3}, ErrTooLarge},
		"unknown flags":                  {Scanner{Limit: 9, Encoded: true}, []byte{2, 0, 0, 0, 0}, ErrFlags},
		"not encoded":                    {Scanner{Limit: 9}, []byte{1, 0, 0, 0, 0}, ErrNotEncoded},
		"encoded":                        {Scanner{Limit: 9, Encoded: true}, []byte{1, 0, 0, 0, 0}, nil},
		"two":                            {Scanner{Limit: 9, Single: true}, make([]byte, 10), ErrTooMany},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := test.s.Scan(test.in); !errors.Is(err, test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// FuzzHold: what passes is the same however the input is cut, and no part of a refused
// prefix is in it.
func FuzzHold(f *testing.F) {
	f.Add(Append(Append([]byte{0, 0, 0, 0, 1, 'x'}, 1, 3), 0, 9), uint8(1), uint8(2), true, false)
	f.Add([]byte{0, 0, 0, 0, 1, 'x', 2, 0, 0, 0, 0}, uint8(4), uint8(0), true, true)
	f.Add([]byte{0, 0, 0, 0, 1, 'a', 0, 0}, uint8(3), uint8(2), true, true)
	f.Fuzz(func(t *testing.T, in []byte, first, piece uint8, encoded, single bool) {
		scan := func(first, n int) (string, int, bool, error) {
			s := Scanner{Limit: 1000, Encoded: encoded, Single: single}
			var out []byte
			rest := in
			for k := first; len(rest) > 0; k = n {
				k = min(k, len(rest))
				lead, m, err := s.Hold(rest[:k])
				if len(lead) > 0 && m == 0 {
					t.Fatal("a lead with nothing after it")
				}
				out = append(append(out, lead...), rest[:m]...)
				if err != nil {
					return string(out), s.Messages(), false, err
				}
				rest = rest[k:]
			}
			return string(out), s.Messages(), s.Between(), nil
		}
		o1, m1, b1, e1 := scan(len(in)+1, 1)
		o2, m2, b2, e2 := scan(int(first)+1, int(piece)+1)
		if o1 != o2 || m1 != m2 || b1 != b2 || !errors.Is(e1, e2) {
			t.Errorf("whole: %q %d %v %v, pieces: %q %d %v %v", o1, m1, b1, e1, o2, m2, b2, e2)
		}
		whole := Scanner{Limit: 1000, Encoded: encoded, Single: single}
		if n, err := whole.Scan(in); err != nil && o1 != string(in[:n]) || len(o1) > n {
			t.Errorf("%q passed of %q", o1, in)
		}
	})
}
