package conformance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A webCaller is where the client for browsers is judged, and over which carrier.
type webCaller struct {
	platform, carrier, scheme string
	short                     bool // in each run, not only in a long one
}

// Firefox does not stream uploads, and Node has no WebTransport.
var webCallers = []webCaller{
	{"Node", "websocket", "http", true},
	{"Node", "duplex-streaming", "http", false},
	{"Node", "duplex", "http", false},
	{"Node", "long-poll", "http", false},
	{"Node", "websocket", "https", false},
	{"Node", "duplex", "https", false},
	{"Chromium", "websocket", "https", true},
	{"Chromium", "webtransport", "https", true},
	{"Chromium", "duplex-streaming", "https", false},
	{"Chromium", "duplex", "https", false},
	{"Chromium", "long-poll", "https", false},
	{"Firefox", "websocket", "https", false},
	{"Firefox", "webtransport", "https", false},
	{"Firefox", "duplex-streaming", "https", false},
	{"Firefox", "duplex", "https", false},
	{"Firefox", "long-poll", "https", false},
}

// TestCallerWeb runs the Connect conformance suite in client mode with the client for browsers: what
// Connect-ES generates on its transport, in Node, Chromium and Firefox, over each carrier, through a
// gateway to the suite's servers, connect-go and grpc-go. With MATRIX=whole it does so over all of them.
func TestCallerWeb(t *testing.T) {
	t.Parallel()
	node, chromium, firefox := installed(t, "node"), installed(t, "chromium"), installed(t, "firefox-esr")
	modules(t)
	dir := strings.TrimSpace(output(t, "go", "list", "-m", "-f", "{{.Dir}}", "connectrpc.com/conformance"))
	types := schema(t, filepath.Join(dir, "proto"), "connectrpc/conformance/v1/client_compat.proto")
	runner := tool(t, "connectconformance", "connectrpc.com/conformance/cmd/connectconformance")
	caller := tool(t, "caller", "./cmd/caller")
	for _, w := range webCallers {
		if !w.short && !whole() {
			continue
		}
		t.Run(w.platform+"/"+w.carrier+"+"+w.scheme, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			args := []string{"-v", "--mode", "client", "--conf", "caller.yaml", "--", caller}
			if w.scheme == "https" {
				args = append(args, "-tls")
			}
			c := exec.CommandContext(ctx, runner, append(args, "--", node, filepath.Join("web", "caller.js"), w.platform, w.carrier)...)
			c.Env = append(os.Environ(), "CALLER_TYPES="+types, "CALLER_CHROMIUM="+chromium, "CALLER_FIREFOX="+firefox)
			c.WaitDelay = 5 * time.Second
			suite(t, c, callerCases)
		})
	}
}
