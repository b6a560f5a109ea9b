package matrix

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// atATime is how many calls of a case run side by side.
const atATime = 50

// Run plays a case in a kind of call over a connection, and says what is wrong.
func (c *Case) Run(ctx context.Context, conn grpc.ClientConnInterface, kind string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second) // nothing takes so long: it is stuck
	defer cancel()
	calls := max(1, c.Of(kind).Calls)
	slots := make(chan struct{}, atATime)
	failed := make(chan error, calls)
	for range calls {
		slots <- struct{}{}
		go func() { // ends with its call, which is waited for
			failed <- c.run(ctx, conn, kind)
			<-slots
		}()
	}
	var all error
	for range calls {
		all = errors.Join(all, <-failed)
	}
	return all
}

func (c *Case) run(ctx context.Context, conn grpc.ClientConnInterface, kind string) error {
	scripts := c.Of(kind)
	steps, err := parse(scripts.Client)
	if err != nil {
		return err
	}
	out, err := md(c.Metadata)
	if err != nil {
		return err
	}
	id := rand.Text()
	out.Set("x-script", scripts.Server)
	out.Set("x-id", id)
	bounded, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx, out))
	defer cancel()
	if c.TimeoutMS > 0 {
		bounded, cancel = context.WithTimeout(bounded, time.Duration(c.TimeoutMS)*time.Millisecond)
		defer cancel()
	}
	p := &player{conn: conn, id: id, kind: kind, method: c.Method(kind), ctx: bounded, cancel: cancel, outer: ctx}
	defer func() { cancel() }()
	err = p.play(steps)
	for _, check := range []func(*Want) error{p.checkStatus, p.checkMetadata} {
		if err == nil {
			err = check(&c.Want)
		}
	}
	if err == nil && c.Backend == "" {
		err = p.checkSight(&c.Want)
	}
	if err != nil {
		return fmt.Errorf("%s, %s: %w", c.Name, kind, err)
	}
	return nil
}

// A player plays a client's script.
type player struct {
	conn   grpc.ClientConnInterface
	id     string
	kind   string
	method string
	ctx    context.Context // of the call
	cancel context.CancelFunc
	outer  context.Context // of the case

	stream          grpc.ClientStream // nil for a call
	sent, received  int
	closed          bool
	end             *status.Status
	header, trailer metadata.MD
}

var codec = grpc.ForceCodecV2(raw{})

func (p *player) play(steps []step) error {
	if steps[0].verb == "call" {
		in, out := Message(0, steps[0].size), []byte(nil)
		err := p.conn.Invoke(p.ctx, p.method, &in, &out, codec, grpc.Header(&p.header), grpc.Trailer(&p.trailer))
		p.end, p.sent, p.closed = status.Convert(err), 1, true
		if err != nil {
			return nil
		}
		return check(out, 0, steps[0].size)
	}
	desc := &grpc.StreamDesc{StreamName: p.kind, ServerStreams: p.kind == "server" || p.kind == "bidi", ClientStreams: p.kind == "client" || p.kind == "bidi"}
	var err error
	if p.stream, err = p.conn.NewStream(p.ctx, desc, p.method, codec); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	for i, s := range steps {
		if err := p.step(s); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, s.verb, err)
		}
	}
	if p.end == nil {
		if err := p.finish(); err != nil {
			return err
		}
	}
	p.header, _ = p.stream.Header() // without one it is empty
	p.trailer = p.stream.Trailer()
	return nil
}

func (p *player) step(s step) error {
	switch s.verb {
	case "send":
		return p.send(s.n, s.size)
	case "recv":
		return p.receive(s.n, s.size)
	case "pingpong":
		for range s.n {
			if err := p.send(1, s.size); err != nil {
				return err
			}
			if err := p.receive(1, s.size); err != nil {
				return err
			}
		}
		return nil
	case "pump":
		sent := make(chan error, 1)
		go func() { sent <- p.send(s.n, s.size) }() // ends with the call
		if err := p.receive(s.n, s.size); err != nil {
			return err
		}
		return <-sent
	case "close":
		p.closed = true
		return p.stream.CloseSend()
	case "header":
		_, err := p.stream.Header()
		return err
	case "release":
		return p.ask("Release", nil)
	case "cancel":
		p.cancel()
		return nil
	}
	return errors.New("no such step")
}

