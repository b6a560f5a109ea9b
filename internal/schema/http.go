package schema

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-rpc/sluice/internal/schema/route"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Limits of the rules that a backend may have. Google's own APIs, all 1,739 services
// together, have 14,286 rules, and at most nine for a method.
const (
	maxBindings = 100     // of one method
	maxRules    = 1 << 16 // of a schema
)

// A Rule is a way to reach a method by HTTP (google/api/http.proto). Its field names are
// checked: they are in the method's messages.
type Rule struct {
	Method       string // "/package.Service/Method"
	Verb         string // of HTTP; "*" is any
	Template     *route.Template
	Body         string // the field that is the request's content: "*" is all, "" is none
	ResponseBody string // the field that is the response's content: "" is all
	Source       string // "annotation", "naming pattern", or FILE:LINE
	Descriptor   protoreflect.MethodDescriptor
}

// RuleOptions say what there is beside annotations.
type RuleOptions struct {
	// Files override the annotations of the methods that they name, and each the files
	// before it.
	Files []*HTTPRules
	// Naming, if any, gives a rule to each method that neither an annotation nor a file
	// names.
	Naming *Naming
}

// A RuleError is a rule that is left out, and why.
type RuleError struct {
	Method string // "/package.Service/Method"
	Source string
	Verb   string
	Path   string // the template as it was written
	Reason string
}

// Error implements error.
func (e *RuleError) Error() string {
	s := "HTTP rule of " + e.Method + " (" + e.Source + ")"
	if e.Verb != "" {
		s += ": " + e.Verb + " " + e.Path
	}
	return s + ": " + e.Reason
}

// Rules returns the HTTP rules of all methods, by service and in the order of the .proto
// file. A rule that is wrong is not among them but among the errors; the others of the
// same method stay.
func (s *Schema) Rules(o RuleOptions) (rules []*Rule, problems []error) {
	for _, service := range s.services {
		rules, problems = s.appendRules(rules, problems, service, o)
	}
	return rules, problems
}

// Rules returns the HTTP rules of all methods, each as the first source that has the
// service says; see [Schema.Rules].
func (s *Snapshot) Rules(o RuleOptions) (rules []*Rule, problems []error) {
	for _, service := range slices.Sorted(maps.Keys(s.services)) {
		rules, problems = s.schemas[s.services[service][0]].appendRules(rules, problems, service, o)
	}
	return rules, problems
}

func (s *Schema) appendRules(rules []*Rule, problems []error, service string, o RuleOptions) ([]*Rule, []error) {
	d, err := s.files.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return rules, problems // it is named and not described
	}
	methods := d.(protoreflect.ServiceDescriptor).Methods()
	for i := range methods.Len() {
		if len(rules)+len(problems) > maxRules {
			err := &RuleError{Method: methodName(methods.Get(i)), Source: "annotation", Reason: fmt.Sprintf("there are more than %d rules: all from here on are left out", maxRules)}
			return rules, append(problems[:len(problems):len(problems)], err)
		}
		rules, problems = appendMethodRules(rules, problems, methods.Get(i), o)
	}
	return rules, problems
}

// NewTable makes the table that finds rules. Where two match the same paths the first one
// stays, and the error names both.
func NewTable(rules []*Rule, o RuleOptions) (table *route.Table[*Rule], problems []error) {
	b := route.Builder[*Rule]{DecodeReserved: slices.ContainsFunc(o.Files, func(h *HTTPRules) bool { return h.FullyDecodeReserved })}
	for _, r := range rules {
		err := b.Add(r.Verb, r.Template, r)
		var c *route.Conflict[*Rule]
		if errors.As(err, &c) {
			err = &RuleError{Method: r.Method, Source: r.Source, Verb: r.Verb, Path: r.Template.String(), Reason: fmt.Sprintf(
				"%s (%s) has the same paths already, by %s %s", c.Value.Method, c.Value.Source, c.Value.Verb, c.Value.Template)}
		}
		if err != nil {
			problems = append(problems, err)
		}
	}
	return b.Build(), problems
}

// methodName returns the name of a method as it is in a path, "/package.Service/Method".
func methodName(md protoreflect.MethodDescriptor) string {
	return "/" + string(md.Parent().FullName()) + "/" + string(md.Name())
}

// binding is a google.api.HttpRule with its place.
type binding struct {
	rule       *annotations.HttpRule
	source     string
	additional bool
}

