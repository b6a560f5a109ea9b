package openapi

import (
	"slices"
	"strconv"
	"strings"
)

// appendYAML writes a value as YAML 1.2, on the line at hand if it is a scalar or empty,
// else on lines of its own that are indented by two spaces a level.
func appendYAML(b []byte, v any, depth int) []byte {
	switch v := v.(type) {
	case *object:
		if len(v.members) == 0 {
			return append(b, " {}"...)
		}
		for i := range v.members {
			b = appendMember(indent(append(b, '\n'), depth), v.members[i], depth)
		}
		return b
	case []any:
		if len(v) == 0 {
			return append(b, " []"...)
		}
		for i := range v {
			b = append(indent(append(b, '\n'), depth), '-')
			if o, ok := v[i].(*object); ok && len(o.members) > 0 {
				// The first member stands beside the dash.
				b = appendMember(append(b, ' '), o.members[0], depth+1)
				for _, m := range o.members[1:] {
					b = appendMember(indent(append(b, '\n'), depth+1), m, depth+1)
				}
				continue
			}
			b = appendYAML(b, v[i], depth+1)
		}
		return b
	case []string:
		return appendYAML(b, anys(v), depth)
	case string:
		return appendText(append(b, ' '), v, depth)
	case bool:
		return strconv.AppendBool(append(b, ' '), v)
	case int:
		return strconv.AppendInt(append(b, ' '), int64(v), 10)
	}
	panic("openapi: no YAML for this type")
}

// appendMember writes a key and its value. The line at hand is indented.
func appendMember(b []byte, m member, depth int) []byte {
	return appendYAML(append(appendScalar(b, m.key), ':'), m.value, depth+1)
}

func indent(b []byte, depth int) []byte {
	for range depth {
		b = append(b, "  "...)
	}
	return b
}

// appendText writes a text, as a block if it has lines.
func appendText(b []byte, s string, depth int) []byte {
	if !block(s) {
		return appendScalar(b, s)
	}
	b = append(b, "|-"...)
	for line := range strings.SplitSeq(s, "\n") {
		if b = append(b, '\n'); line != "" {
			b = append(indent(b, depth), line...)
		}
	}
	return b
}

// block tells whether a text can be a literal block without an indentation indicator
// (YAML 1.2, section 8.1.2), and reads better so.
func block(s string) bool {
	return strings.Contains(s, "\n") && s[0] != ' ' && s[0] != '\n' && !strings.HasSuffix(s, "\n") &&
		!strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && !printable(r) })
}

// printable tells whether a character may stand in YAML as it is (section 5.1), and is no
// line break to older readers.
func printable(r rune) bool {
	return r >= ' ' && r < 0x7f || r >= 0xa0 && r <= 0xd7ff && r != 0x2028 && r != 0x2029 || r >= 0xe000 && r < 0xfeff ||
		r > 0xfeff && r < 0xfffd || r >= 0x10000
}

// appendScalar writes a text in one line: as it is if nobody can take it for anything else, or
// as a JSON string, which YAML has too.
func appendScalar(b []byte, s string) []byte {
	if plain(s) {
		return append(b, s...)
	}
	return appendString(b, s)
}

// plain is stricter than YAML is: a letter, slash or dollar first, and no word that means
// something in any version.
func plain(s string) bool {
	if s == "" || strings.TrimFunc(s[:1], letter) != "" && s[0] != '/' && s[0] != '$' || s[len(s)-1] == ' ' {
		return false
	}
	for _, r := range s {
		if !letter(r) && (r < '0' || r > '9') && !strings.ContainsRune("_-./$() ", r) {
			return false
		}
	}
	return !slices.Contains([]string{"null", "true", "false", "yes", "no", "on", "off", "y", "n"}, strings.ToLower(s))
}

func letter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
