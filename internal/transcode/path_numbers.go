package transcode

import "google.golang.org/protobuf/reflect/protoreflect"

// Numbers returns the numbers of the fields from the outermost message to the field. It
// says false if values can't be put there as bytes behind tags and lengths: if one of the
// messages on the way is a group, or the path ends in a map.
func (p *Path) Numbers() (numbers []protoreflect.FieldNumber, ok bool) {
	for _, f := range p.outer {
		if f.kind == protoreflect.GroupKind {
			return nil, false
		}
		numbers = append(numbers, f.number)
	}
	if p.field.key != nil || p.field.kind == protoreflect.GroupKind {
		return nil, false
	}
	return append(numbers, p.field.number), true
}
