package sluice

import (
	"fmt"
	"sync/atomic"

	"github.com/sluice-rpc/sluice/internal/protocol/rest"
	"github.com/sluice-rpc/sluice/internal/schema"
	"github.com/sluice-rpc/sluice/internal/transcode"
)

// ruleOptions reads what the configuration says of HTTP rules.
func (r *REST) ruleOptions() (o schema.RuleOptions, err error) {
	for _, f := range r.HTTPRules {
		rules, err := schema.ReadHTTPRules(f.Name, f.Data)
		if err != nil {
			return o, fmt.Errorf("HTTP rules %w", err)
		}
		o.Files = append(o.Files, rules)
	}
	if r.Naming != "" {
		if o.Naming, err = schema.ParseNaming(r.Naming); err != nil {
			return o, err
		}
	}
	return o, nil
}

// restTable keeps the table of REST up to date with the schema.
type restTable struct {
	g     *Gateway
	rules schema.RuleOptions
	table atomic.Pointer[rest.Table]

	// Of the last change; changes come one at a time.
	types    map[*schema.Schema]*transcode.Types
	problems map[string]bool
}

func newRESTTable(g *Gateway) *restTable {
	t := &restTable{g: g, rules: g.schemas.rules}
	g.schemas.store.OnChange(t.rebuild)
	return t
}

// rebuild makes a new table aside and swaps it in whole. Plans of schemas that stay are
// kept.
func (t *restTable) rebuild(s *schema.Snapshot) {
	types := map[*schema.Schema]*transcode.Types{}
	style := rest.Sluice()
	table, problems := rest.NewTable(s, t.rules, func(string) *rest.Style { return &style }, func(of *schema.Schema) *transcode.Types {
		plans := t.types[of]
		if plans == nil {
			plans = transcode.NewTypes(of.Files())
		}
		types[of] = plans
		return plans
	})
	t.types = types
	said := make(map[string]bool, len(problems))
	for _, p := range problems {
		text := p.Error()
		said[text] = true
		if !t.problems[text] { // each is said once
			t.g.warn("an HTTP rule is left out", "problem", text)
		}
	}
	t.problems = said
	t.table.Store(table)
}

// messages returns the plans of a method's request and response, or nil.
func (t *restTable) messages(method string) (in, out *transcode.Message) {
	return t.table.Load().Messages(method)
}

// unknown says that nobody is known to have a path, and returns what may change that
// soon.
func (t *restTable) unknown(path string) (pending string) {
	t.g.schemas.unknown(path)
	return t.g.schemaPending()
}
