package client_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/client"
	"github.com/sluice-rpc/sluice/client/http3"
	"github.com/sluice-rpc/sluice/client/webtransport"
	"github.com/sluice-rpc/sluice/h3"
)

// A transport is a way to a gateway.
type transport struct {
	name    string
	carrier client.Carrier
	tls     bool
	resume  client.ResumeMode
}

// transports are all ways that this package has.
func transports() []transport {
	return []transport{
		{"websocket", client.WebSocket{}, false, client.ResumeStreams},
		{"websocket, TLS", client.WebSocket{}, true, client.ResumeAll},
		{"websocket on HTTP/2", client.WebSocket{HTTP2: true}, false, client.ResumeNone},
		{"websocket on HTTP/2, TLS", client.WebSocket{HTTP2: true}, true, client.ResumeStreams},
		{"duplex on HTTP/1.1", client.Duplex{}, false, client.ResumeStreams},
		{"duplex", client.Duplex{}, true, client.ResumeNone},
		{"duplex, one upload", client.Duplex{Stream: true}, true, client.ResumeStreams},
		{"duplex, one upload on HTTP/1.1", client.Duplex{Stream: true, HTTP1: true}, true, client.ResumeNone},
		{"duplex, long poll", client.Duplex{Poll: true}, true, client.ResumeAll},
		{"webtransport", webtransport.Carrier{}, true, client.ResumeStreams},
		{"http3", http3.Carrier{}, true, client.ResumeStreams},
	}
}

// world is a backend and a gateway before it.
type world struct {
	url, secure string
	trust       *tls.Config
}

func start(t testing.TB, cfg sluice.Config) *world {
	t.Helper()
	backend := grpc.NewServer(grpc.UnknownServiceHandler(scripted))
	testgrpc.RegisterTestServiceServer(backend, interop.NewTestServer())
	reflection.Register(backend)
	l := listen(t)
	go backend.Serve(l) //nolint:errcheck // ends with Stop
	t.Cleanup(backend.Stop)
	cfg.Backends = []sluice.Backend{{Target: l.Addr().String()}}
	cfg.HTTP3 = h3.New(h3.Config{})
	g, err := sluice.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(10 * time.Second); g.Status().Methods == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the gateway does not find its backend's services")
		}
	}
	w := &world{}
	plain, secure := listen(t), listen(t)
	w.url, w.secure = "http://"+plain.Addr().String(), "https://"+secure.Addr().String()
	var server *tls.Config
	server, w.trust = certificate(t)
	udp, err := net.ListenPacket("udp", secure.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 3)
	go func() { ended <- g.ServeQUIC(udp, server) }()
	go func() { ended <- g.Serve(plain) }()
	go func() { ended <- g.ServeTLS(secure, server) }()
	t.Cleanup(func() {
		g.Close() //nolint:errcheck // what it says comes out of Serve
		for range 3 {
			if err := <-ended; !errors.Is(err, sluice.ErrClosed) {
				t.Errorf("Serve: %v", err)
			}
		}
	})
	return w
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func certificate(t testing.TB) (server, trust *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: roots}
}

func (w *world) dial(t testing.TB, tr transport) *client.Client {
	t.Helper()
	url := w.url
	if tr.tls {
		url = w.secure
	}
	c, err := client.New(url, client.Config{Carriers: []client.Carrier{tr.carrier}, TLS: w.trust, Resume: tr.resume})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() }) //nolint:errcheck
	return c
}

// scripted is a backend that does what metadata says: it sends so many messages, before or after
// the client has half-closed, and ends with a status.
func scripted(_ any, stream grpc.ServerStream) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	get := func(name string) string { return strings.Join(md.Get(name), ",") }
	_ = stream.SetHeader(metadata.Pairs("x-seen", get("x-sent"), "x-seen-bin", get("x-sent-bin")))
	stream.SetTrailer(metadata.Pairs("x-end", "last", "x-end-bin", "\x00\x01\xff"))
	switch get("do") {
	case "head":
		if err := stream.SendHeader(nil); err != nil {
			return err
		}
		<-stream.Context().Done()
		return status.FromContextError(stream.Context().Err()).Err()
	case "error":
		return status.Error(codes.FailedPrecondition, "not now, \u20ac and %")
	case "first":
		if err := stream.SendMsg(wrapperspb.String("first")); err != nil {
			return err
		}
		return status.Error(codes.Aborted, "after one")
	case "late": // answers come after the half-close
		count := 0
		for stream.RecvMsg(new(wrapperspb.StringValue)) == nil {
			count++
		}
		for range count {
			if err := stream.SendMsg(wrapperspb.String(fmt.Sprint(count))); err != nil {
				return err
			}
		}
		return nil
	}
	for { // echo
		var m wrapperspb.StringValue
		if err := stream.RecvMsg(&m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(&m); err != nil {
			return err
		}
	}
}

