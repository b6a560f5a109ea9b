package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pair makes a self-signed certificate for localhost, as PEM.
func pair(t testing.TB, name string, notAfter time.Time) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: notAfter.Add(-48 * time.Hour * 365), NotAfter: notAfter, DNSNames: []string{"localhost"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder})
}

func write(t testing.TB, name string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func year() time.Time { return time.Now().Add(365 * 24 * time.Hour) }

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	cert, key := pair(t, "one", year())
	_, otherKey := pair(t, "two", year())
	certFile, keyFile := write(t, dir+"/cert", cert), write(t, dir+"/key", key)
	other, junk := write(t, dir+"/other", otherKey), write(t, dir+"/junk", []byte("hello"))
	locked := write(t, dir+"/locked", []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"))
	for name, c := range map[string]struct {
		files Files
		want  string
	}{
		"no certificate file": {Files{Cert: dir + "/none", Key: keyFile}, "certificate " + dir + "/none: there is no such file"},
		"no key file":         {Files{Cert: certFile, Key: dir + "/none"}, "private key " + dir + "/none: there is no such file"},
		"swapped":             {Files{Cert: keyFile, Key: certFile}, "swap the two"},
		"not PEM":             {Files{Cert: junk, Key: keyFile}, "is not PEM"},
		"key not PEM":         {Files{Cert: certFile, Key: junk}, junk + " is not PEM"},
		"key of another":      {Files{Cert: certFile, Key: other}, "is not the key of the first certificate"},
		"no key in it":        {Files{Cert: certFile, Key: certFile}, "but no private key"},
		"no certificate":      {Files{Cert: keyFile, Key: keyFile}, "but no certificate"},
		"passphrase":          {Files{Cert: certFile, Key: locked}, "passphrase"},
		"directory":           {Files{Cert: dir, Key: keyFile}, "is a directory"},
		"authorities":         {Files{CA: junk}, "holds no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Load(c.files); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %s", err, c.want)
			}
		})
	}
	p, err := Load(Files{Cert: certFile, Key: keyFile, CA: certFile})
	if err != nil || p.Certificate == nil || p.Authorities == nil {
		t.Fatalf("a good pair: %v, %v", p, err)
	}
}

