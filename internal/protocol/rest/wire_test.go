package rest

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// TestWireFields: what is no message ends the walk, and what came before it counts.
func TestWireFields(t *testing.T) {
	b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "a")
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), 300)
	b = protowire.AppendGroup(protowire.AppendTag(b, 3, protowire.StartGroupType), 3, []byte{0x08, 1})
	b = protowire.AppendFixed32(protowire.AppendTag(b, 4, protowire.Fixed32Type), 7)
	want := []string{`1 "a" true`, `2 "" false`, `3 "" false`, `4 "" false`}
	ends := map[int]int{3: 1, 6: 2, 10: 3, 15: 4} // of the fields
	if len(b) != 15 {
		t.Fatalf("%x", b)
	}
	whole := 0
	for n := range len(b) + 1 {
		whole = max(whole, ends[n])
		var got []string
		for num, v := range wireFields(b[:n]) {
			s, ok := v.bytes()
			got = append(got, fmt.Sprintf("%d %q %v", num, s, ok))
		}
		if strings.Join(got, ",") != strings.Join(want[:whole], ",") {
			t.Errorf("%d bytes: %q", n, got)
		}
	}
	for range wireFields([]byte{0x00, 0x08, 1}) {
		t.Error("a field of number 0")
	}
}
