package websocket

import (
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	wire "github.com/sluice-rpc/sluice/internal/wire/websocket"
	"github.com/sluice-rpc/sluice/rpc"
)

// rawPlaces has the two places of raw bytes: a method's, and an application's own.
func rawPlaces(t *testing.T, f func(t *testing.T, d *dialer, carrier, path string)) {
	for _, place := range []string{path + "/raw/demo.v1.Demo/EchoBytes", path} {
		bubble(t, place, exchangetest.Script{}, func(t *testing.T, d *dialer, carrier string) {
			d.o.Plain = place == path
			d.o.Raw = func(method string) (exchange.Handler, int, string) {
				if method != "/demo.v1.Demo/EchoBytes" {
					return nil, 404, "no such method"
				}
				return d.other, 0, ""
			}
			f(t, d, carrier, place)
		})
	}
}

// TestRaw: text says what was taken and that a direction has ended, however it is cut.
func TestRaw(t *testing.T) {
	rawPlaces(t, func(t *testing.T, d *dialer, carrier, place string) {
		d.dial(carrier, place, "other, sluice.raw, bearer.abc", "cookie", "a=b")
		if a := d.client.Answer(); a.Get("sec-websocket-protocol") != "sluice.raw" {
			t.Errorf("the handshake was answered with %v", a.Fields)
		}
		q := d.other.Next(t)
		if h := q.Seen().Head; place != path && (h.Path != "/demo.v1.Demo/EchoBytes" || h.Protocol != "" || len(h.Fields) != 2) {
			t.Errorf("head %+v", h)
		}
		d.binary("ab", "c")
		q.Send([]byte("0123456789"))
		d.want("0123456789")
		if n := q.Seen().Credit; n != 0 {
			t.Errorf("credit of %d for what nobody has taken", n)
		}
		d.text("4")
		d.enc.Begin(wire.Text, false)
		d.feed(d.enc.Data(nil, []byte("0")))
		d.feed(d.enc.Data(nil, []byte("6")))
		d.feed(d.enc.End(nil))
		if n := q.Seen().Credit; n != 10 {
			t.Errorf("credit of %d", n)
		}
		large := strings.Repeat("x", 30_000)
		d.binary(large, large)
		told := 0
		for _, text := range d.got() {
			n, err := strconv.Atoi(text)
			if told += n; err != nil || n < toldBytes {
				t.Errorf("the client is told %q", text)
			}
		}
		if told > 60_003 || told <= 60_003-toldBytes {
			t.Errorf("the client is told of %d bytes", told)
		}
		d.text("end")
		s := q.Seen()
		if string(s.Body) != "abc"+large+large || !s.Ended {
			t.Errorf("got %d bytes, ended %v", len(s.Body), s.Ended)
		}
		q.Send([]byte("more"))
		q.Finish()
		d.want("more", "close 1000")
		d.bye(1000)
		d.finish()
		q.WaitDone(t)
		q.Check(t)
	})
}

// TestRawEnds is what both sides see of ends that are none of a good stream.
func TestRawEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		do    func(d *dialer, q *exchangetest.Request)
		frame string
	}{
		"a word":          {func(d *dialer, _ *exchangetest.Request) { d.text("hello") }, "close 1003 text messages are a number of bytes, or end"},
		"nothing":         {func(d *dialer, _ *exchangetest.Request) { d.text("") }, "close 1003 text messages are a number of bytes, or end"},
		"zero":            {func(d *dialer, _ *exchangetest.Request) { d.text("0") }, "close 1003 text messages are a number of bytes, or end"},
		"a long number":   {func(d *dialer, _ *exchangetest.Request) { d.text("00000000001") }, "close 1003 text messages are a number of bytes, or end"},
		"a large number":  {func(d *dialer, _ *exchangetest.Request) { d.text("9999999999") }, "close 1003 text messages are a number of bytes, or end"},
		"more than sent":  {func(d *dialer, q *exchangetest.Request) { q.Send([]byte("ab")); d.text("3") }, "close 1002 more bytes were taken than sent"},
		"bytes after end": {func(d *dialer, _ *exchangetest.Request) { d.text("end"); d.binary("x") }, "close 1002 bytes after the end of their direction"},
		"end after end":   {func(d *dialer, _ *exchangetest.Request) { d.text("end"); d.text("end") }, "close 1002 bytes after the end of their direction"},
		"a status": {func(_ *dialer, q *exchangetest.Request) {
			q.Break(exchange.InternalError, rpc.Errorf(rpc.NotFound, "no such room"))
		}, "close 4005 no such room"},
		"another failure":   {func(_ *dialer, q *exchangetest.Request) { q.Break(exchange.InternalError, nil) }, "close 1011"},
		"the client leaves": {func(d *dialer, _ *exchangetest.Request) { d.bye(1000) }, "close 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			rawPlaces(t, func(t *testing.T, d *dialer, carrier, place string) {
				d.dial(carrier, place, "sluice.raw")
				q := d.other.Next(t)
				tc.do(d, q)
				got := d.got()
				if len(got) == 0 || got[len(got)-1] != tc.frame {
					t.Errorf("frames %q, want %q", got, tc.frame)
				}
				d.bye(1000)
				d.finish()
				q.WaitDone(t)
				q.Check(t)
			})
		})
	}
}

// TestRawWindow: a client whose bytes nobody takes is still heard, and has a window.
func TestRawWindow(t *testing.T) {
	bubble(t, "", exchangetest.Script{NoCredit: true}, func(t *testing.T, d *dialer, carrier string) {
		d.o.Plain = true
		d.dial(carrier, path, "sluice.raw")
		q := d.other.Next(t)
		d.binary(strings.Repeat("x", 65536))
		q.Send([]byte("0123456789"))
		d.text("10")
		if n := q.Seen().Credit; n != 10 {
			t.Errorf("credit of %d", n)
		}
		d.want("0123456789")
		q.Take(8191)
		d.want()
		q.Take(1)
		d.want("8192")
		d.binary(strings.Repeat("x", 8192))
		d.want()
		d.binary("x")
		d.want("close 1002 more bytes than the window")
		d.bye(1002)
		d.finish()
		q.WaitDone(t)
	})
}

// TestRawRefused: a handshake for what is not there.
func TestRawRefused(t *testing.T) {
	d := newDialer(t, exchangetest.Script{})
	if New(d.o).Match(handshake("h1", path+"/raw/a.B/C", "sluice.raw")) {
		t.Error("raw bytes are taken where there are none")
	}
	d.o.Raw = func(string) (exchange.Handler, int, string) { return nil, 501, "not of bytes" }
	for protocols, status := range map[string]int{"sluice.raw": 501, "sluice.v1": 400, "": 400} {
		s := New(d.o)
		head := handshake("h1", path+"/raw/a.B/C", protocols)
		if !s.Match(head) {
			t.Fatal("not taken")
		}
		client := exchangetest.NewResponse()
		s.Start(head, client).Begin()
		if a := client.Answer(); a.Status != status {
			t.Errorf("%q was answered with %d, want %d", protocols, a.Status, status)
		}
	}
}
