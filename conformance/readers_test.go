package conformance

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
	"github.com/sluice-rpc/sluice/duplex"
)

// readersCases is how many cases web/readers.test.js and web/shared.test.js have, and how many with MATRIX=whole.
const (
	readersCases      = 2*10 + 4*6 + 15 + 3
	readersCasesWhole = 2*10 + 4*6 + 5*6 + 3
)

// TestReaders lets the TypeScript client read streams over REST, and open streams of raw bytes to a gateway and to a Go program with
// package duplex: in Node, and in Chromium on a page of another origin.
func TestReaders(t *testing.T) {
	t.Parallel()
	node, chromium := installed(t, "node"), installed(t, "chromium")
	modules(t)
	page, err := gateway.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(page)
	origin := "http://" + page
	_, g := serveFeed(t, "--cors-origin", origin)
	cert, key, err := gateway.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	demo, err := gateway.Serve(gateway.Options{Command: sluice(t), Demo: true, Cert: cert, Key: key, Args: []string{"--cors-origin", origin}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(demo.Stop)
	h, err := duplex.New(duplex.Options{Path: "/d", Origins: []string{origin}, Serve: func(c *duplex.Conn) { _, _ = io.Copy(c, c) }})
	if err != nil {
		t.Fatal(err)
	}
	program := httptest.NewUnstartedServer(h)
	program.Config.Protocols = new(http.Protocols)
	program.Config.Protocols.SetHTTP1(true)
	program.Start()
	t.Cleanup(func() {
		_ = h.Close()
		program.CloseClientConnections()
		program.Close()
	})

	passed := 0
	for _, file := range []string{"readers.test.js", "shared.test.js"} {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		c := exec.CommandContext(ctx, node, "--test-reporter=tap", file)
		c.Dir, c.WaitDelay = "web", 5*time.Second
		c.Env = append(os.Environ(), "READERS_FEED=http://"+g.Addr, "READERS_DEMO=http://"+demo.Addr, "READERS_DEMO_TLS=https://"+demo.TLSAddr,
			"READERS_DUPLEX="+program.URL+"/d", "READERS_PAGE_PORT="+port, "READERS_CHROMIUM="+chromium)
		out, err := c.CombinedOutput()
		cancel()
		passed += passes(out)
		if err != nil {
			t.Errorf("%s: %v\n%s\nfeed:\n%s\ndemo:\n%s", file, err, out, g.Output(), demo.Output())
		}
	}
	want := readersCases
	if os.Getenv("MATRIX") == "whole" {
		want = readersCasesWhole
	}
	if passed != want {
		t.Errorf("%d cases passed, want %d", passed, want)
	}
}
