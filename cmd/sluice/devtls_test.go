package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Certificates that were made are trusted by their authority, also the next time.
func TestTLSDev(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var before []byte
	for _, first := range []bool{true, false} {
		p := start(t, "demo", "--tls-dev", "--tls-listen=127.0.0.1:0", "--tls-dev-dir="+dir)
		ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(ca) {
			t.Fatal("no authority")
		}
		client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
		r, err := client.Get("https://" + p.tls + "/v1/echo/hello")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		client.CloseIdleConnections()
		if r.StatusCode != 200 || r.ProtoMajor != 2 {
			t.Errorf("%s %s", r.Proto, r.Status)
		}
		if leaf := r.TLS.PeerCertificates[0].Raw; first {
			before = leaf
		} else if string(leaf) != string(before) {
			t.Error("another certificate after a restart")
		}
		p.signal()
		if code := p.code(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
}

// A look at a configuration makes nothing.
func TestCheckMakesNoCertificates(t *testing.T) {
	cmd := sluice(t, nil, "check", "s.yaml")
	if err := os.WriteFile(cmd.Dir+"/s.yaml", []byte("backends: ['a:1']\ntls: {dev: true, dev_dir: made}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "s.yaml is good") {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := os.Stat(cmd.Dir + "/made"); err == nil {
		t.Error("certificates were made")
	}
}
