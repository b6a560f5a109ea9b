package h2

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/sluice-rpc/sluice/internal/race"
)

// decoded checks a section of an encoder against x/net's decoder.
// inStatic says whether the static table has a field.
func inStatic(name, value string) bool {
	return value != "" && slices.Contains(staticList[:], [2]string{name, value})
}

func decoded(t *testing.T, dec *hpack.Decoder, b []byte, want []hpack.HeaderField) {
	t.Helper()
	got, err := dec.DecodeFull(b)
	if err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got  %v\nwant %v", got, want)
	}
}

func TestEncoder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	names := []string{":status", ":path", "authorization", "x-a", "x-b", "grpc-timeout", "content-type", "a-name-that-is-rather-long-for-a-name"}
	enc, dec := newEncoder(), hpack.NewDecoder(4096, nil)
	total, saved := 0, 0
	for range map[bool]int{false: 20_000, true: 5000}[race.Enabled] {
		if r.IntN(100) == 0 {
			n := r.IntN(5000)
			enc.setLimit(n)
			if r.IntN(2) == 0 {
				enc.setLimit(r.IntN(5000))
			}
		}
		enc.begin()
		var want []hpack.HeaderField
		for range r.IntN(20) {
			f := hpack.HeaderField{Name: names[r.IntN(len(names))], Value: fmt.Sprint(r.IntN(1 + r.IntN(50))), Sensitive: r.IntN(20) == 0}
			if r.IntN(50) == 0 {
				f.Value = strings.Repeat("v", r.IntN(5000))
			}
			want = append(want, f)
			enc.field(f.Name, f.Value, f.Sensitive)
			total += len(f.Name) + len(f.Value) + 2
		}
		saved += len(enc.b)
		for i := range want { // an indexed field is not sensitive for the decoder
			static := inStatic(want[i].Name, want[i].Value)
			want[i].Sensitive = want[i].Sensitive && !static
		}
		decoded(t, dec, enc.b, want)
		if enc.size > enc.limit {
			t.Fatalf("the table has %d bytes, the limit is %d", enc.size, enc.limit)
		}
	}
	t.Logf("%d bytes of literals became %d", total, saved)
}

// TestEncoderRepeats: what is said again and again becomes one byte a field, also
// while values that are said once come in between.
func TestEncoderRepeats(t *testing.T) {
	enc := newEncoder()
	for i := range 100 {
		enc.begin()
		enc.field("x-tenant", "acme", false)
		enc.field("traceparent", fmt.Sprintf("00-%032x-01", i), false)
		repeated := len(enc.b)
		if i > 2 && repeated > 1+1+11+2+38+3 {
			t.Fatalf("call %d: %d bytes", i, repeated)
		}
	}
	if enc.next != 1 {
		t.Errorf("%d fields were indexed, want 1", enc.next)
	}
}

func FuzzEncoder(f *testing.F) {
	f.Add([]byte("\x03\x04abcdefg\x03\x04abcdefg"))
	f.Fuzz(func(t *testing.T, in []byte) {
		enc, dec := newEncoder(), hpack.NewDecoder(4096, nil)
		for len(in) > 4 {
			if in[0] == 255 {
				enc.setLimit(int(binary.BigEndian.Uint16(in[1:])))
			}
			n, v := int(in[1]%16), int(in[2])
			sensitive := in[3]&1 == 1
			in = in[4:]
			n = min(n, len(in))
			name := string(in[:n])
			in = in[n:]
			v = min(v, len(in))
			value := string(in[:v])
			in = in[v:]
			enc.begin()
			enc.field(name, value, sensitive)
			static := inStatic(name, value)
			decoded(t, dec, enc.b, []hpack.HeaderField{{Name: name, Value: value, Sensitive: sensitive && !static}})
		}
	})
}

func BenchmarkEncoder(b *testing.B) {
	enc := newEncoder()
	b.ReportAllocs()
	for b.Loop() {
		enc.begin()
		enc.field(":method", "POST", false)
		enc.field(":path", "/bench.Echo/Unary", false)
		enc.field("authorization", "Bearer abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789", false)
		enc.field("content-type", "application/grpc", false)
		enc.field("te", "trailers", false)
		enc.field("grpc-timeout", "5000m", false)
		for range 8 {
			enc.field("x-tenant", "acme", false)
		}
	}
}

// TestStaticName finds every name of the static table, and no other.
func TestStaticName(t *testing.T) {
	for i, f := range staticList {
		e := staticName(f[0])
		if e.name != f[0] || e.index == 0 || int(e.index) > i+1 || staticList[e.index-1][0] != f[0] {
			t.Errorf("%s: found %+v", f[0], e)
		}
		if other := staticName(f[0] + "x"); other.index != 0 {
			t.Errorf("%sx: found %+v", f[0], other)
		}
	}
	if staticName("").index != 0 {
		t.Error("the empty name is found")
	}
}
