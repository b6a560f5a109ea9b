package websocket

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sluice-rpc/sluice/rpc"
)

func TestCloseCode(t *testing.T) {
	for c := range rpc.Code(rpc.Codes) {
		got := CloseCode(c)
		if !got.Valid() || StatusCode(got) != c {
			t.Errorf("%v: %d, back %v", c, got, StatusCode(got))
		}
		if c != rpc.OK && got != Code(4000+c) {
			t.Errorf("%v: %d", c, got)
		}
	}
	if got := CloseCode(99); got != 4002 {
		t.Errorf("an unknown code is %d", got)
	}
	for code, want := range map[Code]rpc.Code{
		1000: rpc.OK, 4000: rpc.OK, 1001: rpc.Unavailable, 1002: rpc.Internal, 1003: rpc.InvalidArgument, 1005: rpc.Unknown,
		1006: rpc.Unavailable, 1007: rpc.InvalidArgument, 1008: rpc.PermissionDenied, 1009: rpc.ResourceExhausted,
		1010: rpc.Internal, 1011: rpc.Internal, 1012: rpc.Unavailable, 1013: rpc.Unavailable, 1014: rpc.Unavailable,
		1015: rpc.Unavailable, 1016: rpc.Unknown, 3000: rpc.Unknown, 4016: rpc.Unauthenticated, 4017: rpc.Unknown, 4999: rpc.Unknown,
	} {
		if got := StatusCode(code); got != want {
			t.Errorf("%d: got %v, want %v", code, got, want)
		}
	}
}

func TestReason(t *testing.T) {
	for name, test := range map[string]struct{ in, want string }{
		"short":          {"gone", "gone"},
		"123":            {strings.Repeat("a", 123), strings.Repeat("a", 123)},
		"124":            {strings.Repeat("a", 124), strings.Repeat("a", 123)},
		"in a character": {strings.Repeat("a", 122) + "ß", strings.Repeat("a", 122)},
		"of four bytes":  {strings.Repeat("a", 120) + "\U0001f600", strings.Repeat("a", 120)},
		"that just fits": {strings.Repeat("a", 119) + "\U0001f600x", strings.Repeat("a", 119) + "\U0001f600"},
		"invalid":        {"a\xffb", "a\uFFFDb"},
	} {
		if got := Reason(test.in); got != test.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func FuzzReason(f *testing.F) {
	f.Add(strings.Repeat("ä", 70))
	f.Add(strings.Repeat("\xff\xf0\x9f", 60))
	f.Fuzz(func(t *testing.T, s string) {
		r := Reason(s)
		if len(r) > 123 || !utf8.ValidString(r) || utf8.ValidString(s) && !strings.HasPrefix(s, r) {
			t.Errorf("%q: %q", s, r)
		}
		if utf8.ValidString(s) && len(s) > 123 && len(r) < 120 {
			t.Errorf("%q is too short", r)
		}
	})
}
