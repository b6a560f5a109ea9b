package http3

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/netio"
)

// certificate is httptest's.
var certificate = sync.OnceValues(func() (server, client *tls.Config) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	client = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	client.NextProtos = []string{"h3"}
	return &tls.Config{Certificates: s.TLS.Certificates}, client
})

// handlerFunc answers exchanges.
type handlerFunc func(head *exchange.RequestHead, r exchange.Response) exchange.Request

func (f handlerFunc) Start(head *exchange.RequestHead, r exchange.Response) exchange.Request {
	return f(head, r)
}

// testServer is a Server on loopback.
type testServer struct {
	*Server
	addr string

	onData func(*pipe, []byte)

	mu     sync.Mutex
	conns  int
	limits []string
	pipes  []*pipe
}

// pipe is a pipe as the server sees it.
type pipe struct {
	t        *testServer
	head     exchange.RequestHead
	response exchange.Response
	onData   func(p *pipe, b []byte)

	mu     sync.Mutex
	got    bytes.Buffer
	ended  bool
	resets []exchange.Code
	done   bool
}

// echo answers a pipe with what comes.
func echo(p *pipe, b []byte) {
	p.response.Credit(len(b))
	p.response.Data(b)
}

func (p *pipe) Begin() {}

func (p *pipe) Data(b []byte) {
	p.mu.Lock()
	p.got.Write(b)
	p.mu.Unlock()
	if p.onData != nil {
		p.onData(p, b)
	}
}

func (p *pipe) End([]exchange.Field) {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	if p.onData != nil {
		p.response.End(nil)
	}
}

func (p *pipe) Reset(code exchange.Code) {
	p.mu.Lock()
	p.resets = append(p.resets, code)
	p.mu.Unlock()
	p.response.Reset(exchange.Cancel, nil)
}

func (p *pipe) Credit(int) {}

func (p *pipe) Done(bool) {
	p.mu.Lock()
	p.done = true
	p.mu.Unlock()
}

func (p *pipe) state() (got string, resets []exchange.Code, done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got.String(), p.resets, p.done
}

// serve starts a Server whose pipes do what onData says, and whose requests get 200.
func serve(t *testing.T, cfg Config, onData func(*pipe, []byte)) *testServer {
	t.Helper()
	s := &testServer{}
	if cfg.Handler == nil {
		cfg.Handler = handlerFunc(func(_ *exchange.RequestHead, r exchange.Response) exchange.Request {
			return &ok{response: r}
		})
	}
	s.onData = onData
	if cfg.Sessions == nil {
		cfg.Sessions = &speaker{}
	}
	cfg.Sessions.(*speaker).t = s
	cfg.Path = "/sluice/v1"
	if cfg.MaxStreams == 0 {
		cfg.MaxStreams = 250
	}
	if cfg.Handshake == 0 {
		cfg.Handshake = 10 * time.Second
	}
	cfg.Work = &netio.Work{}
	cfg.LimitHit = func(name string) { s.mu.Lock(); s.limits = append(s.limits, name); s.mu.Unlock() }
	room := cfg.Acquire
	cfg.Acquire = func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if room != nil && !room() {
			return false
		}
		s.conns++
		return true
	}
	cfg.Release = func() { s.mu.Lock(); s.conns--; s.mu.Unlock() }
	s.Server = New(cfg)
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = u.LocalAddr().String()
	server, _ := certificate()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(u, server) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
		eventually(t, "all connections are released", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.conns == 0
		})
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, p := range s.pipes {
			if _, _, done := p.state(); !done {
				t.Errorf("pipe %d is not over", i)
			}
		}
	})
	return s
}

// ok answers a request with 200 when it has ended, and takes all of it.
type ok struct {
	exchange.Request
	response exchange.Response
}

func (o *ok) Begin()               {}
func (o *ok) Data(b []byte)        { o.response.Credit(len(b)) }
func (o *ok) End([]exchange.Field) { o.response.Head(&exchange.ResponseHead{Status: 200}, true) }
func (o *ok) Reset(exchange.Code)  { o.response.Reset(exchange.Cancel, nil) }
func (o *ok) Credit(int)           {}
func (o *ok) Done(bool)            {}

