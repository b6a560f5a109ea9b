package sluice

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/protocol/connect"
	"github.com/sluice-rpc/sluice/internal/protocol/grpc"
	"github.com/sluice-rpc/sluice/rpc"
)

// A table is the list of protocols: each exchange goes to the first that takes it. A
// new protocol is one package and one row.
type table []row

type row struct {
	name    string
	match   func(*exchange.RequestHead) bool
	handler exchange.Handler
}

func newTable(next rpc.Handler, cfg *Config, lookup func(string) *rpc.Method, reserve func(int) bool) table {
	return table{
		{"grpc", grpc.Match, grpc.NewServer(next, grpc.Options{
			MaxMessage: cfg.Limits.MessageBytes, Lookup: lookup, Now: time.Now,
		})},
		{"connect", connect.Match, connect.NewServer(next, connect.Options{
			MaxMessage: cfg.Limits.MessageBytes, Ratio: cfg.Limits.DecompressionRatio, Lookup: lookup, Now: time.Now, Reserve: reserve,
		})},
	}
}

// Start implements [exchange.Handler].
func (t table) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	for i := range t {
		if t[i].match(head) {
			return t[i].handler.Start(head, response)
		}
	}
	switch head.Method {
	case "POST":
		return refuse(head, response, 415, "unsupported content-type "+strconv.Quote(exchange.Get(head.Fields, "content-type"))+
			": this gateway takes application/grpc, application/grpc-web, application/grpc-web-text, application/proto and application/connect+proto\n",
			exchange.Field{Name: "accept-post", Value: acceptPost})
	case "GET", "HEAD":
		return refuse(head, response, 404, "nothing is here: call a gRPC method, as gRPC, gRPC-Web or Connect\n")
	}
	return refuse(head, response, 405, "method not allowed\n", exchange.Field{Name: "allow", Value: "GET, POST"})
}

const acceptPost = "application/grpc, application/grpc-web, application/grpc-web-text, application/proto, application/connect+proto"

// refusal answers an exchange that no protocol takes: when the request has ended, if
// its end can be waited for, else at once.
type refusal struct {
	response exchange.Response
	wait     bool
	status   int
	text     string
	fields   []exchange.Field
	over     atomic.Bool
}

func refuse(head *exchange.RequestHead, response exchange.Response, status int, text string, more ...exchange.Field) exchange.Request {
	r := &refusal{response: response, wait: head.Method != "POST" || head.Length >= 0, status: status, text: text}
	r.fields = append(more,
		exchange.Field{Name: "content-type", Value: "text/plain; charset=utf-8"},
		exchange.Field{Name: "content-length", Value: strconv.Itoa(len(text))})
	if head.Method == "HEAD" {
		r.text = "" // RFC 9110, section 9.3.2: the head of a GET, and never content
	}
	return r
}

func (r *refusal) Begin() {
	if !r.wait {
		r.answer()
	}
}

func (r *refusal) End([]exchange.Field) {
	if r.wait {
		r.answer()
	}
}

func (r *refusal) answer() {
	if r.over.Swap(true) {
		return
	}
	r.response.Head(&exchange.ResponseHead{Status: r.status, Fields: r.fields}, r.text == "")
	if r.text != "" {
		r.response.Data([]byte(r.text))
		r.response.End(nil)
	}
}

func (r *refusal) Data(b []byte) { r.response.Credit(len(b)) }
func (r *refusal) Reset(code exchange.Code) {
	if !r.over.Swap(true) {
		r.response.Reset(code, nil)
	}
}
func (r *refusal) Credit(int) {}
func (r *refusal) Done(bool)  {}
