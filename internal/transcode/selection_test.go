package transcode

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// TestSelection has masks and the part of a message that they leave, or what the error
// says.
func TestSelection(t *testing.T) {
	o := newWireOracle(t)
	const order, required, all = "sluice.test.shop.Order", "sluice.test.p2.Required", "sluice.test.p2.All"
	documents := map[string]string{
		order: `{"id":"1","status":"STATUS_PENDING","items":[{"sku":"a","name":"b","tags":["x"]},{"sku":"c"},{"name":"d"}],` +
			`"labels":{"k":"v"},"created":"2026-01-02T03:04:05Z","card":{"holder":"h","month":2},"address":{"lines":["l"],"city":"c"}}`,
		required: `{"id":1,"name":"n","child":{"id":2,"name":"m","times":{},"number":5},"times":{"at":["2026-01-02T03:04:05Z"]},"number":3}`,
		all:      `{"fInt32":1,"one":{"name":"x"},"self":{"fBool":true,"fInt32":2},"fString":"s"}`,
	}
	for _, tc := range []struct{ message, mask, want string }{
		{order, "id", `{"id":"1"}`},
		{order, "id,id , customer", `{"id":"1"}`},
		{order, "items.sku", `{"items":[{"sku":"a"},{"sku":"c"},{}]}`},
		{order, "items/sku,items(name)", `{"items":[{"sku":"a","name":"b"},{"sku":"c"},{"name":"d"}]}`},
		{order, "items(sku,tags),address/city,card", `{"items":[{"sku":"a","tags":["x"]},{"sku":"c"},{}],"card":{"holder":"h","month":2},"address":{"city":"c"}}`},
		{order, "items,items.sku", `{"items":[{"sku":"a","name":"b","tags":["x"]},{"sku":"c"},{"name":"d"}]}`},
		{order, "items.sku,items", `{"items":[{"sku":"a","name":"b","tags":["x"]},{"sku":"c"},{"name":"d"}]}`},
		{order, "address(*)", `{"address":{"lines":["l"],"city":"c"}}`},
		{order, "labels,created", `{"labels":{"k":"v"},"created":"2026-01-02T03:04:05Z"}`},
		{order, "*", documents[order]},
		{order, "id,*", documents[order]},
		{required, "number", `{"id":1,"name":"n","times":{"at":["2026-01-02T03:04:05Z"]},"number":3}`},
		{required, "child.number,times.at", `{"id":1,"name":"n","child":{"id":2,"name":"m","times":{},"number":5},"times":{"at":["2026-01-02T03:04:05Z"]}}`},
		{all, "one,self.f_bool", `{"one":{"name":"x"},"self":{"fBool":true}}`},

		{order, "", "there is no"},
		{order, "idd", `did you mean "id"`},
		{order, "id,", "there is no"},
		{order, "id)", "expects a comma or the end, at )"},
		{order, "items(sku", "expects ), at the end"},
		{order, "items.", "there is no"},
		{order, "items()", "there is no"},
		{order, "id.x", "id is of type string"},
		{order, "labels.k", "labels is a map"},
		{order, "created.seconds", "created is a message google.protobuf.Timestamp"},
		{all, "one.name", "which has no fields to choose from"},
		{all, strings.Repeat("self.", 200) + "self", "nested too deep"},
		{all, strings.Repeat("self(", 200) + "self" + strings.Repeat(")", 200), "nested too deep"},
	} {
		m := testMessage(t, o.types, protoreflect.FullName(tc.message))
		s, err := m.Selection(tc.mask)
		if err != nil {
			if strings.HasPrefix(tc.want, "{") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v, want %s", tc.mask, err, tc.want)
			}
			continue
		}
		msg, err := o.message(m.desc, []byte(documents[tc.message]), false)
		if err != nil {
			t.Fatal(err)
		}
		wire, _ := proto.MarshalOptions{Deterministic: true}.Marshal(msg)
		if s != nil {
			wire = s.AppendWire([]byte("x"), wire)[1:]
		}
		got, err := m.AppendJSON(nil, wire, &EncodeOptions{Deterministic: true})
		var want bytes.Buffer
		if cerr := json.Compact(&want, []byte(tc.want)); err != nil || cerr != nil || want.String() != string(got) {
			t.Errorf("%s: %s, want %s, %v", tc.mask, got, tc.want, err)
		}
	}
}

// FuzzSelection: a part has no more than the whole, all of it is the whole, and nothing is
// lost of what is malformed.
func FuzzSelection(f *testing.F) {
	f.Add("items(sku,tags),address.city", []byte("\x0a\x011\x32\x03\x0a\x01a\xb2\x01\x03\x12\x01c"))
	f.Add("id,*", []byte("\xff"))
	f.Add("card/holder,labels", []byte("\x7a\x7f"))
	types := NewTypes(testSchema(f))
	m := testMessage(f, types, "sluice.test.shop.Order")
	f.Fuzz(func(t *testing.T, mask string, wire []byte) {
		s, err := m.Selection(mask)
		if err != nil || s == nil {
			return
		}
		part := s.AppendWire(nil, wire)
		if len(part) > len(wire)*2 { // lengths may be written longer than they must be, never shorter
			t.Errorf("%d bytes of %d", len(part), len(wire))
		}
		if again := s.AppendWire(nil, part); !bytes.Equal(again, part) {
			t.Errorf("%x becomes %x", part, again)
		}
		if _, err := m.AppendJSON(nil, wire, &EncodeOptions{}); err == nil {
			if _, err := m.AppendJSON(nil, part, &EncodeOptions{}); err != nil {
				t.Error(err)
			}
		}
	})
}
