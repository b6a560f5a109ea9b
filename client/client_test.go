package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

var bidi = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

// talk runs a test with fake time and a gateway that it plays itself.
func talk(t *testing.T, cfg Config, f func(t *testing.T, g *gateway, c *Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		c := g.client(cfg)
		defer c.Close() //nolint:errcheck // also after t.Fatal
		f(t, g, c)
	})
}

// begin begins a bidirectional call.
func begin(t *testing.T, ctx context.Context, c *Client, opts ...grpc.CallOption) grpc.ClientStream {
	t.Helper()
	s, err := c.NewStream(ctx, bidi, "/x.Y/Talk", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func send(t *testing.T, s grpc.ClientStream, m string) {
	t.Helper()
	if err := s.SendMsg(wrapperspb.String(m)); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, s grpc.ClientStream) string {
	t.Helper()
	var m wrapperspb.StringValue
	if err := s.RecvMsg(&m); err != nil {
		t.Fatal(err)
	}
	return m.Value
}

// wantEnd wants the call to end with a code, and returns the message.
func wantEnd(t *testing.T, s grpc.ClientStream, code codes.Code) *status.Status {
	t.Helper()
	err := s.RecvMsg(new(wrapperspb.StringValue))
	if code == codes.OK {
		if !errors.Is(err, io.EOF) {
			t.Fatalf("got %v, want the end", err)
		}
		return nil
	}
	if status.Code(err) != code {
		t.Fatalf("got %v, want %v", err, code)
	}
	return status.Convert(err)
}

func TestUnary(t *testing.T) {
	talk(t, Config{}, func(t *testing.T, g *gateway, c *Client) {
		ctx := metadata.AppendToOutgoingContext(context.Background(), "X-Id", "7", "x-bin", "\x00\xff")
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		done := make(chan error, 1)
		var reply wrapperspb.StringValue
		var header, trailer metadata.MD
		go func() {
			done <- c.Invoke(ctx, "/x.Y/Get", wrapperspb.String("ping"), &reply, grpc.Header(&header), grpc.Trailer(&trailer))
		}()
		p := g.conn()
		p.want(duplex.Headers, 1, ":path: /x.Y/Get\r\n", "grpc-timeout: 1000000u\r\n", "x-id: 7\r\n", "x-bin: AP8\r\n")
		p.want(duplex.Data, 1, text("ping"))
		p.want(duplex.End, 1)
		p.send(duplex.Headers, 1, "x-by: me\r\ny-bin: AP8=\r\n")
		p.send(duplex.Data, 1, text("pong"))
		p.send(duplex.End, 1, "grpc-status: 0\r\nx-cost: 3\r\n")
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if reply.Value != "pong" || header.Get("x-by")[0] != "me" || header.Get("y-bin")[0] != "\x00\xff" || trailer.Get("x-cost")[0] != "3" {
			t.Errorf("got %v, %v, %v", &reply, header, trailer)
		}
		p.quiet() // a call that can't be resumed acknowledges nothing
	})
}

// What the gateway says at the end, and what the application gets.
func TestEnd(t *testing.T) {
	for _, test := range []struct {
		name    string
		unary   bool
		down    []gotFrame
		code    codes.Code
		message string
	}{
		{"status", false, []gotFrame{{duplex.End, 1, "grpc-status: 5\r\ngrpc-message: no %E2%82%AC\r\n"}}, codes.NotFound, "no €"},
		{"no status", false, []gotFrame{{duplex.End, 1, "x: y\r\n"}}, codes.Internal, "without grpc-status"},
		{"inside of a message", false, []gotFrame{{duplex.Data, 1, "\x00\x00\x00\x00\x09ab"}, {duplex.End, 1, "grpc-status: 0\r\n"}}, codes.Internal, "inside of a message"},
		{"inside of a prefix", false, []gotFrame{{duplex.Data, 1, "\x00"}, {duplex.End, 1, "grpc-status: 0\r\n"}}, codes.Internal, "inside of a message"},
		{"inside of a message, with a status", false, []gotFrame{{duplex.Data, 1, "\x00\x00\x00\x00\x09ab"}, {duplex.End, 1, "grpc-status: 8\r\n"}}, codes.ResourceExhausted, ""},
		{"too large", false, []gotFrame{{duplex.Data, 1, "\x00\x00\x50\x00\x00"}}, codes.ResourceExhausted, "larger than the limit of 4194304"},
		{"flags", false, []gotFrame{{duplex.Data, 1, "\x02\x00\x00\x00\x00"}}, codes.Internal, "flags"},
		{"compressed without an encoding", false, []gotFrame{{duplex.Data, 1, "\x01\x00\x00\x00\x01x"}}, codes.Internal, "no grpc-encoding"},
		{"compressed with an unknown encoding", false, []gotFrame{{duplex.Headers, 1, "grpc-encoding: rot13\r\n"}, {duplex.Data, 1, "\x01\x00\x00\x00\x01x"}}, codes.Internal, "rot13"},
		{"not the message", false, []gotFrame{{duplex.Data, 1, "\x00\x00\x00\x00\x01\xff"}}, codes.Internal, "unmarshal"},
		{"no message", true, []gotFrame{{duplex.End, 1, "grpc-status: 0\r\n"}}, codes.Unimplemented, "without a message"},
		{"no message, with a status", true, []gotFrame{{duplex.End, 1, "grpc-status: 5\r\n"}}, codes.NotFound, ""},
		{"two messages", true, []gotFrame{{duplex.Data, 1, text("a") + text("b")}, {duplex.End, 1, "grpc-status: 0\r\n"}}, codes.Unimplemented, "second message"},
		{"a message and a status", true, []gotFrame{{duplex.Data, 1, text("a")}, {duplex.End, 1, "grpc-status: 10\r\n"}}, codes.Aborted, ""},
		{"against the protocol", false, []gotFrame{{duplex.Data, 7, "x"}}, codes.Internal, "never begun"},
		{"malformed fields", false, []gotFrame{{duplex.End, 1, "x\r\n"}}, codes.Internal, "no colon"},
		{"more than the window", false, []gotFrame{
			{duplex.Data, 1, "\x00\x00\x10\x00\x00"}, {duplex.Data, 1, strings.Repeat("x", duplex.MaxData)}, {duplex.Data, 1, strings.Repeat("x", duplex.MaxData)},
			{duplex.Data, 1, strings.Repeat("x", duplex.MaxData)}, {duplex.Data, 1, strings.Repeat("x", duplex.MaxData)},
		}, codes.ResourceExhausted, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			talk(t, Config{Resume: ResumeNone}, func(t *testing.T, g *gateway, c *Client) {
				desc := *bidi
				desc.ServerStreams = !test.unary
				s, err := c.NewStream(context.Background(), &desc, "/x.Y/Talk")
				if err != nil {
					t.Fatal(err)
				}
				p := g.conn()
				p.want(duplex.Headers, 1)
				for _, f := range test.down {
					p.send(f.kind, f.call, f.text)
				}
				synctest.Wait()
				st := wantEnd(t, s, test.code)
				if !strings.Contains(st.Message(), test.message) {
					t.Errorf("got %q, want %q", st.Message(), test.message)
				}
				if again := wantEnd(t, s, test.code); again.Message() != st.Message() {
					t.Errorf("then %q", again.Message())
				}
			})
		})
	}
}

func TestCancel(t *testing.T) {
	talk(t, Config{}, func(t *testing.T, g *gateway, c *Client) {
		ctx, cancel := context.WithCancel(context.Background())
		s := begin(t, ctx, c)
		p := g.conn()
		p.want(duplex.Headers, 1)
		p.send(duplex.Headers, 1, "")
		if _, err := s.Header(); err != nil {
			t.Fatal(err)
		}
		cancel()
		p.want(duplex.Cancel, 1)
		wantEnd(t, s, codes.Canceled)
		if err := s.SendMsg(wrapperspb.String("x")); !errors.Is(err, io.EOF) {
			t.Errorf("SendMsg: %v", err)
		}
		p.send(duplex.Data, 1, "x") // crossed
		p.send(duplex.End, 1, "grpc-status: 1\r\n")
		ctx, cancel = context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s = begin(t, ctx, c)
		p.want(duplex.Headers, 2, "grpc-timeout: 1")
		wantEnd(t, s, codes.DeadlineExceeded)
		p.want(duplex.Cancel, 2)
	})
}

// A slow reader stops the peer, and a peer that does not take stops SendMsg.
func TestFlow(t *testing.T) {
	talk(t, Config{Resume: ResumeNone}, func(t *testing.T, g *gateway, c *Client) {
		s := begin(t, context.Background(), c)
		p := g.conn()
		p.want(duplex.Headers, 1)
		const size = 10_000
		var sent atomic.Int32
		go func() { // ends with the call
			for s.SendMsg(wrapperspb.String(strings.Repeat("a", size))) == nil {
				sent.Add(1)
			}
		}()
		up := 0
		for up < duplex.Window {
			up += len(p.want(duplex.Data, 1))
		}
		p.quiet()
		if n := sent.Load(); up != duplex.Window || n > 20 {
			t.Errorf("%d bytes came, of %d messages", up, n)
		}
		p.credit(1, duplex.CreditFrame{Taken: uint64(up), Window: 1000, Got: duplex.GotHeaders})
		more := 0
		for more < 1000 {
			more += len(p.want(duplex.Data, 1))
		}
		if more != 1000 {
			t.Errorf("%d bytes came after credit for 1000", more)
		}
		p.quiet()

		m := text(strings.Repeat("b", 10_000))
		for range 6 {
			p.send(duplex.Data, 1, m)
		}
		p.quiet() // nothing was taken
		for range 3 {
			receive(t, s)
		}
		p.quiet()
		receive(t, s)
		if credit := p.wantCredit(1); credit.Taken < duplex.Window/2 || credit.Taken > uint64(4*len(m)) || credit.Window != duplex.Window {
			t.Errorf("got %+v", credit)
		}
		// A message that is larger than the window does not wait for itself.
		large := text(strings.Repeat("c", 200_000))
		got := make(chan int, 3)
		go func() {
			for range 3 {
				var m wrapperspb.StringValue
				if s.RecvMsg(&m) != nil {
					break
				}
				got <- len(m.Value)
			}
		}()
		limit := uint64(4*len(m) + duplex.Window)
		at := uint64(6 * len(m))
		for len(large) > 0 {
			synctest.Wait()
			for len(p.frames) > 0 {
				credit := p.wantCredit(1)
				limit = credit.Taken + uint64(credit.Window)
			}
			n := min(uint64(len(large)), limit-at, duplex.MaxData)
			if n == 0 {
				t.Fatal("no credit inside of a message")
			}
			p.send(duplex.Data, 1, large[:n])
			large, at = large[n:], at+n
		}
		if a, b, c := <-got, <-got, <-got; a != 10_000 || b != 10_000 || c != 200_000 {
			t.Errorf("got messages of %d, %d, %d bytes", a, b, c)
		}
	})
}

func TestResume(t *testing.T) {
	talk(t, Config{}, func(t *testing.T, g *gateway, c *Client) {
		s := begin(t, metadata.AppendToOutgoingContext(context.Background(), "x-user", "me"), c)
		p := g.conn()
		id := field(p.want(duplex.Headers, 1, ":call: "), ":call")
		if len(id) != 32 {
			t.Fatalf("id %q", id)
		}
		for _, m := range []string{"1", "2", "3"} {
			send(t, s, m)
			p.want(duplex.Data, 1, text(m))
		}
		p.send(duplex.Headers, 1, "a: b\r\n")
		p.send(duplex.Data, 1, text("x")+text("y")[:4])
		if m := receive(t, s); m != "x" {
			t.Fatal(m)
		}
		p.wantCredit(1) // after 200 ms
		p.cut(errors.New("cable"))
		send(t, s, "4")

		q := g.conn()
		q.want(duplex.Resume, 1, ":call: "+id, ":ticket: T1", ":epoch: 2", ":got: 1", ":received: 12\r\n", "x-user: me")
		q.quiet()
		q.send(duplex.Resumed, 1, ":state: live\r\n:got: 1\r\n:received: 8\r\n")
		if credit := q.wantCredit(1); credit.Taken != 8 && credit.Taken != 12 {
			t.Errorf("got %+v", credit)
		}
		q.want(duplex.Data, 1, text("2")+text("3")+text("4"))
		p.send(duplex.Data, 1, "zzzzzzzzz") // the old pipe goes on talking
		q.send(duplex.Data, 1, text("y")[4:])
		if m := receive(t, s); m != "y" {
			t.Fatal(m)
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		q.want(duplex.End, 1)
		q.cut(errors.New("cable again"))

		// The END may be lost too.
		q = g.conn()
		q.want(duplex.Resume, 1, ":epoch: 3", ":received: 16\r\n")
		q.send(duplex.Resumed, 1, ":state: live\r\n:got: 1\r\n:received: 32\r\n")
		q.wantCredit(1)
		q.want(duplex.End, 1)
		q.send(duplex.End, 1, "grpc-status: 0\r\n")
		if credit := q.wantCredit(1); credit.Got != duplex.GotEnd {
			t.Errorf("got %+v", credit)
		}
		wantEnd(t, s, codes.OK)
	})
}

// counting are credentials with another token each time.
type counting struct {
	atomic.Int32
	slow time.Duration
	fail error
}

func (c *counting) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	n := c.Add(1)
	if n > 1 {
		time.Sleep(c.slow)
		if c.fail != nil {
			return nil, c.fail
		}
	}
	return map[string]string{"Authorization": fmt.Sprintf("Bearer %d", n)}, nil
}

func (c *counting) RequireTransportSecurity() bool { return false }

// A call is resumed with fresh credentials, and not before they are there.
func TestCredentials(t *testing.T) {
	creds := &counting{slow: 5 * time.Second}
	talk(t, Config{Credentials: creds}, func(t *testing.T, g *gateway, c *Client) {
		s := begin(t, context.Background(), c)
		p := g.conn()
		p.want(duplex.Headers, 1, "authorization: Bearer 1\r\n")
		p.send(duplex.Headers, 1, "")
		synctest.Wait()
		p.cut(errors.New("cable"))
		p = g.conn()
		p.quiet()
		p.want(duplex.Resume, 1, "authorization: Bearer 2\r\n")
		p.send(duplex.Resumed, 1, ":state: live\r\n:got: 1\r\n:received: 0\r\n")
		p.wantCredit(1)
		creds.fail = errors.New("no more tokens")
		p.cut(errors.New("cable"))
		if st := wantEnd(t, s, codes.Unauthenticated); !strings.Contains(st.Message(), "no more tokens") {
			t.Errorf("got %q", st.Message())
		}
		p = g.conn()
		p.want(duplex.Resume, 1)
		p.want(duplex.Cancel, 1)
	})
}

// A call that waits for its credentials needs no connection beside the one that waits for it.
func TestSlowCredentials(t *testing.T) {
	creds := &counting{slow: 15 * time.Second}
	talk(t, Config{Credentials: creds}, func(t *testing.T, g *gateway, c *Client) {
		begin(t, context.Background(), c)
		p := g.conn()
		p.want(duplex.Headers, 1)
		p.send(duplex.Headers, 1, "")
		synctest.Wait()
		p.cut(errors.New("cable"))
		time.Sleep(14 * time.Second)
		synctest.Wait()
		if n := len(g.conns); n != 1 {
			t.Errorf("%d connections were made", n)
		}
		g.conn().want(duplex.Resume, 1, "authorization: Bearer 2\r\n")
	})
}

// A call that is over asks for no datagrams when the gateway is told: nobody would take them.
func TestDatagramsOfOneThatIsOver(t *testing.T) {
	c := newGateway(t).client(Config{})
	defer c.Close() //nolint:errcheck
	n := &conn{c: c, session: &modelSession{}, lanes: map[*lane]struct{}{}, lossy: map[uint64]*call{}}
	k := c.newCall("/x.Y/Talk")
	k.id, k.epoch, k.over, k.orphan, k.lossy = "1", 1, true, true, &lossy{}
	k.lane = n.lane(duplex.CallForm)
	k.open(nil)
	if len(n.lossy) != 0 {
		t.Error("datagrams come to it")
	}
}

// An acknowledgement that may be lost is made again, when there is a connection anyway.
func TestEndAcknowledgedAgain(t *testing.T) {
	talk(t, Config{}, func(t *testing.T, g *gateway, c *Client) {
		s := begin(t, context.Background(), c)
		p := g.conn()
		first := p.want(duplex.Headers, 1)
		p.send(duplex.Data, 1, text("x"))
		p.send(duplex.End, 1, "grpc-status: 0\r\n")
		p.wantCredit(1)
		p.cut(errors.New("cable"))
		synctest.Wait()
		if m := receive(t, s); m != "x" {
			t.Error(m)
		}
		wantEnd(t, s, codes.OK)
		begin(t, context.Background(), c)
		q := g.conn()
		q.want(duplex.Resume, 1, ":call: "+field(first, ":call"), ":epoch: 2", ":got: 2", ":received: 8\r\n")
		q.want(duplex.Cancel, 1)
		q.want(duplex.Headers, 2)
		q.send(duplex.Resumed, 1, ":state: gone\r\n:reason: expired\r\n")
		q.quiet()
	})
}

// field finds a field of a block.
func field(block, name string) string {
	_, after, _ := strings.Cut("\r\n"+block, "\r\n"+name+": ")
	value, _, _ := strings.Cut(after, "\r\n")
	return value
}

// Nobody knows whether the gateway has a call of which nothing came back.
func TestHeadersAgain(t *testing.T) {
	for _, known := range []bool{false, true} {
		talk(t, Config{}, func(t *testing.T, g *gateway, c *Client) {
			s := begin(t, context.Background(), c)
			p := g.conn()
			first := p.want(duplex.Headers, 1)
			send(t, s, "1")
			p.want(duplex.Data, 1, text("1"))
			if err := s.CloseSend(); err != nil {
				t.Fatal(err)
			}
			p.want(duplex.End, 1)
			p.cut(errors.New("cable"))

			p = g.conn()
			again := p.want(duplex.Headers, 1, ":epoch: 2", ":ticket: T1", ":call: "+field(first, ":call"), ":path: /x.Y/Talk")
			p.want(duplex.Data, 1, text("1"))
			p.want(duplex.End, 1)
			if known {
				p.send(duplex.Resumed, 1, ":state: live\r\n:got: 2\r\n:received: 8\r\n")
				p.wantCredit(1)
				p.credit(1, duplex.CreditFrame{Taken: 8, Window: duplex.Window, Got: duplex.GotEnd})
			}
			p.send(duplex.Headers, 1, "")
			p.send(duplex.Data, 1, text("x"))
			p.send(duplex.End, 1, "grpc-status: 0\r\n")
			if m := receive(t, s); m != "x" {
				t.Error(m)
			}
			wantEnd(t, s, codes.OK)
			if strings.Contains(first, ":epoch") || strings.Contains(again, ":received") {
				t.Errorf("HEADERS %q, then %q", first, again)
			}
			p.wantCredit(1)
		})
	}
}

// After a while the gateway can't tell any more whether it had the call.
func TestHeadersAgainTooLate(t *testing.T) {
	talk(t, Config{}, func(t *testing.T, g *gateway, c *Client) {
		s := begin(t, context.Background(), c)
		p := g.conn()
		p.want(duplex.Headers, 1)
		for range 2 { // PONGs keep the connection
			p.want(duplex.Ping, 0)
			p.send(duplex.Pong, 0, "\x00\x00\x00\x00\x00\x00\x00\x00")
		}
		g.fail(errors.New("no network"))
		p.cut(errors.New("cable"))
		start := time.Now()
		wantReason(t, wantEnd(t, s, codes.Unavailable), "CALL_EXPIRED")
		if d := time.Since(start); d != 20*time.Second {
			t.Errorf("after %v", d)
		}

		g.fail(nil)
		s = begin(t, context.Background(), c, grpc.WaitForReady(true))
		p = g.conn()
		p.want(duplex.Headers, 1)
		for range 3 {
			p.want(duplex.Ping, 0)
			p.send(duplex.Pong, 0, "\x00\x00\x00\x00\x00\x00\x00\x00")
		}
		p.cut(errors.New("cable"))
		wantReason(t, wantEnd(t, s, codes.Unavailable), "CALL_EXPIRED")
	})
}

func TestGone(t *testing.T) {
	talk(t, Config{}, func(t *testing.T, g *gateway, c *Client) {
		s := begin(t, context.Background(), c)
		p := g.conn()
		p.want(duplex.Headers, 1)
		p.send(duplex.Headers, 1, "")
		synctest.Wait()
		p.cut(errors.New("cable"))
		p = g.conn()
		p.want(duplex.Resume, 1)
		p.send(duplex.Resumed, 1, ":state: gone\r\n:reason: restarted\r\n")
		wantReason(t, wantEnd(t, s, codes.Unavailable), "CALL_RESTARTED")

		// One that waited for too long is given up here too.
		s = begin(t, context.Background(), c)
		p.want(duplex.Headers, 2)
		p.send(duplex.Headers, 2, "")
		synctest.Wait()
		g.fail(errors.New("no network"))
		p.cut(errors.New("cable"))
		start := time.Now()
		wantReason(t, wantEnd(t, s, codes.Unavailable), "CALL_EXPIRED")
		if d := time.Since(start); d != time.Minute {
			t.Errorf("after %v", d)
		}

		// And one that can't be resumed ends at once.
		g.fail(nil)
		s = begin(t, context.Background(), c, Resumable(false), grpc.WaitForReady(true))
		p = g.conn()
		p.want(duplex.Headers, 1)
		p.cut(errors.New("cable"))
		wantEnd(t, s, codes.Unavailable)
	})
}

func wantReason(t *testing.T, st *status.Status, reason string) {
	t.Helper()
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.Reason == reason && info.Domain == "sluice-rpc" {
			return
		}
	}
	t.Errorf("%v has the details %v, want %s", st, st.Details(), reason)
}

