// Package connect holds the formats of the Connect protocol as functions on bytes:
// codes, errors, the end of a stream, timeouts, the query of a GET
// (https://connectrpc.com/docs/protocol).
package connect

import (
	"strconv"
	"time"

	"github.com/sluice-rpc/sluice/rpc"
)

// codes are "Error Codes" of the protocol: the name, and the status of a unary
// response.
var codes = [rpc.Codes]struct {
	name string
	http int
}{
	rpc.OK:                 {"ok", 200},
	rpc.Canceled:           {"canceled", 499},
	rpc.Unknown:            {"unknown", 500},
	rpc.InvalidArgument:    {"invalid_argument", 400},
	rpc.DeadlineExceeded:   {"deadline_exceeded", 504},
	rpc.NotFound:           {"not_found", 404},
	rpc.AlreadyExists:      {"already_exists", 409},
	rpc.PermissionDenied:   {"permission_denied", 403},
	rpc.ResourceExhausted:  {"resource_exhausted", 429},
	rpc.FailedPrecondition: {"failed_precondition", 400},
	rpc.Aborted:            {"aborted", 409},
	rpc.OutOfRange:         {"out_of_range", 400},
	rpc.Unimplemented:      {"unimplemented", 501},
	rpc.Internal:           {"internal", 500},
	rpc.Unavailable:        {"unavailable", 503},
	rpc.DataLoss:           {"data_loss", 500},
	rpc.Unauthenticated:    {"unauthenticated", 401},
}

// CodeName returns the protocol's name of a code; codes that gRPC doesn't have are
// unknown.
func CodeName(c rpc.Code) string { return codes[known(c)].name }

// HTTPStatus returns the status of a unary response with a code.
func HTTPStatus(c rpc.Code) int { return codes[known(c)].http }

func known(c rpc.Code) rpc.Code {
	if c >= rpc.Codes {
		return rpc.Unknown
	}
	return c
}

// ParseTimeout reads Connect-Timeout-Ms: at most ten digits.
func ParseTimeout(s string) (time.Duration, bool) {
	if len(s) == 0 || len(s) > 10 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, false
	}
	return time.Duration(n) * time.Millisecond, true
}
