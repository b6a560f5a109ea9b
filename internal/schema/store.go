package schema

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Given is the source of descriptors that the configuration gives. It goes before all
// others: what an operator says counts more than what a backend says.
const Given = 0

// A Store holds the schemas of several sources, of which the first that has a service
// counts. Reading it is a lookup in an immutable [Snapshot].
type Store struct {
	pinned  map[string]int
	current atomic.Pointer[Snapshot]

	mu        sync.Mutex
	watchers  []*watcher
	notifying bool
}

type watcher struct {
	f    func(*Snapshot)
	seen *Snapshot
}

// A Snapshot is what all sources of a [Store] say at one moment. It never changes.
type Snapshot struct {
	version  uint64
	schemas  []*Schema
	services map[string][]int // to the sources that have it
	methods  map[string]*rpc.Method
}

// NewStore returns a Store of the source [Given] and n more, from 1, that have nothing
// yet. pinned, which may be nil, names services that one of those has whoever else says
// that he has it too.
func NewStore(n int, pinned map[string]int) *Store {
	s := &Store{pinned: pinned}
	s.current.Store(&Snapshot{schemas: make([]*Schema, n+1)})
	return s
}

// Set replaces what source i says, and tells those who called OnChange. It returns the
// services that a source before i has too, [Given] excepted, and whether anything
// changed.
func (s *Store) Set(i int, schema *Schema) (shadowed []string, changed bool) {
	if shadowed, changed = s.set(i, schema); changed {
		s.notify()
	}
	return shadowed, changed
}

func (s *Store) set(i int, schema *Schema) (shadowed []string, changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.current.Load()
	if old := now.schemas[i]; old == schema || old != nil && schema != nil && old.hash == schema.hash {
		return nil, false
	}
	next := &Snapshot{version: now.version + 1, schemas: append([]*Schema(nil), now.schemas...),
		services: map[string][]int{}, methods: map[string]*rpc.Method{}}
	next.schemas[i] = schema
	for j, src := range next.schemas {
		if src == nil {
			continue
		}
		for _, name := range src.services {
			if p, ok := s.pinned[name]; ok && p != j && j != Given {
				continue
			}
			before := next.services[name]
			if j == i && (len(before) > 1 || len(before) == 1 && before[0] != Given) && !everywhere(name) {
				shadowed = append(shadowed, name)
			}
			next.services[name] = append(before, j)
		}
		for name, m := range src.methods {
			if of := next.services[service(name)]; len(of) > 0 && of[0] == j {
				next.methods[name] = m.Method
			}
		}
	}
	s.current.Store(next)
	return shadowed, true
}

// OnChange has f called with the present Snapshot, and with each new one. Calls come one
// at a time, without a lock of the Store, on the goroutine that made a change; changes
// during a call are one more call after it. So f may take its time to build what it
// needs. The functions are called in the order in which they were given.
func (s *Store) OnChange(f func(*Snapshot)) {
	s.mu.Lock()
	s.watchers = append(s.watchers, &watcher{f: f})
	s.mu.Unlock()
	s.notify()
}

func (s *Store) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.notifying {
		return // who does it looks again
	}
	s.notifying = true
	for i := 0; i < len(s.watchers); i++ {
		w, now := s.watchers[i], s.current.Load()
		if w.seen == now {
			continue
		}
		w.seen = now
		s.mu.Unlock()
		w.f(now)
		s.mu.Lock()
		i = -1 // from the first again: there may be news
	}
	s.notifying = false
}

// Snapshot returns what the sources say now.
func (s *Store) Snapshot() *Snapshot { return s.current.Load() }

// Lookup returns what is known of a method, or nil.
func (s *Store) Lookup(method string) *rpc.Method { return s.current.Load().methods[method] }

// Version is another one whenever anything in a schema is, also if it comes to be as
// it was before.
func (s *Snapshot) Version() uint64 { return s.version }

// Schemas returns what each source says, in the order in which they count; nil for one
// that has said nothing.
func (s *Snapshot) Schemas() []*Schema { return s.schemas }

// Lookup returns what is known of a method, or nil.
func (s *Snapshot) Lookup(method string) *rpc.Method { return s.methods[method] }

// Method returns the descriptor of a method by the first source that has its service,
// and that source; nil if it is not known.
func (s *Snapshot) Method(name string) (md protoreflect.MethodDescriptor, source int) {
	of := s.services[service(name)]
	if len(of) == 0 {
		return nil, 0
	}
	return s.schemas[of[0]].Method(name), of[0]
}

// Sources returns the sources that have a service, the one that counts first.
func (s *Snapshot) Sources(service string) []int { return s.services[service] }

// Services returns the descriptors of the services, by name, each as the first source that
// has it says. Those that a backend has only named are not among them.
func (s *Snapshot) Services() []protoreflect.ServiceDescriptor {
	var all []protoreflect.ServiceDescriptor
	for _, name := range slices.Sorted(maps.Keys(s.services)) {
		d, err := s.schemas[s.services[name][0]].files.FindDescriptorByName(protoreflect.FullName(name))
		if sd, ok := d.(protoreflect.ServiceDescriptor); err == nil && ok {
			all = append(all, sd)
		}
	}
	return all
}

// Methods returns how many methods are known.
func (s *Snapshot) Methods() int { return len(s.methods) }

// Services that every backend may have.
const (
	reflectionV1      = "grpc.reflection.v1.ServerReflection"
	reflectionV1Alpha = "grpc.reflection.v1alpha.ServerReflection"
	healthService     = "grpc.health.v1.Health"
)

func everywhere(service string) bool {
	return service == reflectionV1 || service == reflectionV1Alpha || service == healthService
}
