package rest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A backend is a handler that records one call, and answers when a test or its script
// says so.
type backend struct {
	t        testing.TB
	onEnd    func(*backend)
	call     *rpc.Call
	response rpc.Response
	begun    bool
	body     []byte
	ended    bool
	noCredit bool

	mu      sync.Mutex
	cancels []rpc.Status
	over    bool
	sent    int
	credit  int
	done    int
	outcome rpc.Outcome
}

func (b *backend) Start(call *rpc.Call, response rpc.Response) rpc.Request {
	b.rule(b.call == nil, "one exchange made two calls")
	b.call, b.response = call, response
	return b
}

func (b *backend) rule(ok bool, what string) {
	if !ok {
		b.t.Helper()
		b.t.Error("contract: " + what)
	}
}

func (b *backend) Begin() {
	b.rule(!b.begun, "Begin twice")
	b.begun = true
}

func (b *backend) Data(p []byte) {
	b.rule(b.begun && !b.ended && b.done == 0, "Data before Begin, after End or after Done")
	b.rule(len(p) > 0, "Data of no bytes")
	b.body = append(b.body, p...)
	if !b.noCredit {
		b.response.Credit(len(p))
	}
}

func (b *backend) End() {
	b.rule(b.begun && !b.ended && b.done == 0, "End before Begin, twice or after Done")
	b.ended = true
	if b.onEnd != nil {
		b.onEnd(b)
	}
}

func (b *backend) Cancel(cause rpc.Status) {
	b.rule(b.begun && b.done == 0, "Cancel before Begin or after Done")
	b.mu.Lock()
	b.cancels = append(b.cancels, cause)
	b.mu.Unlock()
	b.end(cause, nil)
}

func (b *backend) Credit(n int) {
	b.rule(n > 0, "Credit of nothing")
	b.mu.Lock()
	b.credit += n
	b.mu.Unlock()
}

func (b *backend) Done(o rpc.Outcome) {
	b.rule(b.over, "Done before the end of the response")
	b.done++
	b.outcome = o
}

func (b *backend) head(md ...rpc.Field) { b.response.Head(&rpc.Head{Metadata: md, Codec: "proto"}) }

// send sends messages of a type, given as JSON.
func (b *backend) send(name protoreflect.FullName, documents ...string) {
	var p []byte
	for _, d := range documents {
		m := wire(b.t, name, d)
		p = append(envelope.Append(p, 0, len(m)), m...)
	}
	b.raw(p)
}

func (b *backend) raw(p []byte) {
	if b.over {
		return
	}
	b.sent += len(p)
	p = bytes.Clone(p) // valid during the call only
	b.response.Data(p)
	clear(p)
}

func (b *backend) end(st rpc.Status, trailer rpc.Metadata) {
	b.mu.Lock()
	over := b.over
	b.over = true
	b.mu.Unlock()
	if !over {
		b.response.End(st, trailer)
	}
}

// messages returns what the backend got, as JSON without spaces.
func (b *backend) messages(name protoreflect.FullName) (documents []string) {
	b.t.Helper()
	body := b.body
	for len(body) > 0 {
		n := int(binary.BigEndian.Uint32(body[1:]))
		documents = append(documents, document(b.t, name, body[envelope.PrefixLen:envelope.PrefixLen+n]))
		body = body[envelope.PrefixLen+n:]
	}
	return documents
}

// wire makes a message of JSON by protojson.
func wire(t testing.TB, name protoreflect.FullName, document string) []byte {
	t.Helper()
	m := message(t, name)
	if err := protojson.Unmarshal([]byte(document), m); err != nil {
		t.Fatal(err)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// document makes JSON of a message by protojson.
func document(t testing.TB, name protoreflect.FullName, b []byte) string {
	t.Helper()
	m := message(t, name)
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	j, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, j); err != nil {
		t.Fatal(err)
	}
	return compact.String()
}

// A clock fires by hand.
type clock struct {
	mu     sync.Mutex
	timers map[int]func()
	waits  []time.Duration
	next   int
}

func (c *clock) after(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timers == nil {
		c.timers = map[int]func(){}
	}
	id := c.next
	c.next++
	c.timers[id] = f
	c.waits = append(c.waits, d)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, ok := c.timers[id]
		delete(c.timers, id)
		return ok
	}
}

