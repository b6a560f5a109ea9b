package jsoncodec

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/sluice-rpc/sluice/internal/transcode"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

const (
	method     = "/t.S/M"
	defaults   = "/t.S/Defaults" // its JSON is written with defaults
	unknown    = "/t.S/Unknown"
	maxMessage = 1000
)

// plan is that of message t.M { string text = 1; int64 n = 2; bytes data = 3; repeated M
// more = 4; }, which requests and responses are.
var plan = func() *transcode.Message {
	field := func(name string, n int32, kind descriptorpb.FieldDescriptorProto_Type, label descriptorpb.FieldDescriptorProto_Label, of string) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: &n, Type: &kind, Label: &label}
		if of != "" {
			f.TypeName = &of
		}
		return f
	}
	optional, repeated := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL, descriptorpb.FieldDescriptorProto_LABEL_REPEATED
	fd, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("t.proto"), Package: proto.String("t"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("M"), Field: []*descriptorpb.FieldDescriptorProto{
			field("text", 1, descriptorpb.FieldDescriptorProto_TYPE_STRING, optional, ""),
			field("n", 2, descriptorpb.FieldDescriptorProto_TYPE_INT64, optional, ""),
			field("data", 3, descriptorpb.FieldDescriptorProto_TYPE_BYTES, optional, ""),
			field("more", 4, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, repeated, ".t.M"),
		}}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		panic(err)
	}
	files := new(protoregistry.Files)
	if err := files.RegisterFile(fd); err != nil {
		panic(err)
	}
	return transcode.NewTypes(files).Message(fd.Messages().Get(0))
}()

func messages(m string) (in, out *transcode.Message, o transcode.EncodeOptions) {
	switch m {
	case method:
		return plan, plan, o
	case defaults:
		return plan, plan, transcode.EncodeOptions{EmitDefaults: true}
	}
	return nil, nil, o
}

