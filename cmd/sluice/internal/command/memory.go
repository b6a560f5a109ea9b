package command

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// ballast makes the heap look larger to the garbage collector, which runs when the heap
// has doubled: a gateway keeps so little that it would otherwise collect several times
// a second. It is never touched, so it takes addresses and no memory. Large heaps hardly
// notice it.
//
//lint:ignore U1000 it is there to be held
var ballast []byte

const ballastBytes = 32 << 20

// When it is quiet, what a busy time has left behind goes back to the system: the
// collector would keep it until the heap has doubled once more, which calls that are
// open and silent never bring about.
const (
	trimEvery = 5 * time.Second
	trimQuiet = 16 << 20 // bytes that are allocated in trimEvery, at most
	trimWorth = 16 << 20 // bytes that it has to bring, and an eighth of what is in use
	trimPause = 15 * time.Second
)

// tendMemory does what whoever sets GOGC or GOMEMLIMIT wants to do himself. What it
// starts ends with ctx.
func tendMemory(ctx context.Context) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	ballast = make([]byte, ballastBytes)
	go func() {
		t := time.NewTicker(trimEvery)
		defer t.Stop()
		m := newMemory()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if m.trim(time.Now()) {
				debug.FreeOSMemory()
			}
		}
	}()
}

// memory looks at the heap without stopping the world.
type memory struct {
	samples   []metrics.Sample
	allocated uint64 // at the last look
	trimmed   time.Time
}

func newMemory() *memory {
	return &memory{samples: []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}}
}

func (m *memory) trim(now time.Time) bool {
	metrics.Read(m.samples)
	of := func(i int) uint64 { return m.samples[i].Value.Uint64() }
	fresh := of(0) - m.allocated
	m.allocated = of(0)
	live, resident := of(1), of(2)-of(3)
	if live > ballastBytes { // the ballast is in both
		live -= ballastBytes
	}
	resident -= min(resident, ballastBytes)
	return m.worth(now, fresh, live, resident)
}

func (m *memory) worth(now time.Time, fresh, live, resident uint64) bool {
	if fresh > trimQuiet || resident < live+live/8+trimWorth || now.Sub(m.trimmed) < trimPause {
		return false
	}
	m.trimmed = now
	return true
}