// TestLength: a request whose content is shorter or longer than it says never ends (RFC 9114, section 4.1.2).
func TestLength(t *testing.T) {
	field := func(name, value string) string { // a literal (RFC 9204, section 4.5.6)
		return string(append([]byte{0x27, byte(len(name) - 7)}, name...)) + string(rune(len(value))) + value
	}
	for length, whole := range map[string]bool{"5": true, "6": false, "4": false, "100000": false} {
		t.Run(length, func(t *testing.T) {
			var ended atomic.Bool
			seen := exchangetest.NewServer(exchangetest.Script{End: func(q *exchangetest.Request) {
				ended.Store(true)
				q.Answer(200)
				q.Finish()
			}})
			s := serve(t, Config{Handler: seen}, echo)
			str, err := s.conn(t).OpenStream()
			if err != nil {
				t.Fatal(err)
			}
			// :method POST, :scheme https and :path / are in the static table.
			head := "\x00\x00\xd4\xd7\xc1" + field(":authority", s.addr) + field("content-length", length)
			write(t, str, "\x01"+string(rune(len(head)))+head+"\x00\x0512345")
			_ = str.Close()
			_ = str.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.ReadAll(str); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("no answer")
			}
			if ended.Load() != whole {
				t.Errorf("ended: %v", ended.Load())
			}
		})
	}
}

// eventually waits for something that has to come true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// pipe returns the nth pipe that has come.
func (s *testServer) pipe(t *testing.T, n int) *pipe {
	t.Helper()
	var p *pipe
	eventually(t, "a pipe", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.pipes) > n {
			p = s.pipes[n]
		}
		return p != nil
	})
	return p
}

func (s *testServer) hit(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.limits {
		if l == name {
			return true
		}
	}
	return false
}

func quicClient() *quic.Config {
	return &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true}
}

// dial opens a session on a connection of its own.
func (s *testServer) dial(t *testing.T, path string, h http.Header) (*http.Response, *webtransport.Session, error) {
	t.Helper()
	_, client := certificate()
	d := &webtransport.Transport{TLSClientConfig: client, QUICConfig: quicClient(), ApplicationProtocols: []string{Subprotocol, "other"}, DialAddr: quic.DialAddr}
	t.Cleanup(func() { _ = d.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return d.Dial(ctx, "https://"+s.addr+path, h)
}

// session opens one that has to open. Its connection stays when it is closed: a close that
// comes right after that of the session would overtake it.
func (s *testServer) session(t *testing.T) *webtransport.Session {
	t.Helper()
	return s.sessionOn(t, s.conn(t))
}

// sessionOn opens a session on a connection.
func (s *testServer) sessionOn(t *testing.T, q *quic.Conn) *webtransport.Session {
	t.Helper()
	c, err := (&webtransport.Transport{}).NewClientConn(q)
	if err != nil {
		t.Fatal(err)
	}
	_, x, err := c.Dial(t.Context(), "https://"+s.addr+"/sluice/v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// conn makes a connection that lasts until the end of the test.
func (s *testServer) conn(t *testing.T) *quic.Conn {
	t.Helper()
	_, client := certificate()
	q, err := quic.DialAddr(t.Context(), s.addr, client, quicClient())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.CloseWithError(noError, "") })
	return q
}

func stream1(t *testing.T, x *webtransport.Session) *webtransport.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	str, err := x.OpenStreamSync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return str
}

func write(t *testing.T, w io.Writer, b string) {
	t.Helper()
	if _, err := io.WriteString(w, b); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, r io.Reader, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(r, b); err != nil || string(b) != want {
		t.Fatalf("got %q, %v; want %q", b, err, want)
	}
}

// speaker serves the sessions of a testServer.
type speaker struct {
	t    *testServer
	says string

	mu      sync.Mutex
	session exchange.Session
	got     []string
	done    int
}

func (p *speaker) StartSession(_ *exchange.RequestHead, s exchange.Session) exchange.SessionServer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.session = s
	for _, word := range strings.SplitAfter(p.says, " ") {
		s.Control([]byte(word))
	}
	return p
}

// Start takes a pipe.
func (p *speaker) Start(head *exchange.RequestHead, r exchange.Response) exchange.Request {
	q := &pipe{t: p.t, head: *head, response: r, onData: p.t.onData}
	p.t.mu.Lock()
	p.t.pipes = append(p.t.pipes, q)
	p.t.mu.Unlock()
	return q
}

func (p *speaker) Datagram(b []byte) {
	p.mu.Lock()
	p.got = append(p.got, string(b))
	s := p.session
	p.mu.Unlock()
	s.Datagram(append([]byte("re: "), b...))
}

func (p *speaker) Done() {
	p.mu.Lock()
	p.done++
	p.mu.Unlock()
}

// the returns the session, once there is one.
func (p *speaker) the(t *testing.T) (s exchange.Session) {
	t.Helper()
	eventually(t, "a session", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		s = p.session
		return s != nil
	})
	return s
}
