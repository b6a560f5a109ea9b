package mux

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
	"github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/rpc"
)

// A callID is what a client names a call by; zero is none.
type callID [16]byte

func parseID(text string) (id callID, ok bool) {
	for _, c := range text {
		if 'A' <= c && c <= 'F' {
			return id, false
		}
	}
	n, err := hex.Decode(id[:], []byte(text[:min(len(text), 2*len(id))]))
	return id, err == nil && n == len(id) && len(text) == 2*len(id) && id != callID{}
}

// A gone says why a call can't be resumed.
type gone struct {
	reason  string
	code    rpc.Code
	message string
	node    string // that has it, with wrong-node
}

var (
	goneExpired   = &gone{reason: "expired", code: rpc.Unavailable, message: "the call waited for its client too long, or its end was forgotten"}
	goneUnknown   = &gone{reason: "unknown", code: rpc.Unavailable, message: "the gateway does not know the call"}
	goneRestarted = &gone{reason: "restarted", code: rpc.Unavailable, message: "the gateway that had the call has ended"}
	goneTicket    = &gone{reason: "ticket", code: rpc.Unauthenticated, message: "the ticket is not valid for the call"}
	goneDenied    = &gone{reason: "denied", code: rpc.PermissionDenied, message: "the call is somebody else's"}
	goneOutdated  = &gone{reason: "outdated", code: rpc.Aborted, message: "the call has gone on elsewhere since"}
	goneOffset    = &gone{reason: "offset", code: rpc.DataLoss, message: "what the client has received, and what the gateway keeps, does not fit"}
)

// fields is the block of RESUMED.
func (g *gone) fields() []byte {
	b := fields.AppendField(nil, ":state", "gone")
	b = fields.AppendField(b, ":reason", g.reason)
	st := rpc.Status{Code: g.code, Message: g.message}
	if g.node != "" {
		b = fields.AppendField(b, ":node", g.node)
		st.Message += ": " + g.node
	}
	st.Details = g.details(st)
	return fields.Append(b, grpc.AppendStatus(nil, st))
}

// details is a google.rpc.Status with an ErrorInfo, so that programs can tell.
func (g *gone) details(st rpc.Status) []byte {
	text := func(b []byte, n protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
	}
	reason := "CALL_" + strings.ToUpper(strings.ReplaceAll(g.reason, "-", "_"))
	info := text(text(nil, 1, reason), 2, "sluice-rpc")
	detail := text(text(nil, 1, "type.googleapis.com/google.rpc.ErrorInfo"), 2, string(info))
	b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(st.Code))
	return text(text(b, 2, st.Message), 3, string(detail))
}

// goneFor answers RESUME, or a HEADERS that was one.
func (l *link) goneFor(n uint32, g *gone) {
	l.write(func(b []byte) []byte { return l.form.Append(b, duplex.Resumed, n, g.fields()) })
	l.over()
}

// resume takes RESUME.
func (l *link) resume(n uint32, payload []byte) error {
	if err := l.number(n); err != nil {
		return err
	}
	list, err := fields.Parse(nil, payload, l.s.o.MaxFields)
	if err != nil {
		return err
	}
	if !l.conn.charge() {
		return errAbuse
	}
	id, ok := parseID(exchange.Get(list, ":call"))
	if !ok {
		l.goneFor(n, goneUnknown)
		return nil
	}
	a := attachment{link: l, n: n}
	if a.epoch, err = strconv.ParseUint(exchange.Get(list, ":epoch"), 10, 63); err != nil {
		return errField(list, ":epoch")
	}
	if a.received, err = strconv.ParseUint(exchange.Get(list, ":received"), 10, 63); err != nil {
		return errField(list, ":received")
	}
	got, err := strconv.ParseUint(exchange.Get(list, ":got"), 10, 8)
	if err != nil || got > uint64(duplex.GotEnd) {
		return errField(list, ":got")
	}
	a.got = duplex.Mark(got)
	a.datagrams, a.lossy = askedDatagrams(list)
	head := l.conn.request("/", list)
	t, g := l.s.checkTicket(exchange.Get(list, ":ticket"))
	if g == nil {
		g = l.s.attach(id, t.session, &head, a)
	}
	if g != nil {
		l.goneFor(n, g)
	}
	return nil
}