func TestExpiry(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	cert, key := pair(t, "x", now.Add(time.Hour))
	p, err := Load(Files{Cert: write(t, dir+"/c", cert), Key: write(t, dir+"/k", key)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at   time.Time
		bad  bool
		text string
	}{
		{now.Add(2 * time.Hour), true, "expired on"}, {now, false, "expires in 0 hours"},
		{now.Add(-30 * 24 * time.Hour), false, ""}, {now.Add(-10 * 365 * 24 * time.Hour), true, "not valid before"},
	} {
		if bad, text := p.Expiry(c.at); bad != c.bad || !strings.Contains(text, c.text) || (c.text == "") != (text == "") {
			t.Errorf("at %v: %v, %q", c.at, bad, text)
		}
	}
}

// served returns the name in the certificate that a server with the configuration shows.
func served(t testing.TB, server, client *tls.Config) (string, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{a, b} {
		c.SetDeadline(time.Now().Add(10 * time.Second))
	}
	s := tls.Server(a, server)
	done := make(chan error, 1)
	go func() { // ends with the connection
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		a.Close()
		done <- err
	}()
	c := tls.Client(b, client)
	err = c.Handshake()
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 1))
	}
	b.Close()
	serverErr := <-done
	if err != nil {
		return "", err
	}
	if serverErr != nil {
		return "", serverErr
	}
	if p := c.ConnectionState().NegotiatedProtocol; p != "h2" {
		t.Errorf("negotiated %q, want h2", p)
	}
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	files := Files{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	cert1, key1 := pair(t, "one", year())
	cert2, key2 := pair(t, "two", year())
	write(t, files.Cert, cert1)
	write(t, files.Key, key1)
	var log strings.Builder
	server, k, err := Server(files, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	client := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
	expect := func(want string) {
		t.Helper()
		if got, err := served(t, server, client); err != nil || got != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	expect("one")

	// The new certificate is there before its key: the old pair stays.
	write(t, files.Cert, cert2)
	k.look()
	expect("one")
	if !strings.Contains(log.String(), "the old one stays") {
		t.Errorf("the log does not say so: %s", log.String())
	}
	logged := log.Len()
	k.look()
	if log.Len() != logged {
		t.Error("an unchanged bad file is logged again")
	}
	write(t, files.Key, key2)
	k.look()
	expect("two")
	if !strings.Contains(log.String(), "certificate changed") {
		t.Errorf("the log does not say so: %s", log.String())
	}
	os.Remove(files.Cert)
	k.look()
	expect("two")
}

func TestClientCertificates(t *testing.T) {
	dir := t.TempDir()
	cert, key := pair(t, "server", year())
	files := Files{Cert: write(t, dir+"/c", cert), Key: write(t, dir+"/k", key)}
	cert1, key1 := pair(t, "client", year())
	second, _ := pair(t, "second", year())
	files.CA = write(t, dir+"/ca2", second) + "," + write(t, dir+"/ca", cert1)
	server, _, err := Server(files, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	files.Optional = true
	optional, _, err := Server(files, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	one, err := tls.X509KeyPair(cert1, key1)
	if err != nil {
		t.Fatal(err)
	}
	other, err := tls.X509KeyPair(pair(t, "other", year()))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		certs []tls.Certificate
		ok    bool
	}{"none": {nil, false}, "trusted": {[]tls.Certificate{one}, true}, "untrusted": {[]tls.Certificate{other}, false}} {
		t.Run(name, func(t *testing.T) {
			_, err := served(t, server, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: c.certs})
			if (err == nil) != c.ok {
				t.Fatalf("got %v", err)
			}
			client := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
			if c.certs != nil { // whether the server wants it or not
				client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.certs[0], nil }
			}
			_, err = served(t, optional, client)
			if want := c.ok || c.certs == nil; (err == nil) != want {
				t.Fatalf("optional: got %v", err)
			}
		})
	}
	if _, err := Load(Files{CA: dir + "/ca," + System}); err == nil || !strings.Contains(err.Error(), "comes first") {
		t.Errorf("authorities of the system after others: %v", err)
	}
	if p, err := Load(Files{CA: System + "," + dir + "/ca"}); err != nil || p.Authorities == nil {
		t.Errorf("authorities of the system and others: %v", err)
	}
}

func TestBackendTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := pair(t, "server", year())
	ca := write(t, dir+"/ca", cert)
	server, _, err := Server(Files{Cert: write(t, dir+"/c", cert), Key: write(t, dir+"/k", key), CA: ca}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		files  Files
		server string
		ok     bool
	}{
		"all":        {Files{CA: ca, Cert: ca, Key: dir + "/k"}, "localhost", true},
		"no cert":    {Files{CA: ca}, "localhost", false},
		"wrong name": {Files{CA: ca, Cert: ca, Key: dir + "/k"}, "example.com", false},
		"system":     {Files{Cert: ca, Key: dir + "/k"}, "localhost", false},
	} {
		t.Run(name, func(t *testing.T) {
			client, _, err := Client(c.files, c.server, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			client.NextProtos = []string{"h2"}
			if _, err := served(t, server, client); (err == nil) != c.ok {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		files := Files{Cert: dir + "/c", Key: dir + "/k"}
		cert, key := pair(t, "one", year())
		write(t, files.Cert, cert)
		write(t, files.Key, key)
		k, err := Keep(files, slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		go Watch(t.Context(), []*Keeper{k}) // ended by the test's context
		cert, key = pair(t, "two", year())
		write(t, files.Cert, cert)
		write(t, files.Key, key)
		time.Sleep(2 * poll)
		synctest.Wait()
		if got := k.Current().Certificate.Leaf.Subject.CommonName; got != "two" {
			t.Errorf("got %q", got)
		}
	})
}
