package conformance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-rpc/sluice/client"
	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

var anyCertificate = &tls.Config{InsecureSkipVerify: true} // the certificates are the tests' own

// pingPong makes a bidirectional call in which each message waits for the answer to the
// one before.
func pingPong(ctx context.Context, url string, carrier client.Carrier, n int) error {
	c, err := client.New(url, client.Config{Carriers: []client.Carrier{carrier}, TLS: anyCertificate, DialTimeout: 5 * time.Second})
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := c.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/sluice.demo.v1.Demo/EchoBytes")
	if err != nil {
		return err
	}
	for i := range n {
		want := fmt.Sprintf("message %d", i)
		if err := s.SendMsg(wrapperspb.Bytes([]byte(want))); err != nil {
			return fmt.Errorf("send %d: %w", i, err)
		}
		var got wrapperspb.BytesValue
		if err := s.RecvMsg(&got); err != nil {
			return fmt.Errorf("receive %d: %w", i, err)
		}
		if string(got.GetValue()) != want {
			return fmt.Errorf("got %q, want %q", got.GetValue(), want)
		}
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if err := s.RecvMsg(new(wrapperspb.BytesValue)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the end is %w", err)
	}
	return nil
}

// rawPingPong does the same as npm http2-duplex, whose requests may take any connection.
func rawPingPong(ctx context.Context, tr *http.Transport, url string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ask := func(method, id, body string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, method, url+"/sluice/v1/raw/sluice.demo.v1.Demo/EchoBytes", strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		if id != "" {
			r.Header.Set("http2-duplex-id", id)
		}
		resp, err := tr.RoundTrip(r)
		if err == nil && resp.StatusCode != 200 {
			err = fmt.Errorf("%s: %s", method, resp.Status)
		}
		return resp, err
	}
	get, err := ask("GET", "", "")
	if err != nil {
		return err
	}
	defer get.Body.Close()
	b := make([]byte, 1)
	for _, c := range "ahello" { // the first byte is nobody's
		if c != 'a' {
			post, err := ask("POST", get.Header.Get("http2-duplex-id"), string(c))
			if err != nil {
				return err
			}
			post.Body.Close()
		}
		if _, err := io.ReadFull(get.Body, b); err != nil || b[0] != byte(c) {
			return fmt.Errorf("got %q, want %q: %w", b, c, err)
		}
	}
	return nil
}

// demoStage is the demo, behind which proxies can be put.
func demoStage(t *testing.T) *stage {
	t.Helper()
	cert, key, err := gateway.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.Serve(gateway.Options{Command: sluice(t), Demo: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	return &stage{Gateway: g, cert: cert, key: key}
}

// TestProxiesRaw has what npm http2-duplex does pass through proxies, also where each request
// takes a connection of its own. (Its own server knows ids by their connection.)
func TestProxiesRaw(t *testing.T) {
	t.Parallel()
	s := demoStage(t)
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			tr := &http.Transport{TLSClientConfig: anyCertificate.Clone(), ForceAttemptHTTP2: true}
			defer tr.CloseIdleConnections()
			if err := rawPingPong(ctx, tr, "https://"+s.behind(t, p)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestProxyBuffers has long polls pass through a proxy that keeps every answer back until it is
// whole.
func TestProxyBuffers(t *testing.T) {
	t.Parallel()
	s := demoStage(t)
	url := "https://" + s.behind(t, proxy{"nginx_buffers", "nginx", nginxProxy, "proxy_pass http://%s; proxy_ignore_headers X-Accel-Buffering;", nil})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := pingPong(ctx, url, client.Duplex{Poll: true}, 20); err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	if err := pingPong(short, url, client.Duplex{}, 1); err == nil {
		t.Error("a stream passes too, so this proxy shows nothing")
	}
}

// TestTwoGateways has sessions find their gateway, of two, by the hash of their id.
func TestTwoGateways(t *testing.T) {
	t.Parallel()
	one, two := demoStage(t), demoStage(t)
	url := "https://" + one.behind(t, proxy{"hash", "haproxy", haproxyProxy, "\n\tserver s2 " + two.Addr + "\n\tbalance hdr(sluice-session)\n\thash-type consistent", nil})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i := range 20 {
		if err := pingPong(ctx, url, client.Duplex{Poll: i%2 == 1}, 5); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range []*stage{one, two} {
		if !strings.Contains(s.Output(), "carrier=dx") {
			t.Errorf("gateway %d has got no call of 20", i)
		}
	}
}
