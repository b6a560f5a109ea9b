package openapi

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sluice-rpc/sluice/internal/schema"
)

const (
	// maxQueryDepth is how many names a query parameter has, joined by dots. Deeper ones are
	// taken, but nobody reads them.
	maxQueryDepth = 4
	// maxQuery bounds the parameters of one operation: messages in messages multiply.
	maxQuery = 200
)

// query returns the query parameters of a rule: what is neither in the path nor the body.
// cut says that there are more.
func (b *builder) query(r *schema.Rule) (parameters []any, cut string) {
	if r.Body == "*" {
		return nil, ""
	}
	q := querier{b: b, bound: append(r.Template.Variables(), r.Body)}
	q.message(r.Descriptor.Input(), "", "", []protoreflect.FullName{r.Descriptor.Input().FullName()})
	if len(q.found) > maxQuery {
		return q.found[:maxQuery], fmt.Sprintf("There are more query parameters than the %d here.", maxQuery)
	}
	return q.found, ""
}

// querier collects query parameters.
type querier struct {
	b     *builder
	bound []string // field paths that are elsewhere, by the names of the .proto file
	found []any
}

// message adds the fields of a message. within are the messages that it is in, itself last.
func (q *querier) message(md protoreflect.MessageDescriptor, path, name string, within []protoreflect.FullName) {
	for i := range md.Fields().Len() {
		if len(q.found) > maxQuery {
			return
		}
		fd := md.Fields().Get(i)
		fieldPath, fieldName := path+string(fd.Name()), name+q.b.jsonName(fd)
		if slices.Contains(q.bound, fieldPath) {
			continue
		}
		if q.leaf(fd, fieldName, path == "") || fd.IsMap() || fd.IsList() || fd.Message() == nil {
			continue
		}
		inner := fd.Message()
		if len(within) < maxQueryDepth && !inner.IsPlaceholder() && !isWellKnown(inner) && !isBinary(inner) && !slices.Contains(within, inner.FullName()) {
			q.message(inner, fieldPath+".", fieldName+".", append(slices.Clip(within), inner.FullName()))
		}
	}
}

// leaf adds a field that has a text, or several, or is a map of such. A list of other
// messages is left out: OpenAPI has no way to say that each is JSON in a parameter of its own.
func (q *querier) leaf(fd protoreflect.FieldDescriptor, name string, top bool) bool {
	p := q.b.object().set("name", name).set("in", "query").set("description", q.b.comment(fd)).
		set("required", top && behaviors(fd)[behaviorRequired]).set("deprecated", deprecated(fd))
	var s *object
	switch {
	case fd.IsMap():
		if s = q.b.scalar(fd.MapValue()); s == nil {
			return false
		}
		s = q.b.object().set("type", "object").set("additionalProperties", s)
		p.set("style", "deepObject").set("explode", true) // m[key]=value
	case !fd.IsList() && fd.Message() != nil && isDocument(fd.Message()):
		q.found = append(q.found, p.set("content", q.b.object().set(typeJSON, q.b.object().set("schema", q.b.ref(fd.Message())))))
		return true
	default:
		if s = q.b.scalar(fd); s == nil {
			return false
		}
		if fd.IsList() {
			s = q.b.object().set("type", "array").set("items", s)
		}
	}
	q.found = append(q.found, p.set("schema", s))
	return true
}

// isDocument tells whether a message is JSON in a query.
func isDocument(md protoreflect.MessageDescriptor) bool {
	switch md.FullName() {
	case "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue", "google.protobuf.Any":
		return true
	}
	return false
}

// scalar returns the schema of one value of a field as a text in a path or a query, or nil
// if it has none.
func (b *builder) scalar(fd protoreflect.FieldDescriptor) *object {
	if md := fd.Message(); md != nil {
		name, ok := strings.CutPrefix(string(md.FullName()), "google.protobuf.")
		if !ok || textual[name] == nil {
			return nil
		}
		return textual[name](b)
	}
	if fd.Enum() != nil && fd.Enum().FullName() == "google.protobuf.NullValue" {
		return nil
	}
	return b.value(fd)
}
