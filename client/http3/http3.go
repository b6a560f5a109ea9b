// Package http3 is the carrier of package client that is plain gRPC over HTTP/3: a request for each
// call, as any server of gRPC over HTTP/3 takes it. It is apart because it links QUIC.
//
//	c, err := client.New("https://gateway.example.com", client.Config{
//		Carriers: []client.Carrier{http3.Carrier{}, client.WebSocket{}},
//	})
//
// There is nothing on the wire but gRPC, so calls can't be resumed: one whose connection is lost
// ends with UNAVAILABLE. The path of the URL means nothing.
//
// Within the process it speaks the call form of the duplex protocol with its client, as WebTransport
// does on the wire, so that a call is the same above all carriers: see [session] and [pipe].
package http3

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/sluice-rpc/sluice/client"
	"github.com/sluice-rpc/sluice/client/internal/quicdial"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
)

// Carrier opens connections of HTTP/3.
type Carrier struct{}

// Name is "http3".
func (Carrier) Name() string { return "http3" }

// Dial opens a QUIC connection.
func (Carrier) Dial(ctx context.Context, t *client.Target) (*client.Connection, error) {
	conn, err := quicdial.Dial(ctx, t.URL, t.TLS, &quic.Config{})
	if err != nil {
		return nil, err
	}
	s := &session{
		conn: conn, url: url.URL{Scheme: "https", Host: t.URL.Host}, header: t.Header,
		// What the server says has to fit into a frame.
		c:    (&http3.Transport{DisableCompression: true, MaxResponseHeaderBytes: duplex.MaxFrame}).NewClientConn(conn),
		said: make(chan struct{}), goAway: make(chan struct{}), told: make(chan struct{}),
	}
	return &client.Connection{Session: s, Addr: conn.RemoteAddr()}, nil
}

// session implements [client.Session]. It plays the gateway where frames of the connection
// are concerned: WELCOME, which offers no ticket; GOAWAY, when the server takes no more requests;
// PONG, since QUIC itself asks for signs of life.
type session struct {
	conn   *quic.Conn
	c      *http3.ClientConn
	url    url.URL
	header http.Header // of every request

	mu       sync.Mutex
	opened   bool
	accepted bool
	hello    []exchange.Field
	said     chan struct{} // closed by HELLO
	goAway   chan struct{} // closed when the server takes no more
	going    bool
	told     chan struct{} // closed when the client knows that

	// receiving is held, for reading, by pipes that hand a response to the client.
	receiving sync.RWMutex
}

// lost is why the connection ended. It waits for responses that came before: after GOAWAY quic-go closes
// the connection when the last one was read.
func (s *session) lost() error {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	return context.Cause(s.conn.Context())
}

// Open opens the pipe of the connection, and then a request for each call.
func (s *session) Open(ctx context.Context) (client.Pipe, error) {
	s.mu.Lock()
	first := !s.opened
	s.opened = true
	s.mu.Unlock()
	if first {
		return &ownPipe{s: s, done: make(chan struct{})}, nil
	}
	str, err := s.c.OpenRequestStream(ctx)
	if err == nil {
		return newPipe(s, str), nil
	}
	if ctx.Err() == nil && s.conn.Context().Err() == nil {
		// GOAWAY of HTTP/3. The call, of which nothing was sent, would come back here if the client did not know.
		s.mu.Lock()
		if !s.going {
			s.going = true
			close(s.goAway)
		}
		s.mu.Unlock()
		select {
		case <-s.told:
		case <-ctx.Done():
		case <-s.conn.Context().Done():
		}
	}
	return nil, err
}

// Accept returns the pipe on which the gateway's frames come.
func (s *session) Accept(ctx context.Context) (client.Pipe, error) {
	s.mu.Lock()
	first := !s.accepted
	s.accepted = true
	s.mu.Unlock()
	if first {
		return &welcomePipe{s: s, done: make(chan struct{})}, nil
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.conn.Context().Done():
		return nil, s.lost()
	}
}

var errNoDatagrams = errors.New("gRPC over HTTP/3 has no datagrams")

// SendDatagram implements [client.Session].
func (s *session) SendDatagram([]byte) error { return errNoDatagrams }

// ReceiveDatagram implements [client.Session].
func (s *session) ReceiveDatagram(context.Context) ([]byte, error) { return nil, errNoDatagrams }

// Close implements [client.Session].
func (s *session) Close(_ client.Reason, text string) {
	_ = s.conn.CloseWithError(quicdial.NoError, text)
}

// wait waits for the end of the session, or of a pipe.
func (s *session) wait(done chan struct{}) error {
	select {
	case <-done:
		return errClosed
	case <-s.conn.Context().Done():
		return s.lost()
	}
}

var errClosed = errors.New("the pipe is closed")