// A call that is canceled while it waits is canceled at the gateway too.
func TestCancelWaiting(t *testing.T) {
	talk(t, Config{}, func(t *testing.T, g *gateway, c *Client) {
		ctx, cancel := context.WithCancel(context.Background())
		s := begin(t, ctx, c)
		p := g.conn()
		p.want(duplex.Headers, 1)
		p.send(duplex.Headers, 1, "")
		synctest.Wait()
		g.fail(errors.New("no network"))
		p.cut(errors.New("cable"))
		synctest.Wait()
		cancel()
		wantEnd(t, s, codes.Canceled)
		g.fail(nil)
		p = g.conn()
		p.want(duplex.Resume, 1, ":epoch: 2")
		p.want(duplex.Cancel, 1)
		p.send(duplex.Resumed, 1, ":state: live\r\n:got: 1\r\n:received: 0\r\n") // crossed
		p.quiet()
		if n := len(c.conns[0].mux.calls) + c.conns[0].calls + len(c.waiting); n != 0 {
			t.Errorf("%d calls are left", n)
		}
	})
}

func TestUnreachable(t *testing.T) {
	talk(t, Config{}, func(t *testing.T, g *gateway, c *Client) {
		g.fail(errors.New("connection refused"))
		start := time.Now()
		err := c.Invoke(context.Background(), "/x.Y/Get", wrapperspb.String(""), new(wrapperspb.StringValue))
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "test: connection refused") || time.Since(start) > time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		go func() {
			time.Sleep(10 * time.Second)
			g.fail(nil)
			p := g.conn()
			p.want(duplex.Headers, 1)
			p.want(duplex.Data, 1)
			p.want(duplex.End, 1)
			p.send(duplex.Data, 1, text("late"))
			p.send(duplex.End, 1, "grpc-status: 0\r\n")
		}()
		var reply wrapperspb.StringValue
		if err := c.Invoke(context.Background(), "/x.Y/Get", wrapperspb.String(""), &reply, grpc.WaitForReady(true)); err != nil || reply.Value != "late" {
			t.Errorf("got %v, %v", &reply, err)
		}
	})
}

