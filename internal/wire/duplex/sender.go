package duplex

import (
	"errors"
	"fmt"
	"sync"
)

// A Sender is the sending half of a direction: bytes that were written, of which some wait
// for credit, and, if the call can be resumed, some are kept until they were taken. The
// zero Sender begins with the first window.
type Sender struct {
	Keep bool // until taken, for a resumption

	buf   []byte // from offset base on
	base  uint64
	sent  uint64 // on this pipe
	high  uint64 // on any
	taken uint64
	limit uint64 // 0 is that no CREDIT came
}

// ErrLost is a peer that wants bytes which are gone, or has some that were never sent.
var ErrLost = errors.New("the offset received is outside of what is kept")

// Write adds bytes.
func (s *Sender) Write(b []byte) {
	if s.buf == nil && len(b) > senderIdle/4 {
		s.buf = (*buffers.Get().(*[]byte))[:0]
	}
	s.buf = append(s.buf, b...)
}

// senderIdle is how large a buffer is kept while it is empty.
const senderIdle = 4 << 10

// buffers are those of senders that had much to send.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4*senderIdle); return &b }}

// Idle gives a large buffer back that is empty. What Next returned is void then.
func (s *Sender) Idle() {
	if len(s.buf) > 0 || cap(s.buf) <= senderIdle {
		return
	}
	if b := s.buf[:0]; cap(b) <= Window {
		buffers.Put(&b)
	}
	s.buf = nil
}

func (s *Sender) max() uint64 {
	if s.limit == 0 {
		return Window
	}
	return s.limit
}

// Pending says whether [Sender.Next] would return something.
func (s *Sender) Pending() bool { return s.sent < s.end() && s.sent < s.max() }

// Drained says whether everything written was sent.
func (s *Sender) Drained() bool { return s.sent == s.end() }

func (s *Sender) end() uint64 { return s.base + uint64(len(s.buf)) }

// Buffered is how many bytes are kept.
func (s *Sender) Buffered() int { return len(s.buf) }

// Next returns the next bytes that may be sent, at most so many, and takes them as sent. They
// are valid until the next call of another method.
func (s *Sender) Next(most int) []byte {
	n := min(s.end(), s.max()) - s.sent
	if s.sent >= s.max() {
		return nil
	}
	n = min(n, uint64(most))
	at := s.sent - s.base
	b := s.buf[at : at+n]
	s.sent += n
	s.high = max(s.high, s.sent)
	s.forget()
	return b
}

// forget drops what is needed no more. What is to be sent again is, even if it was taken:
// the peer counts it.
func (s *Sender) forget() {
	to := s.sent
	if s.Keep {
		to = min(to, s.taken)
	}
	if to <= s.base {
		return
	}
	n := to - s.base
	s.base = to
	switch {
	case n == uint64(len(s.buf)):
		s.buf = s.buf[:0]
	case n <= uint64(len(s.buf))/2 || len(s.buf) < senderIdle:
		// The slice moves on; append makes room anew once the array is used up.
		s.buf = s.buf[n:]
	default:
		s.buf = append(s.buf[:0:0], s.buf[n:]...) // the array is not kept for a small rest
	}
}

// Free drops everything that is kept.
func (s *Sender) Free() {
	s.base, s.buf = s.end(), nil
	s.sent = s.base
}

// Credit takes a CREDIT, and returns how many bytes more were taken.
func (s *Sender) Credit(taken uint64, window uint32) (n int, err error) {
	if taken > s.high {
		return 0, fmt.Errorf("CREDIT for %d bytes, and %d were sent", taken, s.high)
	}
	if limit := taken + uint64(window); limit > s.max() {
		s.limit = limit
	}
	if taken <= s.taken {
		return 0, nil
	}
	n = int(taken - s.taken)
	s.taken = taken
	s.forget()
	return n, nil
}

// Rewind goes on from what the peer says it has received.
func (s *Sender) Rewind(received uint64) error {
	if received < s.base || received > s.high {
		return ErrLost
	}
	s.sent = received
	return nil
}
