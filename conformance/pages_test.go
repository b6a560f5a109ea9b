package conformance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

// pageLines are the lines with curl that the pages show, and what they print.
var pageLines = map[string]string{
	`curl http://localhost:8080/v1/echo/hello`:                                                                                                                       `^\{"text":"hello"\}$`,
	`curl 'http://localhost:8080/v1/ticker?count=3'`:                                                                                                                 `^(\{"number":[123],"unixMs":"\d+"\}\n){3}$`,
	`curl -H 'Accept: text/event-stream' 'http://localhost:8080/v1/ticker?count=3'`:                                                                                  `^(id: [123]\ndata: \{"number":[123],"unixMs":"\d+"\}\n\n){3}event: EOS\nid: EOS\ndata: ?\n\n$`,
	`curl -H 'Accept: application/json' 'http://localhost:8080/v1/ticker?count=3'`:                                                                                   `^\[\{"number":1,"unixMs":"\d+"\},\{"number":2,"unixMs":"\d+"\},\{"number":3,"unixMs":"\d+"\}\]$`,
	`printf '{"number": 40}\n{"number": 2}\n' | curl --data-binary @- -H 'Content-Type: application/x-ndjson' http://localhost:8080/v1/sum`:                          `^\{"sum":"42","count":2\}$`,
	`curl -d '[{"number": 40}, {"number": 2}]' -H 'Content-Type: application/json' http://localhost:8080/v1/sum`:                                                     `^\{"sum":"42","count":2\}$`,
	`curl -d '{"count": 3}' -H 'Content-Type: application/json' http://localhost:8080/sluice.demo.v1.Demo/Ticker`:                                                    `^(\{"number":[123],"unixMs":"\d+"\}\n){3}$`,
	`(printf '{"text": "one"}\n'; sleep 1; printf '{"text": "two"}\n') | curl -N -T - -X POST -H 'Content-Type: application/x-ndjson' http://localhost:8080/v1/chat`: `^\n?\{"text":"you said: one","number":1\}\n\{"text":"you said: two","number":2\}\n$`,
	`printf '\n\005hello' | curl -s --data-binary @- -H 'Content-Type: application/proto' http://localhost:8080/sluice.demo.v1.Demo/Echo`:                            `^\n\x05hello$`,
	`curl -s 'http://localhost:8080/sluice.demo.v1.Demo/Echo?connect=v1&encoding=proto&message=%0A%05hello'`:                                                         `^\n\x05hello$`,
	`curl -s -d '{"text": "hello"}' -H 'Content-Type: application/json' http://localhost:8080/sluice.demo.v1.Demo/Echo`:                                              `^\{"text":"hello"\}$`,
}

var curlLine = regexp.MustCompile(`(^|\| )curl `)

// TestPages runs each line with curl that the README and docs/streaming.md show, as it
// stands there, against sluice demo.
func TestPages(t *testing.T) {
	t.Parallel()
	installed(t, "curl")
	demo, err := gateway.Serve(gateway.Options{Command: sluice(t), Demo: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(demo.Stop)
	shown := map[string]bool{}
	for _, page := range []string{"../README.md", "../docs/streaming.md"} {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(b), "\n") {
			if !curlLine.MatchString(line) || !strings.Contains(line, "http://localhost:8080/") {
				continue
			}
			if _, ok := publicLines[line]; ok {
				continue // TestPublic runs it
			}
			shown[line] = true
			t.Run(filepath.Base(page)+"/"+line, func(t *testing.T) {
				t.Parallel()
				want, ok := pageLines[line]
				if !ok {
					t.Fatal("what should it print?")
				}
				runLine(t, line, demo.Addr, want)
			})
		}
	}
	for line := range pageLines {
		if !shown[line] {
			t.Errorf("no page shows %s", line)
		}
	}
}

// runLine runs a line of a page with another address.
func runLine(t *testing.T, line, addr, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, "sh", "-c", strings.ReplaceAll(line, "http://localhost:8080", "http://"+addr))
	c.WaitDelay = time.Second
	out, err := c.Output() // the progress of curl goes to stderr
	if err != nil || !regexp.MustCompile(want).Match(out) {
		t.Errorf("%s: %v, printed %q, want %s", line, err, out, want)
	}
}