// TestComesBack: calls that don't wait for a gateway are told at once that the last attempt has failed, and not for
// ever: once the pause is over the next one tries again.
func TestComesBack(t *testing.T) {
	talk(t, Config{}, func(t *testing.T, g *gateway, c *Client) {
		invoke := func() error {
			return c.Invoke(context.Background(), "/x.Y/Get", wrapperspb.String(""), new(wrapperspb.StringValue))
		}
		g.fail(errors.New("connection refused"))
		for range 3 {
			if err := invoke(); status.Code(err) != codes.Unavailable {
				t.Fatal(err)
			}
		}
		g.fail(nil)
		if err := invoke(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("in the pause: %v", err)
		}
		time.Sleep(time.Second)
		go func() {
			p := g.conn()
			p.want(duplex.Headers, 1)
			p.want(duplex.Data, 1)
			p.want(duplex.End, 1)
			p.send(duplex.End, 1, "grpc-status: 5\r\n")
		}()
		if err := invoke(); status.Code(err) != codes.NotFound {
			t.Errorf("after the pause: %v", err)
		}
	})
}

// TestSecondFails: that there can't be one more connection is no reason to end calls that the first one will have
// room for.
func TestSecondFails(t *testing.T) {
	talk(t, Config{}, func(t *testing.T, g *gateway, c *Client) {
		g.fields = "max-calls: 1\r\n"
		begin(t, context.Background(), c)
		p := g.conn()
		p.want(duplex.Headers, 1)
		g.fail(errors.New("too many connections"))
		s := begin(t, context.Background(), c)
		time.Sleep(time.Second)
		p.send(duplex.End, 1, "grpc-status: 5\r\n")
		p.want(duplex.Headers, 2)
		p.send(duplex.End, 2, "grpc-status: 5\r\n")
		if err := s.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.NotFound {
			t.Error(err)
		}
	})
}

