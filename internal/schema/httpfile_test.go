package schema

import (
	"errors"
	"strings"
	"testing"
)

const rulesYAML = `# A service configuration.
type: google.api.Service
config_version: 3
name: shop.example.com
authentication: {rules: [{selector: "*"}]}
http:
  fully_decode_reserved_expansion: true
  rules:
  - selector: shop.v1.Orders.M0
    get: /v2/{name=orders/*}
    additional_bindings:
    - post: "/v2/{name=orders/*}:get"
      body: "*"
    - custom: {kind: PURGE, path: "/v2/{item_id}"}
      response_body: parent
  - selector: shop.v1.Orders.M1
    patch: /v2/{nme}
    body: order
  - selector: shop.v1.Orders.M2
    delete: /v2/overridden
  - put: /v2/last
    selector: shop.v1.Orders.M2
  - selector: shop.v1.Order.M0
    get: /v2/nothing
`

const rulesJSON = `
{
	"title": "x",
	"http": {"rules": [
		{"selector": "shop.v1.Orders.M0", "get": "/v3/{name}", "responseBody": "parent",
		 "additionalBindings": [{"post": "\/v3", "body": "*"}]}
	]}
}`

func TestReadHTTPRules(t *testing.T) {
	h, err := ReadHTTPRules("rules.yaml", []byte(rulesYAML))
	if err != nil {
		t.Fatal(err)
	}
	s := httpSchema(t, annotated(get("/v1/{name}"), get("/v1/a"), nil, get("/v1/b")))
	o := RuleOptions{Files: []*HTTPRules{h}}
	rules, problems := s.Rules(o)
	if got, want := list(rules), `M0 GET /v2/{name=orders/*} "" "" rules.yaml:9
M0 POST /v2/{name=orders/*}:get "*" "" rules.yaml:12
M0 PURGE /v2/{item_id} "" "parent" rules.yaml:14
M2 PUT /v2/last "" "" rules.yaml:21
M3 GET /v1/b "" "" annotation
`; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), `HTTP rule of /shop.v1.Orders/M1 (rules.yaml:16): PATCH /v2/{nme}`) {
		t.Error(problems)
	}
	store := NewStore(1, nil)
	store.Set(1, s)
	unknown := h.Unknown(store.Snapshot())
	if len(unknown) != 1 || unknown[0].Error() != `rules.yaml:23: selector shop.v1.Order.M0: no backend has this method: did you mean "shop.v1.Orders.M0"?` {
		t.Error(unknown)
	}
	table, _ := NewTable(rules, o)
	if _, c, _ := table.Match("GET", "/v2/orders/a%3Ab", nil); len(c) != 1 || c[0].Value != "orders/a:b" {
		t.Error(c) // fully_decode_reserved_expansion
	}

	later, err := ReadHTTPRules("rules.json", []byte(rulesJSON))
	if err != nil {
		t.Fatal(err)
	}
	rules, _ = s.Rules(RuleOptions{Files: []*HTTPRules{h, later}})
	if got, want := list(rules), "M0 GET /v3/{name} \"\" \"parent\" rules.json:5\nM0 POST /v3 \"*\" \"\" rules.json:6\nM2 PUT"; !strings.HasPrefix(got, want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestReadHTTPRulesErrors(t *testing.T) {
	for _, test := range []struct{ data, want string }{
		{"", "f: it is empty"},
		{"# nothing\n", "f: it is empty"},
		{"name: x\n", "f: it has no http: with a list rules:"},
		{"htpp: {rules: []}\n", `f:1:1: key "htpp": did you mean "http"?`},
		{"- a\n", "f:1:1: a service configuration has to be a mapping"},
		{"http: 1\n", "f:1:7: http has to be a mapping"},
		{"http:\n", "http has to be a mapping"},
		{"http:\n  rule: []\n", `f:2:3: unknown key "rule": did you mean "rules"?`},
		{"http:\n  xyzzyxyzzy: []\n", "f:2:3: unknown key \"xyzzyxyzzy\": there are rules, fully_decode"},
		{"http:\n  rules: 7\n", "f:2:10: rules has to be a list"},
		{"http:\n  fully_decode_reserved_expansion: maybe\n", "has to be true or false"},
		{"http:\n  rules:\n  - 7\n", "f:3:5: a rule has to be a mapping"},
		{"http:\n  rules:\n  - get: /a\n", "a rule without selector"},
		{"http:\n  rules:\n  - selector: a.B.C\n", "a rule without a path"},
		{"http:\n  rules:\n  - selector: a.B.C\n    gte: /a\n", `f:4:5: unknown key "gte": did you mean "get"?`},
		{"http:\n  rules:\n  - selector: a.B.C\n    get: /a\n    put: /a\n", "f:5:5: a second path in one rule"},
		{"http:\n  rules:\n  - selector: a.B.C\n    get: /a\n    get: /b\n", "f:5:5"},
		{"http:\n  rules:\n  - selector: a.B.*\n    get: /a\n", `f:3:15: selector "a.B.*": it has to be the full name of one method`},
		{"http:\n  rules:\n  - selector: C\n    get: /a\n", `selector "C"`},
		{"http:\n  rules:\n  - selector: [a.B]\n    get: /a\n", "f:3:15: selector has to be text"},
		{"http:\n  rules:\n  - selector: a.B.C\n    post: /a\n    body: *\n", "f:5:11: a value with * or & first has to be in quotes"},
		{"http:\r\n  rules:\r\n  - selector: a.B.C\r\n    post: /a\r\n    body: *  # all\r\n    get: /a\r\n", "f:5:11: a value with * or & first has to be in quotes"},
		{"http:\n  rules:\n  - selector: a.B.C\n    post: /a\n    body: *x\n", `f:5:11: body: a value with * or & first has to be in quotes`},
		{"http:\n  rules:\n  - selector: a.B.C\n    post: /a\n    body:\n", "body has to be text"},
		{"http:\n  rules:\n  - selector: a.B.C\n    custom: {kind: A, paht: /}\n", `f:4:23: unknown key "paht": did you mean "path"?`},
		{"http:\n  rules:\n  - selector: a.B.C\n    get: /a\n    additional_bindings:\n    - selector: a.B.D\n      get: /b\n", "remove its selector"},
		{"http:\n  rules:\n  - selector: a.B.C\n    get: /a\n    additional_bindings:\n    - get: /b\n      additional_bindings: []\n", "list them all in the rule itself"},
		{"http:\n  rules: []\n---\nhttp: {}\n", "a second document"},
		{"http:\n\trules: []\n", "f:2:1"},
		{`{"http": {"rules": [`, "f:1"},
		{strings.Repeat("#", maxHTTPRules+1), "the limit is"},
	} {
		_, err := ReadHTTPRules("f", []byte(test.data))
		var at *FileError
		if !errors.As(err, &at) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.200s: got %v, want %s", test.data, err, test.want)
		}
	}
}

func FuzzReadHTTPRules(f *testing.F) {
	f.Add([]byte(rulesYAML))
	f.Add([]byte(rulesJSON))
	f.Add([]byte("http: {rules: [{selector: a.B.C, custom: {kind: X, path: /}}]}"))
	f.Add([]byte("http:\n  rules:\n  - selector: a.B.C\n    post: /a\n    body: *x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ReadHTTPRules("f", b)
		var at *FileError
		switch {
		case err == nil:
			for selector, bindings := range h.methods {
				for _, b := range bindings {
					if selector == "" || b.rule.Pattern == nil || !strings.HasPrefix(b.source, "f:") {
						t.Errorf("%q: %+v", selector, b)
					}
				}
			}
		case !errors.As(err, &at):
			t.Errorf("got %v", err)
		}
	})
}
