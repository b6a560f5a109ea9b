package http3

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	qhttp3 "github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// stalling serves requests. It takes a part of what comes at /up, and then nothing; at /down it
// sends without end; others get 200.
type stalling struct {
	takes  int // bytes of a request that are taken
	resets atomic.Int32
}

type stalled struct {
	h        *stalling
	response exchange.Response
	down     bool
	taken    int
}

func (h *stalling) Start(head *exchange.RequestHead, r exchange.Response) exchange.Request {
	if head.Path == "/ok" {
		return &ok{response: r}
	}
	return &stalled{h: h, response: r, down: head.Path == "/down"}
}

func (s *stalled) Begin() {
	if s.down {
		s.response.Head(&exchange.ResponseHead{Status: 200}, false)
		s.response.Data(make([]byte, 32<<10))
	}
}

func (s *stalled) Data(b []byte) {
	if n := min(len(b), s.h.takes-s.taken); n > 0 {
		s.taken += n
		s.response.Credit(n)
	}
}

func (s *stalled) End([]exchange.Field) {}

func (s *stalled) Reset(exchange.Code) {
	s.h.resets.Add(1)
	s.response.Reset(exchange.Cancel, nil)
}

func (s *stalled) Credit(n int) { s.response.Data(make([]byte, n)) }
func (s *stalled) Done(bool)    {}

// endless is a body without an end.
type endless struct {
	ctx  context.Context
	sent atomic.Int64
}

func (e *endless) Read(p []byte) (int, error) {
	if e.ctx.Err() != nil {
		return 0, e.ctx.Err()
	}
	e.sent.Add(int64(len(p)))
	return len(p), nil
}

func (s *testServer) client(t *testing.T, q *quic.Config) *qhttp3.Transport {
	_, client := certificate()
	tr := &qhttp3.Transport{TLSClientConfig: client, QUICConfig: q}
	t.Cleanup(func() { _ = tr.Close() })
	return tr
}

func (s *testServer) get(t *testing.T, tr http.RoundTripper, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", "https://"+s.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = a.Body.Close()
	if a.StatusCode != 200 {
		t.Error(a.StatusCode)
	}
}

// TestStalledRequests: a hundred requests that nobody reads, or fewer that were read fast
// before, do not stop the next on their connection.
func TestStalledRequests(t *testing.T) {
	for name, c := range map[string]struct{ streams, takes int }{"never read": {100, 0}, "read fast before": {40, 256 << 10}} {
		t.Run(name, func(t *testing.T) {
			h := &stalling{takes: c.takes}
			s := serve(t, Config{Handler: h}, nil)
			tr := s.client(t, &quic.Config{})
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			bodies := make([]*endless, c.streams)
			for i := range bodies {
				bodies[i] = &endless{ctx: ctx}
				r, err := http.NewRequestWithContext(ctx, "POST", "https://"+s.addr+"/up", bodies[i])
				if err != nil {
					t.Fatal(err)
				}
				wg.Go(func() {
					if a, err := tr.RoundTrip(r); err == nil {
						_ = a.Body.Close()
						t.Error("a response to a request that nobody reads")
					}
				})
			}
			// What the exchange's window and the stream's have room for.
			eventually(t, "all are full", func() bool {
				for _, b := range bodies {
					if b.sent.Load() < int64(c.takes)+100<<10 {
						return false
					}
				}
				return true
			})
			s.get(t, tr, "/ok")
		})
	}
}

// TestStalledResponses: a hundred responses that the client does not read do not stop the next.
func TestStalledResponses(t *testing.T) {
	s := serve(t, Config{Handler: &stalling{}}, nil)
	const window = 64 << 10
	tr := s.client(t, &quic.Config{
		InitialStreamReceiveWindow: window, MaxStreamReceiveWindow: window,
		InitialConnectionReceiveWindow: 101 * window, MaxConnectionReceiveWindow: 101 * window,
	})
	for range 100 {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+s.addr+"/down", nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
	}
	s.get(t, tr, "/ok")
}

