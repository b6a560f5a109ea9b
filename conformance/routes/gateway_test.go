package routes

import (
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/sluice-rpc/sluice/internal/schema/route"
)

// TestGRPCGateway matches paths with each template, and with grpc-gateway's parser and
// mux: paths that fit, and neighbours of them that mostly don't.
func TestGRPCGateway(t *testing.T) {
	templates := map[string]bool{}
	for _, r := range googleRules(t) {
		templates[r.Template.String()] = true
	}
	for _, s := range []string{"/a", "/a/{b}/c:d", "/{x=**}", "/{x=**}:v", "/a/{x=b/**}", "/a/*/b", "/a/**", "/{a}/{b}:x:y", "/a:b/{c}", "/{a=b}/{c.d.e=f/*/g}"} {
		templates[s] = true
	}
	r := rand.New(rand.NewPCG(3, 4))
	matched, refused, different := 0, 0, make([]int, len(differences))
	for _, template := range slices.Sorted(maps.Keys(templates)) {
		theirs, err := newGateway(template)
		parsed, ourErr := route.Parse(template)
		if err != nil || ourErr != nil {
			t.Errorf("%s: theirs says %v, ours %v", template, err, ourErr)
			continue
		}
		var b route.Builder[bool]
		if err := b.Add("GET", parsed, true); err != nil {
			t.Fatal(err)
		}
		ours := b.Build()
		for range 5 {
			path, _ := expand(r, template, false)
			for _, path := range append(neighbours(r, path), path) {
				if route.CheckPath(path) != nil {
					continue // a net/http server refuses it
				}
				_, c, ok := ours.Match("GET", path, nil)
				got := map[string]string{}
				for _, c := range c {
					got[c.Path] = c.Value
				}
				want, _ := theirs.match(path)
				if !ok {
					got = nil
				}
				if !maps.Equal(got, want) || (got == nil) != (want == nil) {
					i := slices.IndexFunc(differences, func(d difference) bool { return d.is(theirs, template, path, got, want) })
					if i < 0 {
						t.Errorf("%s with %s: got %q, grpc-gateway has %q", path, template, got, want)
					} else {
						different[i]++
					}
					continue
				}
				if ok {
					matched++
				} else {
					refused++
				}
			}
		}
	}
	t.Logf("%d templates: %d paths match in both, %d in neither", len(templates), matched, refused)
	for i, d := range differences {
		t.Logf("%d paths: %s", different[i], d.reason)
		if different[i] == 0 {
			t.Errorf("a known difference is none any more: %s", d.reason)
		}
	}
	if matched < len(templates) || refused < len(templates) {
		t.Error("that is too few to say anything")
	}
}

// A difference is where grpc-gateway matches in another way, on purpose or not.
type difference struct {
	reason string
	is     func(theirs *gateway, template, path string, got, want map[string]string) bool // nil is no match
}

var escapedReserved = regexp.MustCompile(`%(?i:3a|2f|3f|23|5b|5d|40|21|24|26|27|28|29|2a|2b|2c|3b|3d)`)

var differences = []difference{
	{"google/api/http.proto keeps reserved characters encoded in a variable of several segments; grpc-gateway only in its **",
		func(_ *gateway, template, path string, got, want map[string]string) bool {
			return got != nil && want != nil && strings.Contains(template, "/*") && escapedReserved.MatchString(path)
		}},
	{"a ** that stands for nothing has no slash before it",
		func(_ *gateway, template, _ string, got, want map[string]string) bool {
			for name, value := range want {
				if got[name]+"/" == value && strings.Contains(template, "/**}") {
					return true
				}
			}
			return false
		}},
	{"an empty segment is no *",
		func(_ *gateway, _, path string, got, want map[string]string) bool {
			return got == nil && want != nil && (strings.Contains(path, "//") || strings.Contains(path, "/:") || strings.HasSuffix(path, "/"))
		}},
	{"literals compare decoded",
		func(theirs *gateway, _, path string, got, want map[string]string) bool {
			if got == nil || want != nil {
				return false
			}
			_, ok := theirs.match(strings.ReplaceAll(path, "%3A", ":"))
			return ok
		}},
}

// gateway is a grpc-gateway mux with one route.
type gateway struct {
	mux     *runtime.ServeMux
	matched bool
	params  map[string]string
}

func newGateway(template string) (*gateway, error) {
	g := &gateway{mux: runtime.NewServeMux(runtime.WithUnescapingMode(runtime.UnescapingModeAllExceptReserved))}
	return g, g.mux.HandlePath("GET", template, func(_ http.ResponseWriter, _ *http.Request, params map[string]string) {
		g.matched, g.params = true, params
	})
}

func (g *gateway) match(path string) (map[string]string, bool) {
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return nil, false
	}
	g.matched, g.params = false, nil
	// RawPath is also set where net/url would leave it out: else the gateway decodes twice.
	request := &http.Request{Method: "GET", URL: &url.URL{Path: decoded, RawPath: path}, Header: http.Header{}}
	g.mux.ServeHTTP(httptest.NewRecorder(), request)
	if g.matched && g.params == nil {
		g.params = map[string]string{}
	}
	return g.params, g.matched
}

// neighbours returns paths that differ from one in a small way.
func neighbours(r *rand.Rand, path string) []string {
	segments := strings.Split(path[1:], "/")
	at := r.IntN(len(segments))
	join := func(s []string) string { return "/" + strings.Join(s, "/") }
	insert := func(s string) string { return join(slices.Insert(slices.Clone(segments), at, s)) }
	other := slices.Clone(segments)
	other[at] = "other"
	empty := slices.Clone(segments)
	empty[at] = ""
	return []string{
		join(slices.Delete(slices.Clone(segments), at, at+1)), insert("new"), insert(""), join(other), join(empty),
		path + "/", path + "/x", path + ":verb", path + "x", path + "%3Ax", strings.ToUpper(path), path[:len(path)-1], strings.Replace(path, ":", "%3A", 1),
		strings.Replace(path, ":", "/", 1), "/", "/x",
	}
}
