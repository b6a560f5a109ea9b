package transcode

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sluice-rpc/sluice/internal/typo"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// fail keeps the first error. It is always false, as what met the error returns.
func (s *scanner) fail(at int, reason string) bool {
	if s.err == nil {
		s.err = &JSONError{Offset: at, Reason: reason}
	}
	return false
}

// syntax is for what is no JSON at all.
func (s *scanner) syntax(format string, args ...any) bool {
	if s.err != nil {
		return false
	}
	return s.fail(s.pos, fmt.Sprintf(format, args...)+", got "+s.got(s.pos))
}

// expect is for JSON of another kind than the field's.
func (s *scanner) expect(what string) bool {
	if s.err != nil {
		return false
	}
	return s.fail(s.pos, "expects "+what+", got "+s.got(s.pos))
}

func (s *scanner) tooDeep() bool {
	return s.fail(s.pos, fmt.Sprintf("is nested more than %d levels deep", MaxDepth))
}

// within puts the name of a field, the index of an element or the key of an entry
// before the path of an error.
func (s *scanner) within(part string) bool {
	if next := s.err.Field; next != "" && next[0] != '[' {
		part += "."
	}
	s.err.Field = part + s.err.Field
	return false
}

// got says what there is at a place.
func (s *scanner) got(at int) string {
	if at >= len(s.in) {
		return "the end"
	}
	switch c := s.in[at]; {
	case c == '{':
		return "an object"
	case c == '[':
		return "a list"
	case c == '"':
		end := stringEnd(s.in, at+1)
		return clip(s.in[at:min(end+1, len(s.in))])
	case wordByte(c):
		end := at
		for end < len(s.in) && end < at+2*maxClip && wordByte(s.in[end]) {
			end++
		}
		return clip(s.in[at:end])
	}
	r, _ := utf8.DecodeRune(s.in[at:])
	return strconv.QuoteRune(r)
}

// maxClip is how much of a value an error repeats.
const maxClip = 40

// clip returns text that peers choose for an error: not all of it.
func clip(text []byte) string {
	if len(text) <= maxClip {
		return strings.ToValidUTF8(string(text), "�")
	}
	n := maxClip - 1
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return strings.ToValidUTF8(string(text[:n]), "�") + "…"
}

// kindNames say what JSON a kind expects.
var kindNames = map[protoreflect.Kind]string{
	protoreflect.BoolKind:     "true or false",
	protoreflect.StringKind:   "a string",
	protoreflect.BytesKind:    "bytes as a base64 string",
	protoreflect.FloatKind:    `a number in the range of float, or "NaN", "Infinity", "-Infinity"`,
	protoreflect.DoubleKind:   `a number in the range of double, or "NaN", "Infinity", "-Infinity"`,
	protoreflect.Int32Kind:    "a whole number between -2147483648 and 2147483647",
	protoreflect.Sint32Kind:   "a whole number between -2147483648 and 2147483647",
	protoreflect.Sfixed32Kind: "a whole number between -2147483648 and 2147483647",
	protoreflect.Uint32Kind:   "a whole number between 0 and 4294967295",
	protoreflect.Fixed32Kind:  "a whole number between 0 and 4294967295",
	protoreflect.Int64Kind:    "a whole number between -9223372036854775808 and 9223372036854775807",
	protoreflect.Sint64Kind:   "a whole number between -9223372036854775808 and 9223372036854775807",
	protoreflect.Sfixed64Kind: "a whole number between -9223372036854775808 and 9223372036854775807",
	protoreflect.Uint64Kind:   "a whole number between 0 and 18446744073709551615",
	protoreflect.Fixed64Kind:  "a whole number between 0 and 18446744073709551615",
}

// expected says what a field that is no message expects.
func expected(f *field) string {
	if f.enum == nil {
		return kindNames[f.kind]
	}
	return fmt.Sprintf("a name or number of the enum %s (%s)", f.enum.desc.FullName(), f.enum.some())
}

// some lists names of an enum, the first few.
func (e *enum) some() string {
	const most = 6
	var names []string
	for i := range e.desc.Values().Len() {
		if i == most {
			names = append(names, "…")
			break
		}
		names = append(names, string(e.desc.Values().Get(i).Name()))
	}
	return strings.Join(names, ", ")
}

// wrong is for a value that the kind of a field does not have.
func (d *decoder) wrong(f *field, at int) bool {
	if d.err != nil {
		return false
	}
	return d.fail(at, "expects "+expected(f)+", got "+d.got(at))
}

func (d *decoder) wrongKey(f *field, key []byte, at int) bool {
	return d.fail(at, "expects "+expected(f.key)+" as the key, got "+strconv.Quote(clip(key)))
}

// unknownName is for a name that an enum does not have.
func (d *decoder) unknownName(f *field, name []byte, at int) bool {
	names := make([]string, 0, len(f.enum.byName))
	for n := range f.enum.byName {
		names = append(names, n)
	}
	reason := fmt.Sprintf("the enum %s has no %s", f.enum.desc.FullName(), strconv.Quote(clip(name)))
	if near := nearest(string(name), names); near != "" {
		return d.fail(at, reason+fmt.Sprintf(": did you mean %q?", near))
	}
	return d.fail(at, reason+"; it has "+f.enum.some())
}

// unknown is for a name that no field has.
func (d *decoder) unknown(m *Message, name []byte, at int) bool {
	reason := "unknown field " + strconv.Quote(clip(name))
	names := make([]string, 0, len(m.byName))
	for n := range m.byName {
		names = append(names, n)
	}
	if near := nearest(string(name), names); near != "" {
		reason += fmt.Sprintf(": did you mean %q?", near)
	}
	return d.fail(at, reason)
}

// nearest returns the name that a misspelt one probably means, or "".
func nearest(name string, names []string) string {
	const longest = 64 // of names that are compared
	if len(name) > longest {
		return ""
	}
	sort.Strings(names)
	best, found := min(max(1, len(name)/3), 3)+1, ""
	for _, n := range names {
		if len(n) > longest {
			continue
		}
		if dist := typo.Distance(strings.ToLower(name), strings.ToLower(n), best); dist < best {
			best, found = dist, n
		}
	}
	return found
}
