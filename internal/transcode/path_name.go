package transcode

import "strings"

// Name returns the path by the names of the .proto file, without the key of a map.
func (p *Path) Name() string {
	var b strings.Builder
	for _, f := range p.outer {
		b.WriteString(f.protoName)
		b.WriteByte('.')
	}
	b.WriteString(p.field.protoName)
	return b.String()
}
