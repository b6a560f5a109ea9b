// Package sse writes Server-Sent Events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.5) as
// functions on bytes.
package sse

import "strconv"

// An Event is what one event says beside its data. Empty fields are left out.
type Event struct {
	Name  string
	ID    string
	HasID bool // the id is written even if it is empty, which forgets the last one
	Retry int  // in milliseconds; 0 is none
}

// Append appends an event. Its data is split at every line end, since a line end in it
// would end the event or begin another field.
func Append(b []byte, e Event, data []byte) []byte {
	b = AppendBegin(b, e)
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '\r' && i+1 < len(data) && data[i+1] == '\n':
			// the line feed ends the line
		case c == '\r' || c == '\n':
			b = append(b, "\ndata: "...)
		default:
			n := i + 1
			for n < len(data) && data[n] != '\n' && data[n] != '\r' {
				n++
			}
			b = append(b, data[i:n]...)
			i = n - 1
		}
	}
	return append(b, End...)
}

// AppendBegin appends what stands before the data of an event. Data without a line end,
// such as JSON that is not indented, follows as it is, and then [End].
func AppendBegin(b []byte, e Event) []byte {
	if e.Name != "" {
		b = appendField(b, "event: ", e.Name)
	}
	if e.ID != "" || e.HasID {
		b = appendField(b, "id: ", e.ID)
	}
	if e.Retry > 0 {
		b = append(strconv.AppendInt(append(b, "retry: "...), int64(e.Retry), 10), '\n')
	}
	return append(b, "data: "...)
}

// End ends an event.
const End = "\n\n"

// appendField writes a field of one line. Line ends would forge other fields, and an id
// with a NUL is ignored by readers.
func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	for i := range len(value) {
		if c := value[i]; c != '\r' && c != '\n' && c != 0 {
			b = append(b, c)
		}
	}
	return append(b, '\n')
}

// AppendRetry appends what sets the time to reconnect and is no event.
func AppendRetry(b []byte, ms int) []byte {
	return append(strconv.AppendInt(append(b, "retry: "...), int64(ms), 10), "\n\n"...)
}

// Comment is a line that readers ignore: it opens a stream and keeps it alive.
const Comment = ":\n\n"
