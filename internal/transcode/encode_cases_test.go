package transcode

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// textWire is the wire of a message in protobuf's text format.
func textWire(t testing.TB, m *Message, text string) []byte {
	t.Helper()
	in := dynamicpb.NewMessage(m.desc)
	if err := (prototext.UnmarshalOptions{Resolver: m.types.types, AllowPartial: true}).Unmarshal([]byte(text), in); err != nil {
		t.Fatal(err)
	}
	wire, err := proto.MarshalOptions{AllowPartial: true, Deterministic: true}.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// TestEncode has the JSON of messages in text format. What is not in it, the random
// messages find.
func TestEncode(t *testing.T) {
	tests := []struct{ name, message, text, want string }{
		{"empty", "sluice.test.p3.Scalars", ``, `{}`},
		{"integers", "sluice.test.p3.Scalars",
			`f_int32: -2147483648 f_uint32: 4294967295 f_int64: -9223372036854775808 f_uint64: 18446744073709551615`,
			`{"fInt32":-2147483648,"fUint32":4294967295,"fInt64":"-9223372036854775808","fUint64":"18446744073709551615"}`},
		{"double", "sluice.test.p3.Lists", `f_double: [1, -0.0, 0.1, 1e20, 1e21, 1e-6, 1e-7, 1.5e-10, nan, inf, -inf, 1e300]`,
			`{"fDouble":[1,-0,0.1,100000000000000000000,1e+21,0.000001,1e-7,1.5e-10,"NaN","Infinity","-Infinity",1e+300]}`},
		{"float", "sluice.test.p3.Lists", `f_float: [0.1, 16777216, 123456789, 1e-7, 3.4028235e38]`,
			`{"fFloat":[0.1,16777216,123456790,1e-7,3.4028235e+38]}`},
		{"escapes", "sluice.test.p3.Scalars", `f_string: "\"\\\b\f\n\r\t\x01\x1f/<>&\x7f€"`,
			`{"fString":"\"\\\b\f\n\r\t\u0001\u001f/<>&` + "\x7f€" + `"}`},
		{"bytes", "sluice.test.p3.Scalars", `f_bytes: "\xfb\xff\xfe\x00"`, `{"fBytes":"+//+AA=="}`},
		{"enums", "sluice.test.p3.Lists", `f_enum: [RED, NEGATIVE, BLUE, 77]`, `{"fEnum":["RED","NEGATIVE","BLUE",77]}`},
		{"oneof with a zero", "sluice.test.p3.Oneofs", `an_int64: 0`, `{"anInt64":"0"}`},
		{"map keys", "sluice.test.p3.Maps", `by_bool {key: true value: 1} by_sint32 {key: -5 value: "x"} by_uint64 {key: 7 value: 8} by_string {key: "\n" value: ""}`,
			`{"byBool":{"true":1},"bySint32":{"-5":"eA=="},"byUint64":{"7":"8"},"byString":{"\n":""}}`},
		{"timestamp", "google.protobuf.Timestamp", `seconds: 1795249560 nanos: 120000000`, `"2026-11-21T08:26:00.120Z"`},
		{"first timestamp", "google.protobuf.Timestamp", `seconds: -62135596800`, `"0001-01-01T00:00:00Z"`},
		{"last timestamp", "google.protobuf.Timestamp", `seconds: 253402300799 nanos: 999999999`, `"9999-12-31T23:59:59.999999999Z"`},
		{"leap day", "google.protobuf.Timestamp", `seconds: 951782400 nanos: 1000`, `"2000-02-29T00:00:00.000001Z"`},
		{"duration", "google.protobuf.Duration", `nanos: -500000000`, `"-0.500s"`},
		{"long duration", "google.protobuf.Duration", `seconds: -315576000000 nanos: -1`, `"-315576000000.000000001s"`},
		{"field mask", "google.protobuf.FieldMask", `paths: ["foo_bar.b_az", "x"]`, `"fooBar.bAz,x"`},
		{"wrapper without a value", "google.protobuf.Int64Value", ``, `"0"`},
		{"struct", "google.protobuf.Struct", `fields {key: "a" value {list_value {values {null_value: NULL_VALUE} values {number_value: 1.5}}}}`, `{"a":[null,1.5]}`},
		{"any", "google.protobuf.Any", `[x.y/sluice.test.p3.Scalars] {f_bool: true}`, `{"@type":"x.y/sluice.test.p3.Scalars","fBool":true}`},
		{"any with a well-known type", "google.protobuf.Any", `[x.y/google.protobuf.Duration] {seconds: 1}`, `{"@type":"x.y/google.protobuf.Duration","value":"1s"}`},
		{"any in any", "google.protobuf.Any", `[a/google.protobuf.Any] {[b/google.protobuf.Empty] {}}`,
			`{"@type":"a/google.protobuf.Any","value":{"@type":"b/google.protobuf.Empty"}}`},
		{"empty any", "google.protobuf.Any", ``, `{}`},
		{"group", "sluice.test.p2.All", `One {name: "n" Deep {x: 1} Deep {}}`, `{"one":{"name":"n","deep":[{"x":1},{}]}}`},
		{"extensions", "sluice.test.p2.All", `[sluice.test.p2.ext_int32]: 5 [sluice.test.p2.Scope.a_double]: 0.5 [sluice.test.p2.extgroup] {s: "x"}`,
			`{"[sluice.test.p2.Scope.a_double]":0.5,"[sluice.test.p2.ext_int32]":5,"[sluice.test.p2.extgroup]":{"s":"x"}}`},
		{"names", "sluice.test.p3.Names", `renamed: "x" _leading: "y" with__two: "z"`, `{"Leading":"y","withTwo":"z","a \"quoted\" \\ näme\n":"x"}`},
		{"delimited", "sluice.test.ed.Mix", `delimited {explicit: 0} delimited_duration {seconds: 2}`, `{"delimited":{"explicit":0},"delimitedDuration":"2s"}`},
	}
	types := NewTypes(testSchema(t))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := testMessage(t, types, protoreflect.FullName(tt.message))
			wire := textWire(t, m, tt.text)
			got, err := m.AppendJSON(nil, wire, &EncodeOptions{Deterministic: true})
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				// text format sorts as JSON does but for fields of other numbers
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
			compareEncode(t, m, wire, EncodeOptions{Deterministic: true})
		})
	}
}

