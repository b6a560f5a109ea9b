package backend

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// A fakeNet is the servers that a test has, by address.
type fakeNet struct {
	t  testing.TB
	mu sync.Mutex
	// up says which addresses accept connections; silent ones never send SETTINGS.
	up, silent map[string]bool
	dials      map[string][]time.Time
	wires      []*fakeWire
	setup      func(w *fakeWire)
}

func newFakeNet(t testing.TB, up ...string) *fakeNet {
	n := &fakeNet{t: t, up: map[string]bool{}, silent: map[string]bool{}, dials: map[string][]time.Time{}}
	for _, a := range up {
		n.up[a] = true
	}
	return n
}

func (n *fakeNet) dial(ctx context.Context, network, addr string, events ConnEvents) (Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dials[addr] = append(n.dials[addr], time.Now())
	if !n.up[addr] {
		return nil, fmt.Errorf("dial %s %s: connect: connection refused", network, addr)
	}
	w := &fakeWire{t: n.t, addr: addr, events: events, max: math.MaxInt32}
	if n.setup != nil {
		n.setup(w)
	}
	n.wires = append(n.wires, w)
	if !n.silent[addr] {
		events.Ready()
	}
	return w, nil
}

// set lets addr accept connections, or not.
func (n *fakeNet) set(addr string, up bool) {
	n.mu.Lock()
	n.up[addr] = up
	n.mu.Unlock()
}

// open returns the open connections to addr.
func (n *fakeNet) open(addr string) (ws []*fakeWire) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.wires {
		if w.addr == addr && !w.isClosed() {
			ws = append(ws, w)
		}
	}
	return ws
}

func (n *fakeNet) dialed(addr string) []time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]time.Time(nil), n.dials[addr]...)
}

// A fakeWire is a connection whose server the test plays.
type fakeWire struct {
	t      testing.TB
	addr   string
	events ConnEvents
	auto   bool // answers each request at its end
	answer func(s *fakeStream)
	lazy   bool // does not answer a reset: the test does

	mu       sync.Mutex
	max      int
	stalled  bool
	draining bool
	closed   bool
	streams  []*fakeStream // open ones
	total    int
}

func (w *fakeWire) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

func (w *fakeWire) Available() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.draining || w.closed {
		return 0
	}
	return w.max - len(w.streams)
}

func (w *fakeWire) Open() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.streams)
}

func (w *fakeWire) Stalled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stalled
}

func (w *fakeWire) Drain() {
	w.mu.Lock()
	w.draining = true
	idle := len(w.streams) == 0
	w.mu.Unlock()
	if idle {
		w.end(nil, exchange.Disconnected)
	}
}

func (w *fakeWire) Close() { w.end(errors.New("closed by us"), exchange.Disconnected) }

// end breaks the connection.
func (w *fakeWire) end(err error, code exchange.Code) {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return
	}
	w.closed = true
	streams := w.streams
	w.streams = nil
	w.mu.Unlock()
	for _, s := range streams {
		s.reset(code)
	}
	w.events.Closed(err)
}

// goaway refuses the open streams, or those of them that refused picks.
func (w *fakeWire) goaway(refused func(s *fakeStream) bool) {
	w.mu.Lock()
	w.draining = true
	streams := append([]*fakeStream(nil), w.streams...)
	w.mu.Unlock()
	w.events.Draining()
	for _, s := range streams {
		if refused(s) {
			s.reset(exchange.RefusedStream)
		}
	}
}

// take returns the only open stream.
func (w *fakeWire) take() *fakeStream {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.streams) != 1 {
		w.t.Fatalf("%d open streams on %s, want 1", len(w.streams), w.addr)
	}
	return w.streams[0]
}

func (w *fakeWire) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	s := &fakeStream{w: w, response: response, path: head.Path, fields: append([]exchange.Field(nil), head.Fields...)}
	w.mu.Lock()
	w.total++
	if w.closed || w.draining || len(w.streams) >= w.max {
		s.refuse = true
	} else {
		w.streams = append(w.streams, s)
	}
	w.mu.Unlock()
	return s
}

