package conformance

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

// from is a client of HTTP/2 without TLS that has an address of its own.
func from(t *testing.T, ip string) *http.Transport {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	tr := &http.Transport{DialContext: d.DialContext, Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// attacker is a client that means no good.
type attacker struct {
	t   *testing.T
	ctx context.Context
	tr  *http.Transport
	url string
}

func (a *attacker) ask(method, path string, body io.Reader, pairs ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(a.ctx, method, a.url+"/sluice/v1"+path, body)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(pairs); i += 2 {
		r.Header.Set(pairs[i], pairs[i+1])
	}
	return a.tr.RoundTrip(r)
}

// status asks, and drops the answer.
func (a *attacker) status(method, path string, body io.Reader, pairs ...string) int {
	resp, err := a.ask(method, path, body, pairs...)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// many calls f for each number below n, 32 at a time.
func many(n int, f func(i int)) {
	var wg sync.WaitGroup
	work := make(chan int)
	for range 32 {
		wg.Go(func() {
			for i := range work {
				f(i)
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
}

func sessionID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// nothings are zeros, until their context ends.
type nothings struct{ ctx context.Context }

func (e nothings) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	clear(p)
	return len(p), nil
}

// attacked is a gateway that is attacked.
type attacked struct {
	*gateway.Gateway
	t      *testing.T
	url    string
	ctx    context.Context
	honest *http.Transport
	before int // its resident memory
}

// newAttacked starts one, and looks what it costs before.
func newAttacked(t *testing.T) *attacked {
	config := filepath.Join(t.TempDir(), "sluice.yaml")
	if err := os.WriteFile(config, []byte("duplex:\n  poll_gap: 10s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	set := schema(t, filepath.Join("..", "cmd", "sluice", "internal", "demo", "demopb"), "demo.proto")
	g, err := gateway.Serve(gateway.Options{Command: sluice(t), Args: []string{"--config", config, "--schema", set, serveWeb(t, set)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	v := &attacked{g, t, "http://" + g.Addr, ctx, from(t, "127.0.0.2"), 0}
	for range 50 {
		v.serves("before")
	}
	v.before = resident(t, g)
	return v
}

// serves asks that the gateway serves somebody else.
func (v *attacked) serves(when string) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, 10*time.Second)
	defer cancel()
	if err := rawPingPong(ctx, v.honest, v.url); err != nil {
		v.t.Errorf("%s: %v", when, err)
	}
}

// watch looks for a second how much memory the gateway takes.
func (v *attacked) watch() {
	v.t.Helper()
	most := 0
	for range 20 {
		time.Sleep(50 * time.Millisecond)
		most = max(most, resident(v.t, v.Gateway)-v.before)
	}
	v.t.Logf("memory grew by %d MiB", most>>20)
	if most > maxGrowth {
		v.t.Errorf("resident memory grew by %d MiB from %d MiB, at most %d MiB are allowed", most>>20, v.before>>20, maxGrowth>>20)
	}
}

// forgets waits until nothing is left of what was attacked with, and asks which limits were hit.
func (v *attacked) forgets(limits ...string) {
	v.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get("http://" + v.Admin + "/metrics")
		if err != nil {
			v.t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			v.t.Fatal(err)
		}
		if strings.Contains(string(text), "\nsluice_duplex_sessions 0\n") && strings.Contains(string(text), "\nsluice_buffered_bytes 0\n") {
			for _, limit := range limits {
				if !strings.Contains(string(text), `sluice_limits_hit_total{limit="`+limit+`"}`) {
					v.t.Errorf("%s is not counted", limit)
				}
			}
			break
		}
		if time.Now().After(deadline) {
			left := regexp.MustCompile(`(?m)^sluice_(duplex_sessions|buffered_bytes) .*$`).FindAll(text, -1)
			v.t.Fatalf("left: %s", left)
		}
	}
	v.serves("after")
}

// TestHTTPDuplexAttacks has sessions that are begun and left, uploads beyond gaps, and uploads
// again and again. The gateway says what is too much, takes at most 64 MiB for all of
// them together, serves others meanwhile, and forgets it all.
func TestHTTPDuplexAttacks(t *testing.T) {
	v := newAttacked(t)
	attack, stop := context.WithCancel(v.ctx)
	defer stop()
	a := &attacker{t, attack, from(t, "127.0.0.3"), v.url}

	ids := make([]string, 2000) // refusals take their time, and the first ones must not be forgotten meanwhile
	var opened, refused atomic.Int64
	many(len(ids), func(i int) {
		id := sessionID()
		switch a.status("GET", "", nil, "sluice-session", id, "sluice-offset", "0", "sluice-poll", "1") {
		case 200:
			ids[i] = id
			opened.Add(1)
		case 429:
			refused.Add(1)
		}
	})
	if opened.Load() != 1000 || refused.Load() != 1000 {
		t.Errorf("%d sessions of one address, and %d refused; want 1000 and 1000", opened.Load(), refused.Load())
	}
	v.serves("half-open sessions")
	var open []string
	for _, id := range ids {
		if id != "" {
			open = append(open, id)
		}
	}

	statuses := make([]atomic.Int64, 600)
	count := func(status int) { statuses[status].Add(1) }
	block := strings.Repeat("x", 60<<10)
	var held sync.WaitGroup
	for i := range 200 { // each waits until the session is over, or the attack is
		for n := range 6 {
			held.Go(func() {
				count(a.status("POST", "", strings.NewReader(block), "sluice-session", open[i], "sluice-offset", strconv.Itoa(1+n*len(block))))
			})
		}
	}
	time.Sleep(time.Second)
	v.serves("uploads beyond a gap")
	many(3000, func(i int) {
		count(a.status("POST", "", strings.NewReader("\x7f\x00\x00\x00\x00\x00\x00\x00"), "sluice-session", open[900+i%50], "sluice-offset", "0"))
	})
	v.serves("uploads again and again")
	v.watch()
	stop()
	held.Wait()
	if statuses[409].Load() == 0 || statuses[204].Load() == 0 {
		t.Error("no upload was refused, or none taken")
	}
	v.forgets("duplex_client_sessions", "duplex_ahead_bytes")
}

// TestHTTPDuplexStalls has downloads that nobody reads, of uploads that do not end.
func TestHTTPDuplexStalls(t *testing.T) {
	v := newAttacked(t)
	attack, stop := context.WithCancel(v.ctx)
	defer stop()
	const raw = "/raw/sluice.demo.v1.Demo/EchoBytes"
	a := &attacker{t, attack, from(t, "127.0.0.4"), v.url}
	var held sync.WaitGroup
	for range 40 {
		get, err := a.ask("GET", raw, nil)
		if err != nil || get.StatusCode != 200 {
			t.Fatal(get, err)
		}
		defer get.Body.Close()
		held.Go(func() {
			a.status("POST", raw, nothings{attack}, "http2-duplex-id", get.Header.Get("http2-duplex-id"), "http2-duplex-single", "true")
		})
	}
	v.watch()
	v.serves("downloads that nobody reads")
	stop()
	held.Wait()
	v.forgets()
}
