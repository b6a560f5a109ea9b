package conformance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	totalLine  = regexp.MustCompile(`(?m)^Total cases: (\d+)$`)
	passedLine = regexp.MustCompile(`(?m)^(\d+) passed, (\d+) failed$`)
)

// TestConnect runs the Connect conformance suite against the gateway. The number of
// cases is asserted, so that a configuration that asks for less does not look like
// success.
func TestConnect(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		backend string
		config  string
		known   string // known to fail, each with its reason
		cases   int
		needs   string // a directory of the repository without which it can't pass
	}{
		{name: "grpc", backend: "referenceserver", config: "grpc.yaml", cases: 2196},
		{name: "all", backend: "referenceserver", config: "all.yaml", cases: 10224, needs: "internal/protocol/connect"},
		{name: "grpcserver", backend: "grpcserver", config: "grpcserver.yaml", known: "grpcserver-known-failing.txt", cases: 3640, needs: "internal/protocol/connect"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := os.Stat(filepath.Join("..", test.needs)); err != nil {
				t.Skipf("waits for %s", test.needs)
			}
			runner := tool(t, "connectconformance", "connectrpc.com/conformance/cmd/connectconformance")
			backend := tool(t, test.backend, "connectrpc.com/conformance/cmd/"+test.backend)
			wrap := tool(t, "wrap", "./cmd/wrap")
			// Known only now that the module is there: go list downloads nothing.
			module := strings.TrimSpace(output(t, "go", "list", "-m", "-f", "{{.Dir}}", "connectrpc.com/conformance"))
			args := []string{"-v", "--mode", "server", "--conf", test.config}
			if test.known != "" {
				args = append(args, "--known-failing", "@"+test.known)
			}
			args = append(args, "--", wrap, "-sluice", sluice(t), "-backend", backend,
				"-schema", schema(t, filepath.Join(module, "proto"), "connectrpc/conformance/v1/service.proto"))
			ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
			defer cancel()
			suite(t, exec.CommandContext(ctx, runner, args...), test.cases)
		})
	}
}

// suite runs the suite, all of whose cases have to pass.
func suite(t *testing.T, c *exec.Cmd, cases int) {
	t.Helper()
	b, err := c.CombinedOutput()
	out := string(b)
	total, passed, failed := counts(out)
	t.Logf("%d cases, %d passed, %d failed", total, passed, failed)
	if total != cases {
		t.Errorf("%d cases ran, want %d", total, cases)
	}
	if err != nil || failed != 0 {
		t.Errorf("%v\n%s", err, failures(out))
	}
}

// counts reads the suite's last lines.
func counts(out string) (total, passed, failed int) {
	if m := totalLine.FindStringSubmatch(out); m != nil {
		total, _ = strconv.Atoi(m[1])
	}
	if m := passedLine.FindStringSubmatch(out); m != nil {
		passed, _ = strconv.Atoi(m[1])
		failed, _ = strconv.Atoi(m[2])
	}
	return total, passed, failed
}

// failures leaves what says why: the names of failed cases with their reasons, at most
// some screens, and the end.
func failures(out string) string {
	const screens = 20 << 10
	i := strings.Index(out, "FAILED")
	if i < 0 {
		i = max(0, len(out)-screens)
	}
	out = out[i:]
	if len(out) > screens {
		out = out[:screens/2] + "\n…\n" + out[len(out)-screens/2:]
	}
	return out
}

func output(t *testing.T, command string, args ...string) string {
	t.Helper()
	b, err := exec.Command(command, args...).Output()
	if err != nil {
		t.Fatalf("%s %v: %v", command, args, err)
	}
	return string(b)
}

// TestCounts shows that a failure is seen.
func TestCounts(t *testing.T) {
	total, passed, failed := counts("x\nTotal cases: 12\n10 passed, 2 failed\n")
	if total != 12 || passed != 10 || failed != 2 {
		t.Errorf("got %d, %d, %d", total, passed, failed)
	}
	if total, _, _ := counts("killed"); total != 0 {
		t.Errorf("got %d cases", total)
	}
}
