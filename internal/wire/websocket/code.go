package websocket

import (
	"strings"
	"unicode/utf8"

	"github.com/sluice-rpc/sluice/rpc"
)

// A Code is a status code of a Close frame (RFC 6455, section 7.4, and the registry at
// https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number).
type Code uint16

// The registered codes.
const (
	NormalClosure      Code = 1000
	GoingAway          Code = 1001
	ProtocolError      Code = 1002
	UnsupportedData    Code = 1003
	NoStatus           Code = 1005 // never sent: a Close frame without a code
	AbnormalClosure    Code = 1006 // never sent: the connection broke
	InvalidPayload     Code = 1007
	PolicyViolation    Code = 1008
	MessageTooBig      Code = 1009
	MandatoryExtension Code = 1010
	InternalError      Code = 1011
	ServiceRestart     Code = 1012
	TryAgainLater      Code = 1013
	BadGateway         Code = 1014
	TLSHandshake       Code = 1015 // never sent: TLS failed
)

// statusBase is where gRPC's codes begin in the range for private use (RFC 6455,
// section 7.4.2).
const statusBase Code = 4000

// Valid says whether a Close frame may carry the code: the registered ones that are
// sent at all, those of libraries and frameworks, and those for private use.
func (c Code) Valid() bool {
	return c >= NormalClosure && c <= UnsupportedData ||
		c >= InvalidPayload && c <= BadGateway ||
		c >= 3000 && c <= 4999
}

// CloseCode returns the code of a Close frame that ends a call: 1000 for OK, else 4000
// and gRPC's code. A code that gRPC doesn't have is Unknown.
func CloseCode(c rpc.Code) Code {
	switch {
	case c == rpc.OK:
		return NormalClosure
	case c >= rpc.Codes:
		c = rpc.Unknown
	}
	return statusBase + Code(c)
}

// StatusCode returns what a code of a Close frame says about a call that was not over.
// A peer that merely goes is not one that has finished: only 1000 and 4000 are OK.
func StatusCode(c Code) rpc.Code {
	switch {
	case c >= statusBase && c < statusBase+rpc.Codes:
		return rpc.Code(c - statusBase)
	case c >= 3000:
		return rpc.Unknown
	}
	switch c {
	case NormalClosure:
		return rpc.OK
	case ProtocolError, MandatoryExtension, InternalError:
		return rpc.Internal
	case UnsupportedData, InvalidPayload:
		return rpc.InvalidArgument
	case PolicyViolation:
		return rpc.PermissionDenied
	case MessageTooBig:
		return rpc.ResourceExhausted
	case GoingAway, AbnormalClosure, ServiceRestart, TryAgainLater, BadGateway, TLSHandshake:
		return rpc.Unavailable
	}
	return rpc.Unknown
}

// maxReason is what a Close frame has room for (RFC 6455, section 5.5: 125 bytes with
// the code).
const maxReason = maxControl - 2

// Reason returns s as a reason can be sent: valid UTF-8 of at most 123 bytes, cut
// between two characters.
func Reason(s string) string {
	// Every invalid byte grows to three: don't copy what can't be sent anyway.
	if len(s) > maxReason+utf8.UTFMax {
		s = s[:maxReason+utf8.UTFMax]
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxReason {
		return s
	}
	n := maxReason
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// An Error is how a Decoder refuses what a peer sent: the code and the reason for the
// Close frame that answers it (RFC 6455, section 7.1.7).
type Error struct {
	Code   Code
	Reason string
}

func (e *Error) Error() string { return "websocket: " + e.Reason }
