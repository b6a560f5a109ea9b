package schema

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/sluice-rpc/sluice/internal/schema/route"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Naming makes rules of the names of methods.
type Naming struct {
	verb, path string
}

// placeholder is what stands for a part of a method's name.
var placeholder = regexp.MustCompile(`\{([^{}:]*)(?::([^{}]*))?\}`)

// ParseNaming reads a naming pattern: an HTTP verb and a path in which {package},
// {service} and {method} stand for the parts of a method's name, as written in the .proto
// file, or, with :lower or :kebab, in lower case or in-lower-case-with-hyphens:
//
//	POST /api/{package}/{service:kebab}/{method:kebab}
//
// Of a file without a package {package} stands for nothing, and takes the dot or slash
// after it along. The whole request is the body, but of GET, HEAD and DELETE, where query
// parameters are all there is.
func ParseNaming(s string) (*Naming, error) {
	verb, path, ok := strings.Cut(s, " ")
	if !ok || verb != "*" && !verbToken(verb) {
		return nil, fmt.Errorf("naming pattern %q: write a verb, a space and a path, as POST /api/{service}/{method}", s)
	}
	for _, m := range placeholder.FindAllStringSubmatch(path, -1) {
		switch m[1] {
		case "package", "service", "method":
		default:
			return nil, fmt.Errorf("naming pattern %q: there is no %s, only {package}, {service} and {method}", s, m[0])
		}
		switch m[2] {
		case "", "lower", "kebab":
		default:
			return nil, fmt.Errorf("naming pattern %q: %s: there are only :lower and :kebab", s, m[0])
		}
	}
	if !strings.Contains(path, "{method") {
		return nil, fmt.Errorf("naming pattern %q: without {method} all methods would have the same path", s)
	}
	n := &Naming{verb: verb, path: path}
	t, err := route.Parse(n.expand("a.b", "Service", "Method"))
	if err != nil {
		return nil, fmt.Errorf("naming pattern %q: for the method a.b.Service.Method: %w", s, err)
	}
	if !t.Literal() {
		return nil, fmt.Errorf("naming pattern %q: it has a wildcard, and all fields are in the body or the query", s)
	}
	return n, nil
}

func (n *Naming) expand(pkg, service, method string) string {
	path := n.path
	if pkg == "" {
		for _, form := range []string{"{package}", "{package:lower}", "{package:kebab}"} {
			path = strings.NewReplacer(form+".", "", form+"/", "").Replace(path)
		}
	}
	return placeholder.ReplaceAllStringFunc(path, func(s string) string {
		m := placeholder.FindStringSubmatch(s)
		name := map[string]string{"package": pkg, "service": service, "method": method}[m[1]]
		switch m[2] {
		case "lower":
			return strings.ToLower(name)
		case "kebab":
			return kebab(name)
		}
		return name
	})
}

// rule makes the rule of a method.
func (n *Naming) rule(md protoreflect.MethodDescriptor) *annotations.HttpRule {
	path := n.expand(string(md.ParentFile().Package()), string(md.Parent().Name()), string(md.Name()))
	r := &annotations.HttpRule{Pattern: &annotations.HttpRule_Custom{Custom: &annotations.CustomHttpPattern{Kind: n.verb, Path: path}}}
	if n.verb != "GET" && n.verb != "HEAD" && n.verb != "DELETE" {
		r.Body = "*"
	}
	return r
}

// kebab writes GetHTTPRule as get-http-rule.
func kebab(name string) string {
	var b strings.Builder
	upper := func(i int) bool { return i < len(name) && 'A' <= name[i] && name[i] <= 'Z' }
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '_':
			c = '-'
		case upper(i):
			// A word begins after what is not upper case, and with the last capital of several.
			if i > 0 && name[i-1] != '_' && name[i-1] != '.' && (!upper(i-1) || i+1 < len(name) && !upper(i+1) && name[i+1] != '_') {
				b.WriteByte('-')
			}
			c |= 0x20
		}
		b.WriteByte(c)
	}
	return b.String()
}
