package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-rpc/sluice/internal/carrier/mux"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/race"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// TestModel lets the client's half of the protocol and the gateway's talk over pipes that are
// slow, cut their bytes anywhere and break all the time, and not for both sides at once: an old pipe
// goes on talking. Whatever happens, each direction of a call is the same as one plain stream of bytes,
// and the server behind the gateway sees each call once.
func TestModel(t *testing.T) {
	seeds := 150
	if race.Enabled || testing.Short() {
		seeds = 30
	}
	total := &tally{}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { model(t, uint64(seed), total) })
		})
	}
	t.Logf("%d connections, %d of them cut; %d calls, %d canceled, %d bytes up, %d down", total.conns, total.cuts, total.calls, total.canceled, total.up, total.down)
	if total.cuts < 3*total.runs || total.up < total.runs || total.down < total.runs {
		t.Error("the model does not try what it should")
	}
}

type tally struct{ runs, conns, cuts, calls, canceled, up, down int }

// world is one run.
type world struct {
	t      *testing.T
	server *mux.Server
	total  *tally

	mu    sync.Mutex
	rnd   *rand.Rand
	pipes map[*modelPipe]struct{}
	calm  bool // no more cuts
	seen  map[string]*modelCall
	errs  []string
}

func (w *world) int(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rnd.IntN(n)
}

// pause is a delay of up to so many milliseconds, mostly short.
func (w *world) pause(ms int) {
	if w.int(2) == 0 {
		time.Sleep(time.Duration(w.int(ms*1000)) * time.Microsecond)
	}
}

func (w *world) failf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.errs) < 20 {
		w.errs = append(w.errs, fmt.Sprintf(format, args...))
	}
}

const modelCalls = 3

func model(t *testing.T, seed uint64, total *tally) {
	total.runs++
	w := &world{t: t, total: total, rnd: rand.New(rand.NewPCG(seed, 1)), pipes: map[*modelPipe]struct{}{}, seen: map[string]*modelCall{}}
	w.server = mux.New(mux.Options{Next: w, Node: "n"})
	c, err := New("http://gateway", Config{
		Carriers: []Carrier{w}, Resume: ResumeAll,
		Backoff: backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.2, MaxDelay: 100 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	chaos := make(chan struct{})
	go w.chaos(chaos) // ends with the run
	var wg sync.WaitGroup
	for i := range modelCalls {
		wg.Add(1)
		go func() { // ends with its call
			defer wg.Done()
			w.app(c, fmt.Sprint(i))
		}()
	}
	wg.Wait()
	close(chaos)
	w.mu.Lock()
	w.calm = true
	w.mu.Unlock()
	time.Sleep(10 * time.Second) // what was lost on the way is told again
	if all, waiting := w.server.Calls(); all != 0 {
		time.Sleep(2 * time.Minute) // or forgotten
		if later, _ := w.server.Calls(); later != 0 {
			t.Errorf("%d calls are left at the gateway, %d of them waiting; two minutes later %d", all, waiting, later)
		}
	}
	c.mu.Lock()
	for _, n := range c.conns {
		if n.calls != 0 {
			t.Errorf("%d calls are left on a connection", n.calls)
		}
	}
	if len(c.waiting) != 0 {
		t.Errorf("%d calls wait", len(c.waiting))
	}
	c.unlock()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	w.server.Close()
	time.Sleep(time.Minute)
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, k := range w.seen {
		k.mu.Lock()
		if k.starts > 0 && !k.done {
			t.Errorf("call %s is not done at the backend: canceled %v, reset %v, end %v, %d of %d bytes up", name, k.canceled, k.reset, k.ended, len(k.gotUp), len(k.wantUp))
		}
		k.mu.Unlock()
	}
	for _, e := range w.errs {
		t.Error(e)
	}
}

// chaos cuts pipes.
func (w *world) chaos(stop chan struct{}) {
	often := 50 + w.int(800)
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(w.int(often)) * time.Millisecond):
		}
		w.mu.Lock()
		for p := range w.pipes {
			if w.rnd.IntN(2) > 0 {
				continue
			}
			// The two sides notice at different times.
			w.total.cuts++
			a, b := time.Duration(w.rnd.IntN(1+w.rnd.IntN(3000)))*time.Millisecond, time.Duration(w.rnd.IntN(1+w.rnd.IntN(3000)))*time.Millisecond
			switch w.rnd.IntN(3) {
			case 0:
				a = 0
			case 1:
				b = 0
			default:
				a, b = 0, 0
			}
			delete(w.pipes, p)
			time.AfterFunc(a, func() { p.cutClient(errors.New("cable")) })
			time.AfterFunc(b, p.cutServer)
			if w.rnd.IntN(2) == 0 { // what is on its way arrives, or not
				p.lose()
			}
		}
		w.mu.Unlock()
	}
}

