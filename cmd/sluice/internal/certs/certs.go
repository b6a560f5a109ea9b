// Package certs keeps certificates, keys and authorities that were read from files,
// and reads them again when the files change. A change that can't be used is logged
// and what worked stays in use, so a renewal that went half through harms nobody.
package certs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// poll is how often files are looked at. It finds changes through any number of
// symbolic links, as Kubernetes makes them, which watching a directory does not.
const poll = 2 * time.Second

// Files are the files of one side of TLS. Each may be empty.
type Files struct {
	Cert, Key string
	CA        string // several are separated by commas; System stands for those of the system
	Optional  bool   // a client need not have a certificate
}

// System is written for the certificate authorities of the system.
const System = "system"

// authorities are the files of CA.
func (f Files) authorities() []string {
	if f.CA == "" {
		return nil
	}
	return strings.Split(f.CA, ",")
}

// A Pair is what was read from Files.
type Pair struct {
	Certificate *tls.Certificate // nil without Cert
	Authorities *x509.CertPool   // nil without CA
	sum         [sha256.Size]byte
}

// Load reads files. An error names the file, what is wrong and what to do.
func Load(f Files) (*Pair, error) {
	p := &Pair{}
	hash := sha256.New()
	if f.Cert != "" {
		cert, err := read(f.Cert, "certificate")
		if err != nil {
			return nil, err
		}
		key, err := read(f.Key, "private key")
		if err != nil {
			return nil, err
		}
		hash.Write(cert)
		hash.Write(key)
		if p.Certificate, err = keyPair(f, cert, key); err != nil {
			return nil, err
		}
	}
	for _, name := range f.authorities() {
		if err := p.trust(name, hash); err != nil {
			return nil, err
		}
	}
	hash.Sum(p.sum[:0])
	return p, nil
}

// trust adds the authorities of a file.
func (p *Pair) trust(name string, hash io.Writer) (err error) {
	if name == System {
		system, err := x509.SystemCertPool()
		if err != nil {
			return fmt.Errorf("certificate authorities of the system: %w", err)
		}
		if p.Authorities != nil {
			return fmt.Errorf("certificate authorities: %s comes first, before files", System)
		}
		p.Authorities = system
		return nil
	}
	ca, err := read(name, "certificate authorities")
	if err != nil {
		return err
	}
	_, _ = hash.Write(ca) // it never fails
	if p.Authorities == nil {
		p.Authorities = x509.NewCertPool()
	}
	if !p.Authorities.AppendCertsFromPEM(ca) {
		return fmt.Errorf("%s holds no certificate: it has to be PEM, with lines -----BEGIN CERTIFICATE-----", name)
	}
	return nil
}

func read(name, what string) ([]byte, error) {
	b, err := os.ReadFile(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%s %s: there is no such file", what, name)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%s %s: may not be read by this user: change its owner or mode", what, name)
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", what, name, errors.Unwrap(err))
	}
	return b, nil
}

func keyPair(f Files, cert, key []byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err == nil {
		return &pair, nil
	}
	certKinds, keyKinds := kinds(cert), kinds(key)
	switch {
	case !strings.Contains(certKinds, "CERTIFICATE") && strings.Contains(keyKinds, "CERTIFICATE"):
		return nil, fmt.Errorf("%s holds no certificate, but %s does: swap the two", f.Cert, f.Key)
	case certKinds == "":
		return nil, fmt.Errorf("%s is not PEM: it has to hold -----BEGIN CERTIFICATE----- (openssl x509 -inform der -in %s converts DER)", f.Cert, f.Cert)
	case !strings.Contains(certKinds, "CERTIFICATE"):
		return nil, fmt.Errorf("%s holds %s, but no certificate", f.Cert, certKinds)
	case keyKinds == "":
		return nil, fmt.Errorf("%s is not PEM: it has to hold -----BEGIN PRIVATE KEY-----", f.Key)
	case strings.Contains(keyKinds, "ENCRYPTED") || bytes.Contains(key, []byte("Proc-Type: 4,ENCRYPTED")):
		return nil, fmt.Errorf("%s is protected by a passphrase: decrypt it (openssl pkey -in %s -out plain.key)", f.Key, f.Key)
	case !strings.Contains(keyKinds, "PRIVATE KEY"):
		return nil, fmt.Errorf("%s holds %s, but no private key", f.Key, keyKinds)
	case strings.Contains(err.Error(), "does not match"):
		return nil, fmt.Errorf("%s is not the key of the first certificate in %s: give the pair that belongs together, the server's certificate before those of the authorities", f.Key, f.Cert)
	}
	return nil, fmt.Errorf("%s, %s: %s", f.Cert, f.Key, strings.TrimPrefix(err.Error(), "tls: "))
}

