package observe

import (
	"time"

	"github.com/sluice-rpc/sluice/rpc"
)

// Observe counts and logs the calls that next serves. log may be nil.
func Observe(next rpc.Handler, m *Metrics, log *AccessLog, now func() time.Time) rpc.Handler {
	return rpc.HandlerFunc(func(call *rpc.Call, response rpc.Response) rpc.Request {
		o := &observed{call: call, series: m.of(call), log: log, now: now}
		o.series.active.Add(1)
		o.Request = next.Start(call, response)
		return o
	})
}

// observed is the request of a call; its counters are in the call itself, so only the
// end is looked at.
type observed struct {
	rpc.Request
	call   *rpc.Call
	series *series
	log    *AccessLog
	now    func() time.Time
}

func (o *observed) Done(outcome rpc.Outcome) {
	s, st := o.series, &o.call.Stats
	d := o.now().Sub(o.call.Received)
	code := outcome.Status.Code
	if code >= rpc.Codes {
		code = rpc.Unknown
	}
	s.active.Add(-1)
	s.codes[code].Add(1)
	s.duration.observe(d)
	if first := st.FirstResponse.Load(); first > 0 {
		s.firstMessage.observe(time.Duration(first))
	}
	s.requests.Add(st.RequestMessages.Load())
	s.responses.Add(st.ResponseMessages.Load())
	s.requestBytes.Add(st.RequestBytes.Load())
	s.responseBytes.Add(st.ResponseBytes.Load())
	if o.log != nil {
		o.log.call(o.call, &outcome, d)
	}
	o.Request.Done(outcome)
}
