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
	"encoding/binary"
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

	b, err := readSized(os.Stdin)
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
	if _, err := os.Stdout.Write(sized(resp)); err != nil {
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
	err := fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 4:
			r.tls = v != 0
		case 5:
			r.clientCA = data
		case 6:
			r.limit = v
		case 7:
			return fields(data, func(num protowire.Number, _ uint64, data []byte) error {
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

// fields calls f for each field of a message that has only varints and bytes.
func fields(b []byte, f func(num protowire.Number, v uint64, data []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		var v uint64
		var data []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			data, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := f(num, v, data); err != nil {
			return err
		}
	}
	return nil
}

func varint(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func field(b []byte, num protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

// startBackend starts the server behind the gateway.
func startBackend(path string, limit uint64) (*gateway.Process, string, error) {
	const protocolGRPC, http2 = 2, 2
	req := varint(varint(varint(nil, 1, protocolGRPC), 2, http2), 6, limit)
	r, w := io.Pipe()
	p, err := gateway.Start(filepath.Base(path), bytes.NewReader(sized(req)), w, path)
	if err != nil {
		return nil, "", err
	}
	go func() { // ends with the backend
		<-p.Done()
		_ = w.CloseWithError(fmt.Errorf("the backend ended: %s", p.Output()))
	}()
	timer := time.AfterFunc(10*time.Second, func() { _ = w.CloseWithError(errors.New("the backend does not answer")) })
	b, err := readSized(r)
	timer.Stop()
	if err != nil {
		p.Stop()
		return nil, "", fmt.Errorf("read the backend's answer: %w", err)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }() // ends with the backend
	var host string
	var port uint64
	err = fields(b, func(num protowire.Number, v uint64, data []byte) error { // ServerCompatResponse
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
	b := varint(field(nil, 1, []byte(host)), 2, n)
	if req.tls {
		b = field(b, 3, req.cert)
	}
	return b, nil
}

func readSized(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > 1<<20 {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

func sized(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}
