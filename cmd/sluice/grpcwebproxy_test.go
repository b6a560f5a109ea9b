package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// TestGRPCWebProxy runs the program under that name, with a backend whose health changes.
func TestGRPCWebProxy(t *testing.T) {
	backend := grpc.NewServer()
	state := health.NewServer()
	grpc_health_v1.RegisterHealthServer(backend, state)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- backend.Serve(l) }() // until Stop
	defer func() { backend.Stop(); <-served }()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	_ = free.Close()

	cmd := sluice(t, nil, "--backend_addr", l.Addr().String(), "--server_bind_address=127.0.0.1", fmt.Sprintf("--server_http_debug_port=%d", port),
		"--run_tls_server=false", "--use_websockets", "--enable_request_debug", "--enable_health_endpoint", "--enable_health_check_service")
	cmd.Args[0] = "/usr/local/bin/grpcwebproxy"
	if cmd.Path, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	ended := make(chan struct{})
	go func() { // until the process ends
		defer close(ended)
		for s := bufio.NewScanner(log); s.Scan(); {
			said.WriteString(s.Text() + "\n")
		}
	}()
	get := func(path string) (int, string) {
		r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
		if err != nil {
			return 0, err.Error()
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		return r.StatusCode, string(b)
	}
	until := func(want int) {
		t.Helper()
		for end := time.Now().Add(15 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if code, _ := get("/_health"); code == want {
				return
			}
			if time.Now().After(end) {
				code, why := get("/_health")
				t.Fatalf("health is %d %s, want %d", code, why, want)
			}
		}
	}
	until(200)
	state.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	until(503)
	state.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	until(200)
	conn, err := grpc.NewClient(fmt.Sprintf("passthrough:///127.0.0.1:%d", port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
	if code, body := get("/metrics"); code != 200 || !strings.Contains(body, "sluice_client_connections") {
		t.Errorf("metrics: %d %s", code, body)
	}
	if code, body := get("/debug/requests"); code != 200 || !strings.Contains(body, "grpc.Recv.grpc.health.v1.Health") {
		t.Errorf("requests: %d %s", code, body)
	}
	if code, _ := get("/debug/events"); code != 200 {
		t.Errorf("events: %d", code)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ended
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
	if s := said.String(); strings.Contains(s, "--use_websockets: ") || !strings.Contains(s, "--enable_request_debug: ") {
		t.Errorf("it says %s", s)
	}
}
