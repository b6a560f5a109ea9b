package devtls

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func open(t testing.TB, dir string, names ...string) *TLS {
	t.Helper()
	d, err := Open(Options{Dir: dir, Names: names})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// shown is the certificate that a client gets which asks for a name.
func shown(t testing.TB, c *tls.Config, name string) *tls.Certificate {
	t.Helper()
	cert, err := c.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// trusts says whether a client that trusts the authority takes a certificate for a name.
func trusts(d *TLS, cert *tls.Certificate, name string) error {
	roots := x509.NewCertPool()
	roots.AddCert(d.Authority())
	_, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: time.Now()})
	return err
}

func TestNames(t *testing.T) {
	d := open(t, t.TempDir(), "app.example.com", "192.0.2.7", "*.shop.test")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1", host, "app.example.com", "192.0.2.7", "a.shop.test"} {
		for what, c := range map[string]*tls.Config{"TCP": d.TCPConfig(), "QUIC": d.QUICConfig()} {
			if err := trusts(d, shown(t, c, name), name); err != nil {
				t.Errorf("%s: %s: %v", what, name, err)
			}
		}
	}
	if trusts(d, shown(t, d.TCPConfig(), "other.example.com"), "other.example.com") == nil {
		t.Error("a certificate for another name")
	}
	for _, bad := range []string{"", "a b", "a..b", "*", "a/b", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a"} {
		if _, err := Open(Options{Names: []string{bad}}); err == nil || !strings.Contains(err.Error(), "neither a host name nor an address") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestNamesBelowLocalhost(t *testing.T) {
	d := open(t, "")
	c := d.TCPConfig()
	one := shown(t, c, "One.localhost.")
	if err := trusts(d, one, "one.localhost"); err != nil {
		t.Fatal(err)
	}
	if shown(t, c, "one.localhost") != one {
		t.Error("a second certificate for the same name")
	}
	for i := range 3 * maxAsked {
		shown(t, c, fmt.Sprintf("n%d.localhost", i))
	}
	if len(d.asked) > maxAsked {
		t.Errorf("%d certificates are kept", len(d.asked))
	}
	for _, name := range []string{"localhost", "x.example.com", "bad name.localhost", ".localhost", "*.localhost"} {
		if got := shown(t, c, name); got.Leaf != d.server.Leaf {
			t.Errorf("%q has a certificate of its own", name)
		}
	}
}

// A key that leaks is worth nothing elsewhere.
func TestAuthorityIsForLocalNames(t *testing.T) {
	d := open(t, "", "app.example.com")
	for _, name := range []string{"example.com", "www.google.com", "8.8.8.8", "evilapp.example.com"} {
		n, err := namesOf("", []string{name})
		if err != nil {
			t.Fatal(err)
		}
		id, err := d.authority.sign(n, time.Now().Add(-time.Hour), day)
		if err != nil {
			t.Fatal(err)
		}
		if trusts(d, &id.Certificate, name) == nil {
			t.Errorf("the authority can sign for %s", name)
		}
	}
	if a := d.Authority(); !a.IsCA || !a.MaxPathLenZero || len(a.ExtKeyUsage) != 1 || a.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
		t.Errorf("the authority is for more: %+v", a)
	}
}

func TestKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	one := open(t, dir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 4 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
	b, err := os.ReadFile(one.AuthorityFile())
	if err != nil || strings.Contains(string(b), "PRIVATE") || !x509.NewCertPool().AppendCertsFromPEM(b) {
		t.Errorf("the authority's file: %v\n%s", err, b)
	}
	same(t, one, open(t, dir))

	file, authority, err := Kept(dir)
	if err != nil || file != one.AuthorityFile() || !authority.Equal(one.Authority()) {
		t.Errorf("Kept: %s, %v", file, err)
	}
	if _, authority, err := Kept(t.TempDir()); authority != nil || err != nil {
		t.Errorf("Kept of nothing: %v, %v", authority, err)
	}
	if d := open(t, ""); d.AuthorityFile() != "" {
		t.Errorf("nothing is kept, but %s", d.AuthorityFile())
	}
}

