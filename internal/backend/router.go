package backend

import (
	"strings"
	"time"

	"github.com/sluice-rpc/sluice/rpc"
)

// A RouterConfig says what a Router does.
type RouterConfig struct {
	// Backends are where calls go, usually each a *Backend. With one, every call goes
	// there.
	Backends []rpc.Handler
	// Find returns the index of the backend that has a service. It is called for every
	// call if there are several backends, from any goroutine.
	Find func(service string) (index int, known bool)
	// Pending returns what the schema still waits for, such as the reflection of a
	// backend: until it is "", calls of unknown services wait. Nil is never.
	Pending func() string

	HeldCalls    int           // calls that wait; 10000
	ReadyTimeout time.Duration // how long a call without a deadline waits; 10 s, negative is never
}

// A Router is an rpc.Handler that gives each call to the backend that has its
// service.
type Router struct {
	cfg   RouterConfig
	queue queue
}

// NewRouter returns a Router.
func NewRouter(cfg RouterConfig) *Router {
	if cfg.HeldCalls <= 0 {
		cfg.HeldCalls = 10000
	}
	duration(&cfg.ReadyTimeout, 10*time.Second, never)
	r := &Router{cfg: cfg}
	r.queue.limit = cfg.HeldCalls
	return r
}

// Service returns the service of "/service/method"; false if the path has another
// form.
func Service(method string) (string, bool) {
	if len(method) < 4 || method[0] != '/' {
		return "", false
	}
	i := strings.IndexByte(method[1:], '/') + 1
	if i <= 1 || i == len(method)-1 || strings.IndexByte(method[i+1:], '/') >= 0 {
		return "", false
	}
	return method[1:i], true
}

// Start implements rpc.Handler.
func (r *Router) Start(call *rpc.Call, response rpc.Response) rpc.Request {
	service, ok := Service(call.Method)
	if !ok {
		return refuse(call, response, rpc.Errorf(rpc.Unimplemented, "malformed method name %q: it has to be \"/package.Service/Method\"", call.Method))
	}
	switch len(r.cfg.Backends) {
	case 0:
		return refuse(call, response, rpc.Errorf(rpc.Unavailable, "gateway has no backend"))
	case 1:
		return r.cfg.Backends[0].Start(call, response)
	}
	if i, known := r.find(service); known {
		return r.cfg.Backends[i].Start(call, response)
	}
	if r.pending() == "" {
		// Find and Pending are asked one after the other: the answer to the second may
		// have come with news for the first.
		if i, known := r.find(service); known {
			return r.cfg.Backends[i].Start(call, response)
		}
		return refuse(call, response, r.unknown(call))
	}
	return r.hold(call, response)
}

func (r *Router) find(service string) (int, bool) {
	if r.cfg.Find == nil {
		return 0, false
	}
	i, known := r.cfg.Find(service)
	return i, known && i >= 0 && i < len(r.cfg.Backends)
}

func (r *Router) pending() string {
	if r.cfg.Pending == nil {
		return ""
	}
	return r.cfg.Pending()
}

func (r *Router) unknown(call *rpc.Call) rpc.Status {
	return rpc.Errorf(rpc.Unimplemented, "no backend is known to have method %s: with several backends the gateway needs "+
		"descriptors or server reflection to route it, or the names of their services in its configuration", call.Method)
}

func (r *Router) hold(call *rpc.Call, response rpc.Response) rpc.Request {
	w := &waiter{call: call}
	w.hold = rpc.NewHold(call, response, func() { r.queue.remove(w) })
	wait := r.cfg.ReadyTimeout
	code := rpc.Unavailable
	if !call.Deadline.IsZero() {
		wait, code = time.Until(call.Deadline), rpc.DeadlineExceeded
	}
	expire := func() {
		w.fail(rpc.Errorf(code, "no backend is known to have method %s: still waiting for %s", call.Method, r.pending()))
	}
	if !r.queue.add(w, false, wait, expire) {
		w.fail(rpc.Errorf(rpc.ResourceExhausted, "too many calls wait for a schema already (limits.held_calls is %d)", r.cfg.HeldCalls))
		return w.hold
	}
	r.Changed() // in case the schema came between our look and the queue
	return w.hold
}

// Changed has the Router look again at the calls that wait. It is to be called when
// Find or Pending would give other answers than before.
func (r *Router) Changed() {
	if r.queue.n.Load() == 0 {
		return
	}
	over := r.pending() == ""
	for _, w := range r.queue.all() {
		service, _ := Service(w.call.Method)
		i, known := r.find(service)
		if !known && !over || !r.queue.remove(w) {
			continue
		}
		if known {
			w.hold.Release(r.cfg.Backends[i])
		} else {
			w.fail(r.unknown(w.call))
		}
	}
}

// refuse answers a call itself.
func refuse(call *rpc.Call, response rpc.Response, st rpc.Status) rpc.Request {
	h := rpc.NewHold(call, response, nil)
	h.Fail(st)
	return h
}
