package conformance

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// whole says whether a run is a long one.
func whole() bool { return os.Getenv("MATRIX") == "whole" }

// session plays a case of web/session.test.js in browsers, which ask handlers of control for what a
// page can't do.
func session(t *testing.T, name, url string, browsers []string, control *http.ServeMux, env ...string) {
	t.Helper()
	node, chromium, firefox := installed(t, "node"), installed(t, "chromium"), installed(t, "firefox-esr")
	modules(t)
	s := httptest.NewServer(control)
	t.Cleanup(s.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 75*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, node, "--test-reporter=tap", "session.test.js")
	c.Dir, c.WaitDelay = "web", 5*time.Second
	c.Env = append(append(os.Environ(), "SESSION_CASE="+name, "SESSION_URL="+url, "SESSION_CONTROL="+s.URL, "SESSION_BROWSERS="+strings.Join(browsers, ","),
		"SESSION_CHROMIUM="+chromium, "SESSION_FIREFOX="+firefox), env...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, m := range said.FindAllSubmatch(out, -1) {
		t.Logf("%s", m[1])
	}
	if n := passes(out); n == 0 || n%len(browsers) != 0 {
		t.Errorf("%d cases passed in %d browsers", n, len(browsers))
	}
}

// said is what a case reports.
var said = regexp.MustCompile(`(?m)^ *# (\{.*\})$`)

// TestChaosWeb is TestChaos in browsers: connections are cut under messages, and carriers alternate. With
// MATRIX=whole there are more messages, and Firefox has them too.
func TestChaosWeb(t *testing.T) {
	count, browsers := 2000, []string{"Chromium"}
	if whole() {
		count, browsers = 20_000, append(browsers, "Firefox")
	}
	if n, err := strconv.Atoi(os.Getenv("CHAOS")); err == nil {
		count = n
	}
	w := newChaos(t)
	defer w.close(t)
	control := http.NewServeMux()
	control.HandleFunc("POST /cut", func(http.ResponseWriter, *http.Request) { w.cutNetwork() })
	session(t, "chaos", w.proxy.URL, browsers, control, fmt.Sprint("SESSION_COUNT=", count))
	t.Logf("%d connections cut by the network, %d of %d uploads aborted", w.network.Load(), w.aborted.Load(), w.uploads.Load())
	if w.network.Load() == 0 || (whole() && w.aborted.Load() == 0) {
		t.Error("the network did nothing")
	}
	if whole() { // it may take a minute
		w.left(t)
	}
}
