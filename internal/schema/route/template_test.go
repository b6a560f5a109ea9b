package route

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		template  string
		shape     string // as the naive matcher sees it
		variables string
		literal   bool
	}{
		{"/", "/", "", true},
		{"/v1/items", "/v1/items", "", true},
		{"/v1/items/{id}", "/v1/items/*", "id", false},
		{"/v1/{a.b.c}/x", "/v1/*/x", "a.b.c", false},
		{"/v1/{name=shelves/*/books/*}", "/v1/shelves/*/books/*", "name", false},
		{"/v1/{x=**}", "/v1/**", "x", false},
		{"/{x=**}", "/**", "x", false},
		{"/**", "/**", "", false},
		{"/v1/*/x/**", "/v1/*/x/**", "", false},
		{"/v1/{a=p/*}/{b=q/**}:cancel", "/v1/p/*/q/**:cancel", "a b", false},
		{"/v1/items:batchGet", "/v1/items:batchGet", "", true},
		{"/v1/a:b/c", "/v1/a:b/c", "", true},
		{"/v1/a:b:c", "/v1/a:b:c", "", true},
		{"/v1/{x}:b:c", "/v1/*:b:c", "x", false},
		{"/v1/{x=a:b}", "/v1/a:b", "x", true},
		{"/v1/{_a1}", "/v1/*", "_a1", false},
		{"/v1/a%20b", "/v1/a b", "", true},
		{"/v1/-._~!$&'()+,;=@", "/v1/-._~!$&'()+,;=@", "", true},
	} {
		got, err := Parse(test.template)
		if err != nil {
			t.Errorf("%s: %v", test.template, err)
			continue
		}
		if s := shape(got); s != test.shape {
			t.Errorf("%s: got the shape %s, want %s", test.template, s, test.shape)
		}
		if v := strings.Join(got.Variables(), " "); v != test.variables || got.Literal() != test.literal || got.String() != test.template {
			t.Errorf("%s: got %q, literal %v, %s", test.template, v, got.Literal(), got)
		}
	}
	if v, _ := Parse("/v1/{x}:b:c"); v.Verb() != "b:c" || v.First() != "v1" {
		t.Error(v.Verb(), v.First())
	}
	if v, _ := Parse("/{x}/a:b"); v.Verb() != "b" || v.First() != "" {
		t.Error(v.Verb(), v.First())
	}
}

// shape writes a template without its variables.
func shape(t *Template) string {
	var b strings.Builder
	for _, s := range t.segments {
		b.WriteString("/" + []string{s.text, "*", "**"}[s.kind])
	}
	if t.verb != "" {
		b.WriteString(":" + t.verb)
	}
	return b.String()
}

