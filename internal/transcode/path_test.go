package transcode

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// TestAppendText has a value for each kind of field and the message that it makes, as
// JSON, or what the error says.
func TestAppendText(t *testing.T) {
	o := newWireOracle(t)
	const p3, p2, ed = "sluice.test.p3.", "sluice.test.p2.", "sluice.test.ed."
	for _, c := range []struct{ message, path, text, want string }{
		{p3 + "Scalars", "f_bool", "true", `{"fBool":true}`},
		{p3 + "Scalars", "fBool", "false", `{}`},
		{p3 + "Scalars", "fBool", "1", "expects true or false, got 1"},
		{p3 + "Scalars", "fBool", "", "expects true or false, got nothing"},
		{p3 + "Scalars", "f_int32", "-7", `{"fInt32":-7}`},
		{p3 + "Scalars", "f_int32", "2147483648", "expects a whole number between -2147483648 and 2147483647, got 2147483648"},
		{p3 + "Scalars", "f_sint32", "-2147483648", `{"fSint32":-2147483648}`},
		{p3 + "Scalars", "f_sfixed32", "1e3", `{"fSfixed32":1000}`},
		{p3 + "Scalars", "f_uint32", "-1", "expects a whole number between 0 and 4294967295, got -1"},
		{p3 + "Scalars", "f_fixed32", "4294967295", `{"fFixed32":4294967295}`},
		{p3 + "Scalars", "f_int64", "9223372036854775807", `{"fInt64":"9223372036854775807"}`},
		{p3 + "Scalars", "f_int64", " 1", "got  1"},
		{p3 + "Scalars", "f_sint64", "-1", `{"fSint64":"-1"}`},
		{p3 + "Scalars", "f_sfixed64", "-1", `{"fSfixed64":"-1"}`},
		{p3 + "Scalars", "f_uint64", "18446744073709551615", `{"fUint64":"18446744073709551615"}`},
		{p3 + "Scalars", "f_fixed64", "1.0", `{"fFixed64":"1"}`},
		{p3 + "Scalars", "f_float", "1.5", `{"fFloat":1.5}`},
		{p3 + "Scalars", "f_float", "1e39", "expects a number in the range of float"},
		{p3 + "Scalars", "f_double", "-Infinity", `{"fDouble":"-Infinity"}`},
		{p3 + "Scalars", "f_double", "inf", `"NaN", "Infinity", "-Infinity", got inf`},
		{p3 + "Scalars", "f_string", "a b/ü", `{"fString":"a b/ü"}`},
		{p3 + "Scalars", "f_string", "\xff", "expects a string"},
		{p3 + "Scalars", "f_bytes", "_-8", `{"fBytes":"/+8="}`},
		{p3 + "Scalars", "f_bytes", "/+8=", `{"fBytes":"/+8="}`},
		{p3 + "Scalars", "f_bytes", "?", "expects bytes as a base64 string, got ?"},
		{p3 + "Scalars", "f_enum", "GREEN", `{"fEnum":"GREEN"}`},
		{p3 + "Scalars", "f_enum", "1000000", `{"fEnum":"BLUE"}`},
		{p3 + "Scalars", "f_enum", "GREN", `the enum sluice.test.p3.Color has no "GREN": did you mean "GREEN"?`},
		{p3 + "Scalars", "f_enum", "x", `it has COLOR_UNSPECIFIED, RED, CRIMSON`},
		{p3 + "Scalars", "f_enum", "3000000000", "expects a name or number of the enum sluice.test.p3.Color"},
		{p3 + "Lists", "f_int32", "5", `{"fInt32":[5]}`},
		{p3 + "Lists", "f_string", "x", `{"fString":["x"]}`},
		{p3 + "Lists", "f_message", `{"fInt32":1}`, `{"fMessage":[{"fInt32":1}]}`},
		{p3 + "Lists", "f_message", `[]`, `expects a JSON object, got []`},
		{p3 + "Maps", "by_string[a.b]c]", "x", `{"byString":{"a.b]c":"x"}}`},
		{p3 + "Maps", "by_sint32[-5]", "AA==", `{"bySint32":{"-5":"AA=="}}`},
		{p3 + "Maps", "by_bool[true]", "3", `{"byBool":{"true":3}}`},
		{p3 + "Maps", "times[t]", "2026-01-02T03:04:05Z", `{"times":{"t":"2026-01-02T03:04:05Z"}}`},
		{p3 + "Maps", "by_bool", `{"true":3}`, `{"byBool":{"true":3}}`},
		{p3 + "Maps", "by_bool", `true`, `expects a JSON object, got true`},
		{p3 + "WellKnown", "timestamp", "2026-01-02T03:04:05.5+01:00", `{"timestamp":"2026-01-02T02:04:05.5Z"}`},
		{p3 + "WellKnown", "timestamp", "yesterday", `expects a time between the years 1 and 9999, like "2006-01-02T15:04:05.999Z", got yesterday`},
		{p3 + "WellKnown", "timestamp.seconds", "5", `{"timestamp":"1970-01-01T00:00:05Z"}`},
		{p3 + "WellKnown", "duration", "-1.5s", `{"duration":"-1.5s"}`},
		{p3 + "WellKnown", "duration", "1h", "expects a duration of at most 315576000000 seconds"},
		{p3 + "WellKnown", "mask", "displayName,foo.bar_baz,*", ""},
		{p3 + "WellKnown", "mask", "a b", "expects names of fields"},
		{p3 + "WellKnown", "w_bool", "true", `{"wBool":true}`},
		{p3 + "WellKnown", "w_int64", "0", `{"wInt64":"0"}`},
		{p3 + "WellKnown", "w_string", "", `{"wString":""}`},
		{p3 + "WellKnown", "w_bytes", "AAA", `{"wBytes":"AAA="}`},
		{p3 + "WellKnown", "w_bytes.value", "AAA", `{"wBytes":"AAA="}`},
		{p3 + "WellKnown", "w_uint32", "-1", "expects a whole number between 0"},
		{p3 + "WellKnown", "value", ` [1,"a",null]`, `{"value":[1,"a",null]}`},
		{p3 + "WellKnown", "value", `abc`, `expects a value, got abc`},
		{p3 + "WellKnown", "struct", `{"a":{}}`, `{"struct":{"a":{}}}`},
		{p3 + "WellKnown", "struct", `[]`, `expects a JSON object, got []`},
		{p3 + "WellKnown", "list", `[[]]`, `{"list":[[]]}`},
		{p3 + "WellKnown", "list", `{}`, `expects a JSON list, got {}`},
		{p3 + "WellKnown", "null", `null`, `{}`},
		{p3 + "WellKnown", "optional_null", `NULL_VALUE`, `{"optionalNull":null}`},
		{p3 + "WellKnown", "empty", `{}`, `{"empty":{}}`},
		{p3 + "WellKnown", "empty", `{} {}`, `expects nothing after the value`},
		{p3 + "WellKnown", "any", `{"@type":"x/sluice.test.p3.Empty"}`, `{"any":{"@type":"x/sluice.test.p3.Empty"}}`},
		{p3 + "Tree", "left.right.more", `{"value":1}`, `{"left":{"right":{"more":[{"value":1}]}}}`},
		{p3 + "Tree", "left.right.named[x]", `{"value":1}`, `{"left":{"right":{"named":{"x":{"value":1}}}}}`},
		{p2 + "All", "one.inner.name", `x`, `{"one":{"inner":{"name":"x"}}}`},
		{p2 + "All", "One.deep", `{"x":1}`, `{"one":{"deep":[{"x":1}]}}`},
		{ed + "Mix", "delimited.delimited_duration", `1s`, `{"delimited":{"delimitedDuration":"1s"}}`},
		{ed + "Mix", "delimited.packed", `1`, `{"delimited":{"packed":[1]}}`},
	} {
		t.Run(c.path+"="+c.text, func(t *testing.T) {
			m := testMessage(t, o.types, protoName(c.message))
			p, err := m.Path(c.path)
			if err != nil {
				t.Fatal(err)
			}
			wire, err := p.AppendText([]byte("x"), c.text)
			if c.want != "" && c.want[0] != '{' {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "field "+c.path+": ") || string(wire) != "x" {
					t.Errorf("got %q, error %v", wire, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := o.parse(m.desc, wire[1:])
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" { // a mask without a JSON form
				mask := got.ProtoReflect().Get(m.desc.Fields().ByName("mask")).Message()
				var paths []string
				for i, list := 0, mask.Get(mask.Descriptor().Fields().ByNumber(1)).List(); i < list.Len(); i++ {
					paths = append(paths, list.Get(i).String())
				}
				if strings.Join(paths, " ") != "display_name foo.bar_baz *" {
					t.Errorf("paths %q", paths)
				}
				return
			}
			want, err := o.message(m.desc, []byte(c.want), false)
			if err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// TestPathErrors has paths that there are not.
func TestPathErrors(t *testing.T) {
	types := NewTypes(testSchema(t))
	for _, c := range []struct{ message, path, want string }{
		{"sluice.test.shop.Order", "", `field : the message sluice.test.shop.Order has no field ""`},
		{"sluice.test.shop.Order", "adress", `field adress: the message sluice.test.shop.Order has no field "adress": did you mean "address"?`},
		{"sluice.test.shop.Order", "address.", `the message sluice.test.shop.Address has no field ""`},
		{"sluice.test.shop.Order", "id.x", "field id.x: id is of type string, which has no fields by name"},
		{"sluice.test.shop.Order", "items.sku", "field items.sku: items is a list, which has no fields by name"},
		{"sluice.test.shop.Order", "labels.a", "field labels.a: labels is a map, which has no fields by name"},
		{"sluice.test.shop.Order", "labels[a", "expects ] at the end"},
		{"sluice.test.shop.Order", "address[a]", "field address[a]: is a message sluice.test.shop.Address, and only maps have keys"},
		{"sluice.test.shop.Order", "items[0]", "field items[0]: is a list, and only maps have keys"},
		{"sluice.test.shop.Order", "stock[a]", "expects a whole number between -2147483648 and 2147483647 as the key"},
		{"sluice.test.shop.Order", "labels[\xff]", "expects a string as the key"},
		{"sluice.test.p3.Tree", strings.Repeat("left.", 101) + "value", "is more than 100 names long"},
	} {
		_, err := testMessage(t, types, protoName(c.message)).Path(c.path)
		var pe *PathError
		if err == nil || !errors.As(err, &pe) || pe.Path != c.path || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.path, err, c.want)
		}
	}
	p, err := testMessage(t, types, "sluice.test.p3.Tree").Path("left.left.value")
	if err != nil || p.Field().FullName() != "sluice.test.p3.Tree.value" {
		t.Errorf("got %v, %v", p, err)
	}
}

// TestPathWins checks that what a path appends wins over a body before it, a zero too.
func TestPathWins(t *testing.T) {
	o := newWireOracle(t)
	for _, c := range []struct{ message, body, path, text, want string }{
		{"sluice.test.p3.Scalars", `{"fInt32":5,"fBool":true}`, "f_int32", "0", `{"fBool":true}`},
		{"sluice.test.p3.Scalars", `{"fString":"x"}`, "f_string", "", `{}`},
		{"sluice.test.p3.WellKnown", `{"timestamp":"2026-01-01T00:00:00.5Z"}`, "timestamp", "1970-01-01T00:00:00Z", `{"timestamp":"1970-01-01T00:00:00Z"}`},
		{"sluice.test.p3.WellKnown", `{"wInt32":7}`, "w_int32", "0", `{"wInt32":0}`},
		{"sluice.test.p3.Tree", `{"left":{"label":"l","value":1}}`, "left.value", "2", `{"left":{"label":"l","value":2}}`},
		{"sluice.test.p3.Lists", `{"fInt32":[1,2]}`, "f_int32", "3", `{"fInt32":[1,2,3]}`},
		{"sluice.test.p3.Maps", `{"byString":{"a":"1","b":"2"}}`, "by_string[a]", "3", `{"byString":{"a":"3","b":"2"}}`},
		{"sluice.test.p3.Oneofs", `{"aString":"x"}`, "an_int64", "0", `{"anInt64":"0"}`},
	} {
		m := testMessage(t, o.types, protoName(c.message))
		wire, err := m.AppendWire(nil, []byte(c.body), nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := m.Path(c.path)
		if err != nil {
			t.Fatal(err)
		}
		if wire, err = p.AppendText(wire, c.text); err != nil {
			t.Fatal(err)
		}
		got, err := o.parse(m.desc, wire)
		if err != nil {
			t.Fatal(err)
		}
		want, err := o.message(m.desc, []byte(c.want), false)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", c.path, got, want)
		}
	}
}

// TestPathJSON has bodies that are one field.
func TestPathJSON(t *testing.T) {
	o := newWireOracle(t)
	for _, c := range []struct{ message, path, json, want string }{
		{"sluice.test.shop.Order", "address", `{"city":"Köln"}`, `{"address":{"city":"Köln"}}`},
		{"sluice.test.shop.Order", "address", `null`, `{}`},
		{"sluice.test.shop.Order", "address.city", `"Köln"`, `{"address":{"city":"Köln"}}`},
		{"sluice.test.shop.Order", "items", `[{"sku":"a"},{"sku":"b"}]`, `{"items":[{"sku":"a"},{"sku":"b"}]}`},
		{"sluice.test.shop.Order", "codes", ` [1,2,3] `, `{"codes":[1,2,3]}`},
		{"sluice.test.shop.Order", "labels", `{"a":"b"}`, `{"labels":{"a":"b"}}`},
		{"sluice.test.shop.Order", "labels[k]", `"v"`, `{"labels":{"k":"v"}}`},
		{"sluice.test.shop.Order", "labels[k]", `null`, "field labels[k]: expects a string, got null"},
		{"sluice.test.shop.Order", "version", `"7"`, `{"version":"7"}`},
		{"sluice.test.shop.Order", "version", `-7`, "byte 0, field version: expects a whole number"},
		{"sluice.test.shop.Order", "items", `[{"sku":"a"},{"sku":1}]`, "byte 20, field items[1].sku: expects a string, got 1"},
		{"sluice.test.shop.Order", "address", `{"city":"Köln"}}`, "byte 16, field address: expects nothing after the value, got '}'"},
		{"sluice.test.shop.Order", "address", `nil`, "byte 0, field address: unknown word, got nil"},
		{"sluice.test.shop.Order", "address", ``, "byte 0, field address: expects an object, got the end"},
		{"sluice.test.p3.WellKnown", "value", `null`, `{"value":null}`},
		{"sluice.test.p2.All", "one.deep", `[{"x":1}]`, `{"one":{"deep":[{"x":1}]}}`},
	} {
		m := testMessage(t, o.types, protoName(c.message))
		p, err := m.Path(c.path)
		if err != nil {
			t.Fatal(err)
		}
		wire, err := p.AppendJSON(nil, []byte(c.json), nil)
		if c.want[0] != '{' {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s: got %v, want %s", c.path, c.json, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s, %s: %v", c.path, c.json, err)
		}
		got, err := o.parse(m.desc, wire)
		if err != nil {
			t.Fatal(err)
		}
		want, err := o.message(m.desc, []byte(c.want), false)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", c.path, got, want)
		}
	}
	p, err := testMessage(t, o.types, "sluice.test.p3.Scalars").Path("f_enum")
	if err != nil {
		t.Fatal(err)
	}
	if wire, err := p.AppendJSON([]byte("x"), []byte(`"NEW"`), &DecodeOptions{DiscardUnknown: true}); err != nil || string(wire) != "x" {
		t.Errorf("an unknown name that is discarded: %q, %v", wire, err)
	}
	if wire, err := p.AppendJSON([]byte("x"), []byte(`2`), &DecodeOptions{MaxOutput: 1}); !errors.Is(err, ErrTooLarge) || string(wire) != "x" {
		t.Errorf("over the limit: %q, %v", wire, err)
	}
}

func TestFieldMask(t *testing.T) {
	types := NewTypes(testSchema(t))
	for _, c := range []struct{ message, json, want string }{
		{"sluice.test.shop.Order", `{}`, "[]"},
		{"sluice.test.shop.Order", `{"id":"x","address":{"city":"y","lines":["z"]},"gift":null}`, "[id address.city address.lines gift]"},
		{"sluice.test.shop.Order", `{"address":{},"labels":{"a":"b"},"items":[{"sku":"x"}],"created":"x"}`, "[address labels items created]"},
		{"sluice.test.shop.Order", `{"unknown":{"a":[1]},"address":{"unknown":1},"c\u0069ty":1,"c\u0061rd":{"token":1}}`, "[address card.token]"},
		{"sluice.test.shop.Order", `{"card":null,"address":"no object"}`, "[card address]"},
		{"sluice.test.p3.Names", `{"snakeCaseName":"a","CamelCase":1,"_leading":2}`, "[snake_case_name CamelCase _leading]"},
		{"sluice.test.p3.WellKnown", `{"struct":{"a":1},"value":{"b":2},"any":{"@type":"x"},"wInt32":1,"empty":{}}`, "[struct value any w_int32 empty]"},
		{"sluice.test.p2.All", `{"one":{"inner":{"name":"x"}},"[sluice.test.p2.ext_int32]":1,"self":{"fInt32":1}}`, "[one.inner.name self.f_int32]"},
		{"google.protobuf.Struct", `{"a":1}`, "[]"},
		{"sluice.test.shop.Order", `{"id":1,"id":2}`, `JSON, byte 8: the field "id" is there twice`},
		{"sluice.test.shop.Order", `{"address":{"city":1,"city":2}}`, `JSON, byte 21, field address: the field "city" is there twice`},
		{"sluice.test.shop.Order", `[]`, `expects an object, got a list`},
		{"sluice.test.shop.Order", `{"id":01}`, `byte 6`},
		{"sluice.test.shop.Order", `{} x`, `expects nothing after the value, got x`},
		{"sluice.test.p3.Tree", strings.Repeat(`{"left":`, 101) + "{}" + strings.Repeat("}", 101), "nested more than 100 levels"},
	} {
		got, err := testMessage(t, types, protoName(c.message)).FieldMask(nil, []byte(c.json))
		if c.want[0] != '[' {
			if err == nil || !strings.Contains(err.Error(), c.want) || got != nil {
				t.Errorf("%s: got %v, %v, want %s", c.json, got, err, c.want)
			}
		} else if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s: got %v, %v, want %s", c.json, got, err, c.want)
		}
	}
	// Paths have the names of all that they are in: together they may be longer than the body.
	const level = `{"value":1,"label":"","more":[],"named":{},"left":`
	doc := strings.Repeat(level, 95) + "{}" + strings.Repeat("}", 95)
	if got, err := testMessage(t, types, "sluice.test.p3.Tree").FieldMask(nil, []byte(doc)); err == nil || !strings.Contains(err.Error(), "over 65536 bytes") {
		t.Errorf("%d paths, %v", len(got), err)
	}
}

