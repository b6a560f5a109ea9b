package jsonstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// split feeds s in pieces of n bytes.
func split(s *Splitter, in string, n int) (docs []string, err error) {
	f := func(doc []byte) error {
		docs = append(docs, string(doc))
		return nil
	}
	for piece := range slices.Chunk([]byte(in), n) {
		if err = s.Feed(piece, f); err != nil {
			return docs, err
		}
	}
	return docs, s.Close(f)
}

func TestSplit(t *testing.T) {
	for _, tc := range []struct {
		name string
		form Form
		in   string
		want []string
		err  string
	}{
		{"nothing", Auto, "", nil, ""},
		{"white space", Auto, " \r\n\t", nil, ""},
		{"one", Auto, `{"a":[1,{"b":"]}"}]}`, []string{`{"a":[1,{"b":"]}"}]}`}, ""},
		{"lines", Auto, "{}\n{\"a\":\"\\\"}\"}\n", []string{"{}", `{"a":"\"}"}`}, ""},
		{"lines with CR", Documents, "{}\r\n\r\n[1]\r\n", []string{"{}", "[1]"}, ""},
		{"without space", Auto, `{}{}"a""b"1 2 true`, []string{"{}", "{}", `"a"`, `"b"`, "1", "2", "true"}, ""},
		{"numbers", Documents, "1\n-2.5e3\nnull", []string{"1", "-2.5e3", "null"}, ""},
		{"an array", Auto, ` [ {"a":1} , [2], "x,]" ,3,null ] `, []string{`{"a":1}`, "[2]", `"x,]"`, "3", "null"}, ""},
		{"an empty array", Auto, "[]", nil, ""},
		{"array by type", Array, "[1]", []string{"1"}, ""},
		{"a list as a document", Documents, "[1]", []string{"[1]"}, ""},
		{"a sequence", Auto, "\x1e{}\n\x1e\n\x1e1\n\x1e[2]\n", []string{"{}", "1", "[2]"}, ""},
		{"sequence without line feeds", Sequence, "\x1e{}\x1e1\x1e2", []string{"{}", "1", "2"}, ""},

		{"cut off", Auto, `{"a":`, nil, "document 1 of the stream, at byte 5: the stream ends inside of a document"},
		{"second cut off", Auto, "{}\n{\"a\":\"x}", []string{"{}"}, "document 2 of the stream, at byte 11: the stream ends inside"},
		{"array cut off", Auto, `[{},`, []string{"{}"}, "document 1 of the stream, at byte 4: the stream ends before the ']'"},
		{"array without end", Auto, `[`, nil, "ends before the ']'"},
		{"empty array cut off", Auto, `[ `, nil, "ends before the ']'"},
		{"comma at the end", Auto, `[1,]`, []string{"1"}, "at byte 3: an element of the array is expected, not ']'"},
		{"no comma", Auto, `[1 2]`, []string{"1"}, "at byte 3: a ',' or the ']' of the array is expected"},
		{"two commas", Auto, `[1,,2]`, []string{"1"}, "an element of the array is expected, not ','"},
		{"more", Auto, `[1]2`, []string{"1"}, "at byte 3: there is more after"},
		{"no array", Array, `{}`, nil, "an array is expected"},
		{"commas", Documents, `{},{}`, []string{"{}"}, "at byte 2: a JSON document is expected, not ','"},
		{"RS inside", Sequence, "\x1e{\"a\":\x1e{}", nil, "at byte 6: the document is cut off by an RS"},
		{"too large", Auto, `{} "12345678901234567890123456789"`, []string{"{}"}, "document 2 of the stream, at byte 3: the document is larger than the limit of 25 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for n := 1; n <= len(tc.in)+1; n++ {
				s := &Splitter{Form: tc.form, Limit: 25}
				docs, err := split(s, tc.in, n)
				if diff := cmp.Diff(tc.want, docs); diff != "" {
					t.Errorf("pieces of %d: %s", n, diff)
				}
				if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
					t.Errorf("pieces of %d: error %v, want %q", n, err, tc.err)
				}
				if err != nil && s.Feed([]byte("{}"), nil) == nil {
					t.Error("goes on after an error")
				}
			}
		})
	}
}

func TestErrors(t *testing.T) {
	s := &Splitter{Limit: 100}
	wrong := errors.New("wrong")
	err := s.Feed([]byte("{}"), func([]byte) error { return wrong })
	var at *Error
	if !errors.Is(err, wrong) || !errors.As(err, &at) || at.Document != 1 || at.Offset != 0 {
		t.Errorf("%v", err)
	}
	s = &Splitter{Limit: 4}
	if err := s.Feed([]byte(`"1234"`), nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
	if s.Buffered() != 0 {
		t.Error("keeps what is too large")
	}
}

// A large document does not leave its buffer behind.
func TestBuffer(t *testing.T) {
	s := &Splitter{Limit: 1 << 20}
	if _, err := split(s, `"`+strings.Repeat("x", 1<<18)+`"`, 1000); err != nil {
		t.Fatal(err)
	}
	if cap(s.buf) > keep {
		t.Errorf("%d bytes kept", cap(s.buf))
	}
}

// FuzzSplit compares with encoding/json, and pieces of any size with the whole.
func FuzzSplit(f *testing.F) {
	f.Add([]byte(`{"a":1}{"b":"\""}`), 3)
	f.Add([]byte(`[1,"x",{}]`), 1)
	f.Add([]byte("\x1e{}\n\x1e1\n"), 2)
	f.Add([]byte("true false\nnull"), 4)
	f.Fuzz(func(t *testing.T, in []byte, n int) {
		n = max(1, n%64)
		whole, err1 := split(&Splitter{Limit: 1 << 16}, string(in), len(in)+1)
		parts, err2 := split(&Splitter{Limit: 1 << 16}, string(in), n)
		if diff := cmp.Diff(whole, parts); diff != "" {
			t.Error(diff)
		}
		if (err1 == nil) != (err2 == nil) || err1 != nil && err1.Error() != err2.Error() {
			t.Errorf("errors %v and %v", err1, err2)
		}
		// Sound documents are found again, in every form.
		var want []string
		for d := json.NewDecoder(bytes.NewReader(in)); ; {
			var m json.RawMessage
			if d.Decode(&m) != nil {
				break
			}
			want = append(want, string(m))
		}
		for form, stream := range map[Form]string{
			Documents: strings.Join(want, "\n"),
			Array:     "[" + strings.Join(want, " , ") + "]",
			Sequence:  "\x1e" + strings.Join(want, "\n\x1e"),
		} {
			docs, err := split(&Splitter{Form: form, Limit: 1 << 16}, stream, n)
			if diff := cmp.Diff(want, docs); diff != "" || err != nil {
				t.Errorf("%q: %s %v", stream, diff, err)
			}
		}
	})
}