// plain is a codec whose messages are bytes.
type plain struct{ encoding.Codec }

func (plain) Name() string                  { return "proto" }
func (plain) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (plain) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(b)
	return nil
}

// content is the byte at an offset of a direction.
func content(name string, i int) byte { return byte(i*7 + i/251 + len(name) + int(name[0])) }

// sizes of messages.
func (w *world) size() int {
	switch w.int(8) {
	case 0:
		return 0
	case 1:
		return w.int(150_000)
	}
	return w.int(3000)
}

// script makes the messages of a direction, framed.
func (w *world) script(name string, count int) (messages [][]byte) {
	at := 0
	for range count {
		b := make([]byte, w.size())
		for i := range b {
			b[i] = content(name, at+i)
		}
		at += len(b)
		messages = append(messages, b)
	}
	return messages
}

func framed(messages [][]byte) []byte {
	var out []byte
	for _, m := range messages {
		out = append(envelope.Append(out, 0, len(m)), m...)
	}
	return out
}

// app makes one call, and reads and writes as it likes.
func (w *world) app(c *Client, name string) {
	up, down := w.script(name+"u", w.int(40)), w.script(name+"d", w.int(40))
	k := &modelCall{w: w, name: name, wantUp: framed(up), down: framed(down)}
	w.mu.Lock()
	w.seen[name] = k
	w.total.calls++
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "name", name))
	defer cancel()
	s, err := c.NewStream(ctx, bidi, "/x.Y/Talk", grpc.ForceCodec(plain{}), grpc.WaitForReady(true))
	if err != nil {
		w.failf("call %s: %v", name, err)
		return
	}
	canceled := w.int(5) == 0
	if canceled {
		w.mu.Lock()
		w.total.canceled++
		w.mu.Unlock()
		time.AfterFunc(time.Duration(w.int(3000))*time.Millisecond, cancel)
	}
	sent := make(chan struct{})
	go func() { // ends with the messages, or the call
		defer close(sent)
		for _, m := range up {
			w.pause(200)
			if err := s.SendMsg(&m); err != nil {
				return
			}
		}
		_ = s.CloseSend()
	}()
	var got []byte
	for {
		w.pause(200)
		var m []byte
		if err = s.RecvMsg(&m); err != nil {
			break
		}
		got = append(envelope.Append(got, 0, len(m)), m...)
		if !bytes.HasPrefix(k.down, got) {
			w.failf("call %s: what came down differs within the first %d bytes", name, len(got))
			return
		}
	}
	<-sent
	w.mu.Lock()
	k.mu.Lock()
	gotUp := len(k.gotUp)
	k.mu.Unlock()
	w.total.up += gotUp
	w.total.down += len(got)
	w.mu.Unlock()
	switch {
	case canceled && status.Code(err) == codes.Canceled:
		k.mu.Lock()
		k.canceled = true
		k.mu.Unlock()
	case !errors.Is(err, io.EOF):
		w.failf("call %s: %v after %d of %d bytes down, %d of %d up", name, err, len(got), len(k.down), gotUp, len(k.wantUp))
	case len(got) != len(k.down):
		w.failf("call %s: %d of %d bytes came down", name, len(got), len(k.down))
	case s.Trailer().Get("name")[0] != name:
		w.failf("call %s: trailer %v", name, s.Trailer())
	}
}

