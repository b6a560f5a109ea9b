package exchangetest

import (
	"os"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// A Row of docs/protocols/negotiation.md says who gets a request.
type Row struct {
	Verb, Path, Headers string
	Protocol            string // or the status of the answer
	Errors              string // the shape of errors
}

// Rows reads the page.
func Rows(t testing.TB, page string) (rows []Row) {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(b), "\n| verb | path |")
	_, table, _ = strings.Cut(table, "\n| ---")
	_, table, _ = strings.Cut(table, "\n")
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 5 {
			break
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, Row{cells[0], cells[1], cells[2], cells[3], cells[4]})
	}
	if len(rows) < 50 {
		t.Fatalf("%d rows only", len(rows))
	}
	return rows
}

// String names the row's request.
func (r Row) String() string { return r.Verb + " " + r.Path + " " + r.Headers }

// Head is the row's request.
func (r Row) Head() *exchange.RequestHead {
	h := &exchange.RequestHead{Method: r.Verb, Path: r.Path, Scheme: "http", Authority: "a.test", Carrier: "h2", Length: -1}
	if r.Headers == "-" {
		return h
	}
	for f := range strings.SplitSeq(r.Headers, "; ") {
		name, value, _ := strings.Cut(f, ": ")
		if name == ":protocol" {
			h.Protocol = value
			continue
		}
		h.Fields = append(h.Fields, exchange.Field{Name: name, Value: value})
	}
	return h
}
