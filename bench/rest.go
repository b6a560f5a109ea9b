package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"log"
	"math"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/sluice-rpc/sluice/bench/orders"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// order is what the rows about REST send: about 900 bytes as protobuf, twice that as
// JSON.
func order() *orders.Order {
	o := &orders.Order{
		Id: "order-2026-000417", Number: 9_007_199_254_740_993,
		Customer:  &orders.Customer{Id: "c-77", Name: "Zoë \"Z\" Ångström", Email: "zoe@example.com"},
		Labels:    map[string]string{"channel": "web", "region": "eu-central-1", "campaign": "spring/summer", "priority": "normal"},
		Discounts: map[int32]float64{10: 0.05, 100: 0.125},
		Created:   timestamppb.New(time.Date(2026, 3, 4, 5, 6, 7, 891_000_000, time.UTC)),
		Updated:   timestamppb.New(time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC)),
		Ttl:       durationpb.New(36*time.Hour + 1500*time.Millisecond),
		State:     orders.State_PACKED,
		Samples:   []float64{0.1, 1.5, math.Pi, 1e-9, 12345.678, -2, 3e21, 0.25},
		Codes:     []int32{1, 2, 3, 500, -7, 65536, 2147483647},
		Signature: bytes.Repeat([]byte{0xde, 0xad, 0xbe, 0xef}, 16),
		Payment:   &orders.Order_Iban{Iban: "DE89370400440532013000"},
		Gift:      proto.Bool(true),
		Note:      "Please leave it at the door;\nthe bell \tis broken. Grüße, 你好 🙂",
		Total:     18_446_744_073_709_551_615, Weight: 2.75, Tags: []string{"fragile", "insured", "night"}, Paid: true,
	}
	for _, title := range []string{"Blue kettle, 1.7 l", "Coffee filters (100)", "A very small spoon", "Mug with a <b>bold</b> print", "Gift wrapping"} {
		o.Items = append(o.Items, &orders.Item{Sku: "SKU-000" + string(rune('1'+len(o.Items))), Title: title, Quantity: int32(1 + len(o.Items)),
			Price: 4.99 * float64(1+len(o.Items)), State: orders.State_NEW})
	}
	return o
}

// orderJSON is the order as a client writes it.
var orderJSON = func() []byte {
	b, err := protojson.Marshal(order())
	if err != nil {
		panic(err) // it is our own
	}
	return bytes.ReplaceAll(b, []byte("  "), []byte(" ")) // protojson adds spaces at random
}()

// orderOK says whether a body is the order.
func orderOK(body []byte) bool {
	return bytes.HasPrefix(body, []byte("{")) && bytes.Contains(body, []byte("SKU-0005")) && bytes.Contains(body, []byte("2147483647"))
}

type orderServer struct {
	orders.UnimplementedOrdersServer
}

func (orderServer) Create(_ context.Context, o *orders.Order) (*orders.Order, error) { return o, nil }

// serveGateway is grpc-gateway as its documentation has it, with generated code, and
// one line a call as the standard logger writes it. All fields are passed on, as
// Sluice does.
func serveGateway(addr, tlsAddr, backend, cert, key string) error {
	mux := runtime.NewServeMux(runtime.WithIncomingHeaderMatcher(func(name string) (string, bool) {
		name = strings.ToLower(name)
		return name, name != "connection" && name != "content-length" && name != "te"
	}))
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if err := orders.RegisterOrdersHandlerFromEndpoint(context.Background(), mux, backend, options); err != nil {
		return err
	}
	logger := log.New(os.Stdout, "", log.LstdFlags)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		mux.ServeHTTP(w, r)
		logger.Printf("path=%s duration=%s", r.URL.Path, time.Since(begin))
	})
	failed := make(chan error)
	go func() {
		s := &http.Server{Addr: addr, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
		failed <- s.ListenAndServe()
	}()
	go func() {
		s := &http.Server{Addr: tlsAddr, Handler: handler, ReadHeaderTimeout: 10 * time.Second, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
		failed <- s.ListenAndServeTLS(cert, key)
	}()
	return <-failed
}
