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
const pageCases = 12

// TestPage opens the page of sluice demo in Chromium and Firefox: a bidirectional call over
// WebSocket, WebTransport and plain HTTP requests in their modes, which goes on after its
// connection is cut.
func TestPage(t *testing.T) {
	node, chromium, firefox := installed(t, "node"), installed(t, "chromium"), installed(t, "firefox-esr")
	modules(t)
	demo, err := gateway.Serve(gateway.Options{Command: sluice(t), Demo: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(demo.Stop)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, node, "--test-reporter=tap", "page.test.js")
	c.Dir, c.WaitDelay = "web", 5*time.Second
	c.Env = append(os.Environ(), "PAGE_URL=http://"+demo.Addr+"/", "PAGE_CHROMIUM="+chromium, "PAGE_FIREFOX="+firefox)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s\nsluice:\n%s", err, out, demo.Output())
	}
	if n := passes(out); n != pageCases {
		t.Errorf("%d cases passed, want %d", n, pageCases)
	}
}
