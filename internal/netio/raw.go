package netio

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"syscall"
)

// raw is a socket that is read and written by system calls of ours, and waited for by
// Go's poller.
type raw struct {
	net.Conn
	rc syscall.RawConn

	// For the closures below, which exist once so that a call allocates nothing. The
	// read group belongs to the reader, the write group to the writer.
	readFn func(fd uintptr) bool
	rbuf   *Buffer
	rn     int
	rerr   error

	writeFn func(fd uintptr) bool
	wp      []byte
	wn      int
	werr    error
}

func newRaw(c net.Conn) (*raw, bool) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil, false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil, false
	}
	r := &raw{Conn: c, rc: rc}
	r.readFn, r.writeFn = r.read, r.write
	return r, true
}

// read tries once; false makes the poller wait. The attempt must come after the
// poller's reset, for its edges are not levels.
func (r *raw) read(fd uintptr) bool {
	b := GetBuffer()
	for {
		n, err := syscall.Read(int(fd), b.B)
		if err == syscall.EINTR {
			continue
		}
		if err == syscall.EAGAIN {
			b.Free()
			return false
		}
		if n <= 0 {
			b.Free()
			r.rn, r.rerr = 0, err
			return true
		}
		r.rbuf, r.rn, r.rerr = b, n, nil
		return true
	}
}

func (r *raw) Read() (*Buffer, error) {
	if err := r.rc.Read(r.readFn); err != nil {
		return nil, err
	}
	if r.rerr != nil {
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", r.rerr)}
	}
	if r.rn == 0 {
		return nil, io.EOF
	}
	b := r.rbuf
	b.B = b.B[:r.rn]
	r.rbuf = nil
	return b, nil
}

// write tries once and never waits.
func (r *raw) write(fd uintptr) bool {
	for r.wn < len(r.wp) {
		n, err := syscall.Write(int(fd), r.wp[r.wn:])
		if err == syscall.EINTR {
			continue
		}
		if err == syscall.EAGAIN {
			return true
		}
		if err != nil {
			r.werr = os.NewSyscallError("write", err)
			return true
		}
		r.wn += n
	}
	return true
}

func (r *raw) TryWrite(p []byte) (int, error) {
	r.wp, r.wn, r.werr = p, 0, nil
	err := r.rc.Write(r.writeFn)
	r.wp = nil
	if err == nil {
		err = r.werr
	}
	return r.wn, err
}

func (r *raw) Write(p []byte) error {
	_, err := r.Conn.Write(p)
	return err
}

func (r *raw) Pending() bool             { return false }
func (r *raw) TLS() *tls.ConnectionState { return nil }

func (r *raw) CloseWrite() error { return closeWrite(r.Conn) }
