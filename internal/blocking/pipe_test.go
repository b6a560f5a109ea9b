package blocking

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/netio"
	"github.com/sluice-rpc/sluice/rpc"
)

var (
	errCut  = errors.New("cut by us")
	errGone = errors.New("reset by the peer")
)

// fakeStream is a stream in memory. What the client sends comes through a pipe; what it gets
// is kept, as long as it takes it.
type fakeStream struct {
	up  *io.PipeReader
	ctx context.Context

	cancel context.CancelCauseFunc

	mu       sync.Mutex
	changed  *sync.Cond
	takes    int // bytes that the client will still take
	down     bytes.Buffer
	writes   int
	closed   bool
	reset    error
	code     exchange.Code
	stopped  bool
	lingers  bool
	deadline *time.Timer
}

func newFakeStream() (*fakeStream, *io.PipeWriter) {
	r, w := io.Pipe()
	s := &fakeStream{up: r, takes: 1 << 30}
	s.changed = sync.NewCond(&s.mu)
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s, w
}

func (s *fakeStream) Read(p []byte) (int, error) { return s.up.Read(p) }

func (s *fakeStream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.takes < len(p) && s.reset == nil && s.ctx.Err() == nil {
		s.changed.Wait()
	}
	if s.reset != nil {
		return 0, s.reset
	}
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	s.takes -= len(p)
	s.writes++
	return s.down.Write(p)
}

func (s *fakeStream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.cancel(nil)
	return s.reset
}

func (s *fakeStream) Reset(code exchange.Code, _ error) {
	s.mu.Lock()
	s.reset, s.code = errCut, code
	s.changed.Broadcast()
	s.mu.Unlock()
	s.cancel(errCut)
	_ = s.up.CloseWithError(errCut)
}

func (s *fakeStream) Linger() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lingers = true
	s.deadline = time.AfterFunc(5*time.Second, func() { _ = s.up.CloseWithError(os.ErrDeadlineExceeded) })
}

func (s *fakeStream) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.deadline.Stop()
}

func (s *fakeStream) stops() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

func (s *fakeStream) Stall()                   {}
func (s *fakeStream) Context() context.Context { return s.ctx }

func (s *fakeStream) Lost(err error) exchange.Code {
	if errors.Is(err, errGone) {
		return exchange.Cancel
	}
	return exchange.Disconnected
}

// fakePipe serves one pipe.
type fakePipe struct {
	response exchange.Response
	onBegin  func(exchange.Response)
	onData   func(exchange.Response, []byte)

	mu        sync.Mutex
	got       bytes.Buffer
	ended     bool
	resets    []exchange.Code
	credit    int
	done      int
	delivered bool
}

func (p *fakePipe) Start(_ *exchange.RequestHead, r exchange.Response) exchange.Request {
	p.response = r
	return p
}

func (p *fakePipe) Begin() {
	if p.onBegin != nil {
		p.onBegin(p.response)
	}
}

func (p *fakePipe) Data(b []byte) {
	p.mu.Lock()
	p.got.Write(b)
	p.mu.Unlock()
	if p.onData != nil {
		p.onData(p.response, b)
	}
}

func (p *fakePipe) End([]exchange.Field) {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
}

func (p *fakePipe) Reset(code exchange.Code) {
	p.mu.Lock()
	p.resets = append(p.resets, code)
	p.mu.Unlock()
	p.response.Reset(exchange.Cancel, nil)
}

func (p *fakePipe) Credit(n int) {
	p.mu.Lock()
	p.credit += n
	p.mu.Unlock()
}

func (p *fakePipe) Done(delivered bool) {
	p.mu.Lock()
	p.done++
	p.delivered = delivered
	p.mu.Unlock()
}

// piped runs f beside a pipe that p serves, and returns when the pipe is over.
func piped(t *testing.T, p *fakePipe, f func(s *fakeStream, w *io.PipeWriter)) *fakeStream {
	t.Helper()
	var s *fakeStream
	synctest.Test(t, func(t *testing.T) {
		var w *io.PipeWriter
		s, w = newFakeStream()
		over := make(chan struct{})
		go func() { // ends with the pipe
			defer close(over)
			ServePipe(p, &exchange.RequestHead{}, s, &Options{Work: &netio.Work{}})
		}()
		synctest.Wait()
		f(s, w)
		<-over
		if p.done != 1 {
			t.Errorf("Done came %d times", p.done)
		}
	})
	return s
}

func send(t *testing.T, w io.Writer, b string) {
	t.Helper()
	if _, err := io.WriteString(w, b); err != nil {
		t.Fatal(err)
	}
}

