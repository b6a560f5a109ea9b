package h2

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// A section is what a decoder said of a field section.
type section struct {
	fields []hpack.HeaderField
	err    error
}

// decodeAll gives field sections to a decoder, each cut at some places.
func decodeAll(d *decoder, got *[]hpack.HeaderField, sections [][]byte, cut func(n int) int) (out []section) {
	for _, s := range sections {
		*got = nil
		err := error(nil)
		for rest := s; len(rest) > 0 && err == nil; {
			n := cut(len(rest))
			err = d.write(bytes.Clone(rest[:n]))
			rest = rest[n:]
		}
		if err == nil {
			err = d.end()
		}
		out = append(out, section{*got, err})
		if err != nil {
			break
		}
	}
	return out
}

func decodeOurs(sections [][]byte, cut func(n int) int) []section {
	var got []hpack.HeaderField
	d := newDecoder(1<<14, func(f decodedField) {
		got = append(got, hpack.HeaderField{Name: f.name, Value: f.value, Sensitive: f.sensitive})
	})
	return decodeAll(d, &got, sections, cut)
}

func decodeTheirs(sections [][]byte) (out []section) {
	var got []hpack.HeaderField
	d := hpack.NewDecoder(4096, func(f hpack.HeaderField) { got = append(got, f) })
	d.SetMaxStringLength(1 << 14)
	for _, s := range sections {
		got = nil
		_, err := d.Write(s)
		if err == nil {
			err = d.Close()
		}
		out = append(out, section{got, err})
		if err != nil {
			break
		}
	}
	return out
}

func whole(n int) int  { return n }
func bytewise(int) int { return 1 }

func sameSections(a, b []section) bool {
	return slices.EqualFunc(a, b, func(a, b section) bool { return (a.err == nil) == (b.err == nil) && slices.Equal(a.fields, b.fields) })
}

// TestDecoder compares with x/net's decoder what x/net's encoder and ours have written.
func TestDecoder(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	text := func() string {
		n := r.IntN(40)
		if r.IntN(20) == 0 {
			n = r.IntN(2000)
		}
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(' ' + r.IntN(95))
			if r.IntN(50) == 0 {
				b[i] = byte(r.Uint32())
			}
		}
		return string(b)
	}
	var buf bytes.Buffer
	theirs, ours := hpack.NewEncoder(&buf), newEncoder()
	var sections, sections2 [][]byte
	for i := range 2000 {
		buf.Reset()
		if i%100 == 99 {
			theirs.SetMaxDynamicTableSize(uint32(r.IntN(4097)))
		}
		ours.begin()
		for range r.IntN(20) {
			name, value := fmt.Sprintf("x-%d", r.IntN(60)), text()
			if r.IntN(3) == 0 {
				name = staticList[r.IntN(staticEntries)][0]
			}
			if r.IntN(2) == 0 {
				value = fmt.Sprint(r.IntN(5))
			}
			sensitive := r.IntN(10) == 0
			_ = theirs.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: sensitive})
			ours.field(name, value, sensitive)
		}
		sections = append(sections, bytes.Clone(buf.Bytes()))
		sections2 = append(sections2, bytes.Clone(ours.b))
	}
	for _, all := range [][][]byte{sections, sections2} {
		want := decodeTheirs(all)
		if len(want) != len(all) {
			t.Fatalf("the oracle has read %d sections", len(want))
		}
		for name, cut := range map[string]func(int) int{"whole": whole, "bytewise": bytewise, "random": func(n int) int { return 1 + r.IntN(n) }} {
			if got := decodeOurs(all, cut); !sameSections(got, want) {
				t.Errorf("%s: differs", name)
			}
		}
	}
}

// TestDecoderErrors has field sections that are none.
func TestDecoderErrors(t *testing.T) {
	for name, s := range map[string]string{
		"index 0":                 "\x80",
		"index behind the tables": "\xbe",
		"name behind the tables":  "\x7e\x01a",
		"huge index":              "\xff\xff\xff\xff\xff\xff\x01",
		"huge table":              "\x3f\xe2\x1f",
		"table size after fields": "\x82\x20",
		"string too long":         "\x40\x7f\xff\xff\x7f",
		"huffman EOS":             "\x40\x84\xff\xff\xff\xff\x00",
		"huffman padding of zero": "\x40\x81\x00\x00",
		"huffman padding of 8":    "\x40\x82\x1f\xff\x00",
		"incomplete":              "\x40\x05abc",
		"incomplete integer":      "\xff",
	} {
		for _, cut := range []func(int) int{whole, bytewise} {
			got := decodeOurs([][]byte{[]byte(s)}, cut)
			if got[0].err == nil {
				t.Errorf("%s: no error, got %q", name, got[0].fields)
			}
		}
	}
}

