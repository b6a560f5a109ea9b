package transcode

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// TestNumbers compares every spelling of a number in every kind of field, and as a key.
func TestNumbers(t *testing.T) {
	sequential(t)
	o := newWireOracle(t)
	numbers := strings.Fields(`0 -0 00 01 -01 - + +1 -1 1 1. .1 1.0 1.00 -1.0 1.5 0.0 -0.0 0.10e1 0.1e1 0.01e2 1.5e1 15e-1 10e-1 100e-2 -10e-1 1e0 1E+0 1e-0
		1e 1e+ 1e- -0e+ 0e+ 0e 1e5 1e+5 1E5 1e05 1e 1e2147483647 1e2147483648 1e-2147483649 0e99999999999 0.0e99999999999 1e18 1e19 1e20 1e21 0.1e20 0.00000000000000000001e20
		0.00000000000000000001e21 100000000000000000000e-2 100000000000000000001e-2 1000000000000000000000e-3 1000000000000000000000e-2
		127 128 255 256 16384 2147483647 2147483648 -2147483648 -2147483649 4294967295 4294967296 9223372036854775807 9223372036854775808
		-9223372036854775808 -9223372036854775809 18446744073709551615 18446744073709551616 99999999999999999999 999999999999999999 1234567890123456789
		3.4028235e38 3.4028236e38 1.7976931348623157e308 1.8e308 5e-324 1e-400 1e-50 0.1 0.3 123456789012345 1234567890.12345 12345678901234.5 9007199254740993 0.000000000000001
		-123.456 1_000 0x10 1f NaN Infinity -Infinity inf nan true 1e1e1 1.e1 1..0 1-1 2147483647.0 2147483647.5 4294967295e0`)
	numbers = append(numbers, "", " 1", "1 ", "1,", "\u00a01", "1\u0000", "１")
	all := testMessage(t, o.types, "sluice.test.p3.Scalars")
	all.compile()
	taken := 0
	for _, n := range numbers {
		for _, f := range all.fields {
			for _, doc := range []string{`{"%s":%s}`, `{"%s":"%s"}`, `{"%s":%s }`, `{"%s": %s,"unknown":1}`, `{"not_%s":%s}`} {
				doc = fmt.Sprintf(doc, f.jsonName, n)
				for _, discard := range []bool{false, true} {
					if o.check(t, all.desc, []byte(doc), discard) {
						taken++
					}
				}
			}
		}
		for _, key := range []string{"byBool", "byInt32", "bySint32", "bySfixed32", "byUint32", "byFixed32", "byInt64", "bySint64", "bySfixed64", "byUint64", "byFixed64", "byString"} {
			for _, value := range []string{"1", `"1"`, "{}", "null", "true"} {
				o.check(t, testMessage(t, o.types, "sluice.test.p3.Maps").desc, []byte(fmt.Sprintf(`{"%s":{"%s":%s}}`, key, n, value)), false)
			}
		}
		o.check(t, testMessage(t, o.types, "google.protobuf.Value").desc, []byte(n), false)
		o.check(t, testMessage(t, o.types, "google.protobuf.FloatValue").desc, []byte(n), false)
		o.check(t, testMessage(t, o.types, "google.protobuf.Duration").desc, []byte(`"`+n+`s"`), false)
	}
	if taken < 2000 {
		t.Errorf("%d were taken", taken)
	}
}

