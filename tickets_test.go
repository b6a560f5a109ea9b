package sluice

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// edgeOnly is an HTTP3 that serves nothing, and shows what it was given.
type edgeOnly struct{ HTTP3Edge }

func (e *edgeOnly) Start(edge HTTP3Edge) (HTTP3Server, error) { e.HTTP3Edge = edge; return e, nil }
func (e *edgeOnly) Serve(c net.PacketConn, _ *tls.Config) error {
	return errors.Join(c.Close(), errors.New("serves nothing"))
}
func (e *edgeOnly) AltSvc(net.Addr) string { return "" }
func (e *edgeOnly) Drain()                 {}
func (e *edgeOnly) Close()                 {}

func TestTickets(t *testing.T) {
	const page, other = "https://app.example.com", "https://other.example.com"
	e := &edgeOnly{}
	g, err := New(Config{
		Backends: []Backend{{Handler: http.NotFoundHandler()}}, CORSOrigins: []string{page, other}, HTTP3: e,
		Authenticate: func(c *rpc.Call) (string, error) {
			switch c.Metadata.Get("authorization") {
			case "Bearer good":
				return "me", nil
			case "Bearer known":
				return "", rpc.Status{Code: rpc.PermissionDenied, Message: "not you"}
			}
			return "", errors.New("who is it?")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	post := func(origin, authorization string) (int, string) {
		r := httptest.NewRequest("POST", "https://gw.example.com/sluice/v1/ticket", nil)
		r.Header.Set("Origin", origin)
		r.Header.Set("Authorization", authorization)
		r.Header.Set("Cookie", "a=1")
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		var got struct{ Ticket string }
		if w.Code == 200 {
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if got := w.Header().Get("Access-Control-Allow-Origin"); origin == page && got != origin {
				t.Errorf("the page can't read it: %v", w.Header())
			}
		}
		return w.Code, got.Ticket
	}
	connect := func(origin, ticket string) (*exchange.RequestHead, error) {
		return e.Admit(&exchange.RequestHead{Method: "CONNECT", Scheme: "https", Authority: "gw.example.com", Protocol: "webtransport",
			Path: "/sluice/v1?ticket=" + ticket, Fields: []exchange.Field{{Name: "origin", Value: origin}, {Name: "cookie", Value: "b=2"}, {Name: "x", Value: "y"}}})
	}
	for _, c := range []struct {
		origin, authorization string
		want                  int
	}{{page, "Bearer good", 200}, {"https://gw.example.com", "Bearer good", 200}, {"https://evil.example.com", "Bearer good", 403},
		{page, "Bearer known", 403}, {page, "Bearer bad", 401}, {page, "", 401}} {
		if got, _ := post(c.origin, c.authorization); got != c.want {
			t.Errorf("a page of %s with %q: %d, want %d", c.origin, c.authorization, got, c.want)
		}
	}
	_, ticket := post(page, "Bearer good")
	head, err := connect(page, ticket)
	if err != nil {
		t.Fatal(err)
	}
	want := []exchange.Field{{Name: "x", Value: "y"}, {Name: "authorization", Value: "Bearer good"}, {Name: "cookie", Value: "a=1"}}
	if !slices.Equal(head.Fields, want) || head.Path != "/sluice/v1" || !head.Allowed {
		t.Errorf("got %+v", head)
	}
	if _, err := connect(page, ticket); !errors.Is(err, errTicket) {
		t.Errorf("again: %v", err)
	}
	_, ticket = post(page, "Bearer good")
	for _, origin := range []string{other, page} { // to try it elsewhere ends it
		if _, err := connect(origin, ticket); !errors.Is(err, errTicket) {
			t.Errorf("a page of %s: %v", origin, err)
		}
	}
	_, ticket = post(page, "Bearer good")
	if _, err := connect("https://evil.example.com", ticket); err == nil || !strings.Contains(err.Error(), "may not call here") {
		t.Errorf("a foreign page: %v", err)
	}
}

// Where there is no WebTransport nobody needs tickets.
func TestNoTickets(t *testing.T) {
	for name, cfg := range map[string]Config{"no HTTP/3": {}, "no carriers": {HTTP3: &edgeOnly{}, Duplex: Duplex{Path: off}}} {
		cfg.Backends = []Backend{{Handler: http.NotFoundHandler()}}
		g, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/sluice/v1/ticket", "off/ticket", "/off/ticket"} {
			r := httptest.NewRequest("POST", "/", nil)
			r.URL.Path = path
			r.RequestURI = path
			r.Header.Set("Cookie", "a=1")
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			if w.Code == 200 {
				t.Errorf("%s: %s gives a ticket", name, path)
			}
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := New(Config{Backends: []Backend{{Handler: http.NotFoundHandler()}}, Timeouts: Timeouts{Ticket: -1}}); err == nil || !strings.Contains(err.Error(), "have to end") {
		t.Errorf("tickets that don't end: %v", err)
	}
}
