// Package grpcweb holds gRPC-Web's formats: the trailer frame and the base64 of its
// text mode (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md).
package grpcweb

import (
	"encoding/binary"

	"github.com/sluice-rpc/sluice/internal/exchange"
	block "github.com/sluice-rpc/sluice/internal/wire/fields"
)

// TrailerFlag marks the frame that holds the trailers.
const TrailerFlag = 0x80

// AppendTrailer appends the trailer frame. Keys are in lower case, as they are in
// fields; there is no blank line at the end.
func AppendTrailer(b []byte, fields []exchange.Field) []byte {
	n := 0
	for i := range fields {
		n += len(fields[i].Name) + len(fields[i].Value) + len(": \r\n")
	}
	b = binary.BigEndian.AppendUint32(append(b, TrailerFlag), uint32(n))
	return block.Append(b, fields)
}