// A fakeStream checks the contract of a request, and lets the test answer it.
type fakeStream struct {
	w        *fakeWire
	response exchange.Response
	path     string
	fields   []exchange.Field
	refuse   bool
	fate     fate // guarded by w.mu

	mu       sync.Mutex
	begun    bool
	over     bool // its response has ended
	done     bool
	ended    bool
	body     []byte
	code     exchange.Code
	canceled bool
	credited int // to the client
	taken    int // by the client
}

// A fate is what became of a request.
type fate int

const (
	unknown fate = iota
	reached      // the server processes it
	refused      // it never will
)

func (s *fakeStream) check(what string) {
	if s.done {
		s.w.t.Errorf("%s after Done", what)
	}
	if !s.begun {
		s.w.t.Errorf("%s before Begin", what)
	}
}

func (s *fakeStream) Begin() {
	s.mu.Lock()
	s.begun = true
	s.mu.Unlock()
	if s.refuse {
		s.reset(exchange.RefusedStream)
	}
}

func (s *fakeStream) Data(b []byte) {
	s.mu.Lock()
	s.check("Data")
	if s.ended {
		s.w.t.Error("Data after End")
	}
	s.body = append(s.body, b...)
	s.mu.Unlock()
}

func (s *fakeStream) End([]exchange.Field) {
	s.mu.Lock()
	s.check("End")
	if s.ended {
		s.w.t.Error("End twice")
	}
	s.ended = true
	over := s.over
	s.mu.Unlock()
	if over {
		return
	}
	if s.w.answer != nil {
		s.w.answer(s)
	} else if s.w.auto {
		s.ok("ok")
	}
}

func (s *fakeStream) Reset(code exchange.Code) {
	s.mu.Lock()
	s.check("Reset")
	s.canceled, s.code = true, code
	s.mu.Unlock()
	if !s.w.lazy {
		s.reset(code)
	}
}

func (s *fakeStream) Credit(n int) {
	s.mu.Lock()
	s.check("Credit")
	s.taken += n
	s.mu.Unlock()
}

func (s *fakeStream) Done(bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		s.w.t.Error("Done twice")
	}
	if !s.over {
		s.w.t.Error("Done before the end")
	}
	s.done = true
}

// finish takes the stream out of its connection, and says false if it had ended.
func (s *fakeStream) finish() bool {
	s.mu.Lock()
	over := s.over
	s.over = true
	s.mu.Unlock()
	if over {
		return false
	}
	w := s.w
	w.mu.Lock()
	for i := range w.streams {
		if w.streams[i] == s {
			w.streams = append(w.streams[:i:i], w.streams[i+1:]...)
			break
		}
	}
	w.mu.Unlock()
	return true
}

// drained closes the connection if it was the last of one that drains.
func (s *fakeStream) drained() {
	w := s.w
	w.mu.Lock()
	last := w.draining && len(w.streams) == 0 && !w.closed
	w.mu.Unlock()
	if last {
		w.end(nil, exchange.Disconnected)
	}
}

func (s *fakeStream) reset(code exchange.Code) {
	if s.finish() {
		s.response.Reset(code, nil)
		s.drained()
	}
}

func (s *fakeStream) ok(text string) {
	if s.finish() {
		s.response.Head(&exchange.ResponseHead{Status: 200}, false)
		s.response.Data([]byte(text))
		s.response.End(nil)
		s.drained()
	}
}

func (s *fakeStream) credit(n int) {
	s.credited += n
	s.response.Credit(n)
}

// fakeClient is a client half without gRPC: message bytes are body bytes.
func fakeClient(next exchange.Handler) rpc.Handler {
	return rpc.HandlerFunc(func(call *rpc.Call, response rpc.Response) rpc.Request {
		c := &clientHalf{response: response}
		head := &exchange.RequestHead{Method: "POST", Path: call.Method, Length: -1}
		for _, f := range call.Metadata {
			head.Fields = append(head.Fields, exchange.Field{Name: f.Key, Value: f.Value})
		}
		c.req = next.Start(head, (*clientResponse)(c))
		return c
	})
}

