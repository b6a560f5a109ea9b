package schema

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	"google.golang.org/genproto/googleapis/api/annotations"
)

// maxHTTPRules is far above Google's own service configurations, and keeps a mistaken
// path such as a disk image from being parsed.
const maxHTTPRules = 8 << 20

// HTTPRules are the HTTP rules of a service configuration (google.api.Service, of which
// only http counts), as Google's own tools and grpc-gateway take it:
//
//	http:
//	  rules:
//	  - selector: shop.v1.Orders.Get
//	    get: /v1/{name=orders/*}
//	    additional_bindings:
//	    - get: /v1/customers/{customer}/{name=orders/*}
//	  - selector: shop.v1.Orders.Create
//	    post: /v1/orders
//	    body: order
//
// A selector is the full name of a method. The last rule with a selector counts, and it
// counts instead of the method's annotation.
type HTTPRules struct {
	// FullyDecodeReserved is google.api.Http's option of this name: captures of several
	// segments keep only slashes encoded.
	FullyDecodeReserved bool

	methods map[string][]binding // by selector
}

// A FileError is what is wrong with a file, and where.
type FileError struct {
	File         string
	Line, Column int // from 1; 0 is the file as a whole
	Reason       string
}

// Error implements error.
func (e *FileError) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Reason
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Reason)
}

// ReadHTTPRules reads a service configuration, in YAML or JSON. Name is used in errors,
// which are of the type [*FileError]. Keys at its top level other than http are those of
// other parts of a service's configuration, and ignored.
func ReadHTTPRules(name string, data []byte) (*HTTPRules, error) {
	r := &ruleReader{file: name, rules: &HTTPRules{methods: map[string][]binding{}}}
	if len(data) > maxHTTPRules {
		return nil, r.errorf(nil, "it has %d bytes, the limit is %d", len(data), maxHTTPRules)
	}
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		// YAML takes all of JSON but its tabs, which JSON has only between tokens.
		data = bytes.ReplaceAll(data, []byte("\t"), []byte(" "))
	}
	f, err := parser.ParseBytes(data, 0)
	if err != nil {
		if at := bareStar.FindSubmatchIndex(data); at != nil {
			before := data[:at[2]]
			return nil, &FileError{File: name, Line: 1 + bytes.Count(before, []byte("\n")), Column: at[2] - bytes.LastIndexByte(before, '\n'), Reason: aliasHint}
		}
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil {
			return nil, r.errorf(at.GetToken(), "%s", at.GetMessage())
		}
		return nil, r.errorf(nil, "%v", err)
	}
	var body ast.Node
	for _, doc := range f.Docs {
		switch {
		case doc.Body == nil:
		case body != nil:
			return nil, r.errorf(doc.Body.GetToken(), "a second document: a service configuration is one")
		default:
			body = doc.Body
		}
	}
	if body == nil {
		return nil, r.errorf(nil, "it is empty: it has to have http: with a list rules:")
	}
	if err := r.service(body); err != nil {
		return nil, err
	}
	return r.rules, nil
}

// bareStar is the most likely mistake in such a file: body: *, which is half an alias.
var bareStar = regexp.MustCompile(`(?m)^[^#"'\n]*:[ ]+(\*)[ ]*(?:#.*)?\r?$`)

const aliasHint = `a value with * or & first has to be in quotes, as "*"`

// Unknown returns an error for each selector whose method no source has.
func (h *HTTPRules) Unknown(s *Snapshot) (problems []error) {
	known := map[string]bool{}
	for name := range s.methods {
		known[strings.ReplaceAll(strings.TrimPrefix(name, "/"), "/", ".")] = true
	}
	for _, selector := range slices.Sorted(maps.Keys(h.methods)) {
		if !known[selector] {
			problems = append(problems, fmt.Errorf("%s: selector %s: no backend has this method%s",
				h.methods[selector][0].source, selector, didYouMean(selector, slices.Sorted(maps.Keys(known)))))
		}
	}
	return problems
}

