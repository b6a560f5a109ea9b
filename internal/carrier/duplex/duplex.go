// Package duplex makes a pipe of plain HTTP requests: one streaming GET down, or long
// polls, and POSTs up (docs/protocols/http2-duplex.md). It is a carrier that rides on
// others: exchanges come in, and each session is a pipe exchange that goes out, as package
// exchange has it. The npm package http2-duplex is served too, as it comes.
//
// What the pipe carries is not known here, with one exception: a raw session is one
// call, and package duplex itself puts the pipe's bytes into messages and takes them out
// ([raw]).
//
// # Who may do what when
//
// The requests of a session come on any connection, so on any goroutine, side by side. What
// goes into the pipe is one thing after the other: a session has a turn, and who has it
// delivers everything there is, outside of the lock, while others mark and go (see
// session.run). Credit marks only, and has a timer deliver what it made room for.
package duplex

import (
	"crypto/rand"
	"encoding/base64"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// Options say how sessions are served. Counts, sizes and times have to be positive.
type Options struct {
	Path string // the endpoint

	Pipes exchange.Handler // takes the pipe of each session
	Calls exchange.Handler // takes the calls of raw sessions; nil if there are none

	// Metadata says which fields of the GET go to the pipe; nil is all.
	Metadata func(name string) bool
	// Types says what a method's messages are; it is for raw sessions.
	Types func(method string) (Types, bool)
	// Pending says whose schema is still to come, "" if none is; nil is none.
	Pending func() string

	MaxSessions  int           // in all
	MaxPerClient int           // of one address
	MaxUploads   int           // of a session at a time
	MaxAhead     int           // bytes that an upload may reach beyond a gap
	MaxMessage   int           // of a raw session, down
	Poll         time.Duration // until a poll is answered without content
	PollGap      time.Duration // without a poll until a session is lost

	Reserve  func(n int) bool   // memory, or with a negative n gives it back; nil is no bound
	LimitHit func(limit string) // counts; nil does not
}

// Types are the messages of a method.
type Types struct {
	Request, Response string // "google.protobuf.BytesValue"
	Bidi              bool   // both directions stream
}

// A Server serves the requests of sessions.
type Server struct {
	o Options

	mu       sync.Mutex
	sessions map[string]*session
	clients  map[netip.Prefix]int // sessions of each
	closed   bool
}

// New returns a Server without sessions.
func New(o Options) *Server {
	if o.Reserve == nil {
		o.Reserve = func(int) bool { return true }
	}
	if o.LimitHit == nil {
		o.LimitHit = func(string) {}
	}
	if o.Pending == nil {
		o.Pending = func() string { return "" }
	}
	if o.Metadata == nil {
		o.Metadata = func(string) bool { return true }
	}
	return &Server{o: o, sessions: map[string]*session{}, clients: map[netip.Prefix]int{}}
}

const (
	fieldSession = "sluice-session"
	fieldOffset  = "sluice-offset"
	fieldPoll    = "sluice-poll"
	fieldEnd     = "sluice-end"
	fieldTaken   = "sluice-taken"

	// Of npm http2-duplex.
	npmID        = "http2-duplex-id"
	npmSingle    = "http2-duplex-single"
	npmEnd       = "http2-duplex-end"
	npmDestroyed = "http2-duplex-destroyed"

	rawPath = "/raw"
)

// Match says whether a request is one of ours.
func (s *Server) Match(head *exchange.RequestHead) bool {
	path, _, _ := strings.Cut(head.Path, "?")
	rest, ok := strings.CutPrefix(path, s.o.Path)
	return ok && head.Protocol == "" && !head.Upgrades() && (rest == "" || strings.HasPrefix(rest, rawPath+"/"))
}

// Len is the number of sessions.
func (s *Server) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Has says whether there is a session of this id.
func (s *Server) Has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[id] != nil
}

