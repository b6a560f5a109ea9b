// Package devtls makes the certificates of a gateway on a developer's machine: an
// authority of its own, which browsers and programs can be told to trust, and under it two
// certificates.
//
//   - That of TCP has the names by which the machine is reached. A name below localhost gets
//     one of its own when it is asked for, because Chromium takes no "*.localhost".
//   - That of QUIC is for WebTransport's serverCertificateHashes
//     (https://www.w3.org/TR/webtransport/#custom-certificate-requirements): a page that
//     knows its hash needs no authority. Such a certificate has no RSA key and lives for at
//     most 14 days, so there are always two of them, and both hashes are known: the one in
//     use, and the next. A page that has asked for the hashes can connect for as long
//     as one of the two is used, which is at least ten days.
//
// Both are signed by the authority, so a client that trusts it needs no hashes.
//
// What is made is kept in files, so that trust and hashes outlive the process, and
// several gateways of a user share them. Renewal goes by the wall clock, when somebody asks:
// there is no timer, and a laptop may sleep as long as it likes.
package devtls

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	day = 24 * time.Hour
	// early is how long before it is made or used a certificate is valid: clocks differ.
	early = day
	// authorityLife is long, because each new authority has to be trusted by hand.
	authorityLife = 10 * 365 * day
	// serverLife is below what every browser allows, also to authorities that users add.
	serverLife  = 90 * day
	serverRenew = 30 * day // before its end
	// quicUse and a day at both ends are 13 days; 14 is what browsers allow.
	quicUse  = 10 * day
	quicLife = early + quicUse + 2*day
)

// maxAsked bounds the certificates for names below localhost, which clients choose.
const maxAsked = 64

// Options say what is made.
type Options struct {
	Dir   string   // where it is kept; "" is nowhere: it ends with the process
	Names []string // names and addresses, besides those of this machine, see [CheckName]
	Log   *slog.Logger
}

// TLS is the certificates of a gateway. It may be used by several goroutines.
type TLS struct {
	store store
	names names
	log   *slog.Logger

	mu        sync.Mutex
	authority *identity
	server    *identity
	asked     map[string]*identity // by name
	quic      pair
}

// Open takes what is in the directory, and makes what is missing or no longer good.
func Open(o Options) (*TLS, error) {
	t := &TLS{store: store{o.Dir}, log: o.Log, asked: map[string]*identity{}}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	if t.names, err = namesOf(host, o.Names); err != nil {
		return nil, err
	}
	if err := t.store.create(); err != nil {
		return nil, err
	}
	now := time.Now()
	if err := t.findAuthority(now); err != nil {
		return nil, err
	}
	if err := t.findServer(now); err != nil {
		return nil, err
	}
	return t, t.rotate(now)
}

// TCPConfig is for a listener of HTTP/1.1 and HTTP/2.
func (t *TLS) TCPConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: t.serverFor}
}

// QUICConfig is for a listener of HTTP/3.
func (t *TLS) QUICConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h3"}, GetCertificate: t.quicFor}
}

// Hashes are those of the certificates that QUIC uses: now, and next.
func (t *TLS) Hashes() (now, next [sha256.Size]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.renew(t.rotate)
	return t.quic.current.hash(), t.quic.next.hash()
}

// Authority is the certificate that is to be trusted.
func (t *TLS) Authority() *x509.Certificate {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.authority.Leaf
}

// AuthorityFile is where that certificate is, as PEM without its key; "" if nothing is kept.
func (t *TLS) AuthorityFile() string { return t.store.path(authorityFile) }

// renew runs one of the steps. What fails is said, and what there is stays in use: it may
// well be good for long.
func (t *TLS) renew(step func(now time.Time) error) {
	if err := step(time.Now()); err != nil {
		t.log.Error("certificates for development are not renewed", "error", err)
	}
}

func (t *TLS) serverFor(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.renew(t.findServer)
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if !strings.HasSuffix(name, ".localhost") || name[0] == '*' || CheckName(name) != nil || slices.Contains(t.names.dns, name) {
		return &t.server.Certificate, nil
	}
	return t.askedLocked(name), nil
}

