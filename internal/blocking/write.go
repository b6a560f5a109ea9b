package blocking

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// queue holds response events until they are written. The order of their kinds is
// fixed, so one place for each kind is enough. Credit bounds the data.
type queue struct {
	informs []exchange.ResponseHead
	head    *exchange.ResponseHead
	full    [][]byte // data that is before data: buffers that are not to grow
	data    []byte
	end     bool
	trailer []exchange.Field
	broken  bool
	code    exchange.Code
}

func (q *queue) empty() bool {
	return len(q.informs) == 0 && q.head == nil && len(q.data) == 0 && !q.end && !q.broken
}

// maxInforms bounds the informational responses that wait; more are dropped, as they
// may be.
const maxInforms = 8

// datas holds the buffers of queues.
var datas = sync.Pool{New: func() any { return new([]byte) }}

// maxBuffer is how large a buffer of a queue becomes. More than the window of a call is
// an answer that was whole before it could be sent: it is not copied again, as a buffer
// that grows would be.
const maxBuffer = 2 * rpc.WindowDefault

// keep keeps b.
func (q *queue) keep(b []byte) {
	for len(b) > 0 {
		if len(q.data) >= maxBuffer {
			q.full, q.data = append(q.full, q.data), *datas.Get().(*[]byte)
		}
		n := min(len(b), maxBuffer-len(q.data))
		q.data = append(q.data, b[:n]...)
		b = b[n:]
	}
}

// size is how much data there is.
func (q *queue) size() int {
	n := len(q.data)
	for _, b := range q.full {
		n += len(b)
	}
	return n
}

// writeTo writes the data. What is written of much is not kept until all of it is.
func (q *queue) writeTo(w io.Writer) error {
	for i, b := range q.full {
		if _, err := w.Write(b); err != nil {
			return err
		}
		q.full[i] = nil
		giveBack(b)
	}
	if len(q.data) == 0 {
		return nil
	}
	_, err := w.Write(q.data)
	return err
}

// giveBack gives a buffer of a queue back.
func giveBack(b []byte) {
	if cap(b) > 0 && cap(b) <= maxBuffer {
		b = b[:0]
		datas.Put(&b)
	}
}

func copyHead(h *exchange.ResponseHead) exchange.ResponseHead {
	return exchange.ResponseHead{Status: h.Status, Fields: slices.Clone(h.Fields)}
}

// Inform implements [exchange.Response].
func (s *served) Inform(h *exchange.ResponseHead) {
	s.add(func(q *queue) {
		if len(q.informs) < maxInforms {
			q.informs = append(q.informs, copyHead(h))
		}
	}, false)
}

// Head implements [exchange.Response].
func (s *served) Head(h *exchange.ResponseHead, end bool) {
	c := copyHead(h)
	s.add(func(q *queue) { q.head, q.end = &c, end }, end)
}

// Data implements [exchange.Response].
func (s *served) Data(b []byte) {
	s.add(func(q *queue) {
		if q.data == nil {
			q.data = *datas.Get().(*[]byte)
		}
		q.keep(b)
	}, false)
}

// End implements [exchange.Response].
func (s *served) End(trailer []exchange.Field) {
	s.add(func(q *queue) { q.end, q.trailer = true, slices.Clone(trailer) }, true)
}

// Reset implements [exchange.Response].
func (s *served) Reset(code exchange.Code, _ error) {
	s.add(func(q *queue) { q.broken, q.code = true, code }, true)
}

// add puts an event into the queue. Whoever writes is woken at the end of the batch of
// events, so that what belongs together is written together.
func (s *served) add(f func(q *queue), final bool) {
	s.mu.Lock()
	if s.final || s.quit {
		s.mu.Unlock()
		return
	}
	f(&s.queue)
	s.final = final
	tell := !s.listed
	s.listed = true
	s.mu.Unlock()
	switch {
	case !tell:
	case s.o.Work != nil:
		s.o.Work.Add(s)
	default:
		s.Flush()
	}
}

