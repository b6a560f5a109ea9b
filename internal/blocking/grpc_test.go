package blocking

import (
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/netio"
)

// TestGRPCServer calls an *grpc.Server in the process: a call that ends, one that has
// no such method, and one that is canceled.
func TestGRPCServer(t *testing.T) {
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, health.NewServer())
	h := Handler(s, Options{Work: &netio.Work{}})
	call := func(method string) (exchange.Request, *exchangetest.Response) {
		r := exchangetest.NewResponse()
		q := h.Start(&exchange.RequestHead{Method: "POST", Path: "/grpc.health.v1.Health/" + method, Authority: "h", Scheme: "http", Length: -1,
			Fields: []exchange.Field{field("content-type", "application/grpc"), field("te", "trailers")}}, r)
		q.Begin()
		q.Data([]byte{0, 0, 0, 0, 0}) // an empty message
		return q, r
	}
	for method, status := range map[string]string{"Check": "0", "None": "12"} {
		q, r := call(method)
		q.End(nil)
		a := final(t, q, r)
		got := a.Get("grpc-status") + exchange.Get(a.Trailer, "grpc-status")
		if a.Status != 200 || !a.Ended || got != status || a.Get("content-type") != "application/grpc" {
			t.Errorf("%s: %+v", method, a)
		}
		if method == "Check" && string(a.Body) != "\x00\x00\x00\x00\x02\x08\x01" {
			t.Errorf("%s: % x", method, a.Body)
		}
	}
	q, r := call("Watch")
	q.End(nil)
	r.Until(t, "the first message", func(a *exchangetest.Answer) bool { return len(a.Body) == 7 })
	q.Reset(exchange.Cancel)
	if a := final(t, q, r); !a.Broken || a.Code != exchange.Cancel {
		t.Errorf("Watch: %+v", a)
	}
	s.Stop() // waits for the handlers
}
