package h2

import (
	"encoding/binary"
	"errors"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// Frame types, RFC 9113, section 6.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	framePriority     = 0x2
	frameRSTStream    = 0x3
	frameSettings     = 0x4
	framePushPromise  = 0x5
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8
	frameContinuation = 0x9
)

// Flags.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Settings, RFC 9113, section 6.5.2, and RFC 8441, section 3.
const (
	settingHeaderTableSize      = 0x1
	settingEnablePush           = 0x2
	settingMaxConcurrentStreams = 0x3
	settingInitialWindowSize    = 0x4
	settingMaxFrameSize         = 0x5
	settingMaxHeaderListSize    = 0x6
	settingEnableConnect        = 0x8
)

const (
	frameHeaderLen = 9
	// maxFrame is the largest payload that we take and send: the protocol's minimum,
	// so no peer has to be asked, and no stream holds a connection for long.
	maxFrame      = 16384
	maxWindow     = 1<<31 - 1
	initialWindow = 65535
	maxStreamID   = 1<<31 - 1
)

// Preface is what a client says first (RFC 9113, section 3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

func appendFrameHeader(b []byte, length int, typ, flags byte, stream uint32) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), typ, flags,
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendRST(b []byte, stream uint32, code exchange.Code) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHeader(b, 4, frameRSTStream, 0, stream), uint32(code))
}

func appendWindowUpdate(b []byte, stream uint32, n int) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHeader(b, 4, frameWindowUpdate, 0, stream), uint32(n))
}

func appendPing(b []byte, flags byte, data [8]byte) []byte {
	return append(appendFrameHeader(b, 8, framePing, flags, 0), data[:]...)
}

func appendGoAway(b []byte, last uint32, code exchange.Code, debug string) []byte {
	b = appendFrameHeader(b, 8+len(debug), frameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	b = binary.BigEndian.AppendUint32(b, uint32(code))
	return append(b, debug...)
}

func appendSetting(b []byte, id uint16, v uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, id), v)
}

// connError ends the connection with GOAWAY (RFC 9113, section 5.4.1).
type connError struct {
	code   exchange.Code
	reason string
}

func (e connError) Error() string { return e.code.String() + ": " + e.reason }

// abuseError ends a connection whose client came to a limit.
type abuseError struct {
	connError
	limit string // its name
}

func (e abuseError) Unwrap() error { return e.connError }

func abusive(limit, reason string) error {
	return abuseError{connError{exchange.EnhanceYourCalm, reason}, limit}
}

// Abuse says whether what [Conn.Run] returned means that the peer did too much of what
// is of no use to anybody.
func Abuse(err error) bool {
	var e abuseError
	return errors.As(err, &e)
}
