package sluice_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/rpc"
)

// authorized refuses calls without a token; it is what docs/guide.md shows.
func authorized(next rpc.Handler) rpc.Handler {
	return rpc.HandlerFunc(func(call *rpc.Call, response rpc.Response) rpc.Request {
		if call.Metadata.Get("authorization") == "" {
			refused := rpc.NewHold(call, response, nil)
			refused.Fail(rpc.Errorf(rpc.Unauthenticated, "no token"))
			return refused
		}
		return next.Start(call, response)
	})
}

// A policy wraps the handling of every call.
func ExampleConfig_policies() {
	gateway, err := sluice.New(sluice.Config{
		Backends: []sluice.Backend{{Handler: http.NotFoundHandler()}},
		Policies: []func(rpc.Handler) rpc.Handler{authorized},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gateway.Shutdown(context.Background())
	server := httptest.NewServer(gateway)
	defer server.Close()

	r, err := http.Post(server.URL+"/shop.Orders/List", "application/proto", strings.NewReader(""))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Body.Close()
	answer, _ := io.ReadAll(r.Body)
	fmt.Println(r.StatusCode, string(answer))
	// Output: 401 {"code":"unauthenticated","message":"no token"}
}
