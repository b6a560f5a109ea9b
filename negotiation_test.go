package sluice

import (
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/schema"
	"github.com/sluice-rpc/sluice/internal/schema/schematest"
	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/proto"
)

// rowsSchema is the schema of the rows of docs/protocols/negotiation.md.
func rowsSchema(t *testing.T) *schema.Schema {
	t.Helper()
	files, err := schematest.Files("internal/protocol/rest/testdata", "rest.proto")
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(schematest.Set(files...))
	if err != nil {
		t.Fatal(err)
	}
	s, err := schema.FromDescriptorSets(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestNegotiation runs the rows of docs/protocols/negotiation.md: who takes the request,
// and in which shape an error comes back. What REST does with its own, package rest
// tests.
func TestNegotiation(t *testing.T) {
	store := schema.NewStore(0, nil)
	store.Set(schema.Given, rowsSchema(t))
	g := &Gateway{cfg: Config{Limits: defaultLimits, Duplex: Duplex{Path: defaultDuplexPath}, HTTP3: &edgeOnly{}}, schemas: &schemas{store: store}}
	started := false
	next := rpc.HandlerFunc(func(_ *rpc.Call, response rpc.Response) rpc.Request {
		started = true
		return &ended{response: response}
	})
	methods, err := newRESTTable(g)
	if err != nil {
		t.Fatal(err)
	}
	protocols := g.ride(newTable(next, &g.cfg, g.schemas.lookup, func(int) bool { return true }, methods))
	for _, row := range exchangetest.Rows(t, "docs/protocols/negotiation.md") {
		t.Run(row.String(), func(t *testing.T) {
			want, _, _ := strings.Cut(row.Protocol, "/")
			if want[0] >= '0' && want[0] <= '9' {
				want = "rest" // which refuses what nobody takes
			}
			head := row.Head()
			i := 0
			for i < len(protocols)-1 && !protocols[i].match(head) {
				i++
			}
			if got := protocols[i].name; got != want {
				t.Fatalf("%s takes it, want %s", got, want)
			}
			switch want {
			case "rest", "websocket", "duplex", "discovery", "tickets": // no calls
				return
			}
			started = false
			r := exchangetest.NewResponse()
			q := protocols.Start(head, r)
			q.Begin()
			q.End(nil)
			a := r.Final(t)
			q.Done(true)
			r.Check(t)
			if started == strings.Contains(row.Path, "encoding=x") { // no codec
				t.Errorf("started is %v", started)
			}
			if got := errorShape(&a); started && got != row.Errors {
				t.Errorf("an error is %s (%d %v %q), want %s", got, a.Status, a.Fields, a.Body, row.Errors)
			}
		})
	}
}

// errorShape says how an answer tells that a call was aborted.
func errorShape(a *exchangetest.Answer) string {
	grpcStatus, ct := exchange.Get(a.Fields, "grpc-status"), exchange.Get(a.Fields, "content-type")
	switch {
	case grpcStatus == "10" && strings.HasPrefix(ct, "application/grpc-web"):
		return "web"
	case grpcStatus == "10" && strings.HasPrefix(ct, "application/grpc"):
		return "grpc"
	case a.Status == 409 && string(a.Body) == `{"code":"aborted"}`:
		return "connect"
	case a.Status == 200 && strings.HasPrefix(ct, "application/connect+") && strings.HasSuffix(string(a.Body), `{"error":{"code":"aborted"}}`):
		return "connect"
	}
	return "none"
}
