package http3_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	quich3 "github.com/quic-go/quic-go/http3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-rpc/sluice/client"
	"github.com/sluice-rpc/sluice/client/http3"
)

// counting counts dials.
type counting struct {
	http3.Carrier
	n atomic.Int32
}

func (c *counting) Dial(ctx context.Context, t *client.Target) (*client.Connection, error) {
	c.n.Add(1)
	return c.Carrier.Dial(ctx, t)
}

// serve serves gRPC over HTTP/3 with quic-go and net/http, and nothing of ours.
func serve(t *testing.T, handler http.HandlerFunc) (*quich3.Server, *client.Client, *counting) {
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
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &quich3.Server{
		Handler:   handler,
		TLSConfig: quich3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}),
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(udp) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		_ = udp.Close()
	})
	carrier := new(counting)
	c, err := client.New("https://"+udp.LocalAddr().String(), client.Config{
		Carriers: []client.Carrier{carrier}, TLS: &tls.Config{RootCAs: roots},
		Header: http.Header{"A": {"header"}, "B": {"header"}, "C": {"header"}},
		Hello: func(context.Context) (metadata.MD, error) {
			return metadata.Pairs("b", "hello", "c", "hello", "d-bin", "\x00"), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, c, carrier
}

func ctx(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func ok(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
}

// What is on the wire is what gRPC has there, and nothing else.
func TestRequest(t *testing.T) {
	heads := make(chan *http.Request, 1)
	bodies := make(chan []byte, 1)
	_, c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		heads <- r
		bodies <- b
		ok(w)
		_, _ = w.Write([]byte{0, 0, 0, 0, 3, 0x0a, 1, 'y'})
		w.Header().Set("Grpc-Status", "0")
	})
	out := metadata.AppendToOutgoingContext(ctx(t), "c", "call", "c", "twice")
	var reply wrapperspb.StringValue
	if err := c.Invoke(out, "/a.B/C", wrapperspb.String("x"), &reply, client.Lossy(false)); err != nil || reply.Value != "y" {
		t.Fatalf("got %q, %v", reply.Value, err)
	}
	r := <-heads
	if r.Method != "POST" || r.URL.Path != "/a.B/C" || r.ContentLength != -1 || r.ProtoMajor != 3 {
		t.Errorf("got %s %s, length %d, version %d", r.Method, r.URL.Path, r.ContentLength, r.ProtoMajor)
	}
	delete(r.Header, "Grpc-Accept-Encoding")
	timeout := r.Header.Get("Grpc-Timeout")
	delete(r.Header, "Grpc-Timeout")
	want := "map[A:[header] B:[hello] C:[call twice] Content-Type:[application/grpc] D-Bin:[AA] Te:[trailers] User-Agent:[sluice]]"
	if got := fmt.Sprint(r.Header); got != want || timeout == "" {
		t.Errorf("got %s, timeout %q\nwant %s", got, timeout, want)
	}
	if b := <-bodies; string(b) != "\x00\x00\x00\x00\x03\x0a\x01x" {
		t.Errorf("body %x", b)
	}
}

// The end of a call is what the server said, or what its codes mean.
func TestEnd(t *testing.T) {
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		code    codes.Code
		text    string
	}{
		{"trailers only", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "9")
			w.Header().Set("Grpc-Message", "not%20now")
		}, codes.FailedPrecondition, "not now"},
		{"no status", func(w http.ResponseWriter, _ *http.Request) { ok(w) }, codes.Internal, "without grpc-status"},
		{"more after a status", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "0")
			_, _ = w.Write([]byte{0, 0, 0, 0, 0})
		}, codes.Internal, "more after a status"},
		{"a cut message", func(w http.ResponseWriter, _ *http.Request) {
			ok(w)
			_, _ = w.Write([]byte{0, 0, 0})
			w.Header().Set("Grpc-Status", "0")
		}, codes.Internal, "inside of a message"},
		{"another server", http.NotFound, codes.Unimplemented, "HTTP status 404"},
		{"another type", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hi")) }, codes.Unknown, "content-type"},
		{"a reset", func(w http.ResponseWriter, _ *http.Request) { ok(w); panic(http.ErrAbortHandler) }, codes.Internal, "the server reset the call"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, c, _ := serve(t, test.handler)
			err := c.Invoke(ctx(t), "/a.B/C", wrapperspb.String(""), new(wrapperspb.StringValue))
			if status.Code(err) != test.code || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want %v with %q", err, test.code, test.text)
			}
		})
	}
}