func (p *player) send(n, size int) error {
	for range n {
		b := Message(p.sent, size)
		if err := p.stream.SendMsg(&b); err != nil && err != io.EOF { // io.EOF: the end is there, and comes
			return err
		}
		p.sent++
	}
	return nil
}

func (p *player) receive(n, size int) error {
	for range n {
		var b []byte
		if err := p.stream.RecvMsg(&b); err != nil {
			return fmt.Errorf("instead of message %d: %w", p.received, err)
		}
		if err := check(b, p.received, size); err != nil {
			return err
		}
		p.received++
	}
	return nil
}

// finish receives the end.
func (p *player) finish() error {
	var b []byte
	switch err := p.stream.RecvMsg(&b); err {
	case nil:
		return fmt.Errorf("message %d instead of the end", p.received)
	case io.EOF:
		p.end = status.New(codes.OK, "")
	default:
		p.end = status.Convert(err)
	}
	return nil
}

func (p *player) checkStatus(want *Want) error {
	if uint32(p.end.Code()) != want.Code {
		return fmt.Errorf("it ended with %v %q, want code %d", p.end.Code(), p.end.Message(), want.Code)
	}
	if !strings.HasPrefix(p.method, "/"+Service+"/") || want.Gone || p.end.Code() == codes.OK {
		return nil
	}
	if p.end.Message() != failMessage {
		return fmt.Errorf("the message is %q, want %q", p.end.Message(), failMessage)
	}
	for _, d := range p.end.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.Reason == failReason {
			return nil
		}
	}
	return fmt.Errorf("the details are %v", p.end.Details())
}

func (p *player) checkMetadata(want *Want) error {
	return errors.Join(compare("the header", p.header, want.Header), compare("the trailer", p.trailer, want.Trailer))
}

// checkSight compares what the backend saw. Where it ends the call itself, it need not have seen all.
func (p *player) checkSight(want *Want) error {
	var reply []byte
	if err := p.ask("Saw", &reply); err != nil {
		return err
	}
	var saw Sight
	if err := json.Unmarshal(reply, &saw); err != nil {
		return err
	}
	expected := Sight{Received: p.sent, HalfClosed: p.closed, Gone: want.Gone}
	if want.Code != 0 {
		saw.Received, saw.HalfClosed = expected.Received, expected.HalfClosed
	}
	if saw != expected {
		return fmt.Errorf("the backend saw %+v, want %+v", saw, expected)
	}
	return nil
}

// ask calls another method about the call.
func (p *player) ask(method string, reply *[]byte) error {
	if reply == nil {
		reply = new([]byte)
	}
	in := []byte(nil)
	ctx := metadata.AppendToOutgoingContext(p.outer, "x-id", p.id)
	if err := p.conn.Invoke(ctx, "/"+Service+"/"+method, &in, reply, codec); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// A Conversation is a bidirectional call whose script is echo, for judges with plans of their own.
type Conversation struct{ p player }

// Talk begins one; the context has the script and the id.
func Talk(ctx context.Context, conn grpc.ClientConnInterface) (*Conversation, error) {
	c := &Conversation{player{kind: "bidi"}}
	var err error
	c.p.stream, err = conn.NewStream(ctx, &grpc.StreamDesc{StreamName: "bidi", ServerStreams: true, ClientStreams: true}, "/"+Service+"/bidi", codec)
	return c, err
}

// PingPong sends a message and receives it.
func (c *Conversation) PingPong() error {
	return c.p.step(step{verb: "pingpong", n: 1, size: defaultSize})
}

// End half-closes, and says how the call ended.
func (c *Conversation) End() error {
	if err := c.p.stream.CloseSend(); err != nil {
		return err
	}
	if err := c.p.finish(); err != nil {
		return err
	}
	return c.p.end.Err()
}
