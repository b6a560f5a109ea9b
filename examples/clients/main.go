// Command clients calls the four methods of `sluice demo` through the gateway. The code
// of the calls is the same for every protocol; -protocol is one option of the client.
//
//	go run . -protocol connect
//	go run . -protocol grpcweb chat
package main

import (
	"context"
	"flag"
	"log"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/sluice-rpc/sluice/examples/clients/demopb/demopbconnect"
)

// protocols are the options that choose how calls are written. Connect is what
// connect-go speaks without any.
var protocols = map[string][]connect.ClientOption{
	"connect":     nil,
	"connect-get": {connect.WithHTTPGet()}, // GET for methods without side effects
	"grpc":        {connect.WithGRPC()},
	"grpcweb":     {connect.WithGRPCWeb()},
}

var calls = []struct {
	name string
	do   func(context.Context, demopbconnect.DemoClient) error
}{{"echo", echo}, {"ticker", ticker}, {"sum", sum}, {"chat", chat}}

func main() {
	log.SetFlags(0)
	url := flag.String("url", "http://localhost:8080", "the gateway")
	protocol := flag.String("protocol", "connect", "connect, connect-get, grpc or grpcweb")
	json := flag.Bool("json", false, "messages in JSON")
	flag.Parse()
	options, ok := protocols[*protocol]
	if !ok {
		log.Fatalf("unknown protocol %q: it is connect, connect-get, grpc or grpcweb", *protocol)
	}
	if *json {
		options = append(options, connect.WithProtoJSON())
	}
	client := demopbconnect.NewDemoClient(newHTTPClient(), *url, options...)
	found := flag.NArg() == 0
	for _, call := range calls {
		if flag.NArg() > 0 && flag.Arg(0) != call.name {
			continue
		}
		found = true
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := call.do(ctx, client)
		cancel()
		if err != nil {
			log.Fatalf("%s: %v", call.name, err)
		}
	}
	if !found {
		log.Fatalf("unknown call %q: it is echo, ticker, sum or chat", flag.Arg(0))
	}
}

// newHTTPClient speaks HTTP/2 without TLS to http:// URLs. On HTTP/1.1 Go's client
// does not read a response while it writes the request, which chat needs.
func newHTTPClient() *http.Client {
	var p http.Protocols
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: &p}}
}
