package trust

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/cmd/sluice/internal/devtls"
)

// authority makes a real one.
func authority(t *testing.T) *Authority {
	t.Helper()
	d, err := devtls.Open(devtls.Options{Dir: filepath.Join(t.TempDir(), "it's here")})
	if err != nil {
		t.Fatal(err)
	}
	return &Authority{Cert: d.Authority(), File: d.AuthorityFile()}
}

// states are those of results.
func states(all []Result) (s []State) {
	for _, r := range all {
		s = append(s, r.State)
	}
	return s
}

func mkdir(t *testing.T, elem ...string) string {
	t.Helper()
	dir := filepath.Join(elem...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// debian is a machine below a directory, with the programs of this one.
func debian(t *testing.T) *Machine {
	t.Helper()
	if _, err := exec.LookPath("update-ca-certificates"); err != nil {
		t.Skip("no update-ca-certificates: .ci/need update-ca-certificates=ca-certificates")
	}
	root := t.TempDir()
	local := mkdir(t, root, "usr/local/share/ca-certificates")
	certs, hooks, shared := mkdir(t, root, "etc/ssl/certs"), mkdir(t, root, "hooks"), mkdir(t, root, "usr/share/ca-certificates")
	conf := filepath.Join(root, "etc/ca-certificates.conf")
	if err := os.WriteFile(conf, []byte("one.crt\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(authority(t).File) // one that the system brings
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(shared, "one.crt"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return &Machine{System: "linux", Root: root, Home: "/home/a b", Find: exec.LookPath,
		Run: func(name string, args ...string) (string, error) {
			if name == "update-ca-certificates" {
				args = append(args, "--certsconf", conf, "--certsdir", shared, "--localcertsdir", local, "--etccertsdir", certs, "--hooksdir", hooks)
			}
			out, err := exec.Command(name, args...).CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%s: %w: %s", name, err, out)
			}
			return string(out), err
		}}
}

func TestDebian(t *testing.T) {
	m, a := debian(t), authority(t)
	bundle := func() bool {
		b, err := os.ReadFile(filepath.Join(m.Root, "etc/ssl/certs/ca-certificates.crt"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		links, err := filepath.Glob(filepath.Join(m.Root, "etc/ssl/certs/sluice*"))
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(b)
		_, err = a.Cert.Verify(x509.VerifyOptions{Roots: roots})
		if (err == nil) != (len(links) == 1) {
			t.Errorf("%v, but the links are %v", err, links)
		}
		return err == nil
	}
	for _, step := range []struct {
		do   func(*Machine, *Authority) []Result
		want State
		has  bool
	}{{Uninstall, Already, false}, {Install, Done, true}, {Install, Already, true}, {Uninstall, Done, false}, {Uninstall, Already, false}} {
		if r := step.do(m, a); !slices.Equal(states(r), []State{step.want}) {
			t.Errorf("%+v, want %v", r, step.want)
		}
		if got := bundle(); got != step.has {
			t.Errorf("the system trusts it: %v, want %v", got, step.has)
		}
	}
}

// Browsers' databases, real ones.
func TestNSS(t *testing.T) {
	if _, err := exec.LookPath(certutil); err != nil {
		t.Skip("no certutil: .ci/need certutil=libnss3-tools")
	}
	m, a := debian(t), authority(t)
	if err := os.RemoveAll(filepath.Join(m.Root, "usr/local/share/ca-certificates")); err != nil {
		t.Fatal(err)
	}
	mkdir(t, m.Root, m.Home, ".mozilla/firefox/Crash Reports") // no profile
	var dirs []string
	for _, dir := range []string{".local/share/pki/nssdb", ".mozilla/firefox/x.default-esr", "snap/firefox/common/.mozilla/firefox/y [1]"} {
		dir = mkdir(t, m.Root, m.Home, dir)
		if out, err := m.Run(certutil, "-N", "-d", "sql:"+dir, "--empty-password"); err != nil {
			t.Fatal(err, out)
		}
		dirs = append(dirs, dir)
	}
	trusted := func() (n int) {
		for _, dir := range dirs {
			out, err := m.Run(certutil, "-L", "-d", "sql:"+dir)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(out, a.name()) && strings.Contains(out, "C,,") {
				n++
			}
		}
		return n
	}
	all := func(s State) []State { return []State{s, s, s} }
	for _, step := range []struct {
		do      func(*Machine, *Authority) []Result
		want    State
		trusted int
	}{{Uninstall, Already, 0}, {Install, Done, 3}, {Install, Already, 3}, {Uninstall, Done, 0}} {
		if r := step.do(m, a); !slices.Equal(states(r), all(step.want)) {
			t.Errorf("%+v, want %v", r, step.want)
		}
		if n := trusted(); n != step.trusted {
			t.Errorf("%d databases trust it, want %d", n, step.trusted)
		}
	}
	m.Find = func(string) (string, error) { return "", exec.ErrNotFound }
	r := Install(m, a)
	if !slices.Equal(states(r), all(Todo)) || r[0].Do[0] != getCertutil {
		t.Fatalf("without certutil: %+v", r)
	}
	// What is printed does what the package would have done.
	for _, r := range r {
		if out, err := exec.Command("sh", "-c", r.Do[1]).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", r.Do[1], err, out)
		}
	}
	if n := trusted(); n != 3 {
		t.Errorf("%d databases trust it", n)
	}
	m.Find = exec.LookPath
	m.Run = func(name string, args ...string) (string, error) {
		if slices.Contains(args, "-A") || slices.Contains(args, "-D") {
			return "", errors.New("no luck")
		}
		return "", nil
	}
	if r := Install(m, a); !slices.Equal(states(r), all(Todo)) || r[0].Why == nil || len(r[0].Do) != 1 {
		t.Errorf("a failure: %+v", r)
	}
}

// What may not be written is left to do, as commands that do it.
func TestNoPermission(t *testing.T) {
	for _, d := range directories {
		m := &Machine{System: "linux", Root: t.TempDir()}
		mkdir(t, m.Root, d.dir)
		a := &Authority{Cert: fake(), File: filepath.Join(t.TempDir(), "ca.pem")}
		if err := os.WriteFile(a.File, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		name := m.path(d.dir, a.file()+d.ending)
		if err := os.Mkdir(name, 0o755); err != nil { // root may write everywhere, but not into this
			t.Fatal(err)
		}
		r := Install(m, a)
		want := []string{"sudo install -m 644 " + a.File + " " + name, "sudo " + strings.Join(d.update, " ")}
		if len(r) != 1 || r[0].State != Todo || !slices.Equal(r[0].Do, want) || r[0].Why == nil {
			t.Errorf("%+v, want %v", r, want)
		}
		if r := d.updated(m, &fs.PathError{Err: fs.ErrPermission}, "x"); r.Why != nil || len(r.Do) != 2 {
			t.Errorf("without permission: %+v", r)
		}
		m.Run = func(string, ...string) (string, error) { return "", errors.New("no luck") }
		if r := d.updated(m, nil, "x"); r.State != Todo || len(r.Do) != 1 {
			t.Errorf("an update that fails: %+v", r)
		}
	}
}

func fake() *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: "An Authority"}, SerialNumber: big.NewInt(255), Raw: []byte("x")}
}

// Systems that tests don't run on: which programs run, and what is left if they fail.
func TestOtherSystems(t *testing.T) {
	for _, c := range []struct {
		system    string
		uninstall bool
		fail      string // the program's first argument that does
		state     State
		ran       []string
		do        []string
	}{
		{"darwin", false, "", Done, []string{"security add-trusted-cert -r trustRoot -p ssl -k /u/Library/Keychains/login.keychain-db /ca.pem"}, nil},
		{"darwin", false, "add-trusted-cert", Todo, nil, []string{"security add-trusted-cert -r trustRoot -p ssl -k /u/Library/Keychains/login.keychain-db /ca.pem"}},
		{"darwin", true, "", Done, []string{"security find-certificate -Z -c 'An Authority' /u/Library/Keychains/login.keychain-db",
			"security remove-trusted-cert /ca.pem", "security delete-certificate -Z 11F6AD8EC52A2984ABAAFD7C3B516503785C2072 /u/Library/Keychains/login.keychain-db"}, nil},
		{"darwin", true, "find-certificate", Already, nil, nil},
		{"darwin", true, "delete-certificate", Todo, nil, []string{"security delete-certificate -Z 11F6AD8EC52A2984ABAAFD7C3B516503785C2072 /u/Library/Keychains/login.keychain-db"}},
		{"windows", false, "", Done, []string{"certutil -user -addstore Root /ca.pem"}, nil},
		{"windows", false, "-user", Todo, nil, []string{"certutil -user -addstore Root /ca.pem"}},
		{"windows", true, "", Done, []string{"certutil -user -store Root ff", "certutil -user -delstore Root ff"}, nil},
		{"windows", true, "-user", Already, nil, nil},
		{"plan9", false, "", Done, nil, nil},
	} {
		var ran []string
		m := &Machine{System: c.system, Root: "/", Home: "/u", Find: exec.LookPath, Run: func(name string, args ...string) (string, error) {
			if args[0] == c.fail {
				return "", errors.New("no luck")
			}
			ran = append(ran, command(append([]string{name}, args...)...))
			return "", nil
		}}
		a := &Authority{Cert: fake(), File: "/ca.pem"}
		do := Install
		if c.uninstall {
			do = Uninstall
		}
		if c.system == "plan9" {
			m.Root = t.TempDir()
		}
		r := do(m, a)
		if c.system == "plan9" {
			if len(r) != 0 {
				t.Errorf("stores where there are none: %+v", r)
			}
			continue
		}
		if len(r) != 1 || r[0].State != c.state || !slices.Equal(r[0].Do, c.do) || c.fail == "" && !slices.Equal(ran, c.ran) {
			t.Errorf("%s, uninstall %v, %q fails: %+v, ran %q", c.system, c.uninstall, c.fail, r, ran)
		}
	}
}
