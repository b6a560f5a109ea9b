package sluice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-rpc/sluice/internal/backend"
	"github.com/sluice-rpc/sluice/internal/schema"
	"github.com/sluice-rpc/sluice/rpc"
)

// schemas is what the gateway knows of its backends' services: by the descriptor sets of
// the configuration, which are the store's source schema.Given, and by reflection, where
// backend i is the source i+1.
type schemas struct {
	store    *schema.Store
	watchers []*schema.Watcher // by backend; nil for one that is not asked
	rules    schema.RuleOptions
}

func newSchemas(g *Gateway) (*schemas, error) {
	cfg := &g.cfg
	n := len(cfg.Backends)
	pinned := map[string]int{}
	for i := n - 1; i >= 0; i-- { // of two that name a service the first has it
		for _, name := range cfg.Backends[i].Services {
			pinned[name] = i + 1
		}
	}
	s := &schemas{store: schema.NewStore(n, pinned), watchers: make([]*schema.Watcher, n)}
	var err error
	if s.rules, err = cfg.REST.ruleOptions(); err != nil {
		return nil, err
	}
	given := len(cfg.DescriptorSets) > 0
	if given {
		found, err := schema.FromDescriptorSets(cfg.DescriptorSets...)
		if err != nil {
			return nil, err
		}
		s.set(g, found)
	}
	for i := range cfg.Backends {
		// With several backends reflection also tells who has what, unless the
		// configuration does.
		if !given || (n > 1 && len(cfg.Backends[i].Services) == 0) {
			s.watchers[i] = g.newWatcher(i)
		}
	}
	return s, nil
}

// set takes descriptors of the configuration.
func (s *schemas) set(g *Gateway, given *schema.Schema) {
	if _, changed := s.store.Set(schema.Given, given); changed {
		g.warnUnresolved("the configuration", given)
	}
}

// SetDescriptorSets replaces [Config.DescriptorSets] while the gateway serves, when
// files have changed for instance. If they can't be used, the old ones stay in force.
// It does not switch reflection on or off.
func (g *Gateway) SetDescriptorSets(sets ...[]byte) error {
	if len(sets) == 0 {
		return errors.New("no descriptor set: give at least one")
	}
	given, err := schema.FromDescriptorSets(sets...)
	if err != nil {
		return err
	}
	g.schemas.set(g, given)
	g.router.Changed()
	g.held.Changed()
	return nil
}

// newWatcher keeps the schema of a backend, once it runs.
func (g *Gateway) newWatcher(i int) *schema.Watcher {
	return schema.NewWatcher(schema.WatchConfig{
		Ask: func(ctx context.Context, old *schema.Schema) (*schema.Schema, error) {
			return schema.Reflect(ctx, g.backends[i], old)
		},
		Ready: func() bool { return g.backends[i].Ready() },
		Found: func(found *schema.Schema) bool {
			before := g.schemas.store.Snapshot().Schemas()[i+1]
			shadowed, changed := g.schemas.store.Set(i+1, found)
			if changed && before != nil && g.cfg.Logger != nil {
				g.cfg.Logger.Info("the schema of a backend has changed", "backend", g.target(i), "services", len(found.Services()), "methods", found.Methods())
			}
			if len(shadowed) > 0 {
				g.warn("services of this backend go to one that was named before it", "backend", g.target(i), "services", some(shadowed))
			}
			if names := found.Undescribed(); changed && len(names) > 0 {
				g.warn("the backend offers services that it does not describe", "backend", g.target(i), "services", some(names))
			}
			if changed {
				g.warnUnresolved(g.target(i), found)
			}
			return changed
		},
		Settled: func(err error, news bool) {
			if news && g.backends[i].Ready() { // else there is a message about that already
				g.warn("no schema by reflection", "backend", g.target(i), "error", err)
			}
			g.router.Changed()
			g.held.Changed()
			g.methods.settled()
		},
	})
}

// warnUnresolved says which types nobody describes. It is about what could be had with
// complete descriptors: calls pass.
func (g *Gateway) warnUnresolved(from string, s *schema.Schema) {
	if names := s.Unresolved(); len(names) > 0 {
		g.warn("descriptors lack types that they use: give them with all imports", "from", from, "types", some(names))
	}
}

// some writes names into a log, however many a backend may have.
func some(names []string) string {
	if n := len(names); n > 10 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:10], " "), n-10)
	}
	return strings.Join(names, " ")
}

func (g *Gateway) warn(msg string, args ...any) {
	if g.cfg.Logger != nil {
		g.cfg.Logger.Warn(msg, args...)
	}
}

func (g *Gateway) target(i int) string {
	if t := g.cfg.Backends[i].Target; t != "" {
		return t
	}
	return inProcess
}

// findBackend returns the backend that has a service: by the configuration, else by
// reflection.
func (g *Gateway) findBackend(service string) (int, bool) {
	for i := range g.cfg.Backends {
		if slices.Contains(g.cfg.Backends[i].Services, service) {
			return i, true
		}
	}
	for _, source := range g.schemas.store.Snapshot().Sources(service) {
		if source != schema.Given {
			return source - 1, true
		}
	}
	return 0, false
}

// lookup returns what is known of a method. Protocols ask here.
func (s *schemas) lookup(method string) *rpc.Method {
	m := s.store.Lookup(method)
	if m == nil {
		s.unknown(method)
	}
	return m
}

// unknown says that a client asks for a method, or a path that a rule may have, and
// nobody knows it: the backends that may are asked for news, as often as that is due.
// Until they have answered, schemaPending names them if it has the form of a method; who
// asks for any other path is told at once that it is not there.
func (s *schemas) unknown(method string) {
	for i, w := range s.watchers {
		if w == nil || !w.Due() { // as a rule: without a schema every call comes by here
			continue
		}
		service, ok := backend.Service(method)
		if of := s.store.Snapshot().Sources(service); len(of) == 0 || slices.Contains(of, i+1) {
			w.Unknown(ok)
		}
	}
}

// connected says that a backend has a new connection.
func (s *schemas) connected(i int) {
	if w := s.watchers[i]; w != nil {
		w.Connected()
	}
}

// schemaPending names the backends whose services are not known yet.
func (g *Gateway) schemaPending() string {
	var names []string
	for i, w := range g.schemas.watchers {
		if w != nil && w.Pending() {
			names = append(names, g.target(i))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("the services of %s", strings.Join(names, ", "))
}

// describe adds what is known of a backend's schema to its status.
func (s *schemas) describe(i int, st *BackendStatus) {
	all := s.store.Snapshot().Schemas()
	if all[schema.Given] != nil {
		st.SchemaSource = "descriptors"
	}
	if found := all[i+1]; found != nil && len(found.Services()) > 0 {
		st.SchemaSource = "reflection"
		for _, name := range found.Services() {
			if !slices.Contains(st.Services, name) { // the configuration may name it too
				st.Services = append(st.Services, name)
			}
		}
	}
	if w := s.watchers[i]; w != nil && w.Err() != nil {
		st.SchemaError = w.Err().Error()
	}
}
