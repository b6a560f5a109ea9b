package websocket

import (
	"slices"
	"sync"
	"time"
)

// What looks after a peer, for whoever drives a Decoder and an Encoder. It has no clock:
// times come as values, counted from the opening of the WebSocket.

// CloseWait is how long the peer's Close is waited for after ours.
const CloseWait = time.Second

// A Scratch is what frames are unmasked in, since a carrier's bytes are not ours to
// change.
type Scratch [8 << 10]byte

var scratches = sync.Pool{New: func() any { return new(Scratch) }}

// TakeScratch borrows one, until Free.
func TakeScratch() *Scratch { return scratches.Get().(*Scratch) }

// Free gives it back.
func (s *Scratch) Free() { scratches.Put(s) }

// ErrAbuse is how a peer is refused that sends too many frames of no use; see [Decoder.Cost].
var ErrAbuse = &Error{PolicyViolation, "too many frames of no use (limits.conn_abuse)"}

// maxPongs is how many may wait to be taken. Of those that come then the last one is
// sent (RFC 6455, section 5.5.3).
const maxPongs = 16

// Pongs keeps a peer that pings without reading from having a Pong kept for each.
type Pongs struct {
	sent, taken int  // bytes of output
	count       int  // pongs in them
	until       int  // where the last one ends
	due         bool // another one waits for room
	payload     []byte
}

// Sent notes that n bytes of output were appended.
func (p *Pongs) Sent(n int) { p.sent += n }

// Taken notes that n bytes of output were taken, and says whether a Pong that waits can
// be sent.
func (p *Pongs) Taken(n int) bool {
	p.taken += n
	if p.taken >= p.until {
		p.count = 0
	}
	return p.due && p.count < maxPongs
}

// Ask takes the payload of a Ping, and says whether to answer it now. Else it is kept.
func (p *Pongs) Ask(payload []byte) bool {
	if p.count < maxPongs {
		return true
	}
	p.due, p.payload = true, slices.Clone(payload)
	return false
}

// Due returns the payload that waits, if one does.
func (p *Pongs) Due() (payload []byte, due bool) { return p.payload, p.due }

// Answered notes that a Pong was appended, after [Pongs.Sent].
func (p *Pongs) Answered() {
	p.due, p.payload = false, nil
	p.count++
	p.until = p.sent
}

// A Keepalive finds peers that are gone: after Ping of silence they are pinged, after
// Timeout more of it they are given up.
type Keepalive struct {
	Ping, Timeout time.Duration // a Ping of 0 is never

	out bool          // one was sent
	at  time.Duration // when
}

// An Alive is what to do about a peer.
type Alive int

// What [Keepalive.Check] says.
const (
	Wait Alive = iota
	SendPing
	GiveUp
)

// Check says what to do now, and how long to wait before the next Check. heard is when
// something came last. deaf says that we may not be reading, so that the Pong waits
// behind other things, and that is not the peer's fault.
func (k *Keepalive) Check(now, heard time.Duration, deaf bool) (Alive, time.Duration) {
	if k.out && heard >= k.at {
		k.out = false
	}
	switch {
	case !k.out && now-heard < k.Ping:
		return Wait, k.Ping - (now - heard)
	case !k.out:
		k.out, k.at = true, now
		return SendPing, k.Timeout
	case deaf:
		return Wait, k.Timeout
	}
	return GiveUp, 0
}
