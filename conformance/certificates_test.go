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

// certificatesCases is how many cases web/certificates.test.js has.
const certificatesCases = 2 * 8

// TestCertificates has Chromium and Firefox say which certificates of --tls-dev they take for
// WebTransport.
func TestCertificates(t *testing.T) {
	t.Parallel()
	node, chromium, firefox := installed(t, "node"), installed(t, "chromium"), installed(t, "firefox-esr")
	installed(t, "certutil")
	modules(t)
	tlsAddr, err := gateway.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(tlsAddr)
	dir := filepath.Join(t.TempDir(), "state")
	demo, err := gateway.Serve(gateway.Options{Command: sluice(t), Demo: true, Args: []string{"--tls-dev", "--tls-dev-dir", dir, "--tls-listen", "localhost:" + port}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(demo.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, node, "--test-reporter=tap", "certificates.test.js")
	c.Dir, c.WaitDelay = "web", 5*time.Second
	c.Env = append(os.Environ(), "CERT_HTTP=http://"+demo.Addr, "CERT_HTTPS=https://localhost:"+port, "CERT_AUTHORITY="+filepath.Join(dir, "ca.pem"),
		"CERT_CHROMIUM="+chromium, "CERT_FIREFOX="+firefox)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s\nsluice:\n%s", err, out, demo.Output())
	}
	if n := passes(out); n != certificatesCases {
		t.Errorf("%d cases passed, want %d", n, certificatesCases)
	}
}
