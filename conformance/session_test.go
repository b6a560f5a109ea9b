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

	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
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
	t.Parallel()
	count, browsers := 2000, []string{"Chromium"}
	if whole() {
		count, browsers = 20_000, append(browsers, "Firefox")
	}
	if n, err := strconv.Atoi(os.Getenv("CHAOS")); err == nil {
		count = n
	}
	w := newChaos(t, nil)
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

// TestHole has UDP dropped, on an address that the gateway announces for WebTransport: pages connect by what
// is left before WebTransport gives up.
func TestHole(t *testing.T) {
	deaf := new(hole)
	w := newChaos(t, deaf)
	defer w.close(t)
	control := http.NewServeMux()
	control.HandleFunc("POST /refuse", func(http.ResponseWriter, *http.Request) { w.noUpgrade.Store(true) })
	control.HandleFunc("GET /dropped", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, deaf.dropped.Load()) })
	session(t, "hole", w.proxy.URL, []string{"Chromium"}, control)
}

// TestParallel has a page make 100 bidirectional calls at once, which take at most two connections.
func TestParallel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	defer w.close(t)
	l := localListener(t)
	w.serve(func() { _ = w.gateway.ServeTLS(l, w.tls()) })
	w.serveQUIC(t, l.Addr(), nil)
	control := http.NewServeMux()
	control.HandleFunc("GET /connections", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, w.gateway.Status().ClientConns) })
	control.HandleFunc("GET /calls", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, w.gateway.Status().ActiveCalls) })
	url, over := "https://"+l.Addr().String(), "websocket,webtransport,automatic"
	if whole() {
		// Over WebTransport Firefox has connections of HTTP/3 beside that of the session: docs/test-results.md.
		session(t, "parallel", url, []string{"Firefox"}, control, "SESSION_CARRIERS=websocket,duplex-streaming,duplex,long-poll")
		over += ",duplex-streaming,duplex,long-poll"
	}
	session(t, "parallel", url, []string{"Chromium"}, control, "SESSION_CARRIERS="+over)
}

// TestTwoGatewaysWeb is TestTwoGateways in Chromium: sessions find their gateway, of two, by the hash of their id.
func TestTwoGatewaysWeb(t *testing.T) {
	t.Parallel()
	if !whole() {
		t.Skip("only in long runs: TestTwoGateways is in each")
	}
	cert, key, err := gateway.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	worlds := []*world{newWorld(t), newWorld(t)}
	addrs := []string{}
	for _, w := range worlds {
		defer w.close(t)
		l := localListener(t)
		w.serve(func() { _ = w.gateway.Serve(l) })
		addrs = append(addrs, l.Addr().String())
	}
	front := &stage{Gateway: &gateway.Gateway{Addr: addrs[0]}, cert: cert, key: key}
	hash := proxy{"hash", "haproxy", haproxyProxy, "\n\tserver s2 " + addrs[1] + "\n\tbalance hdr(sluice-session)\n\thash-type consistent", nil}
	session(t, "balanced", "https://"+front.behind(t, hash), []string{"Chromium"}, http.NewServeMux())
	for i, w := range worlds {
		rec := httptest.NewRecorder()
		w.gateway.Metrics().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if !strings.Contains(rec.Body.String(), "\nsluice_calls_total{") {
			t.Errorf("gateway %d has got no call of 40", i)
		}
	}
}

// TestHidden has pages go on with their calls when they are looked at again: they were asleep, and their
// connections are gone.
func TestHidden(t *testing.T) {
	t.Parallel()
	w := newChaos(t, nil)
	defer w.close(t)
	control := http.NewServeMux()
	control.HandleFunc("POST /cut", func(http.ResponseWriter, *http.Request) { w.cutNetwork() })
	browsers := []string{"Firefox"}
	if whole() {
		browsers = append(browsers, "Chromium")
	}
	session(t, "hidden", w.proxy.URL, browsers, control)
	if w.network.Load() == 0 {
		t.Error("no connection was cut")
	}
}

// TestHeap has a page make calls for HEAP_TIME, after which it has the heap that it had. Without HEAP_TIME it takes
// half a minute.
func TestHeap(t *testing.T) {
	if !whole() && os.Getenv("HEAP_TIME") == "" {
		t.Skip("only in long runs: what a heap does in seconds says little")
	}
	t.Parallel()
	w := newChaos(t, nil)
	defer w.close(t)
	session(t, "heap", w.proxy.URL, []string{"Chromium"}, http.NewServeMux(), fmt.Sprint("SESSION_SECONDS=", period(t, "HEAP_TIME", 30*time.Second).Seconds()))
}
