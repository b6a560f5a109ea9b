package cors

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
)

// TestWebSocket has handshakes of pages, over both versions. What no page makes passes.
func TestWebSocket(t *testing.T) {
	const app = "https://app.example"
	for _, c := range []struct {
		name        string
		allowed     []string
		origin      []string
		passes      bool
		credentials bool
	}{
		{"no page", nil, nil, true, true},
		{"its own", nil, []string{"https://gw.example"}, true, true},
		{"its own, any allowed", []string{"*"}, []string{"https://gw.example"}, true, true},
		{"another", nil, []string{app}, false, false},
		{"another port", nil, []string{"https://gw.example:444"}, false, false},
		{"without TLS", nil, []string{"http://gw.example"}, false, false},
		{"listed", []string{app}, []string{app}, true, true},
		{"listed another", []string{app}, []string{"https://app.example.evil"}, false, false},
		{"any", []string{"*"}, []string{app}, true, false},
		{"any, listed", []string{"*", app}, []string{app}, true, true},
		{"sandboxed", []string{"*"}, []string{"null"}, false, false},
		{"sandboxed, listed", []string{"null"}, []string{"null"}, true, false},
		{"twice", []string{app}, []string{app, app}, false, false},
		{"malformed", nil, []string{"gw.example"}, false, false},
	} {
		for _, carrier := range []string{"h1", "h2"} {
			t.Run(c.name+"/"+carrier, func(t *testing.T) {
				head := &exchange.RequestHead{
					Method: "CONNECT", Protocol: "websocket", Scheme: "https", Authority: "gw.example", Path: "/", Carrier: carrier,
					TLS:    &tls.ConnectionState{Version: tls.VersionTLS13, PeerCertificates: make([]*x509.Certificate, 1), VerifiedChains: make([][]*x509.Certificate, 1)},
					Fields: fields("cookie", "a=b", "authorization", "Basic x", "sec-websocket-protocol", "bearer.x", "user-agent", "Mozilla/5.0"),
				}
				status := 200
				if carrier == "h1" {
					head.Method, head.Protocol, status = "GET", "", 101
					head.Fields = append(head.Fields, fields("connection", "keep-alive, Upgrade", "upgrade", "websocket")...)
				}
				for _, o := range c.origin {
					head.Fields = append(head.Fields, exchange.Field{Name: "origin", Value: o})
				}
				s := exchangetest.NewServer(exchangetest.Script{Begin: func(q *exchangetest.Request) {
					q.Answer(status, fields("sec-websocket-accept", "x", "access-control-allow-origin", "https://evil.example")...)
					q.Finish()
				}})
				h, err := New(Config{Origins: c.allowed}, s)
				if err != nil {
					t.Fatal(err)
				}
				r := exchangetest.NewResponse()
				r.Upgrades = true
				q := h.Start(head, r)
				q.Begin()
				a := r.Final(t)
				q.Done(true)
				if !c.passes {
					if a.Status != 403 || len(s.Requests) > 0 || !strings.Contains(string(a.Body), "--cors-origin") {
						t.Errorf("%+v", a)
					}
					return
				}
				if a.Status != status || a.Get("sec-websocket-accept") != "x" {
					t.Fatalf("%+v", a)
				}
				if page := c.origin != nil; page || carrier == "h1" {
					for _, f := range a.Fields {
						if f.Name != "sec-websocket-accept" {
							t.Errorf("the answer has %v", f)
						}
					}
				}
				seen := s.Next(t).Seen().Head
				got := seen.Fields
				if (exchange.Get(got, "cookie") != "") != c.credentials || (exchange.Get(got, "authorization") != "") != c.credentials ||
					(seen.TLS.PeerCertificates != nil) != c.credentials || (seen.TLS.VerifiedChains != nil) != c.credentials {
					t.Errorf("the protocol sees %v", got)
				}
				if exchange.Get(got, "sec-websocket-protocol") == "" || seen.TLS.Version == 0 || exchange.Get(got, "user-agent") == "" ||
					!seen.Handshake() || exchange.Get(got, "origin") != "" {
					t.Errorf("the protocol sees %v", got)
				}
				if exchange.Get(head.Fields, "cookie") == "" || head.TLS.PeerCertificates == nil {
					t.Error("the carrier's head was changed")
				}
				r.Check(t)
			})
		}
	}
}

// TestSiblings are pages that the gateway has served on another of its listeners.
func TestSiblings(t *testing.T) {
	listens := func(scheme, port string) bool {
		return scheme == "http" && port == "8080" || scheme == "https" && (port == "8443" || port == "443")
	}
	for _, c := range []struct {
		scheme, host, origin string
		passes               bool
	}{
		{"http", "gw.example:8080", "https://gw.example:8443", true},
		{"https", "gw.example:8443", "https://gw.example", true},
		{"https", "gw.example", "https://GW.example:8443", true},
		{"https", "gw.example:8443", "http://gw.example:8080", false}, // anybody may have written that page
		{"https", "localhost:8443", "http://localhost:8080", true},
		{"https", "127.0.0.1:8443", "http://127.0.0.1:8080", true},
		{"https", "[::1]:8443", "http://[::1]:8080", true},
		{"https", "127.0.0.1:8443", "http://localhost:8080", true}, // the machine itself
		{"https", "localhost:8443", "http://[::1]:8080", true},
		{"https", "[::1]:8443", "http://shop.localhost:8080", true},
		{"https", "127.0.0.1:8443", "http://localhost:9090", false},
		{"https", "127.0.0.1:8443", "http://localhost.example:8080", false},
		{"https", "127.0.0.1:8443", "https://gw.example:8443", false},
		{"https", "gw.example:8443", "https://localhost:8443", false},
		{"http", "gw.example:8080", "https://gw.example:9443", false},
		{"http", "gw.example:8080", "http://gw.example:8443", false}, // there is TLS on that port
		{"http", "gw.example:8080", "https://evil.example:8443", false},
		{"http", "gw.example:8080", "https://gw.example.evil:8443", false},
		{"http", "gw.example:8080", "null", false},
	} {
		for _, upgrade := range []bool{false, true} {
			head := &exchange.RequestHead{Method: "POST", Scheme: c.scheme, Authority: c.host, Path: "/", Fields: fields("origin", c.origin, "cookie", "a=b")}
			if upgrade {
				head.Method, head.Protocol = "CONNECT", "websocket"
			}
			s := backend()
			h, err := New(Config{Listens: listens}, s)
			if err != nil {
				t.Fatal(err)
			}
			r := exchangetest.NewResponse()
			q := h.Start(head, r)
			q.Begin()
			a := r.Final(t)
			q.Done(true)
			if got := a.Status == 200; got != c.passes {
				t.Errorf("%+v: status %d", c, a.Status)
			}
			if c.passes && !upgrade && (a.Get("access-control-allow-credentials") != "true" || exchange.Get(s.Next(t).Seen().Head.Fields, "cookie") == "") {
				t.Errorf("%+v: without credentials: %v", c, a.Fields)
			}
		}
	}
}
