package rest

import (
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/rpc"
)

// TestAssembledAhead: messages are assembled ahead only of a side that takes what is
// whole; else a window of last bytes would be many messages.
func TestAssembledAhead(t *testing.T) {
	id := strings.Repeat("x", 500)
	t.Run("response", func(t *testing.T) {
		r := newTrial(t)
		r.slow = true
		r.start("GET", "/v1/items/7:watch", "-")
		r.head()
		m := wire(t, "test.v1.Response", `{"id":"`+id+`"}`)
		m = append(envelope.Append(nil, 0, len(m)), m...)
		for range 3 {
			r.raw(m[:len(m)-1])
			r.raw(m[len(m)-1:])
		}
		if r.credit != len(m)-1 {
			t.Errorf("%d bytes were credited to the backend, want %d", r.credit, len(m)-1)
		}
		r.backend.end(rpc.Status{}, nil)
		r.finish()
	})
	t.Run("request", func(t *testing.T) {
		r := newTrial(t)
		r.backend.noCredit = true
		r.start("POST", "/v1/upload", "content-type: application/x-ndjson")
		line := `{"id":"` + id + `"}` + "\n"
		for range 3 {
			r.give(line[:len(line)-5])
			r.give(line[len(line)-5:])
		}
		if got := r.client.Answer().Credit; got != len(line)-5 {
			t.Errorf("%d bytes were credited to the client, want %d", got, len(line)-5)
		}
		r.response.Credit(len(r.body))
		if got := r.client.Answer().Credit; got != 3*len(line) {
			t.Errorf("%d bytes were credited to the client, want %d", got, 3*len(line))
		}
		if r.call.Ahead < r.o.MaxMessage { // a call that is held takes them too
			t.Errorf("only %d bytes may come ahead", r.call.Ahead)
		}
		r.onEnd = func(b *backend) {
			b.head()
			b.send("test.v1.Response", `{}`)
			b.end(rpc.Status{}, nil)
		}
		r.close().finish()
	})
}