type clientHalf struct {
	response rpc.Response
	req      exchange.Request
	mu       sync.Mutex
	cause    *rpc.Status
}

func (c *clientHalf) Begin()             { c.req.Begin() }
func (c *clientHalf) Data(b []byte)      { c.req.Data(b) }
func (c *clientHalf) End()               { c.req.End(nil) }
func (c *clientHalf) Credit(n int)       { c.req.Credit(n) }
func (c *clientHalf) Done(o rpc.Outcome) { c.req.Done(o.Delivered) }
func (c *clientHalf) Cancel(st rpc.Status) {
	c.mu.Lock()
	c.cause = &st
	c.mu.Unlock()
	c.req.Reset(exchange.Cancel)
}

// A clientResponse is the other side of a clientHalf.
type clientResponse clientHalf

func (c *clientResponse) Inform(*exchange.ResponseHead) {}

func (c *clientResponse) Head(h *exchange.ResponseHead, end bool) {
	if end {
		c.response.End(rpc.Status{}, nil)
		return
	}
	c.response.Head(&rpc.Head{})
}

func (c *clientResponse) Data(b []byte)        { c.response.Data(b) }
func (c *clientResponse) End([]exchange.Field) { c.response.End(rpc.Status{}, nil) }
func (c *clientResponse) Credit(n int)         { c.response.Credit(n) }

func (c *clientResponse) Reset(code exchange.Code, cause error) {
	c.mu.Lock()
	st := c.cause
	c.mu.Unlock()
	if st != nil {
		c.response.End(*st, nil)
		return
	}
	c.response.End(rpc.Status{Code: rpc.Unavailable, Message: code.String(), Cause: cause}, nil)
}

// A caller is the client of a call.
type caller struct {
	t   testing.TB
	req rpc.Request
	// late: another goroutine than that of End may still be sending, and says Done.
	late bool

	mu     sync.Mutex
	body   []byte
	credit int
	ends   int
	status rpc.Status
	ended  chan struct{}
}

// begin starts a call.
func begin(t testing.TB, h rpc.Handler, call *rpc.Call) *caller {
	return start(&caller{t: t, ended: make(chan struct{})}, h, call)
}

func start(c *caller, h rpc.Handler, call *rpc.Call) *caller {
	if call.Method == "" {
		call.Method = "/test.Service/Method"
	}
	c.req = h.Start(call, c)
	c.req.Begin()
	return c
}

// unary makes a whole request.
func unary(t testing.TB, h rpc.Handler, call *rpc.Call) *caller {
	c := begin(t, h, call)
	c.req.Data([]byte("question"))
	c.req.End()
	return c
}

func (c *caller) Head(*rpc.Head) {}

func (c *caller) Data(b []byte) {
	c.mu.Lock()
	c.body = append(c.body, b...)
	c.mu.Unlock()
}

func (c *caller) Credit(n int) {
	c.mu.Lock()
	c.credit += n
	c.mu.Unlock()
}

func (c *caller) End(st rpc.Status, _ rpc.Metadata) {
	c.mu.Lock()
	c.ends++
	if c.ends > 1 {
		c.t.Error("second End")
	}
	c.status = st
	c.mu.Unlock()
	if !c.late {
		c.req.Done(rpc.Outcome{Status: st, Delivered: true})
	}
	close(c.ended)
}

// over says whether the call has ended, and how.
func (c *caller) over() (rpc.Status, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status, c.ends > 0
}

func (c *caller) wantOK() {
	c.t.Helper()
	if st, over := c.over(); !over || !st.OK() {
		c.t.Errorf("call: over %v with %v, want OK", over, st)
	}
}

func (c *caller) want(code rpc.Code, message string) {
	c.t.Helper()
	st, over := c.over()
	if !over || st.Code != code || st.Message != message {
		c.t.Errorf("call: over %v with %q %q, want %q %q", over, st.Code, st.Message, code, message)
	}
}

func (c *caller) wantOpen() {
	c.t.Helper()
	if st, over := c.over(); over {
		c.t.Errorf("call ended with %v, want it to wait", st)
	}
}

// sleep lets time pass in a synctest bubble, and what comes of it happen.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
