package duplex

import (
	"strconv"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// streaming is the state of a GET that goes on.
type streaming struct {
	response exchange.Response
	spare    int  // bytes that are ours and not the pipe's, which gets no credit for them
	inside   bool // an event is being delivered
	lost     bool // the client, or the way to it, is gone
	code     exchange.Code
	ended    bool // the response has ended, or somebody is about to end it
	done     bool
}

// stream is the session as the request that opened it.
type stream session

// firstByte goes before the pipe's, since proxies and fetch keep a head back until there is
// one. It is that of npm http2-duplex.
var firstByte = []byte{'a'}

// grace is how long the client's leaving may come after its GET has broken. A page that is
// closed does both, and no order is kept.
const grace = time.Second

// Begin implements [exchange.Request].
func (d *stream) Begin() {
	v := (*session)(d)
	fields := []exchange.Field{
		{Name: "content-type", Value: "application/octet-stream"}, noStore,
		{Name: "x-accel-buffering", Value: "no"}, noSniff,
	}
	if v.npm {
		fields = append(fields, exchange.Field{Name: npmID, Value: v.id})
	}
	v.mu.Lock()
	v.stream.spare = len(firstByte)
	v.stream.inside = true
	v.mu.Unlock()
	v.stream.response.Head(&exchange.ResponseHead{Status: 200, Fields: fields}, false)
	v.stream.response.Data(firstByte)
	v.leaveStream()
	v.begin()
}

// Data implements [exchange.Request]. A GET has no content; what there is counts for
// nothing.
func (d *stream) Data([]byte) {}

// End implements [exchange.Request].
func (d *stream) End([]exchange.Field) {}

// Reset says that the way down is lost.
func (d *stream) Reset(code exchange.Code) {
	v := (*session)(d)
	v.mu.Lock()
	if v.stream.lost || v.stream.ended {
		v.mu.Unlock()
		return
	}
	v.stream.lost, v.stream.code = true, code
	if v.open() && v.gone == 0 {
		v.set(grace, lose)
	}
	tell := !v.stream.inside
	v.stream.ended = tell
	v.mu.Unlock()
	if tell {
		v.stream.response.Reset(code, nil)
	}
}

// Credit implements [exchange.Request].
func (d *stream) Credit(n int) {
	v := (*session)(d)
	v.mu.Lock()
	ours := min(n, v.stream.spare)
	v.stream.spare -= ours
	n -= ours
	v.mu.Unlock()
	if n > 0 {
		v.pipe.Credit(n)
	}
}

// Done implements [exchange.Request].
func (d *stream) Done(delivered bool) {
	v := (*session)(d)
	v.mu.Lock()
	v.stream.done, v.flushed = true, true
	v.delivered = delivered && v.over && !v.broke && !v.stream.lost
	v.mu.Unlock()
	v.run()
}

// enterStream begins an event of the response, if there may be one.
func (v *session) enterStream() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.stream.lost || v.stream.ended || v.stream.inside {
		return false
	}
	v.stream.inside = true
	return true
}

// leaveStream ends it, and the response too if it was lost meanwhile.
func (v *session) leaveStream() {
	v.mu.Lock()
	v.stream.inside = false
	tell := v.stream.lost && !v.stream.ended
	if tell {
		v.stream.ended = true
	}
	v.mu.Unlock()
	if tell {
		v.stream.response.Reset(v.stream.code, nil)
	}
}

// down is the session as the response of its pipe.
type down session

// Inform implements [exchange.Response]; nobody calls it on a pipe.
func (d *down) Inform(*exchange.ResponseHead) {}

// Head implements [exchange.Response]; nobody calls it on a pipe.
func (d *down) Head(*exchange.ResponseHead, bool) {}

// Data implements [exchange.Response].
func (d *down) Data(b []byte) {
	v := (*session)(d)
	if v.polls {
		v.keep(b)
		return
	}
	if v.enterStream() {
		v.stream.response.Data(b)
		v.leaveStream()
	}
}

// End implements [exchange.Response].
func (d *down) End([]exchange.Field) {
	v := (*session)(d)
	v.mu.Lock()
	v.over = true
	if v.polls {
		v.endBatches()
		return
	}
	tell := !v.stream.ended
	v.stream.ended = true
	v.clear()
	v.mu.Unlock()
	if tell {
		v.stream.response.End(nil)
	}
	v.poke()
}

// Reset implements [exchange.Response].
func (d *down) Reset(code exchange.Code, cause error) {
	v := (*session)(d)
	v.mu.Lock()
	v.over, v.broke, v.code, v.cause = true, true, code, cause
	if v.polls {
		v.endBatches()
		return
	}
	tell := !v.stream.ended
	v.stream.ended = true
	v.clear()
	v.mu.Unlock()
	if tell {
		v.stream.response.Reset(code, cause)
	}
	v.poke()
}

// Credit implements [exchange.Response].
func (d *down) Credit(n int) {
	v := (*session)(d)
	v.mu.Lock()
	v.paid += int64(n)
	v.pokeLocked()
	v.mu.Unlock()
}

// batches is the state of long polls.
type batches struct {
	acked   int64  // bytes that the client has
	kept    []byte // the pipe's bytes after these
	owed    int    // acknowledged, and not yet credited
	waiting *poll
	ended   bool // the client was told of the end
}

