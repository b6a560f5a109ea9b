package mux

import (
	"math"
	"strconv"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
	"github.com/sluice-rpc/sluice/internal/wire/ledger"
)

// lossy is what a call has whose client has asked for datagrams: messages that may be lost, beside
// those in DATA. What comes is put between the messages of DATA; what is sent is cut out of the
// response, a message at a time. Neither counts for offsets and credit. The call's lock is held for its
// methods.
type lossy struct {
	conn    *connection
	session exchange.Session // nil while the pipe has no datagrams, or is lost: what is sent is DATA
	number  uint64
	agreed  bool // at some time
	up      bool // of a method that streams its requests
	down    bool // the same of responses

	order    duplex.Order
	scan     envelope.Scanner // of DATA up
	unsound  bool             // it is no sequence of messages
	credit   ledger.Ledger    // from what the request was given to DATA
	waiting  int              // bytes of datagrams that the request was given and has not taken
	sequence uint64

	partial []byte // a message that is not whole, with its prefix
	passing int    // what is to come of one that goes as DATA
}

// maxLossy is what may wait of datagrams that came. More are dropped.
const maxLossy = 16 << 10

// askedDatagrams is the number that a client has given to the datagrams of a call, if it asks for them.
func askedDatagrams(list []exchange.Field) (n uint64, ok bool) {
	return duplex.ParseNumber(exchange.Get(list, ":datagrams"))
}

// agree says what a call can have of the datagrams that its client asks for; nil is nothing. A call that can be
// resumed may have them later where its first pipe has none.
func (s *Server) agree(conn *connection, path string, list []exchange.Field, resumable bool) *lossy {
	_, ok := askedDatagrams(list)
	if !ok || !conn.datagrams() && !resumable || s.o.Method == nil {
		return nil
	}
	m := s.o.Method(path)
	if m == nil || !m.ClientStreaming && !m.ServerStreaming {
		return nil
	}
	return &lossy{
		up: m.ClientStreaming, down: m.ServerStreaming,
		order: duplex.Order{Late: exchange.Get(list, ":datagrams-late") == "deliver"},
		scan:  envelope.Scanner{Limit: math.MaxUint32, Encoded: true},
	}
}

// datagrams says whether the connection has any.
func (c *connection) datagrams() bool {
	return c.session != nil && c.session.MaxDatagram() > duplex.DatagramOverhead
}

// begin has the datagrams of a session with a number be the call's.
func (y *lossy) begin(conn *connection, n uint64, of *call) {
	if y != nil && y.session == nil && conn.datagrams() && conn.enlist(n, of) {
		y.conn, y.session, y.number, y.agreed = conn, conn.session, n, true
	}
}

// enlist has datagrams with the number of a call come to it, and says false if they come to another one.
func (c *connection) enlist(n uint64, of *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lossy[n] != nil {
		return false
	}
	if c.lossy == nil {
		c.lossy = map[uint64]*call{}
	}
	c.lossy[n] = of
	return true
}

// stop ends datagrams, until they begin anew.
func (y *lossy) stop() {
	if y == nil || y.session == nil {
		return
	}
	y.session = nil
	y.conn.mu.Lock()
	delete(y.conn.lossy, y.number)
	y.conn.mu.Unlock()
}

// Datagram implements [exchange.SessionServer]. One that belongs to nothing is dropped.
func (x *Session) Datagram(b []byte) {
	d, ok := duplex.ParseDatagram(b)
	if !ok {
		return
	}
	x.conn.mu.Lock()
	c := x.conn.lossy[d.Number]
	x.conn.mu.Unlock()
	if c != nil {
		c.datagram(&d)
	}
}

// datagram hands a message over, if there is room for it now: between two messages of DATA.
func (c *call) datagram(d *duplex.Datagram) {
	c.mu.Lock()
	y := c.lossy
	size := envelope.PrefixLen + len(d.Message)
	if y == nil || y.session == nil || c.void || c.gotEnd || !y.up || y.unsound || !y.scan.Between() || y.waiting+size > maxLossy || !y.order.Take(d.Sequence) {
		c.mu.Unlock()
		return
	}
	y.waiting += size
	y.credit.Put(0, size)
	c.handOver(append(envelope.Append(make([]byte, 0, size), 0, len(d.Message)), d.Message...))
}

// follow notes DATA that is about to be handed over.
func (y *lossy) follow(b []byte) {
	y.credit.Put(len(b), len(b))
	if !y.unsound {
		_, err := y.scan.Scan(b)
		y.unsound = err != nil
	}
}

// taken says how many bytes of DATA are among n that were taken.
func (y *lossy) taken(n int) int {
	data := y.credit.Credit(n)
	y.waiting -= n - data
	return data
}

// grams are datagrams to be sent once the lock is released, and how many bytes of the response they were.
type grams struct {
	session exchange.Session
	all     [][]byte
	size    int
}

// send sends them. One for which there is no room is lost.
func (g *grams) send(next exchange.Request) {
	for _, b := range g.all {
		g.session.Datagram(b)
	}
	if g.size > 0 {
		next.Credit(g.size)
	}
}

// send makes datagrams of messages where they fit, and gives all else to write.
func (y *lossy) send(b []byte, write func([]byte)) (g grams) {
	if !y.down {
		write(b)
		return g
	}
	g.session = y.session
	for len(b) > 0 {
		if n := min(y.passing, len(b)); n > 0 {
			write(b[:n])
			y.passing -= n
			b = b[n:]
			continue
		}
		n := min(y.missing(), len(b))
		y.partial = append(y.partial, b[:n]...)
		b = b[n:]
		if len(y.partial) < envelope.PrefixLen {
			continue
		}
		size := messageSize(y.partial)
		switch {
		case y.session == nil || y.partial[0] != 0 || size > y.session.MaxDatagram()-duplex.DatagramOverhead:
			y.passing = envelope.PrefixLen + size - len(y.partial)
			y.flush(write)
		case len(y.partial) == envelope.PrefixLen+size:
			y.sequence++
			d := duplex.Datagram{Number: y.number, Sequence: y.sequence, Message: y.partial[envelope.PrefixLen:]}
			g.all = append(g.all, d.Append(nil))
			g.size += len(y.partial)
			y.partial = y.partial[:0]
		}
	}
	return g
}

// missing is how much there has to be before something can be done with it.
func (y *lossy) missing() int {
	if len(y.partial) < envelope.PrefixLen {
		return envelope.PrefixLen - len(y.partial)
	}
	return envelope.PrefixLen + messageSize(y.partial) - len(y.partial)
}

// messageSize is that of the message that a prefix begins.
func messageSize(prefix []byte) int {
	return int(prefix[1])<<24 | int(prefix[2])<<16 | int(prefix[3])<<8 | int(prefix[4])
}

// flush gives what was kept of a message to write.
func (y *lossy) flush(write func([]byte)) {
	if len(y.partial) > 0 {
		write(y.partial)
		y.partial = nil
	}
}

// appendAgreed appends the field of HEADERS that says that there are datagrams.
func (y *lossy) appendAgreed(b []byte) []byte {
	if y == nil || y.session == nil {
		return b
	}
	return fields.AppendField(b, ":datagrams", "1")
}

// appendSent appends the field of END that says how many there were.
func (y *lossy) appendSent(b []byte) []byte {
	if y == nil || !y.down || !y.agreed {
		return b
	}
	return fields.AppendField(b, ":datagrams-sent", strconv.FormatUint(y.sequence, 10))
}
