package h3_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/h3"
)

const service = "/grpc.testing.TestService/"

// gateway is one that runs, with a listener and a socket of the same port.
type gateway struct {
	*sluice.Gateway
	addr   string
	client *tls.Config
	log    *buffer
}

// buffer is an access log.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// certificate is httptest's.
func certificate() (server, client *tls.Config) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	client = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	client.NextProtos = nil
	return &tls.Config{Certificates: s.TLS.Certificates}, client
}

// start starts a gateway in front of grpc's interop server.
func start(t *testing.T, cfg sluice.Config, own h3.Config) *gateway {
	t.Helper()
	s := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(s, interop.NewTestServer())
	reflection.Register(s)
	t.Cleanup(s.Stop)
	g := &gateway{log: &buffer{}}
	if cfg.Backends == nil {
		cfg.Backends = []sluice.Backend{{Handler: s}}
	}
	cfg.AccessLog = g.log
	cfg.HTTP3 = h3.New(own)
	var err error
	if g.Gateway, err = sluice.New(cfg); err != nil {
		t.Fatal(err)
	}
	server, client := certificate()
	g.client = client
	l, u := twins(t)
	g.addr = l.Addr().String()
	ended := make(chan error, 2)
	go func() { ended <- g.ServeTLS(l, server) }()
	go func() { ended <- g.ServeQUIC(u, server) }()
	t.Cleanup(func() {
		_ = g.Close()
		for range 2 {
			if err := <-ended; err != sluice.ErrClosed {
				t.Errorf("Serve: %v", err)
			}
		}
	})
	for deadline := time.Now().Add(10 * time.Second); g.Status().Methods == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no schema")
		}
	}
	return g
}

// twins are a listener and a socket of the same port.
func twins(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		u, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return l, u
		}
		_ = l.Close()
	}
	t.Fatal("no port that is free for TCP and UDP")
	return nil, nil
}

// transport is a client of HTTP/3.
func (g *gateway) transport(t *testing.T, q *quic.Config) *http3.Transport {
	tr := &http3.Transport{TLSClientConfig: g.client, QUICConfig: q}
	t.Cleanup(func() { _ = tr.Close() })
	return tr
}

func (g *gateway) request(t *testing.T, verb, path, contentType string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), verb, "https://"+g.addr+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

// enveloped is a message with its prefix.
func enveloped(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}

// message reads one message.
func message(t *testing.T, r io.Reader, m proto.Message) {
	t.Helper()
	var prefix [5]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint32(prefix[1:]))
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
}

func do(t *testing.T, tr http.RoundTripper, r *http.Request) *http.Response {
	t.Helper()
	a, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Body.Close() })
	if a.ProtoMajor != 3 {
		t.Errorf("the response is of %s", a.Proto)
	}
	return a
}