func TestEncodeErrors(t *testing.T) {
	types := NewTypes(testSchema(t))
	tests := []struct {
		name, message string
		wire          []byte
		want          string
	}{
		{"truncated varint", "sluice.test.p3.Scalars", []byte{2 << 3, 0x80}, "message sluice.test.p3.Scalars, field f_int32: " + string(errTruncated)},
		{"truncated length", "sluice.test.p3.Scalars", []byte{14<<3 | 2, 5, 'a'}, "field f_string: " + string(errTruncated)},
		{"length over the end of a message", "sluice.test.p3.Tree", []byte{1<<3 | 2, 2, 6<<3 | 2, 5, 5 << 3, 0}, "message sluice.test.p3.Tree, field label: " + string(errTruncated)},
		{"truncated packed", "sluice.test.p3.Lists", []byte{13<<3 | 2, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "field f_double: " + string(errTruncated)},
		{"long varint", "sluice.test.p3.Scalars", append([]byte{2 << 3}, strings.Repeat("\xff", 10)...), "field f_int32: " + string(errVarint)},
		{"field number 0", "sluice.test.p3.Scalars", []byte{0, 0}, string(errTag)},
		{"wire type 6", "sluice.test.p3.Scalars", []byte{2<<3 | 6, 0}, string(errTag)},
		{"end of no group", "sluice.test.p3.Scalars", []byte{2<<3 | 4}, string(errGroup)},
		{"group without an end", "sluice.test.ed.Mix", []byte{13<<3 | 3, 1 << 3, 1}, string(errTruncated)},
		{"unknown group without an end", "sluice.test.p3.Empty", []byte{13<<3 | 3, 1 << 3, 1}, string(errTruncated)},
		{"UTF-8", "sluice.test.p3.Scalars", prefixed(14, []byte{0xff}), "field f_string: " + string(errUTF8)},
		{"UTF-8 that is not enforced", "sluice.test.ed.Mix", prefixed(5, []byte{0xc3}), "field unchecked: " + string(errUTF8)},
		{"UTF-8 in a key", "sluice.test.p3.Maps", prefixed(12, prefixed(1, []byte{0xff})), "field by_string: " + string(errUTF8)},
		{"required", "sluice.test.p2.Required", varintField(1, 1), "message sluice.test.p2.Required, field name: " + string(errRequired)},
		{"timestamp", "sluice.test.p3.WellKnown", prefixed(2, varintField(2, 1e9)), "message google.protobuf.Timestamp: it is out of range: 0 s, 1000000000 ns"},
		{"duration", "google.protobuf.Duration", append(varintField(1, 1), varintField(2, 1<<64-1)...), "out of range: 1 s, -1 ns"},
		{"value", "google.protobuf.Value", nil, "none of its fields is set"},
		{"value that is no number", "google.protobuf.Value", protowire.AppendFixed64([]byte{2<<3 | 1}, 0x7ff0000000000000), "field number_value: a value is no finite number"},
		{"any of no type", "google.protobuf.Any", prefixed(2, []byte{1}), "field type_url: it is not set"},
		{"any of an unknown type", "google.protobuf.Any", prefixed(1, []byte("x/no.Such")), `the schema has no type "x/no.Such"`},
		{"field mask", "google.protobuf.FieldMask", prefixed(1, []byte("fooBar")), "field paths: a path has no form in JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := testMessage(t, types, protoreflect.FullName(tt.message))
			got, err := m.AppendJSON([]byte("x"), tt.wire, &EncodeOptions{})
			var we *WireError
			if !errors.As(err, &we) || !strings.HasSuffix(err.Error(), tt.want) && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
			if string(got) != "x" {
				t.Errorf("dst is %q", got)
			}
			compareEncode(t, m, tt.wire, EncodeOptions{})
		})
	}
}

