package mux

import (
	"crypto/rand"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/persecond"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
)

// A connection is what the calls of a client have in common: one pipe, or a session of the
// carrier with many.
type connection struct {
	s    *Server
	id   sessionID
	head exchange.RequestHead // of the request that opened it

	session exchange.Session // whose calls have pipes of their own, else nil

	mu    sync.Mutex
	lossy map[uint64]*call // by the number of their datagrams
	hello []exchange.Field // defaults of calls
	abuse persecond.Count
	calls int

	sending sync.Mutex // held while a Session sends
	gone    bool
}

type sessionID [16]byte

func (s *Server) connect(head *exchange.RequestHead) *connection {
	c := &connection{s: s, head: *head}
	c.head.Fields = slices.Clone(head.Fields)
	_, _ = rand.Read(c.id[:]) // never fails
	return c
}

// begin counts a call, and says whether there is room for it.
func (c *connection) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls >= c.s.o.MaxCalls {
		return false
	}
	c.calls++
	return true
}

// resume counts a call that was begun elsewhere, for which there is always room.
func (c *connection) resume() {
	c.mu.Lock()
	c.calls++
	c.mu.Unlock()
}

func (c *connection) end() {
	c.mu.Lock()
	c.calls--
	c.mu.Unlock()
}

// charge pays for a frame of no use, and says false if there were too many.
func (c *connection) charge() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.abuse.Charge(1, c.s.o.Abuse, time.Duration(c.s.o.Now().UnixNano()))
}

// request makes the head of a call from its own fields; those of HELLO stand in for names that are not
// there, and those of the connection for the rest.
func (c *connection) request(path string, own []exchange.Field) exchange.RequestHead {
	c.mu.Lock()
	hello := c.hello
	c.mu.Unlock()
	list := make([]exchange.Field, 0, len(own)+len(hello)+len(c.head.Fields)+2)
	typed := false
	for _, f := range own {
		if f.Name[0] != ':' && f.Name != "te" {
			list = append(list, f)
			typed = typed || f.Name == "content-type"
		}
	}
	if !typed {
		list = append(list, exchange.Field{Name: "content-type", Value: "application/grpc+proto"})
	}
	list = append(list, exchange.Field{Name: "te", Value: "trailers"})
	list = addDefaults(list, hello)
	list = addDefaults(list, c.head.Fields)
	h := c.head
	h.Method, h.Path, h.Protocol, h.Fields, h.Length = "POST", path, "", list, -1
	return h
}

// addDefaults appends those whose names are not there.
func addDefaults(list, defaults []exchange.Field) []exchange.Field {
	n := len(list)
	for _, d := range defaults {
		if d.Name[0] == ':' || strings.HasPrefix(d.Name, "grpc-") ||
			slices.ContainsFunc(list[:n], func(f exchange.Field) bool { return f.Name == d.Name }) {
			continue
		}
		list = append(list, d)
	}
	return list
}

// welcome appends WELCOME, which is the only place of the ticket.
func (c *connection) welcome(b []byte, form duplex.Form) []byte {
	o := &c.s.o
	sealed := c.s.seal.seal(ticket{expiry: o.Now().Add(o.TicketLife), instance: c.s.instance, session: c.id, node: o.Node})
	at := len(b)
	b = form.Begin(b, duplex.Welcome, 0)
	b = fields.AppendField(b, "version", "1")
	b = fields.AppendField(b, "ticket", sealed)
	if o.Node != "" {
		b = fields.AppendField(b, "node", o.Node)
	}
	b = fields.AppendField(b, "detach", millis(o.Detach))
	b = fields.AppendField(b, "ping", millis(o.Ping))
	b = fields.AppendField(b, "max-calls", strconv.Itoa(o.MaxCalls))
	b = fields.AppendField(b, "max-message", strconv.Itoa(o.MaxMessage))
	b = fields.AppendField(b, "max-fields", strconv.Itoa(o.MaxFields))
	return form.Finish(b, at)
}

func goAway(b []byte, form duplex.Form, grace time.Duration) []byte {
	at := len(b)
	b = form.Begin(b, duplex.GoAway, 0)
	b = fields.AppendField(b, "reason", "the gateway is shutting down")
	if grace > 0 {
		b = fields.AppendField(b, "grace", millis(grace))
	}
	return form.Finish(b, at)
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
