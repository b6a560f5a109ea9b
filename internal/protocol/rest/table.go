package rest

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/sluice-rpc/sluice/internal/schema"
	"github.com/sluice-rpc/sluice/internal/schema/route"
	"github.com/sluice-rpc/sluice/internal/transcode"
	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A Table knows every method by its paths. It never changes, but for plans that are made
// when they are first needed; a new schema is a new Table.
type Table struct {
	snapshot *schema.Snapshot
	types    []*transcode.Types // by source
	styles   func(method string) *Style
	routes   *route.Table[*schema.Rule]
	rules    map[*schema.Rule]*binding
	methods  sync.Map // of *binding by RPC path, as if there were a rule POST with body "*"
}

// method is what all bindings of a method share.
type method struct {
	info    *rpc.Method
	style   *Style
	offers  []offer
	types   *transcode.Types
	in, out *transcode.Message
}

// A binding is a rule with its plans.
type binding struct {
	*method
	rule  *schema.Rule
	vars  []variable
	bound []string // the names of the fields that path and body have

	bodyAll  bool
	body     *transcode.Path    // of a body that is one field
	content  *transcode.Message // what the body is, if it is a message
	rawBody  bool               // the body is a google.api.HttpBody
	response *transcode.FieldEncoder
	// responseField is the field of response_body.
	responseField protoreflect.FieldNumber
	rawOut        bool            // the response is a google.api.HttpBody
	mask          *transcode.Path // update_mask, which PATCH fills
}

type variable struct {
	name string
	path *transcode.Path
}

const httpBody = "google.api.HttpBody"

// NewTable makes a table of a snapshot. styles returns the style of a method, and that of
// what is no method for "". types returns the plans of a source's schema. What is wrong
// with a rule leaves that rule out, and is said.
func NewTable(s *schema.Snapshot, o schema.RuleOptions, styles func(method string) *Style, types func(*schema.Schema) *transcode.Types) (*Table, []error) {
	t := &Table{snapshot: s, styles: styles, rules: map[*schema.Rule]*binding{}}
	for _, source := range s.Schemas() {
		var plans *transcode.Types
		if source != nil {
			plans = types(source)
		}
		t.types = append(t.types, plans)
	}
	rules, problems := s.Rules(o)
	good := rules[:0]
	for _, r := range rules {
		m := t.method(r.Method)
		if m == nil {
			continue
		}
		b, err := m.bind(r)
		if err != nil {
			problems = append(problems, &schema.RuleError{Method: r.Method, Source: r.Source, Verb: r.Verb, Path: r.Template.String(), Reason: err.Error()})
			continue
		}
		t.rules[r] = b
		good = append(good, r)
	}
	routes, more := schema.NewTable(good, o)
	t.routes = routes
	return t, append(problems, more...)
}

func (t *Table) method(name string) *method {
	md, source := t.snapshot.Method(name)
	if md == nil {
		return nil
	}
	types := t.types[source]
	m := &method{info: t.snapshot.Lookup(name), style: t.styles(name), types: types, in: types.Message(md.Input()), out: types.Message(md.Output())}
	m.offers = m.style.offers(m.info.ServerStreaming)
	return m
}

// Messages returns the plans of a method's request and response, and how its JSON is
// written, or nil if nobody knows it.
func (t *Table) Messages(name string) (in, out *transcode.Message, written transcode.EncodeOptions) {
	var m *method
	if b := t.byPath(name); b != nil {
		m = b.method
	} else if m = t.method(name); m == nil {
		return nil, nil, written
	}
	written = m.style.JSON
	if m.info.ServerStreaming {
		written.Indent = "" // it is for single documents
	}
	return m.in, m.out, written
}

// RPC says whether a path is that of a method, and reaches it.
func (t *Table) RPC(path string) bool { return t.byPath(path) != nil }

// byPath returns the binding of an RPC path, or nil.
func (t *Table) byPath(path string) *binding {
	if b, ok := t.methods.Load(path); ok {
		return b.(*binding)
	}
	m := t.method(path)
	if m == nil || m.style.NoRPC {
		return nil
	}
	b, err := m.bind(&schema.Rule{Method: path, Verb: "POST", Body: "*"})
	if err != nil { // there is nothing in it that can be wrong
		return nil
	}
	t.methods.Store(path, b)
	return b
}

