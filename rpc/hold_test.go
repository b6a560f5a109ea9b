package rpc

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// terminal is a backend as the contract wants it: one End, whatever happens. It
// records the request as one plain byte stream.
type terminal struct {
	t        *testing.T
	mu       sync.Mutex
	response Response
	begun    bool
	data     []byte
	ended    bool
	canceled bool
	done     bool
	credit   int
	finished bool
	inData   bool
}

func (b *terminal) Start(_ *Call, response Response) Request {
	b.response = response
	return b
}

func (b *terminal) check(ok bool, what string) {
	if !ok {
		b.t.Errorf("%s (begun %v, ended %v, canceled %v, done %v)", what, b.begun, b.ended, b.canceled, b.done)
	}
}

func (b *terminal) Begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.check(!b.begun && len(b.data) == 0, "Begin is not the first")
	b.begun = true
}

func (b *terminal) Data(p []byte) {
	b.mu.Lock()
	b.check(b.begun && !b.ended && !b.done && !b.inData, "Data out of order")
	b.inData = true
	b.data = append(b.data, p...)
	b.mu.Unlock()
	b.response.Credit(len(p))
	b.mu.Lock()
	b.inData = false
	b.mu.Unlock()
}

func (b *terminal) End() {
	b.mu.Lock()
	b.check(b.begun && !b.ended && !b.done, "End out of order")
	b.ended = true
	b.mu.Unlock()
	b.finish(Status{})
}

func (b *terminal) Cancel(cause Status) {
	b.mu.Lock()
	b.check(b.begun && !b.done, "Cancel out of order")
	b.canceled = true
	b.mu.Unlock()
	b.finish(cause)
}

func (b *terminal) finish(st Status) {
	b.mu.Lock()
	if b.finished {
		b.mu.Unlock()
		return
	}
	b.finished = true
	b.mu.Unlock()
	b.response.End(st, nil)
}

func (b *terminal) Credit(n int) {
	b.mu.Lock()
	b.credit += n
	b.mu.Unlock()
}

func (b *terminal) Done(Outcome) {
	b.mu.Lock()
	b.check(b.begun && !b.done, "Done out of order")
	b.done = true
	b.mu.Unlock()
}

// client is the other side.
type client struct {
	mu     sync.Mutex
	ends   []Status
	credit int
	begun  bool
	early  bool
	over   chan struct{}
}

func (c *client) event() {
	c.early = c.early || !c.begun
}
func (c *client) Head(*Head)  { c.mu.Lock(); c.event(); c.mu.Unlock() }
func (c *client) Data([]byte) { c.mu.Lock(); c.event(); c.mu.Unlock() }
func (c *client) End(st Status, _ Metadata) {
	c.mu.Lock()
	c.event()
	c.ends = append(c.ends, st)
	if len(c.ends) == 1 {
		close(c.over)
	}
	c.mu.Unlock()
}
func (c *client) Credit(n int) { c.mu.Lock(); c.event(); c.credit += n; c.mu.Unlock() }

// TestHoldModel plays random calls through a Hold against one plain byte stream: the
// client, whoever releases, whoever cancels and whoever credits each on a goroutine,
// with random pauses in fake time, so that every interleaving of steps comes up.
func TestHoldModel(t *testing.T) {
	for seed := range uint64(3000) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playHold(t, seed) })
		})
		if t.Failed() {
			return
		}
	}
}

