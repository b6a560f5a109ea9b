package websocket

import (
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	wire "github.com/sluice-rpc/sluice/internal/wire/websocket"
	"github.com/sluice-rpc/sluice/rpc"
)

// The subprotocols.
const (
	Pipe        = exchange.PipeMux
	Raw         = "sluice.raw"
	Calls       = "grpc-websockets"
	Multiplexed = "grpc-websockets-multiplex"
)

// Options are what the carrier needs to know.
type Options struct {
	// Pipes takes pipes, at Path. Nil: there are none.
	Pipes exchange.Handler
	Path  string
	// Plain says that what pipes carry is the application's own, so a handshake need not offer
	// a subprotocol, and may offer that of raw bytes.
	Plain bool
	// Raw returns who takes the raw bytes of a method, at Path/raw/package.Service/Method, or
	// the HTTP status and the reason of a refusal. Nil: there are none.
	Raw func(method string) (h exchange.Handler, status int, reason string)
	// Calls takes calls of gRPC-Web. Nil: there are none.
	Calls exchange.Handler
	// Method says whether a path is that of an RPC, /package.Service/Method.
	Method func(path string) bool

	// Metadata are the fields of a handshake, in lower case, that count as metadata, with
	// cookie and authorization.
	Metadata []string

	MaxMessage int // bytes of one message of gRPC
	MaxHeader  int // bytes of the header block of a call, as [rpc] counts fields
	MaxCalls   int // at a time on one WebSocket
	Ratio      int // of decompression, at most
	Abuse      int // frames of no use in a second; 0 is no bound
	// Abused is told who was cut off for more. Nil is nobody.
	Abused func(client net.Addr)

	Header      time.Duration // until the header block of a call is there; 0 is for ever
	Idle        time.Duration // of a WebSocket for many calls without one; 0 is for ever
	Ping        time.Duration // of silence before a Ping; 0 is never
	PingTimeout time.Duration // of more silence before the client is given up
	Compression bool          // permessage-deflate is agreed to, where calls are spoken

	Now func() time.Time // nil is time.Now
	// After calls f once, later, from any goroutine, unless it is stopped before.
	After func(d time.Duration, f func()) (stop func() bool)
	// Reserve takes n bytes of the gateway's memory for what has to be kept, or gives them
	// back if n is negative. It says false if there are none. Nil is no bound.
	Reserve func(n int) bool
	// LimitHit is told the name of a limit that was passed. Nil is nobody.
	LimitHit func(name string)
}

// A Server is the handler of handshakes that it takes.
type Server struct {
	o Options

	mu       sync.Mutex
	sockets  map[*socket]struct{}
	draining bool
}

// New returns a Server.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Reserve == nil {
		o.Reserve = func(int) bool { return true }
	}
	if o.LimitHit == nil {
		o.LimitHit = func(string) {}
	}
	if o.After == nil {
		o.After = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	return &Server{o: o, sockets: map[*socket]struct{}{}}
}

// offers are what a handshake asks for that is spoken here, by its path, and the
// method, if it asks for the raw bytes of one.
func (s *Server) offers(head *exchange.RequestHead) (protocols []string, method string) {
	path, _, _ := strings.Cut(head.Path, "?")
	below, under := strings.CutPrefix(path, s.o.Path+rawPath)
	switch {
	case s.o.Pipes != nil && path == s.o.Path && s.o.Plain:
		return []string{Raw, Pipe}, ""
	case s.o.Pipes != nil && path == s.o.Path:
		return []string{Pipe}, ""
	case s.o.Raw != nil && under && strings.HasPrefix(below, "/"):
		return []string{Raw}, below
	case s.o.Calls != nil && s.o.Method(path):
		return []string{Multiplexed, Calls}, ""
	}
	return nil, ""
}

const rawPath = "/raw"

// Match says whether a request is a handshake for this carrier: any at the paths of
// pipes, and by its subprotocol at the path of an RPC.
func (s *Server) Match(head *exchange.RequestHead) bool {
	if !head.Handshake() {
		return false
	}
	offers, _ := s.offers(head)
	if len(offers) == 0 || offers[0] != Multiplexed {
		return len(offers) > 0
	}
	for _, p := range wire.Protocols(head.Fields) {
		if p == Calls || p == Multiplexed {
			return true
		}
	}
	return false
}

