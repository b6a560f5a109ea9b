package blocking

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// ServeHTTP serves a request of net/http as an exchange, on the caller's goroutine and,
// unless the request body is small, one more that reads it.
//
// What is weaker than on a carrier of our own: reset codes become a broken connection,
// and the order of fields with different names is lost.
func ServeHTTP(h exchange.Handler, w http.ResponseWriter, r *http.Request, o Options) {
	s := &serving{w: w, r: r, o: o, rc: http.NewResponseController(w), notify: make(chan struct{}, 1), credit: window}
	s.cond.L = &s.mu
	_ = s.rc.EnableFullDuplex() // HTTP/1.1; elsewhere it is so anyway

	carrier := "h1"
	if r.ProtoMajor == 2 {
		carrier = "h2"
	} else if r.ProtoMajor == 3 {
		carrier = "h3"
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	head := exchange.RequestHead{
		Method: r.Method, Scheme: scheme, Authority: r.Host, Path: r.URL.RequestURI(), Fields: fields(r.Header),
		Length: r.ContentLength, TLS: r.TLS, Carrier: carrier, Addr: addr(r.RemoteAddr),
	}
	s.o.Work.Enter()
	s.req = h.Start(&head, s)
	s.req.Begin()
	s.o.Work.Leave()

	if r.ContentLength >= 0 && r.ContentLength <= piece {
		s.readBody()
	} else {
		s.reader.Go(s.readBody) // ends with the body, or below
	}
	delivered := s.write()
	s.stopReading()
	s.req.Done(delivered)
	if s.abort {
		panic(http.ErrAbortHandler) // nothing else breaks the connection
	}
}

// addr is a peer's address as text.
type addr string

func (a addr) Network() string { return "tcp" }
func (a addr) String() string  { return string(a) }

var _ net.Addr = addr("")

// serving is one exchange. As an exchange.Response it queues what is to be written.
type serving struct {
	w   http.ResponseWriter
	r   *http.Request
	rc  *http.ResponseController
	o   Options
	req exchange.Request

	notify chan struct{} // the writer has something to look at
	reader sync.WaitGroup

	mu      sync.Mutex
	cond    sync.Cond // credit, or over
	credit  int       // request bytes that may be delivered
	over    bool      // the reader is to stop
	read    bool      // the reader has reached the end of the body
	informs []exchange.ResponseHead
	head    *exchange.ResponseHead
	data    []byte
	spare   []byte
	trailer []exchange.Field
	ended   bool
	reset   bool
	code    exchange.Code

	wrote bool // the head
	abort bool
}

func (s *serving) wake() {
	select {
	case s.notify <- struct{}{}:
	default:
	}
}

func (s *serving) Inform(h *exchange.ResponseHead) {
	s.mu.Lock()
	s.informs = append(s.informs, exchange.ResponseHead{Status: h.Status, Fields: own(h.Fields)})
	s.mu.Unlock()
	s.wake()
}

func (s *serving) Head(h *exchange.ResponseHead, end bool) {
	s.mu.Lock()
	s.head = &exchange.ResponseHead{Status: h.Status, Fields: own(h.Fields)}
	s.ended = s.ended || end
	s.mu.Unlock()
	s.wake()
}

func (s *serving) Data(b []byte) {
	s.mu.Lock()
	s.data = append(s.data, b...)
	s.mu.Unlock()
	s.wake()
}

func (s *serving) End(trailer []exchange.Field) {
	s.mu.Lock()
	s.trailer, s.ended = own(trailer), true
	s.mu.Unlock()
	s.wake()
}

func (s *serving) Reset(code exchange.Code, _ error) {
	s.mu.Lock()
	s.reset, s.code = true, code
	s.mu.Unlock()
	s.wake()
}

func (s *serving) Credit(n int) {
	s.mu.Lock()
	s.credit += n
	s.mu.Unlock()
	s.cond.Signal()
}

// readBody delivers the request body, as far as there is credit.
func (s *serving) readBody() {
	buf := make([]byte, min(piece, max(s.r.ContentLength, 512)))
	if s.r.ContentLength < 0 {
		buf = make([]byte, piece)
	}
	for {
		s.mu.Lock()
		for s.credit <= 0 && !s.over {
			s.cond.Wait()
		}
		n, over := min(s.credit, len(buf)), s.over
		s.mu.Unlock()
		if over {
			return
		}
		n, err := s.r.Body.Read(buf[:n])
		s.mu.Lock()
		s.credit -= n
		over = s.over
		s.read = err == io.EOF
		s.mu.Unlock()
		if over {
			return
		}
		s.o.Work.Enter()
		if n > 0 {
			s.req.Data(buf[:n])
		}
		switch {
		case err == io.EOF:
			var trailer []exchange.Field
			if len(s.r.Trailer) > 0 {
				trailer = fields(s.r.Trailer)
			}
			s.req.End(trailer)
		case err != nil:
			s.req.Reset(exchange.Disconnected)
		}
		s.o.Work.Leave()
		if err != nil {
			return
		}
	}
}

// stopReading ends the reader and waits for it. A request that has not ended costs the
// connection, unless the server can read it away.
func (s *serving) stopReading() {
	s.mu.Lock()
	s.over = true
	read := s.read
	s.mu.Unlock()
	s.cond.Broadcast()
	if !read {
		_ = s.rc.SetReadDeadline(time.Unix(1, 0)) // wakes a Read that waits
	}
	s.reader.Wait()
}

// write writes the response until its end, and says whether the client got it.
func (s *serving) write() (delivered bool) {
	gone := s.r.Context().Done()
	var failed error
	for {
		select {
		case <-s.notify:
		case <-gone:
			gone = nil
			if failed == nil {
				failed = s.r.Context().Err()
				s.lose(failed)
			}
			continue
		}
		s.mu.Lock()
		informs, head, data := s.informs, s.head, s.data
		s.informs, s.head, s.data = nil, nil, s.spare[:0]
		s.spare = nil
		ended, reset, trailer := s.ended, s.reset, s.trailer
		s.mu.Unlock()

		if s.o.Stall > 0 && failed == nil && len(data) > 0 {
			_ = s.rc.SetWriteDeadline(time.Now().Add(s.o.Stall))
		}
		for i := range informs {
			if informs[i].Status != http.StatusContinue { // net/http sends its own
				s.writeHead(&informs[i])
				clear(s.w.Header())
			}
		}
		if head != nil && !reset {
			s.writeHead(head)
			s.wrote = true
		}
		if len(data) > 0 {
			if failed == nil {
				if _, failed = s.w.Write(data); failed != nil {
					s.lose(failed)
				}
			}
			s.o.Work.Enter()
			s.req.Credit(len(data))
			s.o.Work.Leave()
		}
		s.mu.Lock()
		s.spare = data[:0]
		if cap(s.spare) > window {
			s.spare = nil
		}
		s.mu.Unlock()
		switch {
		case reset:
			return s.broken(failed)
		case ended:
			addFields(s.w.Header(), trailer, http.TrailerPrefix)
			return failed == nil
		case failed == nil && s.wrote:
			if failed = s.rc.Flush(); failed != nil && !errors.Is(failed, http.ErrNotSupported) {
				s.lose(failed)
			} else {
				failed = nil
			}
		}
	}
}

// lose tells the handler that the client is gone.
func (s *serving) lose(err error) {
	code := exchange.Disconnected
	if errors.Is(err, context.Canceled) {
		code = exchange.Cancel
	}
	s.o.Work.Enter()
	s.req.Reset(code)
	s.o.Work.Leave()
}

func (s *serving) writeHead(h *exchange.ResponseHead) {
	addFields(s.w.Header(), h.Fields, "")
	s.w.WriteHeader(h.Status)
}

// broken ends a response that was reset. Before the first byte there has to be an
// answer all the same: a browser whose HTTP/1.1 connection breaks without one sends its
// POST again, up to five times.
func (s *serving) broken(failed error) bool {
	if failed != nil || s.wrote {
		s.abort = true
		return false
	}
	status := http.StatusBadGateway
	if s.code == exchange.EnhanceYourCalm {
		status = http.StatusServiceUnavailable
	}
	http.Error(s.w, "the exchange was reset: "+s.code.String(), status)
	return true
}