// modelCall is a call as the backend sees it.
type modelCall struct {
	w        *world
	name     string
	response exchange.Response
	woken    chan struct{}

	mu       sync.Mutex
	starts   int
	wantUp   []byte
	gotUp    []byte
	down     []byte
	room     int
	owed     int
	ended    bool
	canceled bool
	reset    bool
	done     bool
}

// Start is a call that reaches the backend.
func (w *world) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	name := exchange.Get(head.Fields, "name")
	w.mu.Lock()
	k := w.seen[name]
	w.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.starts++; k.starts > 1 {
		w.failf("call %s was begun twice", name)
	}
	k.response, k.room, k.woken = response, 64<<10, make(chan struct{}, 1)
	return k
}

func (k *modelCall) wake() {
	select {
	case k.woken <- struct{}{}:
	default:
	}
}

func (k *modelCall) Begin() { go k.run() } // ends with the call

func (k *modelCall) Data(b []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gotUp = append(k.gotUp, b...)
	if k.owed += len(b); k.owed > 64<<10 {
		k.w.failf("call %s: %d bytes came up without credit", k.name, k.owed)
	}
	if !bytes.HasPrefix(k.wantUp, k.gotUp) {
		k.w.failf("call %s: what came up differs within the first %d bytes", k.name, len(k.gotUp))
	}
	if k.ended {
		k.w.failf("call %s: data after the end", k.name)
	}
	k.wake()
}

func (k *modelCall) End([]exchange.Field) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended || len(k.gotUp) != len(k.wantUp) {
		k.w.failf("call %s: END after %d of %d bytes up, or again", k.name, len(k.gotUp), len(k.wantUp))
	}
	k.ended = true
	k.wake()
}

func (k *modelCall) Reset(exchange.Code) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reset = true
	k.wake()
}

func (k *modelCall) Credit(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.room += n; k.room > 64<<10 {
		k.w.failf("call %s: %d bytes of room", k.name, k.room)
	}
	k.wake()
}

func (k *modelCall) Done(bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.done {
		k.w.failf("call %s: done twice", k.name)
	}
	k.done = true
}

// run is the server: it takes what comes, late, and sends its own.
func (k *modelCall) run() {
	w := k.w
	down := k.down
	head := false
	for {
		w.pause(60)
		k.mu.Lock()
		reset, owed := k.reset, k.owed
		k.owed -= owed
		n := min(len(down), k.room)
		ended := k.ended
		k.mu.Unlock()
		if reset {
			k.response.Reset(exchange.Cancel, nil)
			return
		}
		if owed > 0 {
			k.response.Credit(owed)
		}
		if !head && (w.int(2) == 0 || n > 0) {
			head = true
			k.response.Head(&exchange.ResponseHead{Status: 200, Fields: []exchange.Field{{Name: "content-type", Value: "application/grpc+proto"}, {Name: "a", Value: "b"}}}, false)
		}
		switch {
		case n > 0:
			n = 1 + w.int(n)
			k.mu.Lock()
			k.room -= n
			k.mu.Unlock()
			k.response.Data(bytes.Clone(down[:n]))
			down = down[n:]
		case head && ended && len(down) == 0:
			k.response.End([]exchange.Field{{Name: "grpc-status", Value: "0"}, {Name: "name", Value: k.name}})
			return
		case owed == 0 && head:
			<-k.woken
		}
	}
}

// Name of the carrier.
func (w *world) Name() string { return "model" }

