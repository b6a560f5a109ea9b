package conformance

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

// publicLines are the lines that the README shows for TestPublic's server, and what they
// print.
var publicLines = map[string]string{
	`printf '{"stringValue": "one"}\n{"stringValue": "two", "int64Value": "2"}\n' | curl --data-binary @- -H 'Content-Type: application/x-ndjson' http://localhost:8080/v1/example/a_bit_of_everything/bulk`: `^\{\}$`,
	`curl http://localhost:8080/v1/example/a_bit_of_everything`: `^(\{"uuid":"\w+",("int64Value":"2",)?"stringValue":"(one|two)"\}\n){2}$`,
	`curl http://localhost:8080/v1/example/download`:            `^Hello 1Hello 2$`,
}

// publicCalls are calls of each kind.
var publicCalls = []struct {
	verb, path, accept, kind, body string
	status                         int
	want                           string
}{
	{"GET", "/v1/example/a_bit_of_everything/echo/gr%C3%BC%C3%9Fe", "", "", "", 200, `^\{"value":"grüße"\}$`},
	{"POST", "/v1/example/echo/a?num=7", "", "", "", 200, `^\{"id":"a","num":"7"\}$`},
	{"GET", "/v1/example/echo/a/8/de", "", "", "", 200, `^\{"id":"a","num":"8","lang":"de"\}$`},
	{"PUT", "/v1/example/echo_body/b", "", "application/json", `{"note": "n"}`, 200, `^\{"id":"b","no":\{"note":"n"\}\}$`},
	{"DELETE", "/v1/example/echo_delete?id=c", "", "", "", 200, `^\{"id":"c"\}$`},
	{"GET", "/v1/example/echo_unauthorized", "", "", "", 401, `^\{"code":16,"message":"unauthorized err","details":\[\]\}\n$`},
	{"GET", "/v1/example/a_bit_of_everything/none", "", "", "", 404, `^\{"code":5,"message":"not found","details":\[\]\}\n$`},
	{"POST", "/v1/example/a_bit_of_everything", "", "application/json", `{"int64Value": "no"}`, 400, `"code":3,.*int64`},
	{"GET", "/responsebody/x", "", "", "", 200, `^\{"data":"x"\}$`},
	{"GET", "/responsestrings/x", "", "", "", 200, `^\["hello","x"\]$`},
	{"GET", "/responsebody/stream/x", "", "", "", 200, `^\{"data":"first x"\}\n\{"data":"second x"\}\n$`},
	{"GET", "/responsebody/stream/x", "application/json", "", "", 200, `^\[\{"data":"first x"\},\{"data":"second x"\}\]$`},
	{"GET", "/responsebody/stream/x", "text/event-stream", "", "", 200, `^id: 1\ndata: \{"data":"first x"\}\n\nid: 2\ndata: \{"data":"second x"\}\n\nevent: EOS\n`},
	{"GET", "/v1/example/a_bit_of_everything?error=true", "", "", "", 200, `\{"@error":\{"code":3,"message":"error","details":\[\]\}\}\n$`},
	{"POST", "/v1/example/a_bit_of_everything/bulk", "", "application/json", `[{"stringValue": "one"}, {}]`, 200, `^\{\}$`},
	{"POST", "/v1/example/a_bit_of_everything/bulk", "", "application/json", `[{"stringValue": 1}]`, 400, `"code":3,`},
	{"POST", "/v1/example/a_bit_of_everything/echo_duration", "", "application/x-ndjson", "\"1s\"\n\"2.5s\"\n", 200, `^\n?"1s"\n"2.500s"\n$`},
	{"GET", "/v1/example/download", "", "", "", 200, `^Hello 1Hello 2$`},
}

// TestPublic puts the gateway before a server that is not ours, the example of
// grpc-gateway, whose methods have google.api.http annotations of every sort. All that the
// gateway gets is its .proto files.
func TestPublic(t *testing.T) {
	t.Parallel()
	const module = "github.com/grpc-ecosystem/grpc-gateway/v2"
	addr, err := gateway.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	server, err := gateway.Start("example", nil, nil, tool(t, "example-grpc-server", module+"/examples/internal/cmd/example-grpc-server"), "-addr", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	if err := server.Listening(addr); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimSpace(string(out))
	args := []string{"--proto-path", dir}
	for _, name := range []string{"stream", "echo_service", "response_body_service"} {
		args = append(args, "--schema", filepath.Join(dir, "examples", "internal", "proto", "examplepb", name+".proto"))
	}
	g, err := gateway.Serve(gateway.Options{Command: sluice(t), Args: append(args, addr)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)

	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, line := range strings.Split(string(readme), "\n") { // in their order: one uses what another made
		if want, ok := publicLines[line]; ok {
			lines++
			runLine(t, line, g.Addr, want)
		}
	}
	if lines != len(publicLines) {
		t.Errorf("the README shows %d of the lines, want %d", lines, len(publicLines))
	}
	for _, c := range publicCalls {
		t.Run(c.verb+" "+c.path+" "+c.accept, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, c.verb, "http://"+g.Addr+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if c.accept != "" {
				r.Header.Set("Accept", c.accept)
			}
			if c.kind != "" {
				r.Header.Set("Content-Type", c.kind)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != c.status || !regexp.MustCompile(c.want).Match(b) {
				t.Errorf("%v, %d %q, want %d %s", err, resp.StatusCode, b, c.status, c.want)
			}
		})
	}
	// What fails in the middle of a file has no place for a mark: it is cut.
	resp, err := http.Get("http://" + g.Addr + "/v1/example/download?error=true")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil || string(b) != "Hello 1Hello 2" {
		t.Errorf("a file that failed: %v, %q", err, b)
	}
}
