package sluice

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/sluice-rpc/sluice/internal/carrier/ticket"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/protocol/grpc"
	"github.com/sluice-rpc/sluice/rpc"
)

// ticketPath is where tickets are given, below the path of the carriers.
const ticketPath = "/ticket"

// newTickets makes the place where pages get tickets for WebTransport.
func (g *Gateway) newTickets() *ticket.Server {
	cfg := &g.cfg
	o := ticket.Options{
		Path: cfg.Duplex.Path + ticketPath, Fields: []string{"authorization", "cookie"},
		Life: cfg.Timeouts.Ticket, Max: cfg.Limits.Tickets, Now: time.Now, LimitHit: g.metrics.LimitHit,
	}
	if who := cfg.Authenticate; who != nil {
		o.Check = func(h *exchange.RequestHead) error {
			_, err := who(headCall(h, "http"))
			if st, ok := errors.AsType[rpc.Status](err); ok && st.Code == rpc.PermissionDenied {
				return &ticket.Refusal{Status: 403, Text: st.Message}
			}
			return err
		}
	}
	return ticket.New(o)
}

// headCall is what is known of a call by the head of an exchange that may carry some.
func headCall(h *exchange.RequestHead, protocol string) *rpc.Call {
	path, _, _ := strings.Cut(h.Path, "?")
	return &rpc.Call{
		Method: path, Metadata: grpc.Metadata(h.Fields), Authority: h.Authority,
		Peer: rpc.Peer{Addr: h.Addr, TLS: h.TLS}, Protocol: protocol, Carrier: h.Carrier,
	}
}

// errTicket is what a page never gets to see: browsers keep it to themselves.
var errTicket = errors.New("the ticket is forged, outdated, used, or another page's: ask for a new one")

// admit decides about a request that opens a session: whether its page may, and if it has a
// ticket, what that stands for.
func (g *Gateway) admit(head *exchange.RequestHead) (*exchange.RequestHead, error) {
	head, err := g.origins.Admit(head)
	if err != nil {
		return nil, err
	}
	if m := g.misdirected(head); m != nil {
		return nil, m
	}
	fields, ok := g.tickets.Redeem(head)
	if !ok {
		return nil, errTicket
	}
	admitted := *head
	admitted.Path = ticket.Strip(head.Path)
	admitted.Fields = slices.DeleteFunc(slices.Clone(head.Fields), func(f exchange.Field) bool { return slices.ContainsFunc(fields, named(f.Name)) })
	admitted.Fields = append(admitted.Fields, fields...)
	return &admitted, nil
}

func named(name string) func(exchange.Field) bool {
	return func(f exchange.Field) bool { return f.Name == name }
}
