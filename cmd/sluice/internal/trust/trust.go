// Package trust puts an authority where the programs of a machine look for those that they
// trust, and takes it away again: the store of the system, and the databases of browsers that
// have their own.
//
// It never asks for more rights than it has. What it may not do, or for which a program is
// missing, it says as commands to paste.
package trust

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A Machine is where it is done.
type Machine struct {
	System string // as runtime.GOOS
	Root   string // of the file system: "/"
	Home   string // of the user, within Root
	// Find says where a program is, as exec.LookPath; Run runs it and returns what it prints.
	Find func(name string) (string, error)
	Run  func(name string, args ...string) (string, error)
}

// An Authority is what is to be trusted.
type Authority struct {
	Cert *x509.Certificate
	File string // PEM
}

// name is by what stores know the authority. No two authorities have the same.
func (a *Authority) name() string { return a.Cert.Subject.CommonName }

// file is a name for a file that has it.
func (a *Authority) file() string {
	return strings.ReplaceAll(strings.ToLower(a.name()), " ", "-")
}

// A State is how a store stands to an authority afterwards.
type State int

const (
	Done    State = iota // as was asked for
	Already              // it was so before
	Todo                 // somebody has to do it by hand
)

// A Result is what came of one store.
type Result struct {
	Store string // "the system", "Chromium (/home/…)", …
	State State
	Why   error    // with Todo, if something failed
	Do    []string // with Todo: commands
}

// Install makes every store trust the authority.
func Install(m *Machine, a *Authority) []Result { return m.each(a, store.install) }

// Uninstall makes no store trust it.
func Uninstall(m *Machine, a *Authority) []Result { return m.each(a, store.uninstall) }

// A store is a place with authorities.
type store interface {
	install(m *Machine, a *Authority) Result
	uninstall(m *Machine, a *Authority) Result
}

func (m *Machine) each(a *Authority, do func(store, *Machine, *Authority) Result) (all []Result) {
	for _, s := range m.stores() {
		all = append(all, do(s, m, a))
	}
	return all
}

// stores are those of the machine.
func (m *Machine) stores() (all []store) {
	switch m.System {
	case "darwin":
		all = append(all, keychain{})
	case "windows":
		return []store{windows{}} // Firefox looks there too, by default
	default:
		for _, s := range directories {
			if isDir(m.path(s.dir)) {
				all = append(all, s)
				break
			}
		}
	}
	return append(all, m.databases()...)
}

func (m *Machine) path(elem ...string) string {
	return filepath.Join(append([]string{m.Root}, elem...)...)
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// A directory is a store of files, and a program that has to be told of them.
type directory struct {
	dir    string
	ending string
	update []string // after a change
	clean  []string // after a file is gone, if that is something else
}

var directories = []directory{
	{"/usr/local/share/ca-certificates", ".crt", []string{"update-ca-certificates"}, []string{"update-ca-certificates", "--fresh"}}, // Debian, Ubuntu, Alpine
	{"/etc/pki/ca-trust/source/anchors", ".pem", []string{"update-ca-trust"}, nil},                                                  // Fedora, RHEL
	{"/etc/ca-certificates/trust-source/anchors", ".crt", []string{"trust", "extract-compat"}, nil},                                 // Arch
	{"/usr/share/pki/trust/anchors", ".pem", []string{"update-ca-certificates"}, []string{"update-ca-certificates", "--fresh"}},     // SUSE
}

const system = "the system"

func (d directory) install(m *Machine, a *Authority) Result {
	name := m.path(d.dir, a.file()+d.ending)
	want, err := os.ReadFile(a.File)
	if err != nil {
		return Result{Store: system, State: Todo, Why: err}
	}
	if there, err := os.ReadFile(name); err == nil && string(there) == string(want) {
		return Result{Store: system, State: Already}
	}
	err = os.WriteFile(name, want, 0o644)
	return d.updated(m, err, fmt.Sprintf("sudo install -m 644 %s %s", quote(a.File), quote(name)))
}

func (d directory) uninstall(m *Machine, a *Authority) Result {
	name := m.path(d.dir, a.file()+d.ending)
	err := os.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Result{Store: system, State: Already}
	}
	if d.clean != nil {
		d.update = d.clean // else links to the file would stay
	}
	return d.updated(m, err, "sudo rm "+quote(name))
}

// updated tells the system of a change, unless there was none.
func (d directory) updated(m *Machine, err error, change string) Result {
	update := "sudo " + strings.Join(d.update, " ")
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = nil // the commands say it
		}
		return Result{Store: system, State: Todo, Why: err, Do: []string{change, update}}
	}
	if _, err := m.Run(d.update[0], d.update[1:]...); err != nil {
		return Result{Store: system, State: Todo, Why: err, Do: []string{update}}
	}
	return Result{Store: system}
}

// quote makes a word for a shell.
func quote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-:=,+@%") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// command is a program and its arguments as one would type them.
func command(words ...string) string {
	for i, w := range words {
		words[i] = quote(w)
	}
	return strings.Join(words, " ")
}
