package wsjson

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-rpc/sluice/rpc"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]struct {
		kind Kind
		rest string
	}{
		``:                                {End, ""},
		" \n":                             {End, ""},
		`{"@end":true}`:                   {End, ""},
		` { "@end" : true } `:             {End, ""},
		`{"@message":{"a":{}}}`:           {Message, `{"a":{}}`},
		"{\"@message\" : \t[1, 2]\r\n}\n": {Message, `[1, 2]`},
		`{"@message":{},"x":1}`:           {Message, `{},"x":1`}, // which is no JSON
		`{"@message":}`:                   {Message, ``},
		`{"@message":{}`:                  {Message, `{`},
		`{"@head":{}}`:                    {Head, `{}`},

		`{"@end":false}`:        {},
		`{"@end":1}`:            {},
		`{"@end":true,"x":1}`:   {},
		`{"@End":true}`:         {},
		`{"a":1}`:               {},
		`{}`:                    {},
		`{`:                     {},
		`}`:                     {},
		`{"@message"}`:          {},
		`{"@message}`:           {},
		`{@message:1}`:          {},
		`[{"@message":1}]`:      {},
		`"@end"`:                {},
		`true`:                  {},
		`{"@message":1}{}x`:     {},
		`{"\u0040message":{}}`:  {},
		`x{"@message":{}}`:      {},
		`{,"@message":{}}`:      {},
		`{"@error":{"code":1}}`: {},
	} {
		kind, rest, err := Parse([]byte(in))
		if kind != want.kind || string(rest) != want.rest || (err == nil) != (want.kind != 0) {
			t.Errorf("%q: %v, %q, %v", in, kind, rest, err)
		}
	}
}

func reserved(name string) bool { return strings.HasPrefix(name, "grpc-") || name == "te" }

