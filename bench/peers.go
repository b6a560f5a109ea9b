package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed config orders/rules.yaml
var configs embed.FS

// An env is what all processes of a run share.
type env struct {
	dir       string // scratch
	backend   string // the echo server's address
	threads   int
	cert, key string
	pem       string // both in one file
	rules     string // of REST
	sluice    string // the command
	self      string // this program
}

// A peer is a proxy that runs.
type peer struct {
	name    string
	process *process
	addr    string // without TLS
	tlsAddr string
	admin   string // Sluice only
}

// peerNames are in the order of the table; "direct" is no proxy at all.
var peerNames = []string{"sluice", "haproxy", "nginx", "grpc-go", "reverseproxy", "grpcwebproxy", "grpc-gateway", "bridge", "direct"}

func (e *env) startPeer(name string) (*peer, error) {
	p := &peer{name: name}
	if name == "direct" {
		p.addr = e.backend
		return p, nil
	}
	var err error
	for _, a := range []*string{&p.addr, &p.tlsAddr, &p.admin} {
		if *a, err = freeAddr(); err != nil {
			return nil, err
		}
	}
	procs := []string{"GOMAXPROCS=" + strconv.Itoa(e.threads)}
	switch name {
	case "sluice":
		p.process, err = start(e.dir, name, procs, e.sluice, "serve", "--listen", p.addr, "--tls-listen", p.tlsAddr,
			"--tls-cert", e.cert, "--tls-key", e.key, "--admin", p.admin, "--http-rules", e.rules, e.backend)
	case "haproxy":
		p.process, err = e.startConfigured(p, "haproxy", "haproxy.cfg", "-f")
	case "nginx":
		p.process, err = e.startConfigured(p, "nginx", "nginx.conf", "-c")
	case "grpc-go":
		p.process, err = start(e.dir, name, procs, e.self, "serve-grpc", p.addr, p.tlsAddr, e.backend, e.cert, e.key)
	case "reverseproxy":
		p.process, err = start(e.dir, name, procs, e.self, "serve-reverse", p.addr, p.tlsAddr, e.backend, e.cert, e.key)
	case "grpc-gateway":
		p.process, err = start(e.dir, name, procs, e.self, "serve-gateway", p.addr, p.tlsAddr, e.backend, e.cert, e.key)
	case "bridge":
		p.process, err = start(e.dir, name, procs, e.self, "serve-bridge", p.addr, p.tlsAddr, e.backend, e.cert, e.key)
	case "grpcwebproxy":
		p.process, err = e.startGRPCWebProxy(p, procs)
	default:
		return nil, fmt.Errorf("no peer %q: there are %s", name, strings.Join(peerNames, ", "))
	}
	if err != nil {
		return nil, err
	}
	if err := p.process.ready(p.addr); err != nil {
		p.process.stop()
		return nil, err
	}
	if p.tlsAddr != "" {
		if err := p.process.ready(p.tlsAddr); err != nil {
			p.process.stop()
			return nil, err
		}
	}
	return p, nil
}

// startConfigured runs a peer with a configuration of the directory config.
func (e *env) startConfigured(p *peer, command, file, flag string) (*process, error) {
	path, err := look(command)
	if err != nil {
		return nil, err
	}
	b, err := configs.ReadFile("config/" + file)
	if err != nil {
		return nil, err
	}
	text := strings.NewReplacer("TLS_LISTEN", p.tlsAddr, "LISTEN", p.addr, "BACKEND", e.backend, "THREADS", strconv.Itoa(e.threads),
		"PEM", e.pem, "CERT", e.cert, "KEY", e.key, "DIR", e.dir).Replace(string(b))
	out := filepath.Join(e.dir, file)
	if err := os.WriteFile(out, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return start(e.dir, p.name, nil, path, flag, out)
}

// grpcwebproxyVersion is the last one there is.
const grpcwebproxyVersion = "github.com/improbable-eng/grpc-web/go/grpcwebproxy@v0.15.0"

func (e *env) startGRPCWebProxy(p *peer, procs []string) (*process, error) {
	bin := filepath.Join(e.dir, "grpcwebproxy")
	if !fileExists(bin) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		if err := run(ctx, e.dir, []string{"GOBIN=" + e.dir}, "go", "install", grpcwebproxyVersion); err != nil {
			return nil, err
		}
	}
	_, httpPort, _ := net.SplitHostPort(p.addr)
	_, tlsPort, _ := net.SplitHostPort(p.tlsAddr)
	return start(e.dir, p.name, procs, bin, "--backend_addr="+e.backend, "--backend_tls=false", "--allow_all_origins", "--use_websockets",
		"--server_bind_address=127.0.0.1", "--server_http_debug_port="+httpPort, "--server_http_tls_port="+tlsPort,
		"--server_tls_cert_file="+e.cert, "--server_tls_key_file="+e.key,
		"--server_http_max_read_timeout=1h", "--server_http_max_write_timeout=1h") // its 10 s would cut connections between rounds
}

// writeRules writes the HTTP rules of the orders.
func (e *env) writeRules() error {
	b, err := configs.ReadFile("orders/rules.yaml")
	if err != nil {
		return err
	}
	e.rules = filepath.Join(e.dir, "rules.yaml")
	return os.WriteFile(e.rules, b, 0o600)
}

// certificate writes a self-signed certificate for localhost.
func (e *env) certificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	kb, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb})
	e.cert, e.key, e.pem = filepath.Join(e.dir, "cert.pem"), filepath.Join(e.dir, "key.pem"), filepath.Join(e.dir, "both.pem")
	for path, b := range map[string][]byte{e.cert: certPEM, e.key: keyPEM, e.pem: append(certPEM, keyPEM...)} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return err
		}
	}
	return nil
}
