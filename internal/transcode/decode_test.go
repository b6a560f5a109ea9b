package transcode

import (
	"bytes"
	"errors"
	"flag"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/sluice-rpc/sluice/internal/race"
)

// wireOracle compares AppendWire with protojson and dynamicpb.
type wireOracle struct {
	types *Types
	dyn   *dynamicpb.Types
}

func newWireOracle(t testing.TB) *wireOracle {
	files := testSchema(t)
	return &wireOracle{types: NewTypes(files), dyn: dynamicpb.NewTypes(files)}
}

// message returns what protojson makes of a document.
func (o *wireOracle) message(md protoreflect.MessageDescriptor, doc []byte, discard bool) (proto.Message, error) {
	m := dynamicpb.NewMessage(md)
	err := protojson.UnmarshalOptions{DiscardUnknown: discard, Resolver: o.dyn, RecursionLimit: MaxDepth}.Unmarshal(doc, m)
	return m, err
}

// parse reads wire bytes.
func (o *wireOracle) parse(md protoreflect.MessageDescriptor, wire []byte) (proto.Message, error) {
	m := dynamicpb.NewMessage(md)
	return m, proto.UnmarshalOptions{Resolver: o.dyn, AllowPartial: true}.Unmarshal(wire, m)
}

// canonical writes the contents of each Any in one order.
func (o *wireOracle) canonical(m protoreflect.Message) error {
	if m.Descriptor().FullName() == "google.protobuf.Any" {
		fds := m.Descriptor().Fields()
		url := m.Get(fds.ByNumber(1)).String()
		if url == "" {
			return nil
		}
		mt, err := o.dyn.FindMessageByURL(url)
		if err != nil {
			return err
		}
		inner, err := o.parse(mt.Descriptor(), m.Get(fds.ByNumber(2)).Bytes())
		if err != nil {
			return err
		}
		if err := o.canonical(inner.ProtoReflect()); err != nil {
			return err
		}
		b, err := proto.MarshalOptions{Deterministic: true, AllowPartial: true}.Marshal(inner)
		if len(b) > 0 {
			m.Set(fds.ByNumber(2), protoreflect.ValueOfBytes(b))
		}
		return err
	}
	var err error
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				err = o.canonical(v.Message())
				return err == nil
			})
		case fd.IsList() && fd.Message() != nil:
			for i := 0; i < v.List().Len() && err == nil; i++ {
				err = o.canonical(v.List().Get(i).Message())
			}
		case !fd.IsMap() && !fd.IsList() && fd.Message() != nil:
			err = o.canonical(v.Message())
		}
		return err == nil
	})
	return err
}

// check compares what both make of a document, and returns whether they took it.
func (o *wireOracle) check(t testing.TB, md protoreflect.MessageDescriptor, doc []byte, discard bool) bool {
	t.Helper()
	want, wantErr := o.message(md, doc, discard)
	prefix := []byte("prefix")
	got, err := o.types.Message(md).AppendWire(prefix[:len(prefix):len(prefix)], doc, &DecodeOptions{DiscardUnknown: discard})
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%s, discard %v, %s:\n got error %v\nwant error %v", md.FullName(), discard, doc, err, wantErr)
	}
	if !bytes.HasPrefix(got, prefix) {
		t.Fatalf("%s, %s: what was there is gone: %q", md.FullName(), doc, got)
	}
	got = got[len(prefix):]
	if err != nil {
		var je *JSONError
		if !errors.As(err, &je) || je.Offset < 0 || je.Offset > len(doc) || je.Reason == "" || len(got) > 0 {
			t.Fatalf("%s, %s: error %#v, wire %x", md.FullName(), doc, err, got)
		}
		return false
	}
	message, err := o.parse(md, got)
	if err != nil {
		t.Fatalf("%s, %s: wire %x: %v", md.FullName(), doc, got, err)
	}
	if len(got) != proto.Size(want) && len(doc) < muchInput {
		t.Fatalf("%s, %s: %d bytes of wire %x\nwant %d: %v", md.FullName(), doc, len(got), got, proto.Size(want), want)
	}
	if err := errors.Join(o.canonical(message.ProtoReflect()), o.canonical(want.ProtoReflect())); err != nil {
		t.Fatalf("%s, %s: %v", md.FullName(), doc, err)
	}
	if !proto.Equal(message, want) {
		t.Fatalf("%s, %s:\n got %v\nwant %v", md.FullName(), doc, message, want)
	}
	return true
}

// documents is how many random documents TestAppendWireRandom makes: go test -documents=100000.
var documents = flag.Int("documents", map[bool]int{false: 5000, true: 500}[race.Enabled], "random documents for TestAppendWireRandom")

// TestAppendWireRandom compares random documents, as they are and broken.
func TestAppendWireRandom(t *testing.T) {
	o := newWireOracle(t)
	n := *documents
	taken, refused := 0, 0
	for seed := range n {
		g := newJSONGen(o.types.files, uint64(seed))
		if seed%2 == 1 {
			g.wrong = 0.02
		}
		md := g.messages[g.IntN(len(g.messages))]
		doc := g.json(md, 1+g.IntN(4))
		for i := range 3 {
			if i > 0 {
				doc = g.mutate(doc)
			}
			if o.check(t, md, doc, seed%4 >= 2) {
				taken++
			} else {
				refused++
			}
		}
	}
	if taken < n/2 || refused < n/2 {
		t.Errorf("%d documents were taken, %d refused: not enough of one", taken, refused)
	}
	t.Logf("%d taken, %d refused", taken, refused)
}

func protoName(name string) protoreflect.FullName { return protoreflect.FullName(name) }

// dynamicString returns a StringValue.
func dynamicString(o *wireOracle, s string) proto.Message {
	mt, err := o.dyn.FindMessageByName("google.protobuf.StringValue")
	if err != nil {
		panic(err)
	}
	m := mt.New()
	m.Set(m.Descriptor().Fields().ByNumber(1), protoreflect.ValueOfString(s))
	return m.Interface()
}

// TestRoundTrip goes from JSON to the wire, back to JSON, and to the wire again.
func TestRoundTrip(t *testing.T) {
	o := newWireOracle(t)
	for seed := range 2000 {
		g := newJSONGen(o.types.files, uint64(seed))
		md := g.messages[g.IntN(len(g.messages))]
		m := o.types.Message(md)
		first, err := m.AppendWire(nil, g.json(md, 3), nil)
		if err != nil {
			continue
		}
		doc, err := m.AppendJSON(nil, first, &EncodeOptions{})
		if err != nil {
			t.Fatalf("%s, wire %x: %v", md.FullName(), first, err)
		}
		second, err := m.AppendWire(nil, doc, nil)
		if err != nil {
			t.Fatalf("%s, %s: %v", md.FullName(), doc, err)
		}
		a, err := o.parse(md, first)
		b, err2 := o.parse(md, second)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(o.canonical(a.ProtoReflect()), o.canonical(b.ProtoReflect())); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(a, b) {
			t.Fatalf("%s, %s:\n got %v\nwant %v", md.FullName(), doc, b, a)
		}
	}
}
