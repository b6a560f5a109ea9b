package sluice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/schema"
)

// schemas is what the gateway knows of its backends' services: a source for each
// backend, filled by reflection, and one for the descriptor sets of the configuration.
type schemas struct {
	store *schema.Store
	given bool // descriptor sets were given

	mu      sync.Mutex
	sources []source
}

// source is how reflection of a backend goes.
type source struct {
	reflect bool // it is asked at all
	known   bool // it has answered, or said that it does not offer reflection
	err     error
}

const (
	reflectEvery   = time.Minute      // a backend may be deployed anew without a lost connection
	reflectTimeout = 20 * time.Second // of one attempt
	reflectRetry   = time.Second      // after a failure, doubled up to reflectEvery
	// reflectRetryMax is that of a backend that is not ready: when it comes back, calls to
	// services that only it can name wait for its answer, and no longer than timeouts.ready.
	reflectRetryMax = 5 * time.Second
)

func newSchemas(cfg *Config) (*schemas, error) {
	n := len(cfg.Backends)
	s := &schemas{store: schema.NewStore(n + 1), sources: make([]source, n)}
	if len(cfg.DescriptorSets) > 0 {
		given, err := schema.FromDescriptorSets(cfg.DescriptorSets...)
		if err != nil {
			return nil, err
		}
		s.store.Set(n, given)
		s.given = true
	}
	for i := range cfg.Backends {
		// With several backends reflection also tells who has what, unless the
		// configuration does.
		s.sources[i].reflect = !s.given || (n > 1 && len(cfg.Backends[i].Services) == 0)
		s.sources[i].known = !s.sources[i].reflect
	}
	return s, nil
}

// watchSchema asks a backend again and again, until the gateway closes.
func (g *Gateway) watchSchema(ctx context.Context, i int) {
	retry := reflectRetry
	for {
		wait := reflectEvery
		if err := g.reflectOnce(ctx, i); err != nil && !errors.Is(err, schema.ErrNoReflection) {
			most := reflectEvery
			if !g.backends[i].Ready() {
				most = reflectRetryMax
			}
			wait = min(retry, most)
			retry = min(2*retry, reflectEvery)
		} else {
			retry = reflectRetry
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (g *Gateway) reflectOnce(ctx context.Context, i int) error {
	attempt, cancel := context.WithTimeout(ctx, reflectTimeout)
	defer cancel()
	found, err := schema.Reflect(attempt, g.backends[i])
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s := g.schemas
	changed := false
	if err == nil {
		var shadowed []string
		if shadowed, changed = s.store.Set(i, found); len(shadowed) > 0 {
			g.warn("services of this backend go to one that was named before it", "backend", g.target(i), "services", shadowed)
		}
	}
	s.mu.Lock()
	src := &s.sources[i]
	news := err != nil && (src.err == nil || src.err.Error() != err.Error())
	first := !src.known && (err == nil || errors.Is(err, schema.ErrNoReflection))
	src.known = src.known || first
	src.err = err
	s.mu.Unlock()
	if news && g.backends[i].Ready() { // else there is a message about that already
		g.warn("no schema by reflection", "backend", g.target(i), "error", err)
	}
	if changed || first {
		g.router.Changed()
	}
	return err
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
	if i, ok := g.schemas.store.Source(service); ok && i < len(g.backends) {
		return i, true
	}
	return 0, false
}

// schemaPending names the backends whose services are not known yet.
func (g *Gateway) schemaPending() string {
	s := g.schemas
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for i := range s.sources {
		if !s.sources[i].known {
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
	s.mu.Lock()
	src := s.sources[i]
	s.mu.Unlock()
	for _, name := range s.store.Services(i) {
		if !slices.Contains(st.Services, name) { // the configuration may name it too
			st.Services = append(st.Services, name)
		}
	}
	if s.given {
		st.SchemaSource = "descriptors"
	}
	if src.reflect && len(s.store.Services(i)) > 0 {
		st.SchemaSource = "reflection"
	}
	if src.err != nil {
		st.SchemaError = src.err.Error()
	}
}