var bidi = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

// Neither direction holds up the other: a server that reads nothing until its own messages were taken gets its way.
func TestBothDirections(t *testing.T) {
	const size = 1 << 20
	_, c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		ok(w)
		for range 4 {
			_, _ = w.Write(binary.BigEndian.AppendUint32([]byte{0}, size+4))
			_, _ = w.Write(append(binary.AppendUvarint([]byte{0x0a}, size), make([]byte, size)...))
		}
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"X-Bytes", fmt.Sprint(n))
	})
	s, err := c.NewStream(ctx(t), bidi, "/a.B/C", client.Resumable(true))
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		for range 4 {
			if err := s.SendMsg(wrapperspb.String(strings.Repeat("x", size))); err != nil {
				sent <- err
				return
			}
		}
		sent <- s.CloseSend()
	}()
	for range 4 {
		var m wrapperspb.StringValue
		if err := s.RecvMsg(&m); err != nil || len(m.Value) != size {
			t.Fatalf("%d bytes, %v", len(m.Value), err)
		}
	}
	if err := s.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if got, want := strings.Join(s.Trailer().Get("x-bytes"), ","), fmt.Sprint(4*(size+9)); got != want {
		t.Errorf("%s bytes came, want %s", got, want)
	}
}

// A call whose connection is lost can't go on: its caller is told, and the next one has a connection of its own.
func TestLost(t *testing.T) {
	_, c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		ok(w)
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Grpc-Status", "0")
	})
	s, err := c.NewStream(ctx(t), bidi, "/a.B/C", client.Resumable(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Header(); err != nil {
		t.Fatal(err)
	}
	c.Cut()
	if err := s.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	s, err = c.NewStream(ctx(t), bidi, "/a.B/C")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CloseSend(); err != nil {
		t.Error(err)
	}
	if err := s.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}

// A cancel reaches the server as a reset of the request.
func TestCancel(t *testing.T) {
	canceled := make(chan error, 1)
	_, c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		ok(w)
		_, err := io.Copy(io.Discard, r.Body)
		canceled <- err
	})
	ctx, cancel := context.WithCancel(ctx(t))
	s, err := c.NewStream(ctx, bidi, "/a.B/C")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Header(); err != nil {
		t.Fatal(err)
	}
	cancel()
	var reset *quich3.Error
	if err := <-canceled; !errors.As(err, &reset) || reset.ErrorCode != quich3.ErrCodeRequestCanceled {
		t.Errorf("the server got %v", err)
	}
}

// After GOAWAY of HTTP/3 new calls wait for another connection, and do not try the old one for ever.
func TestGoAway(t *testing.T) {
	began := make(chan struct{}, 1)
	end := make(chan struct{})
	s, c, carrier := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		ok(w)
		began <- struct{}{}
		<-end
		w.Header().Set("Grpc-Status", "0")
	})
	first, err := c.NewStream(ctx(t), bidi, "/a.B/C")
	if err != nil {
		t.Fatal(err)
	}
	<-began
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(ctx(t)) }()
	// The client learns of it from the connection. Until then it may make calls, which this server refuses.
	for {
		short, cancel := context.WithTimeout(ctx(t), 200*time.Millisecond)
		second, err := c.NewStream(short, bidi, "/a.B/C", grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		err = second.RecvMsg(new(wrapperspb.StringValue))
		cancel()
		if status.Code(err) == codes.DeadlineExceeded {
			if carrier.n.Load() > 1 {
				break // it waits for another server
			}
		}
	}
	close(end)
	if err := first.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(err, io.EOF) {
		t.Errorf("the call that ran ended with %v", err)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}
