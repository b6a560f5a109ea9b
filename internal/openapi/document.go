package openapi

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sluice-rpc/sluice/internal/schema"
)

// Options say what descriptors don't.
type Options struct {
	Title    string     // if "", that of the only service, or "API"
	Version  string     // of the API; if "", "0"
	Servers  []string   // URLs; none is where the document comes from
	Security []Security // any one of them is enough; none is not said

	ProtoNames  bool // in JSON fields are called as in the .proto file
	EnumNumbers bool // and enums are numbers

	// Method says what is special about a method, "/package.Service/Method"; nil is nothing.
	Method func(name string) Method
}

// A Method is how a method is reached and answers. The zero value is the usual way
// (docs/protocols/rest-streams.md).
type Method struct {
	RulesOnly bool            // its own path does not reach it
	Off       map[string]bool // the modes of streams that it does not have: ndjson, sse, array, seq, delimited
	JSONLines bool            // a stream in application/json is not an array, but one document a line
	Envelope  bool            // messages of streams are {"result":…}, and failures {"error":…}
	NoMark    bool            // a stream that fails does not end with {"@error":…}
	Failure   string          // the name of the event of a failure; "" is failure
	NoEnd     bool            // no event EOS at the end
	Errors    string          // "google" for {"error":…} (https://google.aip.dev/193), "none" for no content
}

// A Security is a way in which clients say who they are: a bearer token (RFC 6750), or a
// key in a header field.
type Security struct {
	Header string // of the key; "" is a bearer token
}

// maxDocument bounds what backends can make of their descriptors: a comment, for instance,
// is in the document as often as there are rules for its method.
const maxDocument = 64 << 20

// A Document is a finished OpenAPI document.
type Document struct{ root *object }

// JSON returns the document as JSON.
func (d *Document) JSON() []byte { return append(appendJSON(nil, d.root, 0), '\n') }

// YAML returns the document as YAML.
func (d *Document) YAML() []byte { return append(appendYAML(nil, d.root, 0)[1:], '\n') }

// New describes the services of s that have a method with one of the rules, or one without
// any. Of rules that take the same requests the first counts, as in [schema.NewTable].
func New(s *schema.Snapshot, rules []*schema.Rule, o Options) (*Document, error) {
	if o.Method == nil {
		o.Method = func(string) Method { return Method{} }
	}
	b := &builder{
		options: &o,
		paths:   map[string]*object{}, taken: map[string]bool{}, ids: map[string]int{}, names: map[string]protoreflect.Descriptor{},
		byFile: map[[2]protoreflect.FileDescriptor]bool{}, tags: map[string]protoreflect.ServiceDescriptor{}, needs: map[string]bool{},
		comments: map[protoreflect.Descriptor]string{},
	}
	services := s.Services()
	b.shortNames(services)
	ruled := map[string]bool{}
	for _, r := range rules {
		ruled[r.Method] = true
		if b.rule(r); b.size > maxDocument {
			return nil, errSize
		}
	}
	for _, sd := range services {
		if everywhere(sd.FullName()) {
			continue
		}
		for i := range sd.Methods().Len() {
			if md := sd.Methods().Get(i); !ruled[methodName(md)] && !o.Method(methodName(md)).RulesOnly {
				b.unruled(md)
			}
			if b.size > maxDocument {
				return nil, errSize
			}
		}
	}
	components := b.components(o)
	if b.size > maxDocument {
		return nil, errSize
	}
	return &Document{b.root(o, components)}, nil
}

var errSize = fmt.Errorf("the OpenAPI document of these descriptors would have more than %d MiB", maxDocument>>20)

// everywhere tells of services that are for tools and not part of an API. One with an
// HTTP rule is described all the same.
func everywhere(service protoreflect.FullName) bool {
	return strings.HasPrefix(string(service), "grpc.reflection.") || service == "grpc.health.v1.Health"
}

func methodName(md protoreflect.MethodDescriptor) string {
	return "/" + string(md.Parent().FullName()) + "/" + string(md.Name())
}

// A builder holds a document that is being made.
type builder struct {
	options *Options
	size    int

	paths map[string]*object // path items by path
	order []string           // of paths
	taken map[string]bool    // verbs and shapes of paths

	ids   map[string]int // of operations, to the last number that one was given
	short map[protoreflect.Name]int
	tags  map[string]protoreflect.ServiceDescriptor

	names    map[string]protoreflect.Descriptor // of component schemas
	byFile   map[[2]protoreflect.FileDescriptor]bool
	comments map[protoreflect.Descriptor]string
	queue    []component
	needs    map[string]bool // components that are not of descriptors
}

