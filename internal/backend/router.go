package backend

import (
	"strings"

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
	// WaitConfig is about calls of unknown services.
	WaitConfig
}

// A Router is an rpc.Handler that gives each call to the backend that has its
// service.
type Router struct {
	cfg  RouterConfig
	wait *SchemaWait
}

// NewRouter returns a Router.
func NewRouter(cfg RouterConfig) *Router {
	return &Router{cfg, NewSchemaWait(cfg.WaitConfig)}
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
	if r.wait.pending() == "" {
		// Find and Pending are asked one after the other: the answer to the second may
		// have come with news for the first.
		if i, known := r.find(service); known {
			return r.cfg.Backends[i].Start(call, response)
		}
		return refuse(call, response, r.unknown(call))
	}
	return r.wait.Hold(call, response, "no backend is known to have method "+call.Method, func(last bool) rpc.Handler {
		i, known := r.find(service)
		switch {
		case known:
			return r.cfg.Backends[i]
		case last:
			return refusing(r.unknown(call))
		}
		return nil
	})
}

func (r *Router) find(service string) (int, bool) {
	if r.cfg.Find == nil {
		return 0, false
	}
	i, known := r.cfg.Find(service)
	return i, known && i >= 0 && i < len(r.cfg.Backends)
}

func (r *Router) unknown(call *rpc.Call) rpc.Status {
	return rpc.Errorf(rpc.Unimplemented, "no backend is known to have method %s: with several backends the gateway needs "+
		"descriptors or server reflection to route it, or the names of their services in its configuration", call.Method)
}

// Changed has the Router look again at the calls that wait. It is to be called when
// Find or Pending would give other answers than before.
func (r *Router) Changed() { r.wait.Changed() }
