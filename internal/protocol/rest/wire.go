package rest

import (
	"iter"

	"google.golang.org/protobuf/encoding/protowire"
)

// A wireValue is the value of a field as it stands on the wire.
type wireValue struct {
	typ protowire.Type
	b   []byte // without the tag
}

// bytes returns what a value with a length holds.
func (v wireValue) bytes() ([]byte, bool) {
	if v.typ != protowire.BytesType {
		return nil, false
	}
	b, _ := protowire.ConsumeBytes(v.b)
	return b, true
}

// wireFields goes over the fields of a message, up to its end or to where it is none.
func wireFields(message []byte) iter.Seq2[protowire.Number, wireValue] {
	return func(yield func(protowire.Number, wireValue) bool) {
		for len(message) > 0 {
			num, typ, n := protowire.ConsumeTag(message)
			if n < 0 {
				return
			}
			message = message[n:]
			if n = protowire.ConsumeFieldValue(num, typ, message); n < 0 || !yield(num, wireValue{typ, message[:n]}) {
				return
			}
			message = message[n:]
		}
	}
}
