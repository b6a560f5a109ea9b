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
