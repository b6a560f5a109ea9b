package websocket

import "sync"

// A buffer keeps parts of a message. Connections take one when there is something to
// keep, so that an idle one has none.
type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// bufferReuse is the capacity up to which a buffer is used again.
const bufferReuse = 64 << 10

func (d *Decoder) keep(p []byte) {
	if d.kept == nil {
		d.kept = buffers.Get().(*buffer)
	}
	d.kept.b = append(d.kept.b, p...)
}

func (d *Decoder) release() {
	if d.kept != nil {
		d.kept.release()
		d.kept = nil
	}
}

func (k *buffer) release() {
	if cap(k.b) > bufferReuse {
		k.b = nil
	}
	k.b = k.b[:0]
	buffers.Put(k)
}
