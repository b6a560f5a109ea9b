package rest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
)

func request(verb, path, headers string) *exchange.RequestHead {
	return exchangetest.Row{Verb: verb, Path: path, Headers: headers}.Head()
}

// TestNegotiation runs the rows of the document that are REST's. Those of other
// protocols, and who comes first, are tested where the table of protocols is.
func TestNegotiation(t *testing.T) {
	table := testTable(t)
	for _, row := range exchangetest.Rows(t, "../../../docs/protocols/negotiation.md") {
		if row.Errors != "rest" && row.Errors != "-" {
			continue
		}
		t.Run(row.String(), func(t *testing.T) {
			d := table.decide(row.Head())
			got := fmt.Sprint(d.status)
			if d.binding != nil {
				method := d.binding.info.Name
				got = "rest/" + d.mode.String() + " " + method[strings.LastIndexByte(method, '/')+1:]
			}
			if got != row.Protocol {
				t.Errorf("got %s, want %s", got, row.Protocol)
			}
		})
	}
}
