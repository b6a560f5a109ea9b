package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Duplex is the carrier that makes a pipe of plain HTTP requests (docs/protocols/http2-duplex.md), for
// networks that let nothing else through.
type Duplex struct {
	// Stream sends everything in one upload that does not end. By default, and where something on the way
	// holds that one back, there are uploads one after the other.
	Stream bool
	// Poll asks for what comes again and again, for networks that hold back an answer until it is whole.
	Poll bool
	// HTTP1 uses HTTP/1.1 also where HTTP/2 can be had.
	HTTP1 bool
}

// Name is "duplex", with what is different from the default.
func (d Duplex) Name() string {
	name := "duplex"
	if d.Stream {
		name += "-stream"
	}
	if d.Poll {
		name += "-poll"
	}
	if d.HTTP1 {
		name += "-h1"
	}
	return name
}

// Dial begins a session.
func (d Duplex) Dial(ctx context.Context, t *Target) (*Connection, error) {
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	p := &duplexPipe{t: t, id: hex.EncodeToString(id[:]), poll: d.Poll}
	p.transport = &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: cloneTLS(t.TLS), TLSHandshakeTimeout: 10 * time.Second,
		DialContext: t.dial, DisableCompression: true, ForceAttemptHTTP2: !d.HTTP1, Protocols: new(http.Protocols),
	}
	p.transport.Protocols.SetHTTP1(true)
	if !d.HTTP1 {
		p.transport.Protocols.SetHTTP2(true)
	} else {
		p.transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	p.wake.L = &p.mu
	p.life, p.end = context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, p.end)
	var addr net.Addr
	first, err := p.get(httptrace.WithClientTrace(p.life, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { addr = i.Conn.RemoteAddr() },
	}), 0)
	if err == nil && !d.Poll {
		// The byte that means nothing. If it does not come, something holds answers back.
		late := time.AfterFunc(firstByte, p.end)
		_, err = io.ReadFull(first.Body, make([]byte, 1))
		if !late.Stop() && err != nil {
			err = errors.New("something on the way holds answers back: long polling may work")
		}
	}
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		p.Close(Cut, "")
		return nil, err
	}
	p.first = first
	if d.Stream {
		p.upload = p.stream()
	}
	return &Connection{Pipe: p, Addr: addr}, nil
}

// firstByte is how long the first byte may take.
const firstByte = 2 * time.Second

// duplexPipe is a session.
type duplexPipe struct {
	t         *Target
	id        string
	poll      bool
	transport *http.Transport
	life      context.Context // of all requests
	end       context.CancelFunc
	first     *http.Response
	received  int64 // bytes that came down
	upload    *streamed

	mu     sync.Mutex
	wake   sync.Cond
	sent   int64 // bytes given to uploads one after the other
	flying int   // uploads under way
	failed error
	closed bool
}

// request makes a request of the session.
func (p *duplexPipe) request(ctx context.Context, method string, offset int64, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.t.URL.String(), body)
	if err != nil {
		return nil, err
	}
	if p.t.Header != nil {
		req.Header = p.t.Header.Clone()
	}
	req.Header.Set("Sluice-Session", p.id)
	req.Header.Set("Sluice-Offset", strconv.FormatInt(offset, 10))
	return req, nil
}

// An answered is a status that ends the session.
type answered struct {
	status int
	text   string
}

func (a *answered) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the gateway answered %d %s: %s", a.status, http.StatusText(a.status), a.text))
}

func answer(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	_ = resp.Body.Close()
	return &answered{resp.StatusCode, strings.TrimSpace(string(b))}
}

// get asks for what comes down.
func (p *duplexPipe) get(ctx context.Context, offset int64) (*http.Response, error) {
	req, err := p.request(ctx, http.MethodGet, offset, nil)
	if err != nil {
		return nil, err
	}
	if offset == 0 {
		for name, values := range p.t.Opening() {
			req.Header[name] = values
		}
	}
	if p.poll {
		req.Header.Set("Sluice-Poll", "1")
	}
	resp, err := p.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		if err := CheckDirected(resp); err != nil {
			_ = resp.Body.Close()
			return nil, err
		}
		return nil, answer(resp)
	}
	return resp, nil
}

