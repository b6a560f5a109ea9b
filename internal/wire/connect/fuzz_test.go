package connect

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// said is the JSON of an error, read by someone else's parser.
type said struct {
	Code    string
	Message *string
	Details []struct{ Type, Value string }
}

// TestStrings: messages are JSON whatever is in them.
func TestStrings(t *testing.T) {
	for in, want := range map[string]string{
		"\x00\x1f\"\\/":  "\x00\x1f\"\\/",
		"日本語 \U0001f600": "日本語 \U0001f600",
		"\u2028<script>": "\u2028<script>",
		"a\xffb":         "a\ufffdb", // JSON has no way to say it
	} {
		var e said
		if err := json.Unmarshal(AppendError(nil, &rpc.Status{Code: rpc.Unknown, Message: in}), &e); err != nil || *e.Message != want {
			t.Errorf("%q: %v, %v", in, e.Message, err)
		}
	}
}

// TestDetails: broken details end the list and break nothing.
func TestDetails(t *testing.T) {
	detail := func(url string, value []byte) []byte {
		b := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), value) // in any order
		b = protowire.AppendVarint(protowire.AppendTag(b, 9, protowire.VarintType), 1)      // unknown fields
		if url != "" {
			b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), url)
		}
		return protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), b)
	}
	good := detail("type.googleapis.com/a.B", []byte{0xfb, 0xff})
	for name, c := range map[string]struct {
		details []byte
		want    string
	}{
		"none":              {nil, ""},
		"two":               {append(append([]byte{}, good...), good...), `[{"type":"a.B","value":"+/8"},{"type":"a.B","value":"+/8"}]`},
		"without a type":    {append(detail("", []byte{1}), good...), `[{"type":"a.B","value":"+/8"}]`},
		"cut":               {append(append([]byte{}, good...), good[:len(good)-1]...), `[{"type":"a.B","value":"+/8"}]`},
		"garbage":           {[]byte{0xff, 0xff}, ""},
		"garbage inside":    {append([]byte{3<<3 | 2, 2, 0xff, 0xff}, good...), `[{"type":"a.B","value":"+/8"}]`},
		"a value cut":       {[]byte{3<<3 | 2, 2, 2<<3 | 2, 9}, ""},
		"an unknown is cut": {[]byte{3<<3 | 2, 1, 9 << 3}, ""},
		"a varint is cut":   {[]byte{1 << 3}, ""},
	} {
		want := `{"code":"aborted"}`
		if c.want != "" {
			want = `{"code":"aborted","details":` + c.want + `}`
		}
		if got := string(AppendError(nil, &rpc.Status{Code: rpc.Aborted, Details: c.details})); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// FuzzError: the error is JSON with a known code, and says the message again.
func FuzzError(f *testing.F) {
	f.Add(uint32(5), "a message", "type.googleapis.com/a.B", []byte{1, 2}, []byte{})
	f.Add(uint32(17), "\xff\"", "", []byte{}, []byte{3<<3 | 2, 9})
	f.Fuzz(func(t *testing.T, code uint32, msg, typeURL string, value, garbage []byte) {
		detail := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), typeURL)
		detail = protowire.AppendBytes(protowire.AppendTag(detail, 2, protowire.BytesType), value)
		details := protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), detail)
		b := AppendError([]byte("x"), &rpc.Status{Code: rpc.Code(code), Message: msg, Details: append(details, garbage...)})
		var e said
		if err := json.Unmarshal(b[1:], &e); err != nil || b[0] != 'x' {
			t.Fatalf("%q: %v", b, err)
		}
		if e.Code != CodeName(rpc.Code(code)) || e.Code == "" {
			t.Errorf("code %q", e.Code)
		}
		if (e.Message == nil) != (msg == "") || utf8.ValidString(msg) && msg != "" && *e.Message != msg {
			t.Errorf("message %q, want %q", *e.Message, msg)
		}
		if typeURL == "" {
			return
		}
		if len(e.Details) == 0 {
			t.Fatal("no details")
		}
		got, err := base64.RawStdEncoding.DecodeString(e.Details[0].Value)
		if err != nil || string(got) != string(value) || strings.Contains(e.Details[0].Type, "/") {
			t.Errorf("detail %+v, %v", e.Details[0], err)
		}
	})
}

// FuzzGetRoundTrip: what a client writes is read, in any order and with any padding.
func FuzzGetRoundTrip(f *testing.F) {
	f.Add("proto", "gzip", []byte("hello"), uint8(0))
	f.Add("json", "", []byte("{\"a\": 1}+%"), uint8(7))
	f.Fuzz(func(t *testing.T, codec, compression string, message []byte, how uint8) {
		params := []string{"connect=v1", "encoding=" + url.QueryEscape(codec), "x=%zz", "compression=" + url.QueryEscape(compression)}
		switch how % 3 {
		case 0:
			params = append(params, "base64=1", "message="+base64.RawURLEncoding.EncodeToString(message))
		case 1:
			params = append(params, "message="+base64.URLEncoding.EncodeToString(message), "base64=1")
		case 2:
			params = append(params, "message="+url.QueryEscape(string(message)))
		}
		turn := int(how) % len(params)
		path := "/s/M?" + strings.Join(append(params[turn:len(params):len(params)], params[:turn]...), "&")
		g, err := ParseGet(path)
		if compression == "identity" {
			compression = ""
		}
		if err != nil || !IsGet(path) || g.Codec != codec || g.Compression != compression || string(g.Message) != string(message) {
			t.Errorf("%s: %+v, %v", path, g, err)
		}
	})
}

var digits = regexp.MustCompile(`^[0-9]{1,10}$`)

// FuzzTimeout: one to ten digits, and nothing else.
func FuzzTimeout(f *testing.F) {
	for _, s := range []string{"0", "9999999999", "00000000000", "-1", "+1", "1_0", "0x1", "1e3", " 1", "١"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := ParseTimeout(s)
		if ok != digits.MatchString(s) || d < 0 || d > 9999999999*time.Millisecond {
			t.Errorf("%q: %v, %v", s, d, ok)
		}
	})
}
