package blocking

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// pieceSize is how much of a request is read at once. A client that streams keeps such
// a buffer while it is silent, so it is small.
const pieceSize = 16 << 10

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// ServeHTTP gives a request to h and writes its response. It returns when the exchange
// is over and nothing of it runs any more, unless [Options.Detach] says otherwise; like
// every http.Handler it may panic with http.ErrAbortHandler.
//
// It reads the request and writes the response at the same time, also on HTTP/1.1.
func ServeHTTP(h exchange.Handler, w http.ResponseWriter, r *http.Request, o Options) {
	if r.Method == http.MethodConnect && protocol(r) == "" {
		http.Error(w, "CONNECT: this is not a forward proxy", http.StatusNotImplemented)
		return
	}
	s := &served{
		w: w, r: r, ctx: r.Context(), in: r.Body, ctl: http.NewResponseController(w), o: &o, window: rpc.WindowDefault, wake: make(chan struct{}, 1),
	}
	if r.ProtoMajor == 1 && s.ctl.EnableFullDuplex() != nil {
		s.half = true
	}
	s.serve(h)
}

// served is an exchange that net/http serves. The goroutine of ServeHTTP reads the
// request first and then writes the response. Only if response events come while it
// still reads, a second goroutine writes them.
type served struct {
	w   http.ResponseWriter
	r   *http.Request
	ctx context.Context // of the request
	in  io.Reader       // where the request's content comes from
	ctl *http.ResponseController
	o   *Options
	req exchange.Request
	// raw is the connection itself, once the request has become a WebSocket; see upgrade.go.
	raw net.Conn
	// half: middleware hides that HTTP/1.1 can do both at once. To write while the request
	// is read would then make net/http eat from it, so the response waits for its end.
	half bool

	mu sync.Mutex

	// The request.
	window   int           // content that may be pushed now
	starved  bool          // the reader waits for window
	credited chan struct{} // wakes it
	inBody   bool          // ServeHTTP's goroutine is busy with reading
	reading  bool          // it is inside of Body.Read
	sawEOF   bool
	readErr  error // the client's request is broken
	reset    bool  // Request.Reset was called
	stop     bool  // the response is over; read no more

	// The response.
	queue   queue
	final   bool          // its last event has come
	listed  bool          // on the list of Work
	writing bool          // somebody writes, or has written
	written chan struct{} // closed when the second goroutine has ended
	quit    bool          // a handler panicked: drop everything
	wake    chan struct{}

	// The writer's, and after it ServeHTTP's.
	spare     []byte // the other buffer of queue.data
	wroteHead bool
	dead      bool // a write has failed
	misused   bool // the handler's status is none that can be sent
	abort     bool // the response can't end well: cut it off
	delivered bool
	panicked  error
	deadline  time.Time // when the write deadline was set last
}

// serve carries out the exchange.
func (s *served) serve(h exchange.Handler) {
	over := false
	buf := pieces.Get().(*[pieceSize]byte)
	defer func() {
		if buf != nil {
			pieces.Put(buf)
		}
		if !over {
			s.wait(true) // a handler panicked
			s.hangUp()
		}
	}()
	n, eof, err := s.first(buf[:])
	if err != nil {
		over = true
		s.refuseRest()
		http.Error(s.w, brokenRequest, http.StatusBadRequest)
		return
	}
	more, switches := s.start(h, buf[:n], eof)
	if switches {
		more = s.upgrade()
		pieces.Put(buf)
		buf = nil
		if s.o.Detach && s.raw != nil {
			s.w, s.r, s.ctl, s.ctx = nil, nil, nil, context.Background()
			go s.detached(more) // ends with the connection, which it closes
			over = true
			return
		}
		s.readRaw(more)
	} else {
		for more {
			_, more = s.read(buf[:])
		}
	}
	s.wait(false)
	over = true
	s.refuseRest()
	s.req.Done(s.delivered)
	switch {
	case s.panicked != nil:
		s.hangUp()
		panic(s.panicked)
	case s.abort:
		s.cut()
	case s.raw != nil:
		s.closeSoftly()
	}
}