// Receive implements [Pipe].
func (p *duplexPipe) Receive(f func(b []byte) error) error {
	buf := make([]byte, 32<<10)
	resp := p.first
	for tries := 0; ; {
		err := p.take(resp, buf, f)
		switch ended := resp.Header.Get("Sluice-End") == "1"; {
		case err != nil && (!p.poll || errors.Is(err, errTaken)):
			return err
		case err == nil && (!p.poll || ended):
			return io.EOF
		case err == nil:
			tries = 0
		}
		for {
			// An answer that was lost is asked for again.
			if resp, err = p.get(p.life, p.received); err == nil {
				break
			}
			if _, said := errors.AsType[*answered](err); said || p.life.Err() != nil || tries == maxTries {
				return err
			}
			tries++
			p.pause(tries)
		}
	}
}

// maxTries is how often a request is repeated that got no answer.
const maxTries = 5

func (p *duplexPipe) pause(tries int) {
	t := time.NewTimer(time.Duration(tries*tries) * 20 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.life.Done():
	}
}

// errTaken is an error of who takes bytes.
var errTaken = errors.New("the reader has failed")

// take reads an answer.
func (p *duplexPipe) take(resp *http.Response, buf []byte, f func([]byte) error) error {
	defer resp.Body.Close() //nolint:errcheck // it was read
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			p.received += int64(n)
			if bad := f(buf[:n]); bad != nil {
				return errors.Join(errTaken, bad)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// Send implements [Pipe]. With uploads one after the other it returns when there may be another one:
// what is written meanwhile goes into the next.
func (p *duplexPipe) Send(b []byte) error {
	if p.upload != nil {
		if taken, err := p.upload.send(b); taken {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed != nil {
		return p.failed
	}
	p.fly(bytes.Clone(b))
	for p.flying >= maxFlying && p.failed == nil {
		p.wake.Wait()
	}
	return p.failed
}

// fly begins an upload; p.mu is held.
func (p *duplexPipe) fly(b []byte) {
	go p.deliver(b, p.sent) // ends with its answer, or the session
	p.sent += int64(len(b))
	p.flying++
}

// maxFlying is how many uploads are under way: one is on its way while the other's answer is.
const maxFlying = 2

// deliver sends bytes until the gateway has them.
func (p *duplexPipe) deliver(b []byte, offset int64) {
	var err error
	for tries := 1; tries <= maxTries; tries++ {
		if err = p.post(b, offset); err == nil || p.life.Err() != nil {
			break
		}
		if a, ok := errors.AsType[*answered](err); ok && a.status != http.StatusConflict && a.status != http.StatusServiceUnavailable {
			break
		}
		p.pause(tries) // the same bytes at the same place do no harm
	}
	if err != nil {
		p.fail(err)
	}
	p.mu.Lock()
	p.flying--
	p.wake.Broadcast()
	p.mu.Unlock()
}

func (p *duplexPipe) post(b []byte, offset int64) error {
	req, err := p.request(p.life, http.MethodPost, offset, bytes.NewReader(b))
	if err != nil {
		return err
	}
	resp, err := p.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusNoContent {
		return answer(resp)
	}
	return resp.Body.Close()
}

// fail ends the session.
func (p *duplexPipe) fail(err error) {
	p.mu.Lock()
	if p.failed == nil {
		p.failed = err
	}
	p.wake.Broadcast()
	p.mu.Unlock()
	p.end()
}

// CloseSend implements [Pipe].
func (p *duplexPipe) CloseSend() error { return nil }

// Close implements [Pipe].
func (p *duplexPipe) Close(why Reason, _ string) {
	p.mu.Lock()
	closed := p.closed
	p.closed = true
	p.mu.Unlock()
	if closed {
		return
	}
	if why == Leave {
		// Before the download is aborted, which would be a loss.
		ctx, cancel := context.WithTimeout(context.Background(), closeWait)
		if req, err := p.request(ctx, http.MethodDelete, 0, nil); err == nil {
			req.Header.Del("Sluice-Offset")
			if resp, err := p.transport.RoundTrip(req); err == nil {
				_ = resp.Body.Close()
			}
		}
		cancel()
	}
	p.fail(errClosed)
	if p.upload != nil { // whoever reads its body waits there, and sees no context
		_ = p.upload.body.CloseWithError(errClosed)
	}
	p.transport.CloseIdleConnections()
}
