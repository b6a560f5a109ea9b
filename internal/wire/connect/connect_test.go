package connect

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protowire"
)

func TestError(t *testing.T) {
	detail := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "type.googleapis.com/a.B")
	detail = protowire.AppendBytes(protowire.AppendTag(detail, 2, protowire.BytesType), []byte{1, 2})
	details := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 5)
	details = protowire.AppendBytes(protowire.AppendTag(details, 3, protowire.BytesType), detail)
	for want, st := range map[string]rpc.Status{
		`{"code":"not_found"}`:                 {Code: rpc.NotFound},
		`{"code":"unknown"}`:                   {Code: 17},
		`{"code":"canceled","message":"a\"b"}`: {Code: rpc.Canceled, Message: `a"b`},
		`{"code":"not_found","message":"x","details":[{"type":"a.B","value":"AQI"}]}`: {Code: rpc.NotFound, Message: "x", Details: details},
	} {
		if got := string(AppendError(nil, &st)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestEnd(t *testing.T) {
	for want, end := range map[string]struct {
		st rpc.Status
		md rpc.Metadata
	}{
		`{}`:                                     {},
		`{"metadata":{"a":["1","2"],"b":["3"]}}`: {md: rpc.Metadata{{Key: "a", Value: "1"}, {Key: "b", Value: "3"}, {Key: "a", Value: "2"}}},
		`{"error":{"code":"internal"},"metadata":{"a-bin":["AQ"]}}`: {rpc.Status{Code: rpc.Internal}, rpc.Metadata{{Key: "a-bin", Value: "AQ"}}},
	} {
		got := string(AppendEnd(nil, &end.st, end.md))
		if !json.Valid([]byte(got)) {
			t.Errorf("%s is no JSON", got)
		}
		var a, b any
		json.Unmarshal([]byte(got), &a)
		json.Unmarshal([]byte(want), &b)
		ja, _ := json.Marshal(a)
		jb, _ := json.Marshal(b)
		if string(ja) != string(jb) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func FuzzEnd(f *testing.F) {
	f.Add(uint32(5), "msg", []byte("details"), "key", "value")
	f.Fuzz(func(t *testing.T, code uint32, msg string, details []byte, k, v string) {
		b := AppendEnd(nil, &rpc.Status{Code: rpc.Code(code), Message: msg, Details: details}, rpc.Metadata{{Key: k, Value: v}})
		if !json.Valid(b) {
			t.Errorf("%s is no JSON", b)
		}
	})
}

func TestTimeout(t *testing.T) {
	for in, want := range map[string]time.Duration{"0": 0, "9999999999": 9999999999 * time.Millisecond} {
		if d, ok := ParseTimeout(in); !ok || d != want {
			t.Error(in, d, ok)
		}
	}
	for _, in := range []string{"", "-1", "10000000000", "1.5", "x"} {
		if _, ok := ParseTimeout(in); ok {
			t.Errorf("%q was taken", in)
		}
	}
}

func TestGet(t *testing.T) {
	msg := []byte{0xff, 0xfe, 0xfd}
	b64 := base64.URLEncoding.EncodeToString(msg)
	for path, ok := range map[string]bool{
		"/s/M?connect=v1&encoding=proto&base64=1&message=" + url.QueryEscape(b64): true,
		"/s/M?message=__79&base64=1&x=y&encoding=proto":                           true,
		"/s/M?connect=v1&encoding=proto":                                          false,
		"/s/M?connect=v1&message=":                                                false,
		"/s/M?connect=v2&encoding=proto&message=":                                 false,
		"/s/M?connect=v1&encoding=proto&base64=1&message=%zz":                     false,
		"/s/M?connect=v1&encoding=proto&base64=1&message=*":                       false,
	} {
		g, err := ParseGet(path)
		if (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
		if ok && string(g.Message) != string(msg) {
			t.Errorf("%s: %x", path, g.Message)
		}
	}
	if IsGet("/s/M?a=b") || IsGet("/s/M") || !IsGet("/s/M?connect=v1") || !IsGet("/s/M?message=&encoding=proto") {
		t.Error("IsGet")
	}
}

func FuzzGet(f *testing.F) {
	f.Add("/s/M?connect=v1&encoding=proto&base64=1&message=AQ")
	f.Fuzz(func(t *testing.T, path string) {
		g, err := ParseGet(path)
		if err == nil && len(g.Message) > len(path) {
			t.Error("longer than its path")
		}
	})
}
