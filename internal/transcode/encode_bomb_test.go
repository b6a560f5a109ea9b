package transcode

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// prefixed is a field of bytes, its number below 16.
func prefixed(number protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), content)
}

func varintField(number protowire.Number, x uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), x)
}

func repeatBytes(n int, pieces ...[]byte) []byte {
	var out []byte
	for i := range n {
		out = append(out, pieces[i%len(pieces)]...)
	}
	return out
}

// TestEncodeBombs: what a peer sends may cost time in proportion to its size, and little
// memory, whatever it does with the ways that the wire has to say the same.
func TestEncodeBombs(t *testing.T) {
	sequential(t)
	size := 1 << 19
	types := NewTypes(testSchema(t))
	tests := []struct {
		name    string
		message protoreflect.FullName
		wire    func() []byte
	}{
		{"a message in many pieces", "sluice.test.p3.Tree", func() []byte {
			return repeatBytes(size/4, prefixed(1, varintField(5, 7)))
		}},
		{"a deep message in many pieces", "sluice.test.p3.Tree", func() []byte {
			piece := varintField(5, 7)
			for range MaxDepth - 1 {
				piece = prefixed(1, piece)
			}
			return repeatBytes(size/len(piece), piece)
		}},
		{"each level in two pieces", "sluice.test.p3.Tree", func() []byte {
			wire := repeatBytes(size/2, varintField(5, 7))
			for range MaxDepth - 1 {
				wire = append(prefixed(1, wire), prefixed(1, varintField(5, 8))...)
			}
			return wire
		}},
		{"each level in two pieces, the long one last", "sluice.test.p3.Tree", func() []byte {
			wire := repeatBytes(size/2, varintField(5, 7))
			for range MaxDepth - 1 {
				wire = append(prefixed(2, varintField(5, 8)), prefixed(2, wire)...)
			}
			return wire
		}},
		{"groups in groups", "sluice.test.ed.Mix", func() []byte {
			wire := repeatBytes(size/2, varintField(1, 7))
			for range MaxDepth - 1 {
				wire = protowire.AppendGroup(protowire.AppendTag(nil, 13, protowire.StartGroupType), 13, wire)
				wire = append(wire, varintField(1, 1)...)
				wire = append(wire, varintField(1, 2)...)
			}
			return wire
		}},
		{"groups in groups of a oneof that are replaced", "sluice.test.ed.Mix", func() []byte {
			wire := repeatBytes(size/2, varintField(1, 7))
			for range MaxDepth - 1 {
				wire = protowire.AppendGroup(protowire.AppendTag(nil, 19, protowire.StartGroupType), 19, wire)
				wire = append(wire, protowire.AppendVarint(protowire.AppendTag(nil, 20, protowire.VarintType), 1)...)
			}
			return wire
		}},
		{"unknown groups", "sluice.test.ed.Mix", func() []byte {
			piece := varintField(1, 7)
			for range MaxDepth - 1 {
				piece = protowire.AppendGroup(protowire.AppendTag(nil, 3000, protowire.StartGroupType), 3000, piece)
			}
			return repeatBytes(size/len(piece), piece, varintField(1, 1))
		}},
		{"lists field by field", "sluice.test.p3.Lists", func() []byte {
			return repeatBytes(size/2, varintField(1, 1), varintField(2, 1), varintField(5, 1))
		}},
		{"a oneof that changes its mind", "sluice.test.p3.Oneofs", func() []byte {
			return repeatBytes(size/3, varintField(2, 1), varintField(3, 1), prefixed(7, nil), prefixed(10, varintField(2, 0)))
		}},
		{"entries without a key", "sluice.test.p3.Maps", func() []byte {
			return repeatBytes(size/2, prefixed(12, nil))
		}},
		{"entries with the same key", "sluice.test.p3.Maps", func() []byte {
			return repeatBytes(size/4, prefixed(2, varintField(1, 5)))
		}},
		{"entries in two places", "sluice.test.p3.Maps", func() []byte {
			return repeatBytes(size/4, prefixed(2, varintField(1, 5)), prefixed(2, varintField(1, 4)), prefixed(1, nil))
		}},
		{"entries in descending order", "sluice.test.p3.Maps", func() []byte {
			var wire []byte
			for i := uint64(size / 8); i > 0; i-- {
				wire = append(wire, prefixed(10, varintField(1, i))...)
			}
			return wire
		}},
		{"a large entry among small ones", "sluice.test.p3.Maps", func() []byte {
			large := append(repeatBytes(size/4, varintField(3, 0)), varintField(1, 1000)...)
			var wire []byte
			for i := range uint64(size / 16) {
				wire = append(wire, prefixed(10, varintField(1, i*7919%1000003))...)
				if int(i) == size/32 {
					wire = append(wire, prefixed(10, large)...)
				}
			}
			return wire
		}},
		{"long keys that begin alike", "sluice.test.p3.Maps", func() []byte {
			var wire []byte
			key := []byte(strings.Repeat("k", 2048))
			for i := range size / len(key) {
				key[len(key)-1], key[len(key)-2] = byte('z'-i%20), byte('z'-i/20%20)
				wire = append(wire, prefixed(12, prefixed(1, key))...)
			}
			return wire
		}},
		{"entries with many values", "sluice.test.p3.Maps", func() []byte {
			return prefixed(13, repeatBytes(size/4, prefixed(2, varintField(5, 1))))
		}},
		{"many small messages with a field twice", "sluice.test.p2.All", func() []byte {
			piece := append(varintField(1, 1), varintField(1, 0)...)
			piece = protowire.AppendBytes(protowire.AppendTag(nil, 105, protowire.BytesType), piece)
			return repeatBytes(size/len(piece), piece)
		}},
		{"a wide message in many pieces", "sluice.test.wide.Wide", func() []byte {
			return repeatBytes(size/4, prefixed(3, varintField(1, 1)), prefixed(3, varintField(6, 1)))
		}},
		{"structs", "google.protobuf.Value", func() []byte {
			number := append(protowire.AppendTag(nil, 2, protowire.Fixed64Type), make([]byte, 8)...)
			wire := repeatBytes(size/9, number)
			for range MaxDepth - 1 {
				wire = prefixed(6, append(prefixed(1, wire), prefixed(1, varintField(4, 1))...))
				wire = append(wire, prefixed(6, nil)...)
			}
			return wire
		}},
	}
	for _, tt := range tests {
		for _, o := range []EncodeOptions{{}, {Deterministic: true, EmitDefaults: true}} {
			t.Run(tt.name, func(t *testing.T) {
				m := testMessage(t, types, tt.message)
				wire := tt.wire()
				dst := make([]byte, 0, 16*size)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				start := time.Now()
				out, err := m.AppendJSON(dst, wire, &o)
				took := time.Since(start)
				runtime.ReadMemStats(&after)
				allocated := after.TotalAlloc - before.TotalAlloc
				t.Logf("%d bytes: %v, %d bytes allocated", len(wire), took, allocated)
				if err != nil {
					t.Fatal(err)
				}
				if took > 10*time.Second { // where the work is squared, it is minutes
					t.Errorf("it took %v", took)
				}
				if cap(out) == cap(dst) && allocated > 4*uint64(len(wire)) {
					t.Errorf("%d bytes of input, %d bytes allocated", len(wire), allocated)
				}
			})
		}
	}
}
