package duplex

import (
	"slices"
	"strconv"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// An upload is a POST. What it brings is delivered when its turn comes, and until then held;
// the client is credited when the pipe has taken it.
type upload struct {
	v         *session
	response  exchange.Response
	half      bool // up ends with it
	destroyed bool
	pieces    bool // it is delivered in pieces of pieceSize, or whole
	length    int64

	// Under the session's lock.
	at       int64 // where held begins, or else the next byte that comes; -1 until its turn among those of npm
	held     []byte
	credited int64 // up to where its client was
	ended    bool
	final    bool // it was answered
}

// pieceSize is what becomes one message in a raw session.
const pieceSize = 16 << 10

func (v *session) upload(head *exchange.RequestHead, r *request, response exchange.Response) exchange.Request {
	u := &upload{
		v: v, response: response, half: r.end || r.single, destroyed: r.destroyed, length: head.Length,
		pieces: v.raw && (v.npm && !r.single || head.Length >= 0 && head.Length <= pieceSize),
		at:     r.offset, credited: r.offset,
	}
	if v.npm {
		u.at = -1
	}
	return u
}

// Begin implements [exchange.Request].
func (u *upload) Begin() {
	v := u.v
	if u.destroyed {
		v.leave(exchange.Cancel)
		u.final = true
		say(u.response, v.success(), "")
		return
	}
	v.mu.Lock()
	ahead := u.at > v.up && (u.at > v.up+int64(v.s.o.MaxAhead) || u.length > v.up+int64(v.s.o.MaxAhead)-u.at)
	switch {
	case !v.open():
		u.refuse(v.verdict())
	case len(v.uploads) >= v.s.o.MaxUploads && (v.npm || u.at > v.up || len(v.uploads) >= 2*v.s.o.MaxUploads):
		// What fills the gap that others wait for is not to be refused because they wait.
		u.limit("duplex_uploads", "too many uploads at a time")
	case v.half && u.at > v.up:
		u.refuse(errBeyond)
	case ahead:
		u.limit("duplex_ahead_bytes", "what comes before it is missing")
	default:
		v.uploads = append(v.uploads, u)
		v.mu.Unlock()
	}
}

var (
	errBeyond = refusal{400, "the direction has ended before these bytes"}
	errBefore = refusal{400, "the direction can't end before bytes that have come"}
)

// limit refuses what a limit does not allow. The caller holds the lock, which is given up.
func (u *upload) limit(name, why string) {
	u.v.s.o.LimitHit(name)
	u.refuse(*later(409, name, why))
}

func later(status int, name, why string) *refusal {
	return &refusal{status, why + " (limits." + name + "): send it again later"}
}

// A limited is a refusal for a limit.
type limited struct {
	name string
	refusal
}

var (
	errAhead = &limited{"duplex_ahead_bytes", *later(409, "duplex_ahead_bytes", "too much waits for what comes before it")}
	errFull  = &limited{"buffer_bytes", *later(503, "buffer_bytes", "there is no memory for what has to wait")}
)

// refuse answers. The caller holds the lock, which is given up.
func (u *upload) refuse(r refusal) {
	v := u.v
	if u.final {
		v.mu.Unlock()
		return
	}
	u.remove()
	taken := v.up
	v.mu.Unlock()
	if v.npm {
		say(u.response, r.status, r.text)
		return
	}
	say(u.response, r.status, r.text, exchange.Field{Name: fieldTaken, Value: strconv.FormatInt(taken, 10)})
}

// remove takes the upload out. The caller holds the lock.
func (u *upload) remove() {
	v := u.v
	u.final = true
	v.letGo(len(u.held))
	u.held = nil
	if i := slices.Index(v.uploads, u); i >= 0 {
		v.uploads = slices.Delete(v.uploads, i, i+1)
	}
}

// Data implements [exchange.Request].
func (u *upload) Data(b []byte) {
	v := u.v
	v.mu.Lock()
	if u.final || !v.open() {
		v.mu.Unlock()
		return
	}
	v.place()
	if len(u.held) == 0 && u.at >= 0 && u.at < v.up { // came before
		n := min(int64(len(b)), v.up-u.at)
		u.at += n
		b = b[n:]
	}
	if len(b) > 0 && v.half {
		u.refuse(errBeyond)
		v.run()
		return
	}
	if n := min(len(b), v.room()); n > 0 && !v.turn && v.begun && u.at == v.up && len(u.held) == 0 && !u.pieces {
		v.turn = true
		v.up += int64(n)
		u.at += int64(n)
		v.mu.Unlock()
		v.pipe.Data(b[:n])
		v.mu.Lock()
		v.turn = false
		b = b[n:]
	}
	if len(b) > 0 {
		if bad := u.hold(b); bad != nil {
			v.s.o.LimitHit(bad.name)
			u.refuse(bad.refusal)
			v.run()
			return
		}
	}
	v.runLocked()
	v.mu.Unlock()
}

// hold keeps b, unless that is too much. What continues the bytes that have come is
// refused only if there is no memory: its client has no more credit than a window. The caller holds the lock.
func (u *upload) hold(b []byte) *limited {
	v := u.v
	if u.final || !v.open() {
		return nil // dropped
	}
	next := u.at == v.up && !slices.ContainsFunc(v.uploads, func(o *upload) bool {
		return o != u && o.at == v.up && len(o.held) > 0
	})
	limit := v.s.o.MaxAhead
	if !next && (v.held+len(b) > limit || u.at+int64(len(u.held)+len(b)) > v.up+int64(limit)) {
		return errAhead
	}
	if !v.s.o.Reserve(len(b)) {
		return errFull
	}
	u.held = append(u.held, b...)
	v.held += len(b)
	return nil
}

// letGo counts n bytes that wait no more.
func (v *session) letGo(n int) {
	v.held -= n
	v.s.o.Reserve(-n)
}

// End implements [exchange.Request].
func (u *upload) End([]exchange.Field) {
	v := u.v
	v.mu.Lock()
	v.place()
	if !u.final {
		u.ended = true
		if u.half && u.at >= 0 && u.at+int64(len(u.held)) < v.up {
			u.refuse(errBefore)
			v.run()
			return
		}
	}
	v.runLocked()
	v.mu.Unlock()
}

// Reset implements [exchange.Request]. What has come of the upload counts; what waits is
// dropped, since the client will send it again.
func (u *upload) Reset(code exchange.Code) {
	v := u.v
	v.mu.Lock()
	if u.final {
		v.mu.Unlock()
		return
	}
	u.remove()
	v.mu.Unlock()
	u.response.Reset(code, nil)
	v.run()
}

// Credit implements [exchange.Request].
func (u *upload) Credit(int) {}

// Done implements [exchange.Request].
func (u *upload) Done(bool) {}

// place gives the next upload of npm http2-duplex its turn: they count as they come. The
// caller holds the lock.
func (v *session) place() {
	if !v.npm {
		return
	}
	for _, u := range v.uploads {
		if u.at < 0 {
			u.at, u.credited = v.up, v.up
		}
		if !u.ended || len(u.held) > 0 {
			return
		}
	}
}

// deliver gives the pipe a piece that waited, and says whether there was one. The caller
// holds the lock, and has not after a piece.
func (v *session) deliver() bool {
	v.place()
	for _, u := range v.uploads {
		if u.at < 0 || u.at > v.up || len(u.held) == 0 {
			continue
		}
		u.skip()
		n := len(u.held)
		room := v.room()
		if u.pieces {
			n = min(n, pieceSize)
			if n < pieceSize && !u.ended || n > room {
				continue
			}
		}
		if n = min(n, room); n == 0 {
			continue
		}
		b := u.take(n)
		v.up += int64(n)
		v.mu.Unlock()
		v.pipe.Data(b)
		return true
	}
	return false
}

// skip drops what another upload has brought meanwhile.
func (u *upload) skip() {
	if n := int(min(int64(len(u.held)), u.v.up-u.at)); u.at >= 0 && n > 0 {
		u.take(n)
	}
}

// take takes n bytes of what waits.
func (u *upload) take(n int) []byte {
	b := u.held[:n]
	u.at += int64(n)
	u.v.letGo(n)
	if u.held = u.held[n:]; len(u.held) == 0 {
		u.held = nil
	}
	return b
}

// halfClosed says whether up has come to its end.
func (v *session) halfClosed() bool {
	return slices.ContainsFunc(v.uploads, func(u *upload) bool {
		return u.half && u.ended && len(u.held) == 0 && u.at == v.up
	})
}

// settle credits or answers an upload, and says whether there was one to. The caller holds
// the lock, and has not after one.
func (v *session) settle() bool {
	for _, u := range v.uploads {
		if !v.open() {
			u.refuse(v.verdict())
			return true
		}
		if v.half {
			if u.skip(); len(u.held) > 0 {
				u.refuse(errBeyond)
				return true
			}
		}
		if u.half && !v.half && u.ended && u.at >= 0 && u.at+int64(len(u.held)) < v.up { // others have overtaken it
			u.refuse(errBefore)
			return true
		}
		if taken := min(u.at, v.paid); taken > u.credited {
			n := int(taken - u.credited)
			u.credited = taken
			v.mu.Unlock()
			u.response.Credit(n)
			return true
		}
		if u.ended && len(u.held) == 0 && u.at >= 0 && u.at <= v.paid && (!u.half || v.half) {
			u.refuse(refusal{status: v.success()})
			return true
		}
	}
	return false
}
