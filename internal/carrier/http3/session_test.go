package http3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
	"github.com/quic-go/webtransport-go"

	"github.com/sluice-rpc/sluice/internal/carrier/cors"
	"github.com/sluice-rpc/sluice/internal/exchange"
)

// ping is a frame of a kind that has a payload.
const ping = "\x12\x00\x00\x0812345678"

func TestOpen(t *testing.T) {
	policy, err := cors.New(cors.Config{Origins: []string{"https://app.example", "*"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	strict, err := cors.New(cors.Config{Origins: []string{"https://app.example"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		policy  *cors.Policy
		path    string
		origin  string
		status  int
		cookie  string // what a pipe sees
		allowed bool
	}{
		"no page":             {strict, "/sluice/v1", "", 200, "c=1", false},
		"with a query":        {strict, "/sluice/v1?v=1", "", 200, "c=1", false},
		"a listed page":       {strict, "/sluice/v1", "https://app.example", 200, "c=1", true},
		"a page of its own":   {strict, "/sluice/v1", "own", 200, "c=1", true},
		"a foreign page":      {strict, "/sluice/v1", "https://evil.example", 403, "", false},
		"an anonymous page":   {policy, "/sluice/v1", "https://evil.example", 200, "", true},
		"another path":        {strict, "/sluice/v2", "", 404, "", false},
		"a path below":        {strict, "/sluice/v1/x", "", 404, "", false},
		"no origin at all":    {strict, "/sluice/v1", "null", 403, "", false},
		"an origin like ours": {strict, "/sluice/v1", "https://app.example.evil", 403, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, Config{Admit: c.policy.Admit, Metadata: func(name string) bool { return name == "cookie" || name == "x-listed" }}, echo)
			h := http.Header{"Cookie": {"c=1"}, "X-Other": {"x"}, "X-Listed": {"l"}}
			if c.origin == "own" {
				h.Set("Origin", "https://"+s.addr)
			} else if c.origin != "" {
				h.Set("Origin", c.origin)
			}
			a, x, err := s.dial(t, c.path, h)
			if a == nil || a.StatusCode != c.status {
				t.Fatalf("%v, %v", a, err)
			}
			if c.status != 200 {
				return
			}
			if p := x.SessionState().ApplicationProtocol; p != Subprotocol {
				t.Errorf("the protocol is %q", p)
			}
			str := stream1(t, x)
			write(t, str, ping)
			expect(t, str, ping)
			p := s.pipe(t, 0)
			head := &p.head
			if head.Method != "CONNECT" || head.Protocol != exchange.PipeCall || head.Carrier != "wt" || head.Path != c.path ||
				head.Scheme != "https" || head.Authority != s.addr || head.TLS == nil || head.Addr == nil {
				t.Errorf("head %+v", head)
			}
			if got := exchange.Get(head.Fields, "cookie"); got != c.cookie || head.Allowed != c.allowed || exchange.Get(head.Fields, "x-other") != "" || exchange.Get(head.Fields, "x-listed") != "l" {
				t.Errorf("fields %v, allowed %v", head.Fields, head.Allowed)
			}
			_ = str.Close()
			if rest, err := io.ReadAll(str); err != nil || len(rest) != 0 {
				t.Errorf("%q, %v", rest, err)
			}
			_ = x.CloseWithError(0, "")
		})
	}
}

// TestNoName: a client that offers no name gets a session.
func TestNoName(t *testing.T) {
	s := serve(t, Config{}, echo)
	_, client := certificate()
	d := &webtransport.Transport{TLSClientConfig: client, QUICConfig: quicClient(), DialAddr: quic.DialAddr}
	_, x, err := d.Dial(t.Context(), "https://"+s.addr+"/sluice/v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if p := x.SessionState().ApplicationProtocol; p != "" {
		t.Errorf("the protocol is %q", p)
	}
	_ = x.CloseWithError(0, "")
}

// TestEnds: who ends a stream, and how.
func TestEnds(t *testing.T) {
	open := func(t *testing.T, onData func(*pipe, []byte)) (*testServer, *webtransport.Session, *webtransport.Stream, *pipe) {
		s := serve(t, Config{}, onData)
		x := s.session(t)
		str := stream1(t, x)
		write(t, str, ping)
		return s, x, str, s.pipe(t, 0)
	}
	over := func(t *testing.T, p *pipe, want ...exchange.Code) {
		t.Helper()
		eventually(t, "the pipe is over", func() bool { _, _, done := p.state(); return done })
		if _, resets, _ := p.state(); !slices.Equal(resets, want) {
			t.Errorf("resets %v, want %v", resets, want)
		}
	}
	t.Run("the server ends", func(t *testing.T) {
		_, _, str, p := open(t, func(p *pipe, b []byte) { p.response.Data(b); p.response.End(nil) })
		expect(t, str, ping)
		if b, err := io.ReadAll(str); err != nil || len(b) != 0 {
			t.Errorf("%q, %v", b, err)
		}
		write(t, str, "what the server drops") // not stopped
		_ = str.Close()
		over(t, p)
	})
	for code, want := range map[webtransport.StreamErrorCode]exchange.Code{1: exchange.Cancel, 0: exchange.Disconnected, 7: exchange.Disconnected} {
		t.Run(fmt.Sprintf("reset %d", code), func(t *testing.T) {
			_, _, str, p := open(t, echo)
			str.CancelWrite(code)
			over(t, p, want)
			_, err := io.ReadAll(str)
			if se, ok := errors.AsType[*webtransport.StreamError](err); !ok || !se.Remote || se.ErrorCode != codeCancel {
				t.Errorf("the client gets %v", err)
			}
		})
		t.Run(fmt.Sprintf("stop %d", code), func(t *testing.T) {
			_, _, str, p := open(t, echo)
			str.CancelRead(code)
			over(t, p, want)
		})
	}
	t.Run("stop after the half-close", func(t *testing.T) {
		_, _, str, p := open(t, nil)
		_ = str.Close()
		eventually(t, "End", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.ended })
		str.CancelRead(1)
		over(t, p, exchange.Cancel)
	})
	for code, want := range map[webtransport.SessionErrorCode]exchange.Code{0: exchange.Cancel, 1: exchange.Cancel, 7: exchange.Disconnected} {
		t.Run(fmt.Sprintf("the session is closed with %d", code), func(t *testing.T) {
			_, x, _, p := open(t, echo)
			_ = x.CloseWithError(code, "bye")
			over(t, p, want)
		})
	}
	t.Run("the session is closed with 1, after the half-close", func(t *testing.T) {
		_, x, str, p := open(t, nil)
		_ = str.Close()
		eventually(t, "End", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.ended })
		_ = x.CloseWithError(1, "bye")
		over(t, p, exchange.Cancel)
	})
	t.Run("a protocol error", func(t *testing.T) {
		_, x, str, p := open(t, func(p *pipe, _ []byte) { p.response.Reset(exchange.ProtocolError, errors.New("an empty DATA frame")) })
		_, err := io.ReadAll(str)
		if err == nil {
			t.Error("the stream has ended well")
		}
		over(t, p)
		_, err = x.AcceptStream(t.Context())
		if se, ok := errors.AsType[*webtransport.SessionError](err); !ok || !se.Remote || se.ErrorCode != 3 || se.Message != "an empty DATA frame" {
			t.Errorf("the session ends with %v", err)
		}
	})
	t.Run("a cut connection", func(t *testing.T) {
		s := serve(t, Config{}, echo)
		q := s.conn(t)
		x := s.sessionOn(t, q)
		str := stream1(t, x)
		write(t, str, ping)
		p := s.pipe(t, 0)
		_ = q.CloseWithError(0x10c, "gone") // as a browser that crashes would
		over(t, p, exchange.Disconnected)
	})
}

// TestGoneWithoutEnd: a client that resets a stream because the session has ended, and does not
// end it, keeps nothing here. The library waits for the end as long as it is not told otherwise.
func TestGoneWithoutEnd(t *testing.T) {
	s := serve(t, Config{}, echo)
	q := s.conn(t)
	x := s.sessionOn(t, q)
	for name, first := range map[string]string{"after a frame": ping, "within the first frame": ping[:6]} {
		t.Run(name, func(t *testing.T) {
			s.mu.Lock()
			n := len(s.pipes)
			s.mu.Unlock()
			str, err := q.OpenStreamSync(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			write(t, str, string(quicvarint.Append(quicvarint.Append(nil, 0x41), 0))+first)
			p := s.pipe(t, n)
			eventually(t, "the frame", func() bool { got, _, _ := p.state(); return got == first })
			str.CancelWrite(webtransport.WTSessionGoneErrorCode)
			time.Sleep(100 * time.Millisecond) // the reset arrives
			p.response.Reset(exchange.Cancel, nil)
			eventually(t, "the pipe is over", func() bool { _, _, done := p.state(); return done })
		})
	}
	if x.Context().Err() != nil {
		t.Error("the session has ended")
	}
}

// TestManyStreams: one after the other, more than there may be at a time.
func TestManyStreams(t *testing.T) {
	s := serve(t, Config{MaxStreams: 10}, func(p *pipe, b []byte) {
		echo(p, b)
		p.response.End(nil)
	})
	x := s.session(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 20 {
				str := stream1(t, x)
				write(t, str, ping)
				expect(t, str, ping)
				_, _ = io.ReadAll(str)
				_ = str.Close()
			}
		})
	}
	wg.Wait()
}

