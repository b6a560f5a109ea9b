// Package admin serves what is for the operator and for nobody else: /livez, /readyz,
// /metrics, and the OpenAPI document of what is served with a page that shows it. It has its own listener, on the loopback interface by default.
//
// A page in the operator's browser must not read it. So requests are answered only
// when they ask for it by an address, or by a name that was allowed (a page that
// rebinds its own name asks by that name), and when they do not come from another
// origin.
package admin

import (
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Options say what the admin server shows.
type Options struct {
	// Ready returns whether calls can be served, and what there is to know, which is
	// written as JSON.
	Ready func() (bool, any)
	// Metrics writes what Prometheus reads.
	Metrics http.Handler
	// OpenAPI serves the document, and Docs the page at /docs/ that shows it.
	OpenAPI, Docs http.Handler
	// Loopback says that the listener is reachable from this machine only: then no
	// other addresses are allowed as host.
	Loopback bool
	// Hosts are allowed besides; "*" is any.
	Hosts  []string
	Logger *slog.Logger
}

// New returns the server. Its caller serves and closes it.
func New(o Options) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ready, detail := o.Ready()
		w.Header().Set("Content-Type", "application/json")
		if !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.Encode(detail) // an error here is the client's leaving
	})
	mux.Handle("GET /metrics", o.Metrics)
	mux.Handle("GET /openapi.json", o.OpenAPI)
	mux.Handle("GET /openapi.yaml", o.OpenAPI)
	mux.Handle("GET /docs", http.RedirectHandler("docs/", http.StatusMovedPermanently))
	mux.Handle("GET /docs/", o.Docs)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "sluice admin\n/livez    the process runs\n/readyz   calls can be served (200 or 503), with detail\n/metrics  for Prometheus\n"+
			"/docs     the API as HTTP clients see it; /openapi.json and /openapi.yaml for programs\n")
	})
	return &http.Server{
		Handler:           o.guard(mux),
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
}

// guard refuses what does not come from the operator.
func (o Options) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !o.allowed(r.Host) {
			http.Error(w, "host "+r.Host+" is not allowed: ask by address, or start sluice with --admin-host "+hostname(r.Host), http.StatusForbidden)
			return
		}
		if crossOrigin(r) {
			http.Error(w, "requests from other origins are not allowed", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (o Options) allowed(host string) bool {
	name := hostname(host)
	if slices.Contains(o.Hosts, "*") || slices.ContainsFunc(o.Hosts, func(h string) bool { return strings.EqualFold(h, name) }) {
		return true
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && (addr.Unmap().IsLoopback() || !o.Loopback)
}

// hostname removes port and brackets.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

// crossOrigin says whether a browser sent r for a page of another origin. Programs
// that are no browsers send neither field
// (https://www.w3.org/TR/fetch-metadata/, RFC 6454 section 7).
func crossOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host != r.Host
}
