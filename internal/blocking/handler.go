package blocking

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// Handler makes an http.Handler serve exchanges, each on a goroutine of its own. It is
// told that it speaks HTTP/2: requests and responses run side by side, and trailers
// are allowed.
func Handler(h http.Handler, o Options) exchange.Handler { return &handler{h, o} }

type handler struct {
	h http.Handler
	o Options
}

func (h *handler) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	ctx, cancel := context.WithCancel(context.Background())
	c := &handling{h: h, response: response, cancel: cancel, credit: window, header: http.Header{}}
	c.cond.L = &c.mu
	u, err := url.ParseRequestURI(head.Path)
	if err != nil {
		u = &url.URL{Path: head.Path}
	}
	header := make(http.Header, len(head.Fields))
	addFields(header, head.Fields, "")
	c.request = (&http.Request{
		Method: head.Method, URL: u, Proto: "HTTP/2.0", ProtoMajor: 2, Header: header, Body: (*body)(c),
		ContentLength: head.Length, Host: head.Authority, TLS: head.TLS, RequestURI: head.Path, Trailer: http.Header{},
	}).WithContext(ctx)
	if head.Addr != nil {
		c.request.RemoteAddr = head.Addr.String()
	}
	return c
}

// handling is one exchange that a handler serves. It is the handler's ResponseWriter.
type handling struct {
	h        *handler
	request  *http.Request
	response exchange.Response
	cancel   context.CancelFunc

	// The handler's goroutine's.
	header  http.Header
	out     []byte // written, not yet delivered
	heading bool   // the head was delivered
	status  int
	head    []exchange.Field // as it was at WriteHeader

	mu      sync.Mutex
	cond    sync.Cond
	in      []byte // request bytes that the handler has not read
	inEnd   bool
	credit  int  // response bytes that may be delivered
	busy    bool // a response event is being delivered
	ended   bool // the response has had its end
	reset   bool
	code    exchange.Code
	trailer []exchange.Field // of the request
}

func (c *handling) Begin() { go c.serve() } // ends with the handler, which a reset's context tells to

func (c *handling) Data(b []byte) {
	c.mu.Lock()
	if !c.reset {
		c.in = append(c.in, b...)
	}
	c.mu.Unlock()
	c.cond.Broadcast()
}

func (c *handling) End(trailer []exchange.Field) {
	c.mu.Lock()
	c.inEnd, c.trailer = true, own(trailer)
	c.mu.Unlock()
	c.cond.Broadcast()
}

func (c *handling) Credit(n int) {
	c.mu.Lock()
	c.credit += n
	c.mu.Unlock()
	c.cond.Broadcast()
}

func (c *handling) Done(bool) { c.cancel() }

// Reset ends the response, whatever the handler does about it.
func (c *handling) Reset(code exchange.Code) { c.end(code, nil) }

func (c *handling) end(code exchange.Code, cause error) {
	c.mu.Lock()
	if c.ended || c.reset {
		c.mu.Unlock()
		return
	}
	c.reset, c.code = true, code
	c.in = nil
	tell := !c.busy
	c.ended = tell
	c.mu.Unlock()
	c.cancel()
	c.cond.Broadcast()
	if tell {
		c.response.Reset(code, cause)
	}
}

// deliver brackets a response event. It says false if the response has ended.
func (c *handling) deliver(last bool, event func()) bool {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return false
	}
	c.busy, c.ended = true, last
	c.mu.Unlock()
	c.h.o.Work.Enter()
	event()
	c.mu.Lock()
	c.busy = false
	tell := c.reset && !c.ended
	c.ended = c.ended || tell
	code := c.code
	c.mu.Unlock()
	if tell {
		c.response.Reset(code, nil)
	}
	c.h.o.Work.Leave()
	return !tell
}