// Close gives all sessions up, and takes no more.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	var all []*session
	for _, v := range s.sessions {
		all = append(all, v)
	}
	s.mu.Unlock()
	for _, v := range all {
		v.leave(exchange.Disconnected)
	}
}

// Start implements [exchange.Handler].
func (s *Server) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	r, bad := parse(head)
	switch {
	case bad != nil:
		return refuse(response, bad)
	case head.Method == "OPTIONS": // not a preflight, which is answered elsewhere
		return &answer{response: response, status: 204, fields: []exchange.Field{{Name: "allow", Value: allow}}}
	case head.Method == "GET" && r.id == "" && !program(head):
		return refuse(response, &refusal{403, "this is the endpoint of programs, not a document"})
	case head.Method == "GET":
		return s.get(head, &r, response)
	case r.id == "" && head.Method == "POST" && !r.npm:
		return &beacon{s: s, response: response}
	}
	v := s.find(r.id, r.npm)
	switch {
	case v == nil:
		return refuse(response, errUnknown)
	case head.Method == "DELETE":
		v.leave(exchange.Cancel)
		return &answer{response: response, status: 204}
	}
	return v.upload(head, &r, response)
}

var errUnknown = &refusal{404, "there is no such session: it is over, or another server has it"}

const allow = "GET, POST, DELETE, OPTIONS"

// A request is what its fields say.
type request struct {
	id        string
	offset    int64
	poll, end bool

	npm, single, destroyed bool
}

// maxOffset is what JavaScript's numbers can tell apart.
const maxOffset = 1<<53 - 1

// parse reads a head.
func parse(head *exchange.RequestHead) (r request, bad *refusal) {
	offset, has := "", 0
	for i := range head.Fields {
		f := &head.Fields[i]
		switch f.Name {
		case fieldSession:
			if r.id != "" || !validID(f.Value) {
				return r, &refusal{400, fieldSession + " is not 32 hexadecimal digits in lower case"}
			}
			r.id = f.Value
		case npmID:
			r.npm, r.id = true, f.Value
		case fieldOffset:
			offset = f.Value
			has++
		case fieldPoll:
			r.poll = f.Value == "1"
		case fieldEnd, npmEnd:
			r.end = f.Value == "1" || f.Value == "true"
		case npmSingle:
			r.single = f.Value == "true"
		case npmDestroyed:
			r.destroyed = f.Value == "true"
		}
	}
	switch head.Method {
	case "GET", "POST", "DELETE", "OPTIONS":
	default:
		return r, &refusal{405, "the verbs are " + allow}
	}
	if r.npm || r.id == "" {
		return r, nil
	}
	if has > 1 || has == 0 && head.Method == "POST" {
		return r, &refusal{400, fieldOffset + " is missing, or there are several"}
	}
	if has == 1 {
		n, err := strconv.ParseUint(offset, 10, 64)
		if err != nil || n > maxOffset || offset[0] == '+' {
			return r, &refusal{400, fieldOffset + " is not a number up to 2^53 - 1"}
		}
		r.offset = int64(n)
	}
	return r, nil
}

