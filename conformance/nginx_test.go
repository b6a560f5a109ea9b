package conformance

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

// nginxConf is what a page about nginx tells first: proxy_pass and nothing else. So it asks
// with HTTP/1.0 and buffers what it gets.
const nginxConf = `daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen %[2]s;
		location / { proxy_pass http://%[3]s; }
	}
}
`

// TestNginx has streams pass through nginx as it is by default. What is quiet is not taken
// for dead, and what was sent has arrived: the head and the framing's first byte long
// before the first message, then heartbeats, then each message by itself.
func TestNginx(t *testing.T) {
	t.Parallel()
	program := installed(t, "nginx")
	_, g := serveFeed(t)
	dir := t.TempDir()
	addr, err := gateway.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, addr, g.Addr), 0o600); err != nil {
		t.Fatal(err)
	}
	nginx, err := gateway.Start("nginx", nil, nil, program, "-e", "stderr", "-p", dir, "-c", conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nginx.Stop)
	if err := nginx.Listening(addr); err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct{ accept, first, heartbeat, messages string }{
		{"text/event-stream", ":\n\n", ":\n\n", "id: 1\ndata: {"},
		{"application/x-ndjson", "\n", "\n", "{"},
		{"application/json", "[", " ", "{"},
	} {
		for _, head := range []string{"head=true", "head=false"} { // what made the head leave
			t.Run(m.accept+"/"+head, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v1/feed?count=2&every_ms=400&quiet_ms=3600&"+head, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Accept", m.accept)
				start := time.Now()
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				in := bufio.NewReader(resp.Body)
				expect(t, in, m.first)
				if d := time.Since(start); d > 3*time.Second { // the message comes after 4 s
					t.Errorf("the first byte came after %v", d)
				} else {
					t.Logf("the first byte came after %v", d)
				}
				beats := 0
				for beat := time.Now(); ; beats++ {
					if next, err := in.Peek(1); err != nil {
						t.Fatal(err)
					} else if next[0] == m.messages[0] {
						break
					}
					expect(t, in, m.heartbeat)
					if d := time.Since(beat); d > 3*time.Second {
						t.Errorf("silence for %v", d)
					}
					beat = time.Now()
				}
				if beats < 2 {
					t.Errorf("%d heartbeats in 4 s", beats)
				}
				expect(t, in, m.messages)
				first := time.Now()
				rest, err := io.ReadAll(in)
				if err != nil || !strings.Contains(string(rest), `"number":"2"`) {
					t.Errorf("%v, %q", err, rest)
				}
				if d := time.Since(first); d < 200*time.Millisecond {
					t.Errorf("the second message came with the first, or %v after it", d)
				}
			})
		}
	}
}

// expect reads the text that has to come next.
func expect(t *testing.T, in io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(in, got); err != nil || string(got) != want {
		t.Fatalf("got %q, want %q: %v", got[:n], want, err)
	}
}
