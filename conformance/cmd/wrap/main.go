// Command wrap is a server under test for the Connect conformance suite: it is asked
// for a server, and answers with a gateway that has one of the suite's servers behind
// it.
//
//	wrap -sluice PATH -backend PATH [-schema FILE]
//
// The suite writes one ServerCompatRequest to standard input, preceded by its size in
// four bytes, and expects a ServerCompatResponse of the same form; SIGTERM ends it. The
// backend speaks the same language, and is always asked for gRPC over HTTP/2 without
// TLS: protocol, HTTP version, TLS and client certificates are the gateway's.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sluice-rpc/sluice/conformance/internal/compat"
	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

func main() {
	sluice := flag.String("sluice", "", "the sluice command")
	backend := flag.String("backend", "", "the server behind it: referenceserver or grpcserver")
	schema := flag.String("schema", "", "descriptor set for --schema")
	flag.Parse()
	if err := run(*sluice, *backend, *schema); err != nil {
		fmt.Fprintln(os.Stderr, "wrap:", err)
		os.Exit(1)
	}
}

func run(sluice, backendPath, schema string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)

	b, err := compat.ReadSized(os.Stdin)
	if err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	req, err := parseRequest(b)
	if err != nil {
		return err
	}
	backend, upstream, err := startBackend(backendPath, req.limit)
	if err != nil {
		return err
	}
	defer backend.Stop()

	dir, err := os.MkdirTemp("", "wrap")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it only ends
	o := gateway.Options{Command: sluice}
	for _, f := range []struct {
		path *string
		name string
		pem  []byte
	}{{&o.Cert, "cert.pem", req.cert}, {&o.Key, "key.pem", req.key}, {&o.ClientCA, "ca.pem", req.clientCA}} {
		if !req.tls || len(f.pem) == 0 {
			continue
		}
		*f.path = filepath.Join(dir, f.name)
		if err := os.WriteFile(*f.path, f.pem, 0o600); err != nil {
			return err
		}
	}
	if schema != "" {
		o.Args = append(o.Args, "--schema", schema)
	}
	// The limit is the backend's: the suite's is for requests alone, and its server sends
	// back each request in a response that is a little larger.
	o.Args = append(o.Args, upstream)
	g, err := gateway.Serve(o)
	if err != nil {
		return err
	}
	defer g.Stop()

	addr := g.Addr
	if req.tls {
		addr = g.TLSAddr
	}
	resp, err := response(addr, req)
	if err != nil {
		return err
	}
	if _, err := os.Stdout.Write(compat.Sized(resp)); err != nil {
		return err
	}
	select {
	case <-stop:
		return nil
	case <-g.Done():
		return fmt.Errorf("the gateway ended\n%s", g.Output())
	case <-backend.Done():
		return errors.New("the backend ended")
	}
}

// request is what matters of a ServerCompatRequest (server_compat.proto).
type request struct {
	tls                 bool   // use_tls, 4
	clientCA, cert, key []byte // client_tls_cert, 5; server_creds, 7
	limit               uint64 // message_receive_limit, 6
}

func parseRequest(b []byte) (request, error) {
	var r request
	err := compat.Fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 4:
			r.tls = v != 0
		case 5:
			r.clientCA = data
		case 6:
			r.limit = v
		case 7:
			return compat.Fields(data, func(num protowire.Number, _ uint64, data []byte) error {
				switch num {
				case 1:
					r.cert = data
				case 2:
					r.key = data
				}
				return nil
			})
		}
		return nil
	})
	return r, err
}

// startBackend starts the server behind the gateway.
func startBackend(path string, limit uint64) (*gateway.Process, string, error) {
	const protocolGRPC, http2 = 2, 2
	req := compat.Varint(compat.Varint(compat.Varint(nil, 1, protocolGRPC), 2, http2), 6, limit)
	r, w := io.Pipe()
	p, err := gateway.Start(filepath.Base(path), bytes.NewReader(compat.Sized(req)), w, path)
	if err != nil {
		return nil, "", err
	}
	go func() { // ends with the backend
		<-p.Done()
		_ = w.CloseWithError(fmt.Errorf("the backend ended: %s", p.Output()))
	}()
	timer := time.AfterFunc(10*time.Second, func() { _ = w.CloseWithError(errors.New("the backend does not answer")) })
	b, err := compat.ReadSized(r)
	timer.Stop()
	if err != nil {
		p.Stop()
		return nil, "", fmt.Errorf("read the backend's answer: %w", err)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }() // ends with the backend
	var host string
	var port uint64
	err = compat.Fields(b, func(num protowire.Number, v uint64, data []byte) error { // ServerCompatResponse
		switch num {
		case 1:
			host = string(data)
		case 2:
			port = v
		}
		return nil
	})
	return p, net.JoinHostPort(host, strconv.FormatUint(port, 10)), err
}

// response is the ServerCompatResponse: host, port, and the certificate.
func response(addr string, req request) ([]byte, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	b := compat.Varint(compat.Field(nil, 1, []byte(host)), 2, n)
	if req.tls {
		b = compat.Field(b, 3, req.cert)
	}
	return b, nil
}
