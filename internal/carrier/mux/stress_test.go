package mux

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/netio"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
)

// echoLater is a backend that answers from goroutines of its own.
type echoLater struct{ work *netio.Work }

func (e echoLater) Start(_ *exchange.RequestHead, response exchange.Response) exchange.Request {
	q := &laterRequest{work: e.work, response: response, events: make(chan func(), 1024)}
	return q
}

type laterRequest struct {
	work     *netio.Work
	response exchange.Response
	events   chan func()
	mu       sync.Mutex
	room     int
	waiting  []byte
	ended    bool
	over     bool
}

func (q *laterRequest) Begin() {
	q.room = firstRoom
	go func() {
		for f := range q.events {
			q.work.Enter()
			f()
			q.work.Leave()
		}
	}()
	q.events <- func() { q.response.Head(&exchange.ResponseHead{Status: 200}, false) }
}

func (q *laterRequest) Data(b []byte) {
	q.mu.Lock()
	q.waiting = append(q.waiting, b...)
	q.mu.Unlock()
	q.events <- q.flow
}

func (q *laterRequest) End([]exchange.Field) {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	q.events <- q.flow
}

func (q *laterRequest) Credit(n int) {
	q.mu.Lock()
	q.room += n
	q.mu.Unlock()
	q.events <- q.flow
}

func (q *laterRequest) flow() {
	q.mu.Lock()
	n := min(q.room, len(q.waiting))
	b := q.waiting[:n]
	q.waiting, q.room = q.waiting[n:], q.room-n
	end := q.ended && len(q.waiting) == 0 && !q.over
	q.over = q.over || end
	q.mu.Unlock()
	if n > 0 {
		q.response.Data(b)
		q.response.Credit(n)
	}
	if end {
		q.response.End([]exchange.Field{{Name: "grpc-status", Value: "0"}})
	}
}

func (q *laterRequest) Reset(code exchange.Code) {
	q.events <- func() {
		q.mu.Lock()
		over := q.over
		q.over = true
		q.mu.Unlock()
		if !over {
			q.response.Reset(code, nil)
		}
	}
}

func (q *laterRequest) Done(bool) { close(q.events) }

// wire is a pipe whose ends are goroutines.
type wire struct {
	q    exchange.Request
	down chan []byte
	dead chan struct{}
	once sync.Once
}

func (w *wire) Inform(*exchange.ResponseHead)     {}
func (w *wire) Head(*exchange.ResponseHead, bool) {}
func (w *wire) Credit(int)                        {}
func (w *wire) Data(b []byte) {
	select {
	case w.down <- bytes.Clone(b):
	case <-w.dead:
	}
}
func (w *wire) End([]exchange.Field)       { w.Reset(0, nil) }
func (w *wire) Reset(exchange.Code, error) { w.once.Do(func() { close(w.dead) }); go w.q.Done(true) }

// stressClient is a client of one call that loses its pipe again and again.
type stressClient struct {
	s      *Server
	id     string
	ticket string
	send   duplex.Sender
	recv   duplex.Receiver
	got    []byte
	mark   duplex.Mark
	epoch  int
	status string
	sure   bool // something of the call came back
	want   []byte
}

// run drives the call over one pipe, until it is over or the pipe is cut after some frames.
func (c *stressClient) run(t *testing.T, rnd *rand.Rand, frames int) (over bool) {
	w := &wire{down: make(chan []byte, 1<<10), dead: make(chan struct{})}
	h := pipeHead
	w.q = c.s.Start(&h, w)
	w.q.Begin()
	defer func() {
		if frames%2 == 0 { // the server hears of the loss late
			late := time.Duration(rnd.IntN(3)) * time.Millisecond
			go func() {
				time.Sleep(late)
				w.q.Reset(exchange.Disconnected)
			}()
			return
		}
		w.q.Reset(exchange.Disconnected)
	}()
	c.epoch++
	live := false
	var out []byte
	write := func() {
		for live && c.send.Pending() && len(out) < 40_000 {
			out = duplex.MuxForm.Append(out, duplex.Data, 1, c.send.Next(1+rnd.IntN(duplex.MaxData)))
		}
		if live && c.send.Drained() && !c.send.Pending() {
			out = duplex.MuxForm.Append(out, duplex.End, 1, nil)
		}
		for len(out) > 0 {
			n := 1 + rnd.IntN(len(out))
			w.q.Data(out[:n])
			out = out[n:]
		}
	}
	events := &stressEvents{c: c, t: t, welcome: func(ticket string) {
		switch {
		case !c.sure:
			list := []string{":path", "/a.B/C", ":call", c.id, ":epoch", strconv.Itoa(c.epoch)}
			if c.epoch > 1 {
				list = append(list, ":ticket", c.ticket)
			} else {
				c.ticket = ticket
			}
			out = duplex.MuxForm.Append(out, duplex.Headers, 1, []byte(block(list...)))
			_ = c.send.Rewind(0)
			live = true
		default:
			out = duplex.MuxForm.Append(out, duplex.Resume, 1, []byte(block(":call", c.id, ":ticket", c.ticket, ":epoch", strconv.Itoa(c.epoch),
				":got", strconv.Itoa(int(c.mark)), ":received", strconv.FormatUint(c.recv.Received(), 10))))
		}
	}, resumed: func(received uint64) {
		out = duplex.MuxForm.AppendCredit(out, 1, c.recv.Credit(c.mark))
		if !live {
			if err := c.send.Rewind(received); err != nil {
				t.Errorf("received %d: %v", received, err)
			}
		}
		live = true
	}, credit: func() { out = duplex.MuxForm.AppendCredit(out, 1, c.recv.Credit(c.mark)) }}
	d := duplex.Decoder{Form: duplex.MuxForm}
	for range frames {
		select {
		case b := <-w.down:
			if err := d.Feed(b, events); err != nil {
				t.Errorf("frames: %v", err)
				return true
			}
			w.q.Credit(len(b))
			write()
			if c.status != "" {
				return true
			}
		case <-w.dead:
			return false
		case <-time.After(5 * time.Second):
			t.Errorf("call %s stands still: sent everything %v, got %d of %d, mark %d", c.id, c.send.Drained(), len(c.got), len(c.want), c.mark)
			c.status = "stuck"
			return true
		}
	}
	return false
}

