package conformance

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

// duplexCases is how many cases web/duplex.test.js has.
const duplexCases = 21*5 + 1

// TestHTTPDuplexNPM has npm http2-duplex, unchanged, as a client of raw sessions, in Chromium and in Node.
func TestHTTPDuplexNPM(t *testing.T) {
	t.Parallel()
	node, chromium := installed(t, "node"), installed(t, "chromium")
	modules(t)
	// The package makes a request of each chunk, and its cases send chunks of a byte as fast as they are taken: that
	// is more than the default allows a connection.
	config := filepath.Join(t.TempDir(), "sluice.yaml")
	if err := os.WriteFile(config, []byte("limits:\n  conn_abuse: 20000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	set := schema(t, filepath.Join("..", "cmd", "sluice", "internal", "demo", "demopb"), "demo.proto")
	page, err := gateway.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := gateway.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.Serve(gateway.Options{
		Command: sluice(t), Cert: cert, Key: key,
		Args: []string{"--config", config, "--schema", set, "--cors-origin", "http://" + page, serveWeb(t, set)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	_, port, _ := net.SplitHostPort(page)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, node, "--test-reporter=tap", "duplex.test.js")
	c.Dir, c.WaitDelay = "web", 5*time.Second
	c.Env = append(os.Environ(), "WEB_HTTP=http://"+g.Addr, "WEB_HTTPS=https://"+g.TLSAddr, "WEB_DEMO=http://"+g.Addr,
		"WEB_LISTED_PORT="+port, "WEB_SCHEMA="+set, "WEB_CHROMIUM="+chromium)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s\nsluice:\n%s", err, out, g.Output())
	}
	if n := passes(out); n != duplexCases {
		t.Errorf("%d cases passed, want %d", n, duplexCases)
	}
}
