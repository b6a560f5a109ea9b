package command

import (
	"net/http"
	"strings"
	"sync"

	"golang.org/x/net/trace"

	"github.com/sluice-rpc/sluice/rpc"
)

// debugPages shows calls at /debug/requests, the running ones and some that are over, by the package by which
// grpcwebproxy shows them. Who asks from another machine gets 401.
func debugPages(handlers map[string]http.Handler) func(rpc.Handler) rpc.Handler {
	handlers["/debug/requests"] = http.HandlerFunc(trace.Traces)
	handlers["/debug/events"] = http.HandlerFunc(trace.Events)
	var known families
	return func(next rpc.Handler) rpc.Handler {
		return rpc.HandlerFunc(func(call *rpc.Call, response rpc.Response) rpc.Request {
			t := trace.New(known.of(call.Method), call.Method)
			t.LazyPrintf("%s over %s, from %v, deadline %v", call.Protocol, call.Carrier, call.Peer.Addr, call.Deadline)
			return next.Start(call, &traced{response, t, &call.Stats})
		})
	}
}

// families are what traces are kept by, for good. Clients can make up names of services.
type families struct {
	mu    sync.Mutex
	names map[string]string // by service
}

// maxFamilies bounds them. The services beyond have one together.
const maxFamilies = 256

func (f *families) of(method string) string {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	f.mu.Lock()
	defer f.mu.Unlock()
	name := f.names[service]
	switch {
	case name != "":
		return name
	case len(f.names) >= maxFamilies:
		return "grpc.Recv"
	case f.names == nil:
		f.names = map[string]string{}
	}
	name = "grpc.Recv." + service
	f.names[strings.Clone(service)] = name
	return name
}

// traced tells a trace how its call ended.
type traced struct {
	rpc.Response
	trace trace.Trace
	stats *rpc.Stats
}

// End implements [rpc.Response].
func (t *traced) End(st rpc.Status, trailer rpc.Metadata) {
	t.trace.LazyPrintf("%d messages, %d bytes up; %d messages, %d bytes down", t.stats.RequestMessages.Load(), t.stats.RequestBytes.Load(),
		t.stats.ResponseMessages.Load(), t.stats.ResponseBytes.Load())
	t.trace.LazyPrintf("%v %s", st.Code, st.Message)
	if !st.OK() {
		t.trace.SetError()
	}
	t.trace.Finish()
	t.Response.End(st, trailer)
}
