package backend

import (
	"time"

	"github.com/sluice-rpc/sluice/rpc"
)

// A WaitConfig says what calls wait for that the schema does not know yet.
type WaitConfig struct {
	// Pending returns what the schema still waits for, such as the reflection of a
	// backend: until it is "", calls wait. Nil is never.
	Pending func() string

	HeldCalls    int           // calls that wait; 10000
	ReadyTimeout time.Duration // how long a call without a deadline waits; 10 s, negative is never
}

// A SchemaWait holds calls that can't go on until the schema knows more.
type SchemaWait struct {
	cfg   WaitConfig
	queue queue
}

// NewSchemaWait returns a SchemaWait.
func NewSchemaWait(cfg WaitConfig) *SchemaWait {
	if cfg.HeldCalls <= 0 {
		cfg.HeldCalls = 10000
	}
	duration(&cfg.ReadyTimeout, 10*time.Second, never)
	s := &SchemaWait{cfg: cfg}
	s.queue.limit = cfg.HeldCalls
	return s
}

func (s *SchemaWait) pending() string {
	if s.cfg.Pending == nil {
		return ""
	}
	return s.cfg.Pending()
}

// Hold has a call wait until look, which is asked at every change, returns who takes it.
// When nothing is pending any more look is asked for the last time, and must return
// somebody. lacking says in the status of a call that has waited too long what it lacks.
func (s *SchemaWait) Hold(call *rpc.Call, response rpc.Response, lacking string, look func(last bool) rpc.Handler) rpc.Request {
	w := &waiter{call: call, look: look}
	w.hold = rpc.NewHold(call, response, func() { s.queue.remove(w) })
	wait := s.cfg.ReadyTimeout
	code := rpc.Unavailable
	if !call.Deadline.IsZero() {
		wait, code = time.Until(call.Deadline), rpc.DeadlineExceeded
	}
	expire := func() { w.fail(rpc.Errorf(code, "%s: still waiting for %s", lacking, s.pending())) }
	if !s.queue.add(w, false, wait, expire) {
		w.fail(rpc.Errorf(rpc.ResourceExhausted, "too many calls wait for a schema already (limits.held_calls is %d)", s.cfg.HeldCalls))
		return w.hold
	}
	s.again(w, s.pending() == "") // in case the schema came between the caller's look and the queue
	return w.hold
}

// Changed looks again at the calls that wait. It is to be called when look or Pending
// would give other answers than before.
func (s *SchemaWait) Changed() {
	if s.queue.n.Load() == 0 {
		return
	}
	last := s.pending() == ""
	for _, w := range s.queue.all() {
		s.again(w, last)
	}
}

func (s *SchemaWait) again(w *waiter, last bool) {
	if next := w.look(last); next != nil && s.queue.remove(w) {
		w.hold.Release(next)
	}
}

// refusing ends calls with a status.
func refusing(st rpc.Status) rpc.Handler {
	return rpc.HandlerFunc(func(call *rpc.Call, response rpc.Response) rpc.Request { return refuse(call, response, st) })
}

// refuse answers a call itself.
func refuse(call *rpc.Call, response rpc.Response, st rpc.Status) rpc.Request {
	h := rpc.NewHold(call, response, nil)
	h.Fail(st)
	return h
}
