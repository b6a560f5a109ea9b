package h2

import (
	"sync/atomic"
	"time"

	"github.com/sluice-rpc/sluice/internal/netio"
)

// A Config is shared by many connections and is not changed after the first.
type Config struct {
	Work   *netio.Work // required
	Keeper *Keeper     // required
	Budget *Budget     // required

	MaxStreams   int // concurrent streams: what a server allows, what a client uses at most
	HeaderBytes  int // of one field section, RFC 9113, section 6.5.2
	StreamWindow int // the initial receive window of a stream
	ConnBuffer   int // the receive window of the connection; a server stops replenishing it when half waits in the gateway
	Abuse        int // useless work a second, see [abuse]; 0 is no limit

	Idle        time.Duration // a server's connection without streams is closed after it; 0 never
	Stall       time.Duration // a peer that does not take what waits for it; 0 never
	SettingsAck time.Duration // 0 never
	KeepAlive   time.Duration // a client's silence with open streams before a PING; 0 never
	Header      time.Duration // the preface, and a begun field section; 0 never

	ExtendedConnect bool // a server announces RFC 8441

	// LimitHit counts, by the name of the limit in the configuration. Never nil.
	LimitHit func(name string)
}

// Events of a client connection. They come from the connection's own goroutine.
type Events interface {
	Ready()           // the server's SETTINGS have come
	Draining()        // GOAWAY came or the stream ids are used up: no new streams
	Closed(err error) // last; every stream has had its end
}

// A Budget bounds the bytes that wait inside of the process for somebody to take
// them.
type Budget struct {
	used       atomic.Int64
	grown      atomic.Int64 // by which windows are larger than at first, in all
	soft, hard int64
}

// NewBudget returns a budget of hard bytes. Above half of it windows do not grow.
func NewBudget(hard int64) *Budget { return &Budget{soft: hard / 2, hard: hard} }

// Used returns how many bytes wait.
func (b *Budget) Used() int64 { return b.used.Load() }

// Reserve takes n bytes for something that is kept outside of the engine, or gives them
// back if n is negative. It says false, and takes nothing, if there are none.
func (b *Budget) Reserve(n int) bool {
	if b.used.Add(int64(n)) > b.hard && n > 0 {
		b.used.Add(int64(-n))
		return false
	}
	return true
}

// grow takes n bytes for a window that becomes larger, or gives them back if n is
// negative. It says false, and takes nothing, if there are none: a client that reads
// fast until windows are large, and then not at all, could fill all of the budget
// with the streams of one connection.
func (b *Budget) grow(n int32) bool {
	if b.grown.Add(int64(n)) > b.hard/grownShare && n > 0 {
		b.grown.Add(int64(-n))
		return false
	}
	return true
}

// grownShare is the share of the budget that windows may grow by: with 256 MiB eight
// calls can have the largest window at a time, or a hundred twice the first.
const grownShare = 32

func (b *Budget) add(n int)   { b.used.Add(int64(n)) }
func (b *Budget) tight() bool { return b.used.Load() > b.soft }
func (b *Budget) over() bool  { return b.used.Load() > b.hard }
