package sluice

import (
	"fmt"

	"github.com/sluice-rpc/sluice/internal/schema"
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
