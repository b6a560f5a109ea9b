package rest

import "github.com/sluice-rpc/sluice/internal/schema/route"

// socket finds who gets a handshake: a rule of any verb, since that on the wire is
// always GET or CONNECT and says nothing, or an RPC path.
func (t *Table) socket(path string) (*binding, []route.Capture) {
	b, captures := t.anyVerb(path)
	if b == nil {
		b = t.byPath(path)
	}
	if b == nil || b.style.Off.Has(WebSocket) {
		return nil, nil
	}
	return b, captures
}

// anyVerb finds the rule whose template says most about the path; of those that say the
// same the first in the order of verbs.
func (t *Table) anyVerb(path string) (best *binding, captures []route.Capture) {
	for _, verb := range t.routes.Verbs(path) {
		b, c := t.find(verb, path, nil)
		if b != nil && (best == nil || before(b.rule.Template, best.rule.Template)) {
			best, captures = b, c
		}
	}
	return best, captures
}

// before says whether, of two templates that fit a path, the first says more about it:
// literals go before single wildcards, those before "**".
func before(a, b *route.Template) bool {
	if a.Verb() != b.Verb() {
		return len(a.Verb()) > len(b.Verb())
	}
	x, y := a.Segments(), b.Segments()
	for i := range min(len(x), len(y)) {
		if d := len(x[i].Wildcard) - len(y[i].Wildcard); d != 0 {
			return d < 0
		}
	}
	return false
}