// FuzzPath compares values at a path with the same as a document.
func FuzzPath(f *testing.F) {
	o := newWireOracle(f)
	for _, s := range []struct{ path, value string }{
		{"id", "x"}, {"items", `[{"sku":"x"}]`}, {"labels[a]", `"b"`}, {"stock[-1]", "5"}, {"created", "2026-01-02T03:04:05Z"},
		{"address.city", `"Köln"`}, {"codes", "[1,2]"}, {"card.token", "18364758544493064720"}, {"status", "STATUS_PAID"},
		{"weights", "-0"}, {"signature", "3q2-"}, {"delay", `"1.5s"`}, {"gift", "true"}, {"discount", "1e39"},
	} {
		f.Add(s.path, s.value)
	}
	f.Fuzz(func(t *testing.T, path, value string) {
		m := testMessage(t, o.types, "sluice.test.shop.Order")
		p, err := m.Path(path)
		if err != nil {
			return
		}
		name, err := json.Marshal(string(p.field.desc.Name()))
		if err != nil {
			t.Fatal(err)
		}
		before, after := "{"+string(name)+":", "}"
		if p.key != nil {
			_, key, _ := strings.Cut(path, "[")
			k, err := json.Marshal(key[:len(key)-1])
			if err != nil {
				t.Fatal(err)
			}
			before, after = before+"{"+string(k)+":", "}"+after
		}
		for i := len(p.outer) - 1; i >= 0; i-- {
			before, after = `{"`+string(p.outer[i].desc.Name())+`":`+before, after+"}"
		}
		same := func(wire []byte, doc string) {
			t.Helper()
			got, err := o.parse(m.desc, wire)
			if err != nil {
				t.Fatalf("%s: %q: %v", path, value, err)
			}
			want, err := o.message(m.desc, []byte(doc), false)
			if err != nil || !proto.Equal(got, want) {
				t.Fatalf("%s: %q: got %v\nwant %v, %v, of %s", path, value, got, want, err, doc)
			}
		}
		if trimmed := strings.Trim(value, " \t\r\n"); json.Valid([]byte(value)) && utf8.ValidString(value) && (trimmed != "null" || p.key != nil) {
			doc := before + value + after
			wire, err := p.AppendJSON(nil, []byte(value), nil)
			if _, wantErr := o.message(m.desc, []byte(doc), false); (err == nil) != (wantErr == nil) {
				t.Fatalf("%s: %s: got %v, want %v", path, value, err, wantErr)
			}
			if err == nil {
				same(wire, doc)
			}
		} else if _, err := p.AppendJSON(nil, []byte(value), nil); err == nil && trimmed != "null" && !strings.ContainsAny(value, "eE") {
			t.Fatalf("%s: %q was taken, and is no JSON", path, value)
		}
		if text, err := p.AppendText(nil, value); err == nil {
			if _, err := o.parse(m.desc, text); err != nil {
				t.Fatalf("%s: %q: %v", path, value, err)
			}
			if quoted, err := protojson.Marshal(dynamicString(o, value)); err == nil && p.field.message == nil && p.field.key == nil && !p.field.list &&
				p.field.enum == nil && value != "true" && value != "false" {
				same(text, before+string(quoted)+after)
			}
		}
	})
}
