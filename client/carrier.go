package client

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// A Carrier opens connections to a gateway.
type Carrier interface {
	// Name is what people call it, as "websocket".
	Name() string
	// Dial opens a connection. The context bounds the opening only.
	Dial(ctx context.Context, t *Target) (*Connection, error)
}

// A Target is what a carrier connects to.
type Target struct {
	URL    *url.URL    // https or http, with the path of the endpoint
	TLS    *tls.Config // nil is the default
	Header http.Header // of the request that opens the connection

	// Ticket is that of calls that are to go on, if there are any, and Node the gateway that is known to have them.
	Ticket, Node string

	dial func(ctx context.Context, network, addr string) (net.Conn, error) // of tests
}

// Opening is the header of the request that opens a connection on which calls can be resumed: Header, and by what a
// balancer and the gateway can tell whose calls they are.
func (t *Target) Opening() http.Header {
	h := t.Header.Clone()
	if h == nil {
		h = http.Header{}
	}
	if t.Ticket != "" {
		h.Set(exchange.FieldTicket, t.Ticket)
	}
	if t.Node != "" {
		h.Set(exchange.FieldNode, t.Node)
	}
	return h
}

// Misdirected is the error of a carrier that has reached a gateway which does not have the calls of the ticket: 421.
type Misdirected struct{ Node string } // has them

func (m *Misdirected) Error() string { return "another gateway has the calls: " + m.Node }

// CheckDirected returns that error if the answer to an opening request is one.
func CheckDirected(resp *http.Response) error {
	if resp.StatusCode != http.StatusMisdirectedRequest {
		return nil
	}
	return &Misdirected{Node: resp.Header.Get(exchange.FieldNode)}
}

// A Connection is what a carrier has opened: a pipe that carries many calls, or a session in
// which each call has a pipe. One of the two is there.
type Connection struct {
	Pipe    Pipe
	Session Session
	Addr    net.Addr // of the gateway, if known
}

// A Pipe is ordered bytes both ways. Receive, Send and Close may run side by side, each of
// them in one goroutine at a time.
type Pipe interface {
	// Receive reads until the pipe ends, and calls f with what came, which is valid during the
	// call only. It returns f's error, or why the pipe ended; io.EOF is an end in order.
	Receive(f func(b []byte) error) error
	// Send writes all of b.
	Send(b []byte) error
	// CloseSend ends our direction. A pipe of many calls is never half closed.
	CloseSend() error
	// Close ends the pipe, and with it Receive and Send.
	Close(why Reason, text string)
}

// A Session is a connection in which each call has a pipe of its own.
type Session interface {
	// Open opens a pipe for a call. The first one is for frames of the connection, and begins with HELLO.
	Open(ctx context.Context) (Pipe, error)
	// Accept waits for a pipe that the gateway opens, on which only the gateway writes.
	Accept(ctx context.Context) (Pipe, error)
	// SendDatagram sends a message that may be lost; one that is too long is an error.
	SendDatagram(b []byte) error
	// ReceiveDatagram waits for one.
	ReceiveDatagram(ctx context.Context) ([]byte, error)
	// Close ends the session, and all of its pipes.
	Close(why Reason, text string)
}

// A Reason says how a pipe is closed. Each carrier has its own way to tell.
type Reason int

const (
	// Leave says that nobody is left: the calls of the pipe are canceled.
	Leave Reason = iota
	// Cut says nothing at all, as when a cable is pulled: calls may be resumed.
	Cut
	// Violation says that the peer has broken the protocol.
	Violation
	// Done says that both directions have ended in order, and nothing is left to say.
	Done
)
