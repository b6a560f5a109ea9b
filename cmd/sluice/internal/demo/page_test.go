package demo

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPage(t *testing.T) {
	for path, want := range map[string]string{"/": "<!doctype html>", "/page.js": "sluice.demo.v1", "/page.css": "color-scheme"} {
		w := httptest.NewRecorder()
		Page()[path].ServeHTTP(w, httptest.NewRequest("GET", "http://localhost:8080"+path, nil))
		if w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d, without %q", path, w.Code, want)
		}
	}
}

func TestContentPolicy(t *testing.T) {
	for authority, want := range map[string]string{
		"localhost:8080":        "connect-src 'self' https://localhost:* ws://localhost:* wss://localhost:* https://127.0.0.1:*; ",
		"demo.example.com":      "connect-src 'self' https://demo.example.com:* ws://demo.example.com:* wss://demo.example.com:*; ",
		"[::1]:8080":            "connect-src 'self' https: ws: wss:; ",
		"a; script-src *:80":    "connect-src 'self' https: ws: wss:; ",
		"a https://b.example.c": "connect-src 'self' https: ws: wss:; ",
	} {
		if got := contentPolicy(authority); !strings.Contains(got, want) || strings.Count(got, "script-src") != 1 {
			t.Errorf("%q: %s", authority, got)
		}
	}
}
