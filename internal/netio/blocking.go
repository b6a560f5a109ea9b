package netio

import (
	"crypto/tls"
	"net"
)

// blocking is a connection of which only net.Conn is known: every write is left to a
// goroutine that may block.
type blocking struct{ net.Conn }

func newBlocking(c net.Conn) *blocking { return &blocking{Conn: c} }

func (b *blocking) Read() (*Buffer, error) {
	buf := GetBuffer()
	n, err := b.Conn.Read(buf.B)
	if n > 0 {
		buf.B = buf.B[:n]
		return buf, nil // an error comes again
	}
	buf.Free()
	return nil, err
}

func (b *blocking) TryWrite([]byte) (int, error) { return 0, nil }
func (b *blocking) Pending() bool                { return false }
func (b *blocking) CloseWrite() error            { return closeWrite(b.Conn) }

func (b *blocking) Write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_, err := b.Conn.Write(p)
	return err
}

func (b *blocking) TLS() *tls.ConnectionState {
	if t, ok := b.Conn.(*tls.Conn); ok {
		s := t.ConnectionState()
		return &s
	}
	return nil
}
