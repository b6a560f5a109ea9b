package main

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDemoREST makes the REST calls of the README.
func TestDemoREST(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, "demo")
	p.until(200)
	for _, c := range []struct {
		line               string // of the README
		verb, path, header string
		body               string
		want               string // a pattern
	}{
		{"curl http://localhost:8080/v1/echo/hello", "GET", "/v1/echo/hello", "", "", `^\{"text":"hello"\}$`},
		{
			"curl -H 'Accept: text/event-stream' 'http://localhost:8080/v1/ticker?count=3'", "GET", "/v1/ticker?count=3", "Accept: text/event-stream", "",
			`(?s)^(:\n\n)?id: 1\ndata: \{"number":1,"unixMs":"\d+"\}\n\nid: 2\n.*id: 3\n.*event: EOS\nid: EOS\ndata: \n\n$`,
		},
		{
			`printf '{"number": 40}\n{"number": 2}\n' | curl --data-binary @- -H 'Content-Type: application/x-ndjson' http://localhost:8080/v1/sum`,
			"POST", "/v1/sum", "Content-Type: application/x-ndjson", "{\"number\": 40}\n{\"number\": 2}\n", `^\{"sum":"42","count":2\}$`,
		},
		{
			`curl -d '{"count": 3}' -H 'Content-Type: application/json' http://localhost:8080/sluice.demo.v1.Demo/Ticker`,
			"POST", "/sluice.demo.v1.Demo/Ticker", "Content-Type: application/json", `{"count": 3}`, `^(\{"number":\d,"unixMs":"\d+"\}\n){3}$`,
		},
	} {
		if !strings.Contains(string(readme), "\n"+c.line+"\n") {
			t.Errorf("the README does not have %s", c.line)
		}
		r, err := http.NewRequestWithContext(t.Context(), c.verb, "http://"+p.listen+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if name, value, ok := strings.Cut(c.header, ": "); ok {
			r.Header.Set(name, value)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || !regexp.MustCompile(c.want).Match(body) {
			t.Errorf("%s: %d %q %v", c.line, resp.StatusCode, body, err)
		}
	}
}
