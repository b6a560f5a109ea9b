package conformance

import (
	"context"
	"encoding/xml"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

// h2specCases is how many cases h2spec v2.2.1 has with --strict.
const h2specCases = 146

// A verdict is what h2spec says about one case.
type verdict struct {
	section string // "http2/5.1.1"
	name    string
	failed  bool
	skipped bool
	detail  string
}

// parseH2spec reads h2spec's JUnit report.
func parseH2spec(report []byte) ([]verdict, error) {
	type text struct {
		Body string `xml:",chardata"`
	}
	var doc struct {
		Suites []struct {
			Cases []struct {
				Package string `xml:"package,attr"`
				Name    string `xml:"classname,attr"`
				Failure *text  `xml:"failure"`
				Error   *text  `xml:"error"`
				Skipped *text  `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(report, &doc); err != nil {
		return nil, err
	}
	var out []verdict
	for _, s := range doc.Suites {
		for _, c := range s.Cases {
			v := verdict{section: c.Package, name: c.Name, skipped: c.Skipped != nil}
			for _, t := range []*text{c.Failure, c.Error} {
				if t != nil {
					v.failed, v.detail = true, strings.TrimSpace(t.Body)
				}
			}
			out = append(out, v)
		}
	}
	return out, nil
}

var expectedLine = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+?) \\| (h2c|tls|both|race) \\|")

// expectedFailures reads the table of docs/h2spec.md: where a case fails ("h2c", "tls",
// "both"), or that it depends on who is faster ("race").
func expectedFailures(page string) map[string]string {
	out := map[string]string{}
	for _, m := range expectedLine.FindAllStringSubmatch(page, -1) {
		out[m[1]+": "+m[2]] = m[3]
	}
	return out
}

// differences says where the verdicts of a front are not what the page says.
func differences(front string, verdicts []verdict, expected map[string]string) []string {
	var out []string
	seen := map[string]bool{}
	for _, v := range verdicts {
		id := v.section + ": " + v.name
		seen[id] = true
		where := expected[id]
		fails := where == front || where == "both"
		switch {
		case where == "race":
		case v.failed && !fails:
			out = append(out, fmt.Sprintf("%s failed: %s", id, v.detail))
		case v.skipped && !fails:
			out = append(out, fmt.Sprintf("%s was skipped", id))
		case !v.failed && !v.skipped && fails:
			out = append(out, fmt.Sprintf("%s passes: take it out of docs/h2spec.md", id))
		}
	}
	for id := range expected {
		if !seen[id] {
			out = append(out, fmt.Sprintf("%s is in docs/h2spec.md, and h2spec has no such case", id))
		}
	}
	return out
}

// TestH2spec runs h2spec --strict against the gateway. A case fails only if docs/h2spec.md
// has it, with the sentence of the RFC that allows what we do.
func TestH2spec(t *testing.T) {
	page, err := os.ReadFile("../docs/h2spec.md")
	if err != nil {
		t.Fatal(err)
	}
	expected := expectedFailures(string(page))
	backend, err := gateway.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(backend)
	server, err := gateway.Start("interop server", nil, nil, tool(t, "interop_server", "google.golang.org/grpc/interop/server"), "-port", port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	if err := server.Listening(backend); err != nil {
		t.Fatal(err)
	}
	cert, key, err := gateway.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.Serve(gateway.Options{Command: sluice(t), Cert: cert, Key: key, Args: []string{backend}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	h2spec := tool(t, "h2spec", "github.com/summerwind/h2spec/cmd/h2spec")

	for _, front := range []struct {
		name string
		addr string
		args []string
	}{{"h2c", g.Addr, nil}, {"tls", g.TLSAddr, []string{"-t", "-k"}}} {
		t.Run(front.name, func(t *testing.T) {
			t.Parallel() // it waits most of the time
			var unexpected []string
			for try := range 3 {
				verdicts := runH2spec(t, h2spec, front.addr, front.args)
				if len(verdicts) != h2specCases {
					t.Fatalf("%d cases ran, want %d", len(verdicts), h2specCases)
				}
				passed := 0
				for _, v := range verdicts {
					if !v.failed && !v.skipped {
						passed++
					}
				}
				unexpected = differences(front.name, verdicts, expected)
				t.Logf("run %d: %d of %d passed, %d not as expected", try+1, passed, len(verdicts), len(unexpected))
				if len(unexpected) == 0 {
					return
				}
			}
			for _, d := range unexpected {
				t.Error(d)
			}
		})
	}
}

// runH2spec runs all cases once.
func runH2spec(t *testing.T, command, addr string, args []string) []verdict {
	t.Helper()
	host, port, _ := net.SplitHostPort(addr)
	report := filepath.Join(t.TempDir(), "report.xml")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	args = append([]string{"-h", host, "-p", port, "--strict", "-P", "/grpc.testing.TestService/EmptyCall", "-j", report}, args...)
	out, _ := exec.CommandContext(ctx, command, args...).CombinedOutput() // it fails if any case does
	b, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	verdicts, err := parseH2spec(b)
	if err != nil {
		t.Fatal(err)
	}
	return verdicts
}

// TestDifferences shows that the comparison can fail, both ways.
func TestDifferences(t *testing.T) {
	expected := expectedFailures("| case | x |\n| --- | --- |\n| `http2/1` | Known | both |\n| `http2/2` | Gone | h2c | why |\n| `http2/3` | Race | race |\n")
	race := verdict{section: "http2/3", name: "Race", failed: true}
	got := differences("h2c", []verdict{
		{section: "http2/1", name: "Known", failed: true},
		{section: "http2/1", name: "New", failed: true, detail: "no"},
		race,
	}, expected)
	if len(got) != 2 || !strings.Contains(got[0], "New failed") || !strings.Contains(got[1], "Gone is in docs") {
		t.Errorf("got %q", got)
	}
	got = differences("h2c", []verdict{{section: "http2/1", name: "Known"}, {section: "http2/2", name: "Gone", failed: true}, race}, expected)
	if len(got) != 1 || !strings.Contains(got[0], "passes") {
		t.Errorf("got %q", got)
	}
	got = differences("tls", []verdict{{section: "http2/1", name: "Known", failed: true}, {section: "http2/2", name: "Gone", failed: true}, race}, expected)
	if len(got) != 1 || !strings.Contains(got[0], "Gone failed") {
		t.Errorf("got %q", got)
	}
}
