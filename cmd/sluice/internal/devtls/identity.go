package devtls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"
)

// names are what a certificate is for.
type names struct {
	dns []string
	ips []net.IP
}

// namesOf returns those of a machine, and more.
func namesOf(host string, more []string) (n names, err error) {
	all := []string{"localhost", "127.0.0.1", "::1"}
	if CheckName(host) == nil {
		all = append(all, host)
		if !strings.Contains(host, ".") && host != "localhost" {
			all = append(all, host+".local") // RFC 6762, as phones in the same network ask for it
		}
	}
	for _, name := range append(all, more...) {
		if err := CheckName(name); err != nil {
			return n, err
		}
		if ip := net.ParseIP(name); ip != nil {
			n.ips = append(n.ips, ip)
		} else if name = strings.ToLower(name); !slices.Contains(n.dns, name) {
			n.dns = append(n.dns, name)
		}
	}
	return n, nil
}

// and adds what an authority permits.
func (n names) and(authority *x509.Certificate) names {
	n.dns = append(slices.Clone(n.dns), authority.PermittedDNSDomains...)
	n.ips = slices.Clone(n.ips)
	for _, r := range authority.PermittedIPRanges {
		if ones, bits := r.Mask.Size(); ones == bits {
			n.ips = append(n.ips, r.IP)
		}
	}
	return n
}

// An identity is a certificate with its key, and with what else its server shows. Its Leaf
// is never nil.
type identity struct {
	tls.Certificate
}

func (id *identity) hash() [sha256.Size]byte { return sha256.Sum256(id.Leaf.Raw) }

// ends says whether it is not valid, or for less than a while.
func (id *identity) ends(now time.Time, in time.Duration) bool {
	return now.Before(id.Leaf.NotBefore) || !now.Add(in).Before(id.Leaf.NotAfter)
}

// covers says whether it is for all of the names.
func (id *identity) covers(n names) bool {
	for _, name := range n.dns {
		if !slices.Contains(id.Leaf.DNSNames, name) {
			return false
		}
	}
	for _, ip := range n.ips {
		if !slices.ContainsFunc(id.Leaf.IPAddresses, ip.Equal) {
			return false
		}
	}
	return true
}

func (id *identity) signedBy(authority *identity) bool {
	return bytes.Equal(id.Leaf.RawIssuer, authority.Leaf.RawSubject) && id.Leaf.CheckSignatureFrom(authority.Leaf) == nil
}

// under returns it with the certificate of its authority behind its own.
func (id *identity) under(authority *identity) *identity {
	c := id.Certificate
	c.Certificate = [][]byte{id.Leaf.Raw, authority.Leaf.Raw}
	return &identity{c}
}

// authority says whether it can sign what is made now.
func (id *identity) authority(now time.Time) bool {
	return id.Leaf.IsCA && !id.ends(now, serverLife)
}

// permits says whether it may sign for all of the names.
func (id *identity) permits(n names) bool {
	for _, name := range n.dns {
		name = strings.TrimPrefix(name, "*.")
		if !slices.ContainsFunc(id.Leaf.PermittedDNSDomains, func(d string) bool { return name == d || strings.HasSuffix(name, "."+d) }) {
			return false
		}
	}
	for _, ip := range n.ips {
		if !slices.ContainsFunc(id.Leaf.PermittedIPRanges, func(r *net.IPNet) bool { return r.Contains(ip) }) {
			return false
		}
	}
	return true
}

// local are the names and addresses that mean nothing outside of a network of one's own
// (RFC 6761, RFC 6762, RFC 8375; .internal is ICANN's). An authority that is trusted by a
// browser is as good as its key is safe, so it is for these and nothing else, but for what
// was asked for.
var (
	localDomains = []string{"localhost", "local", "test", "internal", "home.arpa"}
	localRanges  = []string{"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10"}
)

func newAuthority(n names, now time.Time) (*identity, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// Every authority has a name of its own, so that stores hold them apart.
		Subject:   pkix.Name{Organization: []string{"Sluice"}, CommonName: fmt.Sprintf("Sluice development authority %.8x", serial.Bytes())},
		NotBefore: now.Add(-early), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         slices.Clone(localDomains),
	}
	for _, name := range n.dns {
		name = strings.TrimPrefix(name, "*.")
		if !slices.Contains(template.PermittedDNSDomains, name) {
			template.PermittedDNSDomains = append(template.PermittedDNSDomains, name)
		}
	}
	for _, text := range localRanges {
		_, r, err := net.ParseCIDR(text)
		if err != nil {
			return nil, err
		}
		template.PermittedIPRanges = append(template.PermittedIPRanges, r)
	}
	for _, ip := range n.ips {
		if slices.ContainsFunc(template.PermittedIPRanges, func(r *net.IPNet) bool { return r.Contains(ip) }) {
			continue
		}
		bits := 128
		if v4 := ip.To4(); v4 != nil {
			ip, bits = v4, 32
		}
		template.PermittedIPRanges = append(template.PermittedIPRanges, &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, bits)})
	}
	return create(template, nil)
}

// sign makes a certificate of the authority id.
func (id *identity) sign(n names, from time.Time, life time.Duration) (*identity, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	return create(&x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Sluice"}, CommonName: n.dns[0]},
		NotBefore:    from, NotAfter: from.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              n.dns, IPAddresses: n.ips,
	}, id)
}

// create makes a key, and a certificate for it that authority signs, or itself if that is
// nil. The key is of the kind that serverCertificateHashes asks for.
func create(template *x509.Certificate, authority *identity) (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	parent, signer := template, any(key)
	if authority != nil {
		parent, signer = authority.Leaf, authority.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	id := &identity{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}
	if authority != nil {
		return id.under(authority), nil
	}
	return id, nil
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
}
