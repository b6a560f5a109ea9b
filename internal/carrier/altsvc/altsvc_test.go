package altsvc

import (
	"crypto/tls"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// answers is a handler that answers with status.
type answers struct{ status int }

type answer struct {
	exchange.Request
	status   int
	response exchange.Response
}

func (a answers) Start(_ *exchange.RequestHead, r exchange.Response) exchange.Request {
	return &answer{status: a.status, response: r}
}

func (a *answer) Begin() {
	a.response.Head(&exchange.ResponseHead{Status: a.status, Fields: []exchange.Field{{Name: "alt-svc", Value: "theirs"}, {Name: "x", Value: "1"}}}, true)
}

// heads is a client that keeps the head.
type heads struct {
	exchange.Response
	head exchange.ResponseHead
}

func (h *heads) Head(head *exchange.ResponseHead, _ bool) { h.head = *head }

func TestAnnounce(t *testing.T) {
	const one, two = `h3=":443"; ma=86400`, `h3=":8443"; ma=86400`
	overTLS := &tls.ConnectionState{}
	ask := func(h *Handler, head exchange.RequestHead) string {
		t.Helper()
		var got heads
		h.Start(&head, &got).Begin()
		if exchange.Get(got.head.Fields, "x") != "1" {
			t.Errorf("fields are %v", got.head.Fields)
		}
		n := 0
		for _, f := range got.head.Fields {
			if f.Name == "alt-svc" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d alt-svc fields", n)
		}
		return exchange.Get(got.head.Fields, "alt-svc")
	}
	h := New(answers{200})
	if got := ask(h, exchange.RequestHead{TLS: overTLS}); got != "theirs" {
		t.Errorf("nothing to announce: %q", got)
	}
	stopOne, stopAgain, stopTwo := h.Announce(one), h.Announce(one), h.Announce(two)
	contentType := func(v string) []exchange.Field { return []exchange.Field{{Name: "content-type", Value: v}} }
	for name, test := range map[string]struct {
		head exchange.RequestHead
		want string
	}{
		"a page":           {exchange.RequestHead{TLS: overTLS}, one + ", " + two},
		"gRPC-Web":         {exchange.RequestHead{TLS: overTLS, Fields: contentType("application/grpc-web+proto")}, one + ", " + two},
		"gRPC":             {exchange.RequestHead{TLS: overTLS, Fields: contentType("application/grpc+proto")}, "theirs"},
		"without TLS":      {exchange.RequestHead{}, "theirs"},
		"extended CONNECT": {exchange.RequestHead{TLS: overTLS, Method: "CONNECT", Protocol: "websocket"}, "theirs"},
	} {
		if got := ask(h, test.head); got != test.want {
			t.Errorf("%s: %q", name, got)
		}
	}
	stopOne()
	stopOne() // means nothing
	if got := ask(h, exchange.RequestHead{TLS: overTLS}); got != one+", "+two {
		t.Errorf("one of two listeners has ended: %q", got)
	}
	stopAgain()
	if got := ask(h, exchange.RequestHead{TLS: overTLS}); got != two {
		t.Errorf("the first has ended: %q", got)
	}
	stopTwo()
	if got := ask(h, exchange.RequestHead{TLS: overTLS}); got != "theirs" {
		t.Errorf("all have ended: %q", got)
	}
	h.Announce(one)
	h.next = answers{101}
	if got := ask(h, exchange.RequestHead{TLS: overTLS}); got != "theirs" {
		t.Errorf("101: %q", got)
	}
}
