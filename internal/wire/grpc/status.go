package grpc

import (
	"strconv"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// FromHTTP is the code of a response that carries no grpc-status
// (https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
func FromHTTP(status int) rpc.Code {
	switch status {
	case 400:
		return rpc.Internal
	case 401:
		return rpc.Unauthenticated
	case 403:
		return rpc.PermissionDenied
	case 404:
		return rpc.Unimplemented
	case 429, 502, 503, 504:
		return rpc.Unavailable
	}
	return rpc.Unknown
}

// FromReset is the code of a response that was reset (PROTOCOL-HTTP2.md, "Errors").
func FromReset(code exchange.Code) rpc.Code {
	switch code {
	case exchange.RefusedStream, exchange.Disconnected:
		return rpc.Unavailable
	case exchange.Cancel:
		return rpc.Canceled
	case exchange.EnhanceYourCalm:
		return rpc.ResourceExhausted
	case exchange.InadequateSecurity:
		return rpc.PermissionDenied
	}
	return rpc.Internal
}

// BuffersFull is the status of a call for which the gateway can't keep more.
var BuffersFull = rpc.Status{Code: rpc.ResourceExhausted, Message: exchange.ErrBuffers.Error()}

// FromClientReset is the status of a call whose client's exchange was reset.
func FromClientReset(code exchange.Code) rpc.Status {
	switch code {
	case exchange.Disconnected:
		return rpc.Status{Code: rpc.Canceled, Message: "the client's connection was lost"}
	case exchange.EnhanceYourCalm:
		return BuffersFull
	case exchange.FrameSizeError:
		return rpc.Status{Code: rpc.ResourceExhausted, Message: "a message of the client is larger than the gateway's limit (limits.message_bytes)"}
	}
	return rpc.Status{Code: rpc.Canceled, Message: "the client canceled the call"}
}

// ToReset is how a call is reset for a status that can't be said any more.
func ToReset(code rpc.Code) exchange.Code {
	switch code {
	case rpc.Canceled, rpc.DeadlineExceeded:
		return exchange.Cancel
	case rpc.ResourceExhausted:
		return exchange.EnhanceYourCalm
	case rpc.PermissionDenied:
		return exchange.InadequateSecurity
	}
	return exchange.InternalError
}

var codeText = [rpc.Codes]string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"}

// FormatCode writes a grpc-status.
func FormatCode(c rpc.Code) string {
	if int(c) < len(codeText) {
		return codeText[c]
	}
	return strconv.FormatUint(uint64(c), 10)
}

// ParseCode reads a grpc-status. What is no number is Unknown.
func ParseCode(s string) rpc.Code {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return rpc.Unknown
	}
	return rpc.Code(n)
}

// AppendStatus writes a status as trailer fields. An empty message is left out.
func AppendStatus(f []exchange.Field, st rpc.Status) []exchange.Field {
	f = append(f, exchange.Field{Name: "grpc-status", Value: FormatCode(st.Code)})
	if st.Message != "" {
		f = append(f, exchange.Field{Name: "grpc-message", Value: EncodeMessage(st.Message)})
	}
	if len(st.Details) > 0 {
		f = append(f, exchange.Field{Name: "grpc-status-details-bin", Value: EncodeBinary(st.Details)})
	}
	return f
}

// ReadStatus reads a status from fields; ok is false if there is none. The last
// grpc-status counts.
func ReadStatus(fields []exchange.Field) (st rpc.Status, ok bool) {
	for i := range fields {
		switch f := &fields[i]; f.Name {
		case "grpc-status":
			st.Code, ok = ParseCode(f.Value), true
		case "grpc-message":
			st.Message = DecodeMessage(f.Value)
		case "grpc-status-details-bin":
			if b, err := DecodeBinary(f.Value); err == nil {
				st.Details = b
			}
		}
	}
	st.Remote = ok
	return st, ok
}
