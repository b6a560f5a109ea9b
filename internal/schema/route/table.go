package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxPath is how many bytes a path may have; nginx has the same limit for its request
// line by default.
const MaxPath = 8 << 10

// maxNodes bounds the memory of a table, since rules may come from a backend: some 100
// MB. All of Google's 14,286 rules in one table are a hundredth of that.
const maxNodes = 1 << 20

// What [CheckPath] finds wrong.
var (
	ErrBadPath  = errors.New("the path does not begin with a slash")
	ErrLongPath = fmt.Errorf("the path has more than %d bytes", MaxPath)
	ErrEscape   = errors.New("the path has a % without two hexadecimal digits")
)

// CheckPath says what is wrong with a path. Such a path matches no route at all, so who
// finds none asks here whether the request was a bad one.
func CheckPath(path string) error {
	switch {
	case path == "" || path[0] != '/':
		return ErrBadPath
	case len(path) > MaxPath:
		return ErrLongPath
	}
	for s := path; ; s = s[3:] {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			return nil
		}
		if s = s[i:]; !escape(s) {
			return ErrEscape
		}
	}
}

// ErrTooMany is the error of one route too many for a table.
var ErrTooMany = fmt.Errorf("the templates have more than %d different prefixes", maxNodes)

// A Capture is what a variable of a template took from the path.
type Capture struct {
	Path  string // of the field, "a.b"
	Value string // decoded
}

// A Conflict is the error of a second route for the same verb and the same paths.
type Conflict[T any] struct {
	Verb     string
	Template *Template // that was to be added
	Old      *Template // that is there
	Value    T         // of the one that is there
}

// Error implements error.
func (c *Conflict[T]) Error() string {
	return fmt.Sprintf("%s %s and %s %s match the same paths", c.Verb, c.Old, c.Verb, c.Template)
}

// A Builder collects routes. The zero value is an empty one.
type Builder[T any] struct {
	// DecodeReserved is fully_decode_reserved_expansion of google.api.Http: captures of
	// several segments keep only slashes encoded.
	DecodeReserved bool

	table Table[T]
	nodes int
}

// Add adds a route for requests with the HTTP verb, or any for "*". A second one for the
// same paths is not added: the error is a [*Conflict].
func (b *Builder[T]) Add(verb string, t *Template, v T) error {
	if b.table.roots == nil {
		b.table.roots = map[string]*node[T]{}
	}
	if b.nodes+1+len(t.segments) > maxNodes {
		return ErrTooMany
	}
	n := b.table.roots[t.verb]
	if n == nil {
		n = b.node()
		b.table.roots[t.verb] = n
	}
	routes := &n.routes
	for _, s := range t.segments {
		switch s.kind {
		case literal:
			next := n.literal(s.text)
			if next == nil {
				next = b.node()
				n.addLiteral(s.text, next)
			}
			n = next
		case star:
			if n.star == nil {
				n.star = b.node()
			}
			n = n.star
		case rest:
			routes = &n.rest
			continue // it is the last one
		}
		routes = &n.routes
	}
	for i := range *routes {
		if r := &(*routes)[i]; r.verb == verb {
			return &Conflict[T]{Verb: verb, Template: t, Old: r.template, Value: r.value}
		}
	}
	*routes = append(*routes, route[T]{verb: verb, template: t, value: v})
	b.table.depth = max(b.table.depth, len(t.segments))
	b.table.colons = max(b.table.colons, strings.Count(t.verb, ":"))
	return nil
}

func (b *Builder[T]) node() *node[T] {
	b.nodes++
	return &node[T]{}
}

// Build returns the table, and leaves the builder empty.
func (b *Builder[T]) Build() *Table[T] {
	t := b.table
	t.keep = reserved
	if b.DecodeReserved {
		t.keep = "/"
	}
	*b = Builder[T]{}
	return &t
}

// A Table finds routes. It never changes, so any number of goroutines may use it.
type Table[T any] struct {
	roots  map[string]*node[T] // a tree for each custom verb; "" is none
	depth  int                 // of the longest template: paths are cut into no more segments
	colons int                 // at most in a custom verb
	keep   string              // what captures of several segments keep encoded
}

// A node is what follows a prefix of templates. Variables don't make a difference: only
// what they match does.
type node[T any] struct {
	text     string // of the first literal
	first    *node[T]
	literals map[string]*node[T] // all of them, if there are several
	star     *node[T]
	routes   []route[T] // of templates that end here
	rest     []route[T] // of templates that end with ** here
}

// literal returns the node after a literal segment, or nil.
func (n *node[T]) literal(text string) *node[T] {
	if n.literals != nil {
		return n.literals[text]
	}
	if n.text == text {
		return n.first
	}
	return nil
}

func (n *node[T]) addLiteral(text string, next *node[T]) {
	switch {
	case n.first == nil:
		n.text, n.first = text, next
	case n.literals == nil:
		n.literals = map[string]*node[T]{n.text: n.first, text: next}
	default:
		n.literals[text] = next
	}
}

type route[T any] struct {
	verb     string
	template *Template
	value    T
}

// A span is a segment of a path.
type span struct {
	start, end int
	text       string // decoded
}

// stackSpans is how many segments are cut without an allocation.
const stackSpans = 24

