package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// called runs sluice call and returns what it printed, and its exit code.
func called(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := sluice(t, nil, append([]string{"call"}, args...)...)
	var out, bad bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &bad
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), bad.String(), cmd.ProcessState.ExitCode()
}

func TestCall(t *testing.T) {
	p := start(t, "demo")
	url, demo := "http://"+p.listen, "sluice.demo.v1.Demo/"
	dir := t.TempDir()
	proto := filepath.Join(dir, "x.proto")
	if err := os.WriteFile(proto, []byte(`syntax = "proto3"; package sluice.demo.v1;
		message Text { string text = 1; } service Demo { rpc Echo(Text) returns (Text); rpc None(Text) returns (Text); }`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, stdin string
		args        []string
		out, err    string // parts
		code        int
	}{
		{"unary", "", []string{"-d", `{"text": "hello"}`, url, demo + "Echo"}, "{\"text\":\"hello\"}\n", "", 0},
		{"without a message", "", []string{url, demo + "Echo"}, "{}\n", "", 0},
		{"server streaming", `{"count": 2}`, []string{"--over", "duplex", url, demo + "Ticker"}, "\n{\"number\":2", "", 0},
		{"client streaming", `{"number":40} {"number":2}`, []string{"--over", "duplex-poll", url, demo + "Sum"}, "{\"sum\":\"42\",\"count\":2}\n", "", 0},
		{"bidirectional", "{\"text\":\"a\"}\n{\"text\":\"b\"}", []string{"--over", "websocket-h2", "--compress", "gzip", url, demo + "Chat"}, "\"number\":2}\n", "", 0},
		{"methods", "", []string{url}, "sluice.demo.v1.Demo/Sum (stream sluice.demo.v1.SumRequest) sluice.demo.v1.SumResponse\n", "", 0},
		{"a schema of its own", "", []string{"--schema", proto, "-d", `{"text":"x"}`, url, demo + "Echo"}, "{\"text\":\"x\"}\n", "", 0},
		{"a method that is not there", "", []string{"--schema", proto, url, demo + "None"}, "", "UNIMPLEMENTED: ", 64 + 12},
		{"metadata", "", []string{"-v", "--show-frames", "-H", "X-A: 1", "-H", "y-bin: AAE=", url, demo + "Echo"}, "{}\n", "x-a: 1, y-bin: AAE", 0},
		{"frames", "", []string{"--show-frames", url, demo + "Echo"}, "{}\n", "--> 2 HEADERS :path: /sluice.demo.v1.Demo/Echo", 0},
		{"deadline", `{"count": 100, "everyMs": 1000}`, []string{"--timeout", "500ms", url, demo + "Ticker"}, "", "DEADLINE_EXCEEDED: ", 64 + 4},
		{"no JSON", "{text", []string{url, demo + "Echo"}, "", "message 1 is not JSON", 2},
		{"another message", `{"txt": 1}`, []string{url, demo + "Echo"}, "", `message 1 is not a sluice.demo.v1.EchoRequest: (line 1:2): unknown field "txt"`, 2},
		{"a later message", `{"number": 1} {"x": 1}`, []string{url, demo + "Sum"}, "", "message 2 is not a sluice.demo.v1.SumRequest", 2},
		{"no such method", "", []string{url, demo + "Ech"}, "", "has no method Ech: there are Echo, ", 2},
		{"no such service", "", []string{url, "a.b.C/D"}, "", "there is no service a.b.C", 2},
		{"no method", "", []string{url, "Echo"}, "", "write package.Service/Method", 2},
		{"no gateway", "", []string{"http://127.0.0.1:1", demo + "Echo"}, "", "connection refused", 1},
		{"no URL", "", []string{"localhost:8080", demo + "Echo"}, "", "write https://host", 2},
		{"HTTP/3 without TLS", "", []string{"--over", "http3", url, demo + "Echo"}, "", "http3: HTTP/3 needs https", 1},
		{"no such carrier", "", []string{"--over", "smoke", url, demo + "Echo"}, "", `there is no carrier "smoke": there are websocket,`, 2},
		{"no header", "", []string{"-H", "x", url, demo + "Echo"}, "", "name: value", 2},
		{"no file", "", []string{"--ca", "/none", url, demo + "Echo"}, "", "--ca: ", 2},
		{"nothing", "", nil, "", "give the URL of a gateway", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, bad, code := called(t, test.stdin, test.args...)
			if code != test.code || !strings.Contains(out, test.out) || !strings.Contains(bad, test.err) {
				t.Errorf("exit code %d, printed %q and %q; want %d, %q and %q", code, out, bad, test.code, test.out, test.err)
			}
		})
	}
}

// A call whose connection is cut goes on, over another carrier.
func TestCallCut(t *testing.T) {
	p := start(t, "demo")
	cmd := sluice(t, nil, "call", "--over", "websocket,duplex,duplex-poll", "--cut-every", "150ms", "--show-frames", "http://"+p.listen, "sluice.demo.v1.Demo/Chat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var frames log
	cmd.Stdout, cmd.Stderr = &out, &frames
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	parts := []string{"RESUME ", "RESUMED :state: live", "duplex#", "duplex-poll#"}
	sent := 0
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); sent++ {
		if sent >= 20 && !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(frames.String(), part) }) {
			break
		}
		if _, err := stdin.Write([]byte(`{"text": "x"}` + "\n")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, &frames)
	}
	if n := strings.Count(out.String(), "\n"); n != sent || !strings.HasSuffix(out.String(), fmt.Sprintf("\"number\":%d}\n", sent)) {
		t.Errorf("%d of %d messages came back:\n%s", n, sent, &out)
	}
	for _, part := range parts {
		if !strings.Contains(frames.String(), part) {
			t.Errorf("there is no %q in\n%s", part, &frames)
		}
	}
}

// log is what a program writes while it runs.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
