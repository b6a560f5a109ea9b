package transcode

import "fmt"

// A FieldEncoder writes one field of a message: what the response_body of a
// google.api.http rule names.
type FieldEncoder struct {
	m *Message
	f *field
}

// FieldEncoder returns the encoder of a field, by its JSON name or that of the .proto file.
func (m *Message) FieldEncoder(name string) (*FieldEncoder, error) {
	m.compile()
	f := m.byName[name]
	if f == nil {
		return nil, fmt.Errorf("message %s has no field %q", m.desc.FullName(), name)
	}
	return &FieldEncoder{m: m, f: f}, nil
}

// AppendJSON appends the JSON of the field's value to dst, from the wire of the whole
// message. A field that is not there is its default, an empty list or object, or null if
// it has presence. The message's other fields are passed over: they are not checked
// further than for where they end, and required ones may be missing.
func (fe *FieldEncoder) AppendJSON(dst, wire []byte, o *EncodeOptions) ([]byte, error) {
	return encode(dst, wire, o, fe.m, func(e *encoder) error { return e.oneField(fe.m, fe.f) })
}

func (e *encoder) oneField(m *Message, f *field) error {
	if err := e.enter(m); err != nil {
		return err
	}
	var at places
	c := e.cursor(m, parts{one: span{0, len(e.wire), 0}})
	for {
		more, err := c.step()
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if c.f == f {
			at.add(uint32(c.at))
		} else if c.f.slot == f.slot { // another member of its oneof clears it
			at = places{distances: at.distances[:0]}
		}
	}
	if at.none() {
		e.unset(f)
		return nil
	}
	if err := e.gathered(f, at); err != nil {
		return wireError(m, f, err)
	}
	return nil
}
