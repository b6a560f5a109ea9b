package rest

import (
	"github.com/sluice-rpc/sluice/internal/wire/sse"
	"google.golang.org/protobuf/encoding/protowire"
)

// A Mode is how an exchange carries the messages of a response
// (docs/protocols/rest-streams.md).
type Mode int

// The modes, in the order in which they are preferred for a stream when the client says nothing
// that tells them apart.
const (
	Unary     Mode = iota // one JSON document
	NDJSON                // one JSON document a line
	SSE                   // Server-Sent Events
	Array                 // a JSON array
	Seq                   // RFC 7464
	Delimited             // protobuf messages behind their lengths
	HTTPBody              // the pieces of a google.api.HttpBody
	modes
)

// framing is how a mode is written.
type framing struct {
	name        string // in docs
	contentType string
	accept      []string // media types that ask for it
	first       string   // what follows the head when no message does
	heartbeat   string
	failure     bool // a stream that fails can say so
	binary      bool // messages are protobuf
}

var framings = [modes]framing{
	Unary:     {name: "unary", contentType: "application/json", accept: []string{"application/json"}, failure: true},
	NDJSON:    {name: "ndjson", contentType: "application/x-ndjson", accept: []string{"application/x-ndjson", "application/jsonl"}, first: "\n", heartbeat: "\n", failure: true},
	SSE:       {name: "sse", contentType: "text/event-stream", accept: []string{"text/event-stream"}, first: sse.Comment, heartbeat: sse.Comment, failure: true},
	Array:     {name: "array", contentType: "application/json", accept: []string{"application/json"}, first: "[", heartbeat: " ", failure: true},
	Seq:       {name: "seq", contentType: "application/json-seq", accept: []string{"application/json-seq"}, first: "\x1e\n", heartbeat: "\x1e\n", failure: true},
	Delimited: {name: "delimited", contentType: "application/x-protobuf", accept: []string{"application/x-protobuf", "application/protobuf", "application/vnd.google.protobuf"}, binary: true},
	HTTPBody:  {name: "httpbody"},
}

// String returns the mode's name in the docs.
func (m Mode) String() string { return framings[m].name }

// writer appends the items of a stream in one framing. Messages are written in place:
// before is called, then the message is appended, then after.
type writer struct {
	mode  Mode
	count int // messages
	open  bool
	event eventFields
}

// begin appends what opens the stream before there is a message.
func (w *writer) begin(b []byte) []byte {
	if w.open {
		return b
	}
	w.open = true
	b = append(b, framings[w.mode].first...)
	return w.retry(b)
}

// retry appends the reconnection time that the backend has chosen, once.
func (w *writer) retry(b []byte) []byte {
	if w.mode == SSE && w.event.retry > 0 {
		b = sse.AppendRetry(b, w.event.retry)
		w.event.retry = 0
	}
	return b
}

// message appends a message that is written already: as JSON or, in binary modes, as
// protobuf.
func (w *writer) message(b, m []byte, id, name string) []byte {
	first := !w.open
	w.open = true
	w.count++
	switch w.mode {
	case NDJSON:
		b = append(append(b, m...), '\n')
	case Array:
		switch {
		case first:
			b = append(b, '[')
		case w.count > 1:
			b = append(b, ',')
		}
		b = append(b, m...)
	case Seq:
		b = append(append(append(b, '\x1e'), m...), '\n')
	case Delimited:
		b = append(protowire.AppendVarint(b, uint64(len(m))), m...)
	case SSE:
		b = sse.Append(w.retry(b), sse.Event{Name: name, ID: id}, m)
	default:
		b = append(b, m...)
	}
	return b
}

// end appends what stands at the end of a stream that ended well.
func (w *writer) end(b []byte) []byte {
	switch w.mode {
	case Array:
		if !w.open {
			b = append(b, '[')
		}
		b = append(b, ']')
	case SSE:
		b = w.eos(w.retry(b))
	}
	w.open = true
	return b
}

// eos tells an EventSource that nothing more will come: what asks again with this id is
// answered with 204.
func (w *writer) eos(b []byte) []byte {
	return sse.Append(b, sse.Event{Name: endOfStream, ID: endOfStream}, nil)
}

const (
	endOfStream  = "EOS"
	failureEvent = "failure"
	// reconnect is how long an EventSource waits before it tries again, in milliseconds.
	reconnect = 1000
)

// fail appends the mark of a stream that failed. status is a google.rpc.Status as JSON,
// again says that trying again may help. Modes without a place for it append nothing.
func (w *writer) fail(b, status []byte, again bool) []byte {
	switch w.mode {
	case NDJSON:
		b = append(append(append(b, `{"@error":`...), status...), "}\n"...)
	case Array:
		switch {
		case !w.open:
			b = append(b, '[')
		case w.count > 0:
			b = append(b, ',')
		}
		b = append(append(append(b, `{"@error":`...), status...), '}')
	case Seq:
		b = append(append(append(b, "\x1e{\"@error\":"...), status...), "}\n"...)
	case SSE:
		e := sse.Event{Name: failureEvent}
		if again {
			e.Retry = reconnect
		}
		b = sse.Append(b, e, status)
		if !again {
			b = w.eos(b)
		}
	}
	w.open = true
	return b
}