type component struct {
	name string
	desc protoreflect.Descriptor
}

// jsonName returns what a field is called in JSON.
func (b *builder) jsonName(fd protoreflect.FieldDescriptor) string {
	if b.options.ProtoNames {
		return fd.TextName()
	}
	return fd.JSONName()
}

func (b *builder) object() *object { return &object{size: &b.size} }

// shortNames counts how many services have one name in different packages.
func (b *builder) shortNames(services []protoreflect.ServiceDescriptor) {
	b.short = map[protoreflect.Name]int{}
	for _, sd := range services {
		b.short[sd.Name()]++
	}
}

// id returns a name for an operation that no other has: Service_Method, and a number from
// the second on.
func (b *builder) id(md protoreflect.MethodDescriptor) string {
	base := string(md.Parent().Name())
	if b.short[md.Parent().Name()] > 1 {
		base = strings.ReplaceAll(string(md.Parent().FullName()), ".", "_")
	}
	base += "_" + string(md.Name())
	id := base
	for b.ids[id] > 0 { // how often it was asked for: the next number is very likely free
		b.ids[base]++
		id = fmt.Sprintf("%s_%d", base, b.ids[base])
	}
	b.ids[id] = 1
	return id
}

// path returns the item of a path.
func (b *builder) path(p string) *object {
	item := b.paths[p]
	if item == nil {
		item = b.object()
		b.paths[p] = item
		b.order = append(b.order, p)
		b.size += len(p)
	}
	return item
}

func (b *builder) root(o Options, components *object) *object {
	title, version := o.Title, o.Version
	if title == "" {
		if title = "API"; len(b.tags) == 1 {
			for name := range b.tags {
				title = name
			}
		}
	}
	if version == "" {
		version = "0"
	}
	root := b.object().set("openapi", "3.1.1").set("info", b.object().set("title", title).set("version", version))
	if len(o.Servers) == 0 {
		o.Servers = []string{"/"}
	}
	var servers, tags []any
	for _, url := range o.Servers {
		servers = append(servers, b.object().set("url", url))
	}
	root.set("servers", servers)
	if len(o.Security) > 0 {
		var either []any
		for _, s := range o.Security {
			either = append(either, &object{members: []member{{s.name(), []any{}}}})
		}
		root.set("security", either)
	}
	for _, name := range slices.Sorted(maps.Keys(b.tags)) {
		tags = append(tags, b.object().set("name", name).set("description", b.comment(b.tags[name])))
	}
	root.set("tags", tags)
	paths := b.object()
	for _, p := range b.order {
		paths.set(p, b.paths[p])
	}
	return root.set("paths", paths).set("components", components)
}

func (s *Security) name() string {
	if s.Header == "" {
		return "bearer"
	}
	return "key-" + strings.ToLower(s.Header)
}

// components makes what operations refer to.
func (b *builder) components(o Options) *object {
	schemas := map[string]*object{}
	for len(b.queue) > 0 {
		c := b.queue[0]
		b.queue = b.queue[1:]
		switch d := c.desc.(type) {
		case protoreflect.MessageDescriptor:
			schemas[c.name] = b.message(d, nil)
		case protoreflect.EnumDescriptor:
			schemas[c.name] = b.enum(d)
		}
		if b.size > maxDocument {
			return nil
		}
	}
	for name, make := range wellKnownComponents {
		if b.needs[name] && schemas[name] == nil {
			schemas[name] = make(b)
		}
	}
	all := b.object()
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		all.set(name, schemas[name])
	}
	components := b.object()
	if len(all.members) > 0 {
		components.set("schemas", all)
	}
	responses := b.object()
	for _, name := range slices.Sorted(maps.Keys(errorResponses)) {
		if b.needs[name] {
			responses.set(name, errorResponses[name](b))
		}
	}
	if len(responses.members) > 0 {
		components.set("responses", responses)
	}
	if len(o.Security) > 0 {
		schemes := b.object()
		for _, s := range o.Security {
			scheme := b.object().set("type", "http").set("scheme", "bearer")
			if s.Header != "" {
				scheme = b.object().set("type", "apiKey").set("in", "header").set("name", s.Header)
			}
			if !schemes.has(s.name()) {
				schemes.set(s.name(), scheme)
			}
		}
		components.set("securitySchemes", schemes)
	}
	return components
}
