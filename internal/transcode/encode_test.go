package transcode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/sluice-rpc/sluice/internal/race"
)

// errNoOracle is of messages that protobuf-go panics at: it forgets the key of a map's
// entry when another field of the key's number and of another wire type follows.
var errNoOracle = errors.New("protobuf-go panics")

// encodeOracle is what protojson makes of a message.
func encodeOracle(m *Message, wire []byte, o *EncodeOptions) (_ []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			if !strings.Contains(fmt.Sprint(r), "cannot convert nil to map key") {
				panic(r)
			}
			err = errNoOracle
		}
	}()
	in := dynamicpb.NewMessage(m.desc)
	if err := (proto.UnmarshalOptions{Resolver: m.types.types, AllowPartial: true}).Unmarshal(wire, in); err != nil {
		return nil, err
	}
	out, err := protojson.MarshalOptions{
		Resolver: m.types.types, UseProtoNames: o.ProtoNames, UseEnumNumbers: o.EnumNumbers,
		EmitUnpopulated: o.EmitUnpopulated, EmitDefaultValues: o.EmitDefaults, Indent: o.Indent,
	}.Marshal(in)
	if err != nil {
		return nil, err
	}
	// Its random spaces are taken out.
	var plain bytes.Buffer
	if err := json.Compact(&plain, out); err != nil {
		return nil, fmt.Errorf("protojson wrote no JSON: %w", err)
	}
	if o.Indent == "" {
		return plain.Bytes(), nil
	}
	var lines bytes.Buffer
	err = json.Indent(&lines, plain.Bytes(), "", o.Indent)
	return lines.Bytes(), err
}

// canonical puts the members of all objects into one order. Those with the same name
// stay, so that a difference in them is seen.
func canonical(t testing.TB, doc []byte) string {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var value func() string
	value = func() string {
		token, err := dec.Token()
		if err != nil {
			t.Fatalf("%v in %s", err, doc)
		}
		var items []string
		switch token {
		case json.Delim('{'):
			for dec.More() {
				key, err := dec.Token()
				if err != nil {
					t.Fatalf("%v in %s", err, doc)
				}
				items = append(items, strconv.Quote(key.(string))+":"+value())
			}
			sort.Strings(items)
			_, _ = dec.Token()
			return "{" + strings.Join(items, ",") + "}"
		case json.Delim('['):
			for dec.More() {
				items = append(items, value())
			}
			_, _ = dec.Token()
			return "[" + strings.Join(items, ",") + "]"
		}
		return fmt.Sprintf("%T(%v)", token, token)
	}
	out := value()
	if dec.More() {
		t.Fatalf("more than a value: %s", doc)
	}
	return out
}

// compareEncode fails if AppendJSON and protojson don't agree on a message.
func compareEncode(t testing.TB, m *Message, wire []byte, o EncodeOptions) {
	t.Helper()
	want, wantErr := encodeOracle(m, wire, &o)
	got, err := m.AppendJSON([]byte("before"), wire, &o)
	got, kept := bytes.CutPrefix(got, []byte("before"))
	if !kept {
		t.Fatalf("%s: dst is %q", m.desc.FullName(), got)
	}
	if errors.Is(wantErr, errNoOracle) {
		return
	}
	if err != nil && wantErr == nil && strings.Contains(err.Error(), string(errDepth)) {
		return // protobuf-go has a limit too, but a higher one
	}
	if (err != nil) != (wantErr != nil) {
		t.Fatalf("%s %x, %+v:\n got %s, error %v\nwant %s, error %v", m.desc.FullName(), wire, o, got, err, want, wantErr)
	}
	if err != nil {
		var we *WireError
		if !errors.As(err, &we) || len(got) > 0 {
			t.Fatalf("%s: error %T %v, appended %q", m.desc.FullName(), err, err, got)
		}
		return
	}
	if o.Deterministic {
		if !bytes.Equal(got, want) {
			t.Fatalf("%s %x, %+v:\n got %s\nwant %s", m.desc.FullName(), wire, o, got, want)
		}
		return
	}
	if got, want := canonical(t, got), canonical(t, want); got != want {
		t.Fatalf("%s %x, %+v:\n got %s\nwant %s", m.desc.FullName(), wire, o, got, want)
	}
}

func encodeOptions(bits int) EncodeOptions {
	return EncodeOptions{
		Deterministic: bits&1 != 0, EmitDefaults: bits&2 != 0, EmitUnpopulated: bits&4 != 0,
		ProtoNames: bits&8 != 0, EnumNumbers: bits&16 != 0, Indent: []string{"", "", " ", "\t\t"}[bits>>5&3],
	}
}

// TestEncodeRandom compares random messages of all types with protojson: as they are,
// written in another way, and corrupted. TRANSCODE_MESSAGES says how many.
func TestEncodeRandom(t *testing.T) {
	n := map[bool]int{false: 4000, true: 400}[race.Enabled]
	if s := os.Getenv("TRANSCODE_MESSAGES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	types := NewTypes(testSchema(t))
	seed := uint64(time.Now().UnixNano())
	for i := range n {
		seed := seed + uint64(i)
		g := newGenerator(types, seed)
		name := testTypes[i%len(testTypes)]
		t.Run("", func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("seed %d, type %s", seed, name)
				}
			}()
			m := testMessage(t, types, name)
			wire, err := proto.MarshalOptions{AllowPartial: true, Deterministic: i%2 == 0}.Marshal(g.message(t, name))
			if err != nil {
				t.Fatal(err)
			}
			compareEncode(t, m, wire, encodeOptions(g.IntN(128)))
			wire = g.mutate(m.desc, wire)
			compareEncode(t, m, wire, encodeOptions(g.IntN(128)))
			if g.one(2) {
				wire = append(wire, g.mutate(m.desc, wire)...)
				compareEncode(t, m, wire, encodeOptions(g.IntN(128)))
			}
			compareEncode(t, m, g.corrupt(wire), encodeOptions(g.IntN(128)))
		})
	}
}

// TestEncodeTogether: plans are made while others use them.
func TestEncodeTogether(t *testing.T) {
	m, wire := benchMessage(t)
	want, err := m.AppendJSON(nil, wire, &EncodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	types := NewTypes(m.types.files)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				got, err := types.Message(m.desc).AppendJSON(nil, wire, &EncodeOptions{})
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s, %v", got, err)
				}
			}
		})
	}
	group.Wait()
}
