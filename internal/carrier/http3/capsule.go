package http3

import (
	"encoding/binary"

	"github.com/quic-go/quic-go/quicvarint"
)

// closeSession is the type of WT_CLOSE_SESSION (draft-ietf-webtrans-http3, section 6).
const closeSession = 0x2843

// appendClose appends a WT_CLOSE_SESSION capsule (RFC 9297, section 3.2).
func appendClose(b []byte, code uint32, reason string) []byte {
	b = quicvarint.Append(b, closeSession)
	b = quicvarint.Append(b, uint64(4+len(reason)))
	b = binary.BigEndian.AppendUint32(b, code)
	return append(b, reason...)
}
