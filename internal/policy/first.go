package policy

import (
	"time"

	"github.com/sluice-rpc/sluice/rpc"
)

// FirstByte ends a call that has no deadline with DEADLINE_EXCEEDED if no event of its
// response has come after the time limit.
func FirstByte(next rpc.Handler, w *Wheel, limit time.Duration) rpc.Handler {
	cause := rpc.Errorf(rpc.DeadlineExceeded, "no response of the backend within %v (timeouts.first_byte)", limit)
	return rpc.HandlerFunc(func(call *rpc.Call, response rpc.Response) rpc.Request {
		if !call.Deadline.IsZero() {
			return next.Start(call, response)
		}
		f := &firstByte{deadline: deadline{wheel: w, at: call.Received.Add(limit), cause: &cause}, response: response}
		f.Request = next.Start(call, (*firstResponse)(f))
		return f
	})
}

// firstByte is a deadline that the response's first event takes away.
type firstByte struct {
	deadline
	response rpc.Response
	came     bool // of the goroutine that delivers response events
}

// firstResponse is the same call as the place of its response.
type firstResponse firstByte

func (r *firstResponse) first() {
	if !r.came {
		r.came = true
		r.wheel.disarm(&r.timer) // if it fires already, it was late
	}
}

func (r *firstResponse) Head(h *rpc.Head) {
	r.first()
	r.response.Head(h)
}

func (r *firstResponse) Data(b []byte) {
	r.first()
	r.response.Data(b)
}

func (r *firstResponse) End(st rpc.Status, trailer rpc.Metadata) {
	r.first()
	r.response.End(st, trailer)
}

func (r *firstResponse) Credit(n int) { r.response.Credit(n) }
