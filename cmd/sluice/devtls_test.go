package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
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

// A page of the demo learns by which hash it can trust HTTP/3, without anything that has to be set up.
func TestDemoWebTransport(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	p := start(t, "demo")
	r, err := http.Get("http://" + p.listen + "/.well-known/sluice")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var d struct {
		Carriers []struct {
			Name, URL    string
			Certificates []struct{ Algorithm, Value string }
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&d); err != nil || len(d.Carriers) != 3 || d.Carriers[0].Name != "webtransport" || len(d.Carriers[0].Certificates) != 2 {
		t.Fatalf("%v: %+v", err, d)
	}
	wt := d.Carriers[0]
	u, err := url.Parse(wt.URL)
	if err != nil || u.Host != p.tls {
		t.Fatalf("WebTransport is at %s, TLS at %s: %v", wt.URL, p.tls, err)
	}
	c, err := quic.DialAddr(t.Context(), u.Host, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}}, nil) // as a browser: by the hash
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseWithError(0, "")
	leaf := c.ConnectionState().TLS.PeerCertificates[0]
	sum := sha256.Sum256(leaf.Raw)
	if got := base64.StdEncoding.EncodeToString(sum[:]); got != wt.Certificates[0].Value || wt.Certificates[0].Algorithm != "sha-256" {
		t.Errorf("the certificate is %s, the hashes are %v", got, wt.Certificates)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 14*24*time.Hour {
		t.Errorf("it lives for %v, and browsers take 14 days", life)
	}
	if files, err := os.ReadDir(os.Getenv("XDG_STATE_HOME")); err != nil || len(files) > 0 {
		t.Errorf("something is kept: %v, %v", files, err)
	}
}

// An authority that is kept, and perhaps trusted, is used by the demo too.
func TestDemoUsesKeptAuthority(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	out, err := sluice(t, nil, "trust", "--print").Output()
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	p := start(t, "demo")
	c, err := tls.Dial("tcp", p.tls, &tls.Config{RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// Who says something about TLS gets what he says.
func TestDemoWithoutTLS(t *testing.T) {
	for _, flag := range []string{"--tls-listen=off", "--http3=off"} {
		if p := start(t, "demo", flag); p.tls != "" {
			t.Errorf("%s: TLS at %s", flag, p.tls)
		}
	}
}
