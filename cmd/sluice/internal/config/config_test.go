package config

import (
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-rpc/sluice"
	"github.com/spf13/pflag"
)

func TestSize(t *testing.T) {
	for s, want := range map[string]int{
		"4MiB": 4 << 20, "64k": 64 << 10, "64K": 64 << 10, "1500": 1500, "10MB": 10_000_000, "2 GiB": 2 << 30,
		"1g": 1 << 30, "7B": 7, "3kB": 3000, "16kib": 16 << 10,
	} {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "k", "4 X", "-1", "1.5MiB", "99999999999999999999", "9999999999G", "4MiBB", "MiB4"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", s, got)
		}
	}
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"4MiB", "64k", "10MB", "1 B", "18446744073709551615G"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err != nil {
			return
		}
		if again, err := ParseSize(FormatSize(n)); err != nil || again != n {
			t.Fatalf("%q is %d, which is written %q and read as %d, %v", s, n, FormatSize(n), again, err)
		}
	})
}

func TestNearest(t *testing.T) {
	words := []string{"listen", "limits", "timeouts", "backends", "tls", "log"}
	for word, want := range map[string]string{
		"lisen": "listen", "timeout": "timeouts", "bakends": "backends", "tsl": "tls", "limit": "limits", "zebra": "", "x": "",
	} {
		if got := Nearest(word, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

// Every field of the library's structs has a row, and the default of the row is the one
// in the library's comment.
func TestSettings(t *testing.T) {
	c := New()
	docs := fieldDocs(t, "../../../../config.go")
	keys := map[string]bool{}
	for _, s := range c.Settings() {
		if keys[s.Key] {
			t.Errorf("key %s is there twice", s.Key)
		}
		keys[s.Key] = true
		for _, name := range s.Env() {
			if fromKubernetes(name) {
				t.Errorf("variable %s is one that Kubernetes may set", name)
			}
			if keys[name] {
				t.Errorf("variable %s is there twice", name)
			}
			keys[name] = true
		}
		if s.Help == "" || s.Value == nil {
			t.Errorf("%s has no help or no value", s.Key)
		}
		if strings.HasPrefix(s.Key, "limits.") || strings.HasPrefix(s.Key, "timeouts.") {
			if s.Error == "" {
				t.Errorf("%s does not say what its error is", s.Key)
			}
		}
	}
	for group, v := range map[string]reflect.Value{"limits": reflect.ValueOf(&c.Limits).Elem(), "timeouts": reflect.ValueOf(&c.Timeouts).Elem()} {
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			key := group + "." + snake(name)
			j := slices.IndexFunc(c.Settings(), func(s Setting) bool { return s.Key == key })
			if j < 0 {
				t.Errorf("no setting for %s.%s (%s)", group, name, key)
				continue
			}
			s := c.Settings()[j]
			// The row must write to this very field.
			before := v.Field(i).Int()
			if err := s.Value.Set(map[string]string{"limits": "12345", "timeouts": "1234s"}[group]); err != nil {
				t.Errorf("%s: %v", key, err)
			}
			if v.Field(i).Int() == before {
				t.Errorf("%s does not write to %s", key, name)
			}
			v.Field(i).SetInt(before)
			// The comment says "…; 4 MiB", with an explanation after a comma.
			doc := docs[name][strings.LastIndex(docs[name], ";")+1:]
			doc, _, _ = strings.Cut(strings.TrimSpace(doc), ",")
			want := strings.NewReplacer(" ", "", "min", "m").Replace(doc)
			if !s.auto && want != s.Default && !(want == "60s" && s.Default == "1m") {
				t.Errorf("%s: default is %q, the comment of %s says %q", key, s.Default, name, doc)
			}
		}
	}
}

func fieldDocs(t *testing.T, file string) map[string]string {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		if f, ok := n.(*ast.Field); ok && f.Comment != nil && len(f.Names) == 1 {
			docs[f.Names[0].Name] = f.Comment.Text()
		}
		return true
	})
	return docs
}

