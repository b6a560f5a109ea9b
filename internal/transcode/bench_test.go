package transcode

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/sluice-rpc/sluice/internal/race"
)

// benchJSON is an order as a shop may have it: 909 bytes on the wire.
const benchJSON = `{
	"id": "order-7f3a9c21-55d0-4f1e-9b7a-0e2d4c6b8a10",
	"number": "9007199254740993",
	"customer": "Zoë Müller-Lüdenscheidt",
	"status": "STATUS_PAID",
	"priority": "PRIORITY_HIGH",
	"items": [
		{"sku": "SKU-1001", "name": "Blue \"Ocean\" kettle", "quantity": 2, "price": 24.95, "tags": ["kitchen", "blue"], "status": "STATUS_SHIPPED"},
		{"sku": "SKU-1002", "name": "Notebook, dotted", "quantity": 10, "price": 3.5, "tags": ["paper"], "status": "STATUS_PENDING"},
		{"sku": "SKU-1003", "name": "Café press 1 l", "quantity": 1, "price": 39.9, "tags": ["kitchen", "coffee", "glass"]},
		{"sku": "SKU-1004", "name": "Cable\tUSB-C\n2 m", "quantity": 3, "price": 12.49, "tags": ["electronics"], "status": "STATUS_SHIPPED"},
		{"sku": "SKU-1005", "name": "Lamp", "quantity": 1, "price": 129, "tags": ["living", "light"], "status": "STATUS_PAID"}
	],
	"labels": {"channel": "web", "campaign": "winter-sale-2026", "region": "eu-central", "segment": "returning"},
	"stock": {"1001": "250", "1002": "-3"},
	"created": "2026-11-21T08:26:00.123456Z",
	"updated": "2026-11-21T09:00:00Z",
	"delay": "3600.500s",
	"weights": [0.5, 1.25, 3.14159, 1e-7, 12345.678, 2.5, 0.1, 99.99],
	"codes": [1, 2, 3, 500, 100000, -1, 42, 7],
	"signature": "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIyQlJicoKSor",
	"card": {"holder": "Z MUELLER", "token": "1234567890123456789", "month": 11, "year": 2029},
	"note": "Please ring twice; leave it with the neighbour on the second floor if nobody answers, and put a card with the name into the letter boxes. Thank you very much!",
	"gift": true,
	"total": 291.37,
	"discount": 0.15,
	"version": "17",
	"address": {"lines": ["Lange Straße 12", "3. OG links"], "city": "Berlin", "zip": "10115", "country": "DE"}
}`

// benchMessage returns the order, and its type.
func benchMessage(t testing.TB) (*Message, []byte) {
	t.Helper()
	m := testMessage(t, NewTypes(testSchema(t)), "sluice.test.shop.Order")
	in := dynamicpb.NewMessage(m.desc)
	if err := protojson.Unmarshal([]byte(benchJSON), in); err != nil {
		t.Fatal(err)
	}
	wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return m, wire
}

func TestEncodeAllocations(t *testing.T) {
	m, wire := benchMessage(t)
	compareEncode(t, m, wire, EncodeOptions{Deterministic: true})
	compareEncode(t, m, wire, EncodeOptions{})
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	for _, o := range []EncodeOptions{{}, {Deterministic: true}, {EmitDefaults: true, ProtoNames: true}, {Indent: "  "}} {
		buf := make([]byte, 0, 1<<14)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := m.AppendJSON(buf, wire, &o); err != nil {
				t.Fatal(err)
			}
		}); n >= 1 {
			t.Errorf("%+v: %v allocations", o, n)
		}
	}
}

// BenchmarkEncodeDescriptor has a message of which there is generated code: the
// descriptor of a file.
func BenchmarkEncodeDescriptor(b *testing.B) {
	fd, err := testSchema(b).FindFileByPath("shop.proto")
	if err != nil {
		b.Fatal(err)
	}
	wire, err := proto.Marshal(protodesc.ToFileDescriptorProto(fd))
	if err != nil {
		b.Fatal(err)
	}
	m := NewTypes(protoregistry.GlobalFiles).Message((&descriptorpb.FileDescriptorProto{}).ProtoReflect().Descriptor())
	compareEncode(b, m, wire, EncodeOptions{Deterministic: true})
	b.Run("sluice", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(wire)))
		var buf []byte
		for b.Loop() {
			if buf, err = m.AppendJSON(buf[:0], wire, &EncodeOptions{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, in := range map[string]proto.Message{
		"generated": &descriptorpb.FileDescriptorProto{},
		"dynamicpb": dynamicpb.NewMessage(m.desc),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(wire)))
			var buf []byte
			for b.Loop() {
				proto.Reset(in)
				if err := proto.Unmarshal(wire, in); err != nil {
					b.Fatal(err)
				}
				if buf, err = (protojson.MarshalOptions{}).MarshalAppend(buf[:0], in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	m, wire := benchMessage(b)
	b.Logf("%d bytes on the wire", len(wire))
	run := func(name string, wire []byte, o EncodeOptions) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(wire)))
			var buf []byte
			for b.Loop() {
				var err error
				if buf, err = m.AppendJSON(buf[:0], wire, &o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("sluice", wire, EncodeOptions{})
	run("deterministic", wire, EncodeOptions{Deterministic: true})
	run("indented", wire, EncodeOptions{Indent: "  "})
	run("scattered", slices.Concat(wire, wire), EncodeOptions{})
	b.Run("dynamicpb", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(wire)))
		var buf []byte
		for b.Loop() {
			in := dynamicpb.NewMessage(m.desc)
			if err := proto.Unmarshal(wire, in); err != nil {
				b.Fatal(err)
			}
			var err error
			if buf, err = (protojson.MarshalOptions{}).MarshalAppend(buf[:0], in); err != nil {
				b.Fatal(err)
			}
		}
	})
}
