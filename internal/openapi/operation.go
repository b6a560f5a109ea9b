package openapi

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/sluice-rpc/sluice/internal/schema"
)

// verbs are the HTTP methods that a path item has (OpenAPI 3.1.1, section 4.8.9.1).
var verbs = map[string]bool{"GET": true, "PUT": true, "POST": true, "DELETE": true, "OPTIONS": true, "HEAD": true, "PATCH": true, "TRACE": true}

// additional holds the operations of other methods: they have a place in OpenAPI 3.2 only.
const additional = "x-additionalOperations"

// rule adds the operation of a rule.
func (b *builder) rule(r *schema.Rule) {
	verb, anyVerb := r.Verb, ""
	if verb == "*" {
		if verb = "GET"; r.Body != "" {
			verb = "POST"
		}
		anyVerb = "Any HTTP method will do."
	}
	path, shape, parameters := b.template(r.Template, r.Descriptor.Input())
	if b.taken[verb+" "+shape] {
		return // another rule has these requests
	}
	b.taken[verb+" "+shape] = true
	path = b.free(verb, path, shape, string(r.Descriptor.Name()))
	query, cut := b.query(r)
	op := b.operation(r.Descriptor, append(parameters, query...), r.Body, r, anyVerb, cut)
	if r.Template.String() != path {
		op.set("x-http-template", r.Template.String())
	}
	b.add(path, verb, op)
}

// unruled adds the operation of a method that has no rule.
func (b *builder) unruled(md protoreflect.MethodDescriptor) {
	path := methodName(md)
	if md.Input().IsPlaceholder() || md.Output().IsPlaceholder() || b.taken["POST "+path] {
		return
	}
	b.taken["POST "+path] = true
	b.add(b.free("POST", path, path, string(md.Name())), "POST", b.operation(md, nil, "*", nil))
}

// free returns the path, with a fragment if it is that of templates of another shape:
// paths that differ in the names of their parameters only are the same (OpenAPI 3.1.1,
// section 4.8.8.2).
func (b *builder) free(verb, path, shape, name string) string {
	plain := strings.ReplaceAll(shape, "{**}", "{*}")
	if b.taken["path "+plain] && !b.taken["path "+plain+" of "+shape] {
		path += "#" + name
	}
	b.taken["path "+plain], b.taken["path "+plain+" of "+shape] = true, true
	return path
}

func (b *builder) add(path, verb string, op *object) {
	item := b.path(path)
	if verbs[verb] {
		item.set(strings.ToLower(verb), op)
		return
	}
	for i := range item.members {
		if item.members[i].key == additional {
			item.members[i].value.(*object).set(verb, op)
			return
		}
	}
	item.set(additional, b.object().set(verb, op))
}

// operation describes a method. Without a rule r it is reached by its own path.
func (b *builder) operation(md protoreflect.MethodDescriptor, parameters []any, body string, r *schema.Rule, notes ...string) *object {
	sd := md.Parent().(protoreflect.ServiceDescriptor)
	b.tags[string(sd.FullName())] = sd
	summary, description := split(b.comment(md))
	notes = append([]string{description}, notes...)
	op := b.object().set("tags", []string{string(sd.FullName())}).set("summary", summary)
	request := b.requestBody(md, body, r)
	if md.IsStreamingClient() && request != nil {
		notes = append(notes, "The request is a stream of messages; values of the path and the query belong to the first.")
	}
	if md.IsStreamingServer() {
		notes = append(notes, "The response is a stream of messages, in the form that Accept asks for.")
	}
	op.set("description", paragraphs(notes...)).set("operationId", b.id(md)).set("parameters", parameters).set("requestBody", request)
	failure, schema := "Error", "google.rpc.Status"
	special := b.options.Method(methodName(md))
	switch special.Errors {
	case "google":
		failure = "GoogleError"
	case "none":
		failure = "NoContentError"
	}
	if r == nil && !md.IsStreamingClient() && !md.IsStreamingServer() {
		failure, schema = "ConnectError", "connect.Error" // docs/protocols/negotiation.md, rule 7
	}
	b.needs[failure] = true
	if failure != "NoContentError" {
		b.needs[schema] = true
	}
	if failure == "Error" || failure == "ConnectError" {
		b.needs["problem"] = true
	}
	responses := b.object().set("200", b.response(md, r, &special)).
		set("default", b.object().set("$ref", "#/components/responses/"+failure))
	return op.set("responses", responses).set("deprecated", deprecated(md)).set("x-grpc-method", methodName(md))
}

// Media types of streams (docs/protocols/rest-streams.md).
const (
	typeJSON     = "application/json"
	typeNDJSON   = "application/x-ndjson"
	typeSeq      = "application/json-seq"
	typeSSE      = "text/event-stream"
	typeProtobuf = "application/x-protobuf"
	typeProblem  = "application/problem+json"
)