func rest(t *testing.T, a *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// TestProtocols makes calls by each protocol.
func TestProtocols(t *testing.T) {
	g := start(t, sluice.Config{}, h3.Config{})
	tr := g.transport(t, nil)
	t.Run("gRPC, unary", func(t *testing.T) {
		r := g.request(t, "POST", service+"UnaryCall", "application/grpc", bytes.NewReader(enveloped(t, &testgrpc.SimpleRequest{ResponseSize: 100_000})))
		r.Header.Set("Te", "trailers")
		a := do(t, tr, r)
		var m testgrpc.SimpleResponse
		message(t, a.Body, &m)
		if left := rest(t, a); left != "" || len(m.GetPayload().GetBody()) != 100_000 || a.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("%d bytes, then %q, trailer %v", len(m.GetPayload().GetBody()), left, a.Trailer)
		}
	})
	t.Run("gRPC, error", func(t *testing.T) {
		status := &testgrpc.EchoStatus{Code: 9, Message: "not ☺"}
		a := do(t, tr, g.request(t, "POST", service+"UnaryCall", "application/grpc", bytes.NewReader(enveloped(t, &testgrpc.SimpleRequest{ResponseStatus: status}))))
		_ = rest(t, a)
		if got := a.Header.Get("Grpc-Status") + a.Trailer.Get("Grpc-Status"); got != "9" {
			t.Errorf("%v, trailer %v", a.Header, a.Trailer)
		}
	})
	t.Run("gRPC, bidirectional", func(t *testing.T) {
		body, w := io.Pipe()
		r := g.request(t, "POST", service+"FullDuplexCall", "application/grpc", body)
		r.Header.Set("X-Grpc-Test-Echo-Initial", "early")
		go func() { _, _ = w.Write(enveloped(t, ask(3))) }() // ends when it is read
		a := do(t, tr, r)
		if a.Header.Get("X-Grpc-Test-Echo-Initial") != "early" {
			t.Errorf("head %v", a.Header)
		}
		for n := range 5 {
			var m testgrpc.StreamingOutputCallResponse
			message(t, a.Body, &m)
			if len(m.GetPayload().GetBody()) != n+3 {
				t.Errorf("answer %d has %d bytes", n, len(m.GetPayload().GetBody()))
			}
			if _, err := w.Write(enveloped(t, ask(int32(n)+4))); err != nil {
				t.Fatal(err)
			}
		}
		_ = w.Close()
		_, _ = io.CopyN(io.Discard, a.Body, 1)
		_ = rest(t, a)
		if a.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("trailer %v", a.Trailer)
		}
	})
	unary := `{"responseSize":3}`
	stream := `{"responseParameters":[{"size":1},{"size":2}]}`
	for name, c := range map[string]struct {
		path, contentType, accept, body string
		answerType, answer              string
	}{
		"gRPC-Web":        {"UnaryCall", "application/grpc-web+json", "", frame(unary), "application/grpc-web+json", frame(`{"payload":{"body":"AAAA"}}`) + "\x80\x00\x00\x00\x10grpc-status: 0\r\n"},
		"Connect, unary":  {"UnaryCall", "application/json", "", unary, "application/json", `{"payload":{"body":"AAAA"}}`},
		"Connect, stream": {"StreamingOutputCall", "application/connect+json", "", frame(stream), "application/connect+json", frame(`{"payload":{"body":"AA=="}}`) + frame(`{"payload":{"body":"AAA="}}`) + "\x02\x00\x00\x00\x02{}"},
		"REST, SSE":       {"StreamingOutputCall", "application/json", "text/event-stream", stream, "text/event-stream", "data: {\"payload\":{\"body\":\"AA==\"}}"},
	} {
		t.Run(name, func(t *testing.T) {
			r := g.request(t, "POST", service+c.path, c.contentType, strings.NewReader(c.body))
			if c.accept != "" {
				r.Header.Set("Accept", c.accept)
			}
			a := do(t, tr, r)
			got := rest(t, a)
			if a.StatusCode != 200 || !strings.HasPrefix(a.Header.Get("Content-Type"), c.answerType) || !strings.Contains(got, c.answer) {
				t.Errorf("%d %q %q", a.StatusCode, a.Header.Get("Content-Type"), got)
			}
		})
	}
	t.Run("REST, an unknown path", func(t *testing.T) {
		a := do(t, tr, g.request(t, "GET", "/no/such/path", "", nil))
		if _ = rest(t, a); a.StatusCode != 404 {
			t.Error(a.StatusCode)
		}
	})
	t.Run("too many fields", func(t *testing.T) {
		r := g.request(t, "GET", "/", "", nil)
		r.Header.Set("X", strings.Repeat("x", 20<<10))
		a := do(t, tr, r)
		if _ = rest(t, a); a.StatusCode != 431 {
			t.Error(a.StatusCode)
		}
	})
	t.Run("a foreign origin", func(t *testing.T) {
		r := g.request(t, "POST", service+"UnaryCall", "application/json", strings.NewReader(unary))
		r.Header.Set("Origin", "https://evil.example")
		a := do(t, tr, r)
		if _ = rest(t, a); a.StatusCode != 403 {
			t.Error(a.StatusCode)
		}
	})
	_ = g.Close() // writes the log
	if log := g.log.String(); strings.Count(log, "carrier=h3") < 7 || strings.Contains(log, "carrier=h1") {
		t.Errorf("the log is\n%s", log)
	}
}

func ask(size int32) *testgrpc.StreamingOutputCallRequest {
	return &testgrpc.StreamingOutputCallRequest{ResponseParameters: []*testgrpc.ResponseParameters{{Size: size}}}
}

