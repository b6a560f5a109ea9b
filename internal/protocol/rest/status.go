package rest

import (
	"encoding/base64"
	"encoding/json"
	"strconv"

	"github.com/sluice-rpc/sluice/rpc"
)

// httpStatus is how google/rpc/code.proto maps codes to HTTP.
var httpStatus = [rpc.Codes]int{
	rpc.OK: 200, rpc.Canceled: 499, rpc.Unknown: 500, rpc.InvalidArgument: 400, rpc.DeadlineExceeded: 504,
	rpc.NotFound: 404, rpc.AlreadyExists: 409, rpc.PermissionDenied: 403, rpc.ResourceExhausted: 429,
	rpc.FailedPrecondition: 400, rpc.Aborted: 409, rpc.OutOfRange: 400, rpc.Unimplemented: 501, rpc.Internal: 500,
	rpc.Unavailable: 503, rpc.DataLoss: 500, rpc.Unauthenticated: 401,
}

// HTTPStatus returns the HTTP status of a code; those that gRPC does not have are 500.
func HTTPStatus(c rpc.Code) int {
	if c < rpc.Codes {
		return httpStatus[c]
	}
	return 500
}

// retryable says whether the same call may succeed later, as far as its code tells.
func retryable(c rpc.Code) bool { return c == rpc.Unavailable }

// anyEncoder writes a serialized google.protobuf.Any as JSON.
type anyEncoder func(dst, any []byte) ([]byte, error)

// write writes the body of an error, and says its type; none has none.
func (e ErrorBody) write(httpStatus int, st *rpc.Status, enc anyEncoder) (contentType string, body []byte) {
	switch e {
	case ErrorNone:
		return "", nil
	case ErrorProblem:
		return "application/problem+json", appendProblem(nil, httpStatus, st, enc)
	case ErrorGoogle:
		return "application/json", appendGoogle(nil, httpStatus, st, enc)
	}
	return "application/json", appendStatus(nil, st, enc)
}

// appendGoogle appends an error as https://google.aip.dev/193 has it: with the HTTP status
// as its code, and the name of gRPC's.
func appendGoogle(b []byte, httpStatus int, st *rpc.Status, enc anyEncoder) []byte {
	b = append(b, `{"error":{"code":`...)
	b = strconv.AppendInt(b, int64(httpStatus), 10)
	b = append(b, `,"message":`...)
	b = appendString(b, st.Message)
	b = append(b, `,"status":`...)
	b = appendString(b, st.Code.String())
	b = append(b, `,"details":`...)
	return append(appendDetails(b, st.Details, enc), "}}"...)
}

// appendStatus appends a google.rpc.Status as JSON.
func appendStatus(b []byte, st *rpc.Status, enc anyEncoder) []byte {
	b = append(b, `{"code":`...)
	b = strconv.AppendUint(b, uint64(st.Code), 10)
	b = append(b, `,"message":`...)
	b = appendString(b, st.Message)
	b = append(b, `,"details":`...)
	return append(appendDetails(b, st.Details, enc), '}')
}

// appendProblem appends problem details (RFC 9457), with the status as members of
// their own.
func appendProblem(b []byte, httpStatus int, st *rpc.Status, enc anyEncoder) []byte {
	b = append(b, `{"type":"about:blank","title":`...)
	b = appendString(b, st.Code.String())
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(httpStatus), 10)
	b = append(b, `,"detail":`...)
	b = appendString(b, st.Message)
	b = append(b, `,"code":`...)
	b = strconv.AppendUint(b, uint64(st.Code), 10)
	b = append(b, `,"details":`...)
	return append(appendDetails(b, st.Details, enc), '}')
}

// appendDetails appends the details of a serialized google.rpc.Status as a JSON array. One
// whose type is not known keeps its name, and its bytes in base64.
func appendDetails(b, status []byte, enc anyEncoder) []byte {
	b = append(b, '[')
	first := true
	for num, v := range wireFields(status) {
		detail, ok := v.bytes()
		if num != 3 || !ok {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		if enc != nil {
			if next, err := enc(b, detail); err == nil {
				b = next
				continue
			}
		}
		b = appendUnknownAny(b, detail)
	}
	return append(b, ']')
}

func appendUnknownAny(b, any []byte) []byte {
	var url string
	var value []byte
	for num, v := range wireFields(any) {
		if b, ok := v.bytes(); ok {
			switch num {
			case 1:
				url = string(b)
			case 2:
				value = b
			}
		}
	}
	b = append(b, `{"@type":`...)
	b = appendString(b, url)
	b = append(b, `,"value":"`...)
	b = base64.StdEncoding.AppendEncode(b, value)
	return append(b, `"}`...)
}

func appendString(b []byte, s string) []byte {
	q, _ := json.Marshal(s) // a string always can be
	return append(b, q...)
}
