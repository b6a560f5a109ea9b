package main

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"
)

// HTTP/3 is there beside TLS, on the same port, and is announced, unless it is switched off.
func TestHTTP3(t *testing.T) {
	for _, off := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "state")
		args := []string{"demo", "--tls-dev", "--tls-listen=127.0.0.1:0", "--tls-dev-dir=" + dir}
		if off {
			args = append(args, "--http3=off")
		}
		p := start(t, args...)
		ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(ca) {
			t.Fatal("no authority")
		}
		url := "https://" + p.tls + "/v1/echo/hello"
		h2 := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}}
		r, err := h2.RoundTrip(mustGet(t, url))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		h2.CloseIdleConnections()
		_, port, _ := net.SplitHostPort(p.tls)
		if got := strings.HasPrefix(r.Header.Get("Alt-Svc"), `h3=":`+port+`"`); got == off {
			t.Errorf("off %v: Alt-Svc is %q", off, r.Header.Get("Alt-Svc"))
		}
		u, err := net.ListenPacket("udp", p.tls)
		if err == nil {
			u.Close()
		}
		if (err == nil) != off {
			t.Errorf("off %v: the port of UDP: %v", off, err)
		}
		if !off {
			h3 := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
			r, err := h3.RoundTrip(mustGet(t, url))
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
			if r.StatusCode != 200 || r.ProtoMajor != 3 {
				t.Errorf("%s %s", r.Proto, r.Status)
			}
			h3.Close()
		}
		p.signal()
		if code := p.code(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
}

func mustGet(t *testing.T, url string) *http.Request {
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A port that is taken says what to do.
func TestHTTP3PortInUse(t *testing.T) {
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	cmd := sluice(t, nil, "demo", "--listen=off", "--admin=off", "--tls-dev", "--tls-dev-dir="+t.TempDir(), "--tls-listen="+u.LocalAddr().String())
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--http3 off") || !strings.Contains(string(out), "UDP is in use") {
		t.Errorf("%v: %s", err, out)
	}
}
