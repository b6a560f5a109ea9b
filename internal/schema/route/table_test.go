package route

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func parse(t testing.TB, s string) *Template {
	tmpl, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

// table makes a table of routes "VERB TEMPLATE"; a route is its own value.
func table(t testing.TB, b *Builder[string], routes ...string) *Table[string] {
	for _, r := range routes {
		verb, tmpl, _ := strings.Cut(r, " ")
		if err := b.Add(verb, parse(t, tmpl), r); err != nil {
			t.Fatal(err)
		}
	}
	return b.Build()
}

func captured(c []Capture) string {
	var s []string
	for _, c := range c {
		s = append(s, c.Path+"="+c.Value)
	}
	return strings.Join(s, " ")
}

// routes of TestMatch. Their order must not count, so they are added in several.
var routes = []string{
	"GET /", "GET /v1/items", "GET /v1/items/{id}", "GET /v1/items/me", "POST /v1/items/me", "POST /v1/items/{id}:cancel",
	"GET /v1/items/{id}:watch", "GET /v1/{name=shelves/*/books/*}", "GET /v1/{name=shelves/*}", "GET /v1/shelves/{shelf}/books/top",
	"GET /v1/{path=files/**}", "GET /v1/files/{id}/meta", "GET /v2/{a.b.c}/{d}", "DELETE /v2/{x}/{y}", "* /v2/{x}/{y}",
	"GET /v3/{x=**}:stat", "GET /v3/{x=**}", "GET /v3/items", "GET /v4/*/x/**", "GET /v4/a%2Fb", "GET /v4/{v=lit}", "GET /v5/a:b/c",
	"GET /v5/{x}", "GET /v5/{x}:two:colons", "GET /v5/{x}:colons", "PURGE /v1/items/me", "POST /v6/{x=a/**}", "GET /v6/{x=a/**}", "GET /v6/a",
	"GET /v7/x:%73tart",
}

func TestMatch(t *testing.T) {
	tests := []struct{ request, route, captures string }{
		{"GET /", "GET /", ""},
		{"GET //", "", ""},
		{"GET /v1/items", "GET /v1/items", ""},
		{"GET /v1/items/", "", ""}, // a trailing slash is another path, and "" is not *
		{"GET /v1//items", "", ""},
		{"GET /V1/items", "", ""},
		{"GET /v1/%69tems", "GET /v1/items", ""}, // literals compare decoded
		{"GET /v1/items/7", "GET /v1/items/{id}", "id=7"},
		{"GET /v1/items/me", "GET /v1/items/me", ""},
		{"POST /v1/items/me", "POST /v1/items/me", ""},
		{"POST /v1/items/you", "", ""},
		{"GET /v1/items/7:watch", "GET /v1/items/{id}:watch", "id=7"},
		{"GET /v1/items/7:wat%63h", "GET /v1/items/{id}:watch", "id=7"},
		{"GET /v1/items/7:other", "GET /v1/items/{id}", "id=7:other"},
		{"GET /v1/items/7:cancel", "GET /v1/items/{id}", "id=7:cancel"}, // :cancel is for POST only
		{"GET /v1/items/7%3Awatch", "GET /v1/items/{id}", "id=7:watch"}, // an encoded colon is a letter
		{"GET /v1/items/:watch", "GET /v1/items/{id}", "id=:watch"},     // "" is not *
		{"GET /v1/items/a:b:watch", "GET /v1/items/{id}:watch", "id=a:b"},
		{"GET /v1/items/a%2Fb", "GET /v1/items/{id}", "id=a/b"},
		{"GET /v1/items/a%2fb%20c+d%25", "GET /v1/items/{id}", "id=a/b c+d%"},
		{"GET /v1/items/a%2", "", ""},
		{"GET /v1/items/%zz", "", ""},
		{"GET /v1/items/%", "", ""},
		{"GET /v1/shelves/1", "GET /v1/{name=shelves/*}", "name=shelves/1"},
		{"GET /v1/shelves/1/books/2", "GET /v1/{name=shelves/*/books/*}", "name=shelves/1/books/2"},
		{"GET /v1/shelves/1/books/top", "GET /v1/shelves/{shelf}/books/top", "shelf=1"},
		{"GET /v1/shelves/1/books/", "", ""},
		{"GET /v1/shelves/a%20b/books/c%2Fd%3a%25", "GET /v1/{name=shelves/*/books/*}", "name=shelves/a b/books/c%2Fd%3a%"},
		{"GET /v1/files", "GET /v1/{path=files/**}", "path=files"}, // ** is also nothing
		{"GET /v1/files/", "GET /v1/{path=files/**}", "path=files/"},
		{"GET /v1/files/a//b/", "GET /v1/{path=files/**}", "path=files/a//b/"},
		{"GET /v1/files/a/meta", "GET /v1/files/{id}/meta", "id=a"},
		{"GET /v1/files/a/meta/b", "GET /v1/{path=files/**}", "path=files/a/meta/b"},
		{"GET /v2/1/2", "GET /v2/{a.b.c}/{d}", "a.b.c=1 d=2"},
		{"DELETE /v2/1/2", "DELETE /v2/{x}/{y}", "x=1 y=2"},
		{"PUT /v2/1/2", "* /v2/{x}/{y}", "x=1 y=2"},
		{"GET /v3", "GET /v3/{x=**}", "x="},
		{"GET /v3/", "GET /v3/{x=**}", "x="},
		{"GET /v3/a/b", "GET /v3/{x=**}", "x=a/b"},
		{"GET /v3/" + strings.Repeat("s/", 1000) + "s", "GET /v3/{x=**}", "x=" + strings.Repeat("s/", 1000) + "s"},
		{"GET /v3/a/b:stat", "GET /v3/{x=**}:stat", "x=a/b"},
		{"GET /v3:stat", "GET /v3/{x=**}:stat", "x="},
		{"GET /v3/items", "GET /v3/items", ""},
		{"GET /v3/items:stat", "GET /v3/{x=**}:stat", "x=items"},
		{"GET /v4/a/x", "GET /v4/*/x/**", ""},
		{"GET /v4//x", "", ""},
		{"GET /v4/a%2Fb", "GET /v4/a%2Fb", ""},
		{"GET /v4/a/b", "", ""},
		{"GET /v4/lit", "GET /v4/{v=lit}", "v=lit"},
		{"GET /v5/a:b/c", "GET /v5/a:b/c", ""},
		{"GET /v5/a%3Ab/c", "GET /v5/a:b/c", ""},
		{"GET /v5/x:two:colons", "GET /v5/{x}:two:colons", "x=x"}, // the longer verb goes first
		{"GET /v5/x:three:colons", "GET /v5/{x}:colons", "x=x:three"},
		{"GET /v5/x:two:colons:", "GET /v5/{x}", "x=x:two:colons:"},
		{"GET /v6/a", "GET /v6/a", ""}, // the end goes before **
		{"POST /v6/a", "POST /v6/{x=a/**}", "x=a"},
		{"GET /v7/x:start", "GET /v7/x:%73tart", ""},
		{"GET v1/items", "", ""},
		{"GET ", "", ""},
		{"GET *", "", ""},
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		tbl := table(t, &Builder[string]{}, routes...)
		for _, test := range tests {
			verb, path, _ := strings.Cut(test.request, " ")
			v, c, ok := tbl.Match(verb, path, nil)
			if v != test.route || ok != (v != "") || captured(c) != test.captures {
				t.Errorf("%s: got %q with %q, want %q with %q", test.request, v, captured(c), test.route, test.captures)
			}
		}
		r.Shuffle(len(routes), func(i, j int) { routes[i], routes[j] = routes[j], routes[i] })
	}
}

func TestMatchAppends(t *testing.T) {
	tbl := table(t, &Builder[string]{}, "GET /{a}")
	_, c, _ := tbl.Match("GET", "/1", []Capture{{"z", "0"}})
	if captured(c) != "z=0 a=1" {
		t.Error(c)
	}
	if _, c, ok := tbl.Match("GET", "/1/2", c); ok || len(c) != 2 {
		t.Error(c, ok)
	}
	var none Builder[int]
	if _, _, ok := none.Build().Match("GET", "/1", nil); ok {
		t.Error("an empty table matches")
	}
}

func TestDecodeReserved(t *testing.T) {
	tbl := table(t, &Builder[string]{DecodeReserved: true}, "GET /{a}/{b=x/*}")
	if _, c, _ := tbl.Match("GET", "/1%3A%2f/x/%3A%2f%2F", nil); captured(c) != "a=1:/ b=x/:%2f%2F" {
		t.Error(c)
	}
}

func TestVerbs(t *testing.T) {
	tbl := table(t, &Builder[string]{}, routes...)
	for path, want := range map[string]string{
		"/v1/items/me":       "GET POST PURGE",
		"/v1/items/7:cancel": "GET POST",
		"/v2/1/2":            "GET DELETE *",
		"/v6/a":              "GET POST",
		"/v6/a/b/c":          "GET POST",
		"/v3/a:stat":         "GET",
		"/none":              "",
		"/v1/items/%":        "",
	} {
		if got := strings.Join(tbl.Verbs(path), " "); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	tbl = table(t, &Builder[string]{}, "B /", "DELETE /", "A /", "PATCH /", "PUT /", "POST /", "GET /")
	if got := strings.Join(tbl.Verbs("/"), " "); got != "GET POST PUT PATCH DELETE A B" {
		t.Error(got)
	}
}

func TestCheckPath(t *testing.T) {
	for path, want := range map[string]error{
		"/":                                     nil,
		"/a%20%aF":                              nil,
		"":                                      ErrBadPath,
		"*":                                     ErrBadPath,
		"/%":                                    ErrEscape,
		"/%a":                                   ErrEscape,
		"/%41%g1":                               ErrEscape,
		"/%1g":                                  ErrEscape,
		"/" + strings.Repeat("a", MaxPath-1):    nil,
		"/" + strings.Repeat("a", MaxPath):      ErrLongPath,
		"/" + strings.Repeat("%", 2*MaxPath):    ErrLongPath,
		"/" + strings.Repeat("%41", 1000):       nil,
		"/" + strings.Repeat("%41", 1000) + "%": ErrEscape,
	} {
		if err := CheckPath(path); !errors.Is(err, want) {
			t.Errorf("%.20q: got %v, want %v", path, err, want)
		}
		tbl := table(t, &Builder[string]{}, "GET /{x=**}")
		if _, _, ok := tbl.Match("GET", path, nil); ok != (want == nil) {
			t.Errorf("%.20q: got %v", path, ok)
		}
	}
}

func TestConflicts(t *testing.T) {
	for _, test := range []struct {
		a, b     string
		conflict bool
	}{
		{"GET /v1/{x}", "GET /v1/{y}", true},
		{"GET /v1/{x}", "GET /v1/*", true},
		{"GET /v1/{name=a/*}", "GET /v1/a/{y}", true},
		{"GET /v1/{name=a/**}", "GET /v1/a/**", true},
		{"GET /v1/a%62", "GET /v1/ab", true},
		{"* /v1/{x}", "* /v1/{y}", true},
		{"GET /v1/{x}:b", "GET /v1/*:%62", true},
		{"GET /", "GET /", true},
		{"GET /v1/{x}", "POST /v1/{x}", false},
		{"GET /v1/{x}", "* /v1/{x}", false},
		{"GET /v1/{x}", "GET /v1/{x}:b", false},
		{"GET /v1/{x}", "GET /v1/a", false},
		{"GET /v1/{x}", "GET /v1/**", false},
		{"GET /v1/a", "GET /v1/{x=a/**}", false},
		{"GET /v1/{x=a:b}", "GET /v1/a:b", false}, // they overlap, and the verb goes first
	} {
		var b Builder[string]
		verb, tmpl, _ := strings.Cut(test.a, " ")
		if err := b.Add(verb, parse(t, tmpl), test.a); err != nil {
			t.Fatal(err)
		}
		verb, tmpl, _ = strings.Cut(test.b, " ")
		err := b.Add(verb, parse(t, tmpl), test.b)
		var c *Conflict[string]
		if errors.As(err, &c) != test.conflict {
			t.Errorf("%s and %s: got %v", test.a, test.b, err)
			continue
		}
		if test.conflict && (c.Value != test.a || err.Error() != test.a+" and "+test.b+" match the same paths") {
			t.Errorf("%s and %s: got %v, %s", test.a, test.b, err, c.Value)
		}
	}
}

// TestBacktracking has rules and a path that make every wildcard a wrong turn: a matcher
// that tries all ways to read the path would need 2^62 steps.
func TestBacktracking(t *testing.T) {
	const depth = 62
	var b Builder[string]
	add := func(s string) {
		t.Helper()
		if err := b.Add("GET", parse(t, s), s); err != nil {
			t.Fatal(err)
		}
	}
	for i := range depth { // a * at one place, literals elsewhere, and none of them fits to the end
		segments := slices.Repeat([]string{"a"}, depth)
		segments[i] = "*"
		add("/" + strings.Join(segments, "/") + "/end")
	}
	for i := range 1 << 10 { // all of ten segments
		s := ""
		for bit := range 10 {
			s += []string{"/a", "/*"}[i>>bit&1]
		}
		add(s + "/end")
	}
	add("/**")
	path := strings.Repeat("/a", depth) + "/other"
	tbl := b.Build()
	start := time.Now()
	if v, _, ok := tbl.Match("GET", path, nil); !ok || v != "/**" {
		t.Fatal(v, ok)
	}
	if got := tbl.Verbs(path); len(got) != 1 {
		t.Error(got)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestHostilePaths has the longest paths of what is looked at more than once.
func TestHostilePaths(t *testing.T) {
	tbl := table(t, &Builder[string]{}, "GET /{x}:a:b:c:d", "GET /{x=**}:a", "GET /{x=**}", "GET /*/*/*/*/*/*/*/*/x")
	for _, s := range []string{":", "/", "%2F", "%3A", "a", "a/", ":a", "%61/"} {
		path := "/" + strings.Repeat(s, (MaxPath-1)/len(s))
		start := time.Now()
		for range 100 {
			if _, _, ok := tbl.Match("GET", path, nil); !ok {
				t.Fatalf("%.20s…: no match", path)
			}
			tbl.Verbs(path)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%.20s…: 100 times took %v", path, took)
		}
	}
}

func TestTooMany(t *testing.T) {
	b := Builder[string]{nodes: maxNodes - 9}
	for _, test := range []struct {
		template string
		err      error
	}{{"/a/b/c/d", nil}, {"/w/x/y/z", ErrTooMany}, {"/**", nil}} {
		if err := b.Add("GET", parse(t, test.template), ""); err != test.err {
			t.Errorf("%s: got %v, want %v", test.template, err, test.err)
		}
	}
	if _, _, ok := b.Build().Match("GET", "/w/x/y/z", nil); !ok {
		t.Error("the table lost a route")
	}
}

func TestAllocations(t *testing.T) {
	tbl := table(t, &Builder[string]{}, routes...)
	captures := make([]Capture, 0, 8)
	for path, want := range map[string]float64{
		"/v1/shelves/1/books/2":      0,
		"/v1/items/7:watch":          0,
		"/v2/1/2":                    0,
		"/v3/a/b/c:d":                0,
		"/none/of/them":              0,
		"/v1/items/%":                0,
		"/v1/items/a%20b":            1, // the value
		"/v1/shelves/%31%32/books/2": 2, // the segment and the value
	} {
		if got := testing.AllocsPerRun(100, func() { tbl.Match("GET", path, captures) }); got != want {
			t.Errorf("%s: %v allocations, want %v", path, got, want)
		}
	}
}

// many returns templates in the manner of Google's.
func many(n int) (templates []string) {
	for i := range n {
		templates = append(templates, []string{
			"/v1/{name=projects/*/locations/*/kind%d/*}", "/v1/{parent=projects/*/locations/*}/kind%d", "/v1/{name=projects/*/kind%d/*}:cancel",
			"/v1/service%d/{id}", "/v%d/{resource=**}:getPolicy",
		}[i%5])
		templates[i] = fmt.Sprintf(templates[i], i/5)
	}
	return templates
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10_000} {
		var builder Builder[int]
		for i, s := range many(n) {
			if err := builder.Add("GET", parse(b, s), i); err != nil {
				b.Fatal(err)
			}
		}
		tbl := builder.Build()
		last := n/5 - 1
		for _, path := range []struct {
			name, path string
			want       int
		}{
			{"collection", fmt.Sprintf("/v1/projects/p/locations/l/kind%d", last), 5*last + 1},
			{"verb", fmt.Sprintf("/v1/projects/p/kind%d/x:cancel", last), 5*last + 2},
			{"first", "/v1/service0/x", 3},
			{"none", "/v1/service0/x/y/z", -1},
		} {
			b.Run(fmt.Sprintf("%s/%d", path.name, n), func(b *testing.B) {
				captures := make([]Capture, 0, 4)
				b.ReportAllocs()
				for b.Loop() {
					if v, _, ok := tbl.Match("GET", path.path, captures); ok != (path.want >= 0) || ok && v != path.want {
						b.Fatal(v, ok)
					}
				}
			})
		}
	}
}