// Dial opens a pipe, or a session of pipes, or fails.
func (w *world) Dial(ctx context.Context, _ *Target) (*Connection, error) {
	w.pause(100)
	if w.int(8) == 0 {
		return nil, errors.New("no network")
	}
	w.mu.Lock()
	w.total.conns++
	w.mu.Unlock()
	if w.int(2) == 0 {
		return &Connection{Pipe: w.open(func(p *modelPipe) exchange.Request {
			return w.server.Start(&exchange.RequestHead{Method: "CONNECT", Protocol: exchange.PipeMux}, p)
		})}, nil
	}
	s := &modelSession{w: w, ended: make(chan struct{}), control: make(chan *modelPipe, 1)}
	control := &modelPipe{w: w, woken: sync.NewCond(&sync.Mutex{}), noUp: true}
	s.control <- control
	s.pipes = []*modelPipe{control}
	s.server = w.server.StartSession(&exchange.RequestHead{Method: "CONNECT"}, modelCarrier{control})
	w.mu.Lock()
	w.pipes[control] = struct{}{} // cut with it, the session goes
	w.mu.Unlock()
	control.gone = func() { s.Close(Cut, "") }
	return &Connection{Session: s}, nil
}

func (w *world) open(start func(p *modelPipe) exchange.Request) *modelPipe {
	p := &modelPipe{w: w, woken: sync.NewCond(&sync.Mutex{})}
	p.request = start(p)
	p.request.Begin()
	go p.carryUp() // ends with the pipe
	w.mu.Lock()
	w.pipes[p] = struct{}{}
	w.mu.Unlock()
	return p
}

// modelCarrier is the server's side of a session, which has no datagrams.
type modelCarrier struct{ control *modelPipe }

func (c modelCarrier) Control(b []byte)          { c.control.Data(b) }
func (modelCarrier) Datagram([]byte) bool        { return false }
func (modelCarrier) MaxDatagram() int            { return 0 }
func (modelCarrier) Close(exchange.Code, string) {}

// modelSession is a connection with a pipe for each call.
type modelSession struct {
	w       *world
	server  exchange.SessionServer
	control chan *modelPipe
	once    sync.Once
	ended   chan struct{}

	mu    sync.Mutex
	pipes []*modelPipe
}

func (s *modelSession) Open(context.Context) (Pipe, error) {
	s.w.pause(20)
	select {
	case <-s.ended:
		return nil, errors.New("the session is over")
	default:
	}
	p := s.w.open(func(p *modelPipe) exchange.Request {
		return s.server.Start(&exchange.RequestHead{Method: "CONNECT", Protocol: exchange.PipeCall}, p)
	})
	s.mu.Lock()
	s.pipes = append(s.pipes, p)
	s.mu.Unlock()
	return p, nil
}

