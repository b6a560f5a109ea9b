package sluice

import (
	"fmt"
	"sync"
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
	style *styles
	table atomic.Pointer[rest.Table]
	once  sync.Once // overrides of nothing are told

	// Of the last change; changes come one at a time.
	types    map[*schema.Schema]*transcode.Types
	problems map[string]bool
}

func newRESTTable(g *Gateway) (*restTable, error) {
	style, err := newStyles(&g.cfg.REST)
	if err != nil {
		return nil, err
	}
	t := &restTable{g: g, rules: g.schemas.rules, style: style}
	g.schemas.store.OnChange(t.rebuild)
	t.settled()
	return t, nil
}

// settled is called when a backend may have been the last to say what it has: then it is
// known which overrides are of nothing.
func (t *restTable) settled() {
	if t.g.schemaPending() != "" {
		return
	}
	t.once.Do(func() {
		if names := t.style.unknown(t.g.schemas.store.Snapshot()); len(names) > 0 {
			t.g.warn("options of REST are for services or methods that nobody has", "names", names)
		}
	})
}

// rebuild makes a new table aside and swaps it in whole. Plans of schemas that stay are
// kept.
func (t *restTable) rebuild(s *schema.Snapshot) {
	types := map[*schema.Schema]*transcode.Types{}
	table, problems := rest.NewTable(s, t.rules, t.style.style, func(of *schema.Schema) *transcode.Types {
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

// messages returns what is needed to turn a method's messages into JSON and back.
func (t *restTable) messages(method string) (in, out *transcode.Message, written transcode.EncodeOptions) {
	return t.table.Load().Messages(method)
}

// unknown says that nobody is known to have a path, and returns what may change that
// soon.
func (t *restTable) unknown(path string) (pending string) {
	t.g.schemas.unknown(path)
	return t.g.schemaPending()
}