// TestEncodeReplaced: an occurrence that a later one replaces has no place in the JSON,
// so only its form counts, and not what JSON has no way to say.
func TestEncodeReplaced(t *testing.T) {
	types := NewTypes(testSchema(t))
	m := testMessage(t, types, "sluice.test.p3.WellKnown")
	late := append(prefixed(2, varintField(2, 1e9)), prefixed(2, varintField(2, 5000))...)
	got, err := m.AppendJSON(nil, late, &EncodeOptions{})
	if want := `{"timestamp":"1970-01-01T00:00:00.000005Z"}`; err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	bad := append(prefixed(17, prefixed(1, []byte{0xff})), prefixed(17, prefixed(1, []byte("x")))...)
	if got, err := m.AppendJSON(nil, bad, &EncodeOptions{}); err == nil {
		t.Errorf("a replaced string that is not UTF-8: %s", got)
	}
	compareEncode(t, m, late, EncodeOptions{})
	compareEncode(t, m, bad, EncodeOptions{})
}

// TestEncodeAnyFirst: the type in an Any has no plan before.
func TestEncodeAnyFirst(t *testing.T) {
	m := testMessage(t, NewTypes(testSchema(t)), "google.protobuf.Any")
	for name, want := range map[string]string{
		"sluice.test.p3.Tree": `{"@type":"sluice.test.p3.Tree"}`, "google.protobuf.Struct": `{"@type":"google.protobuf.Struct","value":{}}`,
		"sluice.test.p3.Color": "", // an enum
	} {
		got, err := m.AppendJSON(nil, prefixed(1, []byte(name)), &EncodeOptions{})
		if string(got) != want || (err != nil) != (want == "") {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

// TestEncodeDelimitedMap: the entries of a map and its values have a length before them
// even where messages are delimited (https://protobuf.dev/editions/features/#message_encoding).
func TestEncodeDelimitedMap(t *testing.T) {
	m := testMessage(t, NewTypes(testSchema(t)), "sluice.test.delimited.Node")
	child := protowire.AppendGroup(protowire.AppendTag(nil, 1, protowire.StartGroupType), 1, varintField(4, 5))
	wire := prefixed(3, append(prefixed(1, []byte("k")), prefixed(2, child)...))
	got, err := m.AppendJSON(nil, wire, &EncodeOptions{})
	if want := `{"named":{"k":{"child":{"value":5}}}}`; err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}

func TestEncodeDepth(t *testing.T) {
	types := NewTypes(testSchema(t))
	nest := func(number protowire.Number, n int) (wire []byte) {
		for range n {
			wire = prefixed(number, wire)
		}
		return wire
	}
	list := func(n int) []byte { // n ListValues in each other, in a Value
		wire := varintField(4, 1)
		for range n {
			wire = prefixed(6, prefixed(1, wire))
		}
		return wire
	}
	tests := []struct {
		message string
		wire    func(levels int) []byte
	}{
		{"sluice.test.p3.Tree", func(n int) []byte { return nest(1, n-1) }},
		{"google.protobuf.Value", list},
		{"sluice.test.p3.Empty", func(n int) (wire []byte) { // unknown groups
			for range n - 1 {
				wire = protowire.AppendGroup(protowire.AppendTag(nil, 1, protowire.StartGroupType), 1, wire)
			}
			return wire
		}},
	}
	for _, tt := range tests {
		m := testMessage(t, types, protoreflect.FullName(tt.message))
		if _, err := m.AppendJSON(nil, tt.wire(MaxDepth), &EncodeOptions{}); err != nil {
			t.Errorf("%s, %d levels: %v", tt.message, MaxDepth, err)
		}
		if _, err := m.AppendJSON(nil, tt.wire(MaxDepth+1), &EncodeOptions{}); err == nil || !strings.Contains(err.Error(), string(errDepth)) {
			t.Errorf("%s, %d levels: %v", tt.message, MaxDepth+1, err)
		}
	}
}

func TestEncodeIndent(t *testing.T) {
	m, wire := benchMessage(t)
	compareEncode(t, m, wire, EncodeOptions{Deterministic: true, Indent: "  "})
	compareEncode(t, m, wire, EncodeOptions{Deterministic: true, Indent: "\t", EmitUnpopulated: true})
	if _, err := m.AppendJSON(nil, wire, &EncodeOptions{Indent: "x"}); err == nil {
		t.Error("an indent of letters")
	}
}

// TestEncodeMaxOutput: exactly the limit is allowed, in any kind of message.
func TestEncodeMaxOutput(t *testing.T) {
	types := NewTypes(testSchema(t))
	for seed := range uint64(300) {
		g := newGenerator(types, seed)
		name := testTypes[int(seed)%len(testTypes)]
		m := testMessage(t, types, name)
		wire, err := proto.Marshal(g.message(t, name))
		if err != nil {
			t.Fatal(err)
		}
		wire = g.mutate(m.desc, wire)
		o := encodeOptions(g.IntN(128))
		want, err := m.AppendJSON(nil, wire, &o)
		if err != nil {
			continue
		}
		dst := []byte("12345")
		o.MaxOutput = len(want)
		got, err := m.AppendJSON(dst, wire, &o)
		if err != nil || string(got) != "12345"+string(want) {
			t.Errorf("seed %d: with a limit of %d: %v\n got %s\nwant 12345%s", seed, len(want), err, got, want)
		}
		if o.MaxOutput--; o.MaxOutput == 0 {
			continue
		}
		if got, err = m.AppendJSON(dst, wire, &o); !errors.Is(err, ErrTooLarge) || string(got) != "12345" {
			t.Errorf("seed %d: with a limit of %d: %v, %s", seed, o.MaxOutput, err, got)
		}
	}
}

func TestFieldEncoder(t *testing.T) {
	types := NewTypes(testSchema(t))
	tests := []struct{ message, field, text, want string }{
		{"sluice.test.shop.Order", "items", `items {sku: "a"} items {} id: "x"`, `[{"sku":"a"},{}]`},
		{"sluice.test.shop.Order", "items", ``, `[]`},
		{"sluice.test.shop.Order", "labels", ``, `{}`},
		{"sluice.test.shop.Order", "labels", `labels {key: "b" value: "c"}`, `{"b":"c"}`},
		{"sluice.test.shop.Order", "id", `id: "x"`, `"x"`},
		{"sluice.test.shop.Order", "id", ``, `""`},
		{"sluice.test.shop.Order", "number", ``, `"0"`},
		{"sluice.test.shop.Order", "status", ``, `"STATUS_UNSPECIFIED"`},
		{"sluice.test.shop.Order", "note", ``, `null`},
		{"sluice.test.shop.Order", "address", ``, `null`},
		{"sluice.test.shop.Order", "address", `address {city: "B"}`, `{"city":"B"}`},
		{"sluice.test.shop.Order", "created", `created {}`, `"1970-01-01T00:00:00Z"`},
		{"sluice.test.shop.Order", "invoice", `card {}`, `null`},
		{"sluice.test.p3.Optionals", "fInt32", `f_int32: 0`, `0`},
		{"sluice.test.p2.Required", "children", `id: 3`, `[]`},
		{"sluice.test.p2.All", "[sluice.test.p2.ext_int32]", `[sluice.test.p2.ext_int32]: 5`, `5`},
	}
	for _, tt := range tests {
		m := testMessage(t, types, protoreflect.FullName(tt.message))
		fe, err := m.FieldEncoder(tt.field)
		if err != nil {
			t.Fatal(err)
		}
		got, err := fe.AppendJSON([]byte("x"), textWire(t, m, tt.text), &EncodeOptions{})
		if err != nil || string(got) != "x"+tt.want {
			t.Errorf("%s of {%s}: %s, %v, want %s", tt.field, tt.text, got, err, tt.want)
		}
	}
	order := testMessage(t, types, "sluice.test.shop.Order")
	if _, err := order.FieldEncoder("nothing"); err == nil {
		t.Error("a field that there is not")
	}
	fe, err := order.FieldEncoder("invoice")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		wire []byte
		want string
	}{
		{repeatBytes(2, textWire(t, order, `invoice: "1"`), textWire(t, order, `invoice: "2"`)), `"2"`},
		{repeatBytes(2, textWire(t, order, `invoice: "1"`), textWire(t, order, `card {}`)), `null`},
		{repeatBytes(2, textWire(t, order, `card {}`), textWire(t, order, `invoice: "1"`)), `"1"`},
	} {
		if got, err := fe.AppendJSON(nil, tt.wire, &EncodeOptions{}); err != nil || string(got) != tt.want {
			t.Errorf("invoice: %s, %v, want %s", got, err, tt.want)
		}
	}
	var we *WireError
	if _, err := fe.AppendJSON(nil, []byte{0x80}, &EncodeOptions{}); !errors.As(err, &we) {
		t.Errorf("of a truncated message: %v", err)
	}
}

// FuzzEncode compares any bytes, as a message of any type, with protojson.
func FuzzEncode(f *testing.F) {
	types := NewTypes(testSchema(f))
	for i := range testTypes {
		g := newGenerator(types, uint64(i))
		wire, err := proto.MarshalOptions{AllowPartial: true, Deterministic: true}.Marshal(g.message(f, testTypes[i]))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire, uint8(i), uint8(i))
		f.Add(g.mutate(testMessage(f, types, testTypes[i]).desc, wire), uint8(i), uint8(i*37))
	}
	f.Fuzz(func(t *testing.T, wire []byte, name, options uint8) {
		if len(wire) > 1<<14 {
			return
		}
		m := testMessage(t, types, testTypes[int(name)%len(testTypes)])
		compareEncode(t, m, wire, encodeOptions(int(options)))
	})
}

func ExampleMessage_AppendJSON() {
	files, err := compileTestdata()
	if err != nil {
		fmt.Println(err)
		return
	}
	d, err := files.FindDescriptorByName("sluice.test.shop.Address")
	if err != nil {
		fmt.Println(err)
		return
	}
	address := NewTypes(files).Message(d.(protoreflect.MessageDescriptor))
	out, err := address.AppendJSON(nil, []byte("\x12\x06Berlin\x22\x02DE"), &EncodeOptions{})
	fmt.Println(string(out), err)
	// Output: {"city":"Berlin","country":"DE"} <nil>
}

// TestAppendFloat compares with strconv, above all near decimals with few digits.
func TestAppendFloat(t *testing.T) {
	plain := func(n float64, size int) string {
		return strings.Replace(string(strconv.AppendFloat(nil, n, 'f', -1, size)), "e-0", "e-", 1)
	}
	g := newGenerator(nil, 1)
	for range 200000 {
		n := float64(g.Int64N(1e7)) / []float64{1, 10, 100, 1000, 1e4, 1e5}[g.IntN(6)]
		switch g.IntN(4) {
		case 0:
			n = math.Nextafter(n, math.Inf(1-2*g.IntN(2)))
		case 1:
			n = -n
		case 2:
			n *= float64(g.Int64N(1e9))
		}
		if n != 0 && (math.Abs(n) < 1e-6 || math.Abs(n) >= 1e21) {
			continue
		}
		if got, want := string(appendFloat(nil, n, 64)), plain(n, 64); got != want {
			t.Fatalf("%x: %s, want %s", n, got, want)
		}
		f := float32(n)
		if g.one(3) {
			f = math.Nextafter32(f, 0)
		}
		if f != 0 && (math.Abs(float64(f)) < 1e-6 || math.Abs(float64(f)) >= 1e21) {
			continue
		}
		if got, want := string(appendFloat(nil, float64(f), 32)), plain(float64(f), 32); got != want {
			t.Fatalf("%x, 32 bits: %s, want %s", f, got, want)
		}
	}
}