// Match finds the route of a request: its verb, and its path as it was sent but without
// the query. What the variables took is appended to captures, in the order of the
// template. Values are parts of path unless they had to be decoded.
func (t *Table[T]) Match(verb, path string, captures []Capture) (v T, c []Capture, ok bool) {
	if CheckPath(path) != nil {
		return v, captures, false
	}
	var stack [stackSpans]span
	var r *route[T]
	for at := t.verbAt(path); at < len(path); at = nextVerb(path, at) {
		if root := t.verbRoot(path, at); root != nil {
			spans, more := t.cut(path[:at], stack[:0])
			if r = root.find(verb, spans, 0, more); r != nil {
				return r.value, r.capture(path[:at], spans, t.keep, captures), true
			}
		}
	}
	if root := t.roots[""]; root != nil {
		spans, more := t.cut(path, stack[:0])
		if r = root.find(verb, spans, 0, more); r != nil {
			return r.value, r.capture(path, spans, t.keep, captures), true
		}
	}
	return v, captures, false
}

// verbAt returns the place of the first colon in the last segment after which a custom
// verb may stand, or the path's length.
func (t *Table[T]) verbAt(path string) int {
	at := len(path)
	if len(t.roots) == 1 && t.roots[""] != nil {
		return at
	}
	last := strings.LastIndexByte(path, '/')
	for range t.colons + 1 {
		i := strings.LastIndexByte(path[last:at], ':')
		if i < 0 {
			break
		}
		at = last + i
	}
	return at
}

// nextVerb returns the place of the colon after the one at at, or the path's length.
func nextVerb(path string, at int) int {
	if i := strings.IndexByte(path[at+1:], ':'); i >= 0 {
		return at + 1 + i
	}
	return len(path)
}

// verbRoot returns the tree for the custom verb after the colon at at, or nil.
func (t *Table[T]) verbRoot(path string, at int) *node[T] {
	if at+1 == len(path) {
		return nil
	}
	return t.roots[unescape(path[at+1:])]
}

// cut appends the segments of path, as many as a template may have. More says that there
// are others.
func (t *Table[T]) cut(path string, spans []span) (_ []span, more bool) {
	escaped := strings.IndexByte(path, '%') >= 0
	for start := 1; len(spans) < t.depth; {
		end := start
		for end < len(path) && path[end] != '/' {
			end++
		}
		s := span{start: start, end: end, text: path[start:end]}
		if escaped {
			s.text = unescape(s.text)
		}
		spans = append(spans, s)
		if end == len(path) {
			return spans, false
		}
		start = end + 1
	}
	return spans, true
}

// find returns the best route below n for the segments from i on, or nil. Each node is
// reached by one way only, so no node is visited twice.
func (n *node[T]) find(verb string, spans []span, i int, more bool) *route[T] {
	if i == len(spans) {
		if !more {
			if r := pick(n.routes, verb); r != nil {
				return r
			}
		}
		return pick(n.rest, verb)
	}
	s := &spans[i]
	if next := n.literal(s.text); next != nil {
		if r := next.find(verb, spans, i+1, more); r != nil {
			return r
		}
	}
	if n.star != nil && s.start < s.end {
		if r := n.star.find(verb, spans, i+1, more); r != nil {
			return r
		}
	}
	return pick(n.rest, verb)
}

// pick returns the route of a verb, or else that of any verb.
func pick[T any](routes []route[T], verb string) *route[T] {
	var any *route[T]
	for i := range routes {
		switch r := &routes[i]; r.verb {
		case verb:
			return r
		case "*":
			any = r
		}
	}
	return any
}

func (r *route[T]) capture(path string, spans []span, keep string, c []Capture) []Capture {
	for i := range r.template.vars {
		v := &r.template.vars[i]
		value := ""
		switch {
		case v.from >= len(spans): // a ** that has nothing left
		case !v.multi:
			value = spans[v.from].text
		case r.template.segments[v.to-1].kind == rest:
			value = unescapeBut(path[spans[v.from].start:], keep)
		default:
			value = unescapeBut(path[spans[v.from].start:spans[v.to-1].end], keep)
		}
		c = append(c, Capture{Path: v.path, Value: value})
	}
	return c
}

// Verbs returns the HTTP verbs that a path has routes for: GET, POST, PUT, PATCH, DELETE,
// then others by name. "*" among them is any verb.
func (t *Table[T]) Verbs(path string) []string {
	if CheckPath(path) != nil {
		return nil
	}
	var verbs []string
	for at := t.verbAt(path); at < len(path); at = nextVerb(path, at) {
		if root := t.verbRoot(path, at); root != nil {
			spans, more := t.cut(path[:at], nil)
			verbs = root.verbs(verbs, spans, more)
		}
	}
	if root := t.roots[""]; root != nil {
		spans, more := t.cut(path, nil)
		verbs = root.verbs(verbs, spans, more)
	}
	slices.SortFunc(verbs, compareVerbs)
	return verbs
}

// verbs adds the verbs of all routes below n that fit.
func (n *node[T]) verbs(verbs []string, spans []span, more bool) []string {
	verbs = addVerbs(verbs, n.rest)
	if len(spans) == 0 {
		if !more {
			verbs = addVerbs(verbs, n.routes)
		}
		return verbs
	}
	s := &spans[0]
	if next := n.literal(s.text); next != nil {
		verbs = next.verbs(verbs, spans[1:], more)
	}
	if n.star != nil && s.start < s.end {
		verbs = n.star.verbs(verbs, spans[1:], more)
	}
	return verbs
}

func addVerbs[T any](verbs []string, routes []route[T]) []string {
	for i := range routes {
		if !slices.Contains(verbs, routes[i].verb) {
			verbs = append(verbs, routes[i].verb)
		}
	}
	return verbs
}

// usual are the verbs that google.api.HttpRule has fields for, in the order of Verbs.
var usual = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}

func compareVerbs(a, b string) int {
	i, j := slices.Index(usual, a), slices.Index(usual, b)
	switch {
	case i >= 0 && j >= 0:
		return i - j
	case i >= 0:
		return -1
	case j >= 0:
		return 1
	}
	return strings.Compare(a, b)
}
