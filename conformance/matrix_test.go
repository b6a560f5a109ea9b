package conformance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sluice-rpc/sluice/client"
	"github.com/sluice-rpc/sluice/client/http3"
	"github.com/sluice-rpc/sluice/client/webtransport"
	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
	"github.com/sluice-rpc/sluice/conformance/internal/matrix"
)

// A carrier is a way to the gateway.
type carrier struct {
	name   string
	secure bool
	client client.Carrier // of the Go client, or nil
	dial   func(s *stage, url string, c *tls.Config) (grpc.ClientConnInterface, func() error, error)
}

// by makes a carrier of the Go client's.
func by(secure bool, c client.Carrier) carrier {
	name := c.Name()
	if secure {
		name += "-tls"
	}
	return carrier{name, secure, c, func(_ *stage, url string, cfg *tls.Config) (grpc.ClientConnInterface, func() error, error) {
		conn, err := client.New(url, client.Config{Carriers: []client.Carrier{c}, TLS: cfg})
		if err != nil {
			return nil, nil, err
		}
		return conn, conn.Close, nil
	}}
}

// carriers are all that there are. The first two are gRPC as it is, with grpc-go.
var carriers = []carrier{
	{"grpc", false, nil, func(s *stage, _ string, _ *tls.Config) (grpc.ClientConnInterface, func() error, error) {
		return dialGRPC(s.Addr, insecure.NewCredentials())
	}},
	{"grpc-tls", true, nil, func(s *stage, _ string, cfg *tls.Config) (grpc.ClientConnInterface, func() error, error) {
		return dialGRPC(s.TLSAddr, credentials.NewTLS(cfg))
	}},
	by(false, client.WebSocket{}),
	by(true, client.WebSocket{}),
	by(false, client.WebSocket{HTTP2: true}),
	by(true, client.WebSocket{HTTP2: true}),
	by(false, client.Duplex{}), // HTTP/1.1
	by(true, client.Duplex{}),  // HTTP/2
	by(true, client.Duplex{HTTP1: true}),
	by(true, client.Duplex{Stream: true}),
	by(true, client.Duplex{Poll: true}),
	by(true, client.Duplex{Poll: true, HTTP1: true}),
	by(true, webtransport.Carrier{}),
	by(true, http3.Carrier{}),
}

func dialGRPC(addr string, creds credentials.TransportCredentials) (grpc.ClientConnInterface, func() error, error) {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		return nil, nil, err
	}
	return conn, conn.Close, nil
}

// A stage is a gateway before the backends of the matrix.
type stage struct {
	*gateway.Gateway
	backend *matrix.Backend
	roots   *x509.CertPool
	cert    string
	key     string
}

// newStage starts one, with more flags.
func newStage(t *testing.T, args ...string) *stage {
	t.Helper()
	s := new(stage)
	var err error
	if s.backend, err = matrix.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.backend.Stop(); err != nil {
			t.Error(err)
		}
	})
	doomed, err := matrix.ServeDoomed()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(doomed.Stop)
	dir := t.TempDir()
	config := filepath.Join(dir, "sluice.yaml")
	yaml := fmt.Appendf(nil, "backends:\n  - {target: %q, services: [%s]}\n  - {target: %q, services: [%s]}\n",
		s.backend.Addr, matrix.Service, doomed.Addr, matrix.Doomed)
	if err := os.WriteFile(config, yaml, 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key, err := gateway.Certificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	s.cert, s.key, s.roots = cert, key, x509.NewCertPool()
	s.roots.AppendCertsFromPEM(b)
	if s.Gateway, err = gateway.Serve(gateway.Options{Command: sluice(t), Cert: cert, Key: key, Args: append([]string{"--config", config}, args...)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("sluice:\n%s", odd(s.Output()))
		}
	})
	return s
}

// url is where the gateway is.
func (s *stage) url(secure bool) string {
	if secure {
		return "https://" + s.TLSAddr
	}
	return "http://" + s.Addr
}

// dial opens a way to the gateway, until the test ends.
func (s *stage) dial(t *testing.T, c carrier) grpc.ClientConnInterface {
	t.Helper()
	conn, end, err := c.dial(s, s.url(c.secure), &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// How many carriers the matrix has, and cells for each: 17 cases in 4 kinds of calls.
const (
	matrixCarriers = 14
	matrixCells    = 17 * 4
)

// TestMatrix plays every case in every kind of call over every carrier, with Go.
func TestMatrix(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	cases, err := matrix.Cases()
	if err != nil {
		t.Fatal(err)
	}
	if len(carriers) != matrixCarriers {
		t.Errorf("there are %d carriers, want %d", len(carriers), matrixCarriers)
	}
	t.Run("over", func(t *testing.T) { // ends when all have ended
		for _, c := range carriers {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel() // most of the time they wait for a deadline
				conn := s.dial(t, c)
				cells := 0
				for _, hurried := range []bool{false, true} { // those with a deadline when nobody is busy
					results := make(chan error)
					running := 0
					for _, one := range cases {
						if (one.TimeoutMS > 0) != hurried {
							continue
						}
						if one.Backend != "" && strings.HasPrefix(c.name, "grpc") {
							// grpc-go's client reads INTERNAL where a message is cut, whatever the trailers say.
							one.Want.Code = uint32(codes.Internal)
						}
						for _, kind := range matrix.Kinds {
							running++
							go func() { results <- one.Run(t.Context(), conn, kind) }() // ends with its calls, and is waited for
						}
					}
					for range running {
						if err := <-results; err != nil {
							t.Error(err)
						}
					}
					cells += running
				}
				if cells != matrixCells {
					t.Errorf("%d cells, want %d", cells, matrixCells)
				}
			})
		}
	})
	if n := s.backend.Open(); n != 0 {
		t.Errorf("%d calls are left at the backend", n)
	}
}

// odd leaves the lines of a log that are not of calls that went well.
func odd(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, " code=OK delivered=true ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// browserCarriers are those that browsers play in each run, and those that they play in a long one.
const (
	browserCarriers = "webtransport+https,websocket+https,duplex+https"
	moreCarriers    = ",websocket+http,duplex+http,duplex-streaming+https,long-poll+http,long-poll+https"
)

// TestMatrixWeb plays the matrix in Chromium and in Firefox, with the client for browsers. With
// MATRIX=whole it plays it over every carrier.
func TestMatrixWeb(t *testing.T) {
	t.Parallel()
	node, chromium, firefox := installed(t, "node"), installed(t, "chromium"), installed(t, "firefox-esr")
	modules(t)
	page, err := gateway.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(page)
	s := newStage(t, "--cors-origin", "http://"+page)
	over, limit := browserCarriers, 3*time.Minute
	if whole() {
		over, limit = over+moreCarriers, 8*time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c := exec.CommandContext(ctx, node, "--test-reporter=tap", "matrix.test.js")
	c.Dir, c.WaitDelay = "web", 5*time.Second
	c.Env = append(os.Environ(), "MATRIX_HTTP=http://"+s.Addr, "MATRIX_HTTPS=https://"+s.TLSAddr, "MATRIX_CERT="+s.cert, "MATRIX_PAGE_PORT="+port,
		"MATRIX_CHROMIUM="+chromium, "MATRIX_FIREFOX="+firefox, "MATRIX_CARRIERS="+over)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	const browsers = 2
	if passed, want := passes(out), browsers*matrixCells*len(strings.Split(over, ",")); passed != want {
		t.Errorf("%d cells of the matrix passed, want %d", passed, want)
	}
}
