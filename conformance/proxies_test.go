package conformance

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/client"
	"github.com/sluice-rpc/sluice/client/webtransport"
	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
	"github.com/sluice-rpc/sluice/conformance/internal/matrix"
)

// nginxProxy is nginx with HTTP/2 over TLS in front, and what differs in its location.
const nginxProxy = `daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen %[2]s ssl http2;
		ssl_certificate %[4]s;
		ssl_certificate_key %[5]s;
		location / {
			%[6]s
		}
	}
}
`

const haproxyProxy = `global
	maxconn 1000
defaults
	mode http
	timeout connect 5s
	timeout client 60s
	timeout server 60s
	timeout tunnel 60s
frontend f
	bind %[2]s ssl crt %[1]s/both.pem alpn h2,http/1.1
	default_backend b
backend b
	server s %[3]s %[6]s
`

// A proxy stands before the gateway.
type proxy struct {
	name    string
	program string
	conf    string
	line    string   // of its configuration
	carries []string // the carriers that have to pass, each alone
}

// Through nginx, which keeps uploads until they are whole, the streaming one goes on in others. It is missing where it is slow:
// HAProxy lets five pieces a second through to HTTP/1.1 unless it has option http-no-delay.
var proxies = []proxy{
	{"nginx", "nginx", nginxProxy, "proxy_pass http://%s;", []string{"duplex", "duplex-h1", "duplex-stream", "duplex-poll"}},
	{"nginx_unbuffered", "nginx", nginxProxy, `proxy_pass http://%s;
			proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection "upgrade";
			proxy_buffering off;
			proxy_request_buffering off;`, []string{"websocket", "duplex", "duplex-h1", "duplex-stream", "duplex-poll"}},
	{"nginx_grpc_pass", "nginx", nginxProxy, "grpc_pass grpc://%s;", []string{"duplex", "duplex-h1", "duplex-stream", "duplex-poll"}},
	{"haproxy_h1", "haproxy", haproxyProxy, "", []string{"websocket", "websocket-h2", "duplex", "duplex-h1", "duplex-poll"}},
	{"haproxy_h2", "haproxy", haproxyProxy, "proto h2", []string{"websocket", "websocket-h2", "duplex", "duplex-h1", "duplex-stream", "duplex-poll"}},
}

// automatic are carriers in the order in which one would try them.
var automatic = []client.Carrier{
	webtransport.Carrier{}, client.WebSocket{}, client.WebSocket{HTTP2: true}, client.Duplex{}, client.Duplex{HTTP1: true}, client.Duplex{Poll: true},
}

// TestProxies has calls pass through proxies as people set them up: over each carrier alone where it
// has to pass, and over whichever works, beginning with the best, everywhere. What has to work are all
// cases of the matrix for a bidirectional call.
func TestProxies(t *testing.T) {
	t.Parallel()
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			addr := s.behind(t, p)
			if err := s.through(t, addr, automatic); err != nil {
				t.Errorf("automatic: %v", err)
			}
			passed := 0
			for _, c := range append([]client.Carrier{client.Duplex{Stream: true}}, automatic[1:]...) {
				if !slices.Contains(p.carries, c.Name()) {
					continue
				}
				if err := s.through(t, addr, []client.Carrier{c}); err != nil {
					t.Errorf("%s: %v", c.Name(), err)
				}
				passed++
			}
			if passed != len(p.carries) {
				t.Errorf("%d carriers were tried, want %d", passed, len(p.carries))
			}
		})
	}
}

// TestProxiesWeb has the client for browsers choose in Chromium what passes.
func TestProxiesWeb(t *testing.T) {
	t.Parallel()
	node, chromium := installed(t, "node"), installed(t, "chromium")
	modules(t)
	s := newStage(t, "--cors-origin", "*")
	urls := map[string]string{}
	for _, p := range proxies {
		urls[p.name] = "https://" + s.behind(t, p)
	}
	b, err := json.Marshal(urls)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, node, "--test-reporter=tap", "proxies.test.js")
	c.Dir, c.WaitDelay = "web", 5*time.Second
	c.Env = append(os.Environ(), "PROXIES_CHROMIUM="+chromium, "PROXIES_URLS="+string(b))
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, m := range said.FindAllSubmatch(out, -1) {
		t.Logf("%s", m[1])
	}
	if n := passes(out); n != len(proxies) {
		t.Errorf("%d of %d proxies", n, len(proxies))
	}
}

// behind starts a proxy before the gateway, and returns its address.
func (s *stage) behind(t *testing.T, p proxy) string {
	t.Helper()
	program := installed(t, p.program)
	dir := t.TempDir()
	both := []byte{}
	for _, file := range []string{s.cert, s.key} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, b...)
	}
	if err := os.WriteFile(filepath.Join(dir, "both.pem"), both, 0o600); err != nil {
		t.Fatal(err)
	}
	addr, err := gateway.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	line := p.line
	if strings.Contains(line, "%s") {
		line = fmt.Sprintf(line, s.Addr)
	}
	conf := filepath.Join(dir, "proxy.conf")
	text := strings.NewReplacer("%[1]s", dir, "%[2]s", addr, "%[3]s", s.Addr, "%[4]s", s.cert, "%[5]s", s.key, "%[6]s", line).Replace(p.conf)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-e", "stderr", "-p", dir, "-c", conf}
	if p.program == "haproxy" {
		args = []string{"-db", "-f", conf}
	}
	process, err := gateway.Start(p.program, nil, nil, program, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Stop)
	if err := process.Listening(addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", p.program, process.Output())
		}
	})
	return addr
}

// through plays the bidirectional calls of the matrix through a proxy.
func (s *stage) through(t *testing.T, addr string, carriers []client.Carrier) error {
	t.Helper()
	conn, err := client.New("https://"+addr, client.Config{
		Carriers: carriers, TLS: &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12}, DialTimeout: 3 * time.Second,
	})
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing else closes it
	cases, err := matrix.Cases()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	results := make(chan error)
	// The first shows whether the carrier passes at all.
	if err := cases[0].Run(ctx, conn, "bidi"); err != nil {
		return err
	}
	for _, c := range cases[1:] {
		go func() { results <- c.Run(ctx, conn, "bidi") }() // ends with its calls, and is waited for
	}
	for range cases[1:] {
		if e := <-results; e != nil {
			err = e
		}
	}
	if len(conn.Connections()) == 0 {
		return fmt.Errorf("no connection is left: %w", err)
	}
	t.Logf("over %v", conn.Connections())
	return err
}