func frame(s string) string { return "\x00\x00\x00\x00" + string(rune(len(s))) + s }

// TestAltSvc: responses of the listener announce the socket of the same port.
func TestAltSvc(t *testing.T) {
	for _, c := range []struct {
		own  h3.Config
		want string
	}{
		{h3.Config{}, `h3=":%s"; ma=86400`},
		{h3.Config{Port: 443, MaxAge: time.Minute}, `h3=":443"; ma=60`},
		{h3.Config{Port: -1}, ""},
	} {
		g := start(t, sluice.Config{}, c.own)
		_, port, _ := net.SplitHostPort(g.addr)
		want := c.want
		if strings.Contains(want, "%s") {
			want = fmt.Sprintf(want, port)
		}
		for _, h2 := range []bool{true, false} {
			tr := &http.Transport{TLSClientConfig: g.client.Clone(), ForceAttemptHTTP2: h2}
			a, err := tr.RoundTrip(g.request(t, "GET", "/", "", nil))
			if err != nil {
				t.Fatal(err)
			}
			_ = a.Body.Close()
			if got := a.Header.Get("Alt-Svc"); got != want {
				t.Errorf("%s: %q, want %q", a.Proto, got, want)
			}
			tr.CloseIdleConnections()
		}
	}
}

// TestWithout: a gateway without HTTP/3 says what is missing.
func TestWithout(t *testing.T) {
	g, err := sluice.New(sluice.Config{Backends: []sluice.Backend{{Handler: http.NotFoundHandler()}}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	l, u := twins(t)
	_ = l.Close()
	if err := g.ServeQUIC(u, &tls.Config{}); err == nil || !strings.Contains(err.Error(), "h3.New") {
		t.Error(err)
	}
	if _, err := u.WriteTo([]byte("x"), u.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket is open: %v", err)
	}
}

// TestShutdown: a call that runs ends well, its connection is closed after it, and no new
// one is taken.
func TestShutdown(t *testing.T) {
	g := start(t, sluice.Config{}, h3.Config{})
	tr := g.transport(t, nil)
	body, w := io.Pipe()
	go func() { _, _ = w.Write(enveloped(t, ask(1))) }() // ends when it is read
	a := do(t, tr, g.request(t, "POST", service+"FullDuplexCall", "application/grpc", body))
	message(t, a.Body, &testgrpc.StreamingOutputCallResponse{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	down := make(chan error, 1)
	go func() { down <- g.Shutdown(ctx) }()
	for g.Ready() {
		time.Sleep(time.Millisecond)
	}
	other := g.transport(t, &quic.Config{HandshakeIdleTimeout: time.Second})
	deadline := time.Now().Add(5 * time.Second)
	for { // the listener closes a moment later
		if _, err := other.RoundTrip(g.request(t, "GET", "/", "", nil)); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a new connection was taken")
		}
		_ = other.Close()
		other = g.transport(t, &quic.Config{HandshakeIdleTimeout: time.Second})
	}
	if _, err := w.Write(enveloped(t, ask(2))); err != nil {
		t.Fatal(err)
	}
	message(t, a.Body, &testgrpc.StreamingOutputCallResponse{})
	_ = w.Close()
	_ = rest(t, a)
	if a.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("trailer %v", a.Trailer)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

// TestBothFamilies: the same gateway on 127.0.0.1 and ::1.
func TestBothFamilies(t *testing.T) {
	g := start(t, sluice.Config{}, h3.Config{})
	_, port, _ := net.SplitHostPort(g.addr)
	u, err := net.ListenPacket("udp6", "[::1]:"+port)
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	server, client := certificate()
	ended := make(chan error, 1)
	go func() { ended <- g.ServeQUIC(u, server) }()
	client.InsecureSkipVerify = true // httptest's certificate has no name for it but example.com
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		tr := &http3.Transport{TLSClientConfig: client}
		r, _ := http.NewRequestWithContext(t.Context(), "GET", "https://"+host+":"+port+"/", nil)
		a := do(t, tr, r)
		_ = rest(t, a)
		_ = tr.Close()
	}
	_ = g.Close()
	if err := <-ended; err != sluice.ErrClosed {
		t.Error(err)
	}
}
