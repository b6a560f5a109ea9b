package blocking

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// A request over HTTP/1.1 that becomes a WebSocket: the connection is taken from
// net/http, and with it all deadlines that concern requests. It may be silent for as
// long as its protocol lets it. Over HTTP/2 there is nothing to do here: the stream of
// an extended CONNECT is read and written like any other.

// asksForWebSocket says whether a request is an opening handshake of HTTP/1.1. HTTP/1.0
// has no Upgrade (RFC 9110, section 7.8).
func asksForWebSocket(r *http.Request) bool {
	if r.ProtoMajor != 1 || r.ProtoMinor != 1 || len(r.Header["Upgrade"]) == 0 {
		return false // nearly all of them
	}
	h := exchange.RequestHead{Fields: appendHandshake(nil, r)}
	return h.Upgrades()
}

// appendHandshake adds the hop-by-hop fields that a handshake is checked by.
func appendHandshake(fields []exchange.Field, r *http.Request) []exchange.Field {
	for _, v := range r.Header["Connection"] {
		fields = append(fields, exchange.Field{Name: "connection", Value: v})
	}
	for _, v := range r.TransferEncoding {
		fields = append(fields, exchange.Field{Name: "transfer-encoding", Value: v})
	}
	for _, v := range r.Header["Upgrade"] {
		fields = append(fields, exchange.Field{Name: "upgrade", Value: v})
	}
	return fields
}

// hijackable says whether middleware lets us have the connection.
func hijackable(w http.ResponseWriter) bool {
	for {
		if _, ok := w.(http.Hijacker); ok {
			return true
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = u.Unwrap()
	}
}

// accepted says whether the handler has answered with 101.
func (s *served) accepted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.head != nil && s.queue.head.Status == http.StatusSwitchingProtocols
}

// upgrade takes the connection, sends the head that is queued, and says whether there
// is something to read. Nobody else writes yet.
func (s *served) upgrade() (more bool) {
	c, rw, err := s.ctl.Hijack()
	if err != nil {
		return false // the head stays in the queue, where it is an error
	}
	s.mu.Lock()
	head := s.queue.head
	s.queue.head = nil
	s.mu.Unlock()
	s.raw, s.sawEOF, s.wroteHead, s.half = c, false, true, false
	s.in = c
	if n := rw.Reader.Buffered(); n > 0 { // the client did not wait for the answer
		early, _ := rw.Reader.Peek(n)
		s.in = io.MultiReader(bytes.NewReader(bytes.Clone(early)), c)
	}
	_ = c.SetDeadline(time.Time{}) // what hijacking means to middleware is not known
	s.refresh()
	if _, err := c.Write(s.switching(head)); err != nil {
		s.dead = true
		s.resetRequest(exchange.Cancel)
		return false
	}
	return true
}

// idleSize is how much is read at once of a WebSocket that was silent, which may be for
// hours. What comes in larger pieces is read in larger ones, until one is small again.
const idleSize = 256

// readRaw reads the bytes of a WebSocket.
func (s *served) readRaw(more bool) {
	small := make([]byte, idleSize)
	for n := 0; more; {
		if n < idleSize {
			n, more = s.read(small)
			continue
		}
		large := pieces.Get().(*[pieceSize]byte)
		n, more = s.read(large[:])
		pieces.Put(large)
	}
}

// detached is the rest of serve for a WebSocket whose ServeHTTP has returned.
func (s *served) detached(more bool) {
	over := false
	defer func() {
		if over {
			return
		}
		p := recover() // there is no server that would do it
		s.wait(true)
		s.hangUp()
		s.logPanic(p)
	}()
	s.readRaw(more)
	s.wait(false)
	s.req.Done(s.delivered)
	over = true
	switch {
	case s.panicked != nil:
		s.hangUp()
		s.logPanic(s.panicked)
	case s.abort:
		s.cut()
	default:
		s.closeSoftly()
	}
}

func (s *served) logPanic(p any) {
	if s.o.Log != nil {
		s.o.Log.Error("panic in a WebSocket", "panic", fmt.Sprintf("%v\n\n%s", p, debug.Stack()))
	}
}

// switching is the head of the response (RFC 6455, section 4.2.2). It is written here,
// since net/http would change it when its server shuts down.
func (s *served) switching(head *exchange.ResponseHead) []byte {
	header := s.w.Header().Clone() // middleware may have set cookies
	if header == nil {
		header = http.Header{}
	}
	for _, f := range head.Fields {
		if f.Name != "vary" {
			header.Del(f.Name)
		}
	}
	for _, f := range head.Fields {
		header.Add(f.Name, f.Value)
	}
	for name := range header {
		if l := lower(name); hopByHop(l) || l == "content-length" || l == "content-type" {
			delete(header, name) // there is no content (RFC 9110, section 8.6)
		}
	}
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
	_ = header.Write(&b) // it leaves out what would break lines
	b.WriteString("\r\n")
	return b.Bytes()
}

// putRaw writes one batch to the connection.
func (s *served) putRaw(q *queue) error {
	if err := q.writeTo(s.raw); err != nil {
		return err
	}
	if !q.end {
		return nil
	}
	if err := CloseWrite(s.raw); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil // closeSoftly closes
}

// CloseWrite ends our direction of a connection, or of the one below it that can. If none
// can it returns [errors.ErrUnsupported].
func CloseWrite(c net.Conn) error {
	for {
		switch v := c.(type) {
		case interface{ CloseWrite() error }:
			return v.CloseWrite()
		case interface{ NetConn() net.Conn }:
			c = v.NetConn()
		default:
			return errors.ErrUnsupported
		}
	}
}

const (
	// lastRead is how long a client has to close its side, and lastBytes how much it may
	// send until then: to close while something is not read is a reset, which overtakes
	// our last bytes. net/http waits as long.
	lastRead  = 500 * time.Millisecond
	lastBytes = 256 << 10
)

// closeSoftly closes a connection whose last bytes were written.
func (s *served) closeSoftly() {
	defer s.raw.Close()
	s.mu.Lock()
	eof := s.sawEOF
	s.mu.Unlock()
	if eof {
		return
	}
	_ = s.raw.SetReadDeadline(time.Now().Add(lastRead))
	buf := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(buf)
	for n := 0; n < lastBytes; {
		m, err := s.raw.Read(buf[:])
		if err != nil {
			return
		}
		n += m
	}
}

// hangUp cuts a connection that was taken from net/http, which closes only its own.
func (s *served) hangUp() {
	if s.raw != nil {
		rudely(s.raw)
	}
}
