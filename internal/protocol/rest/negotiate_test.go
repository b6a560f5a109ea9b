package rest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// rows reads the table of docs/protocols/negotiation.md.
func rows(t *testing.T) (rows [][]string) {
	t.Helper()
	page, err := os.ReadFile("../../../docs/protocols/negotiation.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\n| verb | path |")
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 5 {
			if len(rows) > 0 {
				break
			}
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if !strings.HasPrefix(cells[0], "-") && cells[0] != "headers" {
			rows = append(rows, cells)
		}
	}
	if len(rows) < 50 {
		t.Fatalf("%d rows only", len(rows))
	}
	return rows
}

func request(verb, path, headers string) *exchange.RequestHead {
	h := &exchange.RequestHead{Method: verb, Path: path, Scheme: "http", Authority: "a.test", Carrier: "h2", Length: -1}
	if headers == "-" {
		return h
	}
	for f := range strings.SplitSeq(headers, "; ") {
		name, value, _ := strings.Cut(f, ": ")
		if name == ":protocol" {
			h.Protocol = value
			continue
		}
		h.Fields = append(h.Fields, exchange.Field{Name: name, Value: value})
	}
	return h
}

// TestNegotiation runs the rows of the document that are REST's. Those of other
// protocols, and who comes first, are tested where the table of protocols is.
func TestNegotiation(t *testing.T) {
	table := testTable(t)
	for _, row := range rows(t) {
		verb, path, headers, want, errors := row[0], row[1], row[2], row[3], row[4]
		if errors != "rest" && errors != "-" || strings.HasPrefix(want, "rest/websocket") {
			continue
		}
		t.Run(verb+" "+path+" "+headers, func(t *testing.T) {
			d := table.decide(request(verb, path, headers))
			got := fmt.Sprint(d.status)
			if d.binding != nil {
				method := d.binding.info.Name
				got = "rest/" + d.mode.String() + " " + method[strings.LastIndexByte(method, '/')+1:]
			}
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}