// A silent connection is asked, and given up.
func TestPing(t *testing.T) {
	talk(t, Config{}, func(t *testing.T, g *gateway, c *Client) {
		s := begin(t, context.Background(), c)
		p := g.conn()
		p.want(duplex.Headers, 1)
		p.send(duplex.Headers, 1, "")
		p.send(duplex.Ping, 0, "12345678")
		p.want(duplex.Pong, 0, "12345678")
		start := time.Now()
		p.want(duplex.Ping, 0)
		p.send(duplex.Pong, 0, "\x00\x00\x00\x00\x00\x00\x00\x00")
		p.want(duplex.Ping, 0)
		if why := <-p.closed; why != Cut || time.Since(start) != time.Minute {
			t.Errorf("closed with %v after %v", why, time.Since(start))
		}
		p = g.conn()
		p.want(duplex.Resume, 1)
		_ = s
	})
}

// GOAWAY sends new calls elsewhere, and the old connection is left when it is idle.
func TestGoAway(t *testing.T) {
	talk(t, Config{}, func(t *testing.T, g *gateway, c *Client) {
		s := begin(t, context.Background(), c)
		p := g.conn()
		p.want(duplex.Headers, 1)
		p.send(duplex.GoAway, 0, "reason: drain\r\n")
		synctest.Wait()
		begin(t, context.Background(), c)
		q := g.conn()
		q.want(duplex.Headers, 1)
		p.send(duplex.End, 1, "grpc-status: 0\r\n")
		wantEnd(t, s, codes.OK)
		if why := <-p.closed; why != Leave {
			t.Errorf("closed with %v", why)
		}
	})
}

