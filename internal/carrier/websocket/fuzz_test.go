package websocket

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	wire "github.com/sluice-rpc/sluice/internal/wire/websocket"
)

// FuzzSocket gives a socket whatever a client may send, as messages or as bytes of
// frames, at once and cut anywhere: both sides see the same, and the contract holds.
func FuzzSocket(f *testing.F) {
	for i, s := range []string{"abc|d|", block + "|\x00" + message + "|\x01", "a:b|\x02", "a b",
		id(1, "grpc-websockets-path: a.B/C\r\n") + "|" + id(1, "\x00abc") + "|" + id(1|last, "\x01") + "|" + id(2, "x: y"),
		block + "|\x01|\x01|\x00a", id(1, "grpc-websockets-path: a.B/C\r\n") + "|" + id(1|last, "\x00a") + "|" + id(1|last, "\x01") + "|" + id(1, "\x00a"),
		id(1, "") + "|ab",
	} {
		f.Add(uint8(i), []byte(s), uint8(1), false)
		f.Add(uint8(i+1), []byte(s), uint8(7), false)
	}
	var e wire.Encoder
	e.Client = true
	f.Add(uint8(0), e.Close(e.Ping(e.Message(nil, wire.Binary, []byte("abc")), []byte("x")), 1000, ""), uint8(3), true)
	f.Add(uint8(3), e.Message(e.Message(e.Message(nil, wire.Binary, []byte("abc")), wire.Text, []byte("end")), wire.Text, []byte("12")), uint8(1), true)
	f.Add(uint8(1), e.Message(e.Message(nil, wire.Binary, []byte("a: b")), wire.Text, []byte("x")), uint8(2), true)
	f.Fuzz(func(t *testing.T, kind uint8, data []byte, piece uint8, raw bool) {
		var input []byte
		if raw {
			input = data
		} else {
			var e wire.Encoder
			e.Client = true
			for m := range bytes.SplitSeq(data, []byte("|")) {
				input = e.Message(input, wire.Binary, m)
			}
		}
		whole, cut := converse(t, kind, input, len(input)), converse(t, kind, input, int(piece)+1)
		if whole != cut {
			t.Errorf("at once:\n%s\ncut:\n%s", whole, cut)
		}
	})
}

// converse feeds a socket in pieces, and writes down what both sides have seen.
func converse(t *testing.T, kind uint8, input []byte, piece int) (said string) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialer(t, exchangetest.Script{})
		d.split = max(1, piece)
		switch kind % 4 {
		case 0:
			d.dial("h2", path, Pipe)
		case 1:
			d.dial("h2", "/a.B/C", Calls)
		case 2:
			d.dial("h2", "/a.B/C", Multiplexed)
		case 3:
			d.o.Plain = true
			d.dial("h2", path, Raw)
		}
		d.feed(bytes.Clone(input))
		d.q.End(nil)
		d.q.Done(d.client.Final(t).Ended)
		d.client.Check(t)
		var b strings.Builder
		for len(d.other.Requests) > 0 {
			q := d.other.Next(t)
			q.Check(t)
			s := q.Seen()
			if !s.Done {
				t.Error("no Done")
			}
			fmt.Fprintf(&b, "%s %v: %q, ended %v, reset %v\n", s.Head.Path, s.Head.Fields, s.Body, s.Ended, s.Code)
		}
		a := d.client.Answer()
		if !raw(a.Body) {
			fmt.Fprintf(&b, "%q %v\n", a.Body, d.hits)
		}
		said = b.String()
	})
	return said
}

// raw says whether an answer has pongs: how many there are depends on when they come.
func raw(b []byte) bool { return bytes.Contains(b, []byte{0x8a}) }