// serve runs the handler.
func (c *handling) serve() {
	defer c.cancel()
	defer func() {
		if p := recover(); p != nil {
			c.end(exchange.InternalError, fmt.Errorf("the handler panicked: %v", p))
		}
	}()
	c.h.h.ServeHTTP(c, c.request)
	trailer := c.takeTrailer()
	if !c.heading && len(c.out) == 0 && len(trailer) == 0 {
		c.snapshot(http.StatusOK)
		c.deliver(true, func() {
			c.response.Head(&exchange.ResponseHead{Status: c.status, Fields: c.head}, true)
		})
		return
	}
	if c.flush() != nil {
		return
	}
	c.deliver(true, func() { c.response.End(trailer) })
}

// takeTrailer reads both ways of net/http to set trailers.
func (c *handling) takeTrailer() []exchange.Field {
	t := http.Header{}
	for k, vs := range c.header {
		if name, ok := strings.CutPrefix(k, http.TrailerPrefix); ok {
			t[http.CanonicalHeaderKey(name)] = vs
			delete(c.header, k)
		}
	}
	for _, v := range c.header["Trailer"] {
		for name := range strings.SplitSeq(v, ",") {
			k := http.CanonicalHeaderKey(strings.TrimSpace(name))
			if vs, ok := c.header[k]; ok {
				t[k] = vs
				if c.status == 0 {
					delete(c.header, k)
				}
			}
		}
	}
	return fields(t)
}

func (c *handling) Header() http.Header { return c.header }

// snapshot fixes the head; what is changed in Header later counts for trailers only.
func (c *handling) snapshot(status int) {
	if c.status != 0 {
		return
	}
	c.status = status
	c.head = fields(c.header)
}

func (c *handling) WriteHeader(status int) {
	if status < 200 {
		f := fields(c.header)
		c.deliver(false, func() { c.response.Inform(&exchange.ResponseHead{Status: status, Fields: f}) })
		return
	}
	c.snapshot(status)
}

func (c *handling) Write(p []byte) (int, error) {
	c.snapshot(http.StatusOK)
	for n := 0; n < len(p); {
		m := min(len(p)-n, piece-len(c.out))
		c.out = append(c.out, p[n:n+m]...)
		n += m
		if len(c.out) == piece {
			if err := c.flush(); err != nil {
				return n, err
			}
		}
	}
	return len(p), nil
}

// Flush implements [http.Flusher].
func (c *handling) Flush() { _ = c.FlushError() }

// FlushError is what http.ResponseController calls.
func (c *handling) FlushError() error {
	c.snapshot(http.StatusOK)
	return c.flush()
}

// flush delivers what was written, as credit allows.
func (c *handling) flush() error {
	c.snapshot(http.StatusOK)
	if !c.heading {
		c.heading = true
		if !c.deliver(false, func() { c.response.Head(&exchange.ResponseHead{Status: c.status, Fields: c.head}, false) }) {
			return errOver
		}
	}
	for b := c.out; len(b) > 0; {
		c.mu.Lock()
		for c.credit <= 0 && !c.ended && !c.reset {
			c.cond.Wait()
		}
		n := min(c.credit, len(b))
		c.credit -= n
		c.mu.Unlock()
		if n <= 0 || !c.deliver(false, func() { c.response.Data(b[:n]) }) {
			return errOver
		}
		b = b[n:]
	}
	c.out = c.out[:0]
	return nil
}

// body is the request's body as the handler reads it.
type body handling

func (b *body) Read(p []byte) (int, error) {
	c := (*handling)(b)
	c.mu.Lock()
	for len(c.in) == 0 && !c.inEnd && !c.reset && !c.ended {
		c.cond.Wait()
	}
	n := copy(p, c.in)
	c.in = c.in[n:]
	if len(c.in) == 0 {
		c.in = nil
	}
	ended, reset, trailer := c.inEnd && n == 0, (c.reset || c.ended) && n == 0, c.trailer
	c.mu.Unlock()
	switch {
	case n > 0:
		c.h.o.Work.Enter()
		c.response.Credit(n)
		c.h.o.Work.Leave()
		return n, nil
	case reset:
		return 0, errReset
	case ended:
		addFields(c.request.Trailer, trailer, "")
		return 0, io.EOF
	}
	return 0, nil
}

func (b *body) Close() error { return nil }
