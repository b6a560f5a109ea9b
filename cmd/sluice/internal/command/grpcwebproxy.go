package command

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-rpc/sluice/cmd/sluice/internal/certs"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
)

// webProxyName is the name of the command, and of the program that it stands in for.
const webProxyName = "grpcwebproxy"

// Args are the arguments of a program that was started by a name: under that of
// grpcwebproxy it is that command.
func Args(argv []string) []string {
	if name := strings.TrimSuffix(filepath.Base(argv[0]), ".exe"); name == webProxyName {
		return append([]string{webProxyName}, argv[1:]...)
	}
	return argv[1:]
}

// webProxy are the flags of grpcwebproxy v0.15.0 (github.com/improbable-eng/grpc-web,
// go/grpcwebproxy), and one that its main branch has. docs/grpcwebproxy.md explains what becomes of them.
type webProxy struct {
	bind              string
	httpPort, tlsPort int
	runHTTP, runTLS   bool

	cert, key, clientAuth string
	clientCA              []string

	allOrigins       bool
	origins, headers []string

	websockets  bool
	ping        time.Duration
	readLimit   int64
	compression string

	writeTimeout, readTimeout time.Duration

	debug, healthService, healthEndpoint bool
	endpointName, serviceName            string

	backend                     string
	backendTLS, backendNoVerify bool
	backendCA                   []string
	backendCert, backendKey     string
	backendMaxMessage           int
	backendAuthority            string
	backendBackoff              time.Duration
}

func (w *webProxy) addFlags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVar(&w.backend, "backend_addr", "", "host:port of the gRPC server; required")
	f.BoolVar(&w.backendTLS, "backend_tls", false, "the gRPC server speaks TLS")
	f.BoolVar(&w.backendNoVerify, "backend_tls_noverify", false, "its certificate is not verified: for tests only")
	f.StringSliceVar(&w.backendCA, "backend_tls_ca_files", nil, "authorities for its certificate (PEM); the system's by default")
	f.StringVar(&w.backendCert, "backend_client_tls_cert_file", "", "client certificate for it (PEM)")
	f.StringVar(&w.backendKey, "backend_client_tls_key_file", "", "its private key (PEM)")
	f.IntVar(&w.backendMaxMessage, "backend_max_call_recv_msg_size", 4<<20, "bytes of a message, either way")
	f.StringVar(&w.backendAuthority, "backend_default_authority", "", "the :authority of calls to it")
	f.DurationVar(&w.backendBackoff, "backend_backoff_max_delay", 2*time.Minute, "no effect: see the page")

	f.StringVar(&w.bind, "server_bind_address", "0.0.0.0", "address to listen on")
	f.BoolVar(&w.runHTTP, "run_http_server", true, "listen without TLS")
	f.IntVar(&w.httpPort, "server_http_debug_port", 8080, "port without TLS")
	f.BoolVar(&w.runTLS, "run_tls_server", true, "listen with TLS")
	f.IntVar(&w.tlsPort, "server_http_tls_port", 8443, "port with TLS")
	f.StringVar(&w.cert, "server_tls_cert_file", "", "certificate chain (PEM)")
	f.StringVar(&w.key, "server_tls_key_file", "../misc/localhost.key", "private key (PEM)")
	f.StringVar(&w.clientAuth, "server_tls_client_cert_verification", "none", "none, verify_if_given or require")
	f.StringSliceVar(&w.clientCA, "server_tls_client_ca_files", nil, "authorities of client certificates (PEM); the system's by default")

	f.BoolVar(&w.allOrigins, "allow_all_origins", false, "pages of any origin may call")
	f.StringSliceVar(&w.origins, "allowed_origins", nil, "origins whose pages may call")
	f.StringSliceVar(&w.headers, "allowed_headers", nil, "fields of a WebSocket's handshake that become metadata")

	f.BoolVar(&w.websockets, "use_websockets", false, "serve WebSockets; so it is unless it is set to false")
	f.DurationVar(&w.ping, "websocket_ping_interval", 0, "silence on a WebSocket before a ping, from 1s; 15s by default")
	f.Int64Var(&w.readLimit, "websocket_read_limit", 0, "no effect: --backend_max_call_recv_msg_size is the limit")
	f.StringVar(&w.compression, "websocket_compression_mode", "no_context_takeover", "no_context_takeover, context_takeover (as the first) or disabled")

	f.DurationVar(&w.writeTimeout, "server_http_max_write_timeout", 10*time.Second, "no effect: no call is cut because it is long")
	f.DurationVar(&w.readTimeout, "server_http_max_read_timeout", 10*time.Second, "no effect: the same")
	f.BoolVar(&w.debug, "enable_request_debug", false, "serve /metrics, and to this machine /debug/requests and /debug/events")
	f.BoolVar(&w.healthService, "enable_health_check_service", false, "ask the backend by grpc.health.v1")
	f.BoolVar(&w.healthEndpoint, "enable_health_endpoint", false, "serve an endpoint of health")
	f.StringVar(&w.endpointName, "health_endpoint_name", "_health", "its path, without the slash")
	f.StringVar(&w.serviceName, "health_service_name", "", "the service that is asked for")
}

