package sluice_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/sluice-rpc/sluice"
)

// descriptorSet has a service with the methods.
func descriptorSet(t *testing.T, service string, methods ...string) []byte {
	t.Helper()
	f := &descriptorpb.FileDescriptorProto{Name: proto.String("t.proto"), Package: proto.String("t"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("M")}},
		Service:     []*descriptorpb.ServiceDescriptorProto{{Name: &service}}}
	for _, name := range methods {
		f.Service[0].Method = append(f.Service[0].Method, &descriptorpb.MethodDescriptorProto{Name: &name, InputType: proto.String(".t.M"), OutputType: proto.String(".t.M")})
	}
	b, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{f}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fetch(t *testing.T, url, etag string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("If-None-Match", etag)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(b)
}

// TestOpenAPI: the document is of the services of the moment, and for clients only if
// they may have it.
func TestOpenAPI(t *testing.T) {
	cfg := sluice.Config{Backends: []sluice.Backend{{Handler: http.NotFoundHandler()}}, DescriptorSets: [][]byte{descriptorSet(t, "S", "A")},
		REST: sluice.REST{OpenAPI: &sluice.OpenAPI{Title: "T", Bearer: true}}}
	addr, g := startGateway(t, cfg)
	first, text := fetch(t, "http://"+addr+"/openapi.json?x", "")
	var doc struct {
		Info       struct{ Title string }
		Paths      map[string]any
		Components struct{ SecuritySchemes map[string]any }
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if doc.Info.Title != "T" || doc.Paths["/t.S/A"] == nil || doc.Components.SecuritySchemes["bearer"] == nil || first.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %s, %v", text, first.Header)
	}
	if again, text := fetch(t, "http://"+addr+"/openapi.json", first.Header.Get("Etag")); again.StatusCode != 304 || text != "" {
		t.Errorf("unchanged: %d, %q", again.StatusCode, text)
	}
	if yaml, text := fetch(t, "http://"+addr+"/openapi.yaml", first.Header.Get("Etag")); yaml.Header.Get("Content-Type") != "application/yaml" || !strings.HasPrefix(text, "openapi:") {
		t.Errorf("got %q, %v", text, yaml.Header)
	}
	if err := g.SetDescriptorSets(descriptorSet(t, "S", "B")); err != nil {
		t.Fatal(err)
	}
	if changed, text := fetch(t, "http://"+addr+"/openapi.json", first.Header.Get("Etag")); changed.StatusCode != 200 || !strings.Contains(text, `"/t.S/B"`) || strings.Contains(text, `"/t.S/A"`) {
		t.Errorf("changed: %d, %s", changed.StatusCode, text)
	}

	cfg.REST.OpenAPI = nil
	addr, g = startGateway(t, cfg)
	if none, text := fetch(t, "http://"+addr+"/openapi.json", ""); none.StatusCode != 404 {
		t.Errorf("got %d, %s", none.StatusCode, text)
	}
	w := httptest.NewRecorder()
	g.ServeOpenAPI(sluice.OpenAPI{Servers: []string{"https://x.example"}}).ServeHTTP(w, httptest.NewRequest("GET", "/openapi.json", nil))
	if !strings.Contains(w.Body.String(), "https://x.example") {
		t.Errorf("got %s", w.Body)
	}
}

func TestRoutes(t *testing.T) {
	rules := `{http: {rules: [{selector: t.S.A, get: /a, additional_bindings: [{put: "/a/{b}"}]}, {selector: t.S.B, get: /a}, {selector: t.S.None, get: /n}]}}`
	_, g := startGateway(t, sluice.Config{Backends: []sluice.Backend{{Handler: http.NotFoundHandler()}}, DescriptorSets: [][]byte{descriptorSet(t, "S", "A", "B", "C")},
		REST: sluice.REST{HTTPRules: []sluice.HTTPRulesFile{{Name: "r.yaml", Data: []byte(rules)}}}})
	routes, problems := g.Routes()
	want := []sluice.Route{
		{Verb: "GET", Path: "/a", Method: "/t.S/A", Kind: "unary", Source: "r.yaml:1"},
		{Verb: "POST", Path: "/t.S/B", Method: "/t.S/B", Kind: "unary", Body: "*", Source: "method path"},
		{Verb: "POST", Path: "/t.S/C", Method: "/t.S/C", Kind: "unary", Body: "*", Source: "method path"},
	}
	if !slices.Equal(routes, want) {
		t.Errorf("got %+v", routes)
	}
	for i, part := range []string{`has no field "b"`, "/t.S/A (r.yaml:1) has the same paths already", "selector t.S.None: no backend has this method"} {
		if len(problems) <= i || !strings.Contains(problems[i].Error(), part) {
			t.Errorf("problem %d: want %q in %v", i, part, problems)
		}
	}
	if len(problems) != 3 {
		t.Errorf("got %v", problems)
	}
}

// TestOpenAPIOfProfile: the document is of REST as it was configured.
func TestOpenAPIOfProfile(t *testing.T) {
	off := []string{"rpc"}
	_, g := startGateway(t, sluice.Config{Backends: []sluice.Backend{{Handler: http.NotFoundHandler()}}, DescriptorSets: [][]byte{descriptorSet(t, "S", "A", "B")},
		REST: sluice.REST{Overrides: map[string]sluice.RESTOptions{"t.S/A": {Disable: off}}}})
	b, err := g.WriteOpenAPI(sluice.OpenAPI{}, false)
	if err != nil || strings.Contains(string(b), `"/t.S/A"`+": {") || !strings.Contains(string(b), `"/t.S/B"`+": {") {
		t.Errorf("%v: %s", err, b)
	}
	if routes, _ := g.Routes(); len(routes) != 1 || routes[0].Method != "/t.S/B" {
		t.Errorf("got %+v", routes)
	}
}
