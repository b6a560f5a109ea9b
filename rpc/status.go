package rpc

import "fmt"

// A Code is a gRPC status code
// (https://github.com/grpc/grpc/blob/master/doc/statuscodes.md).
type Code uint32

// The codes of gRPC. A code from outside of this range is [Unknown] to everyone but
// a gRPC client, which gets it as it is.
const (
	OK Code = iota
	Canceled
	Unknown
	InvalidArgument
	DeadlineExceeded
	NotFound
	AlreadyExists
	PermissionDenied
	ResourceExhausted
	FailedPrecondition
	Aborted
	OutOfRange
	Unimplemented
	Internal
	Unavailable
	DataLoss
	Unauthenticated

	// Codes is how many codes there are.
	Codes = 17
)

var codeNames = [Codes]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// String returns gRPC's name of the code, for example "NOT_FOUND".
func (c Code) String() string {
	if c < Codes {
		return codeNames[c]
	}
	return fmt.Sprintf("CODE_%d", uint32(c))
}

// A Status is how a call ended.
type Status struct {
	Code    Code
	Message string // for the client
	Details []byte // a serialized google.rpc.Status, or nil
	Cause   error  // for the log only
	Remote  bool   // the backend said it; else the gateway concluded it
}

// Errorf returns a status that the gateway concluded.
func Errorf(code Code, format string, args ...any) Status {
	return Status{Code: code, Message: fmt.Sprintf(format, args...)}
}

// OK says whether the call succeeded.
func (s Status) OK() bool { return s.Code == OK }

// Error makes a Status usable as an error.
func (s Status) Error() string {
	if s.Cause != nil {
		return fmt.Sprintf("%s: %s (%v)", s.Code, s.Message, s.Cause)
	}
	return fmt.Sprintf("%s: %s", s.Code, s.Message)
}
