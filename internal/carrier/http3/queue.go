package http3

import "sync"

// queue is what waits to be written by a goroutine, which there is only while something waits.
type queue[T any] struct {
	mu      sync.Mutex
	waiting []T
	writing bool
	over    bool
}

// How an item was taken.
type taken int

const (
	queued taken = iota
	full         // there are as many as may be
	closed       // the queue has stopped
)

// add appends items, of which at most so many may wait, and has write called on a goroutine of the session
// if that is not so yet.
func (q *queue[T]) add(x *session, most int, write func(), items ...T) taken {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.over:
		return closed
	case len(q.waiting)+len(items) > most:
		return full
	}
	q.waiting = append(q.waiting, items...)
	if !q.writing {
		q.writing = true
		x.others.Go(write) // ends when nothing is left, or the session has ended
	}
	return queued
}

// stop takes nothing more.
func (q *queue[T]) stop() {
	q.mu.Lock()
	q.over = true
	q.mu.Unlock()
}

// drain writes what waits, as often as there is something, until put fails.
func (q *queue[T]) drain(put func([]T) error) error {
	for {
		q.mu.Lock()
		batch := q.waiting
		if q.waiting = nil; len(batch) == 0 {
			q.writing = false
			q.mu.Unlock()
			return nil
		}
		q.mu.Unlock()
		if err := put(batch); err != nil {
			q.stop()
			return err
		}
	}
}
