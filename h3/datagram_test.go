package h3_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/h3"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
)

// lossyRelay is a way to addr that drops a fifth of the packets, once it is told to, and has some
// overtake others.
type lossyRelay struct {
	client, server *net.UDPConn

	mu    sync.Mutex
	from  net.Addr
	lossy bool
	rand  *rand.Rand
	wg    sync.WaitGroup
}

func newLossyRelay(t *testing.T, addr string) *lossyRelay {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	r := &lossyRelay{rand: rand.New(rand.NewPCG(1, 2))}
	if r.server, err = net.DialUDP("udp", nil, to); err != nil {
		t.Fatal(err)
	}
	if r.client, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	r.wg.Go(func() { // ends with the socket
		for b := make([]byte, 2048); ; {
			n, from, err := r.client.ReadFrom(b)
			if err != nil {
				return
			}
			r.mu.Lock()
			r.from = from
			r.mu.Unlock()
			r.pass(b[:n], func(b []byte) { _, _ = r.server.Write(b) })
		}
	})
	r.wg.Go(func() { // the same
		for b := make([]byte, 2048); ; {
			n, err := r.server.Read(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			r.mu.Lock()
			from := r.from
			r.mu.Unlock()
			r.pass(b[:n], func(b []byte) { _, _ = r.client.WriteTo(b, from) })
		}
	})
	t.Cleanup(func() {
		_ = r.client.Close()
		_ = r.server.Close()
		r.wg.Wait()
	})
	return r
}

func (r *lossyRelay) pass(b []byte, send func([]byte)) {
	r.mu.Lock()
	drop, late := r.lossy && r.rand.IntN(5) == 0, r.lossy && r.rand.IntN(5) == 0
	r.mu.Unlock()
	switch {
	case drop || len(b) == 0:
	case late:
		b = append([]byte(nil), b...)
		r.wg.Go(func() { // ends in a moment
			time.Sleep(5 * time.Millisecond)
			send(b)
		})
	default:
		send(b)
	}
}

// TestDatagrams: messages that may be lost, on a way that loses them. Those that come are whole,
// in order and none twice; what is on the stream all comes.
func TestDatagrams(t *testing.T) {
	g := start(t, sluice.Config{}, h3.Config{})
	relay := newLossyRelay(t, g.addr)
	s := g.sessionVia(t, relay.client.LocalAddr().String())
	c := begin(t, s, "FullDuplexCall", exchange.Field{Name: ":datagrams", Value: "7"})
	c.send(t, duplex.Data, enveloped(t, ask(1)))
	c.until(t, func() bool { return len(c.frames) > 0 }) // HEADERS comes with the first answer
	if exchange.Get(c.fields[duplex.Headers], ":datagrams") != "1" {
		t.Fatalf("HEADERS %v", c.fields[duplex.Headers])
	}
	relay.mu.Lock()
	relay.lossy = true
	relay.mu.Unlock()

	ctx, cancel := context.WithCancel(t.Context())
	var newest uint64
	came := 0
	done := make(chan struct{})
	go func() { // ends with ctx
		defer close(done)
		for {
			b, err := s.ReceiveDatagram(ctx)
			if err != nil {
				return
			}
			d, ok := duplex.ParseDatagram(b)
			var m testgrpc.StreamingOutputCallResponse
			if !ok || d.Number != 7 || proto.Unmarshal(d.Message, &m) != nil {
				t.Errorf("a datagram % x", b)
			}
			if d.Sequence > newest {
				newest = d.Sequence
			}
			came++
		}
	}()
	const sent = 400
	for n := range uint64(sent) {
		b, err := proto.Marshal(ask(int32(n%900) + 1))
		if err != nil {
			t.Fatal(err)
		}
		d := duplex.Datagram{Number: 7, Sequence: n + 1, Message: b}
		if err := s.SendDatagram(d.Append(nil)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	c.send(t, duplex.Data, enveloped(t, ask(5000))) // too long an answer for a datagram
	c.send(t, duplex.End, nil)
	c.until(t, c.ended)
	time.Sleep(100 * time.Millisecond) // what is late
	cancel()
	<-done
	end := c.fields[duplex.End]
	count, err := strconv.ParseUint(exchange.Get(end, ":datagrams-sent"), 10, 64)
	if err != nil || exchange.Get(end, "grpc-status") != "0" || c.data.Len() < 5000 || c.data.Len() > 5100 {
		t.Errorf("END %v, %d bytes of DATA", end, c.data.Len())
	}
	// The first answer was one, too. The requests that did not come have none.
	if count < sent/10 || count > sent+1 || newest > count || came == 0 || uint64(came) > count {
		t.Errorf("of %d requests %d had answers, of which %d came, the newest is %d", sent, count, came, newest)
	}
	t.Logf("of %d requests %d had answers, of which %d came", sent, count, came)
}