// Flush implements [netio.Flusher]: a batch of events is over.
func (s *served) Flush() {
	s.mu.Lock()
	s.listed = false
	s.beginWriterLocked()
	s.mu.Unlock()
	s.signal()
}

// beginWriterLocked starts the second goroutine, if there is something to write and
// ServeHTTP's is busy with the request.
func (s *served) beginWriterLocked() {
	if s.inBody && !s.half && !s.writing && !s.quit && !s.queue.empty() {
		s.writing = true
		written := make(chan struct{})
		s.written = written
		s.o.Writers.start(func() { s.writer(written) }) // ends with the response, or when a WebSocket is idle; ServeHTTP waits for it
	}
}

func (s *served) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// write writes what is queued until the response is over, or, unless it is to stay,
// until there is nothing: then it says that it was idle, and the next one begins anew.
func (s *served) write(stay bool) (idle bool) {
	gone := s.ctx.Done()
	for {
		s.mu.Lock()
		if !stay && !s.quit && s.queue.empty() {
			data, spare := s.queue.data, s.spare
			s.queue.data, s.spare = nil, nil
			s.writing, s.written = false, nil
			s.mu.Unlock()
			giveBack(data)
			giveBack(spare)
			return true
		}
		q := s.queue
		s.queue = queue{data: s.spare[:0]}
		quit := s.quit
		s.mu.Unlock()
		s.spare = q.data
		switch {
		case quit:
			return false
		case q.empty():
			select {
			case <-s.wake:
			case <-gone:
				gone = nil
				s.resetRequest(exchange.Cancel)
			}
			continue
		}
		s.deliver(&q)
		if q.end || q.broken {
			s.recycle()
			return false
		}
	}
}

// recycle gives the buffers of the queue back.
func (s *served) recycle() {
	s.mu.Lock()
	other := s.queue.data
	s.queue.data = nil
	s.mu.Unlock()
	giveBack(s.spare)
	giveBack(other)
	s.spare = nil
}

// deliver writes one batch.
func (s *served) deliver(q *queue) {
	n := q.size()
	if !s.dead {
		if err := s.put(q); err != nil {
			s.dead = true
			s.resetRequest(exchange.Cancel)
		}
	}
	switch last := q.end || q.broken; {
	case !last:
		if n > 0 {
			s.o.enter()
			s.req.Credit(n)
			s.o.leave()
		}
	case s.dead || q.broken && s.wroteHead:
		s.abort = true
	default:
		s.delivered = !q.broken && !s.misused && s.ctx.Err() == nil
	}
}

// put writes one batch to net/http.
func (s *served) put(q *queue) error {
	s.refresh()
	if s.raw != nil {
		return s.putRaw(q)
	}
	if q.head != nil && (q.head.Status < 200 || q.head.Status > 999) {
		s.misused = true
		s.resetRequest(exchange.InternalError)
	}
	if s.misused {
		if q.end || q.broken {
			return s.apologize(exchange.InternalError)
		}
		return nil
	}
	if q.broken && !s.wroteHead {
		// Nothing was sent, so the client can be told. To close an HTTP/1.1 connection now
		// would make browsers send the request again, even if it is not idempotent.
		return s.apologize(q.code)
	}
	last := q.end || q.broken
	for i := range q.informs {
		s.inform(&q.informs[i])
	}
	if q.head != nil {
		s.head(q)
	}
	if err := q.writeTo(s.w); err != nil && !errors.Is(err, http.ErrBodyNotAllowed) {
		return err
	}
	if last {
		// Without a flush net/http can count the length of a small response.
		s.trailer(q.trailer)
		return nil
	}
	if !s.wroteHead {
		return nil // a flush would write a head
	}
	err := s.ctl.Flush()
	if errors.Is(err, http.ErrNotSupported) {
		err = nil
	}
	if s.o.Stall > 0 && s.r.ProtoMajor != 1 {
		// On HTTP/1.1 a deadline concerns writes; on HTTP/2 it would end a silent stream.
		s.deadline = time.Time{}
		_ = s.ctl.SetWriteDeadline(time.Time{})
	}
	return err
}

