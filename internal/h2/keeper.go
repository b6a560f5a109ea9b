package h2

import (
	"sync"
	"time"
)

// tick is how often a Keeper looks at its connections. Timeouts are late by at most
// so much.
const tick = 500 * time.Millisecond

// A Keeper watches the timeouts of all connections of a gateway with one goroutine,
// which exists only while there are connections.
type Keeper struct {
	mu    sync.Mutex
	conns map[*Conn]struct{}
	stop  chan struct{} // ends the goroutine; nil while there is none
}

// NewKeeper returns a Keeper without connections.
func NewKeeper() *Keeper { return &Keeper{conns: map[*Conn]struct{}{}} }

func (k *Keeper) add(c *Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conns[c] = struct{}{}
	if k.stop == nil {
		k.stop = make(chan struct{})
		go k.watch(k.stop) // ends when the last connection has ended
	}
}

func (k *Keeper) remove(c *Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, c)
	if len(k.conns) == 0 && k.stop != nil {
		close(k.stop)
		k.stop = nil
	}
}

func (k *Keeper) watch(stop <-chan struct{}) {
	t := time.NewTicker(tick)
	defer t.Stop()
	var batch []*Conn
	for {
		var now time.Time
		select {
		case <-stop:
			return
		case now = <-t.C:
		}
		k.mu.Lock()
		for c := range k.conns {
			batch = append(batch, c)
		}
		k.mu.Unlock()
		for _, c := range batch {
			c.tick(now)
		}
		clear(batch)
		batch = batch[:0]
	}
}
