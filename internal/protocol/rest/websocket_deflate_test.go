package rest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-rpc/sluice/internal/wire/websocket"
)

const compressing = "sec-websocket-extensions: permessage-deflate"

// TestSocketCompression: what was agreed to in the handshake is used both ways.
func TestSocketCompression(t *testing.T) {
	agreed := &websocket.DeflateParams{ServerNoContextTakeover: true, ClientNoContextTakeover: true}
	long := strings.Repeat("ab", 400)
	each(t, "both ways", func(t *testing.T, carrier string) {
		for _, split := range []int{0, 1} {
			d := newDialer(t)
			d.split, d.o.Compression = split, true
			d.dial(carrier, "/v1/chat", compressing)
			a := d.client.Answer()
			if got := a.Get("sec-websocket-extensions"); !strings.HasPrefix(got, "permessage-deflate") ||
				!strings.Contains(got, "server_no_context_takeover") || !strings.Contains(got, "client_no_context_takeover") {
				t.Fatalf("agreed to %q", got)
			}
			d.enc.Deflate = agreed
			before := d.gave
			d.text(`{"id":"` + long + `"}`).sent(`{"id":"` + long + `"}`)
			if d.gave-before > 100 {
				t.Errorf("%d bytes were sent", d.gave-before)
			}
			d.send(out, `{"id":"`+long+`"}`)
			if n := len(d.client.Answer().Body); n > 100 {
				t.Errorf("%d bytes came", n)
			}
			d.backend.end(ok, nil)
			d.bye(1000)
			r := reader{}
			dec := websocket.Decoder{Client: true, Whole: true, MaxMessage: 1 << 20, MaxRatio: 1000, Deflate: agreed}
			if err := dec.Feed(d.client.Answer().Body, &r); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff([]string{`text {"id":"` + long + `"}`, "close 1000"}, r.frames); diff != "" {
				t.Error(diff)
			}
			d.finish()
		}
	})
	t.Run("bomb", func(t *testing.T) {
		for limit, want := range map[int]string{1000: "close 1009 ", 8 << 20: "close 1008 "} {
			d := newDialer(t)
			d.o.MaxMessage, d.o.Compression = limit, true
			d.dial("h2", "/v1/chat", compressing)
			d.enc.Deflate = agreed
			d.text(`{"id":"` + strings.Repeat("x", 4<<20) + `"}`)
			if got := d.got(); len(got) != 1 || !strings.HasPrefix(got[0], want) || len(d.messages(in)) > 0 {
				t.Errorf("with a limit of %d: %q, want %s", limit, got, want)
			}
			d.bye(1000)
			d.finish()
		}
	})
	t.Run("corrupt", func(t *testing.T) {
		d := newDialer(t)
		d.o.Compression = true
		d.dial("h1", "/v1/chat", compressing)
		d.feed([]byte{0xc1, 0x83, 0, 0, 0, 0, 0xff, 0xff, 0xff})
		if got := d.got(); len(got) != 1 || !strings.HasPrefix(got[0], "close 1007 ") {
			t.Errorf("%q", got)
		}
		d.bye(1007)
		d.finish()
	})
	t.Run("off", func(t *testing.T) {
		d := newDialer(t)
		d.dial("h1", "/v1/chat", compressing)
		if a := d.client.Answer(); a.Get("sec-websocket-extensions") != "" {
			t.Errorf("agreed to %q", a.Get("sec-websocket-extensions"))
		}
		d.bye(1000)
		d.finish()
	})
}

// TestSocketSlowReader: the backend is as fast as its client.
func TestSocketSlowReader(t *testing.T) {
	d := newDialer(t)
	d.slow = true
	d.dial("h2", watch, plain)
	for range 10 {
		d.send(out, `{"id":"a"}`)
	}
	if d.credit != 0 {
		t.Errorf("credit of %d before the client took anything", d.credit)
	}
	all := len(d.client.Answer().Body)
	d.q.Credit(all / 2)
	if d.credit == 0 || d.credit >= d.backend.sent {
		t.Errorf("credit of %d of %d for half of it", d.credit, d.backend.sent)
	}
	d.q.Credit(all - all/2)
	d.slow = false
	d.backend.end(ok, nil)
	d.bye(1000)
	d.finish()
}
