package transcode

import "google.golang.org/protobuf/encoding/protowire"

// parts are where a message stands in the wire: in one place, or in several, which are
// then merged. Of these the tags are known.
type parts struct {
	one span
	at  places
}

// span returns the part whose tag is at a place where a walk has been before.
func (e *encoder) span(at uint32) span {
	tag, i := e.varint(int(at), len(e.wire))
	if protowire.Type(tag&7) == protowire.StartGroupType {
		return span{i, len(e.wire), protowire.Number(tag >> 3)}
	}
	i, end, _ := e.prefixed(i, len(e.wire))
	return span{i, end, 0}
}

// A cursor goes over the fields of a message that its plan knows, through all parts.
type cursor struct {
	e    *encoder
	m    *Message
	span        // what is left of this part; when all is read, i is its end
	more places // parts

	f         *field // what step has found
	tag       uint64
	at, value int // its tag and its value
}

func (e *encoder) cursor(m *Message, p parts) cursor {
	m.compile()
	c := cursor{e: e, m: m, span: p.one, more: p.at}
	if !c.more.none() {
		c.span = e.span(c.more.take())
	}
	return c
}

// step goes on to the next field, and says whether there is one.
func (c *cursor) step() (bool, error) {
	for {
		for c.i < c.end {
			tag, j := c.e.varintIn(c.i, c.end)
			f := c.m.find(tag)
			if f == nil && c.group != 0 && tag == protowire.EncodeTag(c.group, protowire.EndGroupType) {
				c.i, c.end, c.group = j, j, 0
				break
			}
			next, err := c.e.skipField(c.i, c.end)
			if err != nil {
				return false, wireError(c.m, f, err)
			}
			at := c.i
			c.i = next
			if f != nil {
				c.f, c.tag, c.at, c.value = f, tag, at, j
				return true, nil
			}
		}
		if c.group != 0 {
			return false, wireError(c.m, nil, errTruncated)
		}
		if c.more.none() {
			return false, nil
		}
		c.span = c.e.span(c.more.take())
	}
}
