package sluice_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
)

// testServer returns a grpc-go server with the interop service.
func testServer(t *testing.T) *grpc.Server {
	s := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(s, interop.NewTestServer())
	reflection.Register(s)
	t.Cleanup(s.Stop)
	return s
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// startGateway returns the address of a gateway, and the gateway.
func startGateway(t *testing.T, cfg sluice.Config) (string, *sluice.Gateway) {
	t.Helper()
	g, err := sluice.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Close()
		if err := <-ended; err != sluice.ErrClosed {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String(), g
}

func client(t *testing.T, addr string) testgrpc.TestServiceClient {
	t.Helper()
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return testgrpc.NewTestServiceClient(cc)
}

// callKinds makes calls of all four kinds; interop's functions end the process when
// something is wrong.
func callKinds(c testgrpc.TestServiceClient) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	interop.DoEmptyUnaryCall(ctx, c)
	interop.DoLargeUnaryCall(ctx, c)
	interop.DoClientStreaming(ctx, c)
	interop.DoServerStreaming(ctx, c)
	interop.DoPingPong(ctx, c)
	interop.DoEmptyStream(ctx, c)
	interop.DoTimeoutOnSleepingServer(ctx, c)
	// Not DoCancelAfterBegin: its client takes a response that has come already for as good
	// as its own cancellation, one of them by chance, and a busy machine makes it come.
	interop.DoCancelAfterFirstResponse(ctx, c)
	interop.DoCustomMetadata(ctx, c)
	interop.DoStatusCodeAndMessage(ctx, c)
	interop.DoSpecialStatusMessage(ctx, c)
}

func TestGateway(t *testing.T) {
	t.Run("over TCP", func(t *testing.T) {
		s := testServer(t)
		l := listen(t)
		go s.Serve(l)
		addr, g := startGateway(t, sluice.Config{Backends: []sluice.Backend{{Target: l.Addr().String()}}})
		callKinds(client(t, addr))
		if !g.Ready() {
			t.Errorf("not ready: %+v", g.Status())
		}
	})
	t.Run("in process", func(t *testing.T) {
		addr, _ := startGateway(t, sluice.Config{Backends: []sluice.Backend{{Handler: testServer(t)}}})
		callKinds(client(t, addr))
	})
	t.Run("under a server of the user's own", func(t *testing.T) {
		g, err := sluice.New(sluice.Config{Backends: []sluice.Backend{{Handler: testServer(t)}}})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		srv := httptest.NewUnstartedServer(g)
		srv.Config.Protocols = new(http.Protocols)
		srv.Config.Protocols.SetUnencryptedHTTP2(true)
		srv.Start()
		defer srv.Close()
		callKinds(client(t, srv.Listener.Addr().String()))
	})
}

// TestHandlers: what is served besides calls, on its path alone or all below it.
func TestHandlers(t *testing.T) {
	says := func(what string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, what+" "+r.Method+" "+r.URL.Path+" "+r.URL.RawQuery)
		})
	}
	addr, _ := startGateway(t, sluice.Config{
		Backends: []sluice.Backend{{Handler: http.NotFoundHandler()}},
		Handlers: map[string]http.Handler{"/": says("page"), "/up": says("up"), "/a/": says("a"), "/a/b/": says("b"), "/a/b/c": says("c")},
	})
	for path, want := range map[string]string{
		"/up": "200 up GET /up ", "/up?x=1": "200 up GET /up x=1", "/up/": "", "/Up": "", "/": "200 page GET / ", "/other": "",
		"/a": "", "/a/": "200 a GET /a/ ", "/a/x/y?z": "200 a GET /a/x/y z", "/a/b": "200 a GET /a/b ", "/a/b/x": "200 b GET /a/b/x ",
		"/a/b/c": "200 c GET /a/b/c ", "/a/b/c/": "200 b GET /a/b/c/ ",
	} {
		r, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if got := fmt.Sprintf("%d %s", r.StatusCode, b); got != want && (want != "" || r.StatusCode == 200) {
			t.Errorf("%s: %s, want %q", path, got, want)
		}
	}
}

// TestShutdown: a call that runs gets the drain's time, and then a status.
func TestShutdown(t *testing.T) {
	addr, g := startGateway(t, sluice.Config{Backends: []sluice.Backend{{Handler: testServer(t)}}})
	c := client(t, addr)
	stream, err := c.FullDuplexCall(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&testgrpc.StreamingOutputCallRequest{ResponseParameters: []*testgrpc.ResponseParameters{{Size: 1}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := g.Shutdown(ctx); err != context.DeadlineExceeded {
		t.Errorf("Shutdown: %v", err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "the gateway is shutting down" {
		t.Errorf("the call ended with %v", err)
	}
	if g.Ready() {
		t.Error("ready after Shutdown")
	}
}

func TestBackendDown(t *testing.T) {
	l := listen(t)
	l.Close()
	var log bytes.Buffer
	addr, g := startGateway(t, sluice.Config{Backends: []sluice.Backend{{Target: l.Addr().String()}}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	_, err := client(t, addr).EmptyCall(context.Background(), &testgrpc.Empty{})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	t.Log(err, g.Status().Backends[0].Error)
	g.Close()
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings that the backend is down:\n%s", n, &log)
	}
}

// TestSchema: reflection tells of the methods, also in the process.
func TestSchema(t *testing.T) {
	// A service that the configuration names too is there once.
	_, g := startGateway(t, sluice.Config{Backends: []sluice.Backend{{Handler: testServer(t), Services: []string{"grpc.testing.TestService"}}}})
	for range 200 {
		if st := g.Status(); st.Methods > 0 {
			if b := st.Backends[0]; b.SchemaSource != "reflection" || len(b.Services) != 3 {
				t.Errorf("got %+v", b)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("no schema: %+v", g.Status())
}

// TestREST: what is wrong with rules is said at once.
func TestREST(t *testing.T) {
	for want, rest := range map[string]sluice.REST{
		"":                       {HTTPRules: []sluice.HTTPRulesFile{{Name: "r.yaml", Data: []byte("http: {rules: []}")}}, Naming: "GET /{method}"},
		"HTTP rules r.yaml:1:1:": {HTTPRules: []sluice.HTTPRulesFile{{Name: "r.yaml", Data: []byte("- a")}}},
		"naming pattern":         {Naming: "GET /x"},
	} {
		g, err := sluice.New(sluice.Config{Backends: []sluice.Backend{{Handler: testServer(t)}}, REST: rest})
		if err == nil {
			g.Close()
		}
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestTwoBackends: each call goes to the backend that has the service.
func TestTwoBackends(t *testing.T) {
	other := grpc.NewServer()
	reflection.Register(other)
	hs := health.NewServer()
	healthgrpc.RegisterHealthServer(other, hs)
	t.Cleanup(other.Stop)
	addr, _ := startGateway(t, sluice.Config{Backends: []sluice.Backend{{Handler: other}, {Handler: testServer(t)}}})
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := testgrpc.NewTestServiceClient(cc).EmptyCall(ctx, &testgrpc.Empty{}); err != nil {
		t.Error(err)
	}
	if _, err := healthgrpc.NewHealthClient(cc).Check(ctx, &healthgrpc.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
	if err := cc.Invoke(ctx, "/no.Such/Thing", &testgrpc.Empty{}, &testgrpc.Empty{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
}
