package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-rpc/sluice/client"
	"github.com/sluice-rpc/sluice/client/http3"
	"github.com/sluice-rpc/sluice/client/webtransport"
	"github.com/sluice-rpc/sluice/conformance/internal/compat"
)

// carriers of package client by the names of -over, and whether they go over TLS.
var carriers = map[string]struct {
	carrier client.Carrier
	tls     bool
}{
	"websocket":    {client.WebSocket{}, false},
	"websocket-h2": {client.WebSocket{HTTP2: true}, true},
	"duplex":       {client.Duplex{}, true},
	"stream":       {client.Duplex{Stream: true}, true},
	"poll":         {client.Duplex{Poll: true}, true},
	"webtransport": {webtransport.Carrier{}, true},
	"http3":        {http3.Carrier{}, true},
}

// A program calls with package client.
type program struct {
	gateways *gateways
	carrier  client.Carrier
	trust    *tls.Config

	mu      sync.Mutex
	clients map[string]*client.Client // by gateway
	out     sync.Mutex
}

// call answers the suite's requests until it has no more.
func call(g *gateways, over string, trust *tls.Config) error {
	p := &program{gateways: g, carrier: carriers[over].carrier, trust: trust, clients: map[string]*client.Client{}}
	defer p.close()
	var wg sync.WaitGroup
	defer wg.Wait()
	room := make(chan struct{}, 8)
	return requests(func(b []byte) error {
		r, err := parse(b)
		if err != nil {
			return err
		}
		room <- struct{}{}
		wg.Add(1)
		go func() { // ends with its call
			defer wg.Done()
			p.answer(r)
			<-room
		}()
		return nil
	})
}

func (p *program) close() {
	for _, c := range p.clients {
		_ = c.Close()
	}
}

// client returns the client of a server's gateway.
func (p *program) client(server string) (*client.Client, error) {
	addr, err := p.gateways.before(server)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[addr]; c != nil {
		return c, nil
	}
	scheme := "http://"
	if p.gateways.secure {
		scheme = "https://"
	}
	c, err := client.New(scheme+addr, client.Config{Carriers: []client.Carrier{p.carrier}, TLS: p.trust, Resume: client.ResumeAll})
	if err != nil {
		return nil, err
	}
	p.clients[addr] = c
	return c, nil
}

// request is what matters of a ClientCompatRequest (client_compat.proto).
type request struct {
	name     string
	gzip     bool
	addr     string
	limit    int
	method   string
	full     bool // duplex
	unary    bool
	streams  grpc.StreamDesc
	headers  []string
	messages [][]byte
	timeout  time.Duration
	delay    time.Duration

	cancelBefore         bool          // CloseSend
	cancelAfter          time.Duration // after it; negative is not
	cancelAfterResponses int
}

func parse(b []byte) (*request, error) {
	r := &request{cancelAfter: -1}
	var service, method string
	var kind uint64
	var err error
	if r.addr, err = serverOf(b); err != nil {
		return nil, err
	}
	err = compat.Fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 1:
			r.name = string(data)
		case 5:
			r.gzip = v == 2 // COMPRESSION_GZIP
		case 10:
			r.limit = int(v)
		case 11:
			service = string(data)
		case 12:
			method = string(data)
		case 13:
			kind = v
		case 15:
			return r.header(data)
		case 16:
			return compat.Fields(data, func(num protowire.Number, _ uint64, data []byte) error { // Any
				if num == 2 {
					r.messages[len(r.messages)-1] = data
				} else {
					r.messages = append(r.messages, nil)
				}
				return nil
			})
		case 17:
			r.timeout = time.Duration(v) * time.Millisecond
		case 18:
			r.delay = time.Duration(v) * time.Millisecond
		case 19:
			return compat.Fields(data, func(num protowire.Number, v uint64, _ []byte) error {
				switch num {
				case 1:
					r.cancelBefore = true
				case 2:
					r.cancelAfter = time.Duration(v) * time.Millisecond
				case 3:
					r.cancelAfterResponses = int(v)
				}
				return nil
			})
		}
		return nil
	})
	r.method = "/" + service + "/" + method
	r.unary, r.full = kind == 1, kind == 5
	r.streams = grpc.StreamDesc{ClientStreams: kind == 2 || kind >= 4, ServerStreams: kind >= 3}
	return r, err
}