func TestParseErrors(t *testing.T) {
	for _, test := range []struct {
		template string
		column   int
		reason   string
	}{
		{"", 1, "begins with a slash"},
		{"v1/x", 1, "begins with a slash"},
		{"/v1/", 4, "does not end with a slash"},
		{"//v1", 2, "an empty segment"},
		{"/v1//x", 5, "an empty segment"},
		{"/:b", 2, "an empty segment"},
		{"/v1/x:", 7, "the verb after : is missing"},
		{"/v1/{x}:", 9, "the verb after : is missing"},
		{"/v1/{x}:b/c", 10, "ends the template"},
		{"/v1/*:b/c", 8, "ends the template"},
		{"/v1/{x}:{y}", 9, "a variable is a whole segment"},
		{"/v1/{x", 5, "write {x}"},
		{"/v1/{x=a/*", 5, "a } is missing"},
		{"/v1/{}", 6, "the name of a field is missing"},
		{"/v1/{.a}", 6, "the name of a field is missing"},
		{"/v1/{a.}", 8, "the name of a field is missing"},
		{"/v1/{1a}", 6, "the name of a field is missing"},
		{"/v1/{a-b}", 7, "'-' in the name of a field"},
		{"/v1/{a=}", 8, "an empty segment"},
		{"/v1/{a=x/}", 10, "an empty segment"},
		{"/v1/{a=x//y}", 10, "an empty segment"},
		{"/v1/{a={b}}", 8, "a variable in a variable"},
		{"/v1/{a=*b}", 9, "'b' follows a wildcard"},
		{"/v1/{a=b*}", 9, "a wildcard is a whole segment"},
		{"/v1/{a}b", 8, "'b' follows a wildcard"},
		{"/v1/{a}{b}", 8, "'{' follows a wildcard"},
		{"/v1/b{a}", 6, "put a slash before it"},
		{"/v1/***", 7, "'*' follows a wildcard"},
		{"/v1/a*", 6, "a wildcard is a whole segment"},
		{"/v1/}", 5, "closes nothing"},
		{"/v1/**/x", 8, "** is the last segment"},
		{"/v1/{a=**}/x", 12, "** is the last segment"},
		{"/v1/{a=**/x}", 11, "** is the last segment"},
		{"/v1/{a}/{a}", 10, "there twice"},
		{"/v1/{a}/{a.b}", 10, "a part of the other"},
		{"/v1/{a.b}/{a}", 12, "a part of the other"},
		{"/v1/a b", 6, "write %20"},
		{"/v1/a?b", 6, "write %3F"},
		{"/v1/ä", 5, "write %C3"},
		{"/v1/a%2", 6, "percent sign itself is %25"},
		{"/v1/a%zz", 6, "percent sign itself is %25"},
		{"/v1/x:a%2", 8, "percent sign itself is %25"},
		{strings.Repeat("/x", MaxSegments+1), 2*MaxSegments + 2, "more than 64 segments"},
		{"/" + strings.Repeat("x", MaxTemplate), 1, "the limit is 2048"},
	} {
		_, err := Parse(test.template)
		var at *ParseError
		if !errors.As(err, &at) || at.Column != test.column || !strings.Contains(at.Reason, test.reason) {
			t.Errorf("%s: got %v, want column %d, %s", test.template, err, test.column, test.reason)
		}
	}
	if _, err := Parse("/v1/{x"); err.Error() != `path template "/v1/{x", column 5: the variable is not closed: write {x}` {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"/", "/v1/{a.b=x/*/**}:verb", "/v1/*/a%20b/{c}", "/a:b/c:d", "/v1/{x}:b:c", "/{a=**/b}", "/{a}/{a}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tmpl, err := Parse(s)
		if err != nil {
			var at *ParseError
			if !errors.As(err, &at) || at.Column < 1 || at.Column > len(s)+1 {
				t.Errorf("%q: got %v", s, err)
			}
			return
		}
		// Written out from its parts, it is the same template.
		text := write(tmpl)
		if len(text) > MaxTemplate {
			return
		}
		again, err := Parse(text)
		if err != nil {
			t.Fatalf("%q, written as %q: %v", s, text, err)
		}
		if shape(again) != shape(tmpl) || !slices.Equal(again.vars, tmpl.vars) || tmpl.String() != s {
			t.Errorf("%q, written as %q: got %+v, want %+v", s, text, again, tmpl)
		}
	})
}

// write writes a template from its parts, with each variable's pattern and each letter
// that is not plain encoded.
func write(t *Template) string {
	var b strings.Builder
	for i, s := range t.segments {
		opened := ""
		for _, v := range t.vars {
			if v.from == i {
				opened = "{" + v.path + "="
			}
		}
		b.WriteString("/" + opened + []string{percent(s.text), "*", "**"}[s.kind])
		for _, v := range t.vars {
			if v.to == i+1 {
				b.WriteString("}")
			}
		}
	}
	if t.verb != "" {
		b.WriteString(":" + percent(t.verb))
	}
	return b.String()
}

// percent encodes all but letters and digits.
func percent(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; alpha(c) || digit(c) {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + string("0123456789abcdef"[c>>4]) + string("0123456789ABCDEF"[c&15]))
		}
	}
	return b.String()
}

func TestSegments(t *testing.T) {
	tmpl, err := Parse("/v1/{name=a%20b/*}/{x}/*/{y=**}:go")
	if err != nil {
		t.Fatal(err)
	}
	want := []Segment{{Literal: "v1"}, {Literal: "a b", Variable: "name"}, {Wildcard: "*", Variable: "name"},
		{Wildcard: "*", Variable: "x", Whole: true}, {Wildcard: "*"}, {Wildcard: "**", Variable: "y"}}
	if got := tmpl.Segments(); !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}
