package client

import (
	"strconv"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// Lossy lets messages of a call be lost, where the carrier has datagrams and the gateway agrees: those that
// fit into one are sent once, outside of flow control, and none waits for another that was lost. Messages
// that are older than one that came before are dropped, or, with late, delivered. Without datagrams
// it is a call like any other; one that is resumed has them again where the new carrier does.
func Lossy(late bool) grpc.CallOption { return lossyOption{late: late} }

type lossyOption struct {
	grpc.EmptyCallOption
	late bool
}

// lossy is what a call has that may lose messages.
type lossy struct {
	late     bool
	conn     *conn // whose datagrams they are; nil before and after
	number   uint64
	agreed   bool
	resumed  bool // RESUMED has said whether there are any, and HEADERS do not count
	sequence uint64
	order    duplex.Order
	came     [][]byte
	size     int // of came
}

const (
	// maxDatagram fits into the smallest packet of QUIC (RFC 9000, section 14), with what is around it.
	maxDatagram = 1100
	// maxCame is how much of datagrams waits for RecvMsg. More are dropped.
	maxCame = duplex.Window
)

// ask appends the fields that ask for datagrams.
func (y *lossy) ask(dst []byte, k *call) []byte {
	n := k.lane.n
	n.number++
	y.number, y.resumed = n.number, false
	if n.session != nil {
		y.conn = n
		n.lossy[y.number] = k
	}
	dst = fields.AppendField(dst, ":datagrams", strconv.FormatUint(y.number, 10))
	if y.late {
		dst = fields.AppendField(dst, ":datagrams-late", "deliver")
	}
	return dst
}

// answer takes HEADERS of the gateway, or RESUMED.
func (y *lossy) answer(list []exchange.Field, resumed bool) {
	if y != nil && y.conn != nil && (resumed || !y.resumed) {
		y.resumed = resumed
		y.agreed = exchange.Get(list, ":datagrams") == "1"
	}
}

// stop ends datagrams. What has come stays.
func (y *lossy) stop() {
	if y != nil && y.conn != nil {
		delete(y.conn.lossy, y.number)
		y.conn, y.agreed = nil, false
	}
}

// pack makes a datagram of a message; nil says that it has to go as DATA.
func (y *lossy) pack(prefix [envelope.PrefixLen]byte, data mem.BufferSlice) []byte {
	if y == nil || !y.agreed || prefix[0] != 0 || data.Len() > maxDatagram-duplex.DatagramOverhead {
		return nil
	}
	y.sequence++
	d := duplex.Datagram{Number: y.number, Sequence: y.sequence}
	b := d.Append(make([]byte, 0, data.Len()+duplex.DatagramOverhead))
	for _, part := range data {
		b = append(b, part.ReadOnlyData()...)
	}
	return b
}

// next takes a message that has come; nil is none.
func (y *lossy) next() []byte {
	if y == nil || len(y.came) == 0 {
		return nil
	}
	b := y.came[0]
	y.came[0] = nil
	y.came = y.came[1:]
	y.size -= len(b)
	return b
}

// datagrams is the goroutine that takes datagrams of a session. Those that belong to nothing, and those for
// which there is no room, are dropped.
func (n *conn) datagrams() {
	c := n.c
	defer c.wg.Done()
	for {
		b, err := n.session.ReceiveDatagram(c.ctx)
		if err != nil {
			return // who accepts pipes learns of it too
		}
		d, ok := duplex.ParseDatagram(b)
		if !ok {
			continue
		}
		c.mu.Lock()
		if k := n.lossy[d.Number]; k != nil && k.lossy.size+len(d.Message) <= maxCame && k.lossy.order.Take(d.Sequence) {
			// An empty message is one too.
			k.lossy.came = append(k.lossy.came, append(make([]byte, 0, len(d.Message)+1), d.Message...))
			k.lossy.size += len(d.Message)
			k.readable.Broadcast()
		}
		c.unlock()
	}
}
