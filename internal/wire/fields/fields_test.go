package fields

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []exchange.Field
		err  string
	}{
		{in: ""},
		{in: ":path: /a.B/C\r\nX-Id:  7 \r\n", want: []exchange.Field{{Name: ":path", Value: "/a.B/C"}, {Name: "x-id", Value: "7"}}},
		{in: "a: b:c\r\nd:", want: []exchange.Field{{Name: "a", Value: "b:c"}, {Name: "d"}}},
		{in: "a: b\nc: d\n", want: []exchange.Field{{Name: "a", Value: "b"}, {Name: "c", Value: "d"}}},
		{in: "a: b\r\n\r\n", err: "line 2: it is empty"},
		{in: "a\r\n", err: "no colon"},
		{in: ": b\r\n", err: "no colon"},
		{in: "a b: c\r\n", err: `"a b" is not a field name`},
		{in: "a:: c\r\n", want: []exchange.Field{{Name: "a", Value: ": c"}}},
		{in: "::a: c\r\n", err: "not a field name"},
		{in: "a: b\x00\r\n", err: "control character"},
		{in: "a: b\rc: d\r\n", err: "control character"},
		{in: "a:" + strings.Repeat(" ", 99) + strings.Repeat("x", 200-Overhead-1), want: []exchange.Field{{Name: "a", Value: strings.Repeat("x", 200-Overhead-1)}}},
		{in: "a:" + strings.Repeat("x", 200-Overhead), err: "too large"},
	} {
		got, err := Parse(nil, []byte(tt.in), 200)
		if tt.err == "" && (err != nil || !slices.Equal(got, tt.want)) || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%q: got %v, %v; want %v, %s", tt.in, got, err, tt.want, tt.err)
		}
	}
	if _, err := Parse(nil, []byte(strings.Repeat("a: b\r\n", 100)), 200); !errors.Is(err, ErrTooLarge) {
		t.Errorf("many fields: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(":path: /a.B/C\r\nx-id: 7\r\n"))
	f.Add([]byte("a: b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := Parse(nil, b, 1<<10)
		if err != nil {
			return
		}
		again, err := Parse(nil, Append(nil, list), 1<<10)
		if err != nil || !slices.Equal(again, list) {
			t.Fatalf("%q: %v was written and read as %v, %v", b, list, again, err)
		}
	})
}
