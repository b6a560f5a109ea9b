package schema

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sluice-rpc/sluice/rpc"
)

// A Store holds the schemas of several sources, of which the first that has a service
// counts. Reading it is a lookup in an immutable snapshot.
type Store struct {
	mu      sync.Mutex
	sources []*Schema
	current atomic.Pointer[snapshot]
}

type snapshot struct {
	methods  map[string]*rpc.Method
	services map[string]int // to the source
}

// NewStore returns a Store for n sources that have nothing yet.
func NewStore(n int) *Store {
	s := &Store{sources: make([]*Schema, n)}
	s.current.Store(&snapshot{})
	return s
}

// Set replaces what source i says. It returns the services that an earlier source has
// too, and whether anything changed.
func (s *Store) Set(i int, schema *Schema) (shadowed []string, changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sources[i].equal(schema) {
		return nil, false
	}
	s.sources[i] = schema
	next := &snapshot{methods: map[string]*rpc.Method{}, services: map[string]int{}}
	for j, src := range s.sources {
		if src == nil {
			continue
		}
		for _, name := range src.services {
			if _, taken := next.services[name]; taken {
				if j == i && name != reflectionV1 && name != reflectionV1Alpha && name != healthService {
					shadowed = append(shadowed, name)
				}
				continue
			}
			next.services[name] = j
		}
		for name, m := range src.methods {
			if next.services[service(name)] == j {
				next.methods[name] = m
			}
		}
	}
	s.current.Store(next)
	return shadowed, true
}

// Lookup returns what is known of a method, or nil.
func (s *Store) Lookup(method string) *rpc.Method { return s.current.Load().methods[method] }

// Source returns which source has a service.
func (s *Store) Source(service string) (i int, ok bool) {
	i, ok = s.current.Load().services[service]
	return i, ok
}

// Methods returns how many methods are known.
func (s *Store) Methods() int { return len(s.current.Load().methods) }

// Services returns the services of source i.
func (s *Store) Services(i int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sources[i] == nil {
		return nil
	}
	return slices.Clone(s.sources[i].services)
}

// Services that every backend may have.
const (
	reflectionV1      = "grpc.reflection.v1.ServerReflection"
	reflectionV1Alpha = "grpc.reflection.v1alpha.ServerReflection"
	healthService     = "grpc.health.v1.Health"
)
