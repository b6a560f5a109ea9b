package devtls

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The files of a directory. Those with keys have both in one, so that they change as one.
const (
	keptAuthority = "authority.pem"
	keptServer    = "server.pem"
	keptQUIC      = "quic.pem"
	authorityFile = "ca.pem" // the authority without its key, for whoever is to trust it
)

// DefaultDir is where a user's state is, by the custom of the system.
func DefaultDir(system string, env func(name string) string) (string, error) {
	var base string
	switch home := env("HOME"); {
	case system == "windows":
		base = env("LOCALAPPDATA")
	case filepath.IsAbs(env("XDG_STATE_HOME")):
		base = env("XDG_STATE_HOME") // https://specifications.freedesktop.org/basedir-spec/
	case home == "":
	case system == "darwin":
		base = filepath.Join(home, "Library", "Application Support")
	default:
		base = filepath.Join(home, ".local", "state")
	}
	if base == "" {
		return "", errors.New("this user has no home directory: give a directory for certificates, as --tls-dev-dir DIR")
	}
	return filepath.Join(base, "sluice", "tls-dev"), nil
}

// Kept returns the authority that is kept in a directory, and where. There may be none.
func Kept(dir string) (file string, authority *x509.Certificate, err error) {
	s := store{dir}
	kept, err := s.load(keptAuthority)
	if err != nil || len(kept) != 1 {
		return "", nil, err
	}
	return s.path(authorityFile), kept[0].Leaf, s.saveAuthority(kept[0])
}

// store is the files of a directory; one that is "" holds nothing.
type store struct{ dir string }

func (s store) path(name string) string {
	if s.dir == "" {
		return ""
	}
	return filepath.Join(s.dir, name)
}

func (s store) create() error {
	if s.dir == "" {
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("directory for certificates: %w (another one: --tls-dev-dir DIR)", err)
	}
	return nil
}

// load returns what a file holds. A file that is not there or makes no sense holds nothing:
// all in it can be made anew.
func (s store) load(name string) ([]*identity, error) {
	if s.dir == "" {
		return nil, nil
	}
	b, err := os.ReadFile(s.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("certificates for development: %w", err)
	}
	var all []*identity
	for {
		key, rest := pem.Decode(b)
		cert, after := pem.Decode(rest)
		if key == nil || cert == nil {
			return all, nil
		}
		c, err := tls.X509KeyPair(pem.EncodeToMemory(cert), pem.EncodeToMemory(key))
		if err != nil {
			return nil, nil
		}
		all, b = append(all, &identity{c}), after
	}
}

// save writes a file, whole or not at all.
func (s store) save(name string, all ...*identity) error {
	b, err := encode(all)
	if err != nil || s.dir == "" {
		return err
	}
	return s.replace(name, b)
}

func (s store) replace(name string, b []byte) error {
	tmp, err := s.temporary(b)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, s.path(name)); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("certificates for development: %w", err)
	}
	return nil
}

// saveFirst is save for a file that nobody has made meanwhile; if somebody has, what he
// made is returned. What is instead of old replaces it.
func (s store) saveFirst(name string, id *identity, old []*identity) (*identity, error) {
	b, err := encode([]*identity{id})
	if err != nil || s.dir == "" {
		return id, err
	}
	if len(old) > 0 {
		return id, s.replace(name, b)
	}
	tmp, err := s.temporary(b)
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp)
	err = os.Link(tmp, s.path(name)) // fails if there is one, unlike Rename
	if err == nil {
		return id, nil
	}
	if there, loadErr := s.load(name); loadErr == nil && len(there) == 1 {
		return there[0], nil
	}
	return id, s.replace(name, b) // it makes no sense, or the file system has no links
}

// saveAuthority writes the authority without its key, if it is not there.
func (s store) saveAuthority(id *identity) error {
	if s.dir == "" {
		return nil
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.Leaf.Raw})
	if there, err := os.ReadFile(s.path(authorityFile)); err == nil && bytes.Equal(there, b) {
		return nil
	}
	return s.replace(authorityFile, b)
}

// temporary writes a file of the directory that only its user can read.
func (s store) temporary(b []byte) (name string, err error) {
	f, err := os.CreateTemp(s.dir, "new-*") // 0600
	if err != nil {
		return "", fmt.Errorf("certificates for development: %w", err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return "", fmt.Errorf("certificates for development: %w", err)
	}
	return f.Name(), nil
}

func encode(all []*identity) ([]byte, error) {
	var b bytes.Buffer
	for _, id := range all {
		key, err := x509.MarshalPKCS8PrivateKey(id.PrivateKey)
		if err != nil {
			return nil, err
		}
		for _, block := range []*pem.Block{{Type: "PRIVATE KEY", Bytes: key}, {Type: "CERTIFICATE", Bytes: id.Leaf.Raw}} {
			if err := pem.Encode(&b, block); err != nil {
				return nil, err
			}
		}
	}
	return b.Bytes(), nil
}
