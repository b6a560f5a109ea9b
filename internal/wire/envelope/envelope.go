// Package envelope scans gRPC's length-prefixed messages: five bytes of prefix (flags
// and a big-endian length), then the message
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Length-Prefixed-Message").
// It is fed slices of any size, keeps nothing but the prefix, and allocates nothing.
package envelope

import (
	"encoding/binary"
	"errors"
)

// PrefixLen is the length of a prefix.
const PrefixLen = 5

// Compressed is the flag of a compressed message.
const Compressed = 0x01

// Append appends a prefix to b.
func Append(b []byte, flags byte, length int) []byte {
	return binary.BigEndian.AppendUint32(append(b, flags), uint32(length))
}

// What a Scanner refuses.
var (
	ErrTooLarge   = errors.New("message larger than the limit")
	ErrFlags      = errors.New("message with unknown flags")
	ErrNotEncoded = errors.New("compressed message without an encoding")
	ErrTooMany    = errors.New("more than one message")
)

// A Scanner follows the messages of one direction of a call. It looks at a prefix
// before its message comes.
type Scanner struct {
	Limit   int  // of one message, in bytes
	Encoded bool // an encoding was announced, so messages may be compressed
	Single  bool // there may be one message only

	prefix [PrefixLen]byte
	have   uint8  // bytes of the prefix
	left   uint32 // bytes of the message still to come
	count  int
	length uint32 // of the last message that began

	cut [PrefixLen - 1]byte // what Hold kept
}

// Scan follows b. It returns how many bytes of b are sound: all of them, or, with an
// error, those before the prefix that is refused.
func (s *Scanner) Scan(b []byte) (sound int, err error) {
	for sound < len(b) {
		if s.left > 0 {
			n := uint32(min(int64(len(b)-sound), int64(s.left)))
			s.left -= n
			sound += int(n)
			continue
		}
		at := sound
		n := copy(s.prefix[s.have:], b[sound:])
		s.have += uint8(n)
		sound += n
		if s.have < PrefixLen {
			return sound, nil
		}
		s.have = 0
		s.length = binary.BigEndian.Uint32(s.prefix[1:])
		s.count++
		switch {
		case s.prefix[0]&^Compressed != 0:
			return at, ErrFlags
		case s.prefix[0] != 0 && !s.Encoded:
			return at, ErrNotEncoded
		case int64(s.length) > int64(s.Limit):
			return at, ErrTooLarge
		case s.Single && s.count > 1:
			return at, ErrTooMany
		}
		s.left = s.length
	}
	return sound, nil
}

// Hold is Scan for who must not pass on any part of a prefix that is refused: a prefix
// that b cuts off does not count as sound, and lead is what was kept of one that b
// completes, to be passed on before b[:sound]. It is valid until the next call.
func (s *Scanner) Hold(b []byte) (lead []byte, sound int, err error) {
	had := copy(s.cut[:], s.prefix[:s.have])
	sound, err = s.Scan(b)
	if int(s.have) == had+len(b) {
		return nil, 0, nil // no more than a part of a prefix
	}
	sound -= int(s.have)
	if sound > 0 { // not so if the very prefix is refused
		lead = s.cut[:had]
	}
	return lead, sound, err
}

// Messages returns how many messages have begun, as far as their prefixes are whole.
func (s *Scanner) Messages() int { return s.count }

// Length returns the length of the message that began last.
func (s *Scanner) Length() int { return int(s.length) }

// Flags returns the flags of the message that began last.
func (s *Scanner) Flags() byte { return s.prefix[0] }

// Between says whether the scan is between two messages: an end here is a clean end.
func (s *Scanner) Between() bool { return s.left == 0 && s.have == 0 }
