package demo

import (
	"bytes"
	"embed"
	"net/http"
	"time"
)

// page is made of web/packages/demo: npm --prefix web run build.
//
//go:embed page
var page embed.FS

// Page serves the demo's page by the paths of its files: a bidirectional call by the client
// for browsers, over the carrier that one likes.
func Page() map[string]http.Handler {
	all := map[string]http.Handler{}
	for path, name := range map[string]string{"/": "index.html", "/page.js": "page.js", "/page.css": "page.css"} {
		b, err := page.ReadFile("page/" + name)
		if err != nil {
			panic(err) // it is in the program
		}
		all[path] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-cache")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
		})
	}
	return all
}
