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
	spare []*Conn
	on    bool
}

// NewKeeper returns a Keeper without connections.
func NewKeeper() *Keeper { return &Keeper{conns: map[*Conn]struct{}{}} }

func (k *Keeper) add(c *Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conns[c] = struct{}{}
	if !k.on {
		k.on = true
		go k.watch() // ends when the last connection has ended
	}
}

func (k *Keeper) remove(c *Conn) {
	k.mu.Lock()
	delete(k.conns, c)
	k.mu.Unlock()
}

func (k *Keeper) watch() {
	t := time.NewTicker(tick)
	defer t.Stop()
	for now := range t.C {
		k.mu.Lock()
		if len(k.conns) == 0 {
			k.on = false
			k.mu.Unlock()
			return
		}
		batch := k.spare[:0]
		for c := range k.conns {
			batch = append(batch, c)
		}
		k.mu.Unlock()
		for i, c := range batch {
			c.tick(now)
			batch[i] = nil
		}
		k.spare = batch
	}
}
