package h2

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/netio"
	"github.com/sluice-rpc/sluice/rpc"
	"golang.org/x/net/http2"
)

// extended are the fields of RFC 8441, section 5.1.
var extended = []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/chat?a=b", ":authority", "a.test",
	"sec-websocket-version", "13", "sec-websocket-protocol", "sluice.plain", "origin", "https://a.test"}

// TestExtendedConnect drives one stream of a WebSocket, event by event.
func TestExtendedConnect(t *testing.T) {
	accept := func(r *recorded) { r.response.Head(&exchange.ResponseHead{Status: 200}, false) }
	data := func(p *peer, end bool, s string) {
		p.write(func() error { return p.fr.WriteData(1, end, []byte(s)) })
		synctest.Wait()
	}
	for name, test := range map[string]struct {
		head   []string // extended, if nil
		status string   // what the handler answers, or the engine
		do     func(p *peer, r *recorded)
		frames string // which the peer gets
		events string // which the handler gets
		bytes  int
	}{
		"the client ends first": {do: func(p *peer, r *recorded) {
			accept(r)
			data(p, false, "abc")
			r.response.Data([]byte("hello"))
			data(p, true, "de")
			r.response.Data([]byte("still"))
			r.response.End(nil)
		}, frames: "HEADERS :status=200, DATA, DATA, DATA END", events: "begin, end, done delivered", bytes: 5},
		"the server ends first": {do: func(p *peer, r *recorded) {
			accept(r)
			data(p, false, "abc")
			r.response.Data([]byte("bye"))
			r.response.End(nil)
			synctest.Wait()
			data(p, true, "late")
		}, frames: "HEADERS :status=200, DATA, DATA END, RST NO_ERROR", events: "begin, done delivered", bytes: 3},
		"accepted late": {do: func(p *peer, r *recorded) {
			data(p, false, "ahead")
			accept(r)
			data(p, true, "")
			r.response.End(nil)
		}, frames: "HEADERS :status=200, DATA END", events: "begin, end, done delivered", bytes: 5},
		"the client resets": {do: func(p *peer, r *recorded) {
			accept(r)
			synctest.Wait()
			p.write(func() error { return p.fr.WriteRSTStream(1, http2.ErrCodeCancel) })
		}, frames: "HEADERS :status=200", events: "begin, reset CANCEL, done lost"},
		"the server resets": {do: func(p *peer, r *recorded) {
			accept(r)
			synctest.Wait()
			r.response.Reset(exchange.Cancel, nil)
		}, frames: "HEADERS :status=200, RST CANCEL", events: "begin, done lost"},
		"refused": {do: func(p *peer, r *recorded) {
			r.response.Head(&exchange.ResponseHead{Status: 403}, true)
			synctest.Wait()
			data(p, true, "")
		}, frames: "HEADERS :status=403 END, RST NO_ERROR", events: "begin, done delivered"},
		"101 is not of HTTP/2": {do: func(p *peer, r *recorded) {
			r.response.Head(&exchange.ResponseHead{Status: 101}, false)
		}, frames: "RST INTERNAL_ERROR", events: "begin, reset INTERNAL_ERROR, done lost"},
		"101 and the end": {do: func(p *peer, r *recorded) {
			r.response.Inform(&exchange.ResponseHead{Status: 101})
			r.response.Head(&exchange.ResponseHead{Status: 101}, true)
		}, frames: "RST INTERNAL_ERROR", events: "begin, done lost"},
		"without a protocol": {head: []string{":method", "CONNECT", ":authority", "a.test:443"}, do: func(p *peer, _ *recorded) {
			data(p, true, "")
		}, frames: "HEADERS :status=501 END, RST NO_ERROR"},
		"without a protocol, with a path": {head: []string{":method", "CONNECT", ":authority", "a.test:443", ":scheme", "https", ":path", "/"},
			frames: "RST PROTOCOL_ERROR"},
		"without a path": {head: []string{":method", "CONNECT", ":protocol", "websocket", ":authority", "a.test", ":scheme", "https"},
			frames: "RST PROTOCOL_ERROR"},
		"without a scheme": {head: []string{":method", "CONNECT", ":protocol", "websocket", ":authority", "a.test", ":path", "/"},
			frames: "RST PROTOCOL_ERROR"},
		"with another method": {head: []string{":method", "GET", ":protocol", "websocket", ":authority", "a.test", ":scheme", "https", ":path", "/"},
			frames: "RST PROTOCOL_ERROR"},
		"with Upgrade": {head: append(slices.Clone(extended), "upgrade", "websocket"), frames: "RST PROTOCOL_ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &recorder{}
				p, c, ended := serve(t, testConfig(), h)
				synctest.Wait()
				if test.head == nil {
					test.head = extended
				}
				p.headers(1, false, test.head...)
				synctest.Wait()
				var r *recorded
				if len(h.requests) > 0 {
					r = h.requests[0]
					if r.head.Protocol != "websocket" || !r.head.Handshake() || r.head.Upgrades() || r.head.Path != "/chat?a=b" ||
						r.head.Authority != "a.test" || r.head.Length != -1 {
						t.Errorf("%+v", r.head)
					}
				} else if test.events != "" {
					t.Fatalf("the handler sees nothing; the peer %q", p.got)
				}
				if test.do != nil {
					test.do(p, r)
				}
				synctest.Wait()
				if got := strings.Join(p.got, ", "); got != test.frames {
					t.Errorf("frames: got %s, want %s", got, test.frames)
				}
				p.c.Close()
				<-ended
				<-p.done
				if r != nil {
					if got := strings.Join(r.events, ", "); got != test.events || r.bytes != test.bytes {
						t.Errorf("events: got %s and %d bytes, want %s and %d", got, r.bytes, test.events, test.bytes)
					}
				}
				if used := c.cfg.Budget.Used(); used != 0 {
					t.Errorf("%d bytes of the budget are not given back", used)
				}
			})
		})
	}
}

