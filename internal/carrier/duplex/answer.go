package duplex

import (
	"strconv"
	"sync/atomic"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// A refusal is a status and what is wrong.
type refusal struct {
	status int
	text   string
}

// refuse answers with a refusal.
func refuse(response exchange.Response, r *refusal) exchange.Request {
	return &answer{response: response, status: r.status, text: r.text}
}

// An answer is known from the start.
type answer struct {
	response exchange.Response
	status   int
	fields   []exchange.Field
	text     string
}

// Begin answers.
func (a *answer) Begin() { say(a.response, a.status, a.text, a.fields...) }

// Data implements [exchange.Request]. The response is over: its carrier drops what comes.
func (a *answer) Data([]byte) {}

// End implements [exchange.Request].
func (a *answer) End([]exchange.Field) {}

// Reset implements [exchange.Request].
func (a *answer) Reset(exchange.Code) {}

// Credit implements [exchange.Request].
func (a *answer) Credit(int) {}

// Done implements [exchange.Request].
func (a *answer) Done(bool) {}

// say is a whole response, with text for people.
func say(response exchange.Response, status int, text string, more ...exchange.Field) {
	f := append(make([]exchange.Field, 0, 6), noStore)
	f = append(f, more...)
	switch status {
	case 405:
		f = append(f, exchange.Field{Name: "allow", Value: allow})
	case 429, 503:
		f = append(f, exchange.Field{Name: "retry-after", Value: "5"})
	}
	if text == "" {
		if status != 204 {
			f = append(f, exchange.Field{Name: "content-length", Value: "0"})
		}
		response.Head(&exchange.ResponseHead{Status: status, Fields: f}, true)
		return
	}
	f = append(f, exchange.Field{Name: "content-type", Value: "text/plain; charset=utf-8"}, noSniff,
		exchange.Field{Name: "content-length", Value: strconv.Itoa(len(text) + 1)})
	response.Head(&exchange.ResponseHead{Status: status, Fields: f}, false)
	response.Data(append([]byte(text), '\n'))
	response.End(nil)
}

var (
	noStore = exchange.Field{Name: "cache-control", Value: "no-store"}
	noSniff = exchange.Field{Name: "x-content-type-options", Value: "nosniff"}
)

// A beacon is what a page sends when it is closed, by navigator.sendBeacon, which can't
// set fields.
type beacon struct {
	s        *Server
	response exchange.Response
	content  []byte
	over     atomic.Bool
}

// maxBeacon is more than there can be in one.
const maxBeacon = 64

// Begin implements [exchange.Request].
func (b *beacon) Begin() {}

// Data implements [exchange.Request].
func (b *beacon) Data(p []byte) {
	if b.content = append(b.content, p[:min(len(p), maxBeacon+1)]...); len(b.content) <= maxBeacon {
		b.response.Credit(len(p))
		return
	}
	b.content = b.content[:maxBeacon+1]
	b.say(400, errNoSession)
}

const errNoSession = fieldSession + " is missing"

// End implements [exchange.Request].
func (b *beacon) End([]exchange.Field) {
	id, ok := cutClose(b.content)
	if !ok {
		b.say(400, errNoSession)
		return
	}
	if v := b.s.find(id, false); v != nil {
		v.leave(exchange.Cancel)
	}
	b.say(204, "") // whoever sends it is gone, and doesn't ask
}

func (b *beacon) say(status int, text string) {
	if !b.over.Swap(true) {
		say(b.response, status, text)
	}
}

// cutClose reads the content of a beacon.
func cutClose(content []byte) (id string, ok bool) {
	const verb = "close "
	if len(content) < len(verb) || string(content[:len(verb)]) != verb {
		return "", false
	}
	id = string(content[len(verb):])
	return id, validID(id)
}

// Reset implements [exchange.Request].
func (b *beacon) Reset(code exchange.Code) {
	if !b.over.Swap(true) {
		b.response.Reset(code, nil)
	}
}

// Credit implements [exchange.Request].
func (b *beacon) Credit(int) {}

// Done implements [exchange.Request].
func (b *beacon) Done(bool) {}