func (m *method) bind(r *schema.Rule) (*binding, error) {
	b := &binding{method: m, rule: r}
	if r.Template != nil {
		for _, name := range r.Template.Variables() {
			p, err := m.in.Path(name)
			if err != nil {
				return nil, err
			}
			b.vars = append(b.vars, variable{name, p})
			b.bound = append(b.bound, name)
		}
	}
	switch r.Body {
	case "":
	case "*":
		b.bodyAll, b.content = true, m.in
	default:
		p, err := m.in.Path(r.Body)
		if err != nil {
			return nil, fmt.Errorf("body: %w", err)
		}
		b.body = p
		b.bound = append(b.bound, r.Body)
		if fd := p.Field(); fd.Message() != nil && !fd.IsList() && !fd.IsMap() {
			b.content = m.types.Message(fd.Message())
		}
	}
	b.rawBody = b.content != nil && b.content.Descriptor().FullName() == httpBody
	b.rawOut = m.out.Descriptor().FullName() == httpBody
	if r.ResponseBody != "" {
		f, err := m.out.FieldEncoder(r.ResponseBody)
		if err != nil {
			return nil, fmt.Errorf("response_body: %w", err)
		}
		b.response = f
		fd := m.out.Descriptor().Fields().ByTextName(r.ResponseBody)
		if fd == nil {
			fd = m.out.Descriptor().Fields().ByJSONName(r.ResponseBody)
		}
		b.responseField = fd.Number()
		b.rawOut = fd.Message() != nil && !fd.IsList() && !fd.IsMap() && fd.Message().FullName() == httpBody
	}
	if r.Verb == "PATCH" && m.style.FillMask && b.content != nil && !slices.Contains(b.bound, updateMask) {
		fd := m.in.Descriptor().Fields().ByName(updateMask)
		if fd != nil && fd.Message() != nil && !fd.IsList() && fd.Message().FullName() == "google.protobuf.FieldMask" {
			b.mask, _ = m.in.Path(updateMask)
		}
	}
	return b, nil
}

const updateMask = "update_mask"

// streams says whether the request, and the response, are streams.
func (b *binding) streams() (request, response bool) {
	return b.info.ClientStreaming, b.info.ServerStreaming
}

// taken says whether path or body have a field, which the query then may not set.
func (b *binding) taken(path string) bool {
	if b.bodyAll {
		return true
	}
	for _, name := range b.bound {
		if name == path || strings.HasPrefix(path, name) && path[len(name)] == '.' {
			return true
		}
	}
	return false
}

// find returns the binding that a verb and a raw path belong to.
func (t *Table) find(verb, path string, captures []route.Capture) (*binding, []route.Capture) {
	r, captures, ok := t.routes.Match(verb, path, captures)
	if !ok || !t.fits(r.Template, path) {
		return nil, nil
	}
	return t.rules[r], captures
}

// fits says whether a rule may have a path: wildcards take neither calls nor the
// reserved space away (RFC 8615).
func (t *Table) fits(template *route.Template, path string) bool {
	switch {
	case t.snapshot.Lookup(path) != nil:
		return template.Literal()
	case path == wellKnown[:len(wellKnown)-1] || strings.HasPrefix(path, wellKnown):
		return template.First() == wellKnown[1:len(wellKnown)-1]
	}
	return true
}

const wellKnown = "/.well-known/"

// verbs returns the verbs of a path, for Allow.
func (t *Table) verbs(path string) []string {
	var verbs []string
	for _, v := range t.routes.Verbs(path) {
		if b, _ := t.find(v, path, nil); b != nil {
			verbs = append(verbs, v)
		}
	}
	if t.byPath(path) != nil && !slices.Contains(verbs, "POST") {
		verbs = append(verbs, "POST")
	}
	if i := slices.Index(verbs, "GET"); i >= 0 && !slices.Contains(verbs, "HEAD") {
		verbs = slices.Insert(verbs, i+1, "HEAD")
	}
	return verbs
}

// Fits says whether a rule has a path.
func (t *Table) Fits(verb, path string) bool {
	b, _ := t.find(verb, path, nil)
	return b != nil
}

// Literal says whether a rule without a wildcard fits.
func (t *Table) Literal(verb, path string) bool {
	b, _ := t.find(verb, path, nil)
	return b != nil && b.rule.Template.Literal()
}