func errField(list []exchange.Field, name string) error {
	return fmt.Errorf("RESUME: %s is %q", name, exchange.Get(list, name))
}

// checkTicket says what a ticket is good for. One of this process does not expire: a connection may be older than
// any ticket would live, and what bounds how long its calls can be asked for is [Options.Detach].
func (s *Server) checkTicket(text string) (ticket, *gone) {
	t, ok := s.seal.open(text)
	switch {
	case !ok && s.seal.foreign(text, s.instance):
		return t, goneRestarted // by another key, so not of a gateway that there still is
	case !ok || t.instance != s.instance && !s.o.Now().Before(t.expiry):
		return t, goneTicket
	case t.node != s.o.Node:
		return t, &gone{reason: "wrong-node", code: rpc.Unavailable, message: "another gateway has the call", node: t.node}
	case t.instance != s.instance:
		return t, goneRestarted
	}
	return t, nil
}

// An attachment is where and how a call goes on.
type attachment struct {
	link     *link
	n        uint32
	epoch    uint64
	got      duplex.Mark
	received uint64
	again    bool // HEADERS again: the client sends from the start

	datagrams uint64 // their number, if lossy asks for them
	lossy     bool
}

// attach has a call go on on another link.
func (s *Server) attach(id callID, session sessionID, head *exchange.RequestHead, a attachment) *gone {
	s.mu.Lock()
	c := s.calls[id]
	_, known := s.ids.known[id]
	s.mu.Unlock()
	switch {
	case c == nil && known:
		return goneExpired
	case c == nil:
		return goneUnknown
	case c.session != session:
		return goneTicket
	}
	if s.o.Who != nil {
		who, err := s.o.Who(head)
		if err != nil || who != c.who {
			return goneDenied
		}
	}
	return c.attach(a)
}

func (c *call) attach(a attachment) *gone {
	c.mu.Lock()
	switch {
	case a.epoch <= c.epoch:
		c.mu.Unlock()
		return goneOutdated
	case c.mute || c.closed:
		c.mu.Unlock()
		return goneExpired
	}
	c.epoch = a.epoch
	c.leave()
	if err := c.send.Rewind(a.received); err != nil && !c.failed {
		c.giveUpLocked(exchange.Cancel)
		return goneOffset
	}
	state := "live"
	if c.end != nil {
		state = "ended"
	}
	b := fields.AppendField(nil, ":state", state)
	b = fields.AppendField(b, ":got", strconv.Itoa(int(c.got())))
	b = fields.AppendField(b, ":received", strconv.FormatUint(c.recv.Received(), 10))
	if a.got == duplex.GotEnd && c.end != nil { // there is nothing to go on with
		c.sentEnd, c.acked = true, true
		c.unlock()
		a.link.write(func(to []byte) []byte { return a.link.form.Append(to, duplex.Resumed, a.n, b) })
		a.link.over()
		c.close(true)
		return nil
	}
	stop := c.stopWait
	c.stopWait = nil
	if a.lossy {
		c.lossy.begin(a.link.conn, a.datagrams, c)
		b = c.lossy.appendAgreed(b)
	}
	c.resumed = b
	c.creditDue = true
	c.sentHead = a.got >= duplex.GotHeaders
	c.sentEnd = false
	from := c.recv.Received()
	if a.again {
		from = 0
	}
	c.recv.Repeat(from)
	c.conn.end()
	c.conn = a.link.conn
	c.conn.resume()
	c.link, c.n = a.link, a.n
	if !a.link.attach(c, a.n) { // it was cut meanwhile
		c.link = nil
		c.lossy.stop()
	}
	away := c.link == nil
	c.wake()
	c.unlock()
	c.s.arrive(c, stop)
	if away {
		c.s.wait(c)
	}
	return nil
}

