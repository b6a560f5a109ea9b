package jsoncodec

import (
	"testing"

	"github.com/sluice-rpc/sluice/rpc"
)

// BenchmarkCall is a unary call of 100 bytes each way, next to nothing besides the codec.
func BenchmarkCall(b *testing.B) {
	in := env(0, []byte(`{"text":"`+string(make100())+`","n":"7"}`))
	out := env(0, wire(b, string(in[5:])))
	next := &echoed{}
	h := New(next, Options{Messages: messages, MaxMessage: 1 << 20})
	b.ReportAllocs()
	for b.Loop() {
		r := h.Start(&rpc.Call{Method: method, Codec: "json"}, next.client())
		next.request = r
		r.Begin()
		r.Data(in)
		r.End()
		next.response.Head(&rpc.Head{})
		next.response.Data(out)
		next.response.End(rpc.Status{}, nil)
		r.Done(rpc.Outcome{})
	}
}

func make100() []byte {
	b := make([]byte, 80)
	for i := range b {
		b[i] = 'x'
	}
	return b
}

// echoed is a backend that takes everything at once, and a client that does.
type echoed struct {
	response rpc.Response
	request  rpc.Request
}

func (e *echoed) Start(_ *rpc.Call, response rpc.Response) rpc.Request {
	e.response = response
	return e
}
func (e *echoed) Begin()               {}
func (e *echoed) Data(b []byte)        { e.response.Credit(len(b)) }
func (e *echoed) End()                 {}
func (e *echoed) Cancel(rpc.Status)    {}
func (e *echoed) Credit(int)           {}
func (e *echoed) Done(rpc.Outcome)     {}
func (e *echoed) client() rpc.Response { return (*echoedClient)(e) }

type echoedClient echoed

func (e *echoedClient) Head(*rpc.Head)               {}
func (e *echoedClient) Data(b []byte)                { e.request.Credit(len(b)) }
func (e *echoedClient) End(rpc.Status, rpc.Metadata) {}
func (e *echoedClient) Credit(int)                   {}
