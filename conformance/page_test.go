package conformance

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

// pageCases is how many cases web/page.test.js and web/page-look.test.js have.
const pageCases = 20 + 20

// TestPage opens the page of sluice demo: every part of it in Chromium and Firefox, over
// WebSocket, WebTransport and plain HTTP requests in their modes, while the connection is
// cut; and in Chromium what it looks like, its keys, its lines to copy.
func TestPage(t *testing.T) {
	t.Parallel()
	chromium, firefox := installed(t, "chromium"), installed(t, "firefox-esr")
	testPage(t, pageCases, []string{"page.test.js", "page-look.test.js"}, "PAGE_CHROMIUM="+chromium, "PAGE_FIREFOX="+firefox)
}

// clientCases is how many cases web/client.test.js has.
const clientCases = 41

// TestClient lets the TypeScript client call from Node, over each carrier that Node has, and cuts its
// connections.
func TestClient(t *testing.T) { // not in parallel: it counts how often it was cut in a time
	testPage(t, clientCases, []string{"client.test.js"})
}

// testPage runs programs of web against a demo, one after the other.
func testPage(t *testing.T, cases int, files []string, env ...string) {
	t.Helper()
	node := installed(t, "node")
	modules(t)
	demo, err := gateway.Serve(gateway.Options{Command: sluice(t), Demo: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(demo.Stop)
	passed := 0
	for _, file := range files {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		c := exec.CommandContext(ctx, node, "--test-reporter=tap", file)
		c.Dir, c.WaitDelay = "web", 5*time.Second
		c.Env = append(append(os.Environ(), "PAGE_URL=http://"+demo.Addr+"/"), env...)
		out, err := c.CombinedOutput()
		cancel()
		if err != nil {
			t.Errorf("%s: %v\n%s\nsluice:\n%s", file, err, out, demo.Output())
		}
		passed += passes(out)
	}
	if passed != cases {
		t.Errorf("%d cases passed, want %d", passed, cases)
	}
}