func TestParseHead(t *testing.T) {
	for _, test := range []struct {
		in      string
		md      rpc.Metadata
		timeout time.Duration
	}{
		{`{}`, nil, 0},
		{`{"metadata":{}}`, rpc.Metadata{}, 0},
		{`{"timeout":"1.5s"}`, nil, 1500 * time.Millisecond},
		{`{"timeout":"0.000000001s"}`, nil, 1},
		{`{"timeout":"999999999s"}`, nil, 999999999 * time.Second},
		{
			`{"timeout":"3s","metadata":{"z":"1","a":["2","3"],"b-bin":"AQI=","c-bin":["_"],"a":"4","authorization":"Bearer x"}}`,
			nil, -1,
		},
		{
			`{"timeout":"3s","metadata":{"z":"1","a":["2","3"],"b-bin":"AQI=","c-bin":["AQI",""],"e":[],"a":"4","d":" \"\\"}}`,
			rpc.Metadata{
				{Key: "z", Value: "1"}, {Key: "a", Value: "2"}, {Key: "a", Value: "3"}, {Key: "b-bin", Value: "AQI"},
				{Key: "c-bin", Value: "AQI"}, {Key: "c-bin", Value: ""}, {Key: "a", Value: "4"}, {Key: "d", Value: ` "\`},
			},
			3 * time.Second,
		},
	} {
		md, timeout, err := ParseHead([]byte(test.in), 1<<20, reserved)
		if test.timeout < 0 {
			if err == nil {
				t.Errorf("%s: no error", test.in)
			}
			continue
		}
		if diff := cmp.Diff(test.md, md); diff != "" || timeout != test.timeout || err != nil {
			t.Errorf("%s: %v %v %s", test.in, timeout, err, diff)
		}
	}
	for in, want := range map[string]string{
		``:                                      "no JSON",
		`{`:                                     "no JSON",
		`1`:                                     "objects",
		`[]`:                                    "objects",
		`{}{}`:                                  "followed",
		`{},"x":1`:                              "",
		`{"metadata":[]}`:                       "objects",
		`{"metadata":{"a":1}}`:                  "neither",
		`{"metadata":{"a":{}}}`:                 "neither",
		`{"metadata":{"a":[1]}}`:                "not a string",
		`{"metadata":{"a":[["b"]]}}`:            "not a string",
		`{"metadata":{"a":["b"}}`:               "",
		`{"metadata":{"A":"b"}}`:                "lower case",
		`{"metadata":{"":"b"}}`:                 "lower case",
		`{"metadata":{":path":"b"}}`:            "lower case",
		`{"metadata":{"a b":"b"}}`:              "lower case",
		`{"metadata":{"grpc-timeout":"1S"}}`:    "grpc-timeout is reserved",
		`{"metadata":{"a":"ä"}}`:                "ASCII",
		`{"metadata":{"a":"x\r\nb: c"}}`:        "ASCII",
		`{"metadata":{"a-bin":"*"}}`:            "base64",
		`{"metadata":{"a-bin":"AQ\r\nI"}}`:      "base64",
		`{"metadata":{},"metadata":{"a":"b"}}`:  "twice",
		`{"timeout":1}`:                         "not a string",
		`{"timeout":"1"}`:                       "duration",
		`{"timeout":"-1s"}`:                     "duration",
		`{"timeout":"0s"}`:                      "duration",
		`{"timeout":"0.0s"}`:                    "duration",
		`{"timeout":"1ms"}`:                     "duration",
		`{"timeout":"1h1s"}`:                    "duration",
		`{"timeout":"1.s"}`:                     "duration",
		`{"timeout":".5s"}`:                     "duration",
		`{"timeout":"1.0000000001s"}`:           "duration",
		`{"timeout":"9999999999s"}`:             "duration",
		`{"metadata":{},"deadline":"tomorrow"}`: "deadline",
	} {
		if _, _, err := ParseHead([]byte(in), 1<<20, reserved); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestAppend(t *testing.T) {
	md := rpc.Metadata{{Key: "x-a", Value: "1"}, {Key: "x-b", Value: `"\`}, {Key: "x-a", Value: "2"}, {Key: "x-c-bin", Value: "AQI"}, {Key: "x-d", Value: "ä\xff\x01"}}
	for want, got := range map[string][]byte{
		`{"@head":{}}`: AppendHead(nil, nil),
		`{"@head":{"metadata":{"x-a":["1","2"],"x-b":"\"\\","x-c-bin":"AQI","x-d":"ä` + "\uFFFD" + `\u0001"}}}`: AppendHead(nil, md),
		`{"@end":{"status":{"code":0}}}`:                        AppendEnd(nil, []byte(`{"code":0}`), nil),
		`{"@end":{"status":{"code":5},"metadata":{"x-b":"1"}}}`: AppendEnd(nil, []byte(`{"code":5}`), rpc.Metadata{{Key: "x-b", Value: "1"}}),
	} {
		if string(got) != want || !json.Valid(got) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if !json.Valid([]byte(MessagePrefix + "{}" + MessageSuffix)) {
		t.Error("no message")
	}
}

// FuzzParse: what is no frame is refused; a head that is taken has metadata that can be
// sent, and says the same when it is written and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"@head":{"metadata":{"x-a":"1","x-b":["1","2"],"x-c-bin":"AQI="},"timeout":"1.5s"}}`))
	f.Add([]byte(`{"@message":{"text":"hello"}}`))
	f.Add([]byte(` {"@end" : true} `))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, rest, err := Parse(b)
		if (kind == 0) != (err != nil) || len(rest) > len(b) {
			t.Fatalf("%v, %q, %v", kind, rest, err)
		}
		if kind != 0 && json.Valid(rest) && !json.Valid(b) {
			t.Fatalf("%q is a frame with %q", b, rest)
		}
		if err != nil && (!utf8.ValidString(err.Error()) && utf8.Valid(b)) {
			t.Errorf("the error of %q is not UTF-8", b)
		}
		if kind != Head {
			return
		}
		md, timeout, err := ParseHead(rest, 1<<20, reserved)
		if err != nil {
			return
		}
		if timeout < 0 {
			t.Errorf("timeout %v", timeout)
		}
		for _, field := range md {
			if !validName(field.Key) || reserved(field.Key) || strings.ContainsFunc(field.Value, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%+v", field)
			}
		}
		_, rest, err = Parse(AppendHead(nil, md))
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := ParseHead(rest, 1<<20, reserved)
		if err != nil || len(again) != len(md) {
			t.Fatalf("%+v, %v", again, err)
		}
		for _, field := range md {
			if !cmp.Equal(again.Values(field.Key), md.Values(field.Key)) {
				t.Errorf("%+v became %+v", md, again)
			}
		}
	})
}

func TestParseHeadLimit(t *testing.T) {
	for in, most := range map[string]int{`{"metadata":{"a":"bc"}}`: 35, `{"metadata":{"a":["",""],"b":"c"}}`: 33 + 33 + 34} {
		if _, _, err := ParseHead([]byte(in), most, reserved); err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if _, _, err := ParseHead([]byte(in), most-1, reserved); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s in %d: %v", in, most-1, err)
		}
	}
}