func TestPipe(t *testing.T) {
	echo := func(r exchange.Response, b []byte) {
		r.Credit(len(b))
		r.Data(b)
	}
	t.Run("the client ends first", func(t *testing.T) {
		p := &fakePipe{onData: echo}
		s := piped(t, p, func(_ *fakeStream, w *io.PipeWriter) {
			for range 3 {
				send(t, w, "hello ")
			}
			_ = w.Close()
			synctest.Wait()
			if !p.ended {
				t.Error("no End")
			}
			p.response.Data([]byte("bye"))
			p.response.End(nil)
		})
		if got := s.down.String(); got != "hello hello hello bye" || !s.closed || !p.delivered || len(p.resets) != 0 {
			t.Errorf("%q, closed %v, delivered %v, resets %v", got, s.closed, p.delivered, p.resets)
		}
		if p.credit != len("hello hello hello ") { // the end is told by Done
			t.Errorf("credit %d", p.credit)
		}
	})
	t.Run("the server ends first, and what comes is dropped", func(t *testing.T) {
		p := &fakePipe{onData: func(r exchange.Response, _ []byte) { r.End(nil) }}
		s := piped(t, p, func(s *fakeStream, w *io.PipeWriter) {
			send(t, w, "x")
			synctest.Wait()
			send(t, w, strings.Repeat("y", 3*rpc.WindowDefault)) // no credit is needed any more
			synctest.Wait()
			if s.stops() {
				t.Error("the client was stopped before its time")
			}
			_ = w.Close()
		})
		if p.got.String() != "x" || !p.delivered || !s.lingers {
			t.Errorf("got %d bytes, delivered %v, lingers %v", p.got.Len(), p.delivered, s.lingers)
		}
	})
	t.Run("the client never ends", func(t *testing.T) {
		p := &fakePipe{onBegin: func(r exchange.Response) { r.End(nil) }}
		began := time.Time{}
		var took time.Duration
		s := piped(t, p, func(s *fakeStream, _ *io.PipeWriter) {
			began = time.Now()
			for !s.stops() {
				time.Sleep(100 * time.Millisecond)
			}
			took = time.Since(began)
		})
		if !s.lingers || !p.delivered || took < 4*time.Second || took > 6*time.Second {
			t.Errorf("lingers %v, delivered %v, took %v", s.lingers, p.delivered, took)
		}
	})
	t.Run("the client resets", func(t *testing.T) {
		p := &fakePipe{onData: echo}
		s := piped(t, p, func(_ *fakeStream, w *io.PipeWriter) {
			send(t, w, "x")
			_ = w.CloseWithError(errGone)
		})
		if len(p.resets) != 1 || p.resets[0] != exchange.Cancel || p.delivered || s.code != exchange.Cancel || p.ended {
			t.Errorf("resets %v, delivered %v, code %v", p.resets, p.delivered, s.code)
		}
	})
	t.Run("the client stops, while it is silent", func(t *testing.T) {
		p := &fakePipe{onData: echo}
		piped(t, p, func(s *fakeStream, w *io.PipeWriter) {
			send(t, w, "x")
			synctest.Wait()
			s.cancel(errGone)
		})
		if len(p.resets) != 1 || p.resets[0] != exchange.Cancel {
			t.Errorf("resets %v", p.resets)
		}
	})
	t.Run("the client stops, after its end", func(t *testing.T) {
		p := &fakePipe{onData: echo}
		piped(t, p, func(s *fakeStream, w *io.PipeWriter) {
			_ = w.Close()
			synctest.Wait()
			s.cancel(errGone)
		})
		if len(p.resets) != 1 || !p.ended {
			t.Errorf("resets %v, ended %v", p.resets, p.ended)
		}
	})
	t.Run("the connection is lost while a write waits", func(t *testing.T) {
		p := &fakePipe{}
		piped(t, p, func(s *fakeStream, _ *io.PipeWriter) {
			s.mu.Lock()
			s.takes = 0
			s.mu.Unlock()
			p.response.Data([]byte("to a client that does not read"))
			synctest.Wait()
			s.cancel(errors.New("no route to host"))
			s.mu.Lock()
			s.changed.Broadcast()
			s.mu.Unlock()
		})
		if len(p.resets) != 1 || p.resets[0] != exchange.Disconnected || p.delivered {
			t.Errorf("resets %v, delivered %v", p.resets, p.delivered)
		}
	})
	t.Run("the server resets while a write waits", func(t *testing.T) {
		p := &fakePipe{}
		s := piped(t, p, func(s *fakeStream, _ *io.PipeWriter) {
			s.mu.Lock()
			s.takes = 0
			s.mu.Unlock()
			p.response.Data([]byte("x"))
			synctest.Wait()
			p.response.Reset(exchange.ProtocolError, errors.New("why"))
			p.response.Data([]byte("dropped"))
			p.response.End(nil)
		})
		if s.code != exchange.ProtocolError || s.down.Len() != 0 || p.delivered || len(p.resets) != 0 || s.closed {
			t.Errorf("code %v, %q, delivered %v, resets %v", s.code, &s.down, p.delivered, p.resets)
		}
	})
	t.Run("credit", func(t *testing.T) {
		p := &fakePipe{}
		piped(t, p, func(_ *fakeStream, w *io.PipeWriter) {
			sent := 0
			go func() { // ends with the pipe
				for {
					n, err := w.Write(make([]byte, 1000))
					if sent += n; err != nil {
						return
					}
				}
			}()
			synctest.Wait()
			if n := p.got.Len(); n != rpc.WindowDefault {
				t.Errorf("%d bytes came without credit", n)
			}
			p.response.Credit(500)
			synctest.Wait()
			if n := p.got.Len(); n != rpc.WindowDefault+500 {
				t.Errorf("%d bytes came with a little credit", n)
			}
			p.response.Reset(exchange.Cancel, nil)
		})
	})
	t.Run("a batch is one write", func(t *testing.T) {
		p := &fakePipe{onData: func(r exchange.Response, b []byte) {
			for i := range b {
				r.Data(b[i : i+1])
			}
			r.End(nil)
		}}
		s := piped(t, p, func(_ *fakeStream, w *io.PipeWriter) {
			send(t, w, "0123456789")
			_ = w.Close()
		})
		if s.writes != 1 || s.down.String() != "0123456789" {
			t.Errorf("%d writes of %q", s.writes, &s.down)
		}
	})
	t.Run("much", func(t *testing.T) {
		p := &fakePipe{onData: echo}
		content := strings.Repeat("0123456789", 100_000)
		s := piped(t, p, func(_ *fakeStream, w *io.PipeWriter) {
			send(t, w, content)
			_ = w.Close()
			synctest.Wait()
			p.response.End(nil)
		})
		if s.down.String() != content || !p.delivered {
			t.Errorf("%d bytes of %d", s.down.Len(), len(content))
		}
	})
}
