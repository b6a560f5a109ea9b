package command

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
)

// webProxyOf reads flags as the command does.
func webProxyOf(args ...string) (*webProxy, *config.Config, []string, error) {
	w, c := &webProxy{}, config.New()
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	w.addFlags(f)
	if err := f.Parse(args); err != nil {
		return nil, nil, nil, err
	}
	notes, err := w.configure(c, f.Changed)
	if err == nil {
		err = c.Check(true)
	}
	return w, c, notes, err
}

const (
	plainOnly = "--run_tls_server=false"
	backendIs = "--backend_addr=localhost:50051"
)

// TestWebProxyFlags has a row for every flag: what becomes of it in the configuration, or
// what is said.
func TestWebProxyFlags(t *testing.T) {
	one := func(c *config.Config) *config.Backend { return &c.Backends[0] }
	rows := map[string][]struct {
		args []string
		got  func(w *webProxy, c *config.Config) any
		want any
		note string
	}{
		"backend_addr": {
			{nil, func(_ *webProxy, c *config.Config) any { return one(c).Target + " " + one(c).Authority }, "localhost:50051 localhost:50051", ""},
			{[]string{"--backend_addr", "dns:///x:1"}, func(_ *webProxy, c *config.Config) any { return one(c).Target + one(c).Authority }, "dns:///x:1", ""},
			{[]string{"--backend_addr=passthrough:///x:1"}, func(_ *webProxy, c *config.Config) any { return one(c).Target }, "x:1", ""},
			{[]string{"--backend_addr=unix:/x"}, func(_ *webProxy, c *config.Config) any { return one(c).Target + one(c).Authority }, "unix:/x", ""},
		},
		"backend_tls": {
			{[]string{"--backend_tls"}, func(_ *webProxy, c *config.Config) any { return one(c).Target + one(c).Authority }, "https://localhost:50051", ""},
			{[]string{"--backend_tls=true", "--backend_addr=dns:///x:1"}, func(_ *webProxy, c *config.Config) any { return one(c).Target }, "dns+https:///x:1", ""},
		},
		"backend_tls_noverify": {{[]string{"--backend_tls", "--backend_tls_noverify"}, func(w *webProxy, c *config.Config) any {
			p, err := build(c, newLogger(c, io.Discard), io.Discard)
			if err != nil {
				return err
			}
			w.adjust(&instance{}, p)
			return p.gateway.Backends[0].TLS.InsecureSkipVerify
		}, true, ""}},
		"backend_tls_ca_files": {{[]string{"--backend_tls", "--backend_tls_ca_files=a,b"}, func(_ *webProxy, c *config.Config) any { return c.BackendTLS.CA }, "a,b", ""}},
		"backend_client_tls_cert_file": {{[]string{"--backend_tls", "--backend_client_tls_cert_file=c", "--backend_client_tls_key_file=k"},
			func(_ *webProxy, c *config.Config) any { return c.BackendTLS.Cert }, "c", ""}},
		"backend_client_tls_key_file": {{[]string{"--backend_tls", "--backend_client_tls_cert_file=c", "--backend_client_tls_key_file=k"},
			func(_ *webProxy, c *config.Config) any { return c.BackendTLS.Key }, "k", ""}},
		"backend_max_call_recv_msg_size": {
			{nil, func(_ *webProxy, c *config.Config) any { return c.Limits.MessageBytes }, 4 << 20, ""},
			{[]string{"--backend_max_call_recv_msg_size", "5242880"}, func(_ *webProxy, c *config.Config) any { return c.Limits.MessageBytes }, 5 << 20, ""},
		},
		"backend_default_authority": {
			{[]string{"--backend_default_authority=a.example"}, func(_ *webProxy, c *config.Config) any { return one(c).Authority }, "a.example", ""},
			{[]string{"--backend_tls", "--backend_default_authority=a.example:443"}, func(_ *webProxy, c *config.Config) any { return c.BackendTLS.ServerName }, "a.example", ""},
		},
		"backend_backoff_max_delay": {{[]string{"--backend_backoff_max_delay=1s"}, nil, nil, "timeouts.ready"}},
		"server_bind_address":       {{[]string{"--server_bind_address=127.0.0.1"}, func(_ *webProxy, c *config.Config) any { return c.Listen }, "127.0.0.1:8080", ""}},
		"run_http_server": {{[]string{"--run_http_server=false", "--run_tls_server=true", "--server_tls_cert_file=c", "--server_tls_key_file=k"},
			func(_ *webProxy, c *config.Config) any { return c.Listen + " " + c.TLS.Listen }, "off 0.0.0.0:8443", ""}},
		"server_http_debug_port": {{[]string{"--server_http_debug_port=1"}, func(_ *webProxy, c *config.Config) any { return c.Listen }, "0.0.0.0:1", ""}},
		"run_tls_server":         {{nil, func(_ *webProxy, c *config.Config) any { return c.TLS.Listen }, "", ""}},
		"server_http_tls_port": {{[]string{"--run_tls_server", "--server_http_tls_port=2", "--server_tls_cert_file=c", "--server_tls_key_file=k"},
			func(_ *webProxy, c *config.Config) any { return c.TLS.Listen }, "0.0.0.0:2", ""}},
		"server_tls_cert_file": {{[]string{"--run_tls_server", "--server_tls_cert_file=c"},
			func(_ *webProxy, c *config.Config) any { return c.TLS.Cert + " " + c.TLS.Key }, "c ../misc/localhost.key", ""}},
		"server_tls_key_file": {{[]string{"--run_tls_server", "--server_tls_cert_file=c", "--server_tls_key_file=k"},
			func(_ *webProxy, c *config.Config) any { return c.TLS.Key }, "k", ""}},
		"server_tls_client_cert_verification": {
			{[]string{"--run_tls_server", "--server_tls_cert_file=c", "--server_tls_client_cert_verification=require"},
				func(_ *webProxy, c *config.Config) any { return c.TLS.ClientAuth + " " + c.TLS.ClientCA }, "require system", ""},
			{[]string{"--run_tls_server", "--server_tls_cert_file=c", "--server_tls_client_cert_verification=verify_if_given"},
				func(_ *webProxy, c *config.Config) any { return c.TLS.ClientAuth + " " + c.TLS.ClientCA }, "if_given system", ""},
			{[]string{"--run_tls_server", "--server_tls_cert_file=c", "--server_tls_client_ca_files=x"},
				func(_ *webProxy, c *config.Config) any { return c.TLS.ClientCA }, "", ""},
		},
		"server_tls_client_ca_files": {{[]string{"--run_tls_server", "--server_tls_cert_file=c", "--server_tls_client_cert_verification=require", "--server_tls_client_ca_files=a,b"},
			func(_ *webProxy, c *config.Config) any { return c.TLS.ClientCA }, "a,b", ""}},
		"allow_all_origins": {
			{[]string{"--allow_all_origins"}, func(_ *webProxy, c *config.Config) any { return c.CORSOrigins }, []string{"*"}, "--allowed_origins"},
			{nil, func(_ *webProxy, c *config.Config) any { return len(c.CORSOrigins) }, 0, ""},
		},
		"allowed_origins": {{[]string{"--allowed_origins=https://a.example,https://b.example"},
			func(_ *webProxy, c *config.Config) any { return c.CORSOrigins }, []string{"https://a.example", "https://b.example"}, ""}},
		"allowed_headers": {{[]string{"--allowed_headers=X-Tenant, cookie,*"},
			func(_ *webProxy, c *config.Config) any { return c.WebSocket.Metadata }, []string{"x-tenant", "cookie"}, "handshake"}},
		"use_websockets": {
			{[]string{"--use_websockets=false"}, func(_ *webProxy, c *config.Config) any { return c.WebSocket.Serve }, "off", ""},
			{[]string{"--use_websockets"}, func(_ *webProxy, c *config.Config) any { return c.WebSocket.Serve }, "on", ""},
			{nil, func(_ *webProxy, c *config.Config) any { return c.WebSocket.Serve }, "on", ""},
		},
		"websocket_ping_interval": {
			{[]string{"--websocket_ping_interval=2s"}, func(_ *webProxy, c *config.Config) any { return c.WebSocket.Ping }, 2 * time.Second, ""},
			{[]string{"--websocket_ping_interval=10ms"}, func(_ *webProxy, c *config.Config) any { return c.WebSocket.Ping }, 15 * time.Second, "15s"},
		},
		"websocket_read_limit": {{[]string{"--websocket_read_limit=1000"}, func(_ *webProxy, c *config.Config) any { return c.Limits.MessageBytes }, 4 << 20, "RESOURCE_EXHAUSTED"}},
		"websocket_compression_mode": {
			{[]string{"--websocket_compression_mode=disabled"}, func(_ *webProxy, c *config.Config) any { return c.WebSocket.Compression }, "off", ""},
			{[]string{"--websocket_compression_mode=context_takeover"}, func(_ *webProxy, c *config.Config) any { return c.WebSocket.Compression }, "on", "no_context_takeover"},
			{[]string{"--websocket_compression_mode=no_context_takeover"}, func(_ *webProxy, c *config.Config) any { return c.WebSocket.Compression }, "on", ""},
		},
		"server_http_max_write_timeout": {{[]string{"--server_http_max_write_timeout=1h"}, nil, nil, "never cut"}},
		"server_http_max_read_timeout":  {{[]string{"--server_http_max_read_timeout=1h"}, nil, nil, "timeouts.header"}},
		"enable_request_debug":          {{[]string{"--enable_request_debug"}, paths, "/debug/events /debug/requests /metrics", "own metrics"}},
		"enable_health_check_service": {{[]string{"--enable_health_check_service"},
			func(_ *webProxy, c *config.Config) any { return one(c).HealthCheck }, true, ""}},
		"enable_health_endpoint": {{[]string{"--enable_health_endpoint"}, paths, "/_health", ""}},
		"health_endpoint_name":   {{[]string{"--enable_health_endpoint", "--health_endpoint_name=up"}, paths, "/up", ""}},
		"health_service_name": {
			{[]string{"--enable_health_check_service", "--health_service_name=a.B"}, func(_ *webProxy, c *config.Config) any { return one(c).HealthService }, "a.B", ""},
			{[]string{"--health_service_name=a.B"}, func(_ *webProxy, c *config.Config) any { return one(c).HealthService }, "", ""},
		},
	}
	for _, name := range flagsOfWebProxy() {
		if len(rows[name]) == 0 {
			t.Errorf("no row for --%s", name)
		}
		for _, row := range rows[name] {
			t.Run(name+" "+strings.Join(row.args, " "), func(t *testing.T) {
				w, c, notes, err := webProxyOf(append([]string{backendIs, plainOnly}, row.args...)...)
				if err != nil {
					t.Fatal(err)
				}
				if c.Admin != config.Off {
					t.Errorf("it listens on %s too", c.Admin)
				}
				if row.got != nil {
					if got := row.got(w, c); fmt.Sprint(got) != fmt.Sprint(row.want) {
						t.Errorf("got %v, want %v", got, row.want)
					}
				}
				told := slices.ContainsFunc(notes, func(n string) bool { return strings.HasPrefix(n, "--"+name+": ") && strings.Contains(n, row.note) })
				if told != (row.note != "") {
					t.Errorf("notes %q, want %q", notes, row.note)
				}
			})
		}
	}
	page, err := os.ReadFile("../../../../docs/grpcwebproxy.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range flagsOfWebProxy() {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/grpcwebproxy.md does not say what becomes of %s", name)
		}
	}
}

