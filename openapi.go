package sluice

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/blocking"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/openapi"
	"github.com/sluice-rpc/sluice/internal/protocol/rest"
	"github.com/sluice-rpc/sluice/internal/schema"
)

// A Route is a way to reach a method by HTTP and JSON.
type Route struct {
	Verb         string // "*" is any
	Path         string // a template of google/api/http.proto
	Method       string // "/package.Service/Method"
	Kind         string // "unary", "client streaming", "server streaming" or "bidi streaming"
	Body         string // the field that is the content of a request; "*" is all, "" is none
	ResponseBody string // the field that is the content of a response; "" is all
	Source       string // "annotation", "naming pattern", FILE:LINE, or "method path" without a rule
}

// Routes returns the routes of all methods that are known now, by service and in the order
// of the .proto files, and what is wrong with HTTP rules: those are left out.
func (g *Gateway) Routes() (routes []Route, problems []error) {
	s, o := g.schemas.store.Snapshot(), g.schemas.rules
	rules, problems := s.Rules(o)
	_, conflicts := schema.NewTable(rules, o)
	problems = append(problems, conflicts...)
	for _, f := range o.Files {
		problems = append(problems, f.Unknown(s)...)
	}
	styles, err := newStyles(&g.cfg.REST)
	if err != nil {
		return nil, append(problems, err)
	}
	byMethod := map[string][]*schema.Rule{}
	for _, r := range rules {
		if !slices.ContainsFunc(conflicts, func(err error) bool {
			var of *schema.RuleError
			return errors.As(err, &of) && of.Method == r.Method && of.Source == r.Source && of.Verb == r.Verb && of.Path == r.Template.String()
		}) {
			byMethod[r.Method] = append(byMethod[r.Method], r)
		}
	}
	for _, sd := range s.Services() {
		for i := range sd.Methods().Len() {
			md := sd.Methods().Get(i)
			name := "/" + string(sd.FullName()) + "/" + string(md.Name())
			kind := kinds[[2]bool{md.IsStreamingClient(), md.IsStreamingServer()}]
			for _, r := range byMethod[name] {
				routes = append(routes, Route{Verb: r.Verb, Path: r.Template.String(), Method: name, Kind: kind, Body: r.Body,
					ResponseBody: r.ResponseBody, Source: r.Source})
			}
			if len(byMethod[name]) == 0 && !styles.style(name).NoRPC {
				routes = append(routes, Route{Verb: "POST", Path: name, Method: name, Kind: kind, Body: "*", Source: "method path"})
			}
		}
	}
	return routes, problems
}

var kinds = map[[2]bool]string{{false, false}: "unary", {true, false}: "client streaming", {false, true}: "server streaming", {true, true}: "bidi streaming"}

// WriteOpenAPI returns an OpenAPI 3.1 document of the services that are known now, in JSON
// or YAML.
func (g *Gateway) WriteOpenAPI(o OpenAPI, yaml bool) ([]byte, error) {
	d, err := g.openAPI(g.schemas.store.Snapshot(), o)
	if err != nil {
		return nil, err
	}
	if yaml {
		return d.YAML(), nil
	}
	return d.JSON(), nil
}

func (g *Gateway) openAPI(s *schema.Snapshot, o OpenAPI) (*openapi.Document, error) {
	rules, _ := s.Rules(g.schemas.rules)
	styles, err := newStyles(&g.cfg.REST)
	if err != nil {
		return nil, err
	}
	opt := openapi.Options{Title: o.Title, Version: o.Version, Servers: o.Servers,
		ProtoNames: styles.all.JSON.ProtoNames, EnumNumbers: styles.all.JSON.EnumNumbers,
		Method: func(name string) openapi.Method { return openAPIMethod(styles.style(name)) },
	}
	if o.Bearer {
		opt.Security = append(opt.Security, openapi.Security{})
	}
	if o.APIKey != "" {
		opt.Security = append(opt.Security, openapi.Security{Header: o.APIKey})
	}
	return openapi.New(s, rules, opt)
}

// openAPIMethod says of a method's style what a document has.
func openAPIMethod(s *rest.Style) openapi.Method {
	m := openapi.Method{RulesOnly: s.NoRPC, JSONLines: s.Document == rest.NDJSON, Envelope: s.Envelope, NoMark: s.Failure != rest.FailMark,
		Failure: s.Events.Failure, NoEnd: !s.Events.End, Off: map[string]bool{}}
	for mode := rest.NDJSON; mode <= rest.Delimited; mode++ {
		m.Off[mode.String()] = s.Off.Has(mode)
	}
	switch s.Errors {
	case rest.ErrorGoogle:
		m.Errors = "google"
	case rest.ErrorNone:
		m.Errors = "none"
	}
	return m
}

// ServeOpenAPI serves the document, made anew when the services have changed: in YAML if
// the path ends in .yaml, else in JSON.
func (g *Gateway) ServeOpenAPI(o OpenAPI) http.Handler {
	return &openAPIHandler{g: g, o: o}
}

// openAPIHandler keeps the document of one version of the schema.
type openAPIHandler struct {
	g *Gateway
	o OpenAPI

	mu      sync.Mutex
	of      *schema.Snapshot // that json and yaml are made of; nil is none
	doc     *openapi.Document
	err     error
	formats [2]openAPIFormat // JSON, YAML
}

type openAPIFormat struct {
	text []byte // nil is not written yet
	etag string
}

// get returns the document as it is now.
func (h *openAPIHandler) get(yaml bool) (openAPIFormat, error) {
	h.mu.Lock() // a second request waits for the first to make the document
	defer h.mu.Unlock()
	if now := h.g.schemas.store.Snapshot(); h.of != now {
		h.of, h.formats = now, [2]openAPIFormat{}
		h.doc, h.err = h.g.openAPI(now, h.o)
	}
	if h.err != nil {
		return openAPIFormat{}, h.err
	}
	f := &h.formats[0]
	if yaml {
		f = &h.formats[1]
	}
	if f.text == nil {
		if f.text = h.doc.JSON(); yaml {
			f.text = h.doc.YAML()
		}
		sum := sha256.Sum256(f.text)
		f.etag = `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`
	}
	return *f, nil
}

// ServeHTTP implements [http.Handler].
func (h *openAPIHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	yaml := strings.HasSuffix(r.URL.Path, ".yaml")
	f, err := h.get(yaml)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if yaml {
		w.Header().Set("Content-Type", "application/yaml") // RFC 9512
	} else {
		w.Header().Set("Content-Type", "application/json")
	}
	w.Header().Set("Cache-Control", "no-cache") // ask every time, by ETag
	w.Header().Set("Etag", f.etag)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.text))
}

// publicOpenAPI is the row of the table for clients who ask for the document.
func (g *Gateway) publicOpenAPI() row {
	return row{
		name: "openapi",
		match: func(head *exchange.RequestHead) bool {
			path, _, _ := strings.Cut(head.Path, "?")
			return (head.Method == "GET" || head.Method == "HEAD") && (path == "/openapi.json" || path == "/openapi.yaml")
		},
		handler: blocking.Handler(g.ServeOpenAPI(*g.cfg.REST.OpenAPI), blocking.Options{Work: g.work, Stall: g.cfg.Timeouts.Stall}),
	}
}
