// Command caller is a client under test for the Connect conformance suite: a client of Sluice,
// over one of its carriers, through a gateway to the suite's servers.
//
//	caller -over CARRIER
//	caller [-tls] -- COMMAND...
//
// The suite writes ClientCompatRequests to standard input, each preceded by its size in four
// bytes, and expects a ClientCompatResponse for each on standard output, in any order. Each server
// gets a gateway of its own, in this process.
//
// Without a command the client is package client. A command speaks the suite's language itself: it
// is given the requests with a gateway in the place of the server, and its answers are the suite's.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/conformance/internal/compat"
	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
	"github.com/sluice-rpc/sluice/h3"
)

func main() {
	over := flag.String("over", "websocket", "the carrier of package client")
	secure := flag.Bool("tls", false, "whether a command goes over TLS")
	flag.Parse()
	if err := run(*over, *secure, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "caller:", err)
		os.Exit(1)
	}
}

func run(over string, secure bool, command []string) error {
	if len(command) == 0 {
		c, ok := carriers[over]
		if !ok {
			return fmt.Errorf("there is no carrier %q", over)
		}
		secure = c.tls
	}
	dir, err := os.MkdirTemp("", "caller")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it only ends
	certFile, keyFile, err := gateway.Certificate(dir)
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(filepath.Clean(certFile))
	if err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return err
	}
	g := &gateways{secure: secure, cert: &tls.Config{Certificates: []tls.Certificate{cert}}, running: map[string]*running{}}
	defer g.close()
	if len(command) > 0 {
		return pass(g, certFile, pem, command)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return call(g, over, &tls.Config{RootCAs: roots})
}

// requests calls take for each request of the suite.
func requests(take func([]byte) error) error {
	for {
		b, err := compat.ReadSized(os.Stdin)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := take(b); err != nil {
			return err
		}
	}
}

// serverOf returns the address of the server that a ClientCompatRequest is for.
func serverOf(b []byte) (string, error) {
	host, port := "", uint64(0)
	err := compat.Fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 6:
			host = string(data)
		case 7:
			port = v
		}
		return nil
	})
	return net.JoinHostPort(host, strconv.FormatUint(port, 10)), err
}

// pass gives the requests to a command, each with a gateway in the place of its server.
func pass(g *gateways, certFile string, pem []byte, command []string) error {
	c := exec.Command(command[0], command[1:]...)
	c.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+certFile)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // never outlives this one
	in, err := c.StdinPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	err = requests(func(b []byte) error {
		server, err := serverOf(b)
		if err != nil {
			return err
		}
		addr, err := g.before(server)
		if err != nil {
			return err
		}
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return err
		}
		// Of a field that is there twice the last one counts.
		b = compat.Varint(compat.Field(b, 6, []byte(host)), 7, n)
		if g.secure {
			b = compat.Field(b, 8, pem) // server_tls_cert
		}
		_, err = in.Write(compat.Sized(b))
		return err
	})
	return errors.Join(err, in.Close(), c.Wait())
}

// gateways are before the suite's servers.
type gateways struct {
	secure bool
	cert   *tls.Config

	mu      sync.Mutex
	running map[string]*running // by server
}

type running struct {
	gateway *sluice.Gateway
	addr    string
}

func (g *gateways) close() {
	for _, r := range g.running {
		_ = r.gateway.Close()
	}
}

// before returns the address of a server's gateway. Pages of any origin may call.
func (g *gateways) before(server string) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.running[server]; r != nil {
		return r.addr, nil
	}
	gw, err := sluice.New(sluice.Config{
		Backends: []sluice.Backend{{Target: server}}, HTTP3: h3.New(h3.Config{}), CORSOrigins: []string{"*"},
	})
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	r := &running{gw, l.Addr().String()}
	g.running[server] = r
	if !g.secure {
		go gw.Serve(l) //nolint:errcheck // ends with the gateway
		return r.addr, nil
	}
	udp, err := net.ListenPacket("udp", r.addr)
	if err != nil {
		return "", err
	}
	go gw.ServeTLS(l, g.cert)    //nolint:errcheck // ends with the gateway
	go gw.ServeQUIC(udp, g.cert) //nolint:errcheck // ends with the gateway
	return r.addr, nil
}
