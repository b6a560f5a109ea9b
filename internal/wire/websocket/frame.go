package websocket

import (
	"encoding/binary"
	"math/bits"
)

// An Opcode says what a frame is (RFC 6455, section 11.8).
type Opcode byte

// The opcodes of messages.
const (
	Text   Opcode = 0x1
	Binary Opcode = 0x2
)

const (
	opContinuation Opcode = 0x0
	opClose        Opcode = 0x8
	opPing         Opcode = 0x9
	opPong         Opcode = 0xa
)

// control says whether the frame is a control frame, known or not (section 5.5).
func (o Opcode) control() bool { return o&0x8 != 0 }

// The bits of the first two bytes (section 5.2).
const (
	bitFin  = 0x80
	bitRSV1 = 0x40 // with permessage-deflate: the message is compressed (RFC 7692, section 6)
	bitsRSV = 0x30 // RSV2 and RSV3, which no extension that we know uses
	bitMask = 0x80
)

const (
	maxControl = 125 // bytes of a control frame's payload (section 5.5)
	maxHeader  = 14
	keyLen     = 4
)

// headerLen is the length of the header of a frame, without a key.
func headerLen(length int) int {
	switch {
	case length <= maxControl:
		return 2
	case length < 1<<16:
		return 4
	}
	return 10
}

// putHeader writes a header without a key to b, which has the right length.
func putHeader(b []byte, first, mask byte, length int) {
	b[0] = first
	switch len(b) {
	case 2:
		b[1] = mask | byte(length)
	case 4:
		b[1] = mask | 126
		binary.BigEndian.PutUint16(b[2:], uint16(length))
	default:
		b[1] = mask | 127
		binary.BigEndian.PutUint64(b[2:], uint64(length))
	}
}

// xor masks or unmasks b (section 5.3). The key is in little-endian order, and what is
// returned is the key for the bytes that follow.
func xor(b []byte, key uint32) uint32 {
	wide := uint64(key)<<32 | uint64(key)
	for len(b) >= 32 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
		binary.LittleEndian.PutUint64(b[8:], binary.LittleEndian.Uint64(b[8:])^wide)
		binary.LittleEndian.PutUint64(b[16:], binary.LittleEndian.Uint64(b[16:])^wide)
		binary.LittleEndian.PutUint64(b[24:], binary.LittleEndian.Uint64(b[24:])^wide)
		b = b[32:]
	}
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(key)
		key = bits.RotateLeft32(key, -8)
	}
	return key
}
