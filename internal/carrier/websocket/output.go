package websocket

import (
	"sync"

	"github.com/sluice-rpc/sluice/internal/exchange"
	wire "github.com/sluice-rpc/sluice/internal/wire/websocket"
	"github.com/sluice-rpc/sluice/rpc"
)

// An output is what waits to be taken to the carrier, and what the carrier has and was
// not taken by the client. A socket that is idle has no buffer.
type output struct {
	buf     *buffer
	writing bool
	rows    []row
	first   int // of rows
	own     int // bytes of rows that no credit bounds
}

// A row is a run of output: out bytes, the last of which are in bytes of a stream. What
// was compressed has fewer bytes than it stands for; the difference is credited at once.
type row struct {
	to      *stream // nil: nobody's
	in, out int
	last    bool // the stream's last words
	own     bool // no credit bounds it: heads and statuses of many calls, control frames
}

type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// bufferReuse is the capacity up to which a buffer is used again: a window, and what
// frames add to it.
const bufferReuse = 2 * rpc.WindowDefault

func (b *buffer) free() {
	if cap(b.b) > bufferReuse {
		b.b = nil
	}
	b.b = b.b[:0]
	buffers.Put(b)
}

func (o *output) free() {
	if o.buf != nil && !o.writing {
		o.buf.free()
		o.buf = nil
	}
}

// bytes returns the buffer.
func (o *output) bytes() *buffer {
	if o.buf == nil {
		o.buf = buffers.Get().(*buffer)
	}
	return o.buf
}

func (o *output) put(r row) {
	if n := len(o.rows); r.to == nil && n > o.first && o.rows[n-1].to == nil {
		o.rows[n-1].out += r.out
		return
	}
	if o.first > 16 && o.first > len(o.rows)/2 {
		o.rows = o.rows[:copy(o.rows, o.rows[o.first:])]
		o.first = 0
	}
	o.rows = append(o.rows, r)
}

// A payment is what a stream is credited for.
type payment struct {
	to   *stream
	n    int
	last bool
}

// take notes that n bytes were taken by the client, and appends who is credited.
func (o *output) take(n int, due []payment) []payment {
	for n > 0 && o.first < len(o.rows) {
		r := &o.rows[o.first]
		m := min(n, r.out)
		n -= m
		r.out -= m
		if r.own {
			o.own -= m
		}
		over := r.out == 0
		if r.to != nil {
			give := max(0, r.in-r.out)
			r.in -= give
			last := over && r.last
			if k := len(due); k > 0 && due[k-1].to == r.to {
				due[k-1].n += give
				due[k-1].last = last
			} else if give > 0 || last {
				due = append(due, payment{r.to, give, last})
			}
		}
		if over {
			o.rows[o.first] = row{}
			o.first++
		}
	}
	if o.first == len(o.rows) {
		o.rows, o.first = o.rows[:0], 0
		if cap(o.rows) > 64 {
			o.rows = nil
		}
	}
	return due
}

// control appends a control frame, unless nothing may follow. The lock is held.
func (k *socket) control(frame func([]byte) []byte) {
	if k.closing {
		return
	}
	b := k.output.bytes()
	n := len(b.b)
	b.b = frame(b.b)
	k.wrote(row{out: len(b.b) - n})
}

// message appends a binary message that stands for in bytes of a stream, and says
// whether it could. The lock is held.
func (k *socket) message(to *stream, in int, p []byte, last bool) bool {
	if k.closing {
		return false
	}
	b := k.output.bytes()
	n := len(b.b)
	b.b = k.enc.Message(b.b, wire.Binary, p)
	k.wrote(row{to: to, in: in, out: len(b.b) - n, last: last})
	return true
}

func (k *socket) wrote(r row) {
	k.pong.Sent(r.out)
	if r.own = r.in == 0 && (r.to == nil || r.to.frees); r.own {
		k.output.own += r.out
	}
	k.output.put(r)
}

// flush is called with the lock, and lets go of it.
func (k *socket) flush() {
	o := &k.output
	if o.writing {
		k.mu.Unlock()
		return
	}
	o.writing = true
	for {
		b, end := o.buf, k.last
		o.buf = nil
		if k.over {
			end = nil
		}
		if b == nil && end == nil {
			o.writing = false
			k.mu.Unlock()
			return
		}
		k.over = k.over || end != nil
		k.mu.Unlock()
		if b != nil {
			k.response.Data(b.b)
			b.free()
		}
		switch {
		case end == nil:
		case end.cut:
			k.response.Reset(exchange.Cancel, end.cause)
		default:
			k.response.End(nil)
		}
		k.mu.Lock()
	}
}

// Credit says that the client took n bytes.
func (k *socket) Credit(n int) {
	var room [4]payment
	k.mu.Lock()
	if k.pong.Taken(n) && !k.closing {
		k.pong.set(k, 1, k.pongDue) // credit never calls back
	}
	due := k.output.take(n, room[:0])
	late := k.late > 0 && k.output.own <= maxOwn
	for _, p := range due {
		p.to.busy++
		p.to.taken = p.to.taken || p.last
	}
	k.mu.Unlock()
	for _, p := range due {
		if p.n > 0 {
			p.to.request.Credit(p.n)
		}
		p.to.leave()
	}
	if late {
		k.pay(0)
	}
}
