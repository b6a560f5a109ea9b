package transcode

import (
	"bytes"
	"encoding/json"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/sluice-rpc/sluice/internal/race"
)

// orderJSON returns the order of the benchmarks on one line, as programs send it.
func orderJSON(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(benchJSON)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDecodeAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	m, _ := benchMessage(t)
	buf := make([]byte, 0, 1<<12)
	for _, doc := range [][]byte{orderJSON(t), []byte(benchJSON)} {
		if n := testing.AllocsPerRun(100, func() {
			if _, err := m.AppendWire(buf, doc, nil); err != nil {
				t.Fatal(err)
			}
		}); n >= 1 {
			t.Errorf("%v allocations", n)
		}
		if n := testing.AllocsPerRun(100, func() {
			if _, err := m.AppendWire(nil, doc, nil); err != nil {
				t.Fatal(err)
			}
		}); n > 3 {
			t.Errorf("%v allocations without a buffer", n)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	m, want := benchMessage(b)
	doc := orderJSON(b)
	wire := make([]byte, 0, 1<<12)
	run := func(name string, decode func() ([]byte, error)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(doc)))
			for b.Loop() {
				if got, err := decode(); err != nil || len(got) != len(want) {
					b.Fatal(len(got), err)
				}
			}
		})
	}
	run("sluice", func() ([]byte, error) { return m.AppendWire(wire, doc, nil) })
	run("dynamicpb", func() ([]byte, error) {
		message := dynamicpb.NewMessage(m.desc)
		if err := protojson.Unmarshal(doc, message); err != nil {
			return nil, err
		}
		return proto.MarshalOptions{}.MarshalAppend(wire, message)
	})
	path, err := m.Path("address.city")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("path", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := path.AppendText(wire, "Köln"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Logf("%d bytes of JSON, %d on the wire", len(doc), len(want))
}