// TestFirstFrame: a stream that does not begin.
func TestFirstFrame(t *testing.T) {
	s := serve(t, Config{Header: 300 * time.Millisecond}, func(p *pipe, b []byte) { p.response.Credit(len(b)) })
	x := s.session(t)
	slow, good := stream1(t, x), stream1(t, x)
	write(t, good, ping)
	for range 100 { // a byte at a time, too slowly
		if _, err := slow.Write([]byte{0}); err != nil {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	_, err := io.ReadAll(slow)
	if se, ok := errors.AsType[*webtransport.StreamError](err); !ok || se.ErrorCode != codeStalled {
		t.Errorf("the slow one gets %v", err)
	}
	write(t, good, ping) // has no deadline any more
	p := s.pipe(t, 0)
	if got, _, _ := p.state(); !strings.HasPrefix(got, ping) {
		p = s.pipe(t, 1)
	}
	eventually(t, "the second frame", func() bool { got, _, _ := p.state(); return got == ping+ping })
}

func TestFirstFrameCount(t *testing.T) {
	long := "\x02\x00\x01\x00" + strings.Repeat("x", 256)
	for _, one := range []string{ping, "\x03\x00\x00\x00", long, long + "\x02"} {
		for cut := range len(one) {
			var f firstFrame
			first := f.feed([]byte(one[:cut]))
			if want := cut >= 4 && cut >= 4+int(one[2])<<8+int(one[3]); first != want {
				t.Errorf("% x: whole after %d bytes: %v", one[:4], cut, first)
			}
			if !f.feed([]byte(one[cut:])) {
				t.Errorf("% x, cut at %d: never whole", one[:4], cut)
			}
		}
	}
}

// TestSpeak: the stream that only the server writes, datagrams, and the end of a session.
func TestSpeak(t *testing.T) {
	p := &speaker{says: "welcome back"}
	s := serve(t, Config{Sessions: p}, echo)
	x := s.session(t)
	str, err := x.AcceptUniStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	expect(t, str, "welcome back")
	p.the(t).Control([]byte("goaway"))
	expect(t, str, "goaway")
	if p.the(t).Datagram(nil) || p.the(t).Datagram(make([]byte, p.the(t).MaxDatagram()+1)) {
		t.Error("a datagram was sent that is empty or too long")
	}
	if !p.the(t).Datagram(make([]byte, p.the(t).MaxDatagram())) {
		t.Error("a datagram was not sent")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if b, err := x.ReceiveDatagram(ctx); err != nil || len(b) != p.the(t).MaxDatagram() {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	for _, b := range [][]byte{{}, []byte("hello")} {
		if err := x.SendDatagram(b); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := x.ReceiveDatagram(ctx); err != nil || string(b) != "re: " && string(b) != "re: hello" {
		t.Errorf("%q, %v", b, err)
	}
	long := strings.Repeat("ä", 600) // 1200 bytes
	p.the(t).Close(exchange.NoError, long)
	_, err = x.AcceptStream(t.Context())
	if se, ok := errors.AsType[*webtransport.SessionError](err); !ok || se.ErrorCode != 4 || se.Message != long[:1024] {
		t.Errorf("the session ends with %v", err)
	}
	eventually(t, "Done", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.done == 1 })
	p.the(t).Control([]byte("nothing")) // it is over
	if p.the(t).Datagram([]byte("nothing")) {
		t.Error("a datagram was sent after the end")
	}
	p.the(t).Close(exchange.NoError, "")
}

// TestControlStalls: a client that does not read what the server says.
func TestControlStalls(t *testing.T) {
	p := &speaker{says: "welcome back"}
	s := serve(t, Config{Sessions: p}, echo)
	x := s.session(t)
	for range 1000 {
		p.the(t).Control(make([]byte, 4<<10))
		if x.Context().Err() != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	_, err := x.AcceptStream(t.Context())
	if se, ok := errors.AsType[*webtransport.SessionError](err); !ok || se.ErrorCode != 6 {
		t.Errorf("the session ends with %v", err)
	}
}

// TestSessions: several on one connection, but not any number.
func TestSessions(t *testing.T) {
	s := serve(t, Config{}, echo)
	_, client := certificate()
	q, err := quic.DialAddr(t.Context(), s.addr, client, quicClient())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = q.CloseWithError(0x100, "") }()
	d := &webtransport.Transport{Config: &webtransport.Config{MaxIncomingStreams: 1, MaxIncomingUniStreams: 10, MaxIncomingData: 1 << 20}}
	c, err := d.NewClientConn(q)
	if err != nil {
		t.Fatal(err)
	}
	var last *webtransport.Session
	for i := range maxSessions {
		if _, last, err = c.Dial(t.Context(), "https://"+s.addr+"/sluice/v1", nil); err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
	}
	a, _, err := c.Dial(t.Context(), "https://"+s.addr+"/sluice/v1", nil)
	if err == nil || a == nil || a.StatusCode != 429 || !s.hit("sessions") {
		t.Errorf("one more: %v, %v", a, err)
	}
	str := stream1(t, last)
	write(t, str, ping)
	expect(t, str, ping)
	_ = last.CloseWithError(0, "")
	eventually(t, "room for another", func() bool {
		_, _, err := c.Dial(t.Context(), "https://"+s.addr+"/sluice/v1", nil)
		return err == nil
	})
}

// TestAfterSessions: a connection that was for a session ends soon after it, if nothing else runs there.
func TestAfterSessions(t *testing.T) {
	s := serve(t, Config{}, echo)
	_, client := certificate()
	q, err := quic.DialAddr(t.Context(), s.addr, client, quicClient())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = q.CloseWithError(0x100, "") }()
	d := &webtransport.Transport{Config: &webtransport.Config{MaxIncomingStreams: 1, MaxIncomingUniStreams: 10, MaxIncomingData: 1 << 20}}
	c, err := d.NewClientConn(q)
	if err != nil {
		t.Fatal(err)
	}
	var sessions [2]*webtransport.Session
	for i := range sessions {
		if _, sessions[i], err = c.Dial(t.Context(), "https://"+s.addr+"/sluice/v1", nil); err != nil {
			t.Fatal(err)
		}
	}
	_ = sessions[0].CloseWithError(0, "")
	select {
	case <-q.Context().Done():
		t.Fatal("it was closed under a session")
	case <-time.After(afterSessions + 500*time.Millisecond):
	}
	_ = sessions[1].CloseWithError(0, "")
	time.Sleep(afterSessions / 2)
	if _, sessions[1], err = c.Dial(t.Context(), "https://"+s.addr+"/sluice/v1", nil); err != nil {
		t.Fatal(err)
	}
	time.Sleep(afterSessions * 3 / 4)
	_ = sessions[1].CloseWithError(0, "")
	select {
	case <-q.Context().Done():
		t.Fatal("it was closed by the time that began before the last session")
	case <-time.After(afterSessions * 3 / 4):
	}
	<-q.Context().Done()
	var closed *quic.ApplicationError
	if err := context.Cause(q.Context()); !errors.As(err, &closed) || closed.ErrorCode != noError || !closed.Remote {
		t.Errorf("it ended with %v", err)
	}
}

// TestDrain: no new sessions, those that are go on; Close tells their clients.
func TestDrain(t *testing.T) {
	s := serve(t, Config{}, echo)
	x, idle := s.session(t), s.session(t)
	str := stream1(t, x)
	write(t, str, ping)
	expect(t, str, ping)
	s.Drain()
	_, client := certificate()
	if _, err := quic.DialAddr(t.Context(), s.addr, client, &quic.Config{HandshakeIdleTimeout: 200 * time.Millisecond}); err == nil {
		t.Error("a new connection while draining")
	}
	write(t, str, ping)
	expect(t, str, ping)
	s.Close()
	for _, x := range []*webtransport.Session{x, idle} {
		_, err := x.AcceptStream(t.Context())
		if se, ok := errors.AsType[*webtransport.SessionError](err); !ok || se.ErrorCode != 4 || se.Message != shutDown {
			t.Errorf("the session ends with %v", err)
		}
	}
}

// FuzzFirstFrame cuts what comes in two places, which changes nothing, and asks the decoder of
// frames when the first is whole.
func FuzzFirstFrame(f *testing.F) {
	f.Add([]byte(ping+"\x03\x00\x00\x00"), uint8(3), uint8(9))
	f.Add([]byte("\x02\x00\x00\x01x\x03"), uint8(0), uint8(1))
	f.Add([]byte("\x7f\x01\x00\x00"), uint8(1), uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, i, j uint8) {
		x := min(int(i), len(b))
		y := min(x+int(j), len(b))
		var once, cut firstFrame
		once.feed(b)
		cut.feed(b[:x])
		cut.feed(b[x:y])
		cut.feed(b[y:])
		if once != cut {
			t.Errorf("% x: %+v, cut at %d and %d: %+v", b, once, x, y, cut)
		}
		whole := len(b) >= 4 && len(b) >= 4+int(b[1])<<16+int(b[2])<<8+int(b[3])
		if once.whole != whole {
			t.Errorf("% x: whole: %v", b, once.whole)
		}
	})
}
