package duplex

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// A Sender is the sending half of a direction: bytes that were written, of which some wait
// for credit, and, if the call can be resumed, some are kept until they were taken. The
// zero Sender begins with the first window.
type Sender struct {
	Keep bool // until taken, for a resumption

	buf   []byte   // buf[at:] begins at offset base
	more  [][]byte // what follows buf, which is chunkSize long then, as is each of these but the last
	at    int
	spent []byte // a chunk that Next has emptied, while what it returned is valid
	base  uint64
	sent  uint64 // on this pipe
	high  uint64 // on any
	taken uint64
	limit uint64 // 0 is that no CREDIT came
}

// ErrLost is a peer that wants bytes which are gone, or has some that were never sent.
var ErrLost = errors.New("the offset received is outside of what is kept")

const (
	// senderIdle is how large a buffer is kept while it is empty.
	senderIdle = 4 << 10
	// chunkSize is what a longer one is made of: what waits for credit is not copied again
	// when more comes, and as much as one DATA holds goes back when it was sent.
	chunkSize = MaxData
)

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

func newChunk() []byte { return chunks.Get().(*[chunkSize]byte)[:0] }

// Write adds bytes.
func (s *Sender) Write(b []byte) {
	s.reuse()
	for len(b) > 0 {
		last := s.last()
		if n := len(*last) + len(b); cap(*last) < chunkSize && (n > senderIdle || *last == nil && n > senderIdle/4) {
			*last = append(newChunk(), *last...)
		}
		n := min(len(b), chunkSize-len(*last))
		if n == 0 {
			s.more = append(s.more, newChunk())
			continue
		}
		*last = append(*last, b[:n]...)
		b = b[n:]
	}
}

// last is where bytes are added.
func (s *Sender) last() *[]byte {
	if n := len(s.more); n > 0 {
		return &s.more[n-1]
	}
	return &s.buf
}

// free gives a buffer back, after the next call of a method.
func (s *Sender) free(b []byte) {
	s.reuse()
	s.spent = b
}

func (s *Sender) reuse() {
	if cap(s.spent) == chunkSize {
		chunks.Put((*[chunkSize]byte)(s.spent[:chunkSize]))
	}
	s.spent = nil
}

// Idle gives what is not needed back. What Next returned is void then.
func (s *Sender) Idle() {
	s.reuse()
	if s.Buffered() == 0 && cap(s.buf) > senderIdle {
		s.free(s.buf)
		s.reuse()
		s.buf = nil
	}
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

func (s *Sender) end() uint64 { return s.base + uint64(s.Buffered()) }

// Buffered is how many bytes are kept.
func (s *Sender) Buffered() int {
	n := len(s.buf) - s.at
	if k := len(s.more); k > 0 {
		n += (k-1)*chunkSize + len(s.more[k-1])
	}
	return n
}

// Next returns bytes that may be sent, at most so many, and takes them as sent: not always
// all, but some while there are any. They are valid until the next call of another method.
func (s *Sender) Next(most int) []byte {
	s.reuse()
	if !s.Pending() {
		return nil
	}
	from := s.at + int(s.sent-s.base)
	b := s.buf
	if from >= len(b) {
		from -= len(b)
		b = s.more[from/chunkSize]
		from %= chunkSize
	}
	b = b[from:]
	b = b[:min(uint64(len(b)), uint64(most), s.max()-s.sent)]
	s.sent += uint64(len(b))
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
	s.at += int(to - s.base)
	s.base = to
	for s.at >= len(s.buf) && len(s.more) > 0 {
		s.at -= len(s.buf)
		s.free(s.buf)
		s.buf = s.more[0]
		s.more = slices.Delete(s.more, 0, 1)
	}
	if s.at == len(s.buf) {
		s.buf, s.at = s.buf[:0], 0
	}
}

// Free drops everything that is kept.
func (s *Sender) Free() {
	s.base = s.end()
	s.sent = s.base
	s.free(s.buf)
	for _, b := range s.more {
		s.free(b)
	}
	s.reuse()
	s.buf, s.more, s.at = nil, nil, 0
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