func (s *modelSession) Accept(ctx context.Context) (Pipe, error) {
	select {
	case p := <-s.control:
		return p, nil
	case <-s.ended:
		return nil, errors.New("the session is over")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *modelSession) SendDatagram([]byte) error { return errors.New("no datagrams") }

func (s *modelSession) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (s *modelSession) Close(Reason, string) {
	s.once.Do(func() {
		close(s.ended)
		s.server.Done()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, p := range s.pipes {
			p.failClient(errors.New("the session is over"))
			time.AfterFunc(time.Duration(s.w.int(2000))*time.Millisecond, p.cutServer)
		}
	})
}

// modelPipe is a pipe between the two halves.
type modelPipe struct {
	w       *world
	request exchange.Request
	woken   *sync.Cond
	noUp    bool
	gone    func() // when the client has lost it

	up, down  []byte
	fin       bool  // the client's
	finDown   bool  // the server's
	clientErr error // what the client gets
	leave     bool
	lost      bool // nothing arrives any more
	cut       bool // for the server
	told      bool
	over      bool // for the server: it has reset or ended the pipe
}

func (p *modelPipe) locked(f func()) {
	p.woken.L.Lock()
	f()
	p.woken.L.Unlock()
	p.woken.Broadcast()
}

func (p *modelPipe) cutClient(err error) {
	p.failClient(err)
	if p.gone != nil {
		p.gone()
	}
}

func (p *modelPipe) failClient(err error) {
	p.locked(func() {
		if p.clientErr == nil {
			p.clientErr = err
		}
	})
}

func (p *modelPipe) cutServer() { p.locked(func() { p.cut = true }) }

// lose drops what is on its way, and what comes after it. An end that does not arrive in its order does not arrive.
func (p *modelPipe) lose() {
	p.locked(func() {
		p.up, p.down, p.lost = nil, nil, true
		p.fin, p.finDown = false, false
	})
}

// Receive is the client's.
func (p *modelPipe) Receive(f func([]byte) error) error {
	for {
		p.w.pause(20)
		n := 1 + p.w.int(70_000)
		p.woken.L.Lock()
		for len(p.down) == 0 && p.clientErr == nil && !p.finDown {
			p.woken.Wait()
		}
		n = min(n, len(p.down))
		b := bytes.Clone(p.down[:n])
		p.down = p.down[n:]
		err, fin, over := p.clientErr, p.finDown, p.over
		p.woken.L.Unlock()
		switch {
		case err != nil:
			return err
		case n == 0 && fin:
			return io.EOF
		}
		if err := f(b); err != nil {
			return err
		}
		if p.request != nil && !over {
			p.request.Credit(n)
		}
	}
}

// Send is the client's.
func (p *modelPipe) Send(b []byte) (err error) {
	p.locked(func() {
		err = p.clientErr
		if !p.lost {
			p.up = append(p.up, b...)
		}
	})
	return err
}

// CloseSend is the client's.
func (p *modelPipe) CloseSend() error {
	p.locked(func() { p.fin = !p.lost })
	return nil
}

// Close is the client's.
func (p *modelPipe) Close(why Reason, text string) {
	if why == Violation {
		p.w.failf("the client says that the gateway broke the protocol: %s", text)
	}
	p.locked(func() {
		p.clientErr, p.leave = errClosed, p.leave || why == Leave
	})
	time.AfterFunc(time.Duration(p.w.int(1000))*time.Millisecond, p.cutServer)
}

// carryUp brings the server what the client sent.
func (p *modelPipe) carryUp() {
	finTold := false
	for {
		p.w.pause(20)
		n := 1 + p.w.int(70_000)
		p.woken.L.Lock()
		for len(p.up) == 0 && !p.over && (!p.cut || p.told) && (!p.fin || finTold) {
			p.woken.Wait()
		}
		n = min(n, len(p.up))
		b := bytes.Clone(p.up[:n])
		p.up = p.up[n:]
		over, cut, leave, fin := p.over, p.cut && !p.told && n == 0, p.leave, p.fin && !finTold && n == 0
		if cut {
			p.told = true
		}
		if p.told {
			n = 0
		}
		p.woken.L.Unlock()
		switch {
		case over:
			p.request.Done(true)
			return
		case cut && leave:
			p.request.Reset(exchange.Cancel)
		case cut:
			p.request.Reset(exchange.Disconnected)
		case n > 0:
			p.request.Data(b)
		case fin:
			finTold = true
			p.request.End(nil)
		}
	}
}

// Inform and the others are of [exchange.Response].
func (p *modelPipe) Inform(*exchange.ResponseHead)     { p.w.failf("Inform on a pipe") }
func (p *modelPipe) Head(*exchange.ResponseHead, bool) { p.w.failf("Head on a pipe") }
func (p *modelPipe) Credit(int)                        {}
func (p *modelPipe) Data(b []byte) {
	p.locked(func() {
		if !p.lost {
			p.down = append(p.down, b...)
		}
	})
}
func (p *modelPipe) End([]exchange.Field) { p.locked(func() { p.over, p.finDown = true, !p.lost }) }
func (p *modelPipe) Reset(code exchange.Code, cause error) {
	if code == exchange.ProtocolError {
		p.w.failf("the gateway says that the client broke the protocol: %v", cause)
	}
	p.locked(func() {
		p.over = true
		if p.clientErr == nil {
			p.clientErr = fmt.Errorf("reset by the gateway: %v, %v", code, cause)
		}
	})
}
