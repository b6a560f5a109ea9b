package rest

import (
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// A slowEnd is a backend that does not end a call as soon as it is canceled.
type slowEnd struct{ *backend }

func (s slowEnd) Start(call *rpc.Call, response rpc.Response) rpc.Request {
	s.backend.Start(call, response)
	return s
}

func (s slowEnd) Cancel(cause rpc.Status) { s.cancels = append(s.cancels, cause) }

func (s slowEnd) Data(p []byte) {
	s.rule(len(s.cancels) == 0, "Data after Cancel")
	s.backend.Data(p)
}

func (s slowEnd) End() {
	s.rule(len(s.cancels) == 0, "End after Cancel")
	s.backend.End()
}

// TestSocketCanceled: what a client sends behind a message that is wrong does not reach
// the backend, however long that takes to end the call.
func TestSocketCanceled(t *testing.T) {
	d := newDialer(t)
	head := request("CONNECT", "/v1/chat", "sec-websocket-version: 13")
	head.Protocol = "websocket"
	d.client.OnData = func(n int) { d.q.Credit(n) }
	d.q = NewServer(slowEnd{d.backend}, d.o).Start(head, d.client)
	d.q.Begin()
	d.text("{}", "{", "{}", "")
	if len(d.cancels) != 1 || len(d.messages(in)) != 1 {
		t.Errorf("canceled %v, messages %q", d.cancels, d.messages(in))
	}
	d.end(d.cancels[0], nil)
	d.bye(4003).finish()
}

// TestStreamHead: the answer to HEAD of a stream is not over before its call is.
func TestStreamHead(t *testing.T) {
	r := newTrial(t)
	r.q = NewServer(slowEnd{r.backend}, r.o).Start(request("HEAD", "/v1/items/7:watch", "-"), r.client)
	r.q.Begin()
	r.close()
	r.head()
	if a := r.client.Answer(); len(r.cancels) != 1 || a.Final() {
		t.Fatalf("canceled %v, answer %+v", r.cancels, a)
	}
	r.end(r.cancels[0], nil)
	if a := r.finish(); a.Status != 200 || !a.Ended || len(a.Body) > 0 {
		t.Errorf("%+v", a)
	}
}

// TestSocketHalfCloseBesideReset: a reset that comes beside the first frame leaves no call
// that could be half-closed.
func TestSocketHalfCloseBesideReset(t *testing.T) {
	d := newDialer(t).dial("h2", "/v1/upload", enveloped)
	k := d.q.(*socket)
	if !k.listens() {
		t.Fatal("the call is over")
	}
	d.q.Reset(exchange.Cancel)
	k.begins(true)
	k.halfClose()
	if d.call != nil {
		t.Error("a call was made")
	}
	d.finish()
}
