package connect

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// EndStream is the flag of the envelope that ends a stream.
const EndStream = 0x02

// AppendError writes an error ("Error" in the protocol).
func AppendError(b []byte, st *rpc.Status) []byte {
	b = append(b, `{"code":"`...)
	b = append(b, CodeName(st.Code)...)
	b = append(b, '"')
	if st.Message != "" {
		b = append(b, `,"message":`...)
		b = appendString(b, st.Message)
	}
	first := true
	eachDetail(st.Details, func(typeURL string, value []byte) {
		if first {
			b = append(b, `,"details":[`...)
		} else {
			b = append(b, ',')
		}
		first = false
		b = append(b, `{"type":`...)
		b = appendString(b, typeURL[strings.LastIndexByte(typeURL, '/')+1:])
		b = append(b, `,"value":"`...)
		b = base64.RawStdEncoding.AppendEncode(b, value)
		b = append(b, `"}`...)
	})
	if !first {
		b = append(b, ']')
	}
	return append(b, '}')
}

// eachDetail walks the details of a google.rpc.Status; what is broken ends the walk.
func eachDetail(status []byte, f func(typeURL string, value []byte)) {
	for len(status) > 0 {
		num, typ, n := protowire.ConsumeTag(status)
		if n < 0 {
			return
		}
		status = status[n:]
		if num == 3 && typ == protowire.BytesType {
			detail, n := protowire.ConsumeBytes(status)
			if n < 0 {
				return
			}
			status = status[n:]
			if typeURL, value, ok := parseAny(detail); ok {
				f(typeURL, value)
			}
			continue
		}
		if n = protowire.ConsumeFieldValue(num, typ, status); n < 0 {
			return
		}
		status = status[n:]
	}
}

func parseAny(b []byte) (typeURL string, value []byte, ok bool) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return "", nil, false
		}
		b = b[n:]
		if typ == protowire.BytesType && (num == 1 || num == 2) {
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return "", nil, false
			}
			b = b[n:]
			if num == 1 {
				typeURL = string(v)
			} else {
				value = v
			}
			continue
		}
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return "", nil, false
		}
		b = b[n:]
	}
	return typeURL, value, typeURL != ""
}

func appendString(b []byte, s string) []byte {
	q, _ := json.Marshal(s) // a string always can be
	return append(b, q...)
}

// AppendEnd writes the message that ends a stream: the error if there is one, and the
// trailers.
func AppendEnd(b []byte, st *rpc.Status, trailer rpc.Metadata) []byte {
	b = append(b, '{')
	if !st.OK() {
		b = append(b, `"error":`...)
		b = AppendError(b, st)
	}
	if len(trailer) > 0 {
		if !st.OK() {
			b = append(b, ',')
		}
		b = append(b, `"metadata":{`...)
		for i := range trailer {
			if first(trailer, i) {
				if i > 0 {
					b = append(b, ',')
				}
				b = appendString(b, trailer[i].Key)
				b = append(b, ':', '[')
				for j, v := range trailer.Values(trailer[i].Key) {
					if j > 0 {
						b = append(b, ',')
					}
					b = appendString(b, v)
				}
				b = append(b, ']')
			}
		}
		b = append(b, '}')
	}
	return append(b, '}')
}

// first says whether the field is the first of its key.
func first(md rpc.Metadata, i int) bool {
	for j := range i {
		if md[j].Key == md[i].Key {
			return false
		}
	}
	return true
}
