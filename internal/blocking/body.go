package blocking

import (
	"errors"
	"io"
	"net/http"
)

// body is the content of a request as an in-process handler reads it.
type body handled

// The texts are those of net/http's HTTP/2 server, which *grpc.Server looks for.
var (
	errReset  = errors.New("the client has reset the exchange")
	errClosed = errors.New("http2: request body closed by handler")
)

// Read implements [io.Reader]. It may run beside Close and beside the response.
func (b *body) Read(p []byte) (int, error) {
	x := (*handled)(b)
	if len(p) == 0 {
		return 0, nil
	}
	x.mu.Lock()
	for len(x.in) == x.off && !x.inEnd && !x.reset && !x.over && !x.closed {
		x.changed.Wait()
	}
	switch {
	case x.closed:
		x.mu.Unlock()
		return 0, errClosed
	case x.reset || x.over:
		x.mu.Unlock()
		return 0, errReset
	case len(x.in) == x.off:
		trailer := x.trailer
		x.trailer = nil
		x.mu.Unlock()
		for _, f := range trailer {
			if x.request.Trailer == nil {
				x.request.Trailer = http.Header{}
			}
			x.request.Trailer.Add(f.Name, f.Value)
		}
		return 0, io.EOF
	}
	n := copy(p, x.in[x.off:])
	x.off += n
	if x.off == len(x.in) {
		x.freeLocked()
	}
	x.inside++ // keeps the response from ending while it is credited
	x.mu.Unlock()
	x.h.o.enter()
	defer x.leave()
	x.response.Credit(n)
	return n, nil
}

// Close implements [io.Closer]. A Read that waits fails; what is to come is taken and
// dropped.
func (b *body) Close() error {
	x := (*handled)(b)
	x.mu.Lock()
	if x.closed || x.over || x.reset {
		x.mu.Unlock()
		return nil
	}
	x.closed = true
	left := len(x.in) - x.off
	x.freeLocked()
	x.changed.Broadcast()
	if left == 0 {
		x.mu.Unlock()
		return nil
	}
	x.inside++
	x.mu.Unlock()
	x.h.o.enter()
	defer x.leave()
	x.response.Credit(left)
	return nil
}
