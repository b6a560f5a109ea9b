package transcode

import (
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// FuzzDecode compares AppendWire with protojson.
func FuzzDecode(f *testing.F) {
	o := newWireOracle(f)
	messages := []protoreflect.FullName{
		"sluice.test.p3.Scalars", "sluice.test.p3.Optionals", "sluice.test.p3.Lists", "sluice.test.p3.Maps", "sluice.test.p3.Oneofs",
		"sluice.test.p3.Tree", "sluice.test.p3.WellKnown", "sluice.test.p3.WellKnownLists", "sluice.test.p3.Names",
		"sluice.test.p2.All", "sluice.test.p2.Required", "sluice.test.ed.Mix", "sluice.test.shop.Order",
	}
	seeds := map[int]string{
		0:  `{"fBool":true,"fInt32":-1e3,"fFloat":"NaN","fDouble":1.5E-3,"fBytes":"_-8","fString":"\ud83d\ude00\n","fEnum":"RED"}`,
		2:  `{"fInt32":[1,2.0,"3"],"fString":["","a"],"fMessage":[{},{"f_bool":false}],"fEnum":[1,"GREEN"]}`,
		3:  `{"byBool":{"true":1},"bySint32":{"-5":"AA=="},"byString":{"a":"b","\u0062":""},"values":{"x":null,"y":[1,{}]}}`,
		4:  `{"aNull":null,"before":"x","x":-0.0}`,
		6:  `{"any":{"value":"1.5s","@type":"type.googleapis.com/google.protobuf.Duration"},"timestamp":"2026-01-02T03:04:05.678+01:00","mask":"aB,c.d","wInt64":"5","struct":{"a":[null,1,"x",{}]}}`,
		7:  `{"any":[{},{"fInt32":1,"@type":"x/sluice.test.p3.Scalars"}],"null":[null,"NULL_VALUE",0],"namedAny":{"a":{"@type":"/google.protobuf.Any","value":{}}}}`,
		9:  `{"one":{"inner":{"name":"x"}},"Many":[{"id":1}],"[sluice.test.p2.ext_int32]":5,"chosen":{"a":1}}`,
		10: `{"id":1,"name":"","times":{"at":["2026-01-01T00:00:00Z"]},"any":{"@type":"sluice.test.p2.Required"}}`,
		11: `{"implicit":0,"delimited":{"delimitedDuration":"1s"},"closedMap":{"1":"ON"},"chosen":{}}`,
		12: benchJSON,
	}
	for i, seed := range seeds {
		f.Add(byte(i), seed, i%2 == 0)
	}
	f.Add(byte(0), `{"fInt32":1e,"x":[1e+]}`, true)
	f.Fuzz(func(t *testing.T, which byte, doc string, discard bool) {
		o.check(t, testMessage(t, o.types, messages[int(which)%len(messages)]).desc, []byte(doc), discard)
	})
}