// again says whether HEADERS are as good as RESUME: of a call that there was, or may have been. Its client pays for them
// before anybody is asked who it is.
func (s *Server) again(name, epoch string) bool {
	if epoch != "" && epoch != "1" {
		return true
	}
	id, _ := parseID(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.ids.known[id]
	return known || s.calls[id] != nil
}

// register makes a call one that can be resumed, if there is room for it. done says that there is or was such a call
// already: it goes on, or the client was told why not. The epoch is that of HEADERS, which the call may have left behind as soon
// as others can find it.
func (c *call) register(l *link, text string, list []exchange.Field, head *exchange.RequestHead, room bool) (epoch uint64, done bool, refused *rpc.Status) {
	s := c.s
	id, ok := parseID(text)
	if !ok {
		st := rpc.Errorf(rpc.InvalidArgument, "HEADERS: :call is %q; it is 32 hexadecimal digits in lower case", text)
		return epoch, false, &st
	}
	epoch = 1
	if text := exchange.Get(list, ":epoch"); text != "" {
		var err error
		if epoch, err = strconv.ParseUint(text, 10, 63); err != nil || epoch == 0 {
			st := rpc.Errorf(rpc.InvalidArgument, "HEADERS: :epoch is %q; it is a number from 1", text)
			return epoch, false, &st
		}
	}
	if s.o.Who != nil {
		who, err := s.o.Who(head)
		if err != nil {
			st := rpc.Errorf(rpc.Unauthenticated, "%v", err)
			return epoch, false, &st
		}
		c.who = who
	}
	session := l.conn.id
	if epoch > 1 {
		t, g := s.checkTicket(exchange.Get(list, ":ticket"))
		if g != nil {
			l.goneFor(c.n, g)
			return epoch, true, nil
		}
		session = t.session
	}
	s.mu.Lock()
	_, known := s.ids.known[id]
	running := s.calls[id] != nil
	unsure := epoch > 1 && s.ids.unsure(s.o.Now(), s.o.Detach)
	if !running && !known && !unsure && room {
		c.id, c.epoch = id, epoch
		c.session = session // the connection where the client began it first
		s.calls[id] = c
	}
	s.mu.Unlock()
	switch {
	case running:
		a := attachment{link: l, n: c.n, epoch: epoch, again: true}
		a.datagrams, a.lossy = askedDatagrams(list)
		g := s.attach(id, session, head, a)
		if g != nil {
			l.goneFor(c.n, g)
		}
		return epoch, true, nil
	case known:
		l.goneFor(c.n, goneExpired)
		return epoch, true, nil
	case unsure:
		l.goneFor(c.n, goneUnknown)
		return epoch, true, nil
	}
	return epoch, false, nil
}

// unregister forgets a call, but not that there was one.
func (c *call) unregister() {
	if !c.resumable() {
		return
	}
	c.s.mu.Lock()
	delete(c.s.calls, c.id)
	c.s.ids.add(c.id, c.s.o.Now(), c.s.o.Detach)
	c.s.waiting.remove(c)
	c.s.mu.Unlock()
}

// expire ends a call whose client did not come back; one that is there is told nothing, so its call goes on. epoch is that
// of the call when the wait began; 0 is any.
func (c *call) expire(epoch uint64) {
	c.mu.Lock()
	if c.link != nil || epoch != 0 && epoch != c.epoch {
		c.mu.Unlock()
		return
	}
	c.giveUpLocked(exchange.Disconnected)
}

// tombstones are the calls that are over.
type tombstones struct {
	known   map[callID]time.Time
	order   []callID
	dropped time.Time // when the youngest that was dropped early had ended
}

// maxTombstones bounds how many there are: 4 MiB or so.
const maxTombstones = 1 << 16

// add remembers a call for as long as its client may ask for it.
func (t *tombstones) add(id callID, now time.Time, detach time.Duration) {
	t.known[id] = now
	t.order = append(t.order, id)
	for len(t.order) > 0 {
		first := t.order[0]
		at := t.known[first]
		late := now.Sub(at) > 2*detach
		if !late && len(t.order) <= maxTombstones {
			break
		}
		if !late {
			t.dropped = at
		}
		delete(t.known, first)
		t.order = t.order[1:]
	}
}

// unsure says whether calls were forgotten that a client may ask for.
func (t *tombstones) unsure(now time.Time, detach time.Duration) bool {
	return !t.dropped.IsZero() && now.Sub(t.dropped) <= 2*detach
}
