package attack

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/stats"
)

// A Count is how many calls a backend has seen, and how many of them at a time.
type Count struct{ Total, Running, Peak atomic.Int64 }

func (c *Count) begin() {
	c.Total.Add(1)
	n := c.Running.Add(1)
	for p := c.Peak.Load(); n > p && !c.Peak.CompareAndSwap(p, n); p = c.Peak.Load() {
	}
}

func (c *Count) end() { c.Running.Add(-1) }

// Reset begins anew.
func (c *Count) Reset() {
	c.Total.Store(0)
	c.Peak.Store(c.Running.Load())
}

// A Backend is a grpc-go server of grpc.testing.TestService that counts its calls,
// but for UnaryCall, which is the victim's.
type Backend struct {
	testpb.UnimplementedTestServiceServer
	Addr  string
	Calls Count
	s     *grpc.Server
	ended chan struct{}
}

// NewBackend starts a Backend.
func NewBackend() (*Backend, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &Backend{Addr: l.Addr().String(), ended: make(chan struct{})}
	b.s = grpc.NewServer(grpc.StatsHandler((*counter)(&b.Calls)))
	testpb.RegisterTestServiceServer(b.s, b)
	go func() { // ends with Stop
		defer close(b.ended)
		_ = b.s.Serve(l)
	}()
	return b, nil
}

// Stop ends the server.
func (b *Backend) Stop() {
	b.s.Stop()
	<-b.ended
}

// counter is a Count as grpc-go's [stats.Handler].
type counter Count

type victim struct{}

func (c *counter) TagRPC(ctx context.Context, i *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, victim{}, i.FullMethodName == testpb.TestService_UnaryCall_FullMethodName)
}

func (c *counter) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if ctx.Value(victim{}) == true {
		return
	}
	switch s.(type) {
	case *stats.Begin:
		(*Count)(c).begin()
	case *stats.End:
		(*Count)(c).end()
	}
}

func (*counter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*counter) HandleConn(context.Context, stats.ConnStats)                       {}

// UnaryCall echoes.
func (*Backend) UnaryCall(_ context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return &testpb.SimpleResponse{Payload: in.Payload}, nil
}

// EmptyCall answers.
func (*Backend) EmptyCall(context.Context, *testpb.Empty) (*testpb.Empty, error) {
	return &testpb.Empty{}, nil
}

// StreamingOutputCall sends what was asked for.
func (*Backend) StreamingOutputCall(in *testpb.StreamingOutputCallRequest, s grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
	for _, p := range in.ResponseParameters {
		err := s.Send(&testpb.StreamingOutputCallResponse{Payload: &testpb.Payload{Body: zeros[:min(int(p.Size), len(zeros))]}})
		if err != nil {
			return err
		}
	}
	return nil
}

var zeros [64 << 10]byte

// StreamingInputCall reads nothing of what it gets.
func (*Backend) StreamingInputCall(s grpc.ClientStreamingServer[testpb.StreamingInputCallRequest, testpb.StreamingInputCallResponse]) error {
	<-s.Context().Done()
	return s.Context().Err()
}

// FullDuplexCall echoes each message.
func (*Backend) FullDuplexCall(s grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	for {
		in, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(&testpb.StreamingOutputCallResponse{Payload: in.Payload}); err != nil {
			return err
		}
	}
}

// A Miser is an HTTP/2 server that takes calls, answers none and never gives credit.
type Miser struct {
	Addr   string
	Calls  Count
	window uint32
	l      net.Listener
	wg     sync.WaitGroup
	mu     sync.Mutex
	open   map[net.Conn]bool
}

// NewMiser starts one whose streams begin with a window.
func NewMiser(window uint32) (*Miser, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &Miser{Addr: l.Addr().String(), window: window, l: l, open: map[net.Conn]bool{}}
	m.wg.Go(m.accept) // ends with Stop
	return m, nil
}

func (m *Miser) accept() {
	for {
		c, err := m.l.Accept()
		if err != nil {
			return
		}
		m.mu.Lock()
		m.open[c] = true
		m.mu.Unlock()
		m.wg.Go(func() { m.serve(c) }) // ends with the connection
	}
}

func (m *Miser) serve(c net.Conn) {
	defer func() {
		m.mu.Lock()
		delete(m.open, c)
		m.mu.Unlock()
		_ = c.Close()
	}()
	r := bufio.NewReader(c)
	if _, err := r.Discard(len(http2.ClientPreface)); err != nil {
		return
	}
	fr := http2.NewFramer(c, r)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: m.window})
	open := map[uint32]bool{}
	defer func() {
		for range open {
			m.Calls.end()
		}
	}()
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = fr.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = fr.WritePing(true, f.Data)
			}
		case *http2.MetaHeadersFrame:
			// The gateway's own call for reflection is not counted.
			if strings.HasPrefix(f.PseudoValue("path"), "/flood.") && !open[f.StreamID] {
				open[f.StreamID] = true
				m.Calls.begin()
			}
		case *http2.RSTStreamFrame:
			if open[f.StreamID] {
				delete(open, f.StreamID)
				m.Calls.end()
			}
		}
	}
}

// Stop ends the server.
func (m *Miser) Stop() {
	_ = m.l.Close()
	m.mu.Lock()
	for c := range m.open {
		_ = c.Close()
	}
	m.mu.Unlock()
	m.wg.Wait()
}
