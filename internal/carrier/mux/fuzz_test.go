package mux

import (
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
)

// FuzzLink has a client send anything, cut in two places, which changes nothing of what comes back
// and of how the pipe ends.
func FuzzLink(f *testing.F) {
	call := duplex.MuxForm.Append(nil, duplex.Hello, 0, []byte(block("a", "b")))
	call = duplex.MuxForm.Append(call, duplex.Headers, 1, []byte(block(":path", "/a.B/C", ":call", id)))
	call = duplex.MuxForm.Append(call, duplex.Data, 1, []byte("abc"))
	call = duplex.MuxForm.Append(call, duplex.End, 1, nil)
	call = duplex.MuxForm.AppendCredit(call, 1, duplex.CreditFrame{Taken: 3, Window: 9, Got: duplex.GotEnd})
	f.Add(call, uint(20), uint(30))
	f.Add(duplex.MuxForm.Append(nil, duplex.Resume, 7, []byte(block(":call", id, ":ticket", "x", ":epoch", "2", ":got", "0", ":received", "0"))), uint(1), uint(1))
	f.Add(duplex.MuxForm.Append(duplex.MuxForm.Append(nil, duplex.Headers, 1, []byte(block(":path", "/a.B/C"))), duplex.Cancel, 1, nil), uint(5), uint(9))
	f.Fuzz(func(t *testing.T, b []byte, i, j uint) {
		run := func(pieces ...[]byte) (frames, body, end string) {
			c := newClock()
			s := New(Options{Next: exchangetest.NewServer(exchangetest.Script{
				Begin: func(q *exchangetest.Request) { q.Answer(200) },
				End:   func(q *exchangetest.Request) { q.Finish(ok...) },
				Data:  func(q *exchangetest.Request, b []byte) { q.Send(b) },
			}), Now: c.Now, After: c.After, Node: "n1", Key: [32]byte{1}})
			p := dial(t, s)
			for _, b := range pieces {
				if p.ended() == "" {
					p.q.Data(b)
				}
			}
			for n := range uint32(16) {
				body += string(p.received(n)) + "|"
			}
			frames, end = p.got(), p.ended()
			p.q.Reset(exchange.Cancel)
			return frames, body, end
		}
		i %= uint(len(b) + 1)
		j = i + j%uint(len(b)-int(i)+1)
		frames, body, end := run(b)
		frames2, body2, end2 := run(b[:i], b[i:j], b[j:])
		if body != body2 || end != end2 || frames != frames2 {
			t.Errorf("whole: %q, %q, %s\ncut:   %q, %q, %s", frames, body, end, frames2, body2, end2)
		}
	})
}

// FuzzTicket opens what nobody has sealed, and what was changed.
func FuzzTicket(f *testing.F) {
	s := newSealer([32]byte{1})
	sealed := s.seal(ticket{instance: [8]byte{2}, session: sessionID{3}, node: "n1"})
	f.Add(sealed)
	f.Add("")
	f.Add(sealed[:40])
	f.Fuzz(func(t *testing.T, text string) {
		if got, ok := s.open(text); ok && (got.node != "n1" || got.session != sessionID{3}) {
			t.Errorf("%q is taken for %+v", text, got)
		}
		s.foreign(text, [8]byte{2})
	})
}
