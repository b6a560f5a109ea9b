package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// runMain in the environment makes the test binary be the command.
const runMain = "TEST_RUN_SLUICE_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func sluice(t testing.TB, env []string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), runMain+"=1"), env...)
	cmd.Dir = t.TempDir()
	return cmd
}

// process is a command that serves.
type process struct {
	t           testing.TB
	cmd         *exec.Cmd
	listen, tls string // addresses
	admin       string
	log         chan map[string]any // records that nobody has looked at
	exited      chan error
}

// start runs serve or demo on free ports until the end of the test.
func start(t testing.TB, args ...string) *process {
	t.Helper()
	base := []string{args[0], "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--log-format=json"}
	p := &process{t: t, cmd: sluice(t, nil, append(base, args[1:]...)...), log: make(chan map[string]any, 1000), exited: make(chan error, 1)}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		for s := bufio.NewScanner(stderr); s.Scan(); {
			record := map[string]any{}
			if json.Unmarshal(s.Bytes(), &record) != nil {
				record["msg"] = s.Text()
			}
			select {
			case p.log <- record:
			default:
			}
		}
		p.exited <- p.cmd.Wait()
	}()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	serving := p.await("serving")
	p.listen, _ = serving["listen"].(string)
	p.admin, _ = serving["admin"].(string)
	p.tls, _ = serving["tls_listen"].(string)
	return p
}

// await returns the next log record whose message begins so.
func (p *process) await(message string) map[string]any {
	p.t.Helper()
	for timeout := time.After(15 * time.Second); ; {
		select {
		case record := <-p.log:
			if s, _ := record["msg"].(string); strings.HasPrefix(s, message) {
				return record
			}
		case err := <-p.exited:
			p.t.Fatalf("ended before it logged %q: %v", message, err)
		case <-timeout:
			p.t.Fatalf("did not log %q", message)
		}
	}
}

// code waits for the end and returns the exit code.
func (p *process) code() int {
	p.t.Helper()
	select {
	case err := <-p.exited:
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode()
		}
		if err != nil {
			p.t.Fatal(err)
		}
		return 0
	case <-time.After(15 * time.Second):
		p.t.Fatal("did not end")
		return 0
	}
}

func (p *process) signal() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
}

