package blocking

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"github.com/sluice-rpc/sluice/internal/netio"
)

// Options are for both sides. The zero value works.
type Options struct {
	// Work is the list of connections to flush that is shared with the HTTP/2 engine;
	// nil means that nobody shares one.
	Work *netio.Work
	// Stall is how long one write of at most a window may take before the client counts
	// as gone; zero is no limit. For ServeHTTP only.
	Stall time.Duration
	// Detach lets ServeHTTP return when a request has become a WebSocket, so that the server
	// can forget what it keeps of the request. The WebSocket goes on until its connection
	// is closed. For ServeHTTP only.
	Detach bool
	// Writers write; nil is a new goroutine each time that something is to be written.
	Writers *Writers
	// Log gets what a person should know: panics of in-process handlers. Nil is silent.
	Log *slog.Logger
}

func (o *Options) enter() {
	if o.Work != nil {
		o.Work.Enter()
	}
}

func (o *Options) leave() {
	if o.Work != nil {
		o.Work.Leave()
	}
}

// A Peer is what the owner of a listener knows about a connection better than
// net/http does.
type Peer struct {
	Addr net.Addr
	TLS  *tls.ConnectionState
}

type peerKey struct{}

// WithPeer returns a context, for http.Server.ConnContext, that tells ServeHTTP who
// the peer is.
func WithPeer(ctx context.Context, p *Peer) context.Context {
	return context.WithValue(ctx, peerKey{}, p)
}