// TestEdges compares documents that random ones are not likely to be.
func TestEdges(t *testing.T) {
	o := newWireOracle(t)
	for message, docs := range map[protoreflect.FullName][]string{
		"sluice.test.p3.Scalars": {
			`{}`, ` { } `, "\ufeff{}", `{}{}`, `{},`, `null`, `"x"`, `{"fInt32":null,"fInt32":1}`, `{"fInt32":1,"f_int32":null}`, `{"\u0066Int32":1}`, `{"fInt32" : 1}`,
			`{"fString":"\ud83d\ude00"}`, `{"fString":"\ud83d"}`, `{"fString":"\ude00"}`, `{"fString":"\ude00\ud83d"}`, `{"fString":"\ud83dx"}`, `{"fString":"\ud83d\u0041"}`,
			`{"fString":"\ud83d\n"}`, `{"fString":"\u00"}`, `{"fString":"\u"}`, `{"fString":"\u00g0"}`, `{"fString":"\U0041"}`, `{"fString":"\`, `{"fString":"\"`, `{"fString":"\\"}`,
			`{"fString":"\'"}`, `{"fString":"\u+041"}`, `{"fString":"\uFFFF\u0000\u007f"}`, "{\"fString\":\"\u2028\x7f\"}", "{\"fString\":\"\xc0\x80\"}", "{\"fString\":\"\xed\xa0\x80\"}",
			`{"fString":"12345678901234567890\n"}`, `{"fString":"1234567\"8901234567890"}`, "{\"fString\":\"1234567890\t\"}", "{\"fString\":\"1234567890é\"}", "{\"fString\":\"é\xff\"}",
			`{"fBytes":""}`, `{"fBytes":"AA"}`, `{"fBytes":"AA="}`, `{"fBytes":"AA=="}`, `{"fBytes":"AAA"}`, `{"fBytes":"AAA="}`, `{"fBytes":"A"}`, `{"fBytes":"AAAAA"}`, `{"fBytes":"AB"}`,
			`{"fBytes":"-_"}`, `{"fBytes":"-/"}`, `{"fBytes":"-_=="}`, `{"fBytes":"+_AA"}`, `{"fBytes":"A A="}`, `{"fBytes":"AA\n=="}`, `{"fBytes":"AA\r\nAA"}`, `{"fBytes":"AAA\nA"}`,
			`{"fBytes":"\n\n\n\n"}`, `{"fBytes":"\u0041\u0041\u0041\u0041\u0042\u0042\u0042\u0042\u0043\u0043\u0043\u0043"}`, `{"fBytes":"==="}`, `{"fBytes":"AA==AA=="}`,
			`{"fEnum":"RED"}`, `{"fEnum":"red"}`, `{"fEnum":"CRIMSON"}`, `{"fEnum":"1"}`, `{"fEnum":1.0}`, `{"fEnum":1e0}`, `{"fEnum":12345}`, `{"fEnum":2147483648}`, `{"fEnum":""}`, `{"fEnum":[]}`,
			`{"fBool":"true"}`, `{"fBool":True}`, `{"fBool":truefalse}`, `{"fBool":true"}`, `{"fBool":t}`, `{"fBool":nullx}`, `{"fBool":null}`, `{"fBool":nul`,
			`{"x":{"a":[1,{"b":"\ud800"}]}}`, `{"x":{"a":[1,{"b":null}]}}`, `{"x":[1,]}`, `{"x":[,1]}`, `{"x":{,}}`, `{"x":{"a"}}`, `{"x":{"a":1,}}`, `{"x":[1}`, `{"x":{"a":1]}`, `{"x":]}`, `{"x":}`,
			`{"x":"` + strings.Repeat("a", 300) + `"}`, `{"x":[1 2]}`, `{"x":1 "y":2}`, `{"[]":1}`, `{"[":1}`, `{"[a]":1}`, `{"@type":1}`, `{"":1}`,
		},
		"sluice.test.p3.Lists": {
			`{"fBool":[true,false]}`, `{"fBool":[null]}`, `{"fMessage":[null]}`, `{"fMessage":[{},{}]}`, `{"fEnum":["NEW","RED","OLD"]}`, `{"fInt32":[]}`, `{"fInt32":{}}`, `{"fInt32":[[]]}`,
			`{"fInt32":[` + strings.Repeat("1,", 200) + `1]}`, `{"fString":["` + strings.Repeat("a", 127) + `","` + strings.Repeat("b", 128) + `"]}`, `{"fBytes":["` + strings.Repeat("A", 20000) + `"]}`,
			`{"fDouble":["NaN","Infinity","-Infinity","infinity",1]}`, `{"fDouble":["NaN","Infinity","-Infinity",1]}`,
		},
		"sluice.test.p3.Maps": {
			`{"bySfixed32":{"1":"NEW","1":"RED"}}`, `{"bySfixed32":{"1":"RED","1":"NEW"}}`, `{"bySfixed32":{"1":"NEW"}}`, `{"byString":null}`, `{"byString":{"a":null}}`, `{"times":{"a":null}}`,
			`{"values":{"a":null,"b":[null]}}`, `{"byString":{"a":"","\u0061":""}}`, `{"byInt32":{"1":"a","01":"b"}}`, `{"byInt32":{"+1":"a"}}`, `{"byInt32":{"-0":"a","0":"b"}}`, `{"byInt32":{"1.0":"a"}}`,
			`{"byBool":{"true":1,"false":2}}`, `{"byBool":{"True":1}}`, `{"byString":{"":""}}`, `{"byString":[]}`, `{"byString":{"a":"` + strings.Repeat("x", 300) + `"}}`, `{"byString":{1:"a"}}`,
			`{"byInt32":{"1_0":"a"}}`, `{"byInt32":{"0x1":"a"}}`, `{"byUint64":{"18446744073709551615":"18446744073709551615"}}`, `{"byString":{"a":"b",}}`, `{"byString":{"a" "b"}}`,
		},
		"sluice.test.p3.Oneofs": {
			`{"aNull":null}`, `{"aNull":null,"aBool":true}`, `{"aBool":null,"aString":"x"}`, `{"aColor":"NEW","aBool":true}`, `{"aColor":"NEW"}`, `{"aValue":null}`, `{"aValue":null,"aNull":null}`,
			`{"aBool":false,"x":0}`, `{"x":0,"y":0}`, `{"aMessage":{},"recursive":{}}`, `{"aNull":"NULL_VALUE"}`, `{"aNull":0}`, `{"aNull":5}`, `{"aNull":"x"}`, `{"aDuration":null,"nothing":{}}`,
		},
		"sluice.test.p3.Names": {
			`{"snake_case_name":"a"}`, `{"snakeCaseName":"a"}`, `{"SnakeCaseName":"a"}`, `{"CamelCase":"a"}`, `{"camelCase":"a"}`, `{"_leading":"a"}`, `{"Leading":"a"}`, `{"trailing":"a"}`, `{"trailing_":"a"}`,
			`{"renamed":"a"}`, `{"a \"quoted\" \\ näme\n":"a"}`, `{"x1Y2":"a","x1_y2":"b"}`, `{"digits23":"a"}`, `{"digits_2_3":"a"}`,
		},
		"sluice.test.p3.WellKnown": {
			`{"null":null}`, `{"null":null,"null":null}`, `{"optionalNull":null}`, `{"value":null}`, `{"value":{}}`, `{"value":[]}`, `{"value":[true,false,null,1,"x",[],{}]}`, `{"value":-}`, `{"value":nil}`, `{"value":t}`,
			`{"struct":null}`, `{"struct":{"a":1,"a":2}}`, `{"struct":{"":""}}`, `{"list":null}`, `{"list":[null]}`, `{"empty":null}`, `{"empty":[]}`, `{"empty":{"a":1}}`, `{"empty":{"[a]":1}}`,
			`{"empty":{"[sluice.test.p2.ext_int32]":1}}`, `{"wBool":null}`, `{"wBool":false}`, `{"wInt32":"1"}`, `{"wInt64":{"value":1}}`, `{"wString":""}`, `{"wBytes":"_w"}`, `{"wDouble":"NaN"}`, `{"wFloat":-0.0}`,
			`{"mask":""}`, `{"mask":" "}`, `{"mask":","}`, `{"mask":"a,"}`, `{"mask":" a,b "}`, `{"mask":"a, b"}`, `{"mask":"a.b"}`, `{"mask":"a..b"}`, `{"mask":".a"}`, `{"mask":"a."}`, `{"mask":"1a"}`, `{"mask":"a1"}`,
			`{"mask":"aB"}`, `{"mask":"AB"}`, `{"mask":"a_b"}`, `{"mask":"ä"}`, `{"mask":"\u0061B"}`, `{"mask":"*"}`, `{"mask":null}`, `{"mask":[]}`, `{"mask":"` + strings.Repeat("a", 200) + `"}`,
			`{"timestamp":"2026-01-02T03:04:05Z"}`, `{"timestamp":"0001-01-01T00:00:00Z"}`, `{"timestamp":"0000-12-31T23:59:59Z"}`, `{"timestamp":"9999-12-31T23:59:59.999999999Z"}`,
			`{"timestamp":"0001-01-01T00:00:00+00:01"}`, `{"timestamp":"9999-12-31T23:59:59-00:01"}`, `{"timestamp":"2026-01-02T03:04:05.1234567891Z"}`, `{"timestamp":"2026-01-02T03:04:05.Z"}`,
			`{"timestamp":"2026-01-02T03:04:05,123Z"}`, `{"timestamp":"2026-01-02T03:04:05,1234567890123Z"}`, `{"timestamp":"2026-01-02T3:04:05Z"}`, `{"timestamp":"2026-01-02t03:04:05z"}`,
			`{"timestamp":"2026-01-02 03:04:05Z"}`, `{"timestamp":"2026-01-02T03:04:60Z"}`, `{"timestamp":"2026-01-02T24:00:00Z"}`, `{"timestamp":"2024-02-29T00:00:00Z"}`, `{"timestamp":"2026-02-29T00:00:00Z"}`,
			`{"timestamp":"1900-02-29T00:00:00Z"}`, `{"timestamp":"2000-02-29T00:00:00Z"}`, `{"timestamp":"2026-01-02T03:04:05+25:00"}`, `{"timestamp":"2026-01-02T03:04:05+01:60"}`, `{"timestamp":"2026-01-02T03:04:05"}`,
			`{"timestamp":"2026-01-02T03:04:05.5+01:00"}`, `{"timestamp":"2026-01-02T03:04:05.1234567890+01:00"}`, `{"timestamp":"\u0032026-01-02T03:04:05Z"}`, `{"timestamp":""}`, `{"timestamp":"2026-13-02T03:04:05Z"}`,
			`{"duration":"1s"}`, `{"duration":"s"}`, `{"duration":""}`, `{"duration":"-s"}`, `{"duration":".s"}`, `{"duration":"-.5s"}`, `{"duration":"1.s"}`, `{"duration":"+1.5s"}`, `{"duration":"00s"}`, `{"duration":"01.5s"}`,
			`{"duration":"315576000000s"}`, `{"duration":"315576000000.999999999s"}`, `{"duration":"315576000001s"}`, `{"duration":"-315576000000.5s"}`, `{"duration":"1.0000000001s"}`, `{"duration":"1.1.1s"}`,
			`{"duration":"99999999999999999999s"}`, `{"duration":"1 s"}`, `{"duration":"1S"}`, `{"duration":"0.000000000s"}`, `{"duration":"1e3s"}`, `{"duration":"-0s"}`, `{"duration":"--1s"}`,
			`{"any":{}}`, `{"any":null}`, `{"any":{"@type":"sluice.test.p3.Empty"}}`, `{"any":{"@type":"/sluice.test.p3.Empty"}}`, `{"any":{"@type":"a/b/sluice.test.p3.Empty"}}`, `{"any":{"@type":"sluice.test.p3.Empty/"}}`,
			`{"any":{"@type":null}}`, `{"any":{"@type":"sluice.test.p3.Color"}}`, `{"any":{"@type":"sluice.test.p3.Scalars.f_bool"}}`, `{"any":{"\u0040type":"sluice.test.p3.Empty"}}`,
			`{"any":{"@type":"sluice.test.p3.Scalars","fBool":true,"\u0040type":"x"}}`, `{"any":{"fBool":true,"@type":"sluice.test.p3.Scalars","fInt32":1}}`, `{"any":{"fBool":"@type","@type":"sluice.test.p3.Scalars"}}`,
			`{"any":{"fString":"@type","@type":"sluice.test.p3.Scalars"}}`, `{"any":{"x":{"@type":"y"},"@type":"sluice.test.p3.Scalars"}}`, `{"any":{"x":{"@type":"sluice.test.p3.Scalars"}}}`, `{"any":{"fBool" "@type":"x"}}`,
			`{"any":{"value":{},"@type":"google.protobuf.Empty"}}`, `{"any":{"@type":"google.protobuf.Empty"}}`, `{"any":{"@type":"google.protobuf.Empty","value":{"a":1}}}`, `{"any":{"@type":"google.protobuf.Empty","value":null}}`,
			`{"any":{"@type":"google.protobuf.Value","value":null}}`, `{"any":{"@type":"google.protobuf.Int32Value","value":0}}`, `{"any":{"@type":"google.protobuf.Int32Value","value":null}}`, `{"any":{"@type":"google.protobuf.Int32Value","x":1,"value":1}}`,
			`{"any":{"@type":"google.protobuf.Any","value":{"@type":"google.protobuf.Any","value":{}}}}`, `{"any":{"value":{"value":"1s","@type":"google.protobuf.Duration"},"@type":"google.protobuf.Any"}}`,
			`{"any":{"@type":"sluice.test.p2.Required"}}`, `{"any":{"@type":"sluice.test.p2.Required","id":null,"child":{"id":1}}}`, `{"any":{"@type":"sluice.test.p3.Maps.ByStringEntry","key":"a"}}`,
			`{"any":{"a":1}}`, `{"any":{"a":[[[[{}]]]]}}`, `{"any":{"a":[}}`, `{"any":{"a":"`, `{"any":{"a":"\"","@type":"sluice.test.p3.Empty"}}`, `{"any":{"a\\":1,"@type":"sluice.test.p3.Empty"}}`, `{"any":{"@type":"","@type":"sluice.test.p3.Empty"}}`,
			`{"any":{"@type":"sluice.test.p2.All","[sluice.test.p2.ext_all]":{}}}`, `{"any":{"\ud800":1,"@type":"sluice.test.p3.Empty"}}`, `{"any":{"@type" :"sluice.test.p3.Empty"}}`, `{"any": {"x":1 , "@type" : "sluice.test.p3.Empty" } }`,
		},
		"sluice.test.p3.WellKnownLists": {
			`{"null":null}`, `{"value":null}`, `{"null":[null,0]}`, `{"value":[null]}`, `{"namedNull":{"a":null}}`, `{"any":[null]}`, `{"empty":[{},null]}`, `{"timestamp":[null]}`, `{"wInt64":[null]}`, `{"list":[[],[[]]]}`, `{"list":[null]}`,
		},
		"sluice.test.p2.All": {
			`{"one":{}}`, `{"One":{}}`, `{"ONE":{}}`, `{"one":{},"One":{}}`, `{"many":[{"id":1},{}]}`, `{"Many":[null]}`, `{"chosen":{},"text":"x"}`, `{"fEnum":"ONE"}`, `{"fEnum":77}`, `{"packedEnums":["ONE",5]}`,
			`{"[sluice.test.p2.ext_int32]":1,"[sluice.test.p2.ext_int32]":1}`, `{"[sluice.test.p2.ext_int32]":null}`, `{"[sluice.test.p2.Scope.a_double]":1}`, `{"[sluice.test.p2.Scope]":1}`, `{"[sluice.test.p2.ExtGroup]":{}}`,
			`{"[sluice.test.p2.extgroup]":{"s":"x"}}`, `{"[sluice.test.p2.extgroups]":[{"b":"AA"}]}`, `{"ext_int32":1}`, `{"[sluice.test.p2.ext_required]":{}}`, `{"[sluice.test.p2.ext_value]":null}`, `{"[ sluice.test.p2.ext_int32]":1}`,
			`{"[sluice.test.p2.z_ext]":1}`, `{"[sluice.test.p2.All]":1}`, `{"[not.there]":1}`, `{"[]":1}`, `{"fString":"","fBytes":"","fInt32":0,"fBool":false,"fDouble":0}`,
		},
		"sluice.test.p2.Required": {
			`{}`, `{"id":1,"name":"","times":{}}`, `{"id":1,"name":null,"times":{}}`, `{"id":1,"name":"","times":{},"children":[{}]}`, `{"id":1,"name":"","times":{},"named":{"a":{}}}`, `{"id":1,"name":"","times":{},"chosen":{}}`,
			`{"id":1,"name":"","times":{},"any":{"@type":"sluice.test.p2.Required","child":{}}}`,
		},
		"sluice.test.ed.Strict": {`{}`, `{"id":1}`, `{"id":0,"mix":{}}`, `{"id":0,"mix":{"implicit":0,"explicit":0},"next":{}}`},
		"sluice.test.ed.Mix": {
			`{"delimited":{},"delimitedList":[{},{}]}`, `{"delimitedDuration":"1s"}`, `{"delimitedStruct":{"a":1}}`, `{"implicit":0,"explicit":0,"data":"","real":-0.0}`, `{"chosen":{"number":1},"number":"5"}`,
			`{"closed":"CLOSED_FIVE","closedList":[5,7]}`, `{"closedMap":{"1":5}}`, `{"[sluice.test.ed.ext_delimited]":{}}`, `{"[sluice.test.ed.ext_strict]":{}}`, `{"unchecked":"\ufffd"}`,
		},
	} {
		md := testMessage(t, o.types, message).desc
		for _, doc := range docs {
			o.check(t, md, []byte(doc), false)
			o.check(t, md, []byte(doc), true)
		}
	}
}

// TestWide sets and repeats each field of a message of many.
func TestWide(t *testing.T) {
	sequential(t)
	o := newWireOracle(t)
	fd, err := o.types.files.FindFileByPath("wide.proto")
	if err != nil {
		t.Fatal(err)
	}
	for i := range fd.Messages().Len() {
		md := fd.Messages().Get(i)
		g := newJSONGen(o.types.files, uint64(i))
		for range 20 {
			o.check(t, md, g.json(md, 2), false)
		}
		for j := range md.Fields().Len() {
			name := md.Fields().Get(j).JSONName()
			if o.check(t, md, []byte(fmt.Sprintf(`{"%s":null,"%s":null}`, name, name)), false) {
				t.Errorf("%s twice was taken", name)
			}
		}
	}
}

// TestMessageSet has the one kind of message without a JSON form. Go's descriptors come
// with none any more, so that a plan says that it is one.
func TestMessageSet(t *testing.T) {
	m := testMessage(t, NewTypes(testSchema(t)), "sluice.test.p3.Empty")
	m.compile()
	m.messageSet = true
	if got, err := m.AppendWire(nil, []byte(`{}`), nil); err == nil || !strings.Contains(err.Error(), "MessageSet") {
		t.Errorf("got %x, %v", got, err)
	}
}

// TestLarge compares documents that are long enough for lengths to be written in
// another way: much within much, and many small ones.
func TestLarge(t *testing.T) {
	sequential(t)
	o := newWireOracle(t)
	g := newJSONGen(o.types.files, 7)
	for _, c := range []struct {
		message       protoreflect.FullName
		before, after string
		element       protoreflect.FullName
	}{
		{"sluice.test.p3.Tree", `{"left":{"more":[`, `]}}`, "sluice.test.p3.Tree"},
		{"sluice.test.ed.Mix", `{"delimited":{"delimitedList":[`, `]}}`, "sluice.test.ed.Mix"},
		{"google.protobuf.Value", `{"a":[[`, `],1]}`, "google.protobuf.Value"},
		{"google.protobuf.Any", `{"@type":"sluice.test.p3.WellKnownLists","any":[`, `]}`, "google.protobuf.Any"},
		{"google.protobuf.Any", `{"any":[`, `],"@type":"sluice.test.p3.WellKnownLists"}`, "google.protobuf.Any"},
		{"sluice.test.p3.WellKnownLists", `{"wString":["` + strings.Repeat("x", 3*muchInput) + `"],"value":[`, `]}`, "google.protobuf.Value"},
	} {
		var doc strings.Builder
		doc.WriteString(c.before)
		element := testMessage(t, o.types, c.element).desc
		taken := func(one []byte) bool {
			_, err := o.message(element, one, false)
			return err == nil
		}
		for doc.Len() < 5*muchInput {
			if one := g.json(element, 4); taken(one) {
				doc.Write(one)
				doc.WriteByte(',')
			}
			if g.chance(0.1) {
				doc.WriteString(strings.Repeat(" ", muchInput/4))
			}
		}
		doc.WriteString("{}" + c.after)
		if !o.check(t, testMessage(t, o.types, c.message).desc, []byte(doc.String()), false) {
			t.Errorf("%s in %s was not taken", c.element, c.message)
		}
	}
}
