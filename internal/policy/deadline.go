// Package policy holds handlers that wrap handlers: deadline, and the list of running
// calls. A policy that looks only at heads returns what the next handler returned; one
// that has to see the end wraps the request alone, so response bytes don't pass it.
package policy

import (
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/rpc"
)

// Deadline ends each call at its deadline with DEADLINE_EXCEEDED: the gateway owns the
// deadline, whatever the backend does about it.
func Deadline(next rpc.Handler, w *Wheel) rpc.Handler {
	return rpc.HandlerFunc(func(call *rpc.Call, response rpc.Response) rpc.Request {
		if call.Deadline.IsZero() {
			return next.Start(call, response)
		}
		if !time.Now().Before(call.Deadline) {
			return &expired{response: response}
		}
		d := &deadline{wheel: w, at: call.Deadline, cause: &errDeadline}
		d.Request = next.Start(call, response)
		return d
	})
}

var errDeadline = rpc.Status{Code: rpc.DeadlineExceeded, Message: "deadline exceeded"}

// deadline is the request of a call that has one.
type deadline struct {
	rpc.Request
	timer wheelTimer
	wheel *Wheel
	at    time.Time
	cause *rpc.Status

	mu      sync.Mutex
	firing  bool
	waiting *rpc.Outcome // of a Done that waits for the timer
}

func (d *deadline) Begin() {
	d.timer.owner = d
	d.wheel.arm(&d.timer, d.at)
	d.Request.Begin()
}

// Done stops the timer. If it fires right now, the timer passes Done on: nothing of a
// call is touched after Done.
func (d *deadline) Done(outcome rpc.Outcome) {
	if !d.wheel.disarm(&d.timer) && !d.fired(outcome) {
		return
	}
	d.Request.Done(outcome)
}

// fired says whether the timer has ended what it does; else it takes over Done.
func (d *deadline) fired(outcome rpc.Outcome) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.firing {
		late := outcome
		d.waiting = &late
		return false
	}
	d.firing = true // too late for a timer that has not begun
	return true
}

// fire is the timer's.
func (d *deadline) fire() {
	d.mu.Lock()
	if d.firing { // Done was first
		d.mu.Unlock()
		return
	}
	d.firing = true
	d.mu.Unlock()
	d.Request.Cancel(*d.cause)
	d.mu.Lock()
	d.firing = false
	outcome := d.waiting
	d.mu.Unlock()
	if outcome != nil {
		d.Request.Done(*outcome)
	}
}

// expired is a call whose deadline had passed when it came.
type expired struct {
	response rpc.Response
}

func (e *expired) Begin()             { e.response.End(errDeadline, nil) }
func (e *expired) Data(b []byte)      {}
func (e *expired) End()               {}
func (e *expired) Cancel(rpc.Status)  {}
func (e *expired) Credit(int)         {}
func (e *expired) Done(o rpc.Outcome) {}