type stressEvents struct {
	c       *stressClient
	t       *testing.T
	welcome func(ticket string)
	resumed func(received uint64)
	credit  func()
}

func (e *stressEvents) Data(_ uint32, b []byte) error {
	b, err := e.c.recv.Receive(b)
	e.c.sure = true
	e.c.got = append(e.c.got, b...)
	if e.c.recv.Take(len(b)) {
		e.credit()
	}
	return err
}

func (e *stressEvents) Frame(kind duplex.Kind, _ uint32, payload []byte) error {
	list, _ := fields.Parse(nil, payload, 1<<16)
	switch kind {
	case duplex.Welcome:
		e.welcome(exchange.Get(list, "ticket"))
		return nil
	case duplex.Headers:
		e.c.mark = max(e.c.mark, duplex.GotHeaders)
	case duplex.End:
		e.c.mark = duplex.GotEnd
		e.c.status = exchange.Get(list, "grpc-status")
		e.credit()
	case duplex.Credit:
		f, err := duplex.ParseCredit(payload)
		if err != nil {
			return err
		}
		if _, err := e.c.send.Credit(f.Taken, f.Window); err != nil {
			return err
		}
	case duplex.Resumed:
		if state := exchange.Get(list, ":state"); state == "gone" {
			return fmt.Errorf("gone: %s", payload)
		}
		n, _ := strconv.ParseUint(exchange.Get(list, ":received"), 10, 64)
		e.resumed(n)
	default:
		return nil
	}
	e.c.sure = true
	return nil
}

// TestStress loses pipes of many calls at a time, with a backend and clients on goroutines of their
// own, and compares what comes back.
func TestStress(t *testing.T) {
	work := &netio.Work{}
	s := New(Options{Next: echoLater{work}, Work: work})
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(n), 1))
			want := make([]byte, 1_000_000+rnd.IntN(1_000_000))
			for i := range want {
				want[i] = byte(rnd.Uint32())
			}
			c := &stressClient{s: s, id: fmt.Sprintf("%032x", n+1), send: duplex.Sender{Keep: true}, want: want}
			c.send.Write(want)
			cuts := 0
			for !c.run(t, rnd, 1+rnd.IntN(8)) {
				cuts++
			}
			if c.status != "0" || !bytes.Equal(c.got, want) {
				t.Errorf("call %d: status %s, %d of %d bytes, equal %v", n, c.status, len(c.got), len(want), bytes.HasPrefix(want, c.got))
			}
			if cuts < 3 {
				t.Errorf("call %d: %d cuts", n, cuts)
			}
		})
	}
	wg.Wait()
	for range 1000 {
		if all, _ := s.Calls(); all == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	all, waiting := s.Calls()
	t.Errorf("%d calls are left, %d wait", all, waiting)
}

// endsWithin is a backend whose response ends while the request is told something else, as that of a goroutine of
// its own may.
type endsWithin struct{ t *testing.T }

func (e endsWithin) Start(_ *exchange.RequestHead, response exchange.Response) exchange.Request {
	return &endingRequest{endsWithin: e, response: response}
}

type endingRequest struct {
	endsWithin
	response exchange.Response
	within   bool
	done     int
}

func (q *endingRequest) Begin() {
	q.response.Head(&exchange.ResponseHead{Status: 200}, false)
	q.response.Data(make([]byte, 100))
}

func (q *endingRequest) Data([]byte)          {}
func (q *endingRequest) End([]exchange.Field) {}

func (q *endingRequest) Credit(int) {
	q.within = true
	q.response.End(ok)
	q.within = false
}

func (q *endingRequest) Reset(code exchange.Code) {
	q.within = true
	q.response.Reset(code, nil)
	q.within = false
}

func (q *endingRequest) Done(bool) {
	if q.done++; q.within || q.done > 1 {
		q.t.Errorf("Done comes %d times, or is not the last", q.done)
	}
}

// TestDoneIsLast has Done come after Credit and Reset that run when the response ends.
func TestDoneIsLast(t *testing.T) {
	for name, end := range map[string]func(p *peer){
		"credit":    func(p *peer) { p.credit(1, 100, duplex.GotHeaders) },
		"cancel":    func(p *peer) { p.send(duplex.Cancel, 1, "") },
		"no credit": func(p *peer) { p.send(duplex.Data, 1, string(make([]byte, duplex.MaxData))) },
	} {
		t.Run(name, func(t *testing.T) {
			requests := make(chan *endingRequest, 1)
			s := New(Options{Next: keepStarted{endsWithin{t}, requests}})
			p := dial(t, s)
			p.send(duplex.Headers, 1, block(":path", "/a.B/C"))
			q := <-requests
			for n := 0; n < 5 && q.done == 0; n++ {
				end(p)
			}
			if q.done != 1 {
				t.Errorf("Done came %d times", q.done)
			}
			p.cut()
		})
	}
}

// keepStarted tells of the requests that a backend has.
type keepStarted struct {
	endsWithin
	requests chan *endingRequest
}

func (k keepStarted) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	q := k.endsWithin.Start(head, response)
	k.requests <- q.(*endingRequest)
	return q
}