func snake(s string) string {
	var b strings.Builder
	for i, r := range s {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

const whole = `
listen: :1234
tls: {listen: ":8443", cert: c.pem, key: k.pem}
admin: off
admin_hosts: sluice.internal
backends:
  - localhost:50051
  - target: https://api.example.com
    tls:
      ca: ca.pem
    balance: round_robin
    health_check: true
    health_service: a.B
    services: [a.B, a.C]
    authority: other.example.com
schema: [a.binpb, b.binpb]
rest:
  http_rules: [r.yaml]
  naming: "POST /{service}/{method}"
  profile: envoy
  indent: 2
  sse_retry: never
  trailer_fields: []
  overrides:
    a.B: {emit_defaults: false}
    a.B/C:
      profile: google
      request_fields: ["!cookie", "*"]
cors_origins: ["https://app.example.com"]
log: {level: debug, format: json, calls: false}
limits:
  message_bytes: 1MiB
  streams_per_conn: 7
timeouts:
  drain: 5s
  first_byte: never
`

func TestRead(t *testing.T) {
	c := New()
	if err := c.Read("s.yaml", []byte(whole)); err != nil {
		t.Fatal(err)
	}
	if err := c.Check(true); err != nil {
		t.Fatal(err)
	}
	want := New()
	want.Listen, want.Admin, want.AdminHosts = ":1234", Off, []string{"sluice.internal"}
	want.TLS = ServerTLS{Listen: ":8443", Cert: "c.pem", Key: "k.pem", HTTP3: "on", ClientAuth: "require"}
	want.Backends = []Backend{
		{Target: "localhost:50051", origin: "s.yaml:7"},
		{Target: "https://api.example.com", TLS: ClientTLS{CA: "ca.pem"}, Balance: "round_robin", HealthCheck: true,
			HealthService: "a.B", Services: []string{"a.B", "a.C"}, Authority: "other.example.com", origin: "s.yaml:8"},
	}
	want.Schema, want.CORSOrigins = []string{"a.binpb", "b.binpb"}, []string{"https://app.example.com"}
	want.REST = REST{HTTPRules: []string{"r.yaml"}, Naming: "POST /{service}/{method}",
		Options: sluice.RESTOptions{Profile: "envoy", Indent: new(2), SSERetry: new(time.Duration(0)), TrailerFields: []string{}},
		Overrides: map[string]sluice.RESTOptions{
			"a.B":   {EmitDefaults: new(false)},
			"a.B/C": {Profile: "google", RequestFields: []string{"!cookie", "*"}},
		}}
	want.Log = Log{Level: slog.LevelDebug, Format: "json"}
	want.Limits.MessageBytes, want.Limits.StreamsPerConn = 1<<20, 7
	want.Timeouts.Drain, want.Timeouts.FirstByte = 5*time.Second, -1
	want.origins = c.origins
	if diff := cmp.Diff(want, c, cmp.AllowUnexported(Config{}, Backend{})); diff != "" {
		t.Error(diff)
	}
	if got := c.Origin("limits.message_bytes"); got != "s.yaml:32" {
		t.Errorf("origin of message_bytes is %q", got)
	}
	if got := c.Origin("timeouts.idle"); got != "default" {
		t.Errorf("origin of idle is %q", got)
	}
	for _, empty := range []string{"", "# nothing\n", "---\n"} {
		if err := New().Read("e.yaml", []byte(empty)); err != nil {
			t.Errorf("%q: %v", empty, err)
		}
	}
}

func TestReadErrors(t *testing.T) {
	for name, c := range map[string]struct{ yaml, want string }{
		"unknown key":             {"lisen: :8080", `s.yaml:1:1: unknown key "lisen": did you mean "listen"?`},
		"unknown key in a group":  {"timeouts:\n  idel: 5m", `s.yaml:2:3: unknown key "timeouts.idel": did you mean "timeouts.idle"?`},
		"key in the wrong place":  {"message_bytes: 1MiB", `unknown key "message_bytes": did you mean "limits.message_bytes"?`},
		"name of a flag":          {"max_message: 1MiB", `unknown key "max_message": the key of --max-message is "limits.message_bytes"`},
		"nothing near":            {"timeouts:\n  zebra: 1s", `in timeouts there are handshake, header, idle`},
		"nothing near at the top": {"zebra: 1s", `there are listen, tls, admin`},
		"in a backend":            {"backends:\n- target: a:1\n  blance: round_robin", `s.yaml:3:3: unknown key "blance": did you mean "balance"?`},
		"a key twice":             {"listen: :1\nlisten: :2", `s.yaml:2:1:`},
		"bad size":                {"limits:\n  message_bytes: lots", `s.yaml:2:18: limits.message_bytes: "lots" is not a size`},
		"no unit":                 {"timeouts: {idle: 30}", `timeouts.idle: "30" needs a unit: write "30s" for seconds`},
		"zero":                    {"limits: {conns: 0}", `0 is not a limit`},
		"no value":                {"limits:\n  conns:\n", `s.yaml:2:3: limits.conns has no value`},
		"list for a value":        {"listen: [a, b]", `listen has to be one value, not a list`},
		"value for a mapping":     {"limits: 5", `limits has to be a mapping (key: value), not a single value`},
		"list at the top":         {"- a", `the configuration has to be a mapping`},
		"mapping in a list":       {"schema: [{a: b}]", `schema has to be one value, not a mapping`},
		"bad target":              {"backends: [localhost]", `s.yaml:1:12: target: backend target "localhost" has no port`},
		"no target":               {"backends:\n- balance: round_robin", `a backend without target`},
		"bad balance":             {"backends:\n- {target: 'a:1', balance: best}", `write least_requests or round_robin`},
		"alias":                   {"listen: &a :8080\nadmin: *a", `anchors and aliases are not supported`},
		"syntax":                  {"listen: [", `s.yaml:1:`},
		"two documents":           {"listen: :1\n---\nlisten: :2", `s.yaml:3:`},
		"keep alive":              {"timeouts: {keep_alive: 1s}", `less than 10s`},
		"origin with a path":      {"cors_origins: ['https://a.example/']", `write https://a.example`},
		"override":                {"rest: {overrides: {a.B: {proto_name: true}}}", `did you mean "proto_names"`},
		"override of nothing":     {"rest: {overrides: {a.B: {}, a/b/c: {envelope: true}}}", `REST override "a/b/c": it is package.Service or package.Service/Method`},
		"override without value":  {"rest: {overrides: {a.B: }}", `a.B has no options`},
		"override twice":          {"rest: {overrides: {a.B: {envelope: true}, a.B: {envelope: true}}}", `s.yaml:1:`},
		"overrides as a list":     {"rest: {overrides: [a]}", `rest.overrides has to be a mapping`},
		"override, bad value":     {"rest: {overrides: {a.B: {failure: loud}}}", `"loud" is no way to fail: there are mark, closed, bare, open`},
		"profile":                 {"rest: {profile: nginx}", `write sluice or envoy or google or grpc-gateway or meshapi`},
		"port only":               {"listen: '8080'", `write ":8080"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := New().Read("s.yaml", []byte(c.yaml))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("a: &a [*a, *a]\n"))
	f.Add([]byte("? {a: b}\n: c\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := New()
		if c.Read("f.yaml", b) == nil {
			c.Check(true)
		}
	})
}

func TestFileErrorPointsAtThePlace(t *testing.T) {
	err := New().Read("s.yaml", []byte("timeouts:\n  idel: 5m\n"))
	want := "    2 |   idel: 5m\n" + "          ^"
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Fatalf("got\n%v\nwant\n%s", err, want)
	}
}

func TestPrecedence(t *testing.T) {
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(fs)
	if err := fs.Parse([]string{"--max-message=3MiB", "--schema=x", "--schema=y"}); err != nil {
		t.Fatal(err)
	}
	c := New()
	file := "limits: {message_bytes: 1MiB, conns: 11, streams_per_conn: 11}\nschema: [f]\nbackends: ['f:1']\nlisten: ':1'"
	if err := c.Read("s.yaml", []byte(file)); err != nil {
		t.Fatal(err)
	}
	warnings, err := c.ReadEnv([]string{"SLUICE_MAX_MESSAGE=2MiB", "SLUICE_LIMITS_CONNS=22", "SLUICE_SCHEMA=e1, e2", "OTHER=1",
		"SLUICE_BACKENDS=e:1,e:2", "SLUICE_LISTN=:9", "SLUICE_PORT=tcp://10.0.0.1:80", "SLUICE_SERVICE_HOST=10.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"unknown variable SLUICE_LISTN: did you mean SLUICE_LISTEN?"}; !slices.Equal(warnings, want) {
		t.Errorf("warnings %q, want %q", warnings, want)
	}
	if got := (targets(&c.Backends)).GetSlice(); !slices.Equal(got, []string{"e:1", "e:2"}) {
		t.Errorf("the environment gives backends %q", got)
	}
	if err := c.ReadFlags(fs, []string{"a:1"}); err != nil {
		t.Fatal(err)
	}
	got := []any{c.Limits.MessageBytes, c.Limits.Conns, c.Limits.StreamsPerConn, c.Listen, c.Admin, c.Schema, c.Backends[0].Target, len(c.Backends)}
	want := []any{3 << 20, 22, 11, ":1", "127.0.0.1:9090", []string{"x", "y"}, "a:1", 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for key, want := range map[string]string{"limits.message_bytes": "--max-message", "limits.conns": "SLUICE_LIMITS_CONNS",
		"limits.streams_per_conn": "s.yaml:1", "backends": "command line", "admin": "default"} {
		if got := c.Origin(key); got != want {
			t.Errorf("origin of %s is %q, want %q", key, got, want)
		}
	}
}

func TestEnvErrors(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want string
	}{
		{[]string{"SLUICE_MAX_MESSAGE=x"}, "SLUICE_MAX_MESSAGE: "},
		{[]string{"SLUICE_MAX_MESSAGE=1k", "SLUICE_LIMITS_MESSAGE_BYTES=2k"}, "are the same setting"},
		{[]string{"SLUICE_BACKENDS=a:1,b"}, "SLUICE_BACKENDS: "},
	} {
		if _, err := New().ReadEnv(c.env); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %s", c.env, err, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	for yaml, want := range map[string]string{
		"listen: off":                                                                                     "nothing to listen on",
		"tls: {listen: ':1'}\nbackends: ['a:1']":                                                          "needs a certificate",
		"tls: {cert: a, key: b}\nbackends: ['a:1']":                                                       "add --tls-listen",
		"tls: {client_ca: a}\nbackends: ['a:1']":                                                          "needs a listener with TLS",
		"tls: {dev: true, cert: a}\nbackends: ['a:1']":                                                    "leave out --tls-cert",
		"tls: {dev: true, client_ca: a}\nbackends: ['a:1']":                                               "asks for no client certificates",
		"tls: {dev: true, listen: off}\nbackends: ['a:1']":                                                "leave out --tls-listen off",
		"tls: {dev_names: a.test}\nbackends: ['a:1']":                                                     "add --tls-dev",
		"tls: {dev: true}\nlisten: off\nbackends: ['a:1']":                                                "",
		"tls: {dev: true, listen: ':1', dev_names: [a.test, '192.0.2.1'], dev_dir: d}\nbackends: ['a:1']": "",
		"tls: {dev: true, http3: off, http3_announce: 443}\nbackends: ['a:1']":                            "leave out --http3 off",
		"tls: {dev: true, http3_announce: 443}\nbackends: ['a:1']":                                        "",
		"listen: ':1'": "no backend",
		"backend_tls: {ca: a}\nbackends: ['a:1']":                          "no backend uses TLS",
		"backends: [{target: 'a:1', tls: {ca: x}}]":                        "does not use TLS",
		"backends: [{target: 'https://a', tls: {cert: x}}]":                "needs both",
		"backend_tls: {key: a}\nbackends: ['https://a']":                   "needs both",
		"backends: [{target: 'a:1', health_service: x}]":                   "health_check is not true",
		"backends: ['a:1', {target: 'https://a', tls: {cert: a, key: b}}]": "",
	} {
		c := New()
		if err := c.Read("s.yaml", []byte(yaml)); err != nil {
			t.Fatal(err)
		}
		err := c.Check(true)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", yaml, err, want)
		}
	}
}
