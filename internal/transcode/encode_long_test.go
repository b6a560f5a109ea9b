package transcode

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// TestLongString: a string over the limit is refused before out has grown for it, and one
// at the limit is not.
func TestLongString(t *testing.T) {
	m := testMessage(t, NewTypes(testSchema(t)), "sluice.test.p3.Scalars")
	var s []byte
	for i := range 2 * longString {
		s = append(s, "\x00\x1f\"\\\n\r\t\b\fa/\x7f"[i%12])
	}
	if got, _ := appendString(nil, s); quotedLen(s) != len(got) {
		t.Errorf("quotedLen is %d, want %d", quotedLen(s), len(got))
	}
	fd := m.desc.Fields().ByName("f_string")
	wire := protowire.AppendBytes(protowire.AppendTag(nil, fd.Number(), protowire.BytesType), s)
	whole, err := m.AppendJSON(nil, wire, &EncodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.AppendJSON(nil, wire, &EncodeOptions{MaxOutput: len(whole)}); err != nil || !bytes.Equal(got, whole) {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := m.AppendJSON(nil, wire, &EncodeOptions{MaxOutput: len(whole) - 1}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("over the limit: %v", err)
	}
	large := protowire.AppendBytes(protowire.AppendTag(nil, fd.Number(), protowire.BytesType), make([]byte, 1<<20))
	out := make([]byte, 0, 1000)
	if n := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			_, _ = m.AppendJSON(out, large, &EncodeOptions{MaxOutput: 1000})
		}
	}).AllocedBytesPerOp(); n > 10000 {
		t.Errorf("%d bytes are allocated for a string over the limit", n)
	}
}