// same checks that two gateways show the same.
func same(t *testing.T, a, b *TLS) {
	t.Helper()
	if !a.Authority().Equal(b.Authority()) {
		t.Error("another authority")
	}
	if !shown(t, a.TCPConfig(), "localhost").Leaf.Equal(shown(t, b.TCPConfig(), "localhost").Leaf) {
		t.Error("another certificate of TCP")
	}
	if !shown(t, a.QUICConfig(), "localhost").Leaf.Equal(shown(t, b.QUICConfig(), "localhost").Leaf) {
		t.Error("another certificate of QUIC")
	}
	a1, a2 := a.Hashes()
	if b1, b2 := b.Hashes(); a1 != b1 || a2 != b2 {
		t.Error("other hashes")
	}
}

func TestStartTogether(t *testing.T) {
	dir := t.TempDir()
	all := make([]*TLS, 8)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { all[i], _ = Open(Options{Dir: dir}) })
	}
	wg.Wait()
	for _, d := range all {
		if d == nil || !d.Authority().Equal(all[0].Authority()) {
			t.Fatal("two authorities")
		}
		if err := trusts(d, shown(t, d.TCPConfig(), "localhost"), "localhost"); err != nil {
			t.Error(err)
		}
	}
}

func TestDamagedFiles(t *testing.T) {
	for _, name := range []string{keptAuthority, keptServer, keptQUIC} {
		for what, damage := range map[string]func([]byte) []byte{
			"empty": func([]byte) []byte { return nil },
			"cut":   func(b []byte) []byte { return b[:len(b)/2] },
			"junk":  func([]byte) []byte { return []byte("hello") },
			"swapped": func(b []byte) []byte {
				i := strings.Index(string(b), "-----BEGIN CERTIFICATE")
				return append(append([]byte{}, b[i:]...), b[:i]...)
			},
		} {
			dir := t.TempDir()
			open(t, dir)
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			d := open(t, dir)
			if err := trusts(d, shown(t, d.TCPConfig(), "localhost"), "localhost"); err != nil {
				t.Errorf("%s %s: %v", name, what, err)
			}
			if err := trusts(d, shown(t, d.QUICConfig(), "localhost"), "localhost"); err != nil {
				t.Errorf("%s %s: %v", name, what, err)
			}
			same(t, d, open(t, dir))
		}
	}
}

func TestNewNames(t *testing.T) {
	dir := t.TempDir()
	one := open(t, dir)
	if two := open(t, dir, "app.shop.test"); !two.Authority().Equal(one.Authority()) {
		t.Error("a name below .test needs no other authority")
	}
	var log strings.Builder
	three, err := Open(Options{Dir: dir, Names: []string{"app.example.com"}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if three.Authority().Equal(one.Authority()) || !strings.Contains(log.String(), "sluice trust") {
		t.Errorf("a name that the authority may not sign for: %s", &log)
	}
	four := open(t, dir, "app.example.org", "192.0.2.1")
	if five := open(t, dir, "app.example.com"); !five.Authority().Equal(four.Authority()) {
		t.Error("the new authority is not for the names of the one before")
	}
}

// A page that has asked for the hashes at any time can connect until the second of them is
// no longer used, whatever else happens.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d := open(t, dir)
		other := open(t, dir)
		now, next := d.Hashes()
		rotations := 0
		for hour := range 60 * 24 {
			time.Sleep(time.Hour)
			leaf := shown(t, d.QUICConfig(), "localhost").Leaf
			switch sha256.Sum256(leaf.Raw) {
			case now:
			case next:
				rotations++
			default:
				t.Fatalf("hour %d: a certificate that nobody knew of", hour)
			}
			key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
			if !ok || key.Curve != elliptic.P256() {
				t.Fatalf("a key that browsers refuse: %T", leaf.PublicKey)
			}
			if life := leaf.NotAfter.Sub(leaf.NotBefore); life != 13*day {
				t.Fatalf("it lives for %v", life)
			}
			if time.Since(leaf.NotBefore) < day || time.Until(leaf.NotAfter) < 2*day {
				t.Fatalf("at %v it is valid from %v to %v", time.Now(), leaf.NotBefore, leaf.NotAfter)
			}
			now, next = d.Hashes()
			if sha256.Sum256(leaf.Raw) != now || now == next {
				t.Fatal("the hashes are those of others")
			}
		}
		if rotations != 6 {
			t.Errorf("%d rotations in 60 days", rotations)
		}
		same(t, d, other)
	})
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d := open(t, dir)
		authority := d.Authority()
		for _, away := range []time.Duration{9 * day, 19 * day, 20 * day, 21 * day, 60 * day, 89 * day, 300 * day} {
			time.Sleep(away)
			for _, d := range []*TLS{d, open(t, dir)} { // that ran all the while, and that starts now
				tcp, quic := shown(t, d.TCPConfig(), "localhost"), shown(t, d.QUICConfig(), "localhost")
				for what, cert := range map[string]*tls.Certificate{"TCP": tcp, "QUIC": quic, "below localhost": shown(t, d.TCPConfig(), "a.localhost")} {
					if err := trusts(d, cert, "localhost"); err != nil {
						t.Errorf("after %v: %s: %v", away, what, err)
					}
				}
				if left := time.Until(tcp.Leaf.NotAfter); left < serverRenew {
					t.Errorf("after %v the certificate of TCP has %v left", away, left)
				}
				if !d.Authority().Equal(authority) {
					t.Errorf("after %v: another authority", away)
				}
			}
			same(t, d, open(t, dir))
		}
		time.Sleep(10 * 365 * day)
		if err := trusts(d, shown(t, d.TCPConfig(), "localhost"), "localhost"); err != nil {
			t.Errorf("after ten years: %v", err)
		}
		if d.Authority().Equal(authority) {
			t.Error("an authority that is over")
		}
		same(t, d, open(t, dir))
	})
}

