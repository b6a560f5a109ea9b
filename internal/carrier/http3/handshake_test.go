package http3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
	"github.com/quic-go/webtransport-go"
)

// deaf is a socket that hears nothing.
type deaf struct{ net.PacketConn }

func (d deaf) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		if _, _, err := d.PacketConn.ReadFrom(p); err != nil {
			return 0, nil, err
		}
	}
}

// TestHalfOpen: clients that never answer keep few handshakes open, and others come through.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{Handshake: 6 * time.Second}, echo)
	_, client := certificate()
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to, err := net.ResolveUDPAddr("udp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: deaf{u}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 150 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := tr.Dial(ctx, to, client, quicClient()); err == nil {
					t.Error("a connection without hearing")
				}
			}
		})
	}
	eventually(t, "the flood is seen", func() bool { return s.handshakes.suspicious(nil) })
	from, err := net.ListenPacket("udp", "127.0.0.2:0")
	if err != nil {
		t.Skip("no second address: ", err)
	}
	defer from.Close()
	honest := &quic.Transport{Conn: from}
	defer honest.Close()
	q, err := honest.Dial(t.Context(), to, client, quicClient())
	for range 3 { // a busy machine may take longer than a handshake may
		if err == nil {
			break
		}
		q, err = honest.Dial(t.Context(), to, client, quicClient())
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := (&webtransport.Transport{}).NewClientConn(q)
	if err != nil {
		t.Fatal(err)
	}
	_, x, err := c.Dial(t.Context(), "https://"+s.addr+"/sluice/v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	str := stream1(t, x)
	write(t, str, ping)
	expect(t, str, ping)
	s.handshakes.mu.Lock()
	n := s.handshakes.n
	s.handshakes.mu.Unlock()
	if n > retryAbove+1 {
		t.Errorf("%d handshakes are open", n)
	}
	_ = q.CloseWithError(noError, "")
	cancel()
	wg.Wait()
	_ = tr.Close()
	_ = u.Close()
	eventually(t, "they are given up", func() bool {
		s.handshakes.mu.Lock()
		defer s.handshakes.mu.Unlock()
		return s.handshakes.n == 0 && len(s.handshakes.byAddr) == 0
	})
}

func TestHandshakes(t *testing.T) {
	var h handshakes
	addr := func(format string, n int) net.Addr {
		a, err := net.ResolveUDPAddr("udp", fmt.Sprintf(format, n))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	var all []*attempt
	begin := func(a net.Addr) bool {
		at, ok := h.begin(a)
		if ok {
			all = append(all, at)
		}
		return ok
	}
	for n := range retryAbove {
		if h.suspicious(nil) || !begin(addr("192.0.2.1:%d", n+1)) {
			t.Fatalf("handshake %d is too many", n)
		}
	}
	if !h.suspicious(nil) {
		t.Error("nothing is suspicious")
	}
	for n := retryAbove; n < maxPerAddr; n++ {
		if !begin(addr("192.0.2.1:%d", n+1)) {
			t.Fatalf("handshake %d of an address is too many", n)
		}
	}
	if begin(addr("192.0.2.1:%d", 9)) {
		t.Error("one address has more than its share")
	}
	for n := range maxPerAddr { // one /64
		if !begin(addr("[2001:db8::%x]:1", n+1)) {
			t.Fatalf("handshake %d of a network is too many", n)
		}
	}
	if begin(addr("[2001:db8::ffff:%x]:1", 1)) {
		t.Error("a network has more than its share")
	}
	if !begin(addr("[2001:db8:0:1::%x]:1", 1)) {
		t.Error("another network has none")
	}
	for n := 0; len(all) < maxHandshakes; n++ {
		if !begin(addr("[2001:db8:1:%x::1]:1", n)) {
			t.Fatal("too few")
		}
	}
	if begin(addr("198.51.100.%d:1", 1)) {
		t.Error("there is no limit")
	}
	for _, a := range all {
		a.end()
		a.end() // once
	}
	if h.n != 0 || len(h.byAddr) != 0 || h.suspicious(nil) {
		t.Errorf("%d are left, of %d addresses", h.n, len(h.byAddr))
	}
}

// TestConns: no more connections than there may be.
func TestConns(t *testing.T) {
	room := 1
	s := serve(t, Config{Acquire: func() bool { room--; return room >= 0 }}, echo)
	s.session(t)
	_, client := certificate()
	_, err := quic.DialAddr(t.Context(), s.addr, client, quicClient())
	if te, ok := errors.AsType[*quic.TransportError](err); !ok || te.ErrorCode != quic.ConnectionRefused {
		t.Errorf("one more: %v", err)
	}
}

// TestStreamsBeforeSession: streams of sessions that never come keep nobody from anything.
func TestStreamsBeforeSession(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{}, echo)
	q := s.conn(t)
	c, err := (&webtransport.Transport{}).NewClientConn(q)
	if err != nil {
		t.Fatal(err)
	}
	var strays []*quic.Stream
	for n := range 200 {
		str, err := q.OpenStreamSync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := str.Write(quicvarint.Append(quicvarint.Append(nil, 0x41), uint64(4*(n%50)+4000))); err != nil {
			t.Fatal(err)
		}
		strays = append(strays, str)
	}
	_, x, err := c.Dial(t.Context(), "https://"+s.addr+"/sluice/v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	str := stream1(t, x)
	write(t, str, ping)
	expect(t, str, ping)
	for _, stray := range strays {
		_ = stray.SetReadDeadline(time.Now().Add(4 * reordering))
		_, err := stray.Read(make([]byte, 1))
		if se, ok := errors.AsType[*quic.StreamError](err); !ok || se.ErrorCode != webtransport.WTBufferedStreamRejectedErrorCode {
			t.Fatalf("a stray stream gets %v", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pipes) != 1 {
		t.Errorf("%d pipes", len(s.pipes))
	}
}

// TestStatelessReset: a client of a server that has died learns of it from the next one, by
// the key that both have.
func TestStatelessReset(t *testing.T) {
	key := [32]byte{1, 2, 3}
	start := func(addr string) (*Server, net.PacketConn) {
		u, err := net.ListenPacket("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		s := New(Config{
			Handler: &stalling{}, Handshake: 10 * time.Second, MaxStreams: 10, ResetKey: &key,
			Acquire: func() bool { return true }, Release: func() {}, LimitHit: func(string) {},
		})
		server, _ := certificate()
		go func() { _ = s.Serve(u, server) }() // ends with the socket
		return s, u
	}
	first, u := start("127.0.0.1:0")
	addr := u.LocalAddr().String()
	_, client := certificate()
	q, err := quic.DialAddr(t.Context(), addr, client, quicClient())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = q.CloseWithError(noError, "") }()
	str, err := q.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	write(t, str, "\x01\x20")
	_ = u.Close() // as if it were killed: it says nothing more
	defer first.Close()
	second, _ := start(addr)
	defer second.Close()
	for deadline := time.Now().Add(20 * time.Second); q.Context().Err() == nil; time.Sleep(10 * time.Millisecond) {
		_, _ = str.Write(make([]byte, 1000)) // to a tiny packet there is no reset
		if time.Now().After(deadline) {
			t.Fatal("it does not notice")
		}
	}
	var reset *quic.StatelessResetError
	if err := context.Cause(q.Context()); !errors.As(err, &reset) {
		t.Error(err)
	}
}

// TestRapidReset: streams that are opened and taken back, one after the other, end their
// connection; a few do not.
func TestRapidReset(t *testing.T) {
	s := serve(t, Config{Abuse: 50}, echo)
	x, other := s.session(t), s.session(t)
	for range 40 {
		str := stream1(t, x)
		write(t, str, ping)
		str.CancelWrite(1)
	}
	time.Sleep(1100 * time.Millisecond) // another second begins
	write(t, stream1(t, x), ping)
	if x.Context().Err() != nil || s.hit("conn_abuse") {
		t.Fatal("a few are too many")
	}
	for range 10_000 {
		str, err := x.OpenStream()
		if err != nil {
			if x.Context().Err() != nil {
				break
			}
			time.Sleep(time.Millisecond) // the limit of streams
			continue
		}
		if _, err := str.Write([]byte(ping)); err != nil {
			break
		}
		str.CancelWrite(1)
	}
	eventually(t, "the end of the connection", func() bool { return x.Context().Err() != nil })
	if !s.hit("conn_abuse") {
		t.Error("the limit was not counted")
	}
	str := stream1(t, other)
	write(t, str, ping)
	expect(t, str, ping)
}