// first reads the beginning of a request whose length is known to be small, so that
// its head and content go on in one batch. Nothing is lost by waiting for it, as its
// client sends it anyway; one that asks first (Expect) is not made to wait.
func (s *served) first(buf []byte) (n int, eof bool, err error) {
	if s.r.Body == nil || s.r.Body == http.NoBody || s.r.ContentLength == 0 {
		s.sawEOF = true
		return 0, true, nil
	}
	if s.r.ContentLength < 0 || s.r.ContentLength > rpc.WindowDefault || s.r.Header.Get("Expect") != "" {
		return 0, false, nil
	}
	for n == 0 && err == nil {
		n, err = s.r.Body.Read(buf)
	}
	if errors.Is(err, io.EOF) {
		s.sawEOF = true
		return n, true, nil
	}
	return n, false, err
}

// start begins the exchange with what is known of it, and says whether there is more
// to read, and whether that will be the bytes of a WebSocket.
func (s *served) start(h exchange.Handler, b []byte, eof bool) (more, switches bool) {
	s.o.enter()
	defer s.o.leave()
	s.window -= len(b)
	head := RequestHead(s.r)
	upgrades := asksForWebSocket(s.r) && hijackable(s.w)
	if upgrades {
		head.Fields = appendHandshake(head.Fields, s.r)
	}
	s.req = h.Start(head, s)
	s.req.Begin()
	if upgrades && eof && len(b) == 0 && s.accepted() {
		return true, true // what ends with the head is the handshake, not the exchange
	}
	if len(b) > 0 && !s.isFinal() {
		s.req.Data(b)
	}
	if eof && !s.isFinal() {
		s.req.End(requestTrailer(s.r))
	}
	return !eof, false
}

func (s *served) isFinal() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.final || s.reset
}

// read reads and pushes one piece of the request. It returns its length, and says
// whether to go on.
func (s *served) read(buf []byte) (n int, more bool) {
	if n = s.waitCredit(len(buf)); n == 0 {
		return 0, false
	}
	n, err := s.in.Read(buf[:n])
	eof := errors.Is(err, io.EOF)

	s.mu.Lock()
	s.reading = false
	s.sawEOF = eof
	s.window -= n
	over := s.final || s.reset || s.stop
	if err != nil || over {
		s.inBody = false // from here on this goroutine comes to the response by itself
	}
	if err != nil && !eof && !over {
		s.readErr = err
	}
	s.mu.Unlock()

	switch {
	case over:
		return n, false
	case err != nil && !eof:
		// Half a request is not a request: it is taken back, and never ended.
		s.resetRequest(exchange.Cancel)
		return n, false
	}
	s.push(buf[:n], eof)
	return n, !eof
}

func (s *served) push(b []byte, eof bool) {
	s.o.enter()
	defer s.o.leave()
	if len(b) > 0 {
		s.req.Data(b)
	}
	if eof {
		var trailer []exchange.Field
		if s.raw == nil { // that of a WebSocket has none
			trailer = requestTrailer(s.r)
		}
		s.req.End(trailer)
	}
}

// waitCredit waits until something may be read, and returns how much; 0 is never.
func (s *served) waitCredit(most int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.final || s.reset || s.stop {
			s.inBody = false
			return 0
		}
		if !s.inBody {
			s.inBody = true
			s.beginWriterLocked()
		}
		if s.window > 0 {
			s.reading = true
			return min(most, s.window)
		}
		s.starved = true
		if s.credited == nil {
			s.credited = make(chan struct{}, 1)
		}
		s.mu.Unlock()
		gone := false
		select {
		case <-s.credited:
		case <-s.ctx.Done():
			gone = true
		}
		if gone {
			s.resetRequest(exchange.Cancel)
		}
		s.mu.Lock()
	}
}