// A clock that was wrong makes certificates of the future, which are of no use.
func TestClockSetBack(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { // in 2000
		open(t, dir)
	})
	synctest.Test(t, func(t *testing.T) {
		d := open(t, dir)
		id, err := newAuthority(d.names, time.Now().Add(1000*day))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.store.save(keptAuthority, id); err != nil {
			t.Fatal(err)
		}
		e := open(t, dir)
		if err := trusts(e, shown(t, e.TCPConfig(), "localhost"), "localhost"); err != nil {
			t.Error(err)
		}
	})
}

// What can't be written does not end what runs.
func TestDirectoryGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "gone")
		var log strings.Builder
		d, err := Open(Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(70 * day)
		for _, c := range []*tls.Config{d.TCPConfig(), d.QUICConfig()} {
			if err := trusts(d, shown(t, c, "localhost"), "localhost"); err != nil {
				t.Error(err)
			}
		}
		if !strings.Contains(log.String(), "not renewed") {
			t.Errorf("the log does not say so: %s", &log)
		}
	})
	if _, err := Open(Options{Dir: "/dev/null/x"}); err == nil || !strings.Contains(err.Error(), "--tls-dev-dir") {
		t.Errorf("a directory that can't be: %v", err)
	}
}

func TestHandshake(t *testing.T) {
	d := open(t, t.TempDir())
	roots := x509.NewCertPool()
	roots.AddCert(d.Authority())
	for _, c := range []struct {
		server *tls.Config
		proto  string
	}{{d.TCPConfig(), "h2"}, {d.QUICConfig(), "h3"}} {
		a, b := net.Pipe()
		go func() { _ = tls.Server(a, c.server).Handshake(); a.Close() }() // ends with the pipe
		client := tls.Client(b, &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{c.proto}})
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		if got := client.ConnectionState().NegotiatedProtocol; got != c.proto {
			t.Errorf("negotiated %q", got)
		}
		b.Close()
	}
}

func TestDefaultDir(t *testing.T) {
	for _, c := range []struct {
		system string
		env    map[string]string
		want   string
	}{
		{"linux", map[string]string{"HOME": "/home/a"}, "/home/a/.local/state/sluice/tls-dev"},
		{"linux", map[string]string{"HOME": "/home/a", "XDG_STATE_HOME": "/s"}, "/s/sluice/tls-dev"},
		{"linux", map[string]string{"HOME": "/home/a", "XDG_STATE_HOME": "s"}, "/home/a/.local/state/sluice/tls-dev"},
		{"darwin", map[string]string{"HOME": "/Users/a"}, "/Users/a/Library/Application Support/sluice/tls-dev"},
		{"windows", map[string]string{"LOCALAPPDATA": "/l", "HOME": "/h"}, "/l/sluice/tls-dev"},
		{"linux", nil, ""},
	} {
		got, err := DefaultDir(c.system, func(name string) string { return c.env[name] })
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s %v: %q, %v", c.system, c.env, got, err)
		}
	}
}