func playHold(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	pause := func(max int) time.Duration { return time.Duration(r.IntN(max)) * time.Millisecond }
	c := &client{over: make(chan struct{})}
	b := &terminal{t: t}
	stopped := 0
	h := NewHold(&Call{}, c, func() { stopped++ })

	// The plan is drawn first, so that the goroutines don't share the generator.
	type write struct {
		wait time.Duration
		b    []byte
	}
	var writes []write
	var sent []byte
	for range r.IntN(8) {
		p := make([]byte, r.IntN(200))
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		writes = append(writes, write{pause(3), p})
		sent = append(sent, p...)
	}
	begin, end := pause(4), pause(3)
	release, releaseFails := pause(12), r.IntN(4) == 0
	cancel, cancels := pause(12), r.IntN(3) == 0
	credits, creditWait := r.IntN(5), pause(4)

	var wg sync.WaitGroup
	var released bool
	wg.Go(func() {
		time.Sleep(release)
		if releaseFails {
			h.Fail(Status{Code: Unavailable})
		} else {
			released = h.Release(b)
		}
	})
	begun := make(chan struct{})
	wg.Go(func() { // the client
		time.Sleep(begin)
		c.mu.Lock()
		c.begun = true
		c.mu.Unlock()
		h.Begin()
		close(begun)
		for _, w := range writes {
			time.Sleep(w.wait)
			h.Data(w.b)
		}
		time.Sleep(end)
		h.End()
	})
	if cancels {
		wg.Go(func() {
			<-begun
			time.Sleep(cancel)
			h.Cancel(Status{Code: Canceled})
		})
	}
	wg.Go(func() {
		<-begun
		for range credits {
			time.Sleep(creditWait)
			h.Credit(10)
		}
	})
	wg.Wait()
	<-c.over
	h.Done(Outcome{})
	synctest.Wait()

	if c.early {
		t.Error("a response event came before Begin")
	}
	if len(c.ends) != 1 {
		t.Errorf("%d ends: %v", len(c.ends), c.ends)
	}
	if !released {
		if b.begun {
			t.Error("the backend was started although Release said false")
		}
		return
	}
	if !b.done || !b.begun {
		t.Errorf("begun %v, done %v", b.begun, b.done)
	}
	if !bytes.HasPrefix(sent, b.data) {
		t.Errorf("the backend got bytes that are no beginning of what was sent")
	}
	if !b.canceled {
		if len(b.data) != len(sent) || !b.ended {
			t.Errorf("sent %d bytes, got %d, ended %v", len(sent), len(b.data), b.ended)
		}
		if b.credit != 10*credits {
			t.Errorf("credit %d, want %d", b.credit, 10*credits)
		}
		if c.credit != len(sent) {
			t.Errorf("the client got credit for %d of %d bytes", c.credit, len(sent))
		}
	}
	if stopped != 0 {
		t.Error("onCancel was called for a call that was released")
	}
}

// TestHoldRace does the same in real time and without pauses, for the race detector.
func TestHoldRace(t *testing.T) {
	for range 2000 {
		c := &client{over: make(chan struct{}), begun: true}
		b := &terminal{t: t}
		h := NewHold(&Call{}, c, nil)
		var wg sync.WaitGroup
		wg.Go(func() { h.Release(b) })
		h.Begin()
		wg.Go(func() { h.Credit(1) })
		for range 4 {
			h.Data([]byte("abc"))
		}
		h.End()
		wg.Wait()
		<-c.over
		h.Done(Outcome{})
		if string(b.data) != "abcabcabcabc" || !b.done {
			t.Fatalf("%q %v", b.data, b.done)
		}
	}
}

func TestHoldIsBounded(t *testing.T) {
	for _, ahead := range []int{0, 1000} {
		testHoldIsBounded(t, ahead)
	}
}

func testHoldIsBounded(t *testing.T, ahead int) {
	c := &client{over: make(chan struct{}), begun: true}
	h := NewHold(&Call{Ahead: ahead}, c, nil)
	h.Begin()
	h.Data(make([]byte, HoldMax-1))
	h.Data(make([]byte, ahead+1))
	if len(c.ends) != 0 {
		t.Fatal("a whole window was refused")
	}
	h.Data([]byte{0})
	if len(c.ends) != 1 || c.ends[0].Code != ResourceExhausted {
		t.Errorf("got %v", c.ends)
	}
	if h.Release(&terminal{t: t}) {
		t.Error("a call that is over was released")
	}
}