// requestBody returns nil if nothing of the request is content.
func (b *builder) requestBody(md protoreflect.MethodDescriptor, body string, r *schema.Rule) *object {
	var item *object
	var required bool
	switch {
	case body == "":
		return nil
	case body == "*" && isBinary(md.Input()):
		return b.object().set("content", b.binary())
	case body == "*":
		var bound []string
		if r != nil {
			bound = r.Template.Variables()
		}
		item = b.bodyOf(md.Input(), bound)
		required = b.requires(md.Input(), bound)
	default:
		field := md.Input().Fields().ByName(protoreflect.Name(body))
		if !field.IsList() && !field.IsMap() && isBinary(field.Message()) {
			return b.object().set("description", b.comment(field)).set("content", b.binary())
		}
		item = b.field(field)
		required = behaviors(field)[behaviorRequired]
	}
	content := b.object()
	if md.IsStreamingClient() {
		b.sequences(content, item, "", &Method{})
	} else {
		content.set(typeJSON, b.object().set("schema", item))
	}
	return b.object().set("content", content).set("required", required)
}

// bodyOf returns the schema of a message as content, without the fields in the path.
func (b *builder) bodyOf(md protoreflect.MessageDescriptor, bound []string) *object {
	without := map[string]bool{}
	for _, path := range bound {
		if !strings.Contains(path, ".") {
			without[path] = true
		}
	}
	if len(without) == 0 {
		return b.ref(md)
	}
	return b.message(md, without)
}

// requires tells whether a message has a required field besides those in the path.
func (b *builder) requires(md protoreflect.MessageDescriptor, bound []string) bool {
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		in := false
		for _, path := range bound {
			in = in || path == string(fd.Name()) || strings.HasPrefix(path, string(fd.Name())+".")
		}
		if !in && isRequired(fd) {
			return true
		}
	}
	return false
}

func (b *builder) response(md protoreflect.MethodDescriptor, r *schema.Rule, special *Method) *object {
	text, _ := split(b.comment(md.Output()))
	if text == "" || md.Output().FullName().Parent() == "google.protobuf" {
		text = "OK"
	}
	response := b.object().set("description", text)
	var item *object
	switch {
	case isBinary(md.Output()) && (r == nil || r.ResponseBody == ""):
		return response.set("content", b.binary())
	case r != nil && r.ResponseBody != "":
		field := md.Output().Fields().ByName(protoreflect.Name(r.ResponseBody))
		if !field.IsList() && !field.IsMap() && isBinary(field.Message()) {
			return response.set("content", b.binary())
		}
		item = b.field(field)
	default:
		item = b.ref(md.Output())
	}
	content := b.object()
	if !md.IsStreamingServer() {
		return response.set("content", content.set(typeJSON, b.object().set("schema", item)))
	}
	b.stream(content, item, special)
	return response.set("content", content)
}

// stream adds the forms of a streamed response.
func (b *builder) stream(content, item *object, special *Method) {
	b.needs["google.rpc.Status"] = true
	more := " A stream that fails ends with `{\"@error\": …}`, a google.rpc.Status."
	switch {
	case special.Envelope:
		item = b.object().set("type", "object").set("properties", b.object().set("result", item).
			set("error", b.object().set("$ref", "#/components/schemas/google.rpc.Status")))
		more = ""
	case special.NoMark:
		more = ""
	}
	b.sequences(content, item, more, special)
	if !special.Off["sse"] {
		failure, text := special.Failure, "One for each event."
		if failure == "" {
			failure = "failure"
		}
		if !special.NoEnd {
			text += " The last is `EOS`."
		}
		content.set(typeSSE, b.object().set("schema", b.object().set("type", "object").set("required", []string{"data"}).
			set("description", text+" One named `"+failure+"` has a google.rpc.Status as its data.").
			set("properties", b.object().
				set("id", b.object().set("type", "string")).
				set("event", b.object().set("type", "string")).
				set("retry", b.object().set("type", "integer")).
				set("data", b.object().set("type", "string").set("contentMediaType", typeJSON).set("contentSchema", item)))))
	}
	if !special.Off["delimited"] {
		content.set(typeProtobuf, b.object().set("schema", b.object().set("description", "Messages as protobuf, each after its length as a varint.")))
	}
}

// sequences adds the forms of many messages in JSON.
func (b *builder) sequences(content, item *object, more string, special *Method) {
	with := func(text string) *object {
		one := b.object()
		if item.has("description") || len(item.members) != 1 {
			one.set("allOf", []any{item})
		} else {
			one.set(item.members[0].key, item.members[0].value)
		}
		return b.object().set("schema", one.set("description", text+more))
	}
	const lines = "The schema of one message. Each is a JSON document and a line feed."
	if !special.Off["ndjson"] {
		content.set(typeNDJSON, with(lines))
	}
	switch {
	case special.JSONLines:
		content.set(typeJSON, with(lines))
	case !special.Off["array"]:
		content.set(typeJSON, b.object().set("schema", b.object().set("type", "array").set("items", item)))
	}
	if !special.Off["seq"] {
		content.set(typeSeq, with("The schema of one message. Each is a record of a JSON text sequence (RFC 7464)."))
	}
}

// binary is the content of a google.api.HttpBody.
func (b *builder) binary() *object {
	return b.object().set("*/*", b.object().set("schema", b.object().set("description", "Any content: it is passed as it is.")))
}

func isBinary(md protoreflect.MessageDescriptor) bool {
	return md != nil && md.FullName() == "google.api.HttpBody"
}

// deprecated reads the option of this name, which everything may have.
func deprecated(d protoreflect.Descriptor) bool {
	o, ok := d.Options().(interface{ GetDeprecated() bool })
	return ok && o.GetDeprecated()
}

var _ interface{ GetDeprecated() bool } = (*descriptorpb.MethodOptions)(nil)
