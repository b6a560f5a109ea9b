package admin

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func serve(o Options, method, host, path string, header map[string]string) *httptest.ResponseRecorder {
	o.Logger = slog.New(slog.DiscardHandler)
	o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "sluice_calls_total 1\n") })
	o.OpenAPI = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "openapi of "+r.URL.Path) })
	o.Docs = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "docs of "+r.URL.Path) })
	if o.Ready == nil {
		o.Ready = func() (bool, any) { return true, map[string]bool{"ready": true} }
	}
	r := httptest.NewRequest(method, "http://"+host+path, nil)
	for k, v := range header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	New(o).Handler.ServeHTTP(w, r)
	return w
}

func TestPaths(t *testing.T) {
	down := func() (bool, any) { return false, map[string]string{"error": "refused"} }
	for name, c := range map[string]struct {
		method, path string
		ready        func() (bool, any)
		code         int
		body         string
	}{
		"livez":        {"GET", "/livez", nil, 200, "ok\n"},
		"livez, down":  {"GET", "/livez", down, 200, "ok\n"},
		"readyz":       {"GET", "/readyz", nil, 200, `"ready": true`},
		"readyz, down": {"GET", "/readyz", down, 503, `"error": "refused"`},
		"metrics":      {"GET", "/metrics", nil, 200, "sluice_calls_total 1"},
		"json":         {"GET", "/openapi.json", nil, 200, "openapi of /openapi.json"},
		"yaml":         {"GET", "/openapi.yaml", nil, 200, "openapi of /openapi.yaml"},
		"docs":         {"GET", "/docs", nil, 301, "/docs/"},
		"docs, page":   {"GET", "/docs/", nil, 200, "docs of /docs/"},
		"docs, file":   {"GET", "/docs/init.js", nil, 200, "docs of /docs/init.js"},
		"index":        {"GET", "/", nil, 200, "/readyz"},
		"other":        {"GET", "/debug/pprof/", nil, 404, ""},
		"post":         {"POST", "/metrics", nil, 405, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := serve(Options{Ready: c.ready}, c.method, "127.0.0.1:9090", c.path, nil)
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.body) {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
		})
	}
}

func TestGuard(t *testing.T) {
	for name, c := range map[string]struct {
		o      Options
		host   string
		header map[string]string
		code   int
	}{
		"address":                {Options{Loopback: true}, "127.0.0.1:9090", nil, 200},
		"IPv6":                   {Options{Loopback: true}, "[::1]:9090", nil, 200},
		"localhost":              {Options{Loopback: true}, "localhost:9090", nil, 200},
		"rebound name":           {Options{Loopback: true}, "evil.example:9090", nil, 403},
		"other address":          {Options{Loopback: true}, "10.0.0.7:9090", nil, 403},
		"probe":                  {Options{}, "10.0.0.7:9090", nil, 200},
		"name, not allowed":      {Options{}, "evil.example:9090", nil, 403},
		"name, allowed":          {Options{Hosts: []string{"sluice.internal"}}, "Sluice.internal:9090", nil, 200},
		"any":                    {Options{Loopback: true, Hosts: []string{"*"}}, "whoever:1", nil, 200},
		"own page":               {Options{}, "localhost:9090", map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:9090"}, 200},
		"typed":                  {Options{}, "localhost:9090", map[string]string{"Sec-Fetch-Site": "none"}, 200},
		"other page":             {Options{}, "localhost:9090", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		"page on the same site":  {Options{}, "localhost:9090", map[string]string{"Sec-Fetch-Site": "same-site"}, 403},
		"origin of another page": {Options{}, "localhost:9090", map[string]string{"Origin": "https://evil.example"}, 403},
		"hidden origin":          {Options{}, "localhost:9090", map[string]string{"Origin": "null"}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			if w := serve(c.o, "GET", c.host, "/metrics", c.header); w.Code != c.code {
				t.Fatalf("got %d %s, want %d", w.Code, w.Body, c.code)
			}
		})
	}
}
