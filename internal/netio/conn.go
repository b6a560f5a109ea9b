// Package netio is the seam between the engine and sockets: read when there is
// something, try to write without blocking, wait when it has to be. It does so for
// TCP and unix sockets, TLS over them, and, with a blocking write for each flush, any
// other net.Conn.
//
// One goroutine reads a connection; writes are serialized by their owner.
package netio

import (
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// BufferSize is how much one read takes at most.
const BufferSize = 64 << 10

// A Buffer is a piece of memory that is lent for one batch of events.
type Buffer struct {
	B   []byte
	mem [BufferSize]byte
}

var buffers = sync.Pool{New: func() any { return new(Buffer) }}

// GetBuffer takes a buffer from the pool; its B is the whole of it.
func GetBuffer() *Buffer {
	b := buffers.Get().(*Buffer)
	b.B = b.mem[:]
	return b
}

// Free gives the buffer back.
func (b *Buffer) Free() {
	b.B = nil
	buffers.Put(b)
}

// A Conn is a byte stream that need not block.
type Conn interface {
	// Read waits until bytes have come and returns them in a buffer that the caller
	// frees. While it waits it holds no buffer.
	Read() (*Buffer, error)
	// TryWrite takes as much of p as it can without blocking; less than len(p) without
	// an error means that the peer is slow. Bytes that it took may still wait inside,
	// see Pending.
	TryWrite(p []byte) (int, error)
	// Write takes all of p, and what is pending, and blocks until the kernel has it.
	Write(p []byte) error
	// Pending says whether bytes that TryWrite took still wait for Write.
	Pending() bool
	// SetReadDeadline ends a waiting Read with os.ErrDeadlineExceeded; it may be called
	// at any time, and so wakes the reader.
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
	// CloseWrite says that nothing more will be written. Not every kind can.
	CloseWrite() error
	// Close closes at once; with TLS a close_notify is tried without blocking.
	Close() error
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
	// TLS returns the state of the handshake, or nil without TLS.
	TLS() *tls.ConnectionState
}

// closeWrite ends the sending half of a connection that can.
func closeWrite(c net.Conn) error {
	if cw, ok := c.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return nil
}

// New makes a Conn of a net.Conn. A *tls.Conn must have completed its handshake; if it
// was made by [Server] or [Client] it will not block.
func New(c net.Conn) Conn {
	if t, ok := c.(*tls.Conn); ok {
		if rec, ok := t.NetConn().(*records); ok {
			return newTLS(t, rec)
		}
		return newBlocking(c)
	}
	if r, ok := newRaw(c); ok {
		return r
	}
	return newBlocking(c)
}
