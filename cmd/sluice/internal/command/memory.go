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
	trimQuiet = 8 << 20 // bytes that are allocated in trimEvery, at most
	trimWorth = 2 << 20 // bytes that it has to bring, and a sixteenth of what is in use
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
	resident  uint64 // when it was trimmed
}

// usage is what it sees, in bytes.
type usage struct {
	fresh    uint64 // allocated since the last look
	objects  uint64 // of the heap, also such as nobody needs any more
	live     uint64 // of these, what the last collection found to be needed
	free     uint64 // room for objects that the system could have
	resident uint64 // of all that the runtime has from the system
}

func newMemory() *memory {
	return &memory{samples: []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}}
}

func (m *memory) trim(now time.Time) bool {
	metrics.Read(m.samples)
	of := func(i int) uint64 { return m.samples[i].Value.Uint64() }
	u := usage{fresh: of(0) - m.allocated, objects: of(1), live: of(2), free: of(3), resident: of(4) - of(5)}
	m.allocated = of(0)
	if u.live > ballastBytes { // the ballast is in both
		u.live -= ballastBytes
		u.objects -= ballastBytes
	}
	return m.worth(now, u)
}

func (m *memory) worth(now time.Time, u usage) bool {
	waste := u.free + u.objects - min(u.live, u.objects)
	// A collection makes the stacks of idle goroutines half as large, so one that has brought
	// much is followed by another.
	again := u.resident+u.live/16+trimWorth <= m.resident
	if u.fresh > trimQuiet || now.Sub(m.trimmed) < trimPause || waste < u.live/16+trimWorth && !again {
		return false
	}
	m.trimmed, m.resident = now, u.resident
	return true
}
