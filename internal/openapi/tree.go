package openapi

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// An object is a JSON object whose members keep their order.
type object struct {
	members []member
	size    *int // about how many bytes are in all objects of the document
}

type member struct {
	key   string
	value any // string, bool, int, *object, []any or []string
}

// set adds a member. One that says nothing ("", false, nil) is left out.
func (o *object) set(key string, value any) *object {
	n := len(key) + memberCost
	switch v := value.(type) {
	case nil:
		return o
	case string:
		if v == "" {
			return o
		}
		n += len(v)
	case bool:
		if !v {
			return o
		}
	case []any:
		if len(v) == 0 {
			return o
		}
	case []string:
		if len(v) == 0 {
			return o
		}
		for _, s := range v {
			n += len(s) + memberCost
		}
	case *object:
		if v == nil {
			return o
		}
	}
	*o.size += n
	o.members = append(o.members, member{key, value})
	return o
}

// memberCost is what a member takes beside its texts: quotes and indentation.
const memberCost = 16

// has tells whether there is such a member.
func (o *object) has(key string) bool {
	for i := range o.members {
		if o.members[i].key == key {
			return true
		}
	}
	return false
}

// appendJSON writes a value, indented by two spaces a level.
func appendJSON(b []byte, v any, depth int) []byte {
	line := func(depth int) {
		b = append(b, '\n')
		for range depth {
			b = append(b, "  "...)
		}
	}
	switch v := v.(type) {
	case *object:
		if len(v.members) == 0 {
			return append(b, "{}"...)
		}
		b = append(b, '{')
		for i := range v.members {
			if i > 0 {
				b = append(b, ',')
			}
			line(depth + 1)
			b = append(appendString(b, v.members[i].key), ": "...)
			b = appendJSON(b, v.members[i].value, depth+1)
		}
		line(depth)
		return append(b, '}')
	case []any:
		if len(v) == 0 {
			return append(b, "[]"...)
		}
		b = append(b, '[')
		for i := range v {
			if i > 0 {
				b = append(b, ',')
			}
			line(depth + 1)
			b = appendJSON(b, v[i], depth+1)
		}
		line(depth)
		return append(b, ']')
	case []string:
		return appendJSON(b, anys(v), depth)
	case string:
		return appendString(b, v)
	case bool:
		return strconv.AppendBool(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	}
	panic("openapi: no JSON for this type")
}

func anys(list []string) []any {
	all := make([]any, len(list))
	for i, s := range list {
		all[i] = s
	}
	return all
}

// appendString writes a JSON string. Bytes that are no UTF-8 become U+FFFD.
func appendString(b []byte, s string) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string has JSON, and a Buffer takes it
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}
