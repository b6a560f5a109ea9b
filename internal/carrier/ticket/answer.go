package ticket

import (
	"fmt"
	"strconv"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// Start implements [exchange.Handler].
func (s *Server) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	a := &answer{response: response, status: 200}
	if head.Method != "POST" {
		a.refuse(&Refusal{405, "ask by POST for a ticket"})
		a.fields = append(a.fields, exchange.Field{Name: "allow", Value: "POST"})
		if head.Method == "HEAD" {
			a.body = "" // RFC 9110, section 9.3.2
		}
		return a
	}
	t := s.ticketFor(head)
	if len(t.fields) == 0 {
		a.status = 204 // no error: a page does not know whether it has cookies
		return a
	}
	secret, refused := s.issue(head, t)
	if refused != nil {
		a.refuse(refused)
		return a
	}
	seconds := max(1, int(s.o.Life/time.Second))
	a.fields = append(a.fields, exchange.Field{Name: "content-type", Value: "application/json"})
	a.body = fmt.Sprintf("{\"ticket\": \"%s\", \"expires\": %d}\n", secret, seconds)
	return a
}

// answer is a response that is known from the start. Whatever the request has for content means
// nothing.
type answer struct {
	response exchange.Response
	status   int
	fields   []exchange.Field
	body     string
}

func (a *answer) refuse(r *Refusal) {
	a.status, a.body = r.Status, r.Text+"\n"
	a.fields = append(a.fields, exchange.Field{Name: "content-type", Value: "text/plain; charset=utf-8"})
	switch r.Status {
	case 401:
		a.fields = append(a.fields, exchange.Field{Name: "www-authenticate", Value: "Bearer"}) // RFC 9110, section 15.5.2
	case 429, 503:
		a.fields = append(a.fields, exchange.Field{Name: "retry-after", Value: "1"})
	}
}

func (a *answer) Begin() {
	if a.status != 204 { // RFC 9110, section 8.6
		a.fields = append(a.fields, exchange.Field{Name: "content-length", Value: strconv.Itoa(len(a.body))})
	}
	a.fields = append(a.fields, exchange.Field{Name: "cache-control", Value: "no-store"}, exchange.Field{Name: "x-content-type-options", Value: "nosniff"})
	if a.response.Head(&exchange.ResponseHead{Status: a.status, Fields: a.fields}, a.body == ""); a.body == "" {
		return
	}
	a.response.Data([]byte(a.body))
	a.response.End(nil)
}

func (a *answer) Data([]byte)          {} // the response is over: its carrier drops what comes
func (a *answer) End([]exchange.Field) {}
func (a *answer) Reset(exchange.Code)  {}
func (a *answer) Credit(int)           {}
func (a *answer) Done(bool)            {}