// ruleReader walks the syntax tree, where each value has its place.
type ruleReader struct {
	file  string
	rules *HTTPRules
}

func (r *ruleReader) errorf(t *token.Token, format string, args ...any) error {
	e := &FileError{File: r.file, Reason: fmt.Sprintf(format, args...)}
	if t != nil && t.Position != nil {
		e.Line, e.Column = max(t.Position.Line, 1), max(t.Position.Column, 1)
	}
	return e
}

// service reads the whole.
func (r *ruleReader) service(n ast.Node) error {
	found := false
	var near error
	err := r.mapping(n, "a service configuration", func(key string, at *token.Token, v ast.Node) error {
		if key != "http" {
			if s := didYouMean(key, []string{"http"}); s != "" {
				near = r.errorf(at, "key %q%s", key, s)
			}
			return nil
		}
		found = true
		return r.mapping(v, "http", func(key string, at *token.Token, v ast.Node) error {
			switch snake(key) {
			case "rules":
				return r.list(v, "rules", r.rule)
			case "fully_decode_reserved_expansion":
				b, ok := v.(*ast.BoolNode)
				if !ok {
					return r.errorf(v.GetToken(), "%s has to be true or false", key)
				}
				r.rules.FullyDecodeReserved = b.Value
				return nil
			}
			return r.unknown(at, key, "rules", "fully_decode_reserved_expansion")
		})
	})
	switch {
	case err != nil || found:
		return err
	case near != nil:
		return near
	}
	return r.errorf(nil, "it has no http: with a list rules:")
}

// ruleKeys are the fields of google.api.HttpRule.
var ruleKeys = []string{"selector", "get", "put", "post", "delete", "patch", "custom", "body", "response_body", "additional_bindings"}

// rule reads one of rules.
func (r *ruleReader) rule(n ast.Node) error {
	var additional []binding
	selector := ""
	first, err := r.binding(n, func(key string, v ast.Node) error {
		if key == "selector" {
			var err error
			selector, err = r.text(key, v)
			if err == nil && (selector == "" || strings.ContainsAny(selector, "*,/ ") || !strings.Contains(selector, ".")) {
				return r.errorf(v.GetToken(), "selector %q: it has to be the full name of one method, as shop.v1.Orders.Get", selector)
			}
			return err
		}
		return r.list(v, key, func(n ast.Node) error {
			b, err := r.binding(n, func(key string, v ast.Node) error {
				if key == "selector" {
					return r.errorf(v.GetToken(), "an additional binding is of the method of its rule: remove its selector")
				}
				return r.errorf(v.GetToken(), "an additional binding has no additional bindings: list them all in the rule itself")
			})
			b.additional = true
			additional = append(additional, b)
			return err
		})
	})
	if err != nil {
		return err
	}
	if selector == "" {
		return r.errorf(n.GetToken(), "a rule without selector: add selector: package.Service.Method")
	}
	r.rules.methods[selector] = append([]binding{first}, additional...)
	return nil
}

// binding reads what rules and additional bindings have both, and gives take the rest.
func (r *ruleReader) binding(n ast.Node, take func(key string, v ast.Node) error) (binding, error) {
	rule := &annotations.HttpRule{}
	var start *token.Token
	err := r.mapping(n, "a rule", func(key string, at *token.Token, v ast.Node) (err error) {
		if start == nil {
			start = at
		}
		key = snake(key)
		var text string
		switch key {
		case "selector", "additional_bindings":
			return take(key, v)
		case "custom":
			custom := &annotations.CustomHttpPattern{}
			err = r.custom(v, custom)
			return r.setPattern(rule, at, &annotations.HttpRule{Pattern: &annotations.HttpRule_Custom{Custom: custom}}, err)
		case "body":
			rule.Body, err = r.text(key, v)
			return err
		case "response_body":
			rule.ResponseBody, err = r.text(key, v)
			return err
		}
		p := &annotations.HttpRule{}
		if !slices.Contains(ruleKeys, key) {
			return r.unknown(at, key, ruleKeys...)
		}
		text, err = r.text(key, v)
		switch key {
		case "get":
			p.Pattern = &annotations.HttpRule_Get{Get: text}
		case "put":
			p.Pattern = &annotations.HttpRule_Put{Put: text}
		case "post":
			p.Pattern = &annotations.HttpRule_Post{Post: text}
		case "delete":
			p.Pattern = &annotations.HttpRule_Delete{Delete: text}
		case "patch":
			p.Pattern = &annotations.HttpRule_Patch{Patch: text}
		}
		return r.setPattern(rule, at, p, err)
	})
	if err != nil {
		return binding{}, err
	}
	if rule.Pattern == nil {
		return binding{}, r.errorf(n.GetToken(), "a rule without a path: add get, put, post, delete, patch or custom")
	}
	return binding{rule: rule, source: fmt.Sprintf("%s:%d", r.file, start.Position.Line)}, nil
}

