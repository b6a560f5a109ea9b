// Package attack floods a gateway, the ways that HTTP/2 has been abused, and has the
// backends to look at it from behind.
//
// An [Attack] is what one hostile connection does. Some connections do it at a time,
// each again on a new connection when the gateway has closed the old one. An attacker
// writes in bursts and rests three times as long after each: attackers, gateway, backend
// and the victim whose latency is measured share one machine, and the question is what
// the gateway makes of the frames, not who gets the processors.
package attack

import (
	"context"
	"errors"
	"sort"
	"strings"
	"sync"
	"time"
)

// A Target is where a gateway listens.
type Target struct{ Addr, TLSAddr string }

// An Attack is one kind of abuse.
type Attack struct {
	Name  string
	What  string // what each connection does
	Conns int    // connections at a time
	Ends  bool   // the gateway has to end them with ENHANCE_YOUR_CALM
	run   func(ctx context.Context, at Target, l *Log) error
}

// A Log is what an attack came to.
type Log struct {
	mu      sync.Mutex
	conns   int
	frames  int
	answers map[string]int
}

// again is the pause before an attacker connects again.
const again = 50 * time.Millisecond

// Run attacks until the context ends, and waits for the last connection to be closed.
func (a *Attack) Run(ctx context.Context, at Target) *Log {
	l := &Log{answers: map[string]int{}}
	var wg sync.WaitGroup
	for range a.Conns {
		wg.Go(func() { // ends with the context
			for ctx.Err() == nil {
				l.mu.Lock()
				l.conns++
				l.mu.Unlock()
				if err := a.run(ctx, at, l); errors.Is(err, errDial) {
					l.saw("cannot connect")
				}
				sleep(ctx, again)
			}
		})
	}
	wg.Wait()
	return l
}

func (l *Log) saw(answer string) {
	l.mu.Lock()
	l.answers[answer]++
	l.mu.Unlock()
}

func (l *Log) sent(frames int) {
	l.mu.Lock()
	l.frames += frames
	l.mu.Unlock()
}

// Conns returns how many connections were opened.
func (l *Log) Conns() int { return l.conns }

// Frames returns how many frames were sent, or pieces of what is no frame.
func (l *Log) Frames() int { return l.frames }

// Saw says whether the gateway gave an answer that begins so.
func (l *Log) Saw(prefix string) bool {
	for a := range l.answers {
		if strings.HasPrefix(a, prefix) {
			return true
		}
	}
	return false
}

// Answers names what the gateway answered, the most frequent first.
func (l *Log) Answers() string {
	var names []string
	for a := range l.answers {
		names = append(names, a)
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := l.answers[names[i]], l.answers[names[j]]
		return a > b || a == b && names[i] < names[j]
	})
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

// sleep waits, or returns when the context ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
