package transcode

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// TestJSONErrors has each error once, word by word.
func TestJSONErrors(t *testing.T) {
	types := NewTypes(testSchema(t))
	const (
		scalars, lists, maps, wkt = "sluice.test.p3.Scalars", "sluice.test.p3.Lists", "sluice.test.p3.Maps", "sluice.test.p3.WellKnown"
		tree, oneofs, required    = "sluice.test.p3.Tree", "sluice.test.p3.Oneofs", "sluice.test.p2.Required"
	)
	for _, c := range []struct {
		message protoreflect.FullName
		json    string
		want    string
	}{
		// What is no JSON.
		{scalars, ``, `byte 0: expects an object, got the end`},
		{scalars, `[]`, `byte 0: expects an object, got a list`},
		{scalars, `nul`, `byte 0: expects an object, got nul`},
		{scalars, `{`, `byte 1: expects a string, got the end`},
		{scalars, `{"fBool"`, `byte 8: expects a colon after the name, got the end`},
		{scalars, `{"fBool":`, `byte 9, field fBool: expects true or false, got the end`},
		{scalars, `{"fBool":true`, `byte 13: expects a comma or '}', got the end`},
		{scalars, `{"fBool":true "fInt32"}`, `byte 14: expects a comma or '}', got "fInt32"`},
		{scalars, `{"fBool":true,}`, `byte 14: expects a string, got '}'`},
		{scalars, `{fBool:true}`, `byte 1: expects a string, got fBool`},
		{scalars, `{"fBool":true}}`, `byte 14: expects nothing after the value, got '}'`},
		{scalars, `{"fBool":truely}`, `byte 9, field fBool: unknown word, got truely`},
		{scalars, `{"fBool":nothing}`, `byte 9, field fBool: unknown word, got nothing`},
		{scalars, `{"fString":"abc`, `byte 15, field fString: a string has no end, got the end`},
		{scalars, "{\"fString\":\"a\nb\"}", `byte 13, field fString: a string has a control character that is not escaped, got '\n'`},
		{scalars, "{\"fString\":\"\xff\"}", "byte 11, field fString: a string is not UTF-8, got \"�\""},
		{scalars, `{"fString":"a\x"}`, `byte 13, field fString: a string has an unknown escape, got '\\'`},
		{scalars, `{"fString":"\ud800"}`, `byte 12, field fString: a string has an unknown escape, got '\\'`},
		{lists, `{"fInt32":[1 2]}`, `byte 13, field fInt32: expects a comma or ']', got 2`},
		{lists, `{"fInt32":[1,]}`, `byte 13, field fInt32[1]: expects a whole number between -2147483648 and 2147483647, got ']'`},

		// Values that a field does not have.
		{scalars, `{"fBool":1}`, `byte 9, field fBool: expects true or false, got 1`},
		{scalars, `{"fInt32":2147483648}`, `byte 10, field fInt32: expects a whole number between -2147483648 and 2147483647, got 2147483648`},
		{scalars, `{"f_sint32":"x"}`, `byte 12, field fSint32: expects a whole number between -2147483648 and 2147483647, got "x"`},
		{scalars, `{"fUint32":-1}`, `byte 11, field fUint32: expects a whole number between 0 and 4294967295, got -1`},
		{scalars, `{"fInt64":1.5}`, `byte 10, field fInt64: expects a whole number between -9223372036854775808 and 9223372036854775807, got 1.5`},
		{scalars, `{"fUint64":{}}`, `byte 11, field fUint64: expects a whole number between 0 and 18446744073709551615, got an object`},
		{scalars, `{"fFloat":1e39}`, `byte 10, field fFloat: expects a number in the range of float, or "NaN", "Infinity", "-Infinity", got 1e39`},
		{scalars, `{"fDouble":"nan"}`, `byte 11, field fDouble: expects a number in the range of double, or "NaN", "Infinity", "-Infinity", got "nan"`},
		{scalars, `{"fString":5}`, `byte 11, field fString: expects a string, got 5`},
		{scalars, `{"fString":[]}`, `byte 11, field fString: expects a string, got a list`},
		{scalars, `{"fBytes":"*"}`, `byte 10, field fBytes: expects bytes as a base64 string, got "*"`},
		{scalars, `{"fBytes":"` + strings.Repeat("*", 60) + `"}`, `byte 10, field fBytes: expects bytes as a base64 string, got "` + strings.Repeat("*", 38) + `…`},
		{scalars, `{"fEnum":"GREEEN"}`, `byte 9, field fEnum: the enum sluice.test.p3.Color has no "GREEEN": did you mean "GREEN"?`},
		{scalars, `{"fEnum":"PURPLE"}`, `byte 9, field fEnum: the enum sluice.test.p3.Color has no "PURPLE"; it has COLOR_UNSPECIFIED, RED, CRIMSON, GREEN, BLUE, NEGATIVE`},
		{scalars, `{"fEnum":true}`, `byte 9, field fEnum: expects a name or number of the enum sluice.test.p3.Color (COLOR_UNSPECIFIED, RED, CRIMSON, GREEN, BLUE, NEGATIVE), got true`},
		{lists, `{"fInt32":5}`, `byte 10, field fInt32: expects a list, got 5`},
		{lists, `{"fInt32":[5,null]}`, `byte 13, field fInt32[1]: expects a whole number between -2147483648 and 2147483647, got null`},
		{lists, `{"fMessage":[{},{"fBool":0}]}`, `byte 25, field fMessage[1].fBool: expects true or false, got 0`},
		{maps, `{"byInt32":[]}`, `byte 11, field byInt32: expects an object, got a list`},
		{maps, `{"byInt32":{"x":"y"}}`, `byte 12, field byInt32: expects a whole number between -2147483648 and 2147483647 as the key, got "x"`},
		{maps, `{"byBool":{"1":1}}`, `byte 11, field byBool: expects true or false as the key, got "1"`},
		{maps, `{"byString":{"a":"b","\u0061":"c"}}`, `byte 21, field byString: the key "a" is there twice`},
		{maps, `{"byString":{"a b":5}}`, `byte 19, field byString[a b]: expects a string, got 5`},
		{maps, `{"trees":{"k":{"more":[{"value":"x"}]}}}`, `byte 32, field trees[k].more[0].value: expects a whole number between -2147483648 and 2147483647, got "x"`},

		// Fields.
		{scalars, `{"fbool":true}`, `byte 1: unknown field "fbool": did you mean "fBool"?`},
		{scalars, `{"whatever":true}`, `byte 1: unknown field "whatever"`},
		{scalars, `{"` + strings.Repeat("é", 50) + `":true}`, `byte 1: unknown field "` + strings.Repeat("é", 19) + `…"`},
		{scalars, `{"fBool":true,"f_bool":true}`, `byte 14: the field "fBool" is there twice`},
		{oneofs, `{"aBool":true,"anInt64":null,"aString":"x"}`, `byte 29, field aString: another field of the oneof "kind" is there already`},
		{required, `{"id":1,"times":{}}`, `byte 18: the required field "name" is missing`},
		{required, `{"id":null}`, `byte 6, field id: is required, and null is no value`},
		{required, `{"id":1,"name":"n","times":{},"child":{}}`, `byte 39, field child: the required field "id" is missing`},
		{"sluice.test.p2.All", `{"[sluice.test.p2.none]":1}`, `byte 1: unknown field "[sluice.test.p2.none]"`},
		{"sluice.test.p2.All", `{"[sluice.test.p2.All]":1}`, `byte 1: [sluice.test.p2.All] is no extension of sluice.test.p2.All`},
		{"sluice.test.p2.All", `{"[sluice.test.p2.z_ext]":1}`, `byte 1: [sluice.test.p2.z_ext] is no extension of sluice.test.p2.All`},

		// Types with a form of their own.
		{wkt, `{"timestamp":"2026-02-30T00:00:00Z"}`, `byte 13, field timestamp: expects a time between the years 1 and 9999, like "2006-01-02T15:04:05.999Z", got "2026-02-30T00:00:00Z"`},
		{wkt, `{"timestamp":5}`, `byte 13, field timestamp: expects a time between the years 1 and 9999, like "2006-01-02T15:04:05.999Z", got 5`},
		{wkt, `{"duration":"1"}`, `byte 12, field duration: expects a duration of at most 315576000000 seconds, like "3.5s", got "1"`},
		{wkt, `{"mask":"a_b"}`, `byte 8, field mask: expects names of fields with commas between them, like "displayName,address.city", got "a_b"`},
		{wkt, `{"mask":5}`, `byte 8, field mask: expects names of fields with commas between them, like "displayName,address.city", got 5`},
		{wkt, `{"wInt32":"x"}`, `byte 10, field wInt32: expects a whole number between -2147483648 and 2147483647, got "x"`},
		{wkt, `{"struct":[]}`, `byte 10, field struct: expects an object, got a list`},
		{wkt, `{"list":{}}`, `byte 8, field list: expects a list, got an object`},
		{wkt, `{"value":{"a":[1e400]}}`, `byte 15, field value[a][0]: expects a number that a double can hold, got 1e400`},
		{wkt, `{"value":yes}`, `byte 9, field value: expects a value, got yes`},
		{wkt, `{"empty":{"a":1}}`, `byte 10, field empty: unknown field "a"`},
		{wkt, `{"any":[]}`, `byte 7, field any: expects an object, got a list`},
		{wkt, `{"any":{"a":1}}`, `byte 7, field any: expects "@type" in an Any`},
		{wkt, `{"any":{"@type":5}}`, `byte 16, field any: expects a string, got 5`},
		{wkt, `{"any":{"@type":""}}`, `byte 16, field any: "@type" is empty`},
		{wkt, `{"any":{"@type":"x/a.B"}}`, `byte 16, field any: the schema has no message type a.B`},
		{wkt, `{"any":{"@type":"sluice.test.p3.Empty","@type":"sluice.test.p3.Empty"}}`, `byte 39, field any: "@type" is there twice`},
		{wkt, `{"any":{"@type":"google.protobuf.Duration"}}`, `byte 42, field any: expects "value" in an Any with google.protobuf.Duration`},
		{wkt, `{"any":{"@type":"google.protobuf.Duration","value":"1s","value":"1s"}}`, `byte 56, field any: "value" is there twice`},
		{wkt, `{"any":{"@type":"google.protobuf.Duration","value":1}}`, `byte 51, field any.value: expects a duration of at most 315576000000 seconds, like "3.5s", got 1`},
		{wkt, `{"any":{"@type":"google.protobuf.Duration","x":1}}`, `byte 43, field any: unknown field x: an Any with google.protobuf.Duration has "@type" and "value"`},
		{wkt, `{"any":{"@type":"sluice.test.p3.Scalars","fBool":1}}`, `byte 49, field any.fBool: expects true or false, got 1`},
	} {
		got, err := testMessage(t, types, c.message).AppendWire([]byte("x"), []byte(c.json), nil)
		var je *JSONError
		if !errors.As(err, &je) || string(got) != "x" || err.Error() != "JSON, "+c.want {
			t.Errorf("%s:\n got %v\nwant JSON, %s", c.json, err, c.want)
		}
	}

	deep := strings.Repeat(`{"left":`, 100) + "{}" + strings.Repeat("}", 100)
	_, err := testMessage(t, types, tree).AppendWire(nil, []byte(deep), nil)
	var je *JSONError
	if !errors.As(err, &je) || je.Offset != 800 || je.Reason != "is nested more than 100 levels deep" || strings.Count(je.Field, "left") != 100 {
		t.Errorf("too deep: %v", err)
	}
}

// TestNearest has the names that a misspelt one means.
func TestNearest(t *testing.T) {
	names := []string{"displayName", "display_name", "name", "id", "createTime"}
	for in, want := range map[string]string{
		"nmae": "name", "Name": "name", "displayname": "displayName", "createtime": "createTime", "ID": "id",
		"creatTime": "createTime", "x": "", "something": "", "": "", strings.Repeat("n", 100): "",
	} {
		if got := nearest(in, names); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
