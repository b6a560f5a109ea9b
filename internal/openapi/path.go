package openapi

import (
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sluice-rpc/sluice/internal/schema/route"
)

// template writes a template as an OpenAPI path, with its parameters. shape is the same
// for templates that take the same paths.
func (b *builder) template(t *route.Template, input protoreflect.MessageDescriptor) (path, shape string, parameters []any) {
	var out, form strings.Builder
	used := map[string]bool{}
	segments := t.Segments()
	names := make([]string, len(segments))
	for i, s := range segments {
		if s.Wildcard != "" {
			names[i] = parameterName(segments, i, used)
		}
	}
	for i, s := range segments {
		out.WriteByte('/')
		form.WriteByte('/')
		if s.Wildcard == "" {
			literal := escape(s.Literal)
			out.WriteString(literal)
			form.WriteString(literal)
			continue
		}
		out.WriteString("{" + names[i] + "}")
		form.WriteString("{" + s.Wildcard + "}")
		parameters = append(parameters, b.pathParameter(segments, i, names, input))
	}
	if v := t.Verb(); v != "" {
		out.WriteString(":" + escape(v))
		form.WriteString(":" + escape(v))
	}
	return out.String(), form.String(), parameters
}

// escape writes a literal as it is in a path. Its colons are not those of a custom verb.
func escape(s string) string {
	return strings.ReplaceAll(url.PathEscape(s), ":", "%3A")
}

// parameterName returns the field's path, if the wildcard is all of it, or the singular of
// the literal before it, as in shelves/{shelf}.
func parameterName(segments []route.Segment, i int, used map[string]bool) string {
	s := segments[i]
	base := s.Variable
	switch {
	case s.Whole:
	case base != "" && s.Wildcard == "*" && i > 0 && segments[i-1].Literal != "" && segments[i-1].Variable == s.Variable:
		base = singular(segments[i-1].Literal)
	case base == "":
		base = "segment"
	}
	// A name is what no tool mistakes for a part of the path.
	base = strings.Map(func(r rune) rune {
		if letter(r) || r >= '0' && r <= '9' || r == '_' || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, base)
	name := base
	for n := 2; used[name]; n++ {
		name = fmt.Sprintf("%s_%d", base, n)
	}
	used[name] = true
	return name
}

// singular knows the plurals of collections (https://google.aip.dev/122), more or less.
func singular(s string) string {
	switch n := len(s); {
	case n > 4 && strings.HasSuffix(s, "ies"):
		return s[:n-3] + "y"
	case n > 4 && (strings.HasSuffix(s, "sses") || strings.HasSuffix(s, "shes") || strings.HasSuffix(s, "ches") || strings.HasSuffix(s, "xes")):
		return s[:n-2]
	case n > 5 && strings.HasSuffix(s, "elves"):
		return s[:n-3] + "f"
	case n > 2 && s[n-1] == 's' && !strings.ContainsRune("sui", rune(s[n-2])):
		return s[:n-1]
	}
	return s
}

func (b *builder) pathParameter(segments []route.Segment, i int, names []string, input protoreflect.MessageDescriptor) *object {
	s := segments[i]
	var field protoreflect.FieldDescriptor
	if s.Variable != "" {
		field = find(input, s.Variable)
	}
	text := ""
	var schema *object
	switch {
	case s.Whole:
		schema = b.scalar(field)
		text = b.comment(field)
	case s.Variable != "" && captured(segments, s.Variable, names) == "{"+names[i]+"}":
		text = b.comment(field)
	case s.Variable != "":
		text = paragraphs("Part of `"+s.Variable+"`, which is `"+captured(segments, s.Variable, names)+"`.", b.comment(field))
	}
	if schema == nil {
		schema = b.object().set("type", "string")
		if s.Wildcard == "*" {
			schema.set("pattern", "^[^/]+$")
		} else {
			schema.set("pattern", "^.*$")
			text = paragraphs("What is left of the path. Its slashes are sent as they are, not encoded.", text)
		}
	}
	p := b.object().set("name", names[i]).set("in", "path").set("required", true).set("description", text)
	if field != nil {
		p.set("deprecated", deprecated(field))
	}
	return p.set("schema", schema)
}

// captured writes what a variable takes, with the names of the parameters in it.
func captured(segments []route.Segment, variable string, names []string) string {
	var parts []string
	for i, s := range segments {
		switch {
		case s.Variable != variable:
		case s.Wildcard != "":
			parts = append(parts, "{"+names[i]+"}")
		default:
			parts = append(parts, s.Literal)
		}
	}
	return strings.Join(parts, "/")
}

// find returns the field at a dotted path, which was checked when the rule was made.
func find(md protoreflect.MessageDescriptor, path string) protoreflect.FieldDescriptor {
	name, more, nested := strings.Cut(path, ".")
	field := md.Fields().ByName(protoreflect.Name(name))
	if nested {
		return find(field.Message(), more)
	}
	return field
}