// kinds returns the types of the PEM blocks in b.
func kinds(b []byte) string {
	var all []string
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		all = append(all, block.Type)
	}
	return strings.Join(all, ", ")
}

// Expiry says whether the certificate is not valid at a time, and what to know of it.
func (p *Pair) Expiry(now time.Time) (bad bool, text string) {
	if p.Certificate == nil || p.Certificate.Leaf == nil {
		return false, ""
	}
	leaf := p.Certificate.Leaf
	switch left := leaf.NotAfter.Sub(now); {
	case left < 0:
		return true, "expired on " + leaf.NotAfter.UTC().Format(time.DateTime)
	case now.Before(leaf.NotBefore):
		return true, "not valid before " + leaf.NotBefore.UTC().Format(time.DateTime) + "; is the clock right?"
	case left < 7*24*time.Hour:
		return false, fmt.Sprintf("expires in %d hours", int(left.Hours()))
	}
	return false, ""
}

// A Keeper holds the newest usable Pair of some files.
type Keeper struct {
	files   Files
	current atomic.Pointer[Pair]
	log     *slog.Logger
	seen    string // the state of the files that was last looked into
	onLoad  func(*Pair)
}

// Keep loads files. Watch has to be called for changes to be seen. If onLoad is not
// nil, it is called with each Pair, the first before Keep returns.
func Keep(f Files, log *slog.Logger, onLoad func(*Pair)) (*Keeper, error) {
	k := &Keeper{files: f, log: log, seen: f.state(), onLoad: onLoad}
	p, err := Load(f)
	if err != nil {
		return nil, err
	}
	k.use(p)
	return k, nil
}

func (k *Keeper) use(p *Pair) {
	k.current.Store(p)
	if k.onLoad != nil {
		k.onLoad(p)
	}
	if bad, text := p.Expiry(time.Now()); text != "" {
		level := slog.LevelWarn
		if bad {
			level = slog.LevelError
		}
		k.log.Log(context.Background(), level, "certificate "+text, "file", k.files.Cert)
	}
}

// Current returns the Pair in use.
func (k *Keeper) Current() *Pair { return k.current.Load() }

// Watch looks for changes until ctx ends.
func (k *Keeper) Watch(ctx context.Context) {
	t := time.NewTicker(poll)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			k.look()
		}
	}
}

// look reads the files if they are not what they were. The certificate and its key
// are two files, so one of them may be new when the other is still old: that fails
// now, and succeeds when the other has come.
func (k *Keeper) look() {
	state := k.files.state()
	if state == k.seen {
		return
	}
	k.seen = state
	p, err := Load(k.files)
	switch {
	case err != nil:
		k.log.Error("changed certificate not usable, the old one stays", "error", err)
	case p.sum != k.Current().sum:
		k.use(p)
		k.log.Info("certificate changed", "file", k.files.Cert+k.files.caIfAlone())
	}
}

func (f Files) caIfAlone() string {
	if f.Cert == "" {
		return f.CA
	}
	return ""
}

// state tells changed files from unchanged ones without reading them.
func (f Files) state() string {
	var b strings.Builder
	for _, name := range append(f.authorities(), f.Cert, f.Key) {
		if name == "" || name == System {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			b.WriteString("-;")
			continue
		}
		fmt.Fprintf(&b, "%d,%d;", info.ModTime().UnixNano(), info.Size())
	}
	return b.String()
}
