package policy

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-rpc/sluice/rpc"
)

// terminal ends a call when it is canceled, and notes what it sees.
type terminal struct {
	response rpc.Response
	canceled atomic.Int32
	done     atomic.Int32
	after    atomic.Bool // something came after Done
}

func (b *terminal) Begin()      {}
func (b *terminal) Data([]byte) {}
func (b *terminal) End()        {}
func (b *terminal) Credit(int)  {}
func (b *terminal) Cancel(st rpc.Status) {
	if b.done.Load() > 0 {
		b.after.Store(true)
	}
	if b.canceled.Add(1) == 1 {
		b.response.End(st, nil)
	}
}
func (b *terminal) Done(rpc.Outcome) { b.done.Add(1) }

type client struct {
	mu sync.Mutex
	st []rpc.Status
}

func (c *client) ends() []rpc.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.st
}

func (c *client) Head(*rpc.Head) {}
func (c *client) Data([]byte)    {}
func (c *client) Credit(int)     {}
func (c *client) End(st rpc.Status, _ rpc.Metadata) {
	c.mu.Lock()
	c.st = append(c.st, st)
	c.mu.Unlock()
}

func start(b *terminal) rpc.Handler {
	return rpc.HandlerFunc(func(_ *rpc.Call, r rpc.Response) rpc.Request { b.response = r; return b })
}

func TestDeadline(t *testing.T) {
	for _, d := range []time.Duration{time.Millisecond, 15 * time.Millisecond, time.Second, 5 * time.Second, 5120 * time.Millisecond, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := NewWheel()
			defer w.Close()
			b, c := &terminal{}, &client{}
			at := time.Now().Add(d)
			req := Deadline(start(b), w).Start(&rpc.Call{Deadline: at}, c)
			req.Begin()
			time.Sleep(d - 1)
			synctest.Wait()
			if len(c.ends()) != 0 {
				t.Fatalf("%v: ended early", d)
			}
			time.Sleep(2*wheelTick + 1)
			synctest.Wait()
			if st := c.ends(); len(st) != 1 || st[0].Code != rpc.DeadlineExceeded {
				t.Fatalf("%v: %v", d, st)
			}
			req.Done(rpc.Outcome{})
			if b.done.Load() != 1 {
				t.Error("Done did not pass")
			}
		})
	}
}

func TestDeadlineExpired(t *testing.T) {
	b, c := &terminal{}, &client{}
	w := NewWheel()
	defer w.Close()
	req := Deadline(start(b), w).Start(&rpc.Call{Deadline: time.Now().Add(-time.Second)}, c)
	if len(c.st) != 0 {
		t.Fatal("a response event before Begin")
	}
	req.Begin()
	req.Data([]byte("x"))
	req.End()
	req.Done(rpc.Outcome{})
	if b.response != nil || len(c.st) != 1 || c.st[0].Code != rpc.DeadlineExceeded {
		t.Errorf("%v %v", b.response, c.st)
	}
}

func TestFirstByte(t *testing.T) {
	for name, test := range map[string]struct {
		deadline time.Duration
		event    func(rpc.Response)
		ends     int
	}{
		"nothing comes":        {ends: 1},
		"request bytes taken":  {event: func(r rpc.Response) { r.Credit(1) }, ends: 1},
		"a head in time":       {event: func(r rpc.Response) { r.Head(&rpc.Head{}) }},
		"a call with deadline": {deadline: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := NewWheel()
				defer w.Close()
				b, c := &terminal{}, &client{}
				call := &rpc.Call{Received: time.Now()}
				if test.deadline > 0 {
					call.Deadline = call.Received.Add(test.deadline)
				}
				req := FirstByte(start(b), w, time.Second).Start(call, c)
				req.Begin()
				time.Sleep(time.Second - 1)
				synctest.Wait()
				if len(c.ends()) != 0 {
					t.Fatal("ended early")
				}
				if test.event != nil {
					test.event(b.response)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if st := c.ends(); len(st) != test.ends || test.ends > 0 && st[0].Code != rpc.DeadlineExceeded {
					t.Errorf("ends: %v", st)
				}
				req.Done(rpc.Outcome{})
				if b.done.Load() != 1 {
					t.Error("Done did not pass")
				}
			})
		})
	}
}

// TestDeadlineRacesDone: a timer that fires while the call is done touches nothing
// after Done, and Done passes exactly once.
func TestDeadlineRacesDone(t *testing.T) {
	w := NewWheel()
	defer w.Close()
	var wg sync.WaitGroup
	for range 2000 {
		wg.Go(func() {
			b, c := &terminal{}, &client{}
			d := time.Duration(10+rand.IntN(20)) * time.Millisecond
			req := Deadline(start(b), w).Start(&rpc.Call{Deadline: time.Now().Add(d)}, c)
			req.Begin()
			time.Sleep(d + time.Duration(rand.IntN(20))*time.Millisecond)
			req.Done(rpc.Outcome{})
			time.Sleep(30 * time.Millisecond)
			if b.done.Load() != 1 || b.after.Load() {
				t.Errorf("done %d, after %v", b.done.Load(), b.after.Load())
			}
		})
	}
	wg.Wait()
}

func TestCallsCancelAll(t *testing.T) {
	var calls Calls
	var bs []*terminal
	var cs []*client
	var reqs []rpc.Request
	for range 100 {
		b, c := &terminal{}, &client{}
		req := calls.Track(start(b)).Start(&rpc.Call{}, c)
		req.Begin()
		bs, cs, reqs = append(bs, b), append(cs, c), append(reqs, req)
	}
	if calls.Len() != 100 {
		t.Fatal(calls.Len())
	}
	var wg sync.WaitGroup
	for _, r := range reqs[:50] {
		wg.Go(func() { r.Done(rpc.Outcome{}) })
	}
	wg.Go(func() { calls.CancelAll(rpc.Status{Code: rpc.Unavailable}) })
	wg.Wait()
	for i, b := range bs {
		if b.after.Load() {
			t.Errorf("call %d was canceled after Done", i)
		}
		if i >= 50 && (len(cs[i].st) != 1 || cs[i].st[0].Code != rpc.Unavailable) {
			t.Errorf("call %d: %v", i, cs[i].st)
		}
	}
	for _, r := range reqs[50:] {
		r.Done(rpc.Outcome{})
	}
	if calls.Len() != 0 {
		t.Error(calls.Len())
	}
}

func BenchmarkDeadline(b *testing.B) {
	w := NewWheel()
	defer w.Close()
	t := &terminal{}
	h := Deadline(start(t), w)
	c := &client{}
	call := &rpc.Call{Deadline: time.Now().Add(time.Hour)}
	b.ReportAllocs()
	for b.Loop() {
		req := h.Start(call, c)
		req.Begin()
		req.Done(rpc.Outcome{})
	}
}
