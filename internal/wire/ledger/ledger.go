// Package ledger maps credit through a translation whose output is not its input, such
// as base64 or compression: what the next one took, in its bytes, becomes what the one
// before may be credited for, in its own.
package ledger

import "sync"

// A Ledger is filled by the goroutine that translates, and read by whoever credits.
// Its length is bounded by the windows of both sides.
type Ledger struct {
	mu   sync.Mutex
	rows []row
	left int // of the first row's output, already credited
	kept int // input that came and has become nothing yet, see Keep
}

type row struct{ in, out int }

// Put notes that in bytes of input became out bytes of output, with what was kept before
// and not credited. Input that has become nothing yet is owed with the next output.
func (l *Ledger) Put(in, out int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in += l.kept
	l.kept = 0
	if in == 0 && out == 0 {
		return
	}
	if n := len(l.rows); n > 0 && l.rows[n-1].out == 0 {
		l.rows[n-1].in += in
		l.rows[n-1].out = out
		return
	}
	l.rows = append(l.rows, row{in, out})
}

// Keep notes n bytes of input that are assembled. They belong to the next output.
func (l *Ledger) Keep(n int) {
	l.mu.Lock()
	l.kept += n
	l.mu.Unlock()
}

// Settle says how many of the bytes that are kept may be credited: all, or else a message
// larger than the window would wait for itself; but none while there is output that was
// not taken, or else one message after the other would be assembled for a peer that takes
// none. What is not credited now is once that output has been taken.
func (l *Ledger) Settle() (in int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settle()
}

// settle credits what is kept if no output is left.
func (l *Ledger) settle() (in int) {
	if len(l.rows) > 0 {
		return 0
	}
	in, l.kept = l.kept, 0
	return in
}

// Credit says how many bytes of input are taken now that n more bytes of output are.
func (l *Ledger) Credit(n int) (in int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left += n
	i := 0
	for ; i < len(l.rows) && l.rows[i].out > 0 && l.left >= l.rows[i].out; i++ {
		l.left -= l.rows[i].out
		in += l.rows[i].in
	}
	if i == len(l.rows) {
		l.rows = l.rows[:0]
	} else if i > 0 {
		l.rows = append(l.rows[:0], l.rows[i:]...)
	}
	return in + l.settle()
}

// Rest says how many bytes of input nobody was credited for yet, and forgets them: the
// translation is over.
func (l *Ledger) Rest() (in int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.rows {
		in += r.in
	}
	in += l.kept
	l.rows, l.kept = nil, 0
	return in
}