// TestDecoderKeeps shows that strings are not overwritten by later ones.
func TestDecoderKeeps(t *testing.T) {
	var buf bytes.Buffer
	enc := hpack.NewEncoder(&buf)
	var got []string
	d := newDecoder(1<<14, func(f decodedField) { got = append(got, f.value) })
	var want []string
	for i := range 500 {
		buf.Reset()
		v := strings.Repeat(string(rune('a'+i%26)), i)
		want = append(want, v)
		_ = enc.WriteField(hpack.HeaderField{Name: "n", Value: v})
		if err := d.write(buf.Bytes()); err != nil {
			t.Fatal(err)
		}
		clear(buf.Bytes())
		if err := d.end(); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, want) {
		t.Error("differs")
	}
}

// FuzzDecoder compares with x/net's decoder. Ours refuses integers of more bytes than
// anybody needs, and is stricter on where the table's size may change, and how often
// (RFC 7541, section 4.2); there it may differ.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte("\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"), uint16(3), uint8(2))
	f.Add([]byte("\x40\x0acustom-key\x0dcustom-header\xbe\x7e\x03abc\x20"), uint16(20), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, split uint16, step uint8) {
		at := min(int(split), len(b))
		sections := [][]byte{b[:at], b[at:]}
		got := decodeOurs(sections, whole)
		cut := decodeOurs(sections, func(n int) int { return min(n, int(step)+1) })
		if !sameSections(got, cut) {
			t.Fatalf("cut: %v, whole: %v", cut, got)
		}
		want := decodeTheirs(sections)
		last := got[len(got)-1].err
		if errors.Is(last, errTableSize) || errors.Is(last, errInteger) || updates(b) > 0 && want[len(want)-1].err != nil {
			return
		}
		if !sameSections(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

// updates counts what may be changes of the table's size.
func updates(b []byte) (n int) {
	for _, c := range b {
		if c&0xe0 == 0x20 {
			n++
		}
	}
	return n
}

// BenchmarkDecoder decodes a request with values that differ from call to call, as an
// encoder that indexes everything writes them.
func BenchmarkDecoder(b *testing.B) {
	var buf bytes.Buffer
	enc := hpack.NewEncoder(&buf)
	r := rand.New(rand.NewPCG(5, 6))
	token := func(n int) string {
		s := make([]byte, n)
		for i := range s {
			s[i] = "0123456789abcdef"[r.IntN(16)]
		}
		return string(s)
	}
	var sections [][]byte
	for range 256 {
		buf.Reset()
		for _, f := range [][2]string{
			{":method", "POST"}, {":scheme", "http"}, {":path", "/grpc.testing.TestService/UnaryCall"}, {":authority", "echo.example.com"},
			{"content-type", "application/grpc"}, {"te", "trailers"}, {"user-agent", "grpc-go/1.85.0"}, {"grpc-accept-encoding", "gzip"},
			{"grpc-timeout", token(8) + "u"}, {"authorization", "Bearer eyJ" + token(200)}, {"traceparent", "00-" + token(48) + "-01"},
			{"x-request-id", token(16)}, {"x-tenant", "tenant-17"}, {"x-region", "eu-central-1"},
		} {
			_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		sections = append(sections, bytes.Clone(buf.Bytes()))
	}
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		d := newDecoder(1<<14, func(decodedField) {})
		for i := 0; b.Loop(); i++ {
			if err := d.write(sections[i%len(sections)]); err != nil {
				b.Fatal(err)
			}
			_ = d.end()
		}
	})
	b.Run("x/net", func(b *testing.B) {
		b.ReportAllocs()
		d := hpack.NewDecoder(4096, func(hpack.HeaderField) {})
		for i := 0; b.Loop(); i++ {
			if _, err := d.Write(sections[i%len(sections)]); err != nil {
				b.Fatal(err)
			}
			_ = d.Close()
		}
	})
}

// TestInvalidValue tries each byte at each place.
func TestInvalidValue(t *testing.T) {
	for length := 1; length < 20; length++ {
		for at := range length {
			for c := range 256 {
				v := []byte(strings.Repeat("é", 10)[:length])
				v[at] = byte(c)
				edge := at == 0 || at == length-1
				want := c < ' ' && c != '\t' || c == 0x7f || edge && (c == ' ' || c == '\t')
				if got := invalidValue(string(v)) != ""; got != want {
					t.Fatalf("%q: invalid is %t", v, got)
				}
			}
		}
	}
}