// TestExtendedConnectAnnounced looks at the server's SETTINGS (RFC 8441, section 3).
func TestExtendedConnectAnnounced(t *testing.T) {
	for _, on := range []bool{true, false} {
		cfg := testConfig()
		cfg.ExtendedConnect = on
		a, b := net.Pipe()
		c := NewServer(netio.New(a), cfg, &recorder{})
		ended := make(chan struct{})
		go func() { _ = c.Run(nil); close(ended) }()
		go b.Write([]byte(Preface))
		f, err := http2.NewFramer(nil, b).ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if v, ok := f.(*http2.SettingsFrame).Value(http2.SettingEnableConnectProtocol); ok != on || on && v != 1 {
			t.Errorf("announced %v %d, want %v", ok, v, on)
		}
		b.Close()
		<-ended
	}
}

// TestExtendedConnectFlow has the engine's own client send more than windows through
// an echo.
func TestExtendedConnectFlow(t *testing.T) {
	cfg := testConfig()
	var wg sync.WaitGroup
	a, b := net.Pipe()
	server := NewServer(netio.New(a), cfg, exchangetest.Echo())
	wg.Go(func() { _ = server.Run(nil) })
	events := newClientEvents()
	client := NewClient(netio.New(b), cfg, events)
	wg.Go(func() { client.Run(nil) })
	<-events.ready

	r := exchangetest.NewResponse()
	head := &exchange.RequestHead{Method: "CONNECT", Protocol: "websocket", Scheme: "http", Authority: "a.test", Path: "/chat", Length: -1}
	q := client.Start(head, r)
	q.Begin()
	got := 0
	for i := range 100 {
		q.Data(make([]byte, rpc.WindowDefault/2))
		s := r.Until(t, "the echo", func(s *exchangetest.Answer) bool { return len(s.Body) == (i+1)*rpc.WindowDefault/2 })
		q.Credit(len(s.Body) - got)
		got = len(s.Body)
		r.Until(t, "credit", func(s *exchangetest.Answer) bool { return s.Credit > got-rpc.WindowDefault })
	}
	q.End(nil)
	if s := r.Final(t); s.Status != 200 || !s.Ended || len(s.Body) != got {
		t.Errorf("%d, ended %v, %d bytes", s.Status, s.Ended, len(s.Body))
	}
	r.Check(t)
	client.Close()
	<-events.closed
	server.Close()
	wg.Wait()
}
