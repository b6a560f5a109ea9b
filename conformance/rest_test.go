package conformance

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/conformance/internal/feed"
	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

// restCases is how many cases the programs for streams over REST in web have.
const restCases = 77

// TestRESTWeb reads streams over REST with clients that others wrote: EventSource and fetch,
// in Node, and in Chromium and Firefox on a page of another origin, over HTTP/1.1 and HTTP/2. The
// programs that docs/streaming.md shows are among them.
func TestRESTWeb(t *testing.T) {
	t.Parallel()
	node, chromium, firefox := installed(t, "node"), installed(t, "chromium"), installed(t, "firefox-esr")
	modules(t)
	page, err := gateway.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(page)
	_, g := serveFeed(t, "--cors-origin", "http://"+page)
	demo, err := gateway.Serve(gateway.Options{Command: sluice(t), Demo: true, Args: []string{"--cors-origin", "http://" + page}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(demo.Stop)

	var mu sync.Mutex
	passed := 0
	t.Run("clients", func(t *testing.T) {
		for _, file := range []string{"rest-node.test.js", "rest-ws.test.js", "rest-browser.test.js"} {
			t.Run(file, func(t *testing.T) {
				t.Parallel() // most of the time they wait to come back
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
				defer cancel()
				c := exec.CommandContext(ctx, node, "--test-reporter=tap", file)
				c.Dir, c.WaitDelay = "web", 5*time.Second
				c.Env = append(os.Environ(), "REST_HTTP=http://"+g.Addr, "REST_HTTPS=https://"+g.TLSAddr, "REST_DEMO=http://"+demo.Addr,
					"REST_PAGE_PORT="+port, "REST_CHROMIUM="+chromium, "REST_FIREFOX="+firefox)
				out, err := c.CombinedOutput()
				mu.Lock()
				passed += passes(out)
				mu.Unlock()
				t.Logf("%d passed", passes(out))
				if err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	})
	if t.Failed() {
		t.Logf("sluice:\n%s", g.Output())
	}
	if passed != restCases {
		t.Errorf("%d cases passed, want %d", passed, restCases)
	}
}

// serveFeed puts the gateway before a feed, with and without TLS, and heartbeats often.
func serveFeed(t *testing.T, args ...string) (*feed.Server, *gateway.Gateway) {
	t.Helper()
	f, err := feed.Serve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Stop(); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	config := filepath.Join(dir, "sluice.yaml")
	if err := os.WriteFile(config, []byte("timeouts: {heartbeat: 300ms}\nlog: {calls: false}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key, err := gateway.Certificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"--config", config, "--schema", f.Proto, "--http-rules", f.Rules}, args...)
	g, err := gateway.Serve(gateway.Options{Command: sluice(t), Cert: cert, Key: key, Args: append(args, f.Addr)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	return f, g
}