// TestStalledPipes: a hundred pipes that nobody reads do not stop the next, with the flow
// control of sessions and without.
func TestStalledPipes(t *testing.T) {
	for name, cfg := range map[string]*webtransport.Config{
		"without flow control of sessions": nil, "with flow control of sessions": {MaxIncomingStreams: 1, MaxIncomingUniStreams: 10, MaxIncomingData: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, Config{}, func(p *pipe, b []byte) {
				if b[0] == ping[0] {
					echo(p, b)
				}
			})
			_, client := certificate()
			q, err := quic.DialAddr(t.Context(), s.addr, client, quicClient())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = q.CloseWithError(noError, "") })
			c, err := (&webtransport.Transport{Config: cfg}).NewClientConn(q)
			if err != nil {
				t.Fatal(err)
			}
			_, x, err := c.Dial(t.Context(), "https://"+s.addr+"/sluice/v1", nil)
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range 100 {
				str := stream1(t, x)
				wg.Go(func() {
					_ = str.SetWriteDeadline(time.Now().Add(time.Second))
					if _, err := io.Copy(str, io.LimitReader(&endless{ctx: t.Context()}, 10<<20)); err == nil {
						t.Error("all was taken of a pipe that nobody reads")
					}
				})
			}
			wg.Wait()
			str := stream1(t, x)
			write(t, str, ping)
			expect(t, str, ping)
		})
	}
}

// TestStall: a client that takes nothing for too long.
func TestStall(t *testing.T) {
	t.Run("a response", func(t *testing.T) {
		h := &stalling{}
		s := serve(t, Config{Handler: h, Stall: 200 * time.Millisecond}, nil)
		tr := s.client(t, &quic.Config{InitialStreamReceiveWindow: 1 << 10, MaxStreamReceiveWindow: 1 << 10})
		r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+s.addr+"/down", nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		eventually(t, "the exchange is reset", func() bool { return h.resets.Load() == 1 })
		if _, err := io.ReadAll(a.Body); err == nil {
			t.Error("the response has ended well")
		}
		s.get(t, tr, "/ok")
	})
	t.Run("a pipe", func(t *testing.T) {
		s := serve(t, Config{Stall: 200 * time.Millisecond}, func(p *pipe, b []byte) {
			p.response.Credit(len(b))
			p.response.Data(make([]byte, 60<<10))
		})
		_, client := certificate()
		q := quicClient()
		q.InitialStreamReceiveWindow, q.MaxStreamReceiveWindow = 1<<10, 1<<10
		c, err := quic.DialAddr(t.Context(), s.addr, client, q)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.CloseWithError(noError, "") })
		wc, err := (&webtransport.Transport{}).NewClientConn(c)
		if err != nil {
			t.Fatal(err)
		}
		_, x, err := wc.Dial(t.Context(), "https://"+s.addr+"/sluice/v1", nil)
		if err != nil {
			t.Fatal(err)
		}
		str := stream1(t, x)
		write(t, str, ping)
		p := s.pipe(t, 0)
		eventually(t, "the pipe is over", func() bool { _, _, done := p.state(); return done })
		if _, resets, _ := p.state(); len(resets) != 1 || resets[0] != exchange.Disconnected {
			t.Errorf("resets %v", resets)
		}
		_, err = io.ReadAll(str)
		if se, ok := errors.AsType[*webtransport.StreamError](err); !ok || se.ErrorCode != codeStalled {
			t.Errorf("the client gets %v", err)
		}
	})
}

// TestIdle: a connection without anything ends, and one with nothing but requests that were
// not sent; one with a session does not.
func TestIdle(t *testing.T) {
	s := serve(t, Config{Idle: 300 * time.Millisecond}, echo)
	x := s.session(t)
	_, client := certificate()
	for _, begun := range []int{0, 10} {
		q, err := quic.DialAddr(t.Context(), s.addr, client, quicClient())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (&webtransport.Transport{}).NewClientConn(q); err != nil {
			t.Fatal(err)
		}
		for range begun {
			str, err := q.OpenStream()
			if err != nil {
				t.Fatal(err)
			}
			write(t, str, "\x01\x20") // of HEADERS, and then nothing
		}
		select {
		case <-q.Context().Done():
		case <-time.After(20 * time.Second):
			t.Fatalf("with %d requests begun it is still open", begun)
		}
		if cause := context.Cause(q.Context()); !strings.Contains(cause.Error(), "idle") {
			t.Error(cause)
		}
	}
	str := stream1(t, x)
	write(t, str, ping)
	expect(t, str, ping)
}
