package grpcweb

import (
	"bytes"
	"encoding/base64"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

func TestTrailer(t *testing.T) {
	got := AppendTrailer(nil, []exchange.Field{{Name: "grpc-status", Value: "0"}, {Name: "x-a-bin", Value: "AQ"}})
	want := "\x80\x00\x00\x00\x1dgrpc-status: 0\r\nx-a-bin: AQ\r\n"
	if string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzText: several padded runs, cut anywhere, are what they say.
func FuzzText(f *testing.F) {
	f.Add([]byte("hello"), []byte("w"), uint8(3))
	f.Fuzz(func(t *testing.T, a, b []byte, piece uint8) {
		text := AppendText(AppendText(nil, a), b)
		var d TextDecoder
		var got []byte
		for rest := text; len(rest) > 0; {
			n := min(len(rest), int(piece)+1)
			var err error
			if got, err = d.Decode(got, rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if !d.Whole() || !bytes.Equal(got, append(append([]byte(nil), a...), b...)) {
			t.Errorf("got %q of %q", got, text)
		}
		var any TextDecoder
		if out, err := any.Decode(nil, a); err == nil && any.Whole() {
			if want, err := base64.StdEncoding.DecodeString(string(a)); err == nil && !bytes.Equal(out, want) {
				t.Errorf("%q: got %q, want %q", a, out, want)
			}
		}
	})
}

// FuzzTextCut: any text, sound or not, says the same however it is cut.
func FuzzTextCut(f *testing.F) {
	for _, s := range []string{"AAAA", "AA==AA==", "A\n\n\nAAA\n", "AAAA!!!!", "AA=A", "====", "AAAAA", "AAAA\r\nAAAA"} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, text []byte, piece uint8) {
		decode := func(n int) (string, bool, error) {
			var d TextDecoder
			var out []byte
			for rest := text; len(rest) > 0; {
				k := min(n, len(rest))
				var err error
				if out, err = d.Decode(out, rest[:k]); err != nil {
					return string(out), false, err
				}
				rest = rest[k:]
			}
			return string(out), d.Whole(), nil
		}
		o1, w1, e1 := decode(len(text) + 1)
		o2, w2, e2 := decode(int(piece) + 1)
		if o1 != o2 || w1 != w2 || e1 != e2 {
			t.Errorf("%q: whole %q %v %v, pieces %q %v %v", text, o1, w1, e1, o2, w2, e2)
		}
	})
}
