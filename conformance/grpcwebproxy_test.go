package conformance

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

// webProxyCases is how many cases clients of grpcwebproxy have, over HTTP and WebSockets.
const webProxyCases = 14 + 128

// TestGRPCWebProxy lets clients of improbable-eng's grpcwebproxy call the program that stands in
// for it, started by that one's flags.
func TestGRPCWebProxy(t *testing.T) {
	t.Parallel()
	set := schema(t, filepath.Join("..", "cmd", "sluice", "internal", "demo", "demopb"), "demo.proto")
	cert, key, err := gateway.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var addr, port [2]string
	for i := range addr {
		if addr[i], err = gateway.FreeAddr(); err != nil {
			t.Fatal(err)
		}
		_, port[i], _ = net.SplitHostPort(addr[i])
	}
	p, err := gateway.Start("grpcwebproxy", nil, nil, sluice(t), "grpcwebproxy", "--backend_addr", serveWeb(t, set), "--server_bind_address=127.0.0.1",
		"--server_http_debug_port="+port[0], "--server_http_tls_port", port[1], "--server_tls_cert_file="+cert, "--server_tls_key_file="+key,
		"--use_websockets", "--websocket_ping_interval=2s", "--allow_all_origins=true", "--server_http_max_write_timeout=1s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	for _, a := range addr {
		if err := p.Listening(a); err != nil {
			t.Fatal(err)
		}
	}
	passed := runWeb(t, []string{"improbable.test.js", "grpc-websockets.test.js"}, "WEB_HTTP=http://"+addr[0], "WEB_HTTPS=https://"+addr[1],
		"WEB_DEMO=http://"+addr[0], "WEB_LISTED_PORT=1", "WEB_SCHEMA="+set, "WEB_CHROMIUM=none")
	if t.Failed() {
		t.Logf("grpcwebproxy:\n%s", p.Output())
	}
	if passed != webProxyCases {
		t.Errorf("%d cases passed, want %d", passed, webProxyCases)
	}
}
