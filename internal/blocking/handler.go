package blocking

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// Handler makes an exchange.Handler of an http.Handler. Each exchange runs h.ServeHTTP
// on a goroutine; the request says HTTP/2, whose rules hold: both directions at once,
// trailers (declared, or by http.TrailerPrefix), Flush.
//
// When an exchange is reset, its request's context is canceled, reads and writes fail,
// and the response is over at once; the goroutine ends when h returns.
func Handler(h http.Handler, o Options) exchange.Handler { return &handler{h: h, o: o} }

type handler struct {
	h http.Handler
	o Options
}

// Start implements [exchange.Handler].
func (h *handler) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	x := &handled{h: h, response: response, isHead: head.Method == http.MethodHead, credit: rpc.WindowDefault, header: http.Header{}}
	x.changed.L = &x.mu
	x.request = x.newRequest(head)
	return x
}

// handled is an exchange that an http.Handler serves: the Request for who pushes, the
// ResponseWriter for the handler. Its Body is a [body].
type handled struct {
	h        *handler
	response exchange.Response
	request  *http.Request // nil if there is no such URL
	cancel   context.CancelFunc
	isHead   bool

	// The handler's goroutine's.
	header   http.Header
	head     exchange.ResponseHead // as of WriteHeader
	declared []string              // trailers that the head promised
	wrote    bool                  // WriteHeader was called
	sent     bool                  // head was delivered
	out      []byte                // written and not yet delivered
	length   int64                 // declared; -1 is unknown
	written  int64

	mu      sync.Mutex
	changed sync.Cond
	in      []byte // content that the handler has not read is in[off:]
	off     int
	inEnd   bool
	closed  bool // the handler has closed the body
	trailer []exchange.Field
	credit  int  // response bytes that may be delivered
	inside  int  // events of the response that are being delivered
	over    bool // the end of the response was delivered, or is about to be
	reset   bool // whoever leaves last delivers a reset
	code    exchange.Code
	cause   error
}

// serverKey is the value of http.ServerContextKey. httputil.ReverseProxy breaks a
// response that it could not copy only if it sees one; else it would end it as if it
// were whole.
var serverKey = new(http.Server)

func (x *handled) newRequest(head *exchange.RequestHead) *http.Request {
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), http.ServerContextKey, serverKey))
	x.cancel = cancel
	u, err := url.ParseRequestURI(head.Path)
	if head.Path == "*" {
		u, err = &url.URL{Path: "*"}, nil
	}
	if err != nil {
		return nil
	}
	r := &http.Request{
		Method: head.Method, URL: u, RequestURI: head.Path, Host: head.Authority,
		Proto: "HTTP/2.0", ProtoMajor: 2, Header: make(http.Header, len(head.Fields)),
		Body: (*body)(x), ContentLength: head.Length, TLS: head.TLS,
	}
	if head.Addr != nil {
		r.RemoteAddr = head.Addr.String()
	}
	if head.Protocol != "" {
		r.Header[":protocol"] = []string{head.Protocol} // as net/http does (RFC 8441)
	}
	values := make([]string, len(head.Fields))
	for i, f := range head.Fields {
		key := http.CanonicalHeaderKey(f.Name)
		switch old := r.Header[key]; {
		case f.Name == "trailer":
			r.Trailer = declare(r.Trailer, f.Value)
		case old == nil:
			values[i] = f.Value
			r.Header[key] = values[i : i+1 : i+1]
		case f.Name == "cookie":
			old[0] += "; " + f.Value // crumbs (RFC 9113, section 8.2.3)
		default:
			r.Header[key] = append(old, f.Value)
		}
	}
	return r.WithContext(ctx)
}

func declare(h http.Header, names string) http.Header {
	if h == nil {
		h = http.Header{}
	}
	for name := range strings.SplitSeq(names, ",") {
		if name = strings.TrimSpace(name); name != "" {
			h[http.CanonicalHeaderKey(name)] = nil
		}
	}
	return h
}

// Begin implements [exchange.Request].
func (x *handled) Begin() {
	go x.run() // ends when the handler returns, which a reset asks it to
}

// Data implements [exchange.Request].
func (x *handled) Data(b []byte) {
	x.mu.Lock()
	switch {
	case x.over || x.reset:
	case x.closed: // the handler doesn't want it, and goes on
		x.mu.Unlock()
		x.response.Credit(len(b))
		return
	default:
		if x.in == nil {
			x.in = *datas.Get().(*[]byte)
		} else if x.off > 0 && len(x.in)+len(b) > cap(x.in) {
			x.in = x.in[:copy(x.in, x.in[x.off:])]
			x.off = 0
		}
		x.in = append(x.in, b...)
		x.changed.Broadcast()
	}
	x.mu.Unlock()
}

// End implements [exchange.Request].
func (x *handled) End(trailer []exchange.Field) {
	x.mu.Lock()
	x.inEnd = true
	x.trailer = append(x.trailer, trailer...)
	x.changed.Broadcast()
	x.mu.Unlock()
}

// Credit implements [exchange.Request].
func (x *handled) Credit(n int) {
	x.mu.Lock()
	x.credit += n
	x.changed.Broadcast()
	x.mu.Unlock()
}

// Reset implements [exchange.Request].
func (x *handled) Reset(code exchange.Code) { x.fail(code, nil) }

// Done implements [exchange.Request].
func (x *handled) Done(bool) { x.cancel() }

// fail ends the response with a reset, unless it is over.
func (x *handled) fail(code exchange.Code, cause error) {
	x.mu.Lock()
	if x.over || x.reset {
		x.mu.Unlock()
		return
	}
	x.reset, x.code, x.cause = true, code, cause
	x.freeLocked()
	tell := x.claimLocked()
	x.changed.Broadcast()
	x.mu.Unlock()
	x.cancel()
	if tell {
		x.response.Reset(code, cause)
	}
}

// claimLocked says whether the caller has to deliver the reset: nobody else is inside
// of a response event.
func (x *handled) claimLocked() bool {
	if !x.reset || x.over || x.inside > 0 {
		return false
	}
	x.over = true
	return true
}

// freeLocked drops the content that was not read.
func (x *handled) freeLocked() {
	if cap(x.in) > 0 && cap(x.in) <= 2*rpc.WindowDefault {
		b := x.in[:0]
		datas.Put(&b)
	}
	x.in, x.off = nil, 0
}

// leave ends what inside++ began.
func (x *handled) leave() {
	x.mu.Lock()
	x.inside--
	tell := x.claimLocked()
	code, cause := x.code, x.cause
	x.mu.Unlock()
	if tell {
		x.response.Reset(code, cause)
	}
	x.h.o.leave()
}

// run is the goroutine of the handler.
func (x *handled) run() {
	defer x.cancel()
	ended := false
	defer func() {
		p := recover()
		if ended {
			return
		}
		cause := fmt.Errorf("the handler panicked: %v", p)
		if p == http.ErrAbortHandler || p == nil {
			cause = errors.New("the handler aborted the response") // or its goroutine, by runtime.Goexit
		} else if log := x.h.o.Log; log != nil {
			log.Error("panic in an in-process handler", "panic", p, "stack", string(debug.Stack()))
		}
		x.fail(exchange.InternalError, cause)
	}()
	if x.request == nil {
		http.Error(x, "malformed path", http.StatusBadRequest)
	} else {
		x.h.h.ServeHTTP(x, x.request)
	}
	x.finish()
	ended = true
}
