package exchangetest

import (
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

func TestEcho(t *testing.T) {
	r := NewResponse()
	q := Echo().Start(&exchange.RequestHead{}, r)
	q.Begin()
	q.Data([]byte("there and back"))
	q.Credit(5)
	q.End([]exchange.Field{{Name: "x", Value: "1"}})
	q.Reset(exchange.Cancel)
	q.Done(true)
	a := r.Final(t)
	if a.Status != 200 || string(a.Body) != "there and back" || a.Credit != 5 || !a.Ended || len(a.Trailer) != 1 {
		t.Errorf("got %+v", a)
	}
	r.Check(t)
}

// TestChecks shows that broken rules are seen.
func TestChecks(t *testing.T) {
	s := NewServer(Script{})
	r := NewResponse()
	q := s.Start(&exchange.RequestHead{}, r)
	q.Data([]byte("early"))
	q.Begin()
	q.Done(true)
	r.Data(nil)
	if n := len(s.Next(t).broken); n != 2 {
		t.Errorf("%d broken rules of the request, want 2", n)
	}
	if n := len(r.broken); n != 1 {
		t.Errorf("%d broken rules of the response, want 1", n)
	}
}