// request is the request of a call. For each name, what the call has itself goes before HELLO, and
// that before what every request has.
func (s *session) request(list []exchange.Field) (*http.Request, error) {
	req := &http.Request{
		Method: http.MethodPost, URL: &url.URL{Scheme: s.url.Scheme, Host: s.url.Host, Path: exchange.Get(list, ":path")}, Host: s.url.Host,
		Header: http.Header{"Content-Type": {"application/grpc"}, "User-Agent": {"sluice"}},
		// A body that we write ourselves, and whose length nobody knows.
		Body: http.NoBody, ContentLength: -1,
	}
	for name, values := range s.header {
		req.Header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	s.mu.Lock()
	hello := s.hello
	s.mu.Unlock()
	for _, from := range [][]exchange.Field{hello, list} {
		fresh := http.Header{}
		for _, f := range from {
			if f.Name[0] != ':' {
				fresh.Add(f.Name, f.Value)
			}
		}
		for name, values := range fresh {
			req.Header[name] = values
		}
	}
	req.Header["Te"] = []string{"trailers"} // PROTOCOL-HTTP2.md, "Requests"
	if req.URL.Path == "" {
		return nil, errors.New("HEADERS without :path")
	}
	return req, nil
}

// ownPipe takes the client's frames of the connection.
type ownPipe struct {
	s    *session
	dec  duplex.Decoder
	mu   sync.Mutex
	f    func([]byte) error // of Receive
	pong []byte             // that waits for it
	once sync.Once
	done chan struct{}
}

// Receive implements [client.Pipe]. PONG is all that comes, from Send.
func (p *ownPipe) Receive(f func([]byte) error) error {
	if err := p.set(f); err != nil {
		return err
	}
	defer p.set(nil) //nolint:errcheck // nothing waits
	return p.s.wait(p.done)
}

func (p *ownPipe) set(f func([]byte) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.f = f; f == nil || p.pong == nil {
		return nil
	}
	defer func() { p.pong = nil }()
	return f(p.pong)
}

// Send implements [client.Pipe].
func (p *ownPipe) Send(b []byte) error { return p.dec.Feed(b, (*ownFrames)(p)) }

// CloseSend implements [client.Pipe].
func (p *ownPipe) CloseSend() error { return nil }

// Close implements [client.Pipe].
func (p *ownPipe) Close(client.Reason, string) { p.once.Do(func() { close(p.done) }) }

// ownFrames is an ownPipe as the place of what its decoder finds; see [duplex.Events].
type ownFrames ownPipe

// Data belongs elsewhere.
func (p *ownFrames) Data(uint32, []byte) error { return nil }

// Frame takes HELLO and PING.
func (p *ownFrames) Frame(kind duplex.Kind, _ uint32, payload []byte) error {
	switch kind {
	case duplex.Hello:
		list, err := fields.Parse(nil, payload, maxBlock)
		if err != nil {
			return err
		}
		p.s.mu.Lock()
		defer p.s.mu.Unlock()
		if p.s.hello == nil {
			close(p.s.said)
		}
		p.s.hello = append([]exchange.Field{}, list...)
	case duplex.Ping:
		p.mu.Lock()
		defer p.mu.Unlock()
		pong := duplex.CallForm.Append(nil, duplex.Pong, 0, payload)
		if p.f != nil {
			return p.f(pong)
		}
		p.pong = pong // one is asked for at a time
	}
	return nil
}

// maxBlock bounds what a field block counts for; a frame bounds its bytes.
const maxBlock = 1 << 20

// welcomePipe is where frames come from that a gateway would send. Nobody writes on it.
type welcomePipe struct {
	s    *session
	once sync.Once
	done chan struct{}
}

// Receive implements [client.Pipe]. WELCOME waits for HELLO, which no call may overtake.
func (p *welcomePipe) Receive(f func([]byte) error) error {
	for _, say := range []struct {
		after  chan struct{}
		kind   duplex.Kind
		fields string
	}{
		{p.s.said, duplex.Welcome, "version: 1\r\n"},
		{p.s.goAway, duplex.GoAway, "reason: the server takes no more requests\r\n"},
	} {
		select {
		case <-say.after:
		case <-p.done:
			return errClosed
		case <-p.s.conn.Context().Done():
			return p.s.lost()
		}
		if err := f(duplex.CallForm.Append(nil, say.kind, 0, []byte(say.fields))); err != nil {
			return err
		}
	}
	close(p.s.told)
	return p.s.wait(p.done)
}

// Send implements [client.Pipe].
func (p *welcomePipe) Send([]byte) error { return errors.New("only the gateway writes here") }

// CloseSend implements [client.Pipe].
func (p *welcomePipe) CloseSend() error { return nil }

// Close implements [client.Pipe].
func (p *welcomePipe) Close(client.Reason, string) { p.once.Do(func() { close(p.done) }) }