// setPattern gives rule the pattern of p, unless it has one.
func (r *ruleReader) setPattern(rule *annotations.HttpRule, at *token.Token, p *annotations.HttpRule, err error) error {
	if err == nil && rule.Pattern != nil {
		return r.errorf(at, "a second path in one rule: put it into additional_bindings")
	}
	rule.Pattern = p.Pattern
	return err
}

func (r *ruleReader) custom(n ast.Node, c *annotations.CustomHttpPattern) error {
	return r.mapping(n, "custom", func(key string, at *token.Token, v ast.Node) (err error) {
		switch key {
		case "kind":
			c.Kind, err = r.text(key, v)
		case "path":
			c.Path, err = r.text(key, v)
		default:
			return r.unknown(at, key, "kind", "path")
		}
		return err
	})
}

func (r *ruleReader) unknown(at *token.Token, key string, known ...string) error {
	suggestion := didYouMean(key, known)
	if suggestion == "" {
		suggestion = ": there are " + strings.Join(known, ", ")
	}
	return r.errorf(at, "unknown key %q%s", key, suggestion)
}

// mapping gives each key of a mapping to take.
func (r *ruleReader) mapping(n ast.Node, what string, take func(key string, at *token.Token, v ast.Node) error) error {
	m, ok := n.(ast.MapNode)
	if !ok {
		return r.errorf(n.GetToken(), "%s has to be a mapping (key: value)", what)
	}
	seen := map[string]bool{}
	for it := m.MapRange(); it.Next(); {
		key, ok := it.Key().(*ast.StringNode)
		switch {
		case !ok:
			return r.errorf(it.Key().GetToken(), "%s: a key has to be a word", what)
		case seen[snake(key.Value)]:
			return r.errorf(key.GetToken(), "%s is there twice", key.Value)
		}
		seen[snake(key.Value)] = true
		if it.Value() == nil {
			return r.errorf(key.GetToken(), "%s has no value", key.Value)
		}
		if err := take(key.Value, key.GetToken(), it.Value()); err != nil {
			return err
		}
	}
	return nil
}

func (r *ruleReader) list(n ast.Node, what string, take func(n ast.Node) error) error {
	if _, ok := n.(*ast.NullNode); ok {
		return nil
	}
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		return r.errorf(n.GetToken(), "%s has to be a list", what)
	}
	for _, n := range s.Values {
		if err := take(n); err != nil {
			return err
		}
	}
	return nil
}

func (r *ruleReader) text(key string, n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return strings.TrimSpace(n.Value.Value), nil
	case *ast.AliasNode, *ast.AnchorNode:
		return "", r.errorf(n.GetToken(), "%s: %s", key, aliasHint)
	}
	return "", r.errorf(n.GetToken(), "%s has to be text", key)
}

// snake returns the name of a field by its JSON name.
func snake(key string) string {
	switch key {
	case "responseBody":
		return "response_body"
	case "additionalBindings":
		return "additional_bindings"
	case "fullyDecodeReservedExpansion":
		return "fully_decode_reserved_expansion"
	}
	return key
}