func appendMethodRules(rules []*Rule, problems []error, md protoreflect.MethodDescriptor, o RuleOptions) ([]*Rule, []error) {
	bindings, err := bindingsOf(md, o)
	if err != nil {
		return rules, append(problems, &RuleError{Method: methodName(md), Source: "annotation", Reason: err.Error()})
	}
	for _, b := range bindings {
		if r, err := newRule(md, b); err != nil {
			problems = append(problems, err)
		} else {
			rules = append(rules, r)
		}
	}
	return rules, problems
}

// bindingsOf returns the rules of a method, one after the other: additional bindings
// follow the one they are in.
func bindingsOf(md protoreflect.MethodDescriptor, o RuleOptions) ([]binding, error) {
	for _, h := range slices.Backward(o.Files) {
		if bindings := h.methods[string(md.FullName())]; bindings != nil {
			return bindings, nil
		}
	}
	rule, err := annotation(md)
	switch {
	case err != nil:
		return nil, err
	case rule != nil && len(rule.AdditionalBindings) >= maxBindings:
		return nil, fmt.Errorf("it has %d additional bindings, the limit is %d", len(rule.AdditionalBindings), maxBindings-1)
	case rule != nil:
		bindings := []binding{{rule: rule, source: "annotation"}}
		for _, r := range rule.AdditionalBindings {
			bindings = append(bindings, binding{rule: r, source: "annotation", additional: true})
		}
		return bindings, nil
	case o.Naming != nil:
		return []binding{{rule: o.Naming.rule(md), source: "naming pattern"}}, nil
	}
	return nil, nil
}

// onlyHTTP knows the one extension that is read here.
var onlyHTTP = func() *protoregistry.Types {
	t := new(protoregistry.Types)
	if err := t.RegisterExtension(annotations.E_Http); err != nil {
		panic(err) // a constant cannot be twice in an empty registry
	}
	return t
}()

// unmarshal reads descriptors, and leaves google.api.http for later: else one that is broken
// would break them all.
var unmarshal = proto.UnmarshalOptions{Resolver: allButHTTP{protoregistry.GlobalTypes}}

type allButHTTP struct{ *protoregistry.Types }

func (t allButHTTP) FindExtensionByNumber(message protoreflect.FullName, number protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	http := annotations.E_Http.TypeDescriptor()
	if number == http.Number() && message == http.ContainingMessage().FullName() {
		return nil, protoregistry.NotFound
	}
	return t.Types.FindExtensionByNumber(message, number)
}

// annotation returns the google.api.http option of a method, or nil. Whoever parsed the
// descriptors may not have known the extension, or known it as another Go type, so the
// options are parsed again from their bytes.
func annotation(md protoreflect.MethodDescriptor) (*annotations.HttpRule, error) {
	known, ok := md.Options().(*descriptorpb.MethodOptions)
	if !ok || known == nil {
		return nil, nil
	}
	b, err := proto.MarshalOptions{AllowPartial: true}.Marshal(known)
	if err != nil {
		return nil, fmt.Errorf("the options cannot be read: %w", err)
	}
	var options descriptorpb.MethodOptions
	if err := (proto.UnmarshalOptions{AllowPartial: true, Resolver: onlyHTTP}).Unmarshal(b, &options); err != nil {
		return nil, fmt.Errorf("the option google.api.http cannot be read: %w", err)
	}
	if !proto.HasExtension(&options, annotations.E_Http) {
		return nil, nil
	}
	return proto.GetExtension(&options, annotations.E_Http).(*annotations.HttpRule), nil
}

// pattern returns the verb and the template of a rule.
func pattern(r *annotations.HttpRule) (verb, path string) {
	switch p := r.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return "GET", p.Get
	case *annotations.HttpRule_Put:
		return "PUT", p.Put
	case *annotations.HttpRule_Post:
		return "POST", p.Post
	case *annotations.HttpRule_Delete:
		return "DELETE", p.Delete
	case *annotations.HttpRule_Patch:
		return "PATCH", p.Patch
	case *annotations.HttpRule_Custom:
		return p.Custom.GetKind(), p.Custom.GetPath()
	}
	return "", ""
}

