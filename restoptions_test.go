package sluice_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-rpc/sluice"
)

// TestRESTOptions: a profile has every option, and what is set goes before it.
func TestRESTOptions(t *testing.T) {
	for _, name := range sluice.RESTProfiles() {
		o, err := sluice.RESTProfile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := 0, reflect.ValueOf(o); i < v.NumField(); i++ {
			if f := v.Field(i); f.IsZero() {
				t.Errorf("%s leaves %s open", name, v.Type().Field(i).Name)
			}
		}
		// Read back from the style that it makes it is the same.
		again, err := o.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(o, again); diff != "" {
			t.Error(diff)
		}
	}
	o, err := sluice.RESTOptions{Profile: "grpc-gateway", EmitUnpopulated: new(false), ResponseFields: []string{}}.Resolve()
	if err != nil || *o.EmitUnpopulated || len(o.ResponseFields) != 0 || !*o.Envelope {
		t.Errorf("%+v %v", o, err)
	}
	a := sluice.RESTOptions{Indent: new(4), Errors: "problem"}
	if b := a.With(sluice.RESTOptions{Errors: "none"}); *b.Indent != 4 || b.Errors != "none" {
		t.Errorf("%+v", b)
	}
	if b := a.With(sluice.RESTOptions{Profile: "envoy"}); b.Indent != nil || b.Errors != "" {
		t.Errorf("%+v", b)
	}
	for _, tc := range []struct {
		o    sluice.RESTOptions
		want string
	}{
		{sluice.RESTOptions{Profile: "nginx"}, "no profile"},
		{sluice.RESTOptions{Indent: new(17)}, "between 0 and 16"},
		{sluice.RESTOptions{Stream: "x"}, "stream: "},
		{sluice.RESTOptions{JSONStream: "sse"}, "json_stream: it is array or ndjson"},
		{sluice.RESTOptions{Failure: "x"}, "failure: "},
		{sluice.RESTOptions{Errors: "x"}, "errors: "},
		{sluice.RESTOptions{Stream: "websocket"}, "stream: websocket"},
		{sluice.RESTOptions{Disable: []string{"x"}}, "websocket, and rpc"},
		{sluice.RESTOptions{SSEFailure: "error"}, "EventSource gives that name"},
		{sluice.RESTOptions{SSEFailure: "a\nb"}, "is no line"},
		{sluice.RESTOptions{SSERetry: new(-time.Second)}, "not below 0"},
		{sluice.RESTOptions{Compress: new(-1)}, "number of bytes"},
		{sluice.RESTOptions{RequestFields: []string{"a b"}}, "request_fields: "},
		{sluice.RESTOptions{ResponseFields: []string{"a b"}}, "response_fields: "},
		{sluice.RESTOptions{TrailerFields: []string{"a b"}}, "trailer_fields: "},
	} {
		err := sluice.CheckREST(sluice.REST{Options: tc.o})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc.o, err)
		}
		_, err = sluice.New(sluice.Config{Backends: []sluice.Backend{{Handler: http.NotFoundHandler()}}, REST: sluice.REST{Options: tc.o}})
		if err == nil {
			t.Errorf("%+v: New takes it", tc.o)
		}
	}
}

// TestRESTOverrides: a method's options go before those of its service, and these before
// those of all.
func TestRESTOverrides(t *testing.T) {
	const service = "grpc.testing.TestService"
	server := testServer(t)
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g, err := sluice.New(sluice.Config{
			Backends: []sluice.Backend{{Handler: server}}, Logger: slog.New(slog.NewTextHandler(&log, nil)), DisableAccessLog: true,
			REST: sluice.REST{
				Options: sluice.RESTOptions{Errors: "google"},
				Overrides: map[string]sluice.RESTOptions{
					service:                {Errors: "problem", IgnoreFields: new(true)},
					service + "/EmptyCall": {Errors: "status"},
					"no.Such":              {Errors: "none"},
				},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		time.Sleep(time.Second)
		ask := func(path, body string) string {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("POST", path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/x-ndjson")
			g.ServeHTTP(w, r)
			return w.Body.String()
		}
		for _, c := range []struct{ path, body, want string }{
			{"/" + service + "/EmptyCall", `[`, `{"code":3,`},
			{"/" + service + "/EmptyCall", `{"x":1}`, `{}`},
			{"/" + service + "/UnaryCall", `[`, `{"type":"about:blank",`},
			{"/none", ``, `{"error":{"code":404,`},
		} {
			if got := ask(c.path, c.body); !strings.HasPrefix(got, c.want) {
				t.Errorf("%s %s: %s, want %s…", c.path, c.body, got, c.want)
			}
		}
		synctest.Wait() // nobody writes to the log now
		if s := log.String(); strings.Count(s, "no.Such") != 1 || strings.Contains(s, service) {
			t.Error(s)
		}
	})
	for _, name := range []string{"", "/", "a/", "/b", "a/b/c"} {
		if err := sluice.CheckREST(sluice.REST{Overrides: map[string]sluice.RESTOptions{name: {}}}); (err == nil) != (name == "/b") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestSSEAliasOrigin: of pages, those of the gateway and of listed origins may use the
// alias. The policy about origins and the alias have to agree on it.
func TestSSEAliasOrigin(t *testing.T) {
	server := testServer(t)
	synctest.Test(t, func(t *testing.T) {
		g, err := sluice.New(sluice.Config{
			Backends: []sluice.Backend{{Handler: server}}, CORSOrigins: []string{"https://app.example.com"},
			REST: sluice.REST{Options: sluice.RESTOptions{SSEAlias: new(true)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		time.Sleep(time.Second)
		for _, c := range []struct {
			origin, site string
			status       int
		}{
			{"https://app.example.com", "cross-site", 200},
			{"https://evil.example.com", "cross-site", 403},
			{"http://example.com", "same-origin", 200}, // the gateway's own
			{"", "same-origin", 200},
			{"", "cross-site", 403}, // fetch(…, {mode: "no-cors"})
			{"null", "cross-site", 403},
		} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "/grpc.testing.TestService/StreamingOutputCall", nil)
			r.Header.Set("Accept", "text/event-stream")
			r.Header.Set("User-Agent", "Mozilla/5.0")
			r.Header.Set("Sec-Fetch-Site", c.site)
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			g.ServeHTTP(w, r)
			if w.Code != c.status {
				t.Errorf("%+v: %d %s", c, w.Code, w.Body)
			}
		}
	})
}