// A poll is a GET that gets one batch.
type poll struct {
	*session
	response exchange.Response
	offset   int64
	first    bool // it opens the session
}

// Begin implements [exchange.Request].
func (p *poll) Begin() {
	v := p.session
	if p.first {
		v.mu.Lock()
		v.await(p)
		v.mu.Unlock()
		v.begin()
		return
	}
	v.mu.Lock()
	d := &v.batch
	if v.over && v.broke || v.gone != 0 {
		r := *errUnknown
		if v.gone == 0 {
			r = v.verdict()
		}
		v.flushed = true
		v.mu.Unlock()
		say(p.response, r.status, r.text)
		v.s.forget(v)
		v.run()
		return
	}
	n := p.offset - d.acked
	if n < 0 || n > int64(len(d.kept)) {
		v.mu.Unlock()
		say(p.response, 400, fieldOffset+" is of bytes that were not sent, or were acknowledged before")
		return
	}
	if n > 0 {
		d.acked, d.kept = p.offset, d.kept[n:]
		if len(d.kept) == 0 {
			d.kept = nil
		}
		d.owed += int(n)
		v.s.o.Reserve(-int(n))
	}
	old := d.waiting
	d.waiting = nil
	if len(d.kept) == 0 && !v.over {
		v.await(p)
		v.mu.Unlock()
	} else {
		v.batchTo(p)
	}
	if old != nil {
		v.mu.Lock()
		old.empty()
	}
	v.run()
}

// await has p wait for bytes. The caller holds the lock.
func (v *session) await(p *poll) {
	v.batch.waiting = p
	v.set(v.s.o.Poll, func(v *session) {
		v.mu.Lock()
		p := v.batch.waiting
		if p == nil {
			v.mu.Unlock()
			return
		}
		v.batchTo(p)
	})
}

// batchTo answers with what there is, which may be the end. The caller holds the lock,
// which is given up.
func (v *session) batchTo(p *poll) {
	d := &v.batch
	if d.waiting == p {
		d.waiting = nil
	}
	b, end := d.kept, v.over
	if end && len(b) == 0 && d.ended { // and now it has said that it knows
		v.flushed, v.delivered = true, true
		v.clear()
	} else {
		d.ended = end
		v.set(v.s.o.PollGap, lose)
	}
	offset := d.acked
	v.mu.Unlock()
	p.batch(b, offset, end)
}

// empty answers a poll in whose place another one has come. The caller holds the lock, which
// is given up.
func (p *poll) empty() {
	offset := p.session.batch.acked
	p.session.mu.Unlock()
	p.batch(nil, offset, false)
}

func (p *poll) batch(b []byte, offset int64, end bool) {
	f := []exchange.Field{
		{Name: "content-type", Value: "application/octet-stream"}, noStore, noSniff,
		{Name: "content-length", Value: strconv.Itoa(len(b))},
		{Name: fieldOffset, Value: strconv.FormatInt(offset, 10)},
	}
	if end {
		f = append(f, exchange.Field{Name: fieldEnd, Value: "1"})
	}
	p.response.Head(&exchange.ResponseHead{Status: 200, Fields: f}, len(b) == 0)
	if len(b) > 0 {
		p.response.Data(b)
		p.response.End(nil)
	}
}

// keep takes bytes of the pipe for the next poll.
func (v *session) keep(b []byte) {
	if !v.s.o.Reserve(len(b)) {
		v.mu.Lock()
		if v.gone == 0 {
			v.gone = exchange.EnhanceYourCalm
		}
		v.pokeLocked()
		v.mu.Unlock()
		return
	}
	v.mu.Lock()
	if v.flushed || v.gone != 0 {
		v.mu.Unlock()
		v.s.o.Reserve(-len(b))
		return
	}
	v.batch.kept = append(v.batch.kept, b...)
	if p := v.batch.waiting; p != nil {
		v.batchTo(p)
		return
	}
	v.mu.Unlock()
}

// endBatches has the next poll hear of the end. The caller holds the lock, which is given
// up.
func (v *session) endBatches() {
	p := v.batch.waiting
	v.batch.waiting = nil
	switch {
	case v.gone != 0 || v.broke && p != nil:
		v.flushed = true
		v.pokeLocked()
		r := v.verdict()
		v.mu.Unlock()
		if p != nil {
			say(p.response, r.status, r.text)
		}
	case p != nil:
		v.pokeLocked()
		v.batchTo(p)
	default: // the alarm is set: there was no poll
		v.pokeLocked()
		v.mu.Unlock()
	}
}

// Data implements [exchange.Request].
func (p *poll) Data([]byte) {}

// End implements [exchange.Request].
func (p *poll) End([]exchange.Field) {}

// Reset implements [exchange.Request].
func (p *poll) Reset(code exchange.Code) {
	v := p.session
	v.mu.Lock()
	if v.batch.waiting != p { // it was answered, or is about to be
		v.mu.Unlock()
		return
	}
	v.batch.waiting = nil
	v.set(v.s.o.PollGap, lose)
	v.mu.Unlock()
	p.response.Reset(code, nil)
}

// Credit implements [exchange.Request].
func (p *poll) Credit(int) {}

// Done implements [exchange.Request].
func (p *poll) Done(bool) {}