// newRule checks a rule against the method's messages.
func newRule(md protoreflect.MethodDescriptor, b binding) (*Rule, error) {
	verb, path := pattern(b.rule)
	fail := func(format string, args ...any) (*Rule, error) {
		return nil, &RuleError{Method: methodName(md), Source: b.source, Verb: verb, Path: path, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case b.rule.GetPattern() == nil:
		return fail("it has no path: give one by get, put, post, delete, patch or custom")
	case verb != "*" && !verbToken(verb):
		return fail("%q is no HTTP verb: the kind of a custom pattern is one, or * for any", verb)
	case b.additional && len(b.rule.GetAdditionalBindings()) > 0:
		return fail("an additional binding has additional bindings: list them all in the first rule (google/api/http.proto)")
	case md.Input().IsPlaceholder() || md.Output().IsPlaceholder():
		return fail("the messages %s and %s are not both among the descriptors", md.Input().FullName(), md.Output().FullName())
	}
	t, err := route.Parse(path)
	var at *route.ParseError
	if errors.As(err, &at) {
		return fail("column %d of the path: %s", at.Column, at.Reason)
	}
	for _, v := range t.Variables() {
		if reason := checkVariable(md.Input(), v); reason != "" {
			return fail("variable {%s}: %s", v, reason)
		}
	}
	if reason := checkBody(md.Input(), verb, b.rule.GetBody(), t); reason != "" {
		return fail("%s", reason)
	}
	if name := b.rule.GetResponseBody(); name != "" && md.Output().Fields().ByName(protoreflect.Name(name)) == nil {
		return fail("response_body: %s", unknownField(md.Output(), name))
	}
	return &Rule{Method: methodName(md), Verb: verb, Template: t, Body: b.rule.GetBody(), ResponseBody: b.rule.GetResponseBody(),
		Source: b.source, Descriptor: md}, nil
}

// checkVariable says what is wrong with the field path of a variable, or "". A path has
// one text for it, so it is one scalar or enum.
func checkVariable(md protoreflect.MessageDescriptor, path string) string {
	for {
		name, more, nested := strings.Cut(path, ".")
		fd := md.Fields().ByName(protoreflect.Name(name))
		switch {
		case fd == nil:
			return unknownField(md, name)
		case fd.IsMap():
			return fmt.Sprintf("%s is a map, and the path has room for one value", fd.FullName())
		case fd.IsList():
			return fmt.Sprintf("%s is repeated, and the path has room for one value", fd.FullName())
		case !nested && fd.Message() != nil:
			return fmt.Sprintf("%s is a message, %s: name a field in it, as {%s.%s}", fd.FullName(), fd.Message().FullName(), name, firstField(fd.Message()))
		case !nested:
			return ""
		case fd.Message() == nil:
			return fmt.Sprintf("%s is no message, so it has no field %q", fd.FullName(), more)
		case fd.Message().IsPlaceholder():
			return fmt.Sprintf("the message %s is not among the descriptors", fd.Message().FullName())
		}
		md, path = fd.Message(), more
	}
}

// checkBody says what is wrong with the body of a rule, or "".
func checkBody(md protoreflect.MessageDescriptor, verb, body string, t *route.Template) string {
	switch {
	case body == "":
		return ""
	case verb == "GET" || verb == "HEAD":
		return fmt.Sprintf("it has a body, and %s has none (RFC 9110, section 9.3.1): remove body, or use post", verb)
	case body == "*":
		return ""
	case strings.Contains(body, "."):
		return fmt.Sprintf("body %q: only a field of %s itself can be the body, not one within it", body, md.FullName())
	case md.Fields().ByName(protoreflect.Name(body)) == nil:
		return "body: " + unknownField(md, body) + `, or "*" is all`
	case slices.Contains(t.Variables(), body):
		return fmt.Sprintf("the field %s is in the path and is the body", body)
	}
	return ""
}

// unknownField says that a message has no such field, and which it may have been.
func unknownField(md protoreflect.MessageDescriptor, name string) string {
	var names []string
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		if fd.JSONName() == name {
			return fmt.Sprintf("%s has no field %q: rules have the names of the .proto file, %q", md.FullName(), name, fd.Name())
		}
		names = append(names, string(fd.Name()))
	}
	return fmt.Sprintf("%s has no field %q%s", md.FullName(), name, didYouMean(name, names))
}

func firstField(md protoreflect.MessageDescriptor) string {
	if md.Fields().Len() == 0 {
		return "field"
	}
	return string(md.Fields().Get(0).Name())
}

// verbToken tells whether s is a token (RFC 9110, section 5.6.2), which a verb is.
func verbToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