// fire fires what is set now.
func (c *clock) fire() {
	c.mu.Lock()
	due := c.timers
	c.timers = nil
	c.mu.Unlock()
	for _, f := range due {
		f()
	}
}

// memory counts what is reserved.
type memory struct{ held, negative int }

func (m *memory) reserve(n int) bool {
	m.held += n
	m.negative = min(m.negative, m.held)
	return true
}

// A trial is one exchange with the server before a backend.
type trial struct {
	*backend
	clock  clock
	mem    memory
	client *exchangetest.Response
	q      exchange.Request
	gave   int
	slow   bool // the client takes nothing until the end
	o      Options
}

func newTrial(t testing.TB) *trial {
	r := &trial{backend: &backend{t: t}, client: exchangetest.NewResponse()}
	table := testTable(t)
	r.o = Options{
		Table: func() *Table { return table }, MaxMessage: 1000, Ratio: 100, HeadWait: 250 * time.Millisecond, Heartbeat: 15 * time.Second,
		Now: func() time.Time { return time.Unix(1000, 0) }, After: r.clock.after, Reserve: r.mem.reserve,
	}
	return r
}

// style changes the style of all methods.
func (r *trial) style(change func(*Style)) *trial {
	r.t.Helper()
	s := Sluice()
	change(&s)
	table, problems := newTable(s)
	for _, p := range problems {
		r.t.Fatal(p)
	}
	r.o.Table = func() *Table { return table }
	return r
}

// start begins an exchange; headers are as in the document.
func (r *trial) start(verb, path, headers string) *trial {
	head := request(verb, path, headers)
	if n, err := strconv.ParseInt(exchange.Get(head.Fields, "content-length"), 10, 64); err == nil {
		head.Length = n
	}
	if verb == "GET" {
		head.Length = 0
	}
	r.client.OnData = func(n int) {
		if !r.slow {
			r.q.Credit(n)
		}
	}
	r.q = NewServer(r.backend, r.o).Start(head, r.client)
	r.q.Begin()
	return r
}

func (r *trial) give(s string) *trial {
	r.gave += len(s)
	b := []byte(s)
	r.q.Data(b)
	clear(b)
	return r
}

func (r *trial) close() *trial {
	r.q.End(nil)
	return r
}

// finish checks what has to hold at the end of every exchange, and returns the answer.
func (r *trial) finish() exchangetest.Answer {
	r.t.Helper()
	a := r.client.Final(r.t)
	if r.slow {
		r.q.Credit(len(a.Body))
	}
	r.q.Done(true)
	r.client.Check(r.t)
	if r.mem.held != 0 || r.mem.negative < 0 {
		r.t.Errorf("memory: %d held, %d at the least", r.mem.held, r.mem.negative)
	}
	if r.call != nil && r.backend.done != 1 {
		r.t.Errorf("Done %d times", r.backend.done)
	}
	if len(r.clock.timers) > 0 {
		r.t.Errorf("%d timers are left", len(r.clock.timers))
	}
	if len(r.cancels) == 0 && !a.Broken && r.call != nil {
		if r.credit != r.sent {
			r.t.Errorf("credit for %d of %d bytes of the response", r.credit, r.sent)
		}
		if a.Credit != r.gave {
			r.t.Errorf("credit for %d of %d bytes of the request", a.Credit, r.gave)
		}
	}
	return a
}

// do makes a whole exchange that the backend answers with messages.
func (r *trial) do(verb, path, headers, body string, out protoreflect.FullName, answer ...string) exchangetest.Answer {
	r.t.Helper()
	r.onEnd = func(b *backend) {
		b.head()
		b.send(out, answer...)
		b.end(rpc.Status{}, nil)
	}
	r.start(verb, path, headers)
	if body != "" {
		r.give(body)
	}
	return r.close().finish()
}
