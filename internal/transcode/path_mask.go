package transcode

import "fmt"

// maxMask is how long all paths of a FieldMask may be together. A body of messages in
// each other could else name more than its own size many times over.
const maxMask = 64 << 10

// FieldMask appends the paths of the fields that a message given as JSON has, in the
// names of the .proto file, as a FieldMask wants them. A path ends at a list, a map, a
// type with a JSON form of its own and an empty message; unknown fields and extensions
// have none. On an error dst comes back as it was.
func (m *Message) FieldMask(dst []string, json []byte) ([]string, error) {
	w := maskWalk{scanner: scanner{in: json}, paths: dst, left: maxMask}
	switch w.peek(); {
	case m.wkt != notWellKnown: // it has no paths
		w.skip(MaxDepth)
	default:
		w.message(m, "", MaxDepth)
	}
	if w.peek(); w.err == nil && w.pos < len(w.in) {
		w.syntax("expects nothing after the value")
	}
	if w.err != nil {
		return dst, w.err
	}
	return w.paths, nil
}

// A maskWalk is the way through a body.
type maskWalk struct {
	scanner
	paths []string
	left  int // of maxMask
}

// message adds the paths of a message, which begin with prefix.
func (w *maskWalk) message(m *Message, prefix string, depth int) bool {
	if depth == 0 {
		return w.tooDeep()
	}
	if w.at() != '{' {
		return w.expect("an object")
	}
	w.pos++
	m.compile()
	seen := make([]bool, len(m.fields))
	for first := true; w.more(first, '}'); first = false {
		at := w.pos
		raw, escaped, ok := w.text()
		if !ok || !w.colon() {
			return false
		}
		if escaped {
			raw = unescape(nil, raw)
		}
		f := m.byName[string(raw)]
		if f == nil || f.index >= m.declared {
			if !w.skip(depth) {
				return false
			}
			continue
		}
		if seen[f.index] {
			return w.fail(at, fmt.Sprintf("the field %q is there twice", f.jsonName))
		}
		seen[f.index] = true
		if !w.field(f, prefix+string(f.desc.Name()), depth) {
			return w.within(f.jsonName)
		}
	}
	return w.err == nil
}

// field adds the paths of a field's value.
func (w *maskWalk) field(f *field, path string, depth int) bool {
	before := len(w.paths)
	if w.at() == '{' && f.message != nil && !f.list && f.message.wkt == notWellKnown {
		if !w.message(f.message, path+".", depth-1) {
			return false
		}
	} else if !w.skip(MaxDepth) {
		return false
	}
	if len(w.paths) > before {
		return true
	}
	if w.left -= len(path); w.left < 0 {
		return w.fail(w.pos, fmt.Sprintf("has so many fields that their names are over %d bytes: give an update mask", maxMask))
	}
	w.paths = append(w.paths, path)
	return true
}