func validID(id string) bool {
	if len(id) != 32 {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// program says whether a GET without a field of ours may be one of npm http2-duplex: not
// what a browser fetches for a document or an image, nor what a foreign page can send
// without asking. Whoever has an origin was let in by who checks them.
func program(head *exchange.RequestHead) bool {
	switch exchange.Get(head.Fields, "sec-fetch-mode") {
	case "", "cors", "same-origin":
	default:
		return false
	}
	site := exchange.Get(head.Fields, "sec-fetch-site")
	return head.Allowed || site == "" || site == "same-origin"
}

// find returns a session that takes requests.
func (s *Server) find(id string, npm bool) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.sessions[id]; v != nil && v.npm == npm {
		return v
	}
	return nil
}

// get opens a session, or polls one.
func (s *Server) get(head *exchange.RequestHead, r *request, response exchange.Response) exchange.Request {
	if r.poll {
		if v := s.find(r.id, false); v != nil {
			if !v.polls {
				return refuse(response, errInUse)
			}
			return &poll{session: v, response: response, offset: r.offset}
		}
	}
	if r.id != "" && r.offset != 0 {
		if r.poll {
			return refuse(response, errUnknown)
		}
		return refuse(response, &refusal{400, "a session begins at offset 0"})
	}
	v := &session{s: s, id: r.id, client: client(head.Addr), polls: r.poll, npm: r.id == "" || r.npm}
	if v.npm {
		if r.npm {
			return refuse(response, &refusal{400, npmID + " is the server's to give"})
		}
		if r.poll {
			return refuse(response, &refusal{400, fieldPoll + " wants " + fieldSession})
		}
		var id [64]byte
		_, _ = rand.Read(id[:])
		v.id = base64.StdEncoding.EncodeToString(id[:])
	}
	path, _, _ := strings.Cut(head.Path, "?")
	method := strings.TrimPrefix(path, s.o.Path)
	pipes := s.o.Pipes
	pipe := exchange.RequestHead{
		Method: "CONNECT", Scheme: head.Scheme, Authority: head.Authority, Path: s.o.Path, Protocol: exchange.PipeMux, Length: -1,
		Allowed: head.Allowed, Addr: head.Addr, TLS: head.TLS, Carrier: Name,
	}
	if method != "" {
		method = strings.TrimPrefix(method, rawPath)
		h, bad := s.raw(method)
		if bad != nil {
			return refuse(response, bad)
		}
		v.raw, pipes, pipe.Path, pipe.Protocol = true, h, method, ""
		pipe.Fields = slices.DeleteFunc(slices.Clone(head.Fields), func(f exchange.Field) bool { return !rawMetadata(f.Name) })
	} else {
		pipe.Fields = slices.DeleteFunc(slices.Clone(head.Fields), func(f exchange.Field) bool { return !s.o.Metadata(f.Name) })
	}
	if bad := s.add(v); bad != nil {
		return refuse(response, bad)
	}
	v.pipe = pipes.Start(&pipe, (*down)(v))
	if v.polls {
		return &poll{session: v, response: response, first: true}
	}
	v.stream.response = response
	return (*stream)(v)
}

// Name is that of the carrier.
const Name = "dx"

var errInUse = &refusal{409, "the session's id is in use: each session has its own, random one"}

// add takes a session in, within the limits.
func (s *Server) add(v *session) *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := ""
	switch {
	case s.closed:
		return &refusal{503, "the server is shutting down"}
	case s.sessions[v.id] != nil:
		return errInUse
	case len(s.sessions) >= s.o.MaxSessions:
		limit = "duplex_sessions"
	case s.clients[v.client] >= s.o.MaxPerClient:
		limit = "duplex_client_sessions"
	default:
		s.sessions[v.id] = v
		s.clients[v.client]++
		return nil
	}
	s.o.LimitHit(limit)
	if limit == "duplex_sessions" {
		return &refusal{503, "too many sessions (limits.duplex_sessions)"}
	}
	return &refusal{429, "too many sessions of this client (limits.duplex_client_sessions)"}
}

// forget takes a session out.
func (s *Server) forget(v *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[v.id] != v {
		return
	}
	delete(s.sessions, v.id)
	if s.clients[v.client]--; s.clients[v.client] <= 0 {
		delete(s.clients, v.client)
	}
}

// client is what sessions are counted by: an address, or the network that one host has of
// IPv6. Whoever has none is one client with all of these.
func client(a net.Addr) netip.Prefix {
	var addr netip.Addr
	switch a := a.(type) {
	case *net.TCPAddr:
		addr = a.AddrPort().Addr()
	case *net.UDPAddr:
		addr = a.AddrPort().Addr()
	case nil:
	default:
		p, _ := netip.ParseAddrPort(a.String())
		addr = p.Addr()
	}
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits)
	return p
}
