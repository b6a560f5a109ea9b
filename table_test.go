package sluice

import (
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/schema"
	"github.com/sluice-rpc/sluice/rpc"
)

// TestTable: what no protocol takes is refused with the status that HTTP has for it,
// and what one takes is not.
func TestTable(t *testing.T) {
	started := 0
	next := rpc.HandlerFunc(func(_ *rpc.Call, response rpc.Response) rpc.Request {
		started++
		return &ended{response: response}
	})
	g := &Gateway{schemas: &schemas{store: schema.NewStore(0, nil)}}
	methods, err := newRESTTable(g)
	if err != nil {
		t.Fatal(err)
	}
	table := newTable(next, &Config{}, nil, func(int) bool { return true }, methods)
	for _, c := range []struct {
		method, path, ct string
		length           int64
		status           int
		words            string
	}{
		{"POST", "/a.S/M", "application/json", 2, 404, "google.api.http"},
		{"POST", "/a.S/M", "application/other", 2, 415, "application/proto"}, // "unknown codec: 415, not 404"
		{"POST", "/a.S/M", "application/connect+xml", -1, 415, ""},
		{"POST", "/a.S/M", "", 0, 404, "google.api.http"},
		{"GET", "/", "", 0, 404, "gRPC"},
		{"GET", "/a.S/M?message=1", "", 0, 404, "gRPC"},
		{"HEAD", "/a.S/M?connect=v1&encoding=proto&message=", "", 0, 404, ""},
		{"PUT", "/a.S/M", "application/proto", 0, 404, "gRPC"},
		{"DELETE", "/a.S/M", "", -1, 404, "gRPC"},
		{"POST", "/a.S/M", "application/proto", 0, 0, ""},
		{"POST", "/a.S/M", "application/connect+proto", -1, 0, ""},
		{"POST", "/a.S/M", "application/connect+json", -1, 0, ""}, // it may wait for a schema
		{"POST", "/a.S/M", "application/grpc", -1, 0, ""},
		{"POST", "/a.S/M", "application/grpc-web-text", -1, 0, ""},
	} {
		for _, end := range []string{"end", "reset", "end, reset"} {
			before := started
			r := exchangetest.NewResponse()
			head := &exchange.RequestHead{Method: c.method, Path: c.path, Length: c.length, Carrier: "h2"}
			if c.ct != "" {
				head.Fields = []exchange.Field{{Name: "content-type", Value: c.ct}}
			}
			q := table.Start(head, r)
			q.Begin()
			if c.length > 0 && end != "reset" {
				q.Data(make([]byte, c.length))
			}
			if strings.HasPrefix(end, "end") {
				q.End(nil)
			}
			if strings.Contains(end, "reset") {
				q.Reset(exchange.Cancel)
			}
			a := r.Answer()
			if !a.Final() {
				t.Fatalf("%s %s, %s: no end", c.method, c.path, end)
			}
			q.Done(true)
			r.Check(t)
			if (started > before) != (c.status == 0) {
				t.Errorf("%s %s %q: started is %v", c.method, c.path, c.ct, started > before)
			}
			if c.status == 0 || !strings.HasPrefix(end, "end") {
				continue
			}
			if a.Status != c.status || !strings.Contains(string(a.Body), c.words) || c.method == "HEAD" && len(a.Body) > 0 {
				t.Errorf("%s %s %q: %d %q", c.method, c.path, c.ct, a.Status, a.Body)
			}
			if (a.Get("allow") != "") != (c.status == 405) || (a.Get("accept-post") != "") != (c.status == 415) {
				t.Errorf("%s %s %q: fields %v", c.method, c.path, c.ct, a.Fields)
			}
			if int64(a.Credit) != max(0, c.length) {
				t.Errorf("%s %s %q: %d bytes were credited of %d", c.method, c.path, c.ct, a.Credit, c.length)
			}
		}
	}
}

// ended is a call that ends as it begins.
type ended struct{ response rpc.Response }

func (e *ended) Begin()            { e.response.End(rpc.Status{Code: rpc.Aborted}, nil) }
func (e *ended) Data(b []byte)     {}
func (e *ended) End()              {}
func (e *ended) Cancel(rpc.Status) {}
func (e *ended) Credit(int)        {}
func (e *ended) Done(rpc.Outcome)  {}
