package demo

import (
	"bytes"
	"embed"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// page is made of web/packages/demo: npm --prefix web run build.
//
//go:embed page
var page embed.FS

// Page serves the demo's page by the paths of its files: calls of every kind by the client
// for browsers, over the carrier that one likes.
func Page() map[string]http.Handler {
	all := map[string]http.Handler{}
	for path, name := range map[string]string{"/": "index.html", "/page.js": "page.js", "/page.css": "page.css"} {
		b, err := page.ReadFile("page/" + name)
		if err != nil {
			panic(err) // it is in the program
		}
		all[path] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Cache-Control", "no-cache")
			h.Set("Content-Security-Policy", contentPolicy(r.Host))
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("X-Content-Type-Options", "nosniff")
			http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
		})
	}
	return all
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9.-]+$`)

// contentPolicy lets the page have its own files, and connect to the gateway. WebTransport
// may be at another port of it. Not every browser takes WebSockets for a part of 'self'.
func contentPolicy(authority string) string {
	gateway := "https: ws: wss:" // an IPv6 address can't be said: CSP 3, section 2.3.1, host-source
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = authority // has no port
	}
	if hostName.MatchString(host) {
		gateway = "https://" + host + ":* ws://" + host + ":* wss://" + host + ":*"
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		gateway += " https://127.0.0.1:*" // where discovery finds WebTransport, if it is there only
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' " + gateway +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
