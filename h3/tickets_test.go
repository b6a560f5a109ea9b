package h3_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/h3"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/rpc"
)

// page is who opens sessions as a browser does: with an origin, and no other field.
type page struct {
	*gateway
	t      *testing.T
	origin string
}

// ticket asks for one, over TCP.
func (p page) ticket(authorization string) (status int, ticket string) {
	p.t.Helper()
	r := p.request(p.t, "POST", "/sluice/v1/ticket", "", nil)
	r.Header.Set("Origin", p.origin)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	tr := &http.Transport{TLSClientConfig: p.client.Clone()}
	defer tr.CloseIdleConnections()
	a, err := tr.RoundTrip(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer a.Body.Close()
	var got struct{ Ticket string }
	if err := json.NewDecoder(a.Body).Decode(&got); err != nil && a.StatusCode == 200 {
		p.t.Fatal(err)
	}
	return a.StatusCode, got.Ticket
}

// open opens a session, or says by which status it is refused.
func (p page) open(query string) (*webtransport.Session, int) {
	p.t.Helper()
	tc := p.client.Clone()
	tc.NextProtos = []string{"h3"}
	q, err := quic.DialAddr(p.t.Context(), p.addr, tc, &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = q.CloseWithError(0x100, "") })
	c, err := (&webtransport.Transport{}).NewClientConn(q)
	if err != nil {
		p.t.Fatal(err)
	}
	a, s, err := c.Dial(p.t.Context(), "https://"+p.addr+"/sluice/v1"+query, http.Header{"Origin": {p.origin}})
	if err != nil {
		if a == nil {
			p.t.Fatal(err)
		}
		return nil, a.StatusCode
	}
	return s, 200
}

// call makes one, and returns its status.
func (p page) call(s *webtransport.Session, own ...exchange.Field) string {
	p.t.Helper()
	c := begin(p.t, s, "EmptyCall", own...)
	c.send(p.t, duplex.Data, enveloped(p.t, &testgrpc.Empty{}))
	c.send(p.t, duplex.End, nil)
	c.until(p.t, c.ended)
	_ = c.Close()
	return exchange.Get(c.fields[duplex.End], "grpc-status")
}

// TestTickets opens sessions in the name of the page that has asked for a ticket.
func TestTickets(t *testing.T) {
	const other = "https://other.example.com"
	g := start(t, sluice.Config{
		CORSOrigins: []string{other},
		Authenticate: func(c *rpc.Call) (string, error) {
			if c.Metadata.Get("authorization") != "Bearer good" {
				return "", errors.New("who is it?")
			}
			return "me", nil
		},
	}, h3.Config{})
	p := page{g, t, "https://" + g.addr}
	const unauthenticated = "16"
	if s, _ := p.open(""); p.call(s) != unauthenticated {
		t.Error("a call of nobody")
	}
	for authorization, want := range map[string]int{"": 204, "Bearer bad": 401, "Bearer good": 200} {
		if got, _ := p.ticket(authorization); got != want {
			t.Errorf("a ticket for %q: %d, want %d", authorization, got, want)
		}
	}
	_, ticket := p.ticket("Bearer good")
	s, status := p.open("?ticket=" + ticket)
	if status != 200 {
		t.Fatalf("a good ticket: %d", status)
	}
	if got := p.call(s); got != "0" {
		t.Errorf("a call by a ticket: %s", got)
	}
	if got := p.call(s, exchange.Field{Name: "authorization", Value: "Bearer bad"}); got != unauthenticated {
		t.Errorf("a call that says otherwise itself: %s", got)
	}
	if _, status := p.open("?ticket=" + ticket); status != 403 {
		t.Errorf("again: %d", status)
	}
	_, stolen := p.ticket("Bearer good")
	if _, status := (page{g, t, other}).open("?ticket=" + stolen); status != 403 {
		t.Errorf("a page of another origin, which may call: %d", status)
	}
	if strings.Contains(g.log.String(), ticket) {
		t.Error("the ticket is in the log")
	}
}
