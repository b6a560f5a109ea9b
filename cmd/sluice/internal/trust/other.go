package trust

import (
	"crypto/sha1"
	"fmt"
)

// keychain is the user's on macOS, which Safari and Chrome look into. `security` asks
// the user for his password.
type keychain struct{}

func (keychain) name() string { return "the keychain" }

func (k keychain) file(m *Machine) string {
	return m.path(m.Home, "Library", "Keychains", "login.keychain-db")
}

func (k keychain) install(m *Machine, a *Authority) Result {
	return k.run(m, []string{"add-trusted-cert", "-r", "trustRoot", "-p", "ssl", "-k", k.file(m), a.File})
}

func (k keychain) uninstall(m *Machine, a *Authority) Result {
	sum := fmt.Sprintf("%X", sha1.Sum(a.Cert.Raw)) // by which the program knows certificates
	if _, err := m.Run("security", "find-certificate", "-Z", "-c", a.name(), k.file(m)); err != nil {
		return Result{Store: k.name(), State: Already}
	}
	return k.run(m, []string{"remove-trusted-cert", a.File}, []string{"delete-certificate", "-Z", sum, k.file(m)})
}

func (k keychain) run(m *Machine, all ...[]string) Result {
	return runAll(m, k.name(), "security", all)
}

// windows is the user's store there.
type windows struct{}

func (windows) install(m *Machine, a *Authority) Result {
	return runAll(m, system, certutil, [][]string{{"-user", "-addstore", "Root", a.File}})
}

func (windows) uninstall(m *Machine, a *Authority) Result {
	serial := fmt.Sprintf("%x", a.Cert.SerialNumber)
	if _, err := m.Run(certutil, "-user", "-store", "Root", serial); err != nil {
		return Result{Store: system, State: Already}
	}
	return runAll(m, system, certutil, [][]string{{"-user", "-delstore", "Root", serial}})
}

// runAll runs a program several times; what fails, and what follows it, is left to do.
func runAll(m *Machine, store, program string, all [][]string) Result {
	for i, args := range all {
		_, err := m.Run(program, args...)
		if err == nil {
			continue
		}
		r := Result{Store: store, State: Todo, Why: err}
		for _, args := range all[i:] {
			r.Do = append(r.Do, command(append([]string{program}, args...)...))
		}
		return r
	}
	return Result{Store: store}
}
