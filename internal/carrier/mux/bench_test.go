package mux

import (
	"fmt"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/netio"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
)

// nowhere is a carrier that takes everything.
type nowhere struct{ q exchange.Request }

func (n *nowhere) Inform(*exchange.ResponseHead)     {}
func (n *nowhere) Head(*exchange.ResponseHead, bool) {}
func (n *nowhere) Data(b []byte)                     { n.q.Credit(len(b)) }
func (n *nowhere) End([]exchange.Field)              {}
func (n *nowhere) Reset(exchange.Code, error)        {}
func (n *nowhere) Credit(int)                        {}

// echoNow answers on the goroutine that asks.
type echoNow struct{}

func (echoNow) Start(_ *exchange.RequestHead, response exchange.Response) exchange.Request {
	return &echoing{response: response}
}

type echoing struct{ response exchange.Response }

func (e *echoing) Begin() {}
func (e *echoing) Data(b []byte) {
	e.response.Credit(len(b))
	e.response.Data(b)
}
func (e *echoing) End([]exchange.Field) { e.response.End(ok) }
func (e *echoing) Reset(exchange.Code)  { e.response.End(ok) }
func (e *echoing) Credit(int)           {}
func (e *echoing) Done(bool)            {}

func benchServer() (*Server, *netio.Work, *nowhere) {
	work := &netio.Work{}
	s := New(Options{Next: echoNow{}, Work: work, Abuse: 1 << 30})
	p := &nowhere{}
	h := pipeHead
	p.q = s.Start(&h, p)
	p.q.Begin()
	return s, work, p
}

// BenchmarkUnary is calls of 100 B each way, with and without resumption.
func BenchmarkUnary(b *testing.B) {
	for _, resumable := range []bool{false, true} {
		b.Run(fmt.Sprintf("resumable=%v", resumable), func(b *testing.B) {
			_, work, p := benchServer()
			message := make([]byte, 100)
			var out []byte
			b.ReportAllocs()
			for n := uint32(1); b.Loop(); n++ {
				out = out[:0]
				list := block(":path", "/a.B/C", "grpc-timeout", "5S")
				if resumable {
					list = block(":path", "/a.B/C", ":call", fmt.Sprintf("%032x", n), "grpc-timeout", "5S")
				}
				out = duplex.MuxForm.Append(out, duplex.Headers, n, []byte(list))
				out = duplex.MuxForm.Append(out, duplex.Data, n, message)
				out = duplex.MuxForm.Append(out, duplex.End, n, nil)
				work.Enter()
				p.q.Data(out)
				work.Leave()
				if resumable {
					out = duplex.MuxForm.AppendCredit(out[:0], n, duplex.CreditFrame{Taken: 100, Window: duplex.Window, Got: duplex.GotEnd})
					work.Enter()
					p.q.Data(out)
					work.Leave()
				}
			}
		})
	}
}

// BenchmarkMessages is messages of 100 B on one call, both ways.
func BenchmarkMessages(b *testing.B) {
	for _, resumable := range []bool{false, true} {
		b.Run(fmt.Sprintf("resumable=%v", resumable), func(b *testing.B) {
			_, work, p := benchServer()
			list := block(":path", "/a.B/C")
			if resumable {
				list = block(":path", "/a.B/C", ":call", id)
			}
			p.q.Data(duplex.MuxForm.Append(nil, duplex.Headers, 1, []byte(list)))
			frame := duplex.MuxForm.Append(nil, duplex.Data, 1, make([]byte, 100))
			b.ReportAllocs()
			sent := uint64(0)
			for b.Loop() {
				work.Enter()
				p.q.Data(frame)
				if sent += 100; sent%30_000 == 0 {
					p.q.Data(duplex.MuxForm.AppendCredit(nil, 1, duplex.CreditFrame{Taken: sent, Window: duplex.Window, Got: duplex.GotHeaders}))
				}
				work.Leave()
			}
		})
	}
}