// paths are those that are served besides calls.
func paths(w *webProxy, _ *config.Config) any {
	p := &parts{gateway: sluice.Config{}}
	w.adjust(&instance{}, p)
	var all []string
	for path := range p.gateway.Handlers {
		all = append(all, path)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestWebProxyMistakes(t *testing.T) {
	for want, args := range map[string][]string{
		"--backend_addr must be set":        {plainOnly},
		"both false":                        {backendIs, plainOnly, "--run_http_server=false"},
		"--server_tls_cert_file and":        {backendIs},
		"give one of them":                  {backendIs, plainOnly, "--allow_all_origins", "--allowed_origins=https://a.example"},
		`is "x": it is none`:                {backendIs, "--server_tls_cert_file=c", "--server_tls_client_cert_verification=x"},
		`is "x": it is no_context_takeover`: {backendIs, plainOnly, "--websocket_compression_mode=x"},
		"has to be positive":                {backendIs, plainOnly, "--backend_max_call_recv_msg_size=0"},
		"unknown flag":                      {backendIs, "--nothing"},
		"invalid argument":                  {backendIs, "--server_http_debug_port=x"},
		"client certificate":                {backendIs, plainOnly, "--backend_tls", "--backend_client_tls_cert_file=c"},
	} {
		if _, _, _, err := webProxyOf(args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", args, err, want)
		}
	}
	var out strings.Builder
	a := &app{stdout: io.Discard, stderr: &out}
	for _, args := range [][]string{{webProxyName, "--allow_all_origins", "true"}, {webProxyName, "localhost:50051"}} {
		if code := a.main(args); code != exitUsage {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
	if s := out.String(); !strings.Contains(s, "--flag=true") || !strings.Contains(s, "--backend_addr") {
		t.Errorf("it says %q", s)
	}
}

func TestArgs(t *testing.T) {
	for _, c := range []struct{ argv, want string }{
		{"sluice serve x", "serve x"},
		{"/usr/bin/sluice", ""},
		{"grpcwebproxy --a", "grpcwebproxy --a"},
		{"/usr/local/bin/grpcwebproxy --a", "grpcwebproxy --a"},
		{"./grpcwebproxy.exe", "grpcwebproxy"},
		{"grpcwebproxy2", ""},
	} {
		if got := strings.Join(Args(strings.Fields(c.argv)), " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.argv, got, c.want)
		}
	}
}

// Names that clients make up are not kept without bound.
func TestFamilies(t *testing.T) {
	var f families
	if got := f.of("/a.B/C"); got != "grpc.Recv.a.B" {
		t.Error(got)
	}
	for i := range 2 * maxFamilies {
		f.of(fmt.Sprintf("/s%d/M", i))
	}
	if got := f.of("/another/M"); got != "grpc.Recv" || len(f.names) != maxFamilies {
		t.Errorf("%s, %d names", got, len(f.names))
	}
	if got := f.of("/a.B/D"); got != "grpc.Recv.a.B" {
		t.Error(got)
	}
}
