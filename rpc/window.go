package rpc

// Bounds of the window of one direction of a call, in bytes.
const (
	WindowMin     = 16 << 10
	WindowDefault = 64 << 10
	WindowMax     = 1 << 20
)

// A Window is the receiving end of flow control: what a producer may still send, and
// how much of it was taken. It has no lock and no clock; its owner serializes.
//
// It grows by evidence: a producer that has used its whole window while all of that
// has been taken already is slowed by the window and not by the consumer.
type Window struct {
	size    int // what the producer may have outstanding
	open    int // what it may still send now
	pending int // taken, and not yet announced
}

// NewWindow returns a window of size bytes.
func NewWindow(size int) Window { return Window{size: size, open: size} }

// Receive counts n bytes that came. It says false if the producer had no licence
// for them.
func (w *Window) Receive(n int) bool {
	w.open -= n
	return w.open >= 0
}

// Credit counts n bytes that were taken, and returns how many to announce to the
// producer now: nothing until half a window is free. If grow is set the window may
// double.
func (w *Window) Credit(n int, grow bool) (announce int) {
	w.pending += n
	if w.pending < w.size/2 {
		return 0
	}
	limited := w.open <= w.size/4             // the producer came close to the end of its window
	drained := w.open+w.pending >= w.size*3/4 // and the consumer keeps up
	announce, w.pending = w.pending, 0
	w.open += announce
	if grow && limited && drained && w.size < WindowMax {
		announce += w.size
		w.open += w.size
		w.size *= 2
	}
	return announce
}

// Size returns what the producer may have outstanding.
func (w *Window) Size() int { return w.size }

// Outstanding returns how many bytes came and were not yet announced as taken.
func (w *Window) Outstanding() int { return w.size - w.open }

// Pending returns how many bytes were taken and not yet announced.
func (w *Window) Pending() int { return w.pending }
