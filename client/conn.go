package client

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// conn is a connection: what both forms of the protocol have in common.
type conn struct {
	c       *Client
	id      int
	carrier string
	addr    net.Addr
	session Session // nil if there is one pipe for all
	mux     *lane   // that pipe
	own     *lane   // else where we send frames of the connection
	lanes   map[*lane]struct{}
	calls   int // that count for the gateway's limit
	ends    []endedCall
	lossy   map[uint64]*call // by the numbers of datagrams
	number  uint64           // the last of these

	welcome  welcome
	greeting bool          // HELLO is on its way, and calls that overtake it would lack what it says
	opened   bool          // calls may come, or it has ended
	welcomed chan struct{} // closed then
	heard    time.Time
	pinged   bool
	silence  *time.Timer
	draining bool // no new calls
	useful   bool // something of a call came
	dead     bool
	err      error // why
}

// welcome is what the gateway says of itself.
type welcome struct {
	said     bool
	ticket   string
	node     string
	detach   time.Duration
	ping     time.Duration
	maxCalls int
}

func (w *welcome) defaults() {
	*w = welcome{detach: time.Minute, ping: 20 * time.Second, maxCalls: 100}
}

// maxBlock bounds what a field block of the gateway counts for. A frame bounds its bytes.
const maxBlock = 1 << 20

func (w *welcome) read(payload []byte) error {
	list, err := fields.Parse(nil, payload, maxBlock)
	if err != nil {
		return err
	}
	w.defaults()
	w.said = true
	for i := range list {
		f := &list[i]
		number, bad := strconv.ParseUint(f.Value, 10, 31)
		switch f.Name {
		case "version":
			if f.Value != "1" {
				return fmt.Errorf("the gateway speaks version %q of the protocol", f.Value)
			}
		case "ticket":
			w.ticket = f.Value
		case "node":
			w.node = f.Value
		case "detach", "ping", "max-calls":
			if bad != nil {
				return fmt.Errorf("WELCOME with %s: %q", f.Name, f.Value)
			}
			switch ms := time.Duration(number) * time.Millisecond; f.Name {
			case "detach":
				w.detach = ms
			case "ping":
				w.ping = ms
			default:
				w.maxCalls = int(number)
			}
		}
	}
	return nil
}

// frame takes a frame of the connection.
func (n *conn) frame(l *lane, kind duplex.Kind, payload []byte) error {
	if l == n.mux && !n.welcome.said && kind != duplex.Welcome {
		return fmt.Errorf("%v before WELCOME", kind)
	}
	switch kind {
	case duplex.Welcome:
		if err := n.welcome.read(payload); err != nil {
			return err
		}
		n.open()
	case duplex.Ping:
		if len(payload) != duplex.PingLength {
			return errors.New("PING of a wrong length")
		}
		return n.say(duplex.Pong, payload)
	case duplex.Pong:
		n.greeting = false
		n.open()
	case duplex.GoAway:
		if _, err := fields.Parse(nil, payload, maxBlock); err != nil {
			return err
		}
		n.draining = true
		n.leaveIfIdle()
		n.c.place()
	default:
		return fmt.Errorf("%v from a server", kind)
	}
	return nil
}

// open lets calls come once the gateway has said WELCOME, and has read HELLO.
func (n *conn) open() {
	if n.welcome.said && !n.greeting && !n.opened {
		n.opened = true
		close(n.welcomed)
	}
}

// say sends a frame of the connection.
func (n *conn) say(kind duplex.Kind, payload []byte) error {
	l := n.mux
	if l == nil {
		l = n.own
	}
	if len(l.control) > maxControl {
		return errors.New("too many frames that want an answer")
	}
	l.control = l.form.Append(l.control, kind, 0, payload)
	l.wake.Signal()
	return nil
}

// An endedCall is one whose END was acknowledged not long ago. If the connection breaks, nobody knows
// whether the gateway has heard that, and it would keep the END for a minute.
type endedCall struct {
	k  *call
	at time.Time
}

// For how long, and how many at most, are remembered.
const (
	endsFor = 2 * time.Second
	maxEnds = 256
)

// acknowledged remembers a call.
func (n *conn) acknowledged(k *call) {
	at := now()
	for len(n.ends) > 0 && (len(n.ends) == maxEnds || at.Sub(n.ends[0].at) > endsFor) {
		n.ends = n.ends[1:]
	}
	n.ends = append(n.ends, endedCall{k, at})
}

// maxControl bounds the frames that wait and are not bound by credit.
const maxControl = 64 << 10

