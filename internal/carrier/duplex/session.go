package duplex

import (
	"net/netip"
	"sync"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// A session is one pipe. Its requests come on any goroutines; mu guards what they share, and
// is not held while somebody else is called.
//
// The pipe is told one thing at a time, by whoever has the turn, see run. Its answers come
// as events of [down].
type session struct {
	s      *Server
	id     string
	client netip.Prefix
	npm    bool // the client is npm http2-duplex
	raw    bool // the pipe is one call
	polls  bool // down comes by long polls, else by a stream
	pipe   exchange.Request

	mu    sync.Mutex
	begun bool // the pipe takes events
	turn  bool // somebody delivers
	poked bool // a timer is about to
	alarm alarm

	// Up.
	up      int64 // bytes that the pipe got
	paid    int64 // of these, those that it has credited
	uploads []*upload
	held    int  // bytes of all uploads that wait
	half    bool // the pipe got its End

	// Down.
	stream streaming
	batch  batches

	// The end.
	gone      exchange.Code // the client has left, or was lost: the pipe is to be told
	told      bool          // it was
	over      bool          // the pipe has ended, or was reset by its other side
	broke     bool          // it was reset, by
	code      exchange.Code
	cause     error
	flushed   bool // nothing more leaves for the client
	delivered bool
	done      bool // the pipe got its Done
}

// An alarm is the one timer of a session.
type alarm struct {
	timer *time.Timer
	count int // of alarms, by which a late one is known
	of    func(v *session)
}

// set has f called after d, instead of what was to be called before. It is called, and
// calls, without the lock held for f; the caller holds it.
func (v *session) set(d time.Duration, f func(v *session)) {
	v.clear()
	a := &v.alarm
	a.of = f
	count := a.count
	a.timer = time.AfterFunc(d, func() {
		v.mu.Lock()
		due := count == v.alarm.count && v.alarm.of != nil
		if due {
			v.alarm.of = nil
		}
		v.mu.Unlock()
		if due {
			f(v)
		}
	})
}

// clear stops the alarm. The caller holds the lock.
func (v *session) clear() {
	if v.alarm.timer != nil {
		v.alarm.timer.Stop()
	}
	v.alarm.count++
	v.alarm.timer, v.alarm.of = nil, nil
}

// begin opens the pipe.
func (v *session) begin() {
	v.pipe.Begin()
	v.mu.Lock()
	v.begun = true
	v.mu.Unlock()
	v.run()
}

// run delivers what there is, unless somebody else does, who then looks again.
func (v *session) run() {
	v.mu.Lock()
	v.runLocked()
	v.mu.Unlock()
}

func (v *session) runLocked() {
	if v.turn || !v.begun {
		return
	}
	v.turn = true
	for v.step() {
	}
	v.turn = false
}

// poke is run for who must not call anybody: whoever credits, and the pipe itself.
func (v *session) poke() {
	v.mu.Lock()
	v.pokeLocked()
	v.mu.Unlock()
}

func (v *session) pokeLocked() {
	if v.turn || v.poked || !v.begun {
		return
	}
	v.poked = true
	time.AfterFunc(0, func() {
		v.mu.Lock()
		v.poked = false
		v.runLocked()
		v.mu.Unlock()
	})
}

// step does one thing, outside of the lock, which the caller holds, and says whether it
// did.
func (v *session) step() bool {
	switch {
	case v.gone != 0 && !v.told && !v.over:
		v.told = true
		v.mu.Unlock()
		v.pipe.Reset(v.gone)
	case v.batch.owed > 0 && !v.done:
		n := v.batch.owed
		v.batch.owed = 0
		v.mu.Unlock()
		v.pipe.Credit(n)
	case v.open() && !v.half && v.halfClosed(): // first: what is beyond it is not the pipe's
		v.half = true
		v.mu.Unlock()
		v.pipe.End(nil)
	case v.open() && !v.half && v.deliver():
	case v.settle():
	case v.over && v.flushed && !v.done:
		v.done = true
		v.clear()
		v.s.o.Reserve(-len(v.batch.kept))
		v.batch.kept = nil
		delivered := v.delivered
		v.mu.Unlock()
		v.s.forget(v)
		v.pipe.Done(delivered)
	default:
		return false
	}
	v.mu.Lock()
	return true
}

// open says whether the pipe takes bytes.
func (v *session) open() bool { return !v.told && !v.over }

// window is how much the pipe may have that it has not credited.
const window = rpc.WindowDefault

func (v *session) room() int { return window - int(v.up-v.paid) }

// leave gives the pipe up: with [exchange.Cancel] the client has left, with any other code
// it was lost.
func (v *session) leave(code exchange.Code) {
	v.mu.Lock()
	if v.gone == 0 {
		v.gone = code
		if v.over { // of a batch that nobody has come for
			v.flushed = true
		}
	}
	v.clear()
	v.mu.Unlock()
	v.s.forget(v)
	v.run()
}

// lose is leave for an alarm.
func lose(v *session) { v.leave(exchange.Disconnected) }

// verdict is what requests get that are under way when the session ends. The caller holds
// the lock.
func (v *session) verdict() refusal {
	switch {
	case v.told:
		return *errUnknown
	case !v.broke:
		return refusal{status: v.success()}
	}
	r := refusal{statusOf(v.code), "the session was ended: " + v.code.String()}
	if v.cause != nil {
		r.text = "the session was ended: " + v.cause.Error()
	}
	return r
}

// success is the status of an upload that was taken.
func (v *session) success() int {
	if v.npm {
		return 200
	}
	return 204
}

// statusOf is how a reset of the pipe is told.
func statusOf(code exchange.Code) int {
	switch code {
	case exchange.ProtocolError, exchange.FrameSizeError, exchange.FlowControlError, exchange.StreamClosed, exchange.CompressionError:
		return 400
	case exchange.EnhanceYourCalm:
		return 429
	case exchange.InternalError:
		return 502
	case exchange.Cancel:
		return 404
	}
	return 503
}
