package http3

import (
	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// The codes of streams and sessions, in docs/protocols/webtransport.md.
const (
	codeNone      webtransport.StreamErrorCode = 0
	codeCancel    webtransport.StreamErrorCode = 1
	codeInternal  webtransport.StreamErrorCode = 2
	codeProtocol  webtransport.StreamErrorCode = 3
	codeGoingAway webtransport.StreamErrorCode = 4
	codeLimit     webtransport.StreamErrorCode = 5
	codeStalled   webtransport.StreamErrorCode = 6
	codeElsewhere webtransport.StreamErrorCode = 7
)

// rawCancel is codeCancel as it stands on the wire (draft-ietf-webtrans-http3, section 4.4).
const rawCancel quic.StreamErrorCode = 0x52e4a40fa8db + 1

// codeOf says why a pipe or a session was ended by who serves it.
func codeOf(c exchange.Code) webtransport.StreamErrorCode {
	switch c {
	case exchange.Cancel:
		return codeCancel
	case exchange.ProtocolError, exchange.FrameSizeError, exchange.FlowControlError, exchange.StreamClosed:
		return codeProtocol
	case exchange.NoError, exchange.RefusedStream:
		return codeGoingAway
	case exchange.EnhanceYourCalm:
		return codeLimit
	case exchange.Disconnected:
		return codeElsewhere
	}
	return codeInternal
}
