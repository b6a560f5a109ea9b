// Package viewer is a page that shows an OpenAPI document: Swagger UI (Apache License 2.0),
// whose files are in dist as the npm registry has them. It was chosen for its size, a third
// of others', and because it asks nobody else for anything once its validator is off.
//
// The page loads only what is served here and the document, and its content security
// policy keeps it from more: a document is what backends say, and its Markdown may have
// images and links. It does not send calls: the operator's address is not where they go.
package viewer

import (
	"embed"
	"io/fs"
	"net/http"
	"strings"
)

//go:generate ./update 5.35.0 sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ==

//go:embed dist index.html init.js
var files embed.FS

// dist.txt names the version, and the sums of the files.
//
//go:embed dist.txt
var list string

const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handler serves the page at the path of prefix, which ends in a slash; the document is
// beside it, as openapi.json.
func Handler(prefix string) http.Handler {
	dist, err := fs.Sub(files, "dist")
	if err != nil {
		panic(err) // it is embedded
	}
	version, _, _ := strings.Cut(list, "\n")
	return http.StripPrefix(prefix, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		switch r.URL.Path {
		case "":
			http.ServeFileFS(w, r, files, "index.html")
		case "init.js":
			http.ServeFileFS(w, r, files, "init.js")
		default:
			h.Set("Cache-Control", "no-cache")
			h.Set("Etag", `"`+version+`"`)
			http.ServeFileFS(w, r, dist, r.URL.Path)
		}
	}))
}