// Calls beyond the gateway's limit go over another connection.
func TestMaxCalls(t *testing.T) {
	talk(t, Config{MaxConnections: 2}, func(t *testing.T, g *gateway, c *Client) {
		g.fields = "max-calls: 1\r\n"
		first := begin(t, context.Background(), c)
		p := g.conn()
		p.want(duplex.Headers, 1)
		begin(t, context.Background(), c)
		g.conn().want(duplex.Headers, 1)
		begin(t, context.Background(), c)
		p.quiet()
		p.send(duplex.End, 1, "grpc-status: 0\r\n")
		wantEnd(t, first, codes.OK)
		p.want(duplex.Headers, 2)
	})
}

// TestDrainingIsNoLimit: a connection that drains keeps no place that new calls need.
func TestDrainingIsNoLimit(t *testing.T) {
	talk(t, Config{MaxConnections: 1}, func(t *testing.T, g *gateway, c *Client) {
		begin(t, context.Background(), c)
		p := g.conn()
		p.want(duplex.Headers, 1)
		p.send(duplex.GoAway, 0, "reason: drain\r\n")
		synctest.Wait()
		start := time.Now()
		second := begin(t, context.Background(), c)
		q := g.conn()
		q.want(duplex.Headers, 1)
		q.send(duplex.End, 1, "grpc-status: 0\r\n")
		wantEnd(t, second, codes.OK)
		if d := time.Since(start); d >= time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// Numbers go up in the order in which calls begin to speak: one waits for its message, so another
// may be faster.
func TestNumbers(t *testing.T) {
	talk(t, Config{}, func(t *testing.T, g *gateway, c *Client) {
		slow, err := c.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true}, "/x.Y/Slow")
		if err != nil {
			t.Fatal(err)
		}
		begin(t, context.Background(), c)
		p := g.conn()
		p.want(duplex.Headers, 1, "/x.Y/Talk")
		send(t, slow, "x")
		p.want(duplex.Headers, 2, "/x.Y/Slow")
		p.want(duplex.Data, 2)
		p.want(duplex.End, 2)

		// One that never spoke has a number nowhere, and nobody hears of its end.
		ctx, cancel := context.WithCancel(context.Background())
		if _, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/x.Y/Silent"); err != nil {
			t.Fatal(err)
		}
		cancel()
		p.quiet()
		begin(t, context.Background(), c)
		p.want(duplex.Headers, 3, "/x.Y/Talk")
	})
}

