package conformance

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

// pageCases is how many cases web/page.test.js has.
const pageCases = 14

// TestPage opens the page of sluice demo in Chromium and Firefox: a bidirectional call over
// WebSocket, WebTransport and plain HTTP requests in their modes, which goes on after its
// connection is cut.
func TestPage(t *testing.T) {
	chromium, firefox := installed(t, "chromium"), installed(t, "firefox-esr")
	testPage(t, pageCases, "page.test.js", "PAGE_CHROMIUM="+chromium, "PAGE_FIREFOX="+firefox)
}

// clientCases is how many cases web/client.test.js has.
const clientCases = 41

// TestClient lets the TypeScript client call from Node, over each carrier that Node has, and cuts its
// connections.
func TestClient(t *testing.T) {
	testPage(t, clientCases, "client.test.js")
}

// testPage runs a program of web against a demo.
func testPage(t *testing.T, cases int, file string, env ...string) {
	t.Helper()
	node := installed(t, "node")
	modules(t)
	demo, err := gateway.Serve(gateway.Options{Command: sluice(t), Demo: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(demo.Stop)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, node, "--test-reporter=tap", file)
	c.Dir, c.WaitDelay = "web", 5*time.Second
	c.Env = append(append(os.Environ(), "PAGE_URL=http://"+demo.Addr+"/"), env...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s\nsluice:\n%s", err, out, demo.Output())
	}
	if n := passes(out); n != cases {
		t.Errorf("%d cases passed, want %d", n, cases)
	}
}
