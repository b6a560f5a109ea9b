package accept

import (
	"net"
	"testing"
	"time"
)

func TestPenalties(t *testing.T) {
	var p penalties
	now := time.Unix(1000, 0)
	tcp := func(s string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(s), Port: 1} }
	bad, good := tcp("192.0.2.1"), tcp("192.0.2.2")
	if d := p.wait(bad, now); d != 0 {
		t.Errorf("before any offence: %v", d)
	}
	for _, want := range []time.Duration{50, 100, 200, 400, 800, 1000, 1000} {
		p.add(bad, now)
		if d := p.wait(bad, now); d != want*time.Millisecond {
			t.Errorf("got %v, want %v ms", d, int64(want))
		}
	}
	if d := p.wait(good, now); d != 0 {
		t.Errorf("somebody else: %v", d)
	}
	if d := p.wait(&net.UnixAddr{Name: "/x"}, now); d != 0 {
		t.Errorf("a unix socket: %v", d)
	}
	later := now.Add(penaltyMemory + 1)
	if d := p.wait(bad, later); d != 0 {
		t.Errorf("after a while: %v", d)
	}
	p.add(bad, later)
	if d := p.wait(bad, later); d != penaltyFirst {
		t.Errorf("the first one again: %v", d)
	}
	p.add(tcp("2001:db8::1"), later)
	if p.wait(tcp("2001:db8::ffff"), later) == 0 || p.wait(tcp("2001:db8:0:1::1"), later) != 0 {
		t.Error("of IPv6 a network of 64 bits counts")
	}
}

// TestPenaltiesBounded fills the memory.
func TestPenaltiesBounded(t *testing.T) {
	var p penalties
	now := time.Unix(1000, 0)
	addr := func(i int) net.Addr { return &net.TCPAddr{IP: net.IPv4(10, byte(i>>16), byte(i>>8), byte(i))} }
	for i := range 2 * penaltyMax {
		p.add(addr(i), now)
	}
	if len(p.of) != penaltyMax {
		t.Errorf("%d addresses are remembered", len(p.of))
	}
	later := now.Add(2 * penaltyMemory)
	p.add(addr(-1), later)
	if len(p.of) != 1 {
		t.Errorf("%d addresses are remembered after a while", len(p.of))
	}
}