// get asks the admin server.
func (p *process) get(path string) (int, string) {
	p.t.Helper()
	r, err := http.Get("http://" + p.admin + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// until asks again and again until /readyz has the code.
func (p *process) until(code int) string {
	p.t.Helper()
	for range 500 {
		if got, body := p.get("/readyz"); got == code {
			return body
		}
		time.Sleep(20 * time.Millisecond)
	}
	_, body := p.get("/readyz")
	p.t.Fatalf("/readyz did not become %d: %s", code, body)
	return ""
}

// freeAddr is an address where nobody listens.
func freeAddr(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestMessages(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() }) // after the parallel tests, as defer would not be
	files := map[string]string{
		"bad.yaml":    "backends: [localhost:50051]\ntimeouts:\n  idel: 5m\n",
		"tab.yaml":    "limits:\n\tmessage_bytes: 1MiB\n",
		"good.yaml":   "backends: [localhost:50051]\nlimits: {message_bytes: 1MiB}\n",
		"demo.proto":  `syntax = "proto3";`,
		"bad.proto":   "syntax = \"proto3\";\nmessage {",
		"schema.yaml": "backends: [localhost:50051]\nschema: [bad.proto]\n",
		"image.json":  `{"file":[]}`,
		"junk.binpb":  "\xff\xff\xff\xff",
		"empty.binpb": "",
		"junk.pem":    "hello",
		"rules.yaml":  "http:\n  rules:\n  - selector: a.B.C\n    gett: /v1\n",
		"good.proto":  "syntax = \"proto3\";\npackage p;\nmessage M {}\nservice S { rpc Do(M) returns (M); }\n",
		"do.yaml":     "http:\n  rules:\n  - selector: p.S.Do\n    get: /do\n",
		"dont.yaml":   "http:\n  rules:\n  - selector: p.S.Dont\n    get: /do\n",
		"rest.yaml":   "backends: [localhost:50051]\nrest: {http_rules: rules.yaml}\n",
	}
	for name, c := range map[string]struct {
		args []string
		env  []string
		code int
		want string
	}{
		"wrong backend address": {[]string{"serve", "localhost"}, nil, 2, `backend target "localhost" has no port: write "localhost:50051"`},
		"wrong scheme":          {[]string{"serve", "grpc://a:1"}, nil, 2, `unknown scheme "grpc"`},
		"no backend":            {[]string{"serve"}, nil, 2, "no backend: name at least one gRPC server"},
		"port in use":           {[]string{"demo", "--admin=off", "--listen", taken.Addr().String()}, nil, 1, "the port is in use: stop the program"},
		"admin port in use":     {[]string{"demo", "--listen=127.0.0.1:0", "--admin", taken.Addr().String()}, nil, 1, "or choose another, as --admin 127.0.0.1:"},
		"foreign address":       {[]string{"demo", "--admin=off", "--listen=192.0.2.1:8080"}, nil, 1, "this machine has no address 192.0.2.1"},
		"bad flag":              {[]string{"serve", "--lisen=:1", "a:1"}, nil, 2, "unknown flag --lisen: did you mean --listen?"},
		"bad shorthand":         {[]string{"serve", "-listen=:1", "a:1"}, nil, 2, "-l"},
		"flag of a key":         {[]string{"serve", "--idle=5s", "a:1"}, nil, 2, "set timeouts.idle in the file of --config, or the variable SLUICE_TIMEOUTS_IDLE"},
		"bad value":             {[]string{"serve", "--max-message=lots", "a:1"}, nil, 2, `--max-message: "lots" is not a size`},
		"flag without value":    {[]string{"serve", "--listen"}, nil, 2, "flag needs an argument: --listen"},
		"bad command":           {[]string{"server"}, nil, 2, "did you mean `sluice serve`?"},
		"address as command":    {[]string{"localhost:50051"}, nil, 2, "`sluice serve localhost:50051`"},
		"demo of a backend":     {[]string{"demo", "a:1"}, nil, 2, "`sluice serve a:1`"},
		"bad variable":          {[]string{"serve", "a:1"}, []string{"SLUICE_MAX_STREAMS=many"}, 2, `SLUICE_MAX_STREAMS: "many" is not a number`},
		"no file":               {[]string{"serve", "--config=none.yaml"}, nil, 2, "none.yaml: there is no such file"},
		"bad file":              {[]string{"check", "bad.yaml"}, nil, 2, `bad.yaml:3:3: unknown key "timeouts.idel": did you mean "timeouts.idle"?`},
		"bad file by variable":  {[]string{"serve"}, []string{"SLUICE_CONFIG=bad.yaml"}, 2, `bad.yaml:3:3: unknown key`},
		"tab in a file":         {[]string{"check", "tab.yaml"}, nil, 2, "tab.yaml:2:1: a tab: YAML is indented with spaces"},
		"port without host":     {[]string{"serve", "50052"}, nil, 2, `has no port: write "localhost:50052"`},
		"check of nothing":      {[]string{"check"}, nil, 2, "`sluice check sluice.yaml`"},
		"good file":             {[]string{"check", "good.yaml"}, nil, 0, "good.yaml is good: sluice serve --config good.yaml"},
		"no certificate":        {[]string{"serve", "--tls-listen=:0", "a:1"}, nil, 2, "add --tls-cert FILE and --tls-key FILE"},
		"missing certificate":   {[]string{"serve", "--tls-listen=:0", "--tls-cert=c.pem", "--tls-key=k.pem", "a:1"}, nil, 1, "certificate c.pem: there is no such file"},
		"bad certificate":       {[]string{"serve", "--tls-listen=:0", "--tls-cert=junk.pem", "--tls-key=junk.pem", "a:1"}, nil, 1, "junk.pem is not PEM"},
		"bad backend authority": {[]string{"serve", "--backend-ca=junk.pem", "https://a:1"}, nil, 1, "backend https://a:1: junk.pem holds no certificate"},
		"useless authority":     {[]string{"serve", "--backend-ca=junk.pem", "a:1"}, nil, 2, "no backend uses TLS"},
		"missing schema":        {[]string{"serve", "--schema=none.binpb", "a:1"}, nil, 1, "schema none.binpb: there is no such file"},
		"bad source":            {[]string{"serve", "--schema=bad.proto", "a:1"}, nil, 1, "schema bad.proto:2:9: syntax error"},
		"bad source in a file":  {[]string{"check", "schema.yaml"}, nil, 1, "schema bad.proto:2:9: syntax error"},
		"source elsewhere":      {[]string{"serve", "--schema=demo.proto", "--proto-path=x", "a:1"}, nil, 1, "schema demo.proto is below none of the directories of --proto-path: x"},
		"path without source":   {[]string{"serve", "--proto-path=x", "a:1"}, nil, 2, "--proto-path without a .proto file"},
		"JSON image":            {[]string{"serve", "--schema=image.json", "a:1"}, nil, 1, "schema image.json describes nothing"},
		"unreadable schema":     {[]string{"serve", "--schema=junk.binpb", "a:1"}, nil, 1, "junk.binpb is not a descriptor set"},
		"empty schema":          {[]string{"serve", "--schema=empty.binpb", "a:1"}, nil, 1, "describes nothing"},
		"missing rules":         {[]string{"serve", "--http-rules=none.yaml", "a:1"}, nil, 1, "HTTP rules none.yaml: there is no such file"},
		"bad rules":             {[]string{"serve", "--http-rules=rules.yaml", "a:1"}, nil, 1, "HTTP rules rules.yaml:4:5: "},
		"bad rules in check":    {[]string{"check", "rest.yaml"}, nil, 1, "HTTP rules rules.yaml:4:5: "},
		"bad naming":            {[]string{"serve", "--naming=/api/{method}", "a:1"}, nil, 2, "--naming: naming pattern \"/api/{method}\": write a verb"},
		"routes":                {[]string{"routes", "--schema=good.proto", "--http-rules=do.yaml"}, nil, 0, "GET   /do   /p.S/Do  unary  -     -         do.yaml:3"},
		"routes with a problem": {[]string{"routes", "--schema=good.proto", "--http-rules=dont.yaml"}, nil, 1, "there is a problem"},
		"routes of nobody":      {[]string{"routes", "127.0.0.1:1"}, nil, 1, "there is a problem"},
		"routes of nothing":     {[]string{"routes"}, nil, 2, "`sluice routes localhost:50051`, or files by --schema"},
		"openapi":               {[]string{"openapi", "--schema=good.proto", "--naming=PUT /x/{method:kebab}", "--openapi-title=yes"}, nil, 0, `"/x/do": {`},
		"openapi in YAML":       {[]string{"openapi", "--schema=good.proto", "--openapi-title=yes", "--format=yaml"}, nil, 0, "title: \"yes\"\n"},
		"openapi of nobody":     {[]string{"openapi", "127.0.0.1:1"}, nil, 1, "backend 127.0.0.1:1 is not ready: "},
		"openapi in XML":        {[]string{"openapi", "--schema=good.proto", "--format=xml"}, nil, 2, "write json or yaml"},
		"bad origin":            {[]string{"serve", "--cors-origin=app.example", "a:1"}, nil, 2, "is not an origin"},
		"trust":                 {[]string{"trust", "--print", "--tls-dev-dir=state"}, nil, 0, "state/ca.pem\n"},
		"trust of nothing":      {[]string{"trust", "--uninstall", "--tls-dev-dir=none"}, nil, 0, "nothing to do"},
		"trust of a bad name":   {[]string{"trust", "--print", "--tls-dev-dir=state", "--tls-dev-name=a/b"}, nil, 2, `--tls-dev-name: "a/b" is neither a host name nor an address`},
		"trust both ways":       {[]string{"trust", "--print", "--uninstall"}, nil, 2, "give one of them"},
		"trust without a home":  {[]string{"trust", "--print"}, []string{"HOME=", "XDG_STATE_HOME="}, 1, "--tls-dev-dir DIR"},
		"version":               {[]string{"version"}, nil, 0, "sluice "},
		"help":                  {nil, nil, 0, "Available Commands"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := sluice(t, c.env, c.args...)
			for name, text := range files {
				if err := os.WriteFile(cmd.Dir+"/"+name, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var out, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &stderr
			if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
				t.Fatal(err)
			}
			if got := cmd.ProcessState.ExitCode(); got != c.code {
				t.Errorf("exit code %d, want %d", got, c.code)
			}
			text := stderr.String()
			if c.code == 0 {
				text = out.String()
			}
			if !strings.Contains(text, c.want) {
				t.Errorf("got %q\nwant %q", text, c.want)
			}
			if c.code != 0 && (strings.Count(text, "sluice: ") != 1 || !strings.HasPrefix(text, "sluice: ")) {
				t.Errorf("not one message: %q", text)
			}
		})
	}
}

func TestCheckExplains(t *testing.T) {
	cmd := sluice(t, []string{"SLUICE_MAX_STREAMS=7"}, "check", "s.yaml")
	yaml := "limits: {message_bytes: 1MiB}\nbackends:\n- target: dns:///users:50051\n  health_check: true\n- localhost:1\n" +
		"rest: {profile: envoy, indent: 2, overrides: {a.B: {envelope: true}}}\n"
	if err := os.WriteFile(cmd.Dir+"/s.yaml", []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 2 {
			lines[f[0]+" "+f[1]] = f[2]
		}
	}
	for line, origin := range map[string]string{"limits.message_bytes 1MiB": "s.yaml:1", "limits.streams_per_conn 7": "SLUICE_MAX_STREAMS",
		"listen :8080": "default", "backend dns:///users:50051": "s.yaml:3", "backend localhost:1": "s.yaml:5",
		"rest.profile envoy": "s.yaml:6", "rest.indent 2": "s.yaml:6", "rest.errors none": "profile", "override a.B": "s.yaml:6"} {
		if lines[line] != origin {
			t.Errorf("%s is from %q, want %q, in\n%s", line, lines[line], origin, out)
		}
	}
}
