package main

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// serveGRPC is the proxy that people write with grpc-go: a handler of unknown services
// with a codec that leaves messages alone, and one client connection to the backend.
// It writes one line a call, unbuffered, as the standard logger does.
func serveGRPC(addr, tlsAddr, backend, cert, key string) error {
	cc, err := grpc.NewClient(backend, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})))
	if err != nil {
		return err
	}
	logger := log.New(os.Stdout, "", log.LstdFlags)
	handler := func(_ any, in grpc.ServerStream) error {
		begin := time.Now()
		method, ok := grpc.MethodFromServerStream(in)
		if !ok {
			return errUnimplemented
		}
		err := forward(in, cc, method)
		logger.Printf("method=%s duration=%s error=%v", method, time.Since(begin), err)
		return err
	}
	failed := make(chan error)
	serve := func(addr string, opts ...grpc.ServerOption) {
		l, err := net.Listen("tcp", addr)
		if err == nil {
			err = grpc.NewServer(append(opts, grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(handler))...).Serve(l)
		}
		failed <- err
	}
	creds, err := credentials.NewServerTLSFromFile(cert, key)
	if err != nil {
		return err
	}
	go serve(addr)
	go serve(tlsAddr, grpc.Creds(creds))
	return <-failed
}

func forward(in grpc.ServerStream, cc *grpc.ClientConn, method string) error {
	md, _ := metadata.FromIncomingContext(in.Context())
	ctx := metadata.NewOutgoingContext(in.Context(), md)
	out, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	go func() { // ends when the client does, or the call
		for {
			f := new(frame)
			if in.RecvMsg(f) != nil {
				_ = out.CloseSend()
				return
			}
			if out.SendMsg(f) != nil {
				return
			}
		}
	}()
	for first := true; ; first = false {
		f := new(frame)
		err := out.RecvMsg(f)
		if first {
			if h, herr := out.Header(); herr == nil {
				_ = in.SetHeader(h)
			}
		}
		if err != nil {
			in.SetTrailer(out.Trailer())
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := in.SendMsg(f); err != nil {
			return err
		}
	}
}

// serveReverse is net/http's server with httputil.ReverseProxy behind it, one line a
// call.
func serveReverse(addr, tlsAddr, backend, cert, key string) error {
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	h2c.SetHTTP1(true)
	var upstream http.Protocols
	upstream.SetUnencryptedHTTP2(true)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: backend})
			r.Out.Header.Set("Te", "trailers") // ReverseProxy drops it, gRPC needs it
		},
		Transport:     &http.Transport{Protocols: &upstream},
		FlushInterval: -1,
	}
	logger := log.New(os.Stdout, "", log.LstdFlags)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		proxy.ServeHTTP(w, r)
		logger.Printf("method=%s duration=%s", r.URL.Path, time.Since(begin))
	})
	failed := make(chan error)
	go func() {
		s := &http.Server{Addr: addr, Handler: handler, Protocols: &h2c}
		failed <- s.ListenAndServe()
	}()
	go func() {
		s := &http.Server{Addr: tlsAddr, Handler: handler, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
		failed <- s.ListenAndServeTLS(cert, key)
	}()
	return <-failed
}
