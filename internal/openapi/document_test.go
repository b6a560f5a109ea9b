package openapi

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-rpc/sluice/internal/schema/schematest"
	"google.golang.org/protobuf/proto"

	"github.com/goccy/go-yaml"
	"github.com/sluice-rpc/sluice/internal/schema"
)

//go:generate go test -run TestDocument -update

var update = flag.Bool("update", false, "write testdata/shop.json and testdata/shop.yaml")

// compile makes a snapshot of one source of each text.
func compile(t testing.TB, texts ...string) *schema.Snapshot {
	t.Helper()
	store := schema.NewStore(len(texts), nil)
	for i, text := range texts {
		fd, err := schematest.Text("t.proto", text)
		if err != nil {
			t.Fatal(err)
		}
		b, err := proto.Marshal(schematest.Set(fd))
		if err != nil {
			t.Fatal(err)
		}
		s, err := schema.FromDescriptorSets(b)
		if err != nil {
			t.Fatal(err)
		}
		store.Set(i, s)
	}
	return store.Snapshot()
}

func document(t testing.TB, s *schema.Snapshot, o Options) *Document {
	t.Helper()
	rules, problems := s.Rules(schema.RuleOptions{})
	for _, p := range problems {
		t.Error(p)
	}
	d, err := New(s, rules, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func shop(t testing.TB) string {
	b, err := os.ReadFile("testdata/shop.proto")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var shopOptions = Options{Title: "The shop", Version: "1.2", Servers: []string{"https://shop.example.com"},
	Security: []Security{{}, {Header: "X-Api-Key"}}}

// TestDocument compares with what was read by a person once; the judges of
// conformance/openapi say that it is valid.
func TestDocument(t *testing.T) {
	d := document(t, compile(t, shop(t)), shopOptions)
	for name, got := range map[string][]byte{"shop.json": d.JSON(), "shop.yaml": d.YAML()} {
		name = filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(name, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s: `go generate ./internal/openapi` would write another:\n%s", name, diff)
		}
	}
	if again := document(t, compile(t, shop(t)), shopOptions); !bytes.Equal(again.JSON(), d.JSON()) {
		t.Error("the same descriptors gave another document")
	}
}

// TestForms: JSON and YAML say the same.
func TestForms(t *testing.T) {
	nasty := []string{"a: b", "- a", "# a", "yes", "null", "~", "1", "1e3", "0x1", ".inf", "NaN", " a", "a ", "a\nb", "a\n b\n", "\ta\nb", " a\nb", "a\n\n\nb", "é\nü",
		"<a href='x'>&</a>", "\x00", "\u2028", "a\r\nb", "'", "\"", "*a", "&a", "!a", "%a", "@a", "`a`", "{a", "[a", "]", "a #b", "a:b", "2026-01-02", "\x7f", "---", "...", "--- a\nb", "|", ">", "?",
		"a\n---\nb", "a\n# b", "\ufeffa\nb", "on", "$ref", "/v1/{a}", "-", "a\tb\nc", "x\n  y\n    z"}
	var size int
	root := &object{size: &size}
	list := []any{}
	for _, s := range nasty {
		root.members = append(root.members, member{s, s})
		list = append(list, s, (&object{size: &size}).set(s, s).set("more", []any{s, (&object{size: &size}).set("deep", s)}))
	}
	root.set("list", list).set("no", &object{size: &size}).set("none", []any{&object{}}).set("true", true).set("n", 0)
	root.members = append(root.members, member{"empty", ""}, member{"nothing", []any{}})
	d := &Document{root}
	for name, d := range map[string]*Document{"nasty": d, "shop": document(t, compile(t, shop(t)), Options{})} {
		var want, got any
		if err := json.Unmarshal(d.JSON(), &want); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := yaml.Unmarshal(d.YAML(), &got); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, d.YAML())
		}
		if diff := cmp.Diff(want, numbers(got)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// numbers makes of a YAML value what JSON would have given.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case uint64:
		return float64(v)
	}
	return v
}

// at walks into a document.
func at(t testing.TB, d *Document, path ...string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(d.JSON(), &v); err != nil {
		t.Fatal(err)
	}
	for _, key := range path {
		m, _ := v.(map[string]any)
		if v = m[key]; v == nil {
			t.Fatalf("there is no %s of %v in %s", key, path, d.JSON())
		}
	}
	return v
}

func keys(v any) map[string]bool {
	found := map[string]bool{}
	m, _ := v.(map[string]any)
	for k := range m {
		found[k] = true
	}
	return found
}

func TestCollisions(t *testing.T) {
	d := document(t, compile(t, shop(t)), Options{})
	want := map[string]bool{"/v1/shelves/{shelf}/orders/{order}": true, "/v1/orders/{name}": true, "/v1/orders/{name}#Get": true, "/v1/orders": true,
		"/v1/shelves/{shelf}/orders": true, "/v1/shelves/{shelf}/orders/{order}:cancel": true, "/v1/shelves/{shelf}/orders/{order}:watch": true,
		"/v1/upload": true, "/v1/files/{name}": true, "/v1/files": true, "/v1/{segment}/any/{segment_2}": true,
		"/shop.v1.Orders/Plain": true, "/shop.v1.Orders/Chat": true}
	if diff := cmp.Diff(want, keys(at(t, d, "paths"))); diff != "" {
		t.Error(diff)
	}
	// The rule with another name for the same paths is not there: the table of routes has
	// the first.
	if got := keys(at(t, d, "paths", "/v1/orders/{name}")); !reflect.DeepEqual(got, map[string]bool{"get": true, additional: true}) {
		t.Error(got)
	}
}

// TestTwoSources: two backends may have messages of one name that are not the same.
func TestTwoSources(t *testing.T) {
	source := func(service, field string) string {
		return `syntax = "proto3"; package p; service ` + service + ` { rpc Do(M) returns (M); } message M { string ` + field + ` = 1; }`
	}
	d := document(t, compile(t, source("A", "x"), source("B", "y"), source("C", "x")), Options{})
	for name, field := range map[string]string{"p.M": "x", "p.M_2": "y"} {
		if got := keys(at(t, d, "components", "schemas", name, "properties")); !got[field] || len(got) != 1 {
			t.Errorf("%s has %v", name, got)
		}
	}
	if got := at(t, d, "paths", "/p.B/Do", "post", "requestBody", "content", "application/json", "schema", "$ref"); got != "#/components/schemas/p.M_2" {
		t.Error(got)
	}
}

func TestOperationIDs(t *testing.T) {
	const m = ` message M {} service S { rpc Do(M) returns (M); rpc Do_2(M) returns (M); }`
	s := compile(t, `syntax = "proto3"; package a;`+m, `syntax = "proto3"; package b;`+m)
	rules, problems := s.Rules(schema.RuleOptions{Files: []*schema.HTTPRules{serviceConfig(t, `{http: {rules: [
		{selector: a.S.Do, get: /1, additional_bindings: [{get: /2}, {get: /3}]}]}}`)}})
	if problems != nil {
		t.Fatal(problems)
	}
	d, err := New(s, rules, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/1": "a_S_Do", "/2": "a_S_Do_2", "/3": "a_S_Do_3"} {
		if got := at(t, d, "paths", path, "get", "operationId"); got != want {
			t.Errorf("%s is %v, want %s", path, got, want)
		}
	}
	for path, want := range map[string]string{"/a.S/Do_2": "a_S_Do_2_2", "/b.S/Do": "b_S_Do"} {
		if got := at(t, d, "paths", path, "post", "operationId"); got != want {
			t.Errorf("%s is %v, want %s", path, got, want)
		}
	}
}

func serviceConfig(t testing.TB, text string) *schema.HTTPRules {
	h, err := schema.ReadHTTPRules("r.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestQuery: parameters are as many as documented, whatever the messages.
func TestQuery(t *testing.T) {
	wide := `syntax = "proto3"; package p; import "google/api/annotations.proto";
		service S { rpc Do(A) returns (A) { option (google.api.http) = {get: "/v1/{b.x}"}; } }`
	letters := "ABCDEFG"
	for i := range letters {
		wide += " message " + letters[i:i+1] + " { string x = 1;"
		if i+1 < len(letters) {
			next := letters[i+1 : i+2]
			wide += " " + next + " " + strings.ToLower(next) + " = 2; A back = 3; " + next + " second_one = 4;"
		}
		wide += "}"
	}
	d := document(t, compile(t, wide), Options{})
	got := map[string]bool{}
	for _, p := range at(t, d, "paths", "/v1/{b.x}", "get", "parameters").([]any) {
		p := p.(map[string]any)
		got[p["in"].(string)+" "+p["name"].(string)] = true
	}
	for name, want := range map[string]bool{"path b.x": true, "query x": true, "query b.x": false, "query b.c.x": true, "query b.c.d.x": true, "query b.c.d.e.x": false,
		"query secondOne.x": true, "query secondOne.secondOne.secondOne.x": true, "query back.x": false, "query b.back.x": false} {
		if got[name] != want {
			t.Errorf("%s: %v, want %v, of %v", name, got[name], want, got)
		}
	}

	many := `syntax = "proto3"; package p; import "google/api/annotations.proto"; message M {`
	for i := range maxQuery + 1 {
		many += " string f" + string(rune('a'+i/26)) + string(rune('a'+i%26)) + " = " + json.Number(itoa(i+1)).String() + ";"
	}
	d = document(t, compile(t, many+`} service S { rpc Do(M) returns (M) { option (google.api.http) = {get: "/v1"}; } }`), Options{})
	if n := len(at(t, d, "paths", "/v1", "get", "parameters").([]any)); n != maxQuery {
		t.Errorf("%d parameters", n)
	}
	if text := at(t, d, "paths", "/v1", "get", "description"); text != "There are more query parameters than the 200 here." {
		t.Error(text)
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// TestSize: a long comment at a method with many rules is in the document many times.
func TestSize(t *testing.T) {
	text := "// " + strings.Repeat("long ", 1<<12) + "\n"
	s := compile(t, "syntax = \"proto3\"; package p; message M {} service S {\n"+text+"rpc Do(M) returns (M); }")
	bindings := ""
	for i := range 5000 {
		bindings += "{get: /" + itoa(i) + "},"
	}
	rules, problems := s.Rules(schema.RuleOptions{Files: []*schema.HTTPRules{serviceConfig(t, `{http: {rules: [{selector: p.S.Do, get: /a, additional_bindings: [`+bindings+`]}]}}`)}})
	if problems != nil {
		t.Fatal(problems)
	}
	if _, err := New(s, rules, Options{}); err != errSize {
		t.Errorf("got %v", err)
	}
	if _, err := New(s, rules[:10], Options{}); err != nil {
		t.Error(err)
	}
}

func TestSplit(t *testing.T) {
	for text, want := range map[string][2]string{
		"":                          {"", ""},
		"One.":                      {"One", ""},
		"One. Two.":                 {"One", "One. Two."},
		"See e.g. this. Two.":       {"See e.g. this", "See e.g. this. Two."},
		"One\nline.\n\nTwo":         {"One line", "One\nline.\n\nTwo"},
		strings.Repeat("word ", 50): {strings.Repeat("word ", 23) + "word …", strings.Repeat("word ", 50)},
		strings.Repeat("x", 200):    {"", strings.Repeat("x", 200)},
	} {
		if summary, description := split(text); summary != want[0] || description != want[1] {
			t.Errorf("%q: got %q, %q", text, summary, description)
		}
	}
}

func TestSingular(t *testing.T) {
	for plural, want := range map[string]string{"shelves": "shelf", "policies": "policy", "addresses": "address", "indexes": "index", "orders": "order",
		"databases": "database", "status": "status", "data": "data", "s": "s", "tables": "table"} {
		if got := singular(plural); got != want {
			t.Errorf("%s: got %s, want %s", plural, got, want)
		}
	}
}

// TestMethod: what is special about methods.
func TestMethod(t *testing.T) {
	s := compile(t, `syntax = "proto3"; package p; import "google/api/annotations.proto"; enum E { A = 0; B = 2; }
		message M { string long_name = 1; E kind = 2; }
		service S {
			rpc Do(M) returns (M) { option (google.api.http) = {get: "/do"}; }
			rpc Feed(M) returns (stream M) { option (google.api.http) = {get: "/feed"}; }
			rpc Plain(M) returns (M);
		}`)
	rules, _ := s.Rules(schema.RuleOptions{})
	with := func(o Options, m Method) *Document {
		t.Helper()
		o.Method = func(string) Method { return m }
		d, err := New(s, rules, o)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := with(Options{ProtoNames: true, EnumNumbers: true}, Method{RulesOnly: true})
	if got := keys(at(t, d, "paths")); got["/p.S/Plain"] || len(got) != 2 {
		t.Error(got)
	}
	if got := keys(at(t, d, "components", "schemas", "p.M", "properties")); !got["long_name"] || got["longName"] {
		t.Error(got)
	}
	if p := at(t, d, "paths", "/do", "get", "parameters").([]any)[0].(map[string]any); p["name"] != "long_name" {
		t.Error(p)
	}
	if e := at(t, d, "components", "schemas", "p.E").(map[string]any); e["type"] != "integer" || e["description"] != "* 0: A\n* 2: B" {
		t.Error(e)
	}
	feed := func(d *Document) any { return at(t, d, "paths", "/feed", "get", "responses", "200", "content") }
	if got, want := keys(feed(with(Options{}, Method{Off: map[string]bool{"sse": true, "seq": true, "delimited": true, "array": true}}))), map[string]bool{typeNDJSON: true}; !reflect.DeepEqual(got, want) {
		t.Error(got)
	}
	if got, want := keys(feed(with(Options{}, Method{Off: map[string]bool{"ndjson": true, "array": true}, JSONLines: true}))),
		map[string]bool{typeJSON: true, typeSeq: true, typeSSE: true, typeProtobuf: true}; !reflect.DeepEqual(got, want) {
		t.Error(got)
	}
	lines := func(m Method) string {
		b, err := json.Marshal(at(t, with(Options{}, m), "paths", "/feed", "get", "responses", "200", "content", typeNDJSON))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := lines(Method{}); !strings.Contains(got, "@error") {
		t.Error(got)
	}
	if got := lines(Method{NoMark: true}); strings.Contains(got, "@error") {
		t.Error(got)
	}
	if got := lines(Method{Envelope: true}); !strings.Contains(got, `"result":{"$ref":"#/components/schemas/p.M"}`) || strings.Contains(got, "@error") {
		t.Error(got)
	}
	events := at(t, with(Options{}, Method{Failure: "oops", NoEnd: true}), "paths", "/feed", "get", "responses", "200", "content", typeSSE, "schema", "description")
	if events != "One for each event. One named `oops` has a google.rpc.Status as its data." {
		t.Error(events)
	}
	for kind, want := range map[string]string{"": "Error", "google": "GoogleError", "none": "NoContentError"} {
		d := with(Options{}, Method{Errors: kind})
		if got := at(t, d, "paths", "/do", "get", "responses", "default", "$ref"); got != "#/components/responses/"+want {
			t.Errorf("%q: %v", kind, got)
		}
		at(t, d, "components", "responses", want)
		var all any
		if err := json.Unmarshal(d.JSON(), &all); err != nil {
			t.Fatal(err)
		}
		refs(t, all, all)
	}
}
