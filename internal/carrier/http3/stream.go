package http3

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"

	"github.com/sluice-rpc/sluice/internal/blocking"
	"github.com/sluice-rpc/sluice/internal/exchange"
)

// stream is a stream of a session as blocking takes it for a pipe.
type stream struct {
	*webtransport.Stream
	x       *session
	first   firstFrame
	stalled atomic.Bool

	mu        sync.Mutex
	lingering bool // the deadline for reading stays
}

var _ blocking.Stream = (*stream)(nil)

// newStream returns a stream whose first frame has to come in time.
func newStream(x *session, s *webtransport.Stream) *stream {
	t := &stream{Stream: s, x: x}
	if d := x.s.cfg.Header; d > 0 {
		_ = s.SetReadDeadline(time.Now().Add(d))
	} else {
		t.first.whole = true
	}
	return t
}

// firstFrame counts the bytes of the first frame of a pipe (docs/protocols/duplex.md).
type firstFrame struct {
	head  int // bytes seen of kind and length
	left  int // bytes of the payload that have not come
	whole bool
}

const frameHead = 4

// feed takes what has come, and says whether the frame is whole.
func (f *firstFrame) feed(b []byte) bool {
	for len(b) > 0 && f.head < frameHead {
		if f.head++; f.head > 1 { // after the kind
			f.left = f.left<<8 | int(b[0])
		}
		b = b[1:]
	}
	f.left -= min(f.left, len(b))
	f.whole = f.whole || f.head == frameHead && f.left == 0
	return f.whole
}

// Read implements [blocking.Stream].
func (t *stream) Read(p []byte) (int, error) {
	n, err := t.Stream.Read(p)
	if !t.first.whole && t.first.feed(p[:n]) {
		t.mu.Lock()
		if !t.lingering {
			_ = t.SetReadDeadline(time.Time{})
		}
		t.mu.Unlock()
	}
	return n, err
}

// linger is how long a client has to end its side after the end of a call. To stop it
// earlier would take from Firefox what its page has not read.
const linger = 5 * time.Second

// Linger implements [blocking.Stream].
func (t *stream) Linger() {
	t.mu.Lock()
	t.lingering = true
	_ = t.SetReadDeadline(time.Now().Add(linger))
	t.mu.Unlock()
}

// Stop implements [blocking.Stream].
func (t *stream) Stop() { t.CancelRead(codeNone) }

// Stall implements [blocking.Stream].
func (t *stream) Stall() {
	if d := t.x.s.cfg.Stall; d > 0 {
		_ = t.SetWriteDeadline(time.Now().Add(d))
	}
}

// Reset implements [blocking.Stream]. The reason of a protocol error has a place only in
// the end of the session.
func (t *stream) Reset(code exchange.Code, cause error) {
	c := codeOf(code)
	switch {
	case t.stalled.Load():
		c = codeStalled
	case c == codeProtocol && cause != nil:
		t.x.close(c, cause.Error())
	}
	t.CancelWrite(c)
	t.CancelRead(c)
	// Where the client has reset the stream because its session has ended, which it had not, the
	// library waits for that end, and only a deadline wakes it.
	t.mu.Lock()
	t.lingering = true
	_ = t.SetReadDeadline(time.Unix(1, 0))
	t.mu.Unlock()
	_ = t.SetWriteDeadline(time.Unix(1, 0))
}

// Lost implements [blocking.Stream].
func (t *stream) Lost(err error) exchange.Code {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.stalled.Store(true)
		return exchange.Disconnected
	}
	if se, ok := errors.AsType[*webtransport.StreamError](err); ok {
		if se.Remote && se.ErrorCode == codeCancel {
			return exchange.Cancel
		}
		return exchange.Disconnected
	}
	if se, ok := errors.AsType[*quic.StreamError](err); ok { // the cause of a context
		switch se.ErrorCode {
		case rawCancel:
			return exchange.Cancel
		case webtransport.WTSessionGoneErrorCode:
			return t.x.ended()
		}
		return exchange.Disconnected
	}
	return left(err)
}

// ended says what the end of a session means, once it has come.
func (x *session) ended() exchange.Code {
	t := time.NewTimer(linger)
	defer t.Stop()
	select {
	case <-x.wt.Context().Done():
		_, err := x.wt.AcceptStream(context.Background()) // it tells why
		return left(err)
	case <-t.C:
		return exchange.Disconnected
	}
}

// left says whether a session has ended because its client has left.
func left(err error) exchange.Code {
	se, ok := errors.AsType[*webtransport.SessionError](err)
	if ok && se.Remote && (se.ErrorCode == 0 || se.ErrorCode == 1) {
		return exchange.Cancel
	}
	return exchange.Disconnected
}
