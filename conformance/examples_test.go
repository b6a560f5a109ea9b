package conformance

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

// exampleCases is how many cases web/examples.test.js has.
const exampleCases = 9

// TestExamples starts each example by the command that its page begins with, on a free port, and looks
// in Chromium whether it does what the page says.
func TestExamples(t *testing.T) {
	t.Parallel()
	chromium, node := installed(t, "chromium"), installed(t, "node")
	modules(t)
	proxy, err := gateway.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(proxy)
	// The second one is the port of grpcwebproxy, which its page has to know.
	env := append(os.Environ(), "PORT=0", "VITE_PROXY_PORT="+port)
	judge := slices.Concat(env, []string{"EXAMPLES_CHROMIUM=" + chromium})
	list, err := os.ReadFile("../examples/README.md")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("../examples/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	started := map[string]string{}
	for _, page := range pages {
		name := filepath.Base(filepath.Dir(page))
		if !strings.Contains(string(list), "]("+name+")") {
			t.Errorf("examples/README.md does not list %s", name)
		}
		command, open := exampleCommand(t, page)
		if !open {
			continue // it is no server with a page
		}
		started[name] = startExample(t, name, command, env)
		judge = append(judge, "EXAMPLES_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"="+started[name])
	}

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, node, "--test-reporter=tap", "examples.test.js")
	c.Dir, c.WaitDelay, c.Env = "web", 5*time.Second, judge
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if n := passes(out); n != exampleCases {
		t.Errorf("%d cases passed, want %d", n, exampleCases)
	}

	t.Run("types", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		c := exec.CommandContext(ctx, "npm", "run", "types")
		c.Dir, c.WaitDelay = "../examples", 5*time.Second
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})

	t.Run("websocket, the player in Go", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := exec.CommandContext(ctx, "go", "run", "./client")
		c.Dir, c.WaitDelay = "../examples/websocket", 5*time.Second
		url := strings.TrimSuffix(started["websocket"], "/")
		c.Env = append(os.Environ(), "PORT="+url[strings.LastIndex(url, ":")+1:])
		if out, err := c.CombinedOutput(); err != nil || !strings.HasSuffix(string(out), " right\n") {
			t.Errorf("%v, %s", err, out)
		}
	})
}

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// exampleCommand reads the command that a page of an example begins with, and whether one opens a page in a
// browser then.
func exampleCommand(t *testing.T, page string) (command string, open bool) {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	m := shellBlock.FindSubmatch(b)
	if m == nil {
		t.Fatalf("%s says no command", page)
	}
	return string(m[1]), strings.Contains(string(b), "\nOpen http://localhost:8080/")
}

// startExample runs a command from the root until the test ends, and returns the URL that it prints.
func startExample(t *testing.T, name, command string, env []string) string {
	t.Helper()
	s := startShell(t, "..", command, env)
	t.Cleanup(s.stop)
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if url := exampleURL.FindString(s.stdout.String()); url != "" {
			return url
		}
		select {
		case <-s.ended:
			t.Fatalf("%s has ended", name)
		default:
		}
	}
	t.Fatalf("%s prints no URL", name)
	return ""
}

// exampleURL is where an example says that it is.
var exampleURL = regexp.MustCompile(`http://(127\.0\.0\.1|localhost):\d+/`)
