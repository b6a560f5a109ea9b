// Package webtransport is the carrier of package client over HTTP/3, where each call is a stream
// of its own (docs/protocols/webtransport.md): a lost packet holds up no other call. It is
// apart because it links QUIC.
//
//	c, err := client.New("https://gateway.example.com", client.Config{
//		Carriers: []client.Carrier{webtransport.Carrier{}, client.WebSocket{}},
//	})
package webtransport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"

	"github.com/sluice-rpc/sluice/client"
	"github.com/sluice-rpc/sluice/client/internal/quicdial"
	"github.com/sluice-rpc/sluice/internal/exchange"
)

// Carrier opens WebTransport sessions.
type Carrier struct{}

// Name is "webtransport".
func (Carrier) Name() string { return "webtransport" }

// The codes of docs/protocols/webtransport.md that a client sends.
const (
	codeNone      = 0
	codeCancel    = 1
	codeProtocol  = 3
	codeElsewhere = 7
)

// Dial opens a QUIC connection, and a session on it. UDP that is blocked gives no error, so the
// context should have a deadline.
func (Carrier) Dial(ctx context.Context, t *client.Target) (*client.Connection, error) {
	conn, err := quicdial.Dial(ctx, t.URL, t.TLS, &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true})
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, conn, t)
	if err != nil {
		_ = conn.CloseWithError(quicdial.NoError, "")
		return nil, err
	}
	return &client.Connection{Session: &session{conn, s}, Addr: conn.RemoteAddr()}, nil
}

func open(ctx context.Context, conn *quic.Conn, t *client.Target) (*webtransport.Session, error) {
	c, err := (&webtransport.Transport{ApplicationProtocols: []string{exchange.PipeMux}}).NewClientConn(conn)
	if err != nil {
		return nil, err
	}
	resp, s, err := c.Dial(ctx, t.URL.String(), t.Opening())
	if err != nil {
		if resp != nil && (resp.StatusCode < 200 || resp.StatusCode > 299) {
			if err := client.CheckDirected(resp); err != nil {
				return nil, err
			}
			return nil, fmt.Errorf("the session was refused: %d", resp.StatusCode)
		}
		return nil, err
	}
	return s, nil
}

// session implements [client.Session].
type session struct {
	conn *quic.Conn
	s    *webtransport.Session
}

// Open opens a stream.
func (s *session) Open(ctx context.Context) (client.Pipe, error) {
	str, err := s.s.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	return &pipe{read: str, stream: str}, nil
}

// Accept takes the server's stream.
func (s *session) Accept(ctx context.Context) (client.Pipe, error) {
	str, err := s.s.AcceptUniStream(ctx)
	if err != nil {
		return nil, err
	}
	return &pipe{read: str}, nil
}

// SendDatagram sends one.
func (s *session) SendDatagram(b []byte) error { return s.s.SendDatagram(b) }

// ReceiveDatagram waits for one.
func (s *session) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	return s.s.ReceiveDatagram(ctx)
}

// farewell is how long the server has to read why we go: the end of a connection overtakes what
// was sent on it.
const farewell = 300 * time.Millisecond

// Close ends the session, and its connection.
func (s *session) Close(why client.Reason, text string) {
	if why == client.Cut {
		_ = s.conn.CloseWithError(quicdial.NoError, "")
		return
	}
	code := webtransport.SessionErrorCode(codeNone)
	if why == client.Violation {
		code = codeProtocol
	}
	_ = s.s.CloseWithError(code, text[:min(len(text), 1024)])
	go func() { // ends in a moment
		t := time.NewTimer(farewell)
		defer t.Stop()
		select {
		case <-s.conn.Context().Done():
		case <-t.C:
		}
		_ = s.conn.CloseWithError(quicdial.NoError, "")
	}()
}

// reader is the half of a stream that the server writes.
type reader interface {
	io.Reader
	CancelRead(webtransport.StreamErrorCode)
}

// pipe is a stream; those of the server have no half of ours.
type pipe struct {
	read   reader
	stream *webtransport.Stream
}

// Receive implements [client.Pipe].
func (p *pipe) Receive(f func(b []byte) error) error {
	buf := make([]byte, 16<<10)
	for {
		n, err := p.read.Read(buf)
		if n > 0 {
			if err := f(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// Send implements [client.Pipe].
func (p *pipe) Send(b []byte) error {
	if p.stream == nil {
		return errors.New("only the gateway writes on this stream")
	}
	_, err := p.stream.Write(b)
	return err
}

// CloseSend implements [client.Pipe].
func (p *pipe) CloseSend() error {
	if p.stream == nil {
		return nil
	}
	return p.stream.Close()
}

// Close implements [client.Pipe]. A stream that has ended in order is let be: a reset would take
// away what has not arrived.
func (p *pipe) Close(why client.Reason, _ string) {
	code := webtransport.StreamErrorCode(codeElsewhere)
	switch why {
	case client.Done:
		return
	case client.Leave:
		code = codeCancel
	case client.Violation:
		code = codeProtocol
	}
	p.read.CancelRead(code)
	if p.stream != nil {
		p.stream.CancelWrite(code)
	}
}