// A gateway that says nothing is left alone, and the next carrier is tried.
func TestCarriers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dumb, broken, good := newGateway(t), newGateway(t), newGateway(t)
		dumb.mute = true
		broken.fail(errors.New("blocked"))
		c := good.client(Config{Carriers: []Carrier{broken, dumb, good}})
		defer c.Close() //nolint:errcheck
		s := begin(t, context.Background(), c)
		p := good.conn()
		p.want(duplex.Headers, 1)
		p.send(duplex.Headers, 1, "")
		synctest.Wait()
		p.cut(errors.New("cable"))
		good.conn().want(duplex.Resume, 1) // the one that worked comes first
		if why := <-dumb.conn().closed; why != Cut {
			t.Errorf("closed with %v", why)
		}
		_ = s
	})
}

func TestTarget(t *testing.T) {
	for _, test := range []struct{ in, want, err string }{
		{in: "https://host", want: "https://host/sluice/v1"},
		{in: "http://host:8080/", want: "http://host:8080/sluice/v1"},
		{in: "https://host/gw/duplex", want: "https://host/gw/duplex"},
		{in: "host:8080", err: "write https://host"},
		{in: "ftp://host", err: "write https://host"},
		{in: "https://me@host", err: "more than"},
		{in: "https://host?x=1", err: "more than"},
		{in: "://", err: "client: "},
	} {
		c, err := New(test.in, Config{})
		switch {
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
			t.Errorf("%s: got %v, want %q", test.in, err, test.err)
		case test.err == "" && (err != nil || c.target.URL.String() != test.want):
			t.Errorf("%s: got %v, %v", test.in, c, err)
		}
	}
}