func (a *app) grpcwebproxy() *cobra.Command {
	w := &webProxy{}
	cmd := &cobra.Command{
		Use:   webProxyName + " --backend_addr=HOST:PORT [flags]",
		Short: "Stand in for improbable-eng's grpcwebproxy, with its flags",
		Long: "Stand in for improbable-eng's grpcwebproxy v0.15.0: with its flags, and its wire, WebSockets\n" +
			"included. A program of that name does the same. docs/grpcwebproxy.md says what is different.\n" +
			"What the flags don't say is set by the variables of `sluice serve`.",
		Example: "  sluice grpcwebproxy --backend_addr=localhost:50051 --run_tls_server=false --allow_all_origins",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return nil
			case args[0] == "true" || args[0] == "false":
				return usagef("a flag that is true or false is written --flag=%s, not --flag %s", args[0], args[0])
			}
			return usagef("unknown argument %q: the backend is given by --backend_addr", args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := config.New()
			warnings, err := c.ReadEnv(a.environ)
			if err != nil {
				return usageError{err}
			}
			notes, err := w.configure(c, cmd.Flags().Changed)
			if err != nil {
				return usageError{err}
			}
			if err := c.Check(true); err != nil {
				return usageError{err}
			}
			return a.run(c, append(warnings, notes...), nil, w.adjust)
		},
	}
	w.addFlags(cmd.Flags())
	return cmd
}

// configure says the flags in our own words, and what is to be told about those that were given.
func (w *webProxy) configure(c *config.Config, given func(flag string) bool) (notes []string, err error) {
	note := func(flag, text string) {
		if given(flag) {
			notes = append(notes, "--"+flag+": "+text)
		}
	}
	if err := w.backends(c); err != nil {
		return nil, err
	}
	note("backend_backoff_max_delay", "no effect; the gateway tries again sooner, and calls don't wait for it longer than timeouts.ready")
	if err := w.listeners(c); err != nil {
		return nil, err
	}
	switch {
	case w.allOrigins && len(w.origins) > 0:
		return nil, errors.New("--allow_all_origins and --allowed_origins: give one of them")
	case w.allOrigins:
		c.CORSOrigins = []string{"*"}
		note("allow_all_origins", "pages of any origin may call, but without cookies and client certificates; name them by --allowed_origins to let them have those")
	case given("allowed_origins"):
		c.CORSOrigins = w.origins
	}
	for _, h := range w.headers {
		if h = strings.ToLower(strings.TrimSpace(h)); h != "*" && h != "" {
			c.WebSocket.Metadata = append(c.WebSocket.Metadata, h)
		}
	}
	note("allowed_headers", "these fields of a WebSocket's handshake become metadata; of other requests all are passed on, as always")

	if given("use_websockets") && !w.websockets {
		c.WebSocket.Serve = config.Off
	}
	switch {
	case w.ping >= time.Second:
		c.WebSocket.Ping = w.ping
	default:
		note("websocket_ping_interval", "below 1s it has no effect; clients are pinged after "+c.WebSocket.Ping.String()+" of silence")
	}
	note("websocket_read_limit", "no effect; the limit of a message is --backend_max_call_recv_msg_size, and passing it ends the call with RESOURCE_EXHAUSTED")
	switch w.compression {
	case "no_context_takeover":
	case "context_takeover":
		note("websocket_compression_mode", "messages are compressed without those before them, as with no_context_takeover")
	case "disabled":
		c.WebSocket.Compression = config.Off
	default:
		return nil, fmt.Errorf("--websocket_compression_mode is %q: it is no_context_takeover, context_takeover or disabled", w.compression)
	}
	note("server_http_max_write_timeout", "no effect; a call is never cut because it is long, only where its peer takes nothing (timeouts.stall)")
	note("server_http_max_read_timeout", "no effect; a head has to come within timeouts.header, and what follows may take its time")
	note("enable_request_debug", "/metrics has the gateway's own metrics")
	if c.Origin("admin") == "default" { // a port that grpcwebproxy does not have
		c.Admin = config.Off
	}
	return notes, nil
}