// askedLocked returns the certificate for a name below localhost.
func (t *TLS) askedLocked(name string) *tls.Certificate {
	now := time.Now()
	if id := t.asked[name]; id != nil && !id.ends(now, serverRenew) {
		return &id.Certificate
	}
	more := t.names
	more.dns = append(slices.Clone(t.names.dns), name)
	id, err := t.authority.sign(more, now.Add(-early), serverLife)
	if err != nil {
		t.log.Error("no certificate for development", "name", name, "error", err)
		return &t.server.Certificate
	}
	if len(t.asked) >= maxAsked {
		clear(t.asked)
	}
	t.asked[name] = id
	return &id.Certificate
}

func (t *TLS) quicFor(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.renew(t.rotate)
	return &t.quic.current.Certificate, nil
}

// findAuthority sees to it that there is one that will do for the next certificate.
func (t *TLS) findAuthority(now time.Time) error {
	good := func(id *identity) bool { return id != nil && id.authority(now) && id.permits(t.names) }
	if good(t.authority) {
		return nil
	}
	kept, err := t.store.load(keptAuthority)
	if err != nil {
		return err
	}
	if len(kept) == 1 && good(kept[0]) {
		t.authority = kept[0]
		return t.store.saveAuthority(t.authority)
	}
	permitted := t.names
	if len(kept) == 1 { // what it was good for, the new one is good for too
		permitted = permitted.and(kept[0].Leaf)
	}
	id, err := newAuthority(permitted, now)
	if err != nil {
		return err
	}
	// Whoever is first makes the authority, so that gateways which start together share it.
	made, err := t.store.saveFirst(keptAuthority, id, kept)
	if err != nil {
		return err
	}
	t.authority = made
	if len(kept) > 0 {
		t.log.Warn("a new authority for development: the old one is not good for these names or for long enough; run sluice trust again",
			"file", t.store.path(authorityFile))
	}
	return t.store.saveAuthority(made)
}

// findServer does the same for the certificate of TCP.
func (t *TLS) findServer(now time.Time) error {
	good := func(id *identity) bool {
		return id != nil && !id.ends(now, serverRenew) && id.covers(t.names) && id.signedBy(t.authority)
	}
	if good(t.server) {
		return nil
	}
	if err := t.findAuthority(now); err != nil {
		return err
	}
	kept, err := t.store.load(keptServer)
	if err != nil {
		return err
	}
	if len(kept) == 1 && good(kept[0]) {
		t.server = kept[0].under(t.authority)
		return nil
	}
	id, err := t.authority.sign(t.names, now.Add(-early), serverLife)
	if err != nil {
		return err
	}
	t.server = id
	return t.store.save(keptServer, id)
}

// rotate sees to it that the pair of certificates of QUIC is the one for now.
func (t *TLS) rotate(now time.Time) error {
	good := func(p pair) bool {
		return p.fits(now) && p.current.signedBy(t.authority) && p.next.signedBy(t.authority)
	}
	if good(t.quic) {
		return nil
	}
	if err := t.findAuthority(now); err != nil {
		return err
	}
	kept, err := t.store.load(keptQUIC) // another gateway may have been here
	if err != nil {
		return err
	}
	var old pair
	if len(kept) == 2 {
		if old = (pair{kept[0].under(t.authority), kept[1].under(t.authority)}); good(old) {
			t.quic = old
			return nil
		}
	}
	if old.current == nil || !old.next.signedBy(t.authority) {
		old = t.quic
	}
	p, err := t.nextPair(old, now)
	if err != nil {
		return err
	}
	t.quic = p
	return t.store.save(keptQUIC, p.current, p.next)
}

// CheckName says what is wrong with a name or address for a certificate. A name may begin
// with "*.".
func CheckName(name string) error {
	if net.ParseIP(name) != nil {
		return nil
	}
	rest := strings.TrimPrefix(name, "*.")
	if rest == "" || len(rest) > 253 {
		return fmt.Errorf("%q is neither a host name nor an address", name)
	}
	for label := range strings.SplitSeq(rest, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return fmt.Errorf("%q is neither a host name nor an address", name)
		}
	}
	return nil
}
