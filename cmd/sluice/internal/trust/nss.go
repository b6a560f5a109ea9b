package trust

import (
	"os"
	"path/filepath"
	"strings"
)

// database is an NSS database: of a profile of Firefox, or of Chromium on Linux, which looks
// nowhere else.
type database struct{ browser, dir string }

// where are patterns of their directories, within the user's home.
var where = []struct{ browser, pattern string }{
	{"Chromium", ".pki/nssdb"},
	{"Chromium", ".local/share/pki/nssdb"},
	{"Chromium", "snap/chromium/current/.pki/nssdb"},
	{"Firefox", ".mozilla/firefox/*"},
	{"Firefox", ".config/mozilla/firefox/*"},
	{"Firefox", "snap/firefox/common/.mozilla/firefox/*"},
	{"Firefox", ".var/app/org.mozilla.firefox/.mozilla/firefox/*"},
	{"Firefox", "Library/Application Support/Firefox/Profiles/*"},
}

func (m *Machine) databases() (all []store) {
	if m.Home == "" {
		return nil
	}
	for _, w := range where {
		found, err := filepath.Glob(filepath.Join(globEscape(m.path(m.Home)), filepath.FromSlash(w.pattern), "cert9.db"))
		if err != nil {
			continue // the only error is a bad pattern
		}
		for _, file := range found {
			all = append(all, database{w.browser, filepath.Dir(file)})
		}
	}
	return all
}

// globEscape takes the meaning of a pattern from a name.
func globEscape(name string) string {
	if os.PathSeparator == '\\' {
		return name
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

const (
	certutil    = "certutil"
	getCertutil = "sudo apt-get install libnss3-tools" // macOS: brew install nss
	brewNSS     = "brew install nss"
)

func (d database) args(args ...string) []string {
	return append(args, "-d", "sql:"+d.dir)
}

// has says whether the authority is there.
func (d database) has(m *Machine, a *Authority) bool {
	out, err := m.Run(certutil, d.args("-L", "-n", a.name(), "-a")...)
	return err == nil && strings.Contains(out, "BEGIN CERTIFICATE")
}

func (d database) install(m *Machine, a *Authority) Result {
	// C: trusted to sign certificates of servers, and nothing else.
	return d.change(m, a, true, d.args("-A", "-t", "C,,", "-n", a.name(), "-i", a.File))
}

func (d database) uninstall(m *Machine, a *Authority) Result {
	return d.change(m, a, false, d.args("-D", "-n", a.name()))
}

func (d database) change(m *Machine, a *Authority, to bool, args []string) Result {
	r := Result{Store: d.browser + " (" + d.dir + ")"}
	do := command(append([]string{certutil}, args...)...)
	if _, err := m.Find(certutil); err != nil {
		get := getCertutil
		if m.System == "darwin" {
			get = brewNSS
		}
		r.State, r.Do = Todo, []string{get, do}
		return r
	}
	if d.has(m, a) == to {
		r.State = Already
		return r
	}
	if _, err := m.Run(certutil, args...); err != nil {
		r.State, r.Why, r.Do = Todo, err, []string{do}
	}
	return r
}