// wire is a message as protobuf, by protojson's account of it.
func wire(t testing.TB, json string) []byte {
	t.Helper()
	m := dynamicpb.NewMessage(plan.Descriptor())
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatal(err)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// env is a message with its prefix.
func env(flags byte, msg []byte) []byte { return append(envelope.Append(nil, flags, len(msg)), msg...) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func pack(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

// split cuts what is whole, and returns the messages.
func split(t testing.TB, b []byte) (out []string) {
	t.Helper()
	for len(b) > 0 {
		if len(b) < 5 || b[0] != 0 || len(b) < 5+int(binary.BigEndian.Uint32(b[1:])) {
			t.Fatalf("not a message without compression: %x", b)
		}
		n := 5 + int(binary.BigEndian.Uint32(b[1:]))
		out = append(out, string(b[5:n]))
		b = b[n:]
	}
	return out
}

// memory counts what is reserved. A limit of 0 is none.
type memory struct{ held, peak, limit, negative int }

func (m *memory) reserve(n int) bool {
	if n > 0 && m.limit > 0 && m.held+n > m.limit {
		return false
	}
	m.held += n
	m.peak = max(m.peak, m.held)
	m.negative = min(m.negative, m.held)
	return true
}

// A trial is one call through the handler. It is the backend and the client at once, and
// says where either breaks the contract of a call.
type trial struct {
	t       testing.TB
	mem     memory
	pending string
	lacking string // what the call waits for
	look    func(last bool) rpc.Handler
	held    *rpc.Hold

	// The backend's side.
	late     bool // it ends a call that is canceled when the test says so
	noCredit bool // it credits when the test says so
	call     *rpc.Call
	response rpc.Response // where it answers
	begun    bool
	body     []byte
	ended    bool
	cancels  []rpc.Status
	over     bool
	sent     int // response bytes, which have to be credited
	credited int
	done     int
	outcome  rpc.Outcome

	// The client's side.
	slow    bool // it credits when the test says so
	request rpc.Request
	gave    int // request bytes, which have to be credited
	taken   int
	head    *rpc.Head
	answer  []byte
	status  *rpc.Status
	trailer rpc.Metadata
}

func newTrial(t testing.TB) *trial { return &trial{t: t} }

// start begins a call with the codec "json".
func (r *trial) start(of, encoding string) *trial {
	return r.startCall(&rpc.Call{Method: of, Codec: "json", Protocol: "connect", Encoding: encoding, AcceptEncodings: []string{"gzip"}})
}

func (r *trial) startCall(c *rpc.Call) *trial {
	h := New((*theBackend)(r), Options{
		Messages: func(method string) (in, out *transcode.Message, written transcode.EncodeOptions) {
			if r.pending != "" {
				return nil, nil, written
			}
			return messages(method)
		},
		Pending: func() string { return r.pending },
		Hold: func(c *rpc.Call, response rpc.Response, lacking string, look func(last bool) rpc.Handler) rpc.Request {
			r.lacking, r.look = lacking, look
			r.held = rpc.NewHold(c, response, nil)
			return r.held
		},
		MaxMessage: maxMessage, Ratio: 100, Reserve: r.mem.reserve,
	})
	r.request = h.Start(c, (*theClient)(r))
	r.request.Begin()
	return r
}

func (r *trial) rule(ok bool, what string) {
	if !ok {
		r.t.Helper()
		r.t.Error("contract: " + what)
	}
}

// give sends a piece of the request.
func (r *trial) give(p []byte) *trial {
	if len(p) > 0 {
		r.gave += len(p)
		p = bytes.Clone(p) // valid during the call only
		r.request.Data(p)
		clear(p)
	}
	return r
}

// send sends a piece of the response.
func (r *trial) send(p []byte) {
	if len(r.cancels) > 0 && !r.late || r.over || len(p) == 0 {
		return
	}
	r.sent += len(p)
	p = bytes.Clone(p)
	r.response.Data(p)
	clear(p)
}

func (r *trial) headed(encoding string) {
	if !r.over {
		r.response.Head(&rpc.Head{Encoding: encoding, Codec: "proto", Metadata: rpc.Metadata{{Key: "x-a", Value: "1"}}})
	}
}

// end ends the response; a cancel that came first has the last word, unless the end has
// overtaken it.
func (r *trial) end(st rpc.Status, overtakes bool) {
	if r.over {
		return
	}
	r.over = true
	if len(r.cancels) > 0 && !overtakes {
		st = r.cancels[0]
	}
	r.response.End(st, rpc.Metadata{{Key: "x-t", Value: "2"}})
}

// finish ends the call and checks what holds for all of them: one end, one Done, every
// byte credited once in each direction, no memory kept.
func (r *trial) finish() *trial {
	r.t.Helper()
	if r.status == nil {
		r.t.Fatal("the call has no end")
	}
	if r.noCredit && len(r.body) > 0 {
		r.response.Credit(len(r.body))
	}
	if r.slow && len(r.answer) > 0 {
		r.request.Credit(len(r.answer))
	}
	outcome := rpc.Outcome{Status: *r.status, Delivered: true}
	r.request.Done(outcome)
	if r.begun && (r.done != 1 || r.outcome.Status.Code != r.status.Code || !r.outcome.Delivered) {
		r.t.Errorf("Done came %d times, last with %+v", r.done, r.outcome)
	}
	if r.taken != r.gave {
		r.t.Errorf("%d request bytes were credited of %d", r.taken, r.gave)
	}
	if r.credited != r.sent {
		r.t.Errorf("%d response bytes were credited of %d", r.credited, r.sent)
	}
	if r.mem.held != 0 || r.mem.negative != 0 {
		r.t.Errorf("memory: %d bytes are still reserved, %d at the lowest", r.mem.held, r.mem.negative)
	}
	return r
}

// theBackend is the trial as the handler that is next.
type theBackend trial

func (b *theBackend) Start(call *rpc.Call, response rpc.Response) rpc.Request {
	r := (*trial)(b)
	r.rule(r.call == nil, "one call became two")
	r.call, r.response = call, response
	return b
}

func (b *theBackend) Begin() {
	(*trial)(b).rule(!b.begun, "Begin twice")
	b.begun = true
}

func (b *theBackend) Data(p []byte) {
	r := (*trial)(b)
	r.rule(b.begun && !b.ended && b.done == 0, "Data before Begin, after End or after Done")
	r.rule(len(p) > 0, "Data of no bytes")
	b.body = append(b.body, p...)
	if !b.noCredit {
		b.response.Credit(len(p))
	}
}

func (b *theBackend) End() {
	(*trial)(b).rule(b.begun && !b.ended && b.done == 0 && len(b.cancels) == 0, "End before Begin, twice, after Cancel or Done")
	b.ended = true
}

func (b *theBackend) Cancel(cause rpc.Status) {
	r := (*trial)(b)
	r.rule(b.begun && b.done == 0, "Cancel before Begin or after Done")
	b.cancels = append(b.cancels, cause)
	if !b.late {
		r.end(cause, false)
	}
}

func (b *theBackend) Credit(n int) {
	(*trial)(b).rule(n > 0 && b.done == 0, "Credit of nothing, or after Done")
	b.credited += n
}

func (b *theBackend) Done(o rpc.Outcome) {
	(*trial)(b).rule(b.over, "Done before the end of the response")
	b.done++
	b.outcome = o
}

// theClient is the trial as the place of the response.
type theClient trial

func (c *theClient) Head(h *rpc.Head) {
	(*trial)(c).rule(c.head == nil && len(c.answer) == 0 && c.status == nil, "Head twice or late")
	head := *h
	c.head = &head
}

func (c *theClient) Data(p []byte) {
	r := (*trial)(c)
	r.rule(c.head != nil && c.status == nil, "Data before Head or after End")
	r.rule(len(p) > 0, "Data of no bytes")
	c.answer = append(c.answer, p...)
	if !c.slow {
		c.request.Credit(len(p))
	}
}

func (c *theClient) End(st rpc.Status, trailer rpc.Metadata) {
	(*trial)(c).rule(c.status == nil, "End twice")
	c.status, c.trailer = &st, trailer
}

func (c *theClient) Credit(n int) {
	(*trial)(c).rule(n > 0, "Credit of nothing")
	c.taken += n
}
