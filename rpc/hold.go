package rpc

import "sync"

// HoldMax bounds what a Hold keeps: one default window, what [Call] says of Ahead, and one
// Data more, whatever its size. A client within its window never reaches it, since what is held is not
// credited; a protocol that had to assemble a message hands it over in one Data.
const HoldMax = WindowDefault

// A Hold is the place of a request whose handler is not known yet: while a
// connection is dialed, a key set is fetched, a limit has no room. It keeps what
// comes, and hands it over, in order and exactly once, when it is released. It is
// the only thing of its kind: whoever has to wait uses it.
//
// A Hold is a Request: return it from Start, then call Release or Fail once, from
// any goroutine. A Cancel that comes first ends the call, and Release then says
// false.
type Hold struct {
	call     *Call
	response Response

	mu       sync.Mutex
	begun    bool
	released bool // Release or Fail was called, or Cancel ended the call
	direct   bool // everything kept was handed over: events go straight on
	over     bool // the call ended here; everything that comes is dropped
	dropping bool // Cancel was handed over: no Data and no End follow
	flowing  bool // some goroutine is handing over
	ended    bool // End was kept
	canceled bool
	done     bool
	next     Request
	start    Handler // kept until Begin
	fail     *Status // kept until Begin
	kept     []byte
	credit   int
	cause    Status
	outcome  Outcome
	onCancel func()
}

// NewHold returns a Hold for a call. onCancel, which may be nil, is called once if
// the call ends before it was released, so that whoever waits can stop.
func NewHold(call *Call, response Response, onCancel func()) *Hold {
	return &Hold{call: call, response: response, onCancel: onCancel}
}

// Release starts the call at next and hands over what was kept. It returns false,
// and does nothing, if the call is over already or was released before.
func (h *Hold) Release(next Handler) bool {
	h.mu.Lock()
	if h.released {
		h.mu.Unlock()
		return false
	}
	h.released = true
	if !h.begun {
		h.start = next
		h.mu.Unlock()
		return true
	}
	h.mu.Unlock()
	h.handOver(next)
	return true
}

// Fail ends the call with a status instead of releasing it.
func (h *Hold) Fail(st Status) bool {
	h.mu.Lock()
	if h.released {
		h.mu.Unlock()
		return false
	}
	h.released = true
	if !h.begun {
		h.fail = &st
		h.mu.Unlock()
		return true
	}
	h.endLocked()
	h.mu.Unlock()
	h.response.End(st, nil)
	return true
}

func (h *Hold) endLocked() {
	h.over = true
	h.kept = nil
}

// handOver starts the call and passes on what was kept, until nothing is left; what
// comes meanwhile is kept behind it. One goroutine at a time is here.
func (h *Hold) handOver(next Handler) {
	req := next.Start(h.call, h.response)
	h.mu.Lock()
	h.next = req
	h.flowing = true
	h.mu.Unlock()
	req.Begin()
	h.flow()
}

// flow delivers kept events in order: data, end, done. Credit and cancel may go at any
// time, so they go first.
func (h *Hold) flow() {
	for {
		h.mu.Lock()
		switch {
		case h.credit > 0:
			n := h.credit
			h.credit = 0
			h.mu.Unlock()
			h.next.Credit(n)
		case h.canceled:
			h.canceled, h.kept, h.ended = false, nil, false
			h.dropping = true // what came later would have a gap before it
			h.mu.Unlock()
			h.next.Cancel(h.cause)
		case len(h.kept) > 0:
			b := h.kept
			h.kept = nil
			h.mu.Unlock()
			h.next.Data(b)
		case h.ended:
			h.ended = false
			h.mu.Unlock()
			h.next.End()
		case h.done:
			h.done, h.direct, h.flowing = false, true, false
			h.mu.Unlock()
			h.next.Done(h.outcome)
			return
		default:
			h.direct, h.flowing = true, false
			h.mu.Unlock()
			return
		}
	}
}

// Begin implements [Request].
func (h *Hold) Begin() {
	h.mu.Lock()
	h.begun = true
	start, fail := h.start, h.fail
	h.start, h.fail = nil, nil
	if fail != nil {
		h.endLocked()
	}
	h.mu.Unlock()
	switch {
	case fail != nil:
		h.response.End(*fail, nil)
	case start != nil:
		h.handOver(start)
	}
}

// Data implements [Request]. Data after [HoldMax] bytes ends the call: the client
// ignored its window.
func (h *Hold) Data(b []byte) {
	h.mu.Lock()
	if h.over || h.dropping {
		h.mu.Unlock()
		return
	}
	if h.direct {
		h.mu.Unlock()
		h.next.Data(b)
		return
	}
	if len(h.kept) >= HoldMax+h.call.Ahead {
		h.mu.Unlock()
		h.Cancel(Errorf(ResourceExhausted, "client sent more than %d bytes ahead of its window", HoldMax+h.call.Ahead))
		return
	}
	h.kept = append(h.kept, b...)
	h.mu.Unlock()
}

// End implements [Request].
func (h *Hold) End() {
	h.mu.Lock()
	if h.direct && !h.dropping {
		h.mu.Unlock()
		h.next.End()
		return
	}
	h.ended = !h.over && !h.dropping
	h.mu.Unlock()
}

// Cancel implements [Request].
func (h *Hold) Cancel(cause Status) {
	h.mu.Lock()
	switch {
	case h.direct:
		h.mu.Unlock()
		h.next.Cancel(cause)
	case h.over:
		h.mu.Unlock()
	case h.released: // being handed over
		if !h.canceled {
			h.canceled, h.cause = true, cause
		}
		h.mu.Unlock()
	default:
		h.released = true
		h.endLocked()
		h.mu.Unlock()
		if h.onCancel != nil {
			h.onCancel()
		}
		h.response.End(cause, nil)
	}
}

// Credit implements [Request].
func (h *Hold) Credit(n int) {
	h.mu.Lock()
	if h.next == nil || h.flowing {
		h.credit += n
		h.mu.Unlock()
		return
	}
	h.mu.Unlock()
	h.next.Credit(n)
}

// Done implements [Request].
func (h *Hold) Done(outcome Outcome) {
	h.mu.Lock()
	if h.direct {
		h.mu.Unlock()
		h.next.Done(outcome)
		return
	}
	h.done, h.outcome = !h.over, outcome
	h.mu.Unlock()
}