// header takes a Header.
func (r *request) header(b []byte) error {
	name := ""
	return compat.Fields(b, func(num protowire.Number, _ uint64, data []byte) error {
		if num == 1 {
			name = string(data)
		} else {
			r.headers = append(r.headers, name, string(data))
		}
		return nil
	})
}

// raw is a codec whose messages are their bytes.
type raw struct{}

func (raw) Name() string                    { return "proto" }
func (raw) Marshal(v any) ([]byte, error)   { return *v.(*[]byte), nil }
func (raw) Unmarshal(b []byte, v any) error { *v.(*[]byte) = append([]byte(nil), b...); return nil }

// answer makes the call, and tells the suite.
func (p *program) answer(r *request) {
	out := compat.Field(nil, 1, []byte(r.name))
	if result, err := p.call(r); err != nil {
		out = compat.Field(out, 3, compat.Field(nil, 1, []byte(err.Error())))
	} else {
		out = compat.Field(out, 2, result)
	}
	p.out.Lock()
	defer p.out.Unlock()
	if _, err := os.Stdout.Write(compat.Sized(out)); err != nil {
		fmt.Fprintln(os.Stderr, "caller:", err)
	}
}

// call makes a call as the suite's own gRPC client does, and returns a ClientResponseResult.
func (p *program) call(r *request) ([]byte, error) {
	c, err := p.client(r.addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), r.headers...))
	defer cancel()
	if r.timeout > 0 {
		var end context.CancelFunc
		ctx, end = context.WithTimeout(ctx, r.timeout)
		defer end()
	}
	opts := []grpc.CallOption{grpc.ForceCodec(raw{}), grpc.WaitForReady(true)}
	if r.gzip {
		opts = append(opts, grpc.UseCompressor("gzip"))
	}
	if r.limit > 0 {
		opts = append(opts, grpc.MaxCallRecvMsgSize(r.limit))
	}
	s, err := c.NewStream(ctx, &r.streams, r.method, opts...)
	if err != nil {
		return result(nil, nil, nil, err, 0), nil
	}
	var payloads [][]byte
	var failed error
	receive := func() bool {
		var m []byte
		if failed = s.RecvMsg(&m); failed != nil {
			return false
		}
		payloads = append(payloads, m)
		if len(payloads) == r.cancelAfterResponses {
			cancel()
		}
		return true
	}
	unsent := 0
	for i, m := range r.messages {
		time.Sleep(r.delay)
		if err := s.SendMsg(&m); err != nil {
			unsent = len(r.messages) - i
			break
		}
		if r.full && !receive() {
			unsent = len(r.messages) - i - 1
			break
		}
	}
	if r.cancelBefore {
		cancel()
	}
	_ = s.CloseSend()
	if r.cancelAfter >= 0 {
		time.AfterFunc(r.cancelAfter, cancel)
	}
	for failed == nil && receive() {
		if !r.streams.ServerStreams {
			failed = s.RecvMsg(new([]byte)) // the end
		}
	}
	header, _ := s.Header()
	return result(header, s.Trailer(), payloads, failed, unsent), nil
}

// result is a ClientResponseResult.
func result(header, trailer metadata.MD, messages [][]byte, failed error, unsent int) []byte {
	out := headers(nil, 1, header)
	for _, m := range messages {
		payload := []byte{}
		_ = compat.Fields(m, func(num protowire.Number, _ uint64, data []byte) error {
			if num == 1 {
				payload = data
			}
			return nil
		})
		out = compat.Field(out, 2, payload)
	}
	if failed != nil && !errors.Is(failed, io.EOF) {
		st := status.Convert(failed).Proto()
		e := compat.Field(compat.Varint(nil, 1, uint64(st.GetCode())), 2, []byte(st.GetMessage()))
		for _, d := range st.GetDetails() {
			if b, err := proto.Marshal(d); err == nil {
				e = compat.Field(e, 3, b)
			}
		}
		out = compat.Field(out, 3, e)
	}
	return compat.Varint(headers(out, 4, trailer), 5, uint64(unsent))
}

func headers(out []byte, num protowire.Number, md metadata.MD) []byte {
	for name, values := range md {
		h := compat.Field(nil, 1, []byte(name))
		for _, v := range values {
			if strings.HasSuffix(name, "-bin") {
				v = base64.RawStdEncoding.EncodeToString([]byte(v)) // as the suite wants it
			}
			h = compat.Field(h, 2, []byte(v))
		}
		out = compat.Field(out, num, h)
	}
	return out
}
