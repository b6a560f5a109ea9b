package client

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
)

// A Frame is a frame of the duplex protocol that was sent or received, for people.
type Frame struct {
	Time       time.Time
	Connection int // of the client, counted from 1
	Carrier    string
	Sent       bool
	Call       uint32 // 0 is the connection
	Kind       string // as in docs/protocols/duplex.md
	Length     int
	Text       string // what it says
}

// String is a line of a log.
func (f Frame) String() string {
	arrow := "<--"
	if f.Sent {
		arrow = "-->"
	}
	return strings.TrimRight(fmt.Sprintf("%s %s#%d %s %d %-7s %s", f.Time.Format("15:04:05.000"), f.Carrier, f.Connection, arrow, f.Call, f.Kind, f.Text), " ")
}

// outgoing is a lane as the place of frames that are about to be sent.
type outgoing lane

// Data is a part of a message.
func (o *outgoing) Data(num uint32, b []byte) error {
	(*lane)(o).trace(true, duplex.Data, num, b)
	return nil
}

// Frame is any other frame.
func (o *outgoing) Frame(kind duplex.Kind, num uint32, payload []byte) error {
	(*lane)(o).trace(true, kind, num, payload)
	return nil
}

func (l *lane) trace(sent bool, kind duplex.Kind, num uint32, payload []byte) {
	see := l.n.c.cfg.Trace
	if see == nil {
		return
	}
	f := Frame{
		Time: now(), Connection: l.n.id, Carrier: l.n.carrier, Sent: sent, Call: num, Kind: kind.String(), Length: len(payload),
	}
	switch kind {
	case duplex.Data:
		f.Text = fmt.Sprintf("%d bytes", len(payload))
	case duplex.Credit:
		if credit, err := duplex.ParseCredit(payload); err == nil {
			f.Text = fmt.Sprintf("taken %d, window %d, got %d", credit.Taken, credit.Window, credit.Got)
		}
	case duplex.Ping, duplex.Pong:
		if len(payload) == duplex.PingLength {
			f.Text = fmt.Sprintf("%016x", binary.BigEndian.Uint64(payload))
		}
	default:
		f.Text = fieldText(payload)
	}
	see(f)
}

// fieldText is a field block on one line, without what is secret.
func fieldText(payload []byte) string {
	list, err := fields.Parse(nil, payload, maxBlock)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for i, f := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		switch f.Name {
		case "authorization", "cookie", "proxy-authorization", "ticket", ":ticket":
			f.Value = "…"
		}
		b.WriteString(f.Name + ": " + f.Value)
	}
	return b.String()
}