// resetRequest takes the request back, unless the response is over.
func (s *served) resetRequest(code exchange.Code) {
	s.mu.Lock()
	if s.final || s.reset {
		s.mu.Unlock()
		return
	}
	s.reset = true
	s.feedLocked()
	s.mu.Unlock()
	s.o.enter()
	defer s.o.leave()
	s.req.Reset(code)
}

// feedLocked wakes the reader, if it waits for credit.
func (s *served) feedLocked() {
	if s.starved {
		s.starved = false
		select {
		case s.credited <- struct{}{}:
		default:
		}
	}
}

// Credit implements [exchange.Response].
func (s *served) Credit(n int) {
	s.mu.Lock()
	s.window += n
	if s.window > 0 {
		s.feedLocked()
	}
	s.mu.Unlock()
}

// wait writes the response, or waits for the goroutine that does.
func (s *served) wait(quit bool) {
	s.mu.Lock()
	s.inBody = false // so no goroutine begins to write any more
	s.quit = s.quit || quit
	second, written := s.writing, s.written
	s.writing = true
	s.mu.Unlock()
	if second && written != nil {
		s.signal()
		<-written
		s.mu.Lock()
		idle := !s.writing
		s.writing = true
		s.mu.Unlock()
		if !idle {
			return
		}
	}
	if !quit {
		s.write(true)
	}
}

// refuseRest makes net/http close a connection of HTTP/1.1 after the reply if the
// request has not come whole. It must not be left to net/http: with both directions
// open it would take the rest of the content for the next request once reading has
// timed out.
func (s *served) refuseRest() {
	s.mu.Lock()
	eof := s.sawEOF
	s.mu.Unlock()
	if eof || s.r.ProtoMajor != 1 || s.raw != nil {
		return
	}
	closeAfterReply(s.w)
	// Nothing more is waited for; net/http would like to read a little of the rest.
	_ = s.ctl.SetReadDeadline(time.Unix(1, 0))
}

// closeAfterReply tells net/http to send the reply, to close its side, and to give the
// client a moment to read. The documented way to that is a reader of more bytes than
// are allowed.
func closeAfterReply(w http.ResponseWriter) {
	for {
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = u.Unwrap()
	}
	_, _ = http.MaxBytesReader(w, io.NopCloser(strings.NewReader("too much")), 1).Read(make([]byte, 2))
}

// cut ends a connection or stream in a way that can't be taken for the end of the
// response.
func (s *served) cut() {
	if s.raw != nil {
		rudely(s.raw)
		return
	}
	if !s.r.ProtoAtLeast(1, 1) {
		// HTTP/1.0 ends content by closing, so it has to be closed rudely.
		if c, _, err := s.ctl.Hijack(); err == nil {
			rudely(c)
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// rudely closes a connection so that its peer sees an error: without TLS by a reset,
// with TLS without a close_notify.
func rudely(c net.Conn) {
	defer c.Close() // for who waits for that; nothing can be sent any more
	for {
		n, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = n.NetConn()
	}
	if l, ok := c.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0)
	}
	_ = c.Close()
}

// writer is the second goroutine. It ends when the response is over, for which
// ServeHTTP waits; that of a WebSocket also when there is nothing to write.
func (s *served) writer(written chan struct{}) {
	defer close(written)
	idle := false
	defer func() {
		if p := recover(); p != nil {
			s.panicked = fmt.Errorf("%v\n\n%s", p, debug.Stack())
		}
		if !idle {
			s.interrupt()
		}
	}()
	idle = s.write(s.raw == nil)
}

// interrupt makes the reader stop.
func (s *served) interrupt() {
	s.mu.Lock()
	s.stop = true
	reading := s.reading
	s.feedLocked()
	s.mu.Unlock()
	switch {
	case !reading:
	case s.raw != nil:
		_ = s.raw.SetReadDeadline(time.Unix(1, 0))
	case s.ctl.SetReadDeadline(time.Unix(1, 0)) != nil:
		_ = s.r.Body.Close()
	}
}
