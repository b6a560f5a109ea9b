package netio

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// Server wraps c for TLS as a server. The handshake is the caller's, blocking, under a
// deadline; [New] makes the result a Conn that doesn't block.
func Server(c net.Conn, cfg *tls.Config) *tls.Conn { return tls.Server(wrapRecords(c), cfg) }

// Client is the same for a client.
func Client(c net.Conn, cfg *tls.Config) *tls.Conn { return tls.Client(wrapRecords(c), cfg) }

func wrapRecords(c net.Conn) net.Conn {
	if r, ok := newRaw(c); ok {
		return &records{Conn: c, raw: r}
	}
	return c
}

// errAgain tells crypto/tls that there is nothing to read for now. It keeps the part
// of a record that came, because the error is temporary.
var errAgain net.Error = again{}

type again struct{}

func (again) Error() string   { return "no record yet" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// records is the socket as crypto/tls sees it. Until the switch it is the socket
// itself, and blocks. After it, reads take what was staged, and writes go to memory,
// from where flush takes them to the socket.
type records struct {
	net.Conn
	raw      *raw
	switched atomic.Bool

	staged *Buffer // the reader's: bytes of the socket not yet taken by crypto/tls
	rest   []byte

	mu       sync.Mutex // the reader writes too: key updates, alerts
	out      []byte
	flushing bool // flush is writing, so nobody else may
}

// NetConn returns the socket, for who wants to close it in a special way.
func (r *records) NetConn() net.Conn { return r.Conn }

// maxKeptOut bounds the memory that an idle connection keeps for records.
const maxKeptOut = 32 << 10

func (r *records) Read(p []byte) (int, error) {
	if !r.switched.Load() {
		return r.Conn.Read(p)
	}
	if len(r.rest) == 0 {
		return 0, errAgain
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	if len(r.rest) == 0 {
		r.staged.Free()
		r.staged, r.rest = nil, nil
	}
	return n, nil
}

func (r *records) Write(p []byte) (int, error) {
	if !r.switched.Load() {
		return r.Conn.Write(p)
	}
	r.mu.Lock()
	r.out = append(r.out, p...)
	r.mu.Unlock()
	return len(p), nil
}

// stage waits for bytes from the socket.
func (r *records) stage() error {
	b, err := r.raw.Read()
	if err != nil {
		return err
	}
	r.staged, r.rest = b, b.B
	return nil
}

// tryFlush moves records to the socket without blocking.
func (r *records) tryFlush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.out) == 0 || r.flushing {
		return nil
	}
	n, err := r.raw.TryWrite(r.out)
	if n == len(r.out) {
		r.keep()
	} else {
		r.out = append(r.out[:0], r.out[n:]...)
	}
	return err
}

func (r *records) keep() {
	r.out = r.out[:0]
	if cap(r.out) > maxKeptOut {
		r.out = nil
	}
}

// flush does the same and blocks, until nothing is left.
func (r *records) flush() error {
	for {
		r.mu.Lock()
		out := r.out
		r.out, r.flushing = nil, len(out) > 0
		r.mu.Unlock()
		if len(out) == 0 {
			return nil
		}
		if _, err := r.Conn.Write(out); err != nil {
			r.mu.Lock()
			r.flushing = false
			r.mu.Unlock()
			return err
		}
	}
}

func (r *records) pending() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.out) > 0 || r.flushing
}

// tlsConn is TLS over a socket, not blocking.
type tlsConn struct {
	*records
	tls   *tls.Conn
	state tls.ConnectionState
}

func newTLS(t *tls.Conn, rec *records) *tlsConn {
	rec.switched.Store(true)
	return &tlsConn{records: rec, tls: t, state: t.ConnectionState()}
}

func (c *tlsConn) Read() (*Buffer, error) {
	for {
		b := GetBuffer()
		n, err := c.tls.Read(b.B)
		// Records are at most 16 KiB: take what else has come, so that one batch of
		// events has one flush.
		for err == nil && n < len(b.B) && len(c.rest) > 0 {
			var m int
			m, err = c.tls.Read(b.B[n:])
			n += m
		}
		if n > 0 {
			b.B = b.B[:n]
			return b, nil // an error that is not errAgain comes again
		}
		b.Free()
		if !errors.Is(err, errAgain) {
			return nil, err
		}
		// Reading may have written; nobody else would flush it.
		if c.pending() {
			if err := c.tryFlush(); err != nil {
				return nil, err
			}
		}
		if err := c.stage(); err != nil {
			return nil, err
		}
	}
}

// TryWrite encrypts p only if the socket has taken all that was encrypted before, so
// at most one flush is ahead.
func (c *tlsConn) TryWrite(p []byte) (int, error) {
	if err := c.tryFlush(); err != nil {
		return 0, err
	}
	if c.pending() {
		return 0, nil
	}
	n, err := c.tls.Write(p)
	if err != nil {
		return n, err
	}
	return n, c.tryFlush()
}

func (c *tlsConn) Write(p []byte) error {
	if err := c.flush(); err != nil {
		return err
	}
	if len(p) > 0 {
		if _, err := c.tls.Write(p); err != nil {
			return err
		}
	}
	return c.flush()
}

func (c *tlsConn) Pending() bool             { return c.pending() }
func (c *tlsConn) TLS() *tls.ConnectionState { return &c.state }

// CloseWrite sends close_notify, and ends the socket's sending half.
func (c *tlsConn) CloseWrite() error {
	_ = c.tls.CloseWrite()
	if err := c.tryFlush(); err != nil || c.pending() {
		return err
	}
	return closeWrite(c.Conn)
}

// Close sends close_notify if the socket takes it at once.
func (c *tlsConn) Close() error {
	_ = c.tls.CloseWrite()
	_ = c.tryFlush()
	return c.Conn.Close()
}
