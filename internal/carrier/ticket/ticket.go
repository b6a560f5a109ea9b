// Package ticket lets a page say who it is where it can't set fields: the CONNECT of a
// WebTransport session has none that a page could choose, and no cookies
// (docs/protocols/tickets.md). A page asks for a ticket by POST, with the fields that
// authenticate it, and opens the session with the ticket in the URL. The fields of the POST
// then count as those of the CONNECT.
//
// Whoever sees a URL may see a ticket: a log, an extension of the browser. So it is good for one
// use, for a short while, for the page's origin, and it is random: it says nothing about
// who it is for.
//
// Nothing here blocks, and there is no timer: tickets that are over are forgotten when another
// one is given or used.
package ticket

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

const (
	// secretBytes are more than anybody can guess in the life of a ticket, or of the universe.
	secretBytes = 24
	// share is the part of all tickets that one address may have: who takes them all keeps
	// others out.
	share = 16
	// meanBytes is how much fields of a ticket may take on average.
	meanBytes = 1 << 10
	// parameter is where a ticket is in the query of a URL.
	parameter = "ticket"
)

// Options say what is given to whom.
type Options struct {
	Path   string                                 // where tickets are given
	Fields []string                               // that a ticket stands for: without any there is none
	Check  func(head *exchange.RequestHead) error // says who may not have one, by a [Refusal] or another error; nil: everybody may
	Life   time.Duration
	Max    int // tickets that were not used yet, see the constants

	Now      func() time.Time
	LimitHit func(name string) // may be nil
}

// A Refusal is why somebody gets no ticket.
type Refusal struct {
	Status int // of HTTP
	Text   string
}

func (r *Refusal) Error() string { return r.Text }

// A Server gives tickets, as an [exchange.Handler], and takes them.
type Server struct {
	o Options

	mu      sync.Mutex
	waiting map[digest]*ticket
	order   []digest // oldest first; may have some that were used
	bytes   int
	clients map[netip.Prefix]*client
}

// digest is the hash of a ticket. To look it up in a map takes a time that depends on the hash,
// from which nobody learns anything about another ticket.
type digest [sha256.Size]byte

type ticket struct {
	origin string
	fields []exchange.Field
	bytes  int
	ends   time.Time
	client netip.Prefix
}

// client is what the tickets of an address come to.
type client struct{ count, bytes int }

// New returns a Server.
func New(o Options) *Server {
	if o.LimitHit == nil {
		o.LimitHit = func(string) {}
	}
	return &Server{o: o, waiting: map[digest]*ticket{}, clients: map[netip.Prefix]*client{}}
}

// Match says whether a request is for a ticket.
func (s *Server) Match(head *exchange.RequestHead) bool {
	path, _, _ := strings.Cut(head.Path, "?")
	return path == s.o.Path && head.Protocol == ""
}

// Redeem returns the fields that a ticket in the query of head stands for, which then is used up.
// Without a ticket there are none, and that is ok; one that is not good is not.
func (s *Server) Redeem(head *exchange.RequestHead) (fields []exchange.Field, ok bool) {
	secrets := secretsOf(head.Path)
	if len(secrets) == 0 {
		return nil, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked()
	// One that is tried in the wrong place has leaked: it is good for nobody any more.
	for _, secret := range secrets {
		key := digest(sha256.Sum256([]byte(secret)))
		t := s.waiting[key]
		if t == nil {
			continue
		}
		s.forgetLocked(key, t)
		fields, ok = t.fields, len(secrets) == 1 && t.origin == head.Origin
	}
	if !ok {
		return nil, false
	}
	return fields, true
}

// secretsOf returns the tickets in a path with a query.
func secretsOf(path string) []string {
	_, query, _ := strings.Cut(path, "?")
	if !strings.Contains(query, parameter) && !strings.Contains(query, "%") {
		return nil
	}
	q, _ := url.ParseQuery(query) // what it can't read is no ticket
	return q[parameter]
}

// Strip returns a path without the tickets in its query.
func Strip(path string) string {
	p, query, ok := strings.Cut(path, "?")
	if !ok || len(secretsOf(path)) == 0 {
		return path
	}
	q, _ := url.ParseQuery(query)
	delete(q, parameter)
	if len(q) == 0 {
		return p
	}
	return p + "?" + q.Encode()
}

// ticketFor is what a ticket of a request would stand for.
func (s *Server) ticketFor(head *exchange.RequestHead) *ticket {
	t := &ticket{origin: head.Origin, client: clientOf(head.Addr)}
	for _, f := range head.Fields {
		if slices.Contains(s.o.Fields, f.Name) {
			t.fields = append(t.fields, f)
			t.bytes += len(f.Name) + len(f.Value)
		}
	}
	return t
}

// issue gives a ticket out.
func (s *Server) issue(head *exchange.RequestHead, t *ticket) (string, *Refusal) {
	if s.o.Check != nil {
		if err := s.o.Check(head); err != nil {
			return "", refusal(err)
		}
	}
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // it does not fail
	text := base64.RawURLEncoding.EncodeToString(secret)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked()
	if r := s.fullLocked(t); r != nil {
		s.o.LimitHit("tickets")
		return "", r
	}
	t.ends = s.o.Now().Add(s.o.Life)
	key := digest(sha256.Sum256([]byte(text)))
	s.waiting[key] = t
	s.order = append(s.order, key)
	s.bytes += t.bytes
	c := s.clients[t.client]
	if c == nil {
		c = &client{}
		s.clients[t.client] = c
	}
	c.count++
	c.bytes += t.bytes
	return text, nil
}

func refusal(err error) *Refusal {
	if r, ok := err.(*Refusal); ok {
		return r
	}
	return &Refusal{401, err.Error()}
}

// fullLocked says why there is no room for another one.
func (s *Server) fullLocked(t *ticket) *Refusal {
	few := max(1, s.o.Max/share)
	if c := s.clients[t.client]; c != nil && (c.count >= few || c.bytes+t.bytes > few*meanBytes) || t.bytes > few*meanBytes {
		return &Refusal{429, "too many tickets of this address that were not used (limits.tickets)"}
	}
	if len(s.waiting) >= s.o.Max || s.bytes+t.bytes > s.o.Max*meanBytes {
		return &Refusal{503, "too many tickets that were not used (limits.tickets)"}
	}
	return nil
}

// expireLocked forgets those whose time is over. They are given in the order in which they end.
func (s *Server) expireLocked() {
	now := s.o.Now()
	for len(s.order) > 0 {
		key := s.order[0]
		t := s.waiting[key]
		if t != nil && now.Before(t.ends) {
			break
		}
		if t != nil {
			s.forgetLocked(key, t)
		}
		s.order = s.order[1:]
	}
	if len(s.order) > 2*len(s.waiting)+share { // used ones behind one that waits
		s.order = slices.DeleteFunc(s.order, func(key digest) bool { return s.waiting[key] == nil })
	}
}

func (s *Server) forgetLocked(key digest, t *ticket) {
	delete(s.waiting, key)
	s.bytes -= t.bytes
	c := s.clients[t.client]
	c.bytes -= t.bytes
	if c.count--; c.count == 0 {
		delete(s.clients, t.client)
	}
}

// clientOf is what one client can't leave: an address, or the network that it is given
// of version 6.
func clientOf(addr net.Addr) netip.Prefix {
	if addr == nil {
		return netip.Prefix{}
	}
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Prefix{} // a unix socket: all of its clients are one
	}
	a, bits := ap.Addr().Unmap().WithZone(""), 64
	if a.Is4() {
		bits = 32
	}
	p, _ := a.Prefix(bits) // it has so many
	return p
}