// refresh gives a write another while. A quarter of precision is given up for fewer
// timers.
func (s *served) refresh() {
	if s.o.Stall <= 0 {
		return
	}
	if now := time.Now(); now.Sub(s.deadline) > s.o.Stall/4 {
		s.deadline = now
		if s.raw != nil {
			_ = s.raw.SetWriteDeadline(now.Add(s.o.Stall))
		} else {
			_ = s.ctl.SetWriteDeadline(now.Add(s.o.Stall))
		}
	}
}

func (s *served) inform(h *exchange.ResponseHead) {
	// 100 is sent by net/http when the content is read; 101 is for Upgrade; HTTP/1.0
	// knows none (RFC 9110, section 15.2).
	if s.wroteHead || h.Status < 102 || h.Status > 199 || !s.r.ProtoAtLeast(1, 1) {
		return
	}
	header := s.w.Header()
	kept := header.Clone()
	for _, f := range h.Fields {
		if !hopByHop(f.Name) {
			header.Add(f.Name, f.Value)
		}
	}
	s.w.WriteHeader(h.Status)
	clear(header)
	for k, v := range kept {
		header[k] = v
	}
}

// head writes the head, without sending it yet.
func (s *served) head(q *queue) {
	s.wroteHead = true
	header := s.w.Header()
	if len(header) > 0 {
		// Middleware was here. What the response says counts, but Vary is a list.
		for _, f := range q.head.Fields {
			if f.Name != "vary" {
				header.Del(f.Name)
			}
		}
	}
	for _, f := range q.head.Fields {
		if !hopByHop(f.Name) {
			key := http.CanonicalHeaderKey(f.Name)
			header[key] = append(header[key], f.Value)
		}
	}
	if _, ok := header["Content-Type"]; !ok {
		header["Content-Type"] = nil // no guessing
	}
	if v := exchange.Get(q.head.Fields, "upgrade"); q.head.Status == http.StatusUpgradeRequired && s.r.ProtoMajor == 1 && v != "" {
		header["Upgrade"], header["Connection"] = []string{v}, []string{"Upgrade"} // RFC 9110, section 15.5.22
	}
	if q.end {
		s.trailer(q.trailer) // known before the head: so net/http chooses a framing that has trailers
	}
	s.refuseRestBeforeHead()
	s.w.WriteHeader(q.head.Status)
}

// refuseRestBeforeHead puts "Connection: close" into the head of a response that
// begins before the request has ended: whether its rest will be read is not known yet,
// and a client that had sent it would find the connection closed under its next
// request.
func (s *served) refuseRestBeforeHead() {
	s.mu.Lock()
	eof := s.sawEOF
	s.mu.Unlock()
	if !eof && s.r.ProtoMajor == 1 {
		closeAfterReply(s.w)
	}
}

func (s *served) trailer(fields []exchange.Field) {
	if len(fields) == 0 {
		return
	}
	header := s.w.Header()
	for _, f := range fields {
		if !hopByHop(f.Name) && f.Name != "content-length" {
			delete(header, http.TrailerPrefix+http.CanonicalHeaderKey(f.Name))
		}
	}
	for _, f := range fields {
		if !hopByHop(f.Name) && f.Name != "content-length" {
			key := http.TrailerPrefix + http.CanonicalHeaderKey(f.Name)
			header[key] = append(header[key], f.Value)
		}
	}
}

const brokenRequest = "the content of the request did not come whole"

// apologize answers for an exchange that was reset before its head.
func (s *served) apologize(code exchange.Code) error {
	// Also if the request's context has ended: that may be a client that is gone, which
	// will not mind, but also one that has only half-closed, or the timeout of middleware.
	s.refuseRestBeforeHead()
	if s.readErr != nil {
		http.Error(s.w, brokenRequest, http.StatusBadRequest)
	} else {
		http.Error(s.w, "the server gave up before it answered: "+code.String(), http.StatusBadGateway)
	}
	return nil
}
