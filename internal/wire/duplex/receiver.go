package duplex

import (
	"errors"
)

// A Receiver is the receiving half of a direction. The zero Receiver begins with the first
// window.
type Receiver struct {
	Window uint32 // how much room to tell of, [Window] if 0

	received uint64
	taken    uint64
	told     uint64 // of taken
	limit    uint64 // 0 is that no CREDIT was sent
	skip     uint64 // bytes that come again
}

// ErrNoCredit is a peer that sends more than it was allowed.
var ErrNoCredit = errors.New("more DATA than credit")

func (r *Receiver) window() uint64 {
	if r.Window == 0 {
		return Window
	}
	return uint64(r.Window)
}

func (r *Receiver) max() uint64 {
	if r.limit == 0 {
		return Window
	}
	return r.limit
}

// Receive takes DATA, and returns what of it is new.
func (r *Receiver) Receive(b []byte) ([]byte, error) {
	if r.skip > 0 {
		n := min(r.skip, uint64(len(b)))
		r.skip -= n
		b = b[n:]
	}
	if uint64(len(b)) > r.max()-r.received {
		return nil, ErrNoCredit
	}
	r.received += uint64(len(b))
	return b, nil
}

// Received is the offset up to which DATA came.
func (r *Receiver) Received() uint64 { return r.received }

// Repeat says that the peer sends from an offset on that may be below Received.
func (r *Receiver) Repeat(from uint64) { r.skip = r.received - min(from, r.received) }

// Take says that n more bytes were taken. It returns true when it is time for a CREDIT: half of
// what the last one gave was taken.
func (r *Receiver) Take(n int) bool {
	r.taken += uint64(n)
	return r.taken-r.told >= min(r.window(), r.max()-r.told)/2
}

// Owes says whether something was taken that no CREDIT has told of.
func (r *Receiver) Owes() bool { return r.taken > r.told }

// Credit is the CREDIT to send now.
func (r *Receiver) Credit(got Mark) CreditFrame {
	r.told = r.taken
	limit := max(r.taken+r.window(), r.max())
	r.limit = limit
	return CreditFrame{Taken: r.taken, Window: uint32(limit - r.taken), Got: got}
}
