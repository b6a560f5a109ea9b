package backend

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/h2"
	"github.com/sluice-rpc/sluice/internal/netio"
	"github.com/sluice-rpc/sluice/rpc"
)

func h2Config() *h2.Config {
	return &h2.Config{
		Work: &netio.Work{}, Keeper: h2.NewKeeper(), Budget: h2.NewBudget(64 << 20), LimitHit: func(string) {},
		MaxStreams: 250, HeaderBytes: 16 << 10, StreamWindow: 64 << 10, ConnBuffer: 1 << 20,
	}
}

// An h2Server answers every request at its end, over sockets.
type h2Server struct {
	t    testing.TB
	addr string
	cfg  *h2.Config
	note func(path string)
	hits atomic.Int64

	mu       sync.Mutex
	l        net.Listener
	accepted chan struct{} // closed when l accepts no more
	conns    map[*h2.Conn]struct{}
	wg       sync.WaitGroup
}

func (s *h2Server) start() {
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.addr, s.l = l.Addr().String(), l
	accepted := make(chan struct{})
	s.accepted = accepted
	s.wg.Go(func() {
		defer close(accepted)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			c := h2.NewServer(netio.New(nc), s.cfg, s)
			s.mu.Lock()
			s.conns[c] = struct{}{}
			s.mu.Unlock()
			s.wg.Go(func() {
				c.Run(nil)
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
			})
		}
	})
}

func (s *h2Server) each(do func(c *h2.Conn)) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		do(c)
		n++
	}
	return n
}

// restart ends the server as a well-behaved one does, and starts it again.
func (s *h2Server) restart() {
	s.l.Close()
	<-s.accepted // one that it had accepted is drained too
	s.each((*h2.Conn).Drain)
	s.wg.Wait()
	s.start()
}

// An h2Request answers itself.
type h2Request struct {
	s        *h2Server
	path     string
	response exchange.Response
}

func (s *h2Server) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	return &h2Request{s, head.Path, response}
}

func (r *h2Request) Begin() {
	r.s.note(r.path)
	r.s.hits.Add(1)
}

func (r *h2Request) Data(b []byte) { r.response.Credit(len(b)) }
func (r *h2Request) End([]exchange.Field) {
	r.response.Head(&exchange.ResponseHead{Status: 200}, false)
	r.response.Data([]byte("answer"))
	r.response.End(nil)
}
func (r *h2Request) Reset(code exchange.Code) { r.response.Reset(code, nil) }
func (r *h2Request) Credit(int)               {}
func (r *h2Request) Done(bool)                {}

// TestOverHTTP2 is the storm over sockets, with the real engine at both ends: one of
// two endpoints drains its connections and restarts under load, and no call is lost.
func TestOverHTTP2(t *testing.T) {
	goaways, restarts := 200, 20
	if testing.Short() {
		goaways, restarts = 30, 5
	}
	var mu sync.Mutex
	reached := map[string]int{}
	note := func(path string) {
		mu.Lock()
		reached[path]++
		mu.Unlock()
	}
	// Two addresses of the loopback with one port, as a DNS name has them.
	good := &h2Server{t: t, addr: "127.0.0.1:0", cfg: h2Config(), note: note, conns: map[*h2.Conn]struct{}{}}
	good.start()
	_, port, _ := net.SplitHostPort(good.addr)
	bad := &h2Server{t: t, addr: "127.0.0.2:" + port, cfg: h2Config(), note: note, conns: map[*h2.Conn]struct{}{}}
	bad.start()
	if t.Failed() {
		t.FailNow()
	}

	clientConfig := h2Config()
	var conns sync.WaitGroup
	tg, err := ParseTarget("dns:///name.test:" + port)
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(Config{
		Target: tg, NewClient: h2Client, MaxConns: 2,
		Resolve: func(context.Context, string) ([]string, error) { return []string{"127.0.0.1", "127.0.0.2"}, nil },
		Dial: func(ctx context.Context, network, addr string, events ConnEvents) (Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			c := h2.NewClient(netio.New(nc), clientConfig, events)
			conns.Go(func() { c.Run(nil) })
			return c, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}

	var stop atomic.Bool
	var calls atomic.Int64
	var workers sync.WaitGroup
	for g := range 16 {
		workers.Go(func() {
			for i := 0; !stop.Load(); i++ {
				id := fmt.Sprintf("/s/%d-%d", g, i)
				c := start(&caller{t: t, late: true, ended: make(chan struct{})}, b, &rpc.Call{Method: id})
				c.req.Data([]byte("question"))
				c.req.End()
				<-c.ended
				c.req.Done(rpc.Outcome{Status: c.status, Delivered: true})
				calls.Add(1)
				mu.Lock()
				times := reached[id]
				delete(reached, id)
				mu.Unlock()
				if !c.status.OK() || times != 1 || string(c.body) != "answer" {
					t.Errorf("call %s: %v, %q, reached a server %d times", id, c.status, c.body, times)
				}
			}
		})
	}
	blows := 0
	for i := range goaways {
		// Each blow hits a connection that has answered some calls.
		before := bad.hits.Load()
		for n := 0; n < 500 && bad.hits.Load() < before+20; n++ {
			time.Sleep(time.Millisecond)
		}
		if bad.hits.Load() > before && bad.each((*h2.Conn).Drain) > 0 {
			blows++
		}
		if i%(goaways/restarts) == 0 {
			bad.restart()
		}
		time.Sleep(time.Millisecond)
	}
	stop.Store(true)
	workers.Wait()
	t.Logf("%d calls, %d times GOAWAY, %+v", calls.Load(), blows, b.Status())
	b.Close()
	conns.Wait()
	for _, s := range []*h2Server{good, bad} {
		s.l.Close()
		s.each((*h2.Conn).Close)
		s.wg.Wait()
	}
	if blows < goaways/2 {
		t.Errorf("only %d blows of %d met a connection", blows, goaways)
	}
}

// h2Client is fakeClient with the rest of an HTTP head.
func h2Client(next exchange.Handler) rpc.Handler {
	return fakeClient(exchangeFunc(func(head *exchange.RequestHead, response exchange.Response) exchange.Request {
		head.Scheme, head.Authority = "http", "name.test"
		return next.Start(head, response)
	}))
}

type exchangeFunc func(head *exchange.RequestHead, response exchange.Response) exchange.Request

func (f exchangeFunc) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	return f(head, response)
}
