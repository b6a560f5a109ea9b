package exchangetest

import (
	"slices"
	"sync/atomic"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// A Seen is what a server has got of a request so far.
type Seen struct {
	Head      exchange.RequestHead
	Begun     bool
	Body      []byte
	Ended     bool
	Trailer   []exchange.Field
	Reset     bool
	Code      exchange.Code
	Credit    int // response bytes that were taken
	Done      bool
	Delivered bool
}

// A Script says what a [Server] does at an event; each part may be nil. It runs on the
// goroutine of the event, outside of locks.
type Script struct {
	Begin func(q *Request)
	Data  func(q *Request, b []byte)
	End   func(q *Request)
	// Reset, if nil, answers with a reset of the same code unless the script has ended
	// the response through q.
	Reset func(q *Request, code exchange.Code)
	Done  func(q *Request)
	// NoCredit keeps the server from crediting content as it comes.
	NoCredit bool
}

// A Server is a handler that records each request, plays a script, and hands the
// request out.
type Server struct {
	Script   Script
	Requests chan *Request // each one that was started; 1024 fit
}

// NewServer returns a Server with a script.
func NewServer(script Script) *Server {
	return &Server{Script: script, Requests: make(chan *Request, 1024)}
}

// Next waits for the next request that was started.
func (s *Server) Next(t testing.TB) *Request {
	t.Helper()
	select {
	case q := <-s.Requests:
		return q
	case <-t.Context().Done():
		t.Fatal("no request came")
		return nil
	}
}

// Start implements [exchange.Handler].
func (s *Server) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	q := &Request{server: s, response: response}
	q.seen.Head = *head
	q.seen.Head.Fields = slices.Clone(head.Fields)
	s.Requests <- q
	return q
}

// A Request is one exchange at a [Server]. Its answering methods may be called from a
// script or a test, by one goroutine at a time.
type Request struct {
	log
	server   *Server
	response exchange.Response
	seen     Seen
	final    atomic.Bool
}

// Seen returns a copy of what has come so far.
func (q *Request) Seen() Seen {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.seen
	s.Body = slices.Clone(s.Body)
	return s
}

// Until waits until ok says so.
func (q *Request) Until(t testing.TB, what string, ok func(*Seen) bool) Seen {
	t.Helper()
	q.wait(t, what, func() bool { return ok(&q.seen) })
	return q.Seen()
}

// WaitDone waits for Done.
func (q *Request) WaitDone(t testing.TB) Seen {
	t.Helper()
	return q.Until(t, "Done", func(s *Seen) bool { return s.Done })
}

// Inform answers with an informational head.
func (q *Request) Inform(status int, fields ...exchange.Field) {
	q.response.Inform(&exchange.ResponseHead{Status: status, Fields: fields})
}

// Answer sends the head.
func (q *Request) Answer(status int, fields ...exchange.Field) {
	q.response.Head(&exchange.ResponseHead{Status: status, Fields: fields}, false)
}

// AnswerEnd sends a head that is the whole response.
func (q *Request) AnswerEnd(status int, fields ...exchange.Field) {
	if !q.final.Swap(true) {
		q.response.Head(&exchange.ResponseHead{Status: status, Fields: fields}, true)
	}
}

// Send sends content.
func (q *Request) Send(b []byte) {
	if !q.final.Load() {
		q.response.Data(b)
	}
}

// Finish ends the response, whole.
func (q *Request) Finish(trailer ...exchange.Field) {
	if !q.final.Swap(true) {
		q.response.End(trailer)
	}
}

// Break resets the response.
func (q *Request) Break(code exchange.Code, cause error) {
	if !q.final.Swap(true) {
		q.response.Reset(code, cause)
	}
}

// Take credits n request bytes.
func (q *Request) Take(n int) { q.response.Credit(n) }

// Begin implements [exchange.Request].
func (q *Request) Begin() {
	q.note(func() {
		q.rule(!q.seen.Begun, "Begin twice")
		q.seen.Begun = true
	})
	if f := q.server.Script.Begin; f != nil {
		f(q)
	}
}

// Data implements [exchange.Request].
func (q *Request) Data(b []byte) {
	q.note(func() {
		q.rule(q.seen.Begun && !q.seen.Ended && !q.seen.Done, "Data before Begin, after End or after Done")
		q.rule(len(b) > 0, "Data of no bytes")
		q.seen.Body = append(q.seen.Body, b...)
	})
	if !q.server.Script.NoCredit {
		q.response.Credit(len(b))
	}
	if f := q.server.Script.Data; f != nil {
		f(q, b)
	}
}

// End implements [exchange.Request].
func (q *Request) End(trailer []exchange.Field) {
	q.note(func() {
		q.rule(q.seen.Begun && !q.seen.Ended && !q.seen.Reset && !q.seen.Done, "End before Begin, twice, after Reset or after Done")
		q.seen.Ended, q.seen.Trailer = true, slices.Clone(trailer)
	})
	if f := q.server.Script.End; f != nil {
		f(q)
	}
}

// Reset implements [exchange.Request].
func (q *Request) Reset(code exchange.Code) {
	q.note(func() {
		q.rule(q.seen.Begun && !q.seen.Done, "Reset before Begin or after Done")
		q.seen.Reset, q.seen.Code = true, code
	})
	if f := q.server.Script.Reset; f != nil {
		f(q, code)
		return
	}
	q.Break(code, nil)
}

// Credit implements [exchange.Request].
func (q *Request) Credit(n int) {
	q.note(func() {
		q.rule(n > 0 && !q.seen.Done, "Credit(%d), or after Done", n)
		q.seen.Credit += n
	})
}

// Done implements [exchange.Request].
func (q *Request) Done(delivered bool) {
	q.note(func() {
		q.rule(q.seen.Begun && !q.seen.Done, "Done before Begin or twice")
		q.rule(q.final.Load(), "Done before the response's end")
		q.seen.Done, q.seen.Delivered = true, delivered
	})
	if f := q.server.Script.Done; f != nil {
		f(q)
	}
}

// Echo returns a handler that answers 200, or 101 to who asks for a WebSocket, with the content of the request as it comes,
// and with the request's trailers. A byte is credited to the client when the client
// has taken it back, so the windows of both directions are one.
func Echo() exchange.Handler { return echo{} }

type echo struct{}

func (echo) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	e := &echoed{response: response, status: 200}
	if head.Upgrades() {
		e.status = 101
	}
	return e
}

type echoed struct {
	response exchange.Response
	status   int
	final    atomic.Bool
}

func (e *echoed) Begin()        { e.response.Head(&exchange.ResponseHead{Status: e.status}, false) }
func (e *echoed) Data(b []byte) { e.response.Data(b) }
func (e *echoed) Credit(n int)  { e.response.Credit(n) }
func (e *echoed) Done(bool)     {}
func (e *echoed) End(trailer []exchange.Field) {
	if !e.final.Swap(true) {
		e.response.End(trailer)
	}
}
func (e *echoed) Reset(code exchange.Code) {
	if !e.final.Swap(true) {
		e.response.Reset(code, nil)
	}
}
