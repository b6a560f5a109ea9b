package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	pb "github.com/sluice-rpc/sluice/cmd/sluice/internal/demo/demopb"
)

func dial(t testing.TB, addr string, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestDemoServesAllKinds(t *testing.T) {
	p := start(t, "demo")
	p.until(200)
	client := pb.NewDemoClient(dial(t, p.listen, insecure.NewCredentials()))

	echo, err := client.Echo(t.Context(), &pb.EchoRequest{Text: "hello"})
	if err != nil || echo.GetText() != "hello" {
		t.Fatalf("Echo: %v, %v", echo, err)
	}
	ticks, err := client.Ticker(t.Context(), &pb.TickerRequest{Count: 3, EveryMs: 1})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; ; n++ {
		if _, err = ticks.Recv(); err != nil {
			break
		}
	}
	if n != 3 || !errors.Is(err, io.EOF) {
		t.Fatalf("Ticker: %d ticks, then %v", n, err)
	}
	sum, err := client.Sum(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := range int64(4) {
		if err := sum.Send(&pb.SumRequest{Number: n}); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := sum.CloseAndRecv(); err != nil || r.GetSum() != 6 {
		t.Fatalf("Sum: %v, %v", r, err)
	}
	chat, err := client.Chat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		if err := chat.Send(&pb.ChatRequest{Text: text}); err != nil {
			t.Fatal(err)
		}
		if r, err := chat.Recv(); err != nil || r.GetText() != "you said: "+text {
			t.Fatalf("Chat: %v, %v", r, err)
		}
	}
	if err := chat.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := chat.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("Chat ends with %v", err)
	}
	if code, body := p.get("/metrics"); code != 200 || !strings.Contains(body, "sluice_") {
		t.Errorf("/metrics: %d %.300s", code, body)
	}
	if code, _ := p.get("/livez"); code != 200 {
		t.Errorf("/livez: %d", code)
	}
	if code, body := p.get("/openapi.json"); code != 200 || !strings.Contains(body, `"url": "http://`+p.listen+`"`) || !strings.Contains(body, `"Demo_Chat"`) {
		t.Errorf("/openapi.json: %d %.300s", code, body)
	}
	if code, body := p.get("/docs/"); code != 200 || !strings.Contains(body, "swagger-ui-bundle.js") {
		t.Errorf("/docs/: %d %.300s", code, body)
	}
}

// TestSchemaFiles: sources are compiled, and what they say changes with them.
func TestSchemaFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "shop.proto")
	put := func(methods string) {
		text := "syntax = \"proto3\";\nimport \"google/api/annotations.proto\";\nmessage M {}\nservice Shop {\n" + methods + "}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("rpc A(M) returns (M) { option (google.api.http) = {get: \"/a\"}; }\n")
	p := start(t, "serve", "--schema", file, freeAddr(t))
	methods := func(n int) {
		t.Helper()
		want, body := fmt.Sprintf(`"methods":%d`, n), ""
		for range 300 {
			if _, body = p.get("/readyz"); strings.Contains(strings.ReplaceAll(body, " ", ""), want) {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatalf("no %s in %s", want, body)
	}
	methods(1)
	put("rpc A(M) returns (M);\nrpc B(M) returns (M);\n")
	methods(2)
	put("rpc A(M) returns (N);\n")
	if r := p.await("changed schema not usable"); !strings.Contains(fmt.Sprint(r["error"]), "shop.proto:5:19: ") {
		t.Error(r)
	}
	methods(2)
	put("rpc A(M) returns (M);\nrpc B(M) returns (M);\nrpc C(M) returns (M);\n")
	methods(3)
}

func TestTable(t *testing.T) {
	cmd := sluice(t, nil, "demo", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // the table waits for at most one
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	for _, want := range []string{"listen ", "http://127.0.0.1:", "admin ", "/readyz", "backend ", "ready", "message 4MiB", "try next:", "grpcurl"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no %q in\n%s", want, &stderr)
		}
	}
}

// What is wrong with a backend is said at the start, once, with what to do.
func TestTableOfBadBackends(t *testing.T) {
	closing, err := net.Listen("tcp", "127.0.0.1:0") // as a server with TLS does to who speaks without
	if err != nil {
		t.Fatal(err)
	}
	defer closing.Close()
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	answer := func(l net.Listener, text string) { // ends with the listener
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			_, _ = io.ReadFull(c, make([]byte, 9))
			_, _ = io.WriteString(c, text)
			_ = c.Close()
		}
	}
	go answer(closing, "")
	go answer(web, "HTTP/1.1 400 Bad Request\r\n\r\n")
	for target, want := range map[string]string{
		freeAddr(t):               "connection refused: is the server running there?",
		closing.Addr().String():   "With TLS write https://" + closing.Addr().String(),
		web.Addr().String():       "is it a gRPC server?",
		"unix:/nowhere/grpc.sock": "is the server running, and the path right?",
	} {
		cmd := sluice(t, nil, "serve", "--listen=127.0.0.1:0", "--admin=off", target)
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for s := bufio.NewScanner(stderr); s.Scan() && !strings.Contains(s.Text(), "try next"); {
			text.WriteString(s.Text() + "\n")
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if strings.Count(text.String(), want) != 1 {
			t.Errorf("%s: want %q once in\n%s", target, want, text.String())
		}
	}
}

// A signal: no readiness, running calls go on, the process ends with the last.
func TestDrain(t *testing.T) {
	p := start(t, "demo")
	p.until(200)
	client := pb.NewDemoClient(dial(t, p.listen, insecure.NewCredentials()))
	ticks, err := client.Ticker(t.Context(), &pb.TickerRequest{Count: 10, EveryMs: 100})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ticks.Recv(); err != nil {
		t.Fatal(err)
	}
	p.signal()
	if body := p.until(503); !strings.Contains(body, `"draining": true`) {
		t.Errorf("/readyz: %s", body)
	}
	for tries := 0; ; tries++ { // readiness ends first, the listener at once after it
		c, err := net.DialTimeout("tcp", p.listen, time.Second)
		if err != nil {
			break
		}
		c.Close()
		if tries == 20 {
			t.Error("the listener is still open")
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	n := 1
	for ; ; n++ {
		if _, err = ticks.Recv(); err != nil {
			break
		}
	}
	if n != 10 || !errors.Is(err, io.EOF) {
		t.Errorf("%d ticks, then %v", n, err)
	}
	if code := p.code(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestDrainTimeout(t *testing.T) {
	p := start(t, "demo", "--drain-timeout=300ms")
	p.until(200)
	client := pb.NewDemoClient(dial(t, p.listen, insecure.NewCredentials()))
	ticks, err := client.Ticker(t.Context(), &pb.TickerRequest{Count: 1000, EveryMs: 50})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ticks.Recv(); err != nil {
		t.Fatal(err)
	}
	p.signal()
	for err == nil {
		_, err = ticks.Recv()
	}
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("the call ended with %v", err)
	}
	if code := p.code(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestSecondSignal(t *testing.T) {
	p := start(t, "demo")
	p.until(200)
	client := pb.NewDemoClient(dial(t, p.listen, insecure.NewCredentials()))
	ticks, err := client.Ticker(t.Context(), &pb.TickerRequest{Count: 1000, EveryMs: 50})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ticks.Recv(); err != nil {
		t.Fatal(err)
	}
	p.signal()
	p.await("draining")
	time.Sleep(300 * time.Millisecond) // less would be the same signal
	p.signal()
	if code := p.code(); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

// A backend that is down: the gateway runs and says so, and finds it when it comes.
func TestBackendDown(t *testing.T) {
	addr := freeAddr(t)
	p := start(t, "serve", addr)
	if r := p.await("backend is not ready"); !strings.Contains(r["reason"].(string), "refused") || r["hint"] != "is the server running there?" {
		t.Errorf("logged %v", r)
	}
	body := p.until(503)
	for _, want := range []string{addr, "connection refused", "is the server running there?"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in %s", want, body)
		}
	}
	if code, _ := p.get("/livez"); code != 200 {
		t.Errorf("/livez: %d", code)
	}
	s := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l) // ends with Stop
	defer s.Stop()
	p.until(200)
	client := grpc_health_v1.NewHealthClient(dial(t, p.listen, insecure.NewCredentials()))
	if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
}

// TLS on both sides, with client certificates on both sides.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, files := certificate(t, dir+"/one")
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)

	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool})))
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l) // ends with Stop
	defer s.Stop()

	// The certificate of the listener is one that will be changed.
	_, changing := certificate(t, dir+"/changing")
	p := start(t, "serve", "--tls-listen=127.0.0.1:0", "--tls-cert="+changing+".crt", "--tls-key="+changing+".key", "--tls-client-ca="+files+".crt",
		"--backend-ca="+files+".crt", "--backend-cert="+files+".crt", "--backend-key="+files+".key", "--backend-server-name=localhost",
		"https://"+l.Addr().String())
	p.until(200)
	check := func(c *tls.Config) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		conn := dial(t, p.tls, credentials.NewTLS(c))
		defer conn.Close()
		_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		return err
	}
	trusting := func() *tls.Config {
		b, err := os.ReadFile(changing + ".crt")
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(b)
		return &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{cert}}
	}
	before := trusting()
	if err := check(before); err != nil {
		t.Fatal(err)
	}
	anonymous := before.Clone()
	anonymous.Certificates = nil
	if err := check(anonymous); err == nil {
		t.Error("a client without a certificate may call")
	}
	certificate(t, dir+"/changing")
	p.await("certificate changed")
	if err := check(trusting()); err != nil {
		t.Errorf("after the change: %v", err)
	}
	if err := check(before); err == nil {
		t.Error("the old certificate is still shown")
	}
}

// certificate writes a self-signed certificate for localhost to base.crt and base.key.
func certificate(t testing.TB, base string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(30 * 24 * time.Hour), DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	for name, b := range map[string][]byte{".crt": certPEM, ".key": keyPEM} {
		if err := os.WriteFile(base+name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return cert, base
}