// watch asks a silent connection for a sign of life, and gives it up if there is none.
func (n *conn) watch() {
	n.silence = time.AfterFunc(n.patience(), n.listen)
}

func (n *conn) patience() time.Duration {
	return max(or(n.c.cfg.Silence, n.welcome.ping), 10*time.Millisecond)
}

func (n *conn) listen() {
	n.c.mu.Lock()
	defer n.c.unlock()
	if n.dead {
		return
	}
	patience := n.patience()
	switch silent := now().Sub(n.heard); {
	case silent < patience:
		n.silence.Reset(patience - silent)
		return
	case silent >= 2*patience && n.pinged:
		n.lost(fmt.Errorf("nothing was heard for %v", silent.Round(time.Millisecond)))
		return
	case !n.pinged:
		n.pinged = true
		_ = n.say(duplex.Ping, make([]byte, duplex.PingLength))
	}
	n.silence.Reset(patience)
}

// attach gives a call to the connection.
func (n *conn) attach(k *call) {
	n.calls++
	l := n.mux
	if l == nil {
		l = n.lane(duplex.CallForm)
		l.open()
	}
	l.quiet[k] = true
	k.attached(l)
}

// detach takes a call from the connection.
func (n *conn) detach(k *call) {
	if k.phase == phaseOpening {
		delete(k.lane.quiet, k)
	} else {
		delete(k.lane.calls, k.num)
	}
	n.calls--
	if n.session != nil {
		k.lane.finish()
	}
	k.lane = nil
	n.leaveIfIdle()
	if len(n.c.waiting) > 0 && !n.dead {
		n.c.place()
	}
}

// leaveIfIdle closes a connection that takes no new calls and has none.
func (n *conn) leaveIfIdle() {
	if n.draining && n.calls == 0 && !n.dead {
		n.end(Leave, "", nil)
	}
}

// lost says that the connection broke.
func (n *conn) lost(err error) {
	n.err = err
	n.end(Cut, "", nil)
	n.c.place()
}

// end closes the connection. Its calls end with st; if there is none, they wait for another
// connection, if they can.
func (n *conn) end(why Reason, text string, st *status.Status) {
	if n.dead {
		return
	}
	n.dead = true
	if n.err == nil {
		n.err = errors.New("closed")
	}
	if !n.opened {
		n.opened = true
		close(n.welcomed)
	}
	if n.silence != nil {
		n.silence.Stop()
	}
	c := n.c
	for i, other := range c.conns {
		if other == n {
			c.conns = append(c.conns[:i], c.conns[i+1:]...)
			break
		}
	}
	if n.useful {
		c.failures = 0
	}
	if why == Cut && !c.closed {
		for _, e := range n.ends {
			if now().Sub(e.at) <= endsFor {
				c.tell = append(c.tell, e.k)
			}
		}
		c.tell = c.tell[max(0, len(c.tell)-maxEnds):]
	}
	n.ends = nil
	for l := range n.lanes {
		l.end(why, text, st)
	}
	if session := n.session; session != nil {
		c.later(func() { session.Close(why, text) })
	}
}

// violation is a gateway that does not keep to the protocol: its calls end, since resuming
// would come to the same.
func (n *conn) violation(err error) {
	n.err = err
	text := err.Error()
	n.end(Violation, text, status.Newf(codes.Internal, "the gateway broke the protocol: %s", text))
	n.c.place()
}

// accept takes pipes that the gateway opens.
func (n *conn) accept() {
	defer n.c.wg.Done()
	for {
		pipe, err := n.session.Accept(n.c.ctx)
		n.c.mu.Lock()
		if err != nil {
			n.lost(err)
			n.c.unlock()
			return
		}
		if n.dead {
			n.c.later(func() { pipe.Close(Cut, "") })
		} else {
			n.lane(duplex.CallForm).run(pipe)
		}
		n.c.unlock()
	}
}

// ended is a pipe that has ended, in whatever way.
func (n *conn) ended(l *lane, err error) {
	if l.closed {
		return
	}
	if errors.Is(err, io.EOF) && n.session != nil && len(l.calls) == 0 && l.pipe != nil && (l.done || l.fin) {
		if l.eof = true; l.fin {
			l.end(Done, "", nil)
		}
		return
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the gateway closed the connection")
	}
	if n.session == nil {
		n.lost(err)
		return
	}
	l.err = err
	l.end(Cut, "", nil)
	n.c.place()
}

func exchangeField(name, value string) exchange.Field {
	return exchange.Field{Name: name, Value: value}
}