// Start implements [exchange.Handler], for what [Server.Match] takes.
func (s *Server) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	offers, method := s.offers(head)
	handshake := wire.Server{Protocols: offers}
	calls := offers[0] == Multiplexed
	if calls && s.o.Compression {
		handshake.Deflate = &wire.Deflate{}
	}
	agreed, bad := handshake.Answer(head)
	switch {
	case bad != nil:
		return &refusal{response: response, why: *bad}
	case agreed.Protocol == "" && (calls || !s.o.Plain):
		return &refusal{response: response, why: wire.Refusal{
			Status: 400, Reason: "a WebSocket here has to offer the subprotocol " + offers[0],
		}}
	}
	to := s.o.Pipes
	if method != "" {
		h, status, why := s.o.Raw(method)
		if h == nil {
			return &refusal{response: response, why: wire.Refusal{Status: status, Reason: why}}
		}
		to = h
	}
	k := &socket{s: s, response: response, status: agreed.Status, fields: agreed.Fields, client: head.Addr, opened: s.o.Now()}
	k.ping.Ping, k.ping.Timeout = s.o.Ping, s.o.PingTimeout
	k.output.writing = true // nothing goes before the head
	k.dec = wire.Decoder{Deflate: agreed.Deflate, MaxMessage: noLimit, MaxRatio: s.o.Ratio}
	k.enc.Deflate = agreed.Deflate
	h, refused := s.opening(head)
	if !calls {
		h.Method, h.Protocol = "CONNECT", Pipe
		if method != "" {
			h.Path, h.Protocol = method, ""
		}
		k.session = &pipe{stream: stream{k: k}, to: to, head: &h, refused: refused, raw: agreed.Protocol == Raw}
		return k
	}
	h.Method, h.Protocol = "POST", ""
	if agreed.Deflate != nil {
		// What is compressed is kept until it is whole.
		k.dec.MaxMessage = max(s.o.MaxMessage, s.o.MaxHeader) + messageRoom
	}
	k.session = newCalls(k, h, agreed.Protocol == Multiplexed, refused)
	return k
}

const (
	// noLimit is of messages that are passed on as they come.
	noLimit = 1<<63 - 1
	// messageRoom is what stands around a message of gRPC: an id, the control byte, and the
	// prefix.
	messageRoom = 4 + 1 + 5
)

// opening is the head of a handshake, with what of its fields counts as metadata. A
// token among the subprotocols becomes authorization, unless there is that field.
func (s *Server) opening(head *exchange.RequestHead) (h exchange.RequestHead, refused *rpc.Status) {
	h = *head
	h.Fields = nil
	h.Length = -1
	for _, f := range head.Fields {
		if f.Name == "cookie" || f.Name == authorization || s.listed(f.Name) && !strings.HasPrefix(f.Name, "sec-websocket-") { // where tokens are
			h.Fields = append(h.Fields, f)
		}
	}
	token, err := wire.Token(wire.Protocols(head.Fields))
	switch {
	case err != nil:
		st := rpc.Errorf(rpc.Unauthenticated, "%v", err)
		refused = &st
	case token != "" && exchange.Get(h.Fields, authorization) == "":
		h.Fields = append(h.Fields, exchange.Field{Name: authorization, Value: "Bearer " + token, Sensitive: true})
	}
	return h, refused
}

const authorization = "authorization"

func (s *Server) listed(name string) bool {
	for _, n := range s.o.Metadata {
		if n == name {
			return true
		}
	}
	return false
}

// add keeps a socket, until remove, and says whether the server drains.
func (s *Server) add(k *socket) (draining bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sockets[k] = struct{}{}
	return s.draining
}

func (s *Server) remove(k *socket) {
	s.mu.Lock()
	delete(s.sockets, k)
	s.mu.Unlock()
}

// leaving says whether clients are to go elsewhere.
func (s *Server) leaving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

// drainSpread is the time over which sockets without a call are closed, so that their
// clients don't come back all at once.
const drainSpread = 500 * time.Millisecond

// Drain closes the sockets that have no call, and each other one after its last call;
// pipes are told by who speaks on them.
func (s *Server) Drain() {
	s.mu.Lock()
	s.draining = true
	sockets := make([]*socket, 0, len(s.sockets))
	for k := range s.sockets {
		sockets = append(sockets, k)
	}
	s.mu.Unlock()
	for i, k := range sockets {
		if wait := drainSpread * time.Duration(i) / time.Duration(len(sockets)); wait > 0 {
			s.o.After(wait, k.session.drain)
		} else {
			k.session.drain()
		}
	}
}

// hit counts the limit that a reason names, if it names one: "… (limits.message_bytes)".
func (s *Server) hit(reason string) {
	_, name, _ := strings.Cut(reason, "(limits.")
	if name, _, named := strings.Cut(name, ")"); named {
		s.o.LimitHit(name)
	}
}

// A refusal answers a handshake that is not in order.
type refusal struct {
	response exchange.Response
	why      wire.Refusal
}

func (r *refusal) Begin() {
	body := []byte(r.why.Reason + "\n")
	r.response.Head(&exchange.ResponseHead{Status: r.why.Status, Fields: append(r.why.Fields,
		exchange.Field{Name: "content-type", Value: "text/plain; charset=utf-8"},
		exchange.Field{Name: "content-length", Value: strconv.Itoa(len(body))})}, false)
	r.response.Data(body)
	r.response.End(nil)
}
func (r *refusal) Data([]byte)          {} // the response is over: its carrier drops what comes
func (r *refusal) End([]exchange.Field) {}
func (r *refusal) Reset(exchange.Code)  {}
func (r *refusal) Credit(int)           {}
func (r *refusal) Done(bool)            {}
