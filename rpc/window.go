package rpc

// Bounds of the window of one direction of a call, in bytes: what a producer may have
// outstanding.
const (
	WindowMin     = 16 << 10
	WindowDefault = 64 << 10
	WindowMax     = 1 << 20
)
