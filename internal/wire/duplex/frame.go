// Package duplex holds the frames of the duplex protocol (docs/protocols/duplex.md) and the
// state of its two directions: a [Sender] keeps what the peer may still need, a [Receiver]
// says what was taken. It does no I/O and knows no time. Client and server use the same.
package duplex

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Limits of the protocol, and its first window.
const (
	MaxFrame = 1 << 16 // payload of a frame of any kind
	MaxData  = 1 << 14 // payload of DATA
	Window   = 1 << 16 // bytes of DATA before the first CREDIT
)

// A Kind says what a frame is.
type Kind byte

// The kinds of frames. Those from Hello on are about the connection.
const (
	Headers Kind = 0x01
	Data    Kind = 0x02
	End     Kind = 0x03
	Credit  Kind = 0x04
	Cancel  Kind = 0x05
	Resume  Kind = 0x06
	Resumed Kind = 0x07
	Hello   Kind = 0x10
	Welcome Kind = 0x11
	Ping    Kind = 0x12
	Pong    Kind = 0x13
	GoAway  Kind = 0x14
)

var kindNames = map[Kind]string{
	Headers: "HEADERS", Data: "DATA", End: "END", Credit: "CREDIT", Cancel: "CANCEL", Resume: "RESUME", Resumed: "RESUMED",
	Hello: "HELLO", Welcome: "WELCOME", Ping: "PING", Pong: "PONG", GoAway: "GOAWAY",
}

// String returns the name in the document.
func (k Kind) String() string {
	if name := kindNames[k]; name != "" {
		return name
	}
	return fmt.Sprintf("KIND_%#02x", byte(k))
}

func (k Kind) known() bool { return Headers <= k && k <= Resumed || k.Connection() }

// Connection says whether the kind is about the connection, and not about a call.
func (k Kind) Connection() bool { return Hello <= k && k <= GoAway }

// length is that of the payload, of a kind that has but one in both directions.
func (k Kind) length() (n int, fixed bool) {
	switch k {
	case Cancel:
		return 0, true
	case Credit:
		return creditLength, true
	case Ping, Pong:
		return PingLength, true
	}
	return 0, false
}

// A Form is one of the two forms of frames.
type Form bool

// The forms.
const (
	CallForm Form = false // a pipe is one call
	MuxForm  Form = true  // frames have the number of their call
)

func (f Form) header() int {
	if f == MuxForm {
		return 8
	}
	return 4
}

// Begin appends the header of a frame whose payload is appended next; [Form.Finish] puts in
// its length.
func (f Form) Begin(dst []byte, kind Kind, call uint32) []byte {
	return f.header4(dst, kind, call, 0)
}

// Finish ends the frame that was begun at dst[at:].
func (f Form) Finish(dst []byte, at int) []byte {
	n := len(dst) - at - f.header()
	dst[at+1], dst[at+2], dst[at+3] = byte(n>>16), byte(n>>8), byte(n)
	return dst
}

// Append appends a whole frame.
func (f Form) Append(dst []byte, kind Kind, call uint32, payload []byte) []byte {
	return append(f.header4(dst, kind, call, len(payload)), payload...)
}

// AppendCredit appends a CREDIT.
func (f Form) AppendCredit(dst []byte, call uint32, c CreditFrame) []byte {
	dst = f.header4(dst, Credit, call, creditLength)
	dst = binary.BigEndian.AppendUint64(dst, c.Taken)
	dst = binary.BigEndian.AppendUint32(dst, c.Window)
	return append(dst, byte(c.Got))
}

func (f Form) header4(dst []byte, kind Kind, call uint32, n int) []byte {
	dst = append(dst, byte(kind), byte(n>>16), byte(n>>8), byte(n))
	if f == MuxForm {
		dst = binary.BigEndian.AppendUint32(dst, call)
	}
	return dst
}

// A Mark is the highest of the numbered events of a direction that was received.
type Mark byte

// The marks.
const (
	GotNothing Mark = iota
	GotHeaders
	GotEnd
)

// A CreditFrame is what a CREDIT says.
type CreditFrame struct {
	Taken  uint64
	Window uint32
	Got    Mark
}

const creditLength = 8 + 4 + 1

// ParseCredit reads a CREDIT.
func ParseCredit(b []byte) (c CreditFrame, err error) {
	if len(b) != creditLength || Mark(b[12]) > GotEnd {
		return c, errors.New("malformed CREDIT")
	}
	return CreditFrame{binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:]), Mark(b[12])}, nil
}

// PingLength is the length of PING and PONG.
const PingLength = 8
