package h2

import (
	"net"
	"testing"

	"github.com/sluice-rpc/sluice/internal/netio"
	"github.com/sluice-rpc/sluice/rpc"
)

// TestGrownWindows: the windows of responses grow by a share of the budget in all, which
// ended streams give back. Else a client could have every stream of a connection read
// fast for a while, and then hold 1 MiB for each.
func TestGrownWindows(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	cfg := testConfig()
	cfg.StreamWindow = rpc.WindowDefault
	cfg.Budget = NewBudget(grownShare * 2 * rpc.WindowMax)
	c := NewClient(netio.New(a), cfg, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	// fast has all of the streams' windows used and taken, again and again.
	fast := func() (grown int) {
		for range 10 {
			for _, s := range c.streams {
				s.credited.Store(s.recvOpen.Swap(0))
				c.credits = append(c.credits, s)
			}
			c.announceLocked()
		}
		for _, s := range c.streams {
			grown += int(s.recvSize) - cfg.StreamWindow
		}
		return grown
	}
	for id := range uint32(50) {
		c.newStreamLocked(&stream{}, 2*id+1)
	}
	if n := fast(); n == 0 || n > 2*rpc.WindowMax {
		t.Errorf("windows grew by %d, want at most %d", n, 2*rpc.WindowMax)
	}
	for _, s := range c.streams {
		s.removeLocked()
	}
	if n := cfg.Budget.grown.Load(); n != 0 {
		t.Errorf("%d are left of ended streams", n)
	}
	c.newStreamLocked(&stream{}, 101)
	if n := fast(); n != rpc.WindowMax-cfg.StreamWindow {
		t.Errorf("a window alone grew by %d", n)
	}
}
