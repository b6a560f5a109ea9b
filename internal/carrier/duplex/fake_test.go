package duplex

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
)

// world is a Server between fakes: requests of a test, and a pipe by script.
type world struct {
	t     testing.TB
	s     *Server
	pipes *exchangetest.Server
	hits  []string
	kept  int  // bytes of memory that are taken
	full  bool // there is no more
}

const (
	endpoint = "/sluice/v1"
	id1      = "00112233445566778899aabbccddeeff"
	id2      = "ffeeddccbbaa99887766554433221100"
)

func newWorld(t testing.TB, script exchangetest.Script, change ...func(*Options)) *world {
	w := &world{t: t, pipes: exchangetest.NewServer(script)}
	o := Options{
		Path: endpoint, Pipes: w.pipes, MaxSessions: 100, MaxPerClient: 10, MaxUploads: 4, MaxAhead: 1000, MaxMessage: 1 << 20,
		Poll: 20 * time.Second, PollGap: 30 * time.Second,
		Metadata: func(name string) bool { return name == "authorization" },
		LimitHit: func(limit string) { w.hits = append(w.hits, limit) },
		Reserve: func(n int) bool {
			if n > 0 && w.full {
				return false
			}
			w.kept += n
			return true
		},
	}
	for _, f := range change {
		f(&o)
	}
	w.s = New(o)
	return w
}

// echo sends everything back, after a greeting.
func echo() exchangetest.Script {
	return exchangetest.Script{
		Begin: func(q *exchangetest.Request) { q.Send([]byte("hello ")) },
		Data:  func(q *exchangetest.Request, b []byte) { q.Send(b) },
		End:   func(q *exchangetest.Request) { q.Finish() },
	}
}

// asked is a request of the test.
type asked struct {
	exchange.Request
	r *exchangetest.Response
	t testing.TB
}

// Answer is what has come.
func (a *asked) Answer() *exchangetest.Answer {
	got := a.r.Answer()
	return &got
}

func fields(pairs ...string) (f []exchange.Field) {
	for i := 0; i < len(pairs); i += 2 {
		f = append(f, exchange.Field{Name: pairs[i], Value: pairs[i+1]})
	}
	return f
}

var here = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}

func head(method string, pairs ...string) *exchange.RequestHead {
	return &exchange.RequestHead{
		Method: method, Scheme: "https", Authority: "gw.example", Path: endpoint, Fields: fields(pairs...), Length: -1, Addr: here, Carrier: "h2",
	}
}

func (w *world) start(h *exchange.RequestHead) *asked {
	w.t.Helper()
	r := exchangetest.NewResponse()
	q := w.s.Start(h, r)
	q.Begin()
	return &asked{q, r, w.t}
}

// ask makes a request and leaves it open.
func (w *world) ask(method string, pairs ...string) *asked {
	w.t.Helper()
	return w.start(head(method, pairs...))
}

// post is a whole upload, of which the answer is not waited for.
func (w *world) post(id string, offset int, body string, more ...string) *asked {
	w.t.Helper()
	a := w.ask("POST", append([]string{"sluice-session", id, "sluice-offset", fmt.Sprint(offset)}, more...)...)
	if body != "" {
		a.Data([]byte(body))
	}
	a.End(nil)
	return a
}

// open opens a streaming session.
func (w *world) open(id string, more ...string) *asked {
	w.t.Helper()
	a := w.ask("GET", append([]string{"sluice-session", id, "sluice-offset", "0"}, more...)...)
	a.End(nil)
	return a
}

// poll asks for a batch.
func (w *world) poll(id string, offset int) *asked {
	w.t.Helper()
	a := w.ask("GET", "sluice-session", id, "sluice-offset", fmt.Sprint(offset), "sluice-poll", "1")
	a.End(nil)
	return a
}

// want checks a whole answer, and ends its request.
func (a *asked) want(status int, text string) {
	a.t.Helper()
	got := a.Answer()
	if !got.Ended || got.Status != status || string(got.Body) != text {
		a.t.Errorf("got %d %q, ended %v, broken %v; want %d %q", got.Status, got.Body, got.Ended, got.Broken, status, text)
	}
	a.done()
}

// status checks the status of a whole answer, and ends its request.
func (a *asked) status(status int) {
	a.t.Helper()
	got := a.Answer()
	if !got.Ended || got.Status != status {
		a.t.Errorf("got %d %q, ended %v, broken %v; want %d", got.Status, got.Body, got.Ended, got.Broken, status)
	}
	a.done()
}

// running checks that there is no answer yet.
func (a *asked) running() {
	a.t.Helper()
	if got := a.Answer(); got.Final() || got.Status != 0 {
		a.t.Errorf("answered: %d %q", got.Status, got.Body)
	}
}

func (a *asked) done() {
	a.t.Helper()
	got := a.Answer()
	if got.Final() {
		a.Done(got.Ended)
	}
	a.r.Check(a.t)
}

// body checks what has come of a download.
func (a *asked) body(want string) {
	a.t.Helper()
	if got := string(a.Answer().Body); got != want {
		a.t.Errorf("got %.200q, want %.200q", got, want)
	}
}

// got checks what the pipe has.
func (w *world) got(q *exchangetest.Request, want string) {
	w.t.Helper()
	if b := string(q.Seen().Body); b != want {
		w.t.Errorf("the pipe got %.200q, want %.200q", b, want)
	}
}

// empty checks that nothing is left.
func (w *world) empty() {
	w.t.Helper()
	if n := w.s.Len(); n > 0 || len(w.s.clients) > 0 || w.kept != 0 {
		w.t.Errorf("%d sessions, of %d clients, and %d bytes are left", n, len(w.s.clients), w.kept)
	}
}
