package route

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// fit matches a path with one template, the simple way: it cuts path and template and
// compares their parts. Rank orders templates that fit one path; the least is the best.
func fit(t *Template, path string) (captures []Capture, rank []int, ok bool) {
	if len(path) > MaxPath || !strings.HasPrefix(path, "/") {
		return nil, nil, false
	}
	if _, err := url.PathUnescape(path); err != nil {
		return nil, nil, false
	}
	rank = []int{0} // without a verb it is last; a longer verb goes before a shorter one
	if t.verb != "" {
		found := false
		for i, c := range path {
			if verb, _ := url.PathUnescape(path[i+1:]); c == ':' && verb == t.verb && !strings.Contains(path[i:], "/") {
				path, found, rank[0] = path[:i], true, i-len(path)
				break
			}
		}
		if !found {
			return nil, nil, false
		}
	}
	parts := strings.Split(path, "/")[1:]
	for i, s := range t.segments {
		if s.kind == rest {
			rank = append(rank, 4)
			parts = append(parts[:min(i, len(parts))], strings.Join(parts[min(i, len(parts)):], "/"))
			break
		}
		if i >= len(parts) {
			return nil, nil, false
		}
		text, _ := url.PathUnescape(parts[i])
		if s.kind == literal && text != s.text || s.kind == star && parts[i] == "" {
			return nil, nil, false
		}
		rank = append(rank, 1+int(s.kind))
	}
	if !slices.Contains(rank, 4) {
		if len(parts) > len(t.segments) {
			return nil, nil, false
		}
		rank = append(rank, 3) // the end goes before **
	}
	for _, v := range t.vars {
		// A ** that stands for nothing has no slash before it.
		value := strings.TrimSuffix(strings.Join(parts[min(v.from, len(parts)):min(v.to, len(parts))], "/"), "")
		if v.to == len(parts) && v.to-v.from > 1 && rank[len(rank)-1] == 4 && strings.Count(path, "/") < v.to {
			value = strings.TrimSuffix(value, "/")
		}
		if v.multi { // each reserved character is made safe from decoding
			for _, c := range reserved {
				for _, s := range []string{percent(string(c)), strings.ToLower(percent(string(c))), strings.ToUpper(percent(string(c)))} {
					value = strings.ReplaceAll(value, s, "%25"+s[1:])
				}
			}
		}
		value, _ = url.PathUnescape(value)
		captures = append(captures, Capture{v.path, value})
	}
	return captures, rank, true
}

// FuzzMatch compares a table with a walk over the list of its templates. The input has a
// path in its first line, and a route in each other one: a letter that is its verb (A
// stands for any), and a template.
func FuzzMatch(f *testing.F) {
	f.Add("/v1/shelves/a%2Fb/books/7:x\nG/v1/{n=shelves/*/books/*}\nG/v1/{p=**}:x\nP/v1/shelves/{s}/books/{b}:x\nA/v1/**")
	f.Add("/a/b/c\nG/a/*/c\nG/*/b/{c}\nG/a/b/{x=**}\nP/a/b/c")
	f.Add("/a:b:c\nG/{x}:b:c\nG/{x}:c\nG/{x=**}\nG/a:b:c\nP/{x=a:b:c}")
	f.Add("/a\nG/{x=a/**}\nG/a/**\nA/a\nG/")
	f.Add("/%61/%2f%3a%25//\nG/a/{x=**}\nG/{y}/*")
	f.Add("/a/\nG/{x=a/**}\nG/a/*")
	f.Fuzz(func(t *testing.T, input string) {
		path, lines, _ := strings.Cut(input, "\n")
		var b Builder[*Template]
		type added struct {
			verb string
			t    *Template
		}
		var list []added
		for line := range strings.SplitSeq(lines, "\n") {
			if line == "" || len(list) > 20 {
				continue
			}
			tmpl, err := Parse(line[1:])
			if err != nil {
				continue
			}
			verb := line[:1]
			if verb == "A" {
				verb = "*"
			}
			same := slices.ContainsFunc(list, func(a added) bool {
				return a.verb == verb && slices.Equal(a.t.segments, tmpl.segments) && a.t.verb == tmpl.verb
			})
			var conflict *Conflict[*Template]
			if err = b.Add(verb, tmpl, tmpl); errors.As(err, &conflict) != same {
				t.Fatalf("%s %s: got %v, want a conflict: %v", verb, tmpl, err, same)
			}
			if err == nil {
				list = append(list, added{verb, tmpl})
			}
		}
		tbl := b.Build()
		var verbs []string
		for _, a := range list {
			if _, _, ok := fit(a.t, path); ok && !slices.Contains(verbs, a.verb) {
				verbs = append(verbs, a.verb)
			}
		}
		slices.SortFunc(verbs, compareVerbs)
		if got := tbl.Verbs(path); !slices.Equal(got, verbs) {
			t.Errorf("%q: got verbs %v, want %v", path, got, verbs)
		}
		for _, verb := range []string{"G", "P", "none"} {
			var want *Template
			var captures []Capture
			var best []int
			for _, a := range list {
				if a.verb != verb && a.verb != "*" {
					continue
				}
				if c, rank, ok := fit(a.t, path); ok {
					if a.verb == "*" {
						rank = append(rank, 1)
					}
					if want == nil || slices.Compare(rank, best) < 0 {
						want, captures, best = a.t, c, rank
					}
				}
			}
			got, c, ok := tbl.Match(verb, path, nil)
			if got != want || ok != (want != nil) || !slices.Equal(c, captures) {
				t.Errorf("%s %q: got %v %q, want %v %q", verb, path, got, c, want, captures)
			}
		}
	})
}
