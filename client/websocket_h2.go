package client

//lint:file-ignore SA1019 net/http's Transport sends no extended CONNECT: it refuses the field :protocol

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"

	"golang.org/x/net/http2"
)

// dialWebSocket2 opens one on a stream of HTTP/2.
func dialWebSocket2(ctx context.Context, t *Target) (*Connection, error) {
	transport := &http2.Transport{TLSClientConfig: cloneTLS(t.TLS), DisableCompression: true}
	var addr net.Addr
	if t.URL.Scheme == "http" {
		transport.AllowHTTP = true
		transport.DialTLSContext = func(ctx context.Context, network, address string, _ *tls.Config) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { addr = i.Conn.RemoteAddr() }})
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, end)
	up, write := io.Pipe()
	done := func() {
		_ = write.CloseWithError(errClosed)
		end()
		transport.CloseIdleConnections()
	}
	req, err := http.NewRequestWithContext(life, http.MethodConnect, t.URL.String(), up)
	if err != nil {
		done()
		return nil, err
	}
	req.Header = handshake(t)
	req.Header.Set(":protocol", "websocket")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		done()
		return nil, err
	}
	if err = agreed(resp); resp.StatusCode != http.StatusOK {
		err = refused(resp)
	}
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		_ = resp.Body.Close()
		done()
		return nil, err
	}
	return &Connection{Pipe: newSocket(stream2{resp.Body, write}, done), Addr: addr}, nil
}

// stream2 is a stream of HTTP/2.
type stream2 struct {
	io.ReadCloser
	io.Writer
}