func do(what string) context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), "do", what, "x-sent", "a b", "x-sent-bin", "\xfe\x00")
}

var bidi = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

func open(t *testing.T, c *client.Client, ctx context.Context, opts ...grpc.CallOption) grpc.ClientStream {
	t.Helper()
	s, err := c.NewStream(ctx, bidi, "/scripted.Service/Call", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func send(t *testing.T, s grpc.ClientStream, text string) {
	t.Helper()
	if err := s.SendMsg(wrapperspb.String(text)); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, s grpc.ClientStream) string {
	t.Helper()
	var m wrapperspb.StringValue
	if err := s.RecvMsg(&m); err != nil {
		t.Fatal(err)
	}
	return m.Value
}

func end(s grpc.ClientStream) error { return s.RecvMsg(new(wrapperspb.StringValue)) }

// TestGateway makes calls through a gateway, over all carriers.
func TestGateway(t *testing.T) {
	w := start(t, sluice.Config{})
	for _, tr := range transports() {
		t.Run(tr.name, func(t *testing.T) {
			c := w.dial(t, tr)
			t.Run("interop", func(t *testing.T) { interopCalls(testgrpc.NewTestServiceClient(c)) })
			for name, f := range cases {
				t.Run(name, func(t *testing.T) {
					if name == cut && tr.carrier == (http3.Carrier{}) {
						t.Skip("plain gRPC can't be resumed: see TestPlain")
					}
					f(t, c)
				})
			}
		})
	}
}

// interopCalls are grpc-go's own; a failure ends the process.
func interopCalls(c testgrpc.TestServiceClient) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	interop.DoEmptyUnaryCall(ctx, c)
	interop.DoLargeUnaryCall(ctx, c)
	interop.DoClientStreaming(ctx, c)
	interop.DoServerStreaming(ctx, c)
	interop.DoPingPong(ctx, c)
	interop.DoEmptyStream(ctx, c)
	interop.DoTimeoutOnSleepingServer(ctx, c)
	interop.DoCancelAfterFirstResponse(ctx, c)
	interop.DoCustomMetadata(ctx, c)
	interop.DoStatusCodeAndMessage(ctx, c)
	interop.DoSpecialStatusMessage(ctx, c)
}

// cut is the name of the case that needs resumption.
const cut = "cut in the middle"

var cases = map[string]func(t *testing.T, c *client.Client){
	"metadata and trailers": func(t *testing.T, c *client.Client) {
		var header, trailer metadata.MD
		var from peer.Peer
		s := open(t, c, do("echo"), grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from))
		send(t, s, "a")
		if m := receive(t, s); m != "a" {
			t.Error(m)
		}
		if err := s.CloseSend(); err != nil {
			t.Error(err)
		}
		if err := end(s); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if header.Get("x-seen")[0] != "a b" || header.Get("x-seen-bin")[0] != "\xfe\x00" || trailer.Get("x-end")[0] != "last" || trailer.Get("x-end-bin")[0] != "\x00\x01\xff" {
			t.Errorf("got %v, %v", header, trailer)
		}
		if from.Addr == nil || !strings.HasPrefix(from.Addr.String(), "127.0.0.1:") {
			t.Errorf("peer %v", from.Addr)
		}
	},
	"early header, cancel": func(t *testing.T, c *client.Client) {
		ctx, cancel := context.WithCancel(do("head"))
		defer cancel()
		s := open(t, c, ctx)
		if md, err := s.Header(); err != nil || md.Get("x-seen")[0] != "a b" {
			t.Errorf("got %v, %v", md, err)
		}
		cancel()
		if err := end(s); status.Code(err) != codes.Canceled {
			t.Error(err)
		}
	},
	"deadline": func(t *testing.T, c *client.Client) {
		ctx, cancel := context.WithTimeout(do("head"), 50*time.Millisecond)
		defer cancel()
		if err := end(open(t, c, ctx)); status.Code(err) != codes.DeadlineExceeded {
			t.Error(err)
		}
	},
	"error": func(t *testing.T, c *client.Client) {
		s := open(t, c, do("error"))
		if err := end(s); status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != "not now, \u20ac and %" {
			t.Error(err)
		}
		if s.Trailer().Get("x-end")[0] != "last" {
			t.Errorf("trailer %v", s.Trailer())
		}
	},
	"error after a message": func(t *testing.T, c *client.Client) {
		s := open(t, c, do("first"))
		if m := receive(t, s); m != "first" {
			t.Error(m)
		}
		if err := end(s); status.Code(err) != codes.Aborted {
			t.Error(err)
		}
	},
	"a message larger than the window": func(t *testing.T, c *client.Client) {
		s := open(t, c, do("echo"))
		for _, n := range []int{200_000, 1 << 20, 10} {
			text := strings.Repeat("x", n)
			done := make(chan error, 1)
			go func() { done <- s.SendMsg(wrapperspb.String(text)) }()
			if receive(t, s) != text {
				t.Errorf("%d bytes came back otherwise", n)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	},
	"a message larger than the limit": func(t *testing.T, c *client.Client) {
		s := open(t, c, do("echo"), grpc.MaxCallSendMsgSize(8<<20))
		go s.SendMsg(wrapperspb.String(strings.Repeat("x", 5<<20))) //nolint:errcheck
		if err := end(s); status.Code(err) != codes.ResourceExhausted {
			t.Error(err)
		}
		s = open(t, c, do("echo"), grpc.MaxCallRecvMsgSize(1000))
		send(t, s, strings.Repeat("x", 2000))
		if err := end(s); status.Code(err) != codes.ResourceExhausted {
			t.Error(err)
		}
		s = open(t, c, do("echo"), grpc.MaxCallSendMsgSize(1000))
		if err := s.SendMsg(wrapperspb.String(strings.Repeat("x", 2000))); status.Code(err) != codes.ResourceExhausted {
			t.Error(err)
		}
	},
	"1,000 messages": func(t *testing.T, c *client.Client) {
		s := open(t, c, do("echo"))
		go func() { // ends with the messages
			for i := range 1000 {
				if s.SendMsg(wrapperspb.String(fmt.Sprint(i))) != nil {
					break
				}
			}
			_ = s.CloseSend()
		}()
		for i := range 1000 {
			if m := receive(t, s); m != fmt.Sprint(i) {
				t.Fatalf("message %d is %q", i, m)
			}
		}
		if err := end(s); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	},
	"answers after the half-close": func(t *testing.T, c *client.Client) {
		s := open(t, c, do("late"))
		for range 3 {
			send(t, s, "x")
		}
		if err := s.CloseSend(); err != nil {
			t.Error(err)
		}
		for range 3 {
			if m := receive(t, s); m != "3" {
				t.Error(m)
			}
		}
		if err := end(s); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	},
	"gzip": func(t *testing.T, c *client.Client) {
		text := strings.Repeat("compress me ", 20_000)
		s := open(t, c, do("echo"), grpc.UseCompressor(gzip.Name))
		send(t, s, text)
		if receive(t, s) != text {
			t.Error("it came back otherwise")
		}
	},
	"100 calls at a time": func(t *testing.T, c *client.Client) {
		done := make(chan error)
		for i := range 100 {
			go func() { // ends with its call
				done <- func() error {
					s, err := c.NewStream(do("echo"), bidi, "/scripted.Service/Call")
					if err != nil {
						return err
					}
					for j := range 10 {
						want := fmt.Sprint(i, j)
						var m wrapperspb.StringValue
						if err := errors.Join(s.SendMsg(wrapperspb.String(want)), s.RecvMsg(&m)); err != nil || m.Value != want {
							return fmt.Errorf("call %d, message %d: %q, %w", i, j, m.Value, err)
						}
					}
					return errors.Join(s.CloseSend())
				}()
			}()
		}
		for range 100 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	},
	cut: func(t *testing.T, c *client.Client) {
		s := open(t, c, do("echo"), client.Resumable(true))
		var sent, got bytes.Buffer
		for i := range 50 {
			text := strings.Repeat(fmt.Sprint(i), 1000)
			send(t, s, text)
			sent.WriteString(text)
			if i%10 == 5 {
				c.Cut()
			}
			if i > 2 {
				got.WriteString(receive(t, s))
			}
		}
		if err := s.CloseSend(); err != nil {
			t.Error(err)
		}
		for {
			var m wrapperspb.StringValue
			if err := s.RecvMsg(&m); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			got.WriteString(m.Value)
		}
		if !bytes.Equal(sent.Bytes(), got.Bytes()) {
			t.Error("what came back differs")
		}
	},
}

// inTurn is a first carrier once, and then a second one.
type inTurn struct {
	client.Carrier
	then client.Carrier
}

func (i *inTurn) Dial(ctx context.Context, t *client.Target) (*client.Connection, error) {
	c, err := i.Carrier.Dial(ctx, t)
	i.Carrier = i.then
	return c, err
}

// Messages that may be lost go in datagrams, and are not doubled and not out of order.
func TestLossy(t *testing.T) {
	w := start(t, sluice.Config{})
	var data atomic.Int64
	// It begins where there are no datagrams.
	carriers := &inTurn{client.WebSocket{}, webtransport.Carrier{}}
	c, err := client.New(w.secure, client.Config{Carriers: []client.Carrier{carriers}, TLS: w.trust, Trace: func(f client.Frame) {
		if f.Kind == "DATA" {
			data.Add(int64(f.Length))
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := testgrpc.NewTestServiceClient(c).FullDuplexCall(ctx, client.Lossy(false))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(size int) *testgrpc.StreamingOutputCallRequest {
		return &testgrpc.StreamingOutputCallRequest{
			ResponseParameters: []*testgrpc.ResponseParameters{{Size: int32(size)}},
			Payload:            &testgrpc.Payload{Body: make([]byte, 100)},
		}
	}
	reply := func() int {
		t.Helper()
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return len(m.GetPayload().GetBody())
	}
	if err := s.Send(ask(1)); err != nil { // in DATA: the gateway has not agreed yet
		t.Fatal(err)
	}
	if n := reply(); n != 1 {
		t.Errorf("the first answer has %d bytes", n)
	}
	c.Cut()
	if err := s.Send(ask(1)); err != nil {
		t.Fatal(err)
	}
	if n := reply(); n != 1 {
		t.Errorf("the first answer after a cut has %d bytes", n)
	}
	for range 2 { // once more after a cut
		const count = 100
		before := data.Load()
		for i := range count {
			if err := s.Send(ask(2 + i)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		if err := s.Send(ask(5000)); err != nil { // its answer is too large, and so it comes in DATA
			t.Fatal(err)
		}
		got, last := 0, 1
		for last != 5000 {
			n := reply()
			if n <= last {
				t.Errorf("the answer with %d bytes came after that with %d", n, last)
			}
			last = n
			got++
		}
		if got < count/2 {
			t.Errorf("%d of %d answers came", got, count)
		}
		if n := data.Load() - before; n > 5000+20*150 {
			t.Errorf("%d bytes went as DATA", n)
		}
		c.Cut()
		if err := s.Send(ask(1)); err != nil { // in DATA again, until the gateway has said that it goes on
			t.Fatal(err)
		}
		if n := reply(); n != 1 {
			t.Errorf("the first answer after a cut has %d bytes", n)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end", err)
	}
}

// What is wrong with a gateway is said in words.
func TestRefused(t *testing.T) {
	w := start(t, sluice.Config{})
	for _, test := range []struct{ url, want string }{
		{w.url + "/nothing/here", "the WebSocket was refused: 404"},
		{strings.Replace(w.url, "http:", "https:", 1), "first record does not look like a TLS handshake"},
		{"http://127.0.0.1:1", "connection refused"},
	} {
		c, err := client.New(test.url, client.Config{TLS: w.trust})
		if err != nil {
			t.Fatal(err)
		}
		err = c.Invoke(context.Background(), "/x.Y/Z", wrapperspb.String(""), new(wrapperspb.StringValue))
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.url, err, test.want)
		}
		c.Close() //nolint:errcheck
	}
}

// TestHello: what HELLO says is of every call, also of those that begin at once.
func TestHello(t *testing.T) {
	w := start(t, sluice.Config{})
	for _, carrier := range []client.Carrier{client.WebSocket{}, client.Duplex{}, webtransport.Carrier{}, http3.Carrier{}} {
		t.Run(carrier.Name(), func(t *testing.T) {
			for range 10 {
				c, err := client.New(w.secure, client.Config{
					Carriers: []client.Carrier{carrier}, TLS: w.trust,
					Hello: func(context.Context) (metadata.MD, error) { return metadata.Pairs("x-sent", "hello"), nil },
				})
				if err != nil {
					t.Fatal(err)
				}
				var calls []grpc.ClientStream
				for range 10 {
					calls = append(calls, open(t, c, metadata.AppendToOutgoingContext(context.Background(), "do", "head")))
				}
				for _, s := range calls {
					if md, err := s.Header(); err != nil || strings.Join(md.Get("x-seen"), ",") != "hello" {
						t.Errorf("got %v, %v", md, err)
					}
				}
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