// backends is the one backend.
func (w *webProxy) backends(c *config.Config) error {
	if w.backend == "" {
		return errors.New("--backend_addr must be set, as --backend_addr=localhost:50051")
	}
	target := strings.TrimPrefix(w.backend, "passthrough:///")
	switch rest, dns := strings.CutPrefix(target, "dns:///"); {
	case dns && w.backendTLS:
		target = "dns+https:///" + rest
	case w.backendTLS:
		target = "https://" + target
	}
	c.Backends = []config.Backend{{Target: target, Authority: w.backendAuthority, Balance: "least_requests", HealthCheck: w.healthService}}
	if w.healthService {
		c.Backends[0].HealthService = w.serviceName
	}
	c.BackendTLS = config.ClientTLS{}
	if w.backendTLS {
		c.BackendTLS = config.ClientTLS{CA: strings.Join(w.backendCA, ","), Cert: w.backendCert, Key: w.backendKey}
		if host, _, err := net.SplitHostPort(w.backendAuthority); err == nil {
			c.BackendTLS.ServerName = host
		} else {
			c.BackendTLS.ServerName = w.backendAuthority
		}
	} else if w.backendAuthority == "" && !strings.Contains(target, ":/") {
		c.Backends[0].Authority = target // it never passes on that of the client
	}
	if w.backendMaxMessage <= 0 {
		return fmt.Errorf("--backend_max_call_recv_msg_size is %d: it has to be positive", w.backendMaxMessage)
	}
	c.Limits.MessageBytes = w.backendMaxMessage
	return nil
}

// listeners are one without TLS and one with.
func (w *webProxy) listeners(c *config.Config) error {
	at := func(port int) string { return net.JoinHostPort(w.bind, strconv.Itoa(port)) }
	c.Listen, c.TLS = config.Off, config.ServerTLS{ClientAuth: c.TLS.ClientAuth, HTTP3: c.TLS.HTTP3, HTTP3Announce: c.TLS.HTTP3Announce}
	if c.Origin("tls.http3") == "default" { // nor has it a port of UDP
		c.TLS.HTTP3 = config.Off
	}
	if w.runHTTP {
		c.Listen = at(w.httpPort)
	}
	if !w.runTLS {
		if !w.runHTTP {
			return errors.New("--run_http_server and --run_tls_server are both false: at least one has to be true")
		}
		return nil
	}
	if w.cert == "" || w.key == "" {
		return errors.New("--server_tls_cert_file and --server_tls_key_file must be set, or --run_tls_server=false")
	}
	c.TLS.Listen, c.TLS.Cert, c.TLS.Key = at(w.tlsPort), w.cert, w.key
	if w.clientAuth == "none" {
		return nil
	}
	if c.TLS.ClientCA = strings.Join(w.clientCA, ","); c.TLS.ClientCA == "" {
		c.TLS.ClientCA = certs.System
	}
	switch w.clientAuth {
	case "require":
		c.TLS.ClientAuth = "require"
	case "verify_if_given":
		c.TLS.ClientAuth = config.IfGiven
	default:
		return fmt.Errorf("--server_tls_client_cert_verification is %q: it is none, verify_if_given or require", w.clientAuth)
	}
	return nil
}

// adjust adds what a configuration has no words for: endpoints on the listeners, and a
// backend that is not verified.
func (w *webProxy) adjust(in *instance, p *parts) {
	if w.backendTLS && w.backendNoVerify {
		p.gateway.Backends[0].TLS.InsecureSkipVerify = true
	}
	p.gateway.Handlers = map[string]http.Handler{}
	if w.healthEndpoint {
		p.gateway.Handlers["/"+w.endpointName] = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			if w.healthService && !in.gateway.Ready() {
				rw.WriteHeader(http.StatusServiceUnavailable)
			}
		})
	}
	if w.debug && w.runHTTP { // without that listener it has none either
		p.gateway.Policies = append(p.gateway.Policies, debugPages(p.gateway.Handlers))
		p.gateway.Handlers["/metrics"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { in.gateway.Metrics().ServeHTTP(rw, r) })
	}
}

// flagsOfWebProxy are their names, for docs and tests.
func flagsOfWebProxy() (names []string) {
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	(&webProxy{}).addFlags(f)
	f.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	slices.Sort(names)
	return names
}
