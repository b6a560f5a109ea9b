package mux

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
)

// peer is a client at the end of a pipe: it writes frames, and records those that come.
type peer struct {
	t    testing.TB
	form duplex.Form
	q    exchange.Request

	mu     sync.Mutex
	dec    duplex.Decoder
	frames []string
	data   map[uint32][]byte
	ticket string
	end    string // how the pipe ended
	owed   int    // bytes that were not credited
	hold   bool   // credit nothing
}

func newPeer(t testing.TB, form duplex.Form) *peer {
	p := &peer{t: t, form: form, data: map[uint32][]byte{}}
	p.dec.Form = form
	return p
}

var pipeHead = exchange.RequestHead{
	Method: "CONNECT", Protocol: exchange.PipeMux, Scheme: "https", Authority: "api.test", Length: -1, Carrier: "ws",
	Fields: []exchange.Field{{Name: "cookie", Value: "c=1"}, {Name: "x-both", Value: "pipe"}},
}

// dial opens a pipe.
func dial(t testing.TB, s *Server) *peer {
	p := newPeer(t, duplex.MuxForm)
	h := pipeHead
	p.q = s.Start(&h, p)
	p.q.Begin()
	return p
}

func (p *peer) Inform(*exchange.ResponseHead)     { p.t.Error("Inform on a pipe") }
func (p *peer) Head(*exchange.ResponseHead, bool) { p.t.Error("Head on a pipe") }
func (p *peer) Credit(int)                        {}

func (p *peer) Data(b []byte) {
	p.mu.Lock()
	if p.end != "" {
		p.t.Error("Data after the end")
	}
	if err := p.dec.Feed(b, (*peerEvents)(p)); err != nil {
		p.t.Errorf("frames: %v", err)
	}
	p.owed += len(b)
	hold := p.hold
	p.mu.Unlock()
	if !hold {
		p.pay()
	}
}

func (p *peer) pay() {
	p.mu.Lock()
	n := p.owed
	p.owed = 0
	p.mu.Unlock()
	if n > 0 {
		p.q.Credit(n)
	}
}

func (p *peer) End([]exchange.Field) { p.over("end") }
func (p *peer) Reset(code exchange.Code, cause error) {
	p.over(fmt.Sprintf("%v: %v", code, cause))
}

func (p *peer) over(how string) {
	p.mu.Lock()
	if p.end != "" {
		p.t.Errorf("the pipe ends twice: %s, %s", p.end, how)
	}
	p.end = how
	p.mu.Unlock()
	p.q.Done(true)
}

type peerEvents peer

func (e *peerEvents) Data(n uint32, b []byte) error {
	e.data[n] = append(e.data[n], b...)
	return nil
}

func (e *peerEvents) Frame(kind duplex.Kind, n uint32, payload []byte) error {
	text := string(payload)
	switch kind {
	case duplex.Credit:
		c, err := duplex.ParseCredit(payload)
		if err != nil {
			return err
		}
		text = fmt.Sprintf("%d+%d got %d", c.Taken, c.Window, c.Got)
	case duplex.Welcome:
		list, _ := fields.Parse(nil, payload, 1<<16)
		e.ticket = exchange.Get(list, "ticket")
		text = ""
	}
	e.frames = append(e.frames, strings.TrimSpace(fmt.Sprintf("%d %v %s", n, kind, strings.ReplaceAll(strings.TrimSpace(text), "\r\n", ", "))))
	return nil
}

// send writes a frame; text with line ends is a field block.
func (p *peer) send(kind duplex.Kind, n uint32, text string) {
	p.q.Data(p.form.Append(nil, kind, n, []byte(text)))
}

func block(list ...string) string {
	var b []byte
	for i := 0; i < len(list); i += 2 {
		b = fields.AppendField(b, list[i], list[i+1])
	}
	return string(b)
}

func (p *peer) credit(n uint32, taken int, got duplex.Mark) {
	p.q.Data(p.form.AppendCredit(nil, n, duplex.CreditFrame{Taken: uint64(taken), Window: duplex.Window, Got: got}))
}

// got returns what came since it was asked last, DATA left out.
func (p *peer) got() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := strings.Join(p.frames, "\n")
	p.frames = nil
	return s
}

func (p *peer) want(lines ...string) {
	p.t.Helper()
	if got, want := p.got(), strings.Join(lines, "\n"); got != want {
		p.t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func (p *peer) received(n uint32) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(p.data[n])
}

func (p *peer) ended() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end
}

// cut loses the pipe.
func (p *peer) cut() { p.q.Reset(exchange.Disconnected) }

// A clock fires timers when it is told to.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[int]alarm
	next   int
}

type alarm struct {
	at time.Time
	f  func()
}

func newClock() *clock { return &clock{now: time.Unix(1e9, 0), timers: map[int]alarm{}} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.next
	c.next++
	c.timers[n] = alarm{c.now.Add(d), f}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, ok := c.timers[n]
		delete(c.timers, n)
		return ok
	}
}

// pass lets time pass.
func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	end := c.now.Add(d)
	for {
		best := -1
		for n, a := range c.timers {
			if !a.at.After(end) && (best < 0 || a.at.Before(c.timers[best].at)) {
				best = n
			}
		}
		if best < 0 {
			break
		}
		a := c.timers[best]
		delete(c.timers, best)
		c.now = a.at
		c.mu.Unlock()
		a.f()
		c.mu.Lock()
	}
	c.now = end
	c.mu.Unlock()
}

func (c *clock) pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.timers)
}
