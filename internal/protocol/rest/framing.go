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
	WebSocket             // frames of a WebSocket, both ways
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
	WebSocket: {name: "websocket"},
}

// String returns the mode's name in the docs.
func (m Mode) String() string { return framings[m].name }

// writer appends the items of a stream in one framing. A message, as JSON or, in binary
// modes, as protobuf, stands between what before and after append.
type writer struct {
	mode     Mode
	style    *Style
	envelope bool // messages are in one
	count    int  // messages
	open     bool
	event    eventFields
}

// begin appends what opens the stream before there is a message.
func (w *writer) begin(b []byte) []byte {
	if w.open {
		return b
	}
	if w.style.FirstByte {
		w.open = true
		b = append(b, framings[w.mode].first...)
	}
	return w.retry(b)
}

// retry appends the reconnection time that the backend has chosen, once.
func (w *writer) retry(b []byte) []byte {
	if w.mode == SSE && w.event.retry > 0 && !w.event.told {
		b = sse.AppendRetry(b, w.event.retry)
		w.event.told = true
	}
	return b
}

// before appends what stands before a message of n bytes.
func (w *writer) before(b []byte, n int, id, name string) []byte {
	first := !w.open
	w.open = true
	w.count++
	switch w.mode {
	case Array:
		switch {
		case first:
			b = append(b, '[')
		case w.count > 1:
			b = append(b, ',')
		}
	case Seq:
		b = append(b, '\x1e')
	case Delimited:
		return protowire.AppendVarint(b, uint64(n))
	case SSE: // messages are not indented, so they have no line ends
		b = sse.AppendBegin(w.retry(b), sse.Event{Name: name, ID: id})
	}
	if w.envelope {
		b = append(b, `{"result":`...)
	}
	return b
}

// after appends what stands after a message.
func (w *writer) after(b []byte) []byte {
	if w.envelope && w.mode != Delimited {
		b = append(b, '}')
	}
	switch w.mode {
	case NDJSON, Seq:
		b = append(b, '\n')
	case SSE:
		b = append(b, sse.End...)
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
		if b = w.retry(b); w.style.Events.End {
			b = w.eos(b)
		}
	}
	w.open = true
	return b
}

// eos tells an EventSource that nothing more will come: what asks again with this id is
// answered with 204.
func (w *writer) eos(b []byte) []byte {
	return sse.Append(b, sse.Event{Name: endOfStream, ID: endOfStream}, []byte(w.style.Events.EndData))
}

const endOfStream = "EOS"

// fails says whether a stream that fails has a way to show it.
func (w *writer) fails() bool {
	return framings[w.mode].failure && (w.envelope || w.style.Failure != FailOpen || w.mode == Array)
}

// fail appends the mark of a stream that failed. status is a google.rpc.Status as JSON, body
// what an error body is, again says that trying again may help.
func (w *writer) fail(b, status, body []byte, again bool) []byte {
	item := status
	switch {
	case w.envelope:
		item = append(append([]byte(`{"error":`), status...), '}')
	case w.style.Failure == FailMark:
		item = append(append([]byte(`{"@error":`), status...), '}')
	case w.style.Failure == FailClosed:
		item = body
	}
	switch w.mode {
	case NDJSON:
		b = append(append(b, item...), '\n')
	case Array:
		b = w.failArray(b, item)
	case Seq:
		b = append(append(append(b, '\x1e'), item...), '\n')
	case SSE:
		events := &w.style.Events
		e := sse.Event{Name: events.Failure}
		if again && !w.event.told { // what the backend says counts more
			if e.Retry = w.event.retry; e.Retry == 0 {
				e.Retry = events.Retry
			}
		}
		if w.style.Failure != FailClosed {
			item = status // the name of the event tells what it is
		}
		b = sse.Append(b, e, item)
		if !again && events.End && events.EndFailed {
			b = w.eos(b)
		}
	}
	w.open = true
	return b
}

func (w *writer) failArray(b, item []byte) []byte {
	if !w.open {
		b = append(b, '[')
	}
	if !w.envelope && w.style.Failure == FailOpen {
		return b
	}
	if w.count > 0 {
		b = append(b, ',')
	}
	b = append(b, item...)
	if !w.envelope && w.style.Failure == FailClosed {
		b = append(b, ']')
	}
	return b
}
