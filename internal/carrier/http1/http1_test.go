package http1

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/netio"
)

// gate is a server with its own listener, as accept would feed it.
type gate struct {
	*Server
	t    *testing.T
	seen *exchangetest.Server
	l    net.Listener
	tls  atomic.Pointer[tls.Config]
	wg   sync.WaitGroup
}

// polite answers 200 with the path, method and content of each request.
var polite = exchangetest.Script{End: func(q *exchangetest.Request) {
	s := q.Seen()
	q.Answer(200)
	q.Send(fmt.Appendf(nil, "%s %s %s %s", s.Head.Method, s.Head.Authority, s.Head.Path, s.Body))
	q.Finish()
}}

func newGate(t *testing.T, cfg Config, script exchangetest.Script) *gate {
	t.Helper()
	g := &gate{t: t, seen: exchangetest.NewServer(script)}
	if cfg.Work == nil {
		cfg.Work = &netio.Work{}
	}
	g.Server = New(g.seen, cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.l = l
	g.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.wg.Go(func() {
				if g.tls.Load() != nil {
					s := netio.Server(c, g.tls.Load())
					if err := s.Handshake(); err != nil {
						c.Close()
						return
					}
					c = s
				}
				g.wg.Add(1)
				g.ServeConn(c, g.wg.Done)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		g.Close()
		g.wg.Wait()
	})
	return g
}

// conn is a client that writes what it likes.
type conn struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (g *gate) dial() *conn {
	g.t.Helper()
	c, err := net.Dial("tcp", g.l.Addr().String())
	if err != nil {
		g.t.Fatal(err)
	}
	if g.tls.Load() != nil {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	g.t.Cleanup(func() { c.Close() })
	_ = c.SetReadDeadline(time.Now().Add(exchangetest.Timeout))
	return &conn{Conn: c, t: g.t, r: bufio.NewReader(c)}
}

func (c *conn) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatal(err)
	}
}

// answer reads one response and its content.
func (c *conn) answer() (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp, string(b)
}

// closed waits for the end of the connection, and fails if more than that comes.
func (c *conn) closed() {
	c.t.Helper()
	b, err := io.ReadAll(c.r)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		c.t.Fatal("the connection stays open")
	}
	if len(b) > 0 {
		c.t.Errorf("after the last answer came %q", b)
	}
}

const probe = "GET /probe HTTP/1.1\r\nHost: h\r\n\r\n"

// TestFraming has requests whose framing two servers might see differently. Each is
// followed by a probe: smuggled is what shows as more requests than there were, or as
// another one.
func TestFraming(t *testing.T) {
	const head = "POST /a HTTP/1.1\r\nHost: h\r\n"
	const inner = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
	for name, v := range map[string]struct {
		request string
		status  int    // 0 is any refusal
		content string // what the handler sees, if 200
		closes  bool
	}{
		"length":                  {head + "Content-Length: 3\r\n\r\nabc", 200, "abc", false},
		"length twice the same":   {head + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 200, "abc", false},
		"two lengths":             {head + "Content-Length: 3\r\nContent-Length: 38\r\n\r\nabc" + inner, 400, "", true},
		"two lengths in one":      {head + "Content-Length: 3, 38\r\n\r\nabc" + inner, 400, "", true},
		"length with a sign":      {head + "Content-Length: +3\r\n\r\nabc", 400, "", true},
		"negative length":         {head + "Content-Length: -1\r\n\r\n", 400, "", true},
		"length of 2^64+3":        {head + "Content-Length: 18446744073709551619\r\n\r\nabc", 400, "", true},
		"hexadecimal length":      {head + "Content-Length: 0x3\r\n\r\nabc", 400, "", true},
		"empty length":            {head + "Content-Length: \r\n\r\n" + inner, 400, "", true},
		"chunks":                  {head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, "abc", false},
		"chunks, upper case":      {head + "TRANSFER-ENCODING: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, "abc", false},
		"chunks and a length":     {head + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, "abc", false},
		"chunk extension":         {head + "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n", 200, "abc", false},
		"chunks twice":            {head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner, 0, "", true},
		"chunked, chunked":        {head + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + inner, 0, "", true},
		"xchunked":                {head + "Transfer-Encoding: xchunked\r\nContent-Length: 3\r\n\r\nabc", 501, "", true},
		"chunked, identity":       {head + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + inner, 501, "", true},
		"identity":                {head + "Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", 501, "", true},
		"gzip, chunked":           {head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "", true},
		"vertical tab chunked":    {head + "Transfer-Encoding: \vchunked\r\nContent-Length: 3\r\n\r\nabc", 0, "", true},
		"empty transfer encoding": {head + "Transfer-Encoding: \r\nContent-Length: 3\r\n\r\nabc", 501, "", true},
		"space before colon":      {head + "Transfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\nabc", 400, "", true},
		"tab before colon":        {head + "Content-Length\t: 3\r\n\r\nabc", 400, "", true},
		"space before a name":     {head + " X: y\r\n\r\n", 400, "", true}, // a fold of Host
		"obsolete fold":           {head + "X: a\r\n\tContent-Length: 5\r\n\r\n", 200, "", false},
		"bare LF in the head":     {"POST /a HTTP/1.1\nHost: h\nContent-Length: 3\n\nabc", 200, "abc", false}, // RFC 9112, section 2.2, allows it
		"NUL in a value":          {head + "X: a\x00b\r\n\r\n", 400, "", true},
		"NUL in a name":           {head + "X\x00: a\r\n\r\n", 400, "", true},
		"no name":                 {head + ": a\r\n\r\n", 400, "", true},
		"no colon":                {head + "X\r\n\r\n", 400, "", true},
		"no host":                 {"POST /a HTTP/1.1\r\n\r\n", 400, "", true},
		"two hosts":               {head + "Host: i\r\n\r\n", 400, "", true},
		"malformed host":          {"POST /a HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "", true},
		"bad version":             {"POST /a HTTP/1.2x\r\nHost: h\r\n\r\n", 400, "", true},
		"future version":          {"POST /a HTTP/3.0\r\nHost: h\r\n\r\n", 505, "", true},
		"bad method":              {"PO(ST /a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "", true},
		"space in the path":       {"POST /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "", true},
		"control in the path":     {"POST /a\x01b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "", true},
		"expects what nobody has": {head + "Expect: 200-maybe\r\nContent-Length: 0\r\n\r\n", 417, "", true},
		"chunk size is no number": {head + "Transfer-Encoding: chunked\r\n\r\nx\r\nabc\r\n0\r\n\r\n", 400, "", true},
		"chunk size with a sign":  {head + "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", 400, "", true},
		"chunk size of 0x":        {head + "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400, "", true},
		"chunk size is too large": {head + "Transfer-Encoding: chunked\r\n\r\n11111111111111111\r\nabc", 400, "", true},
		"empty chunk size":        {head + "Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", 400, "", true},
		"chunk is longer":         {head + "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", 400, "", true},
		"bare LF in a chunk":      {head + "Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n", 400, "", true},
		"bare CR in an extension": {head + "Transfer-Encoding: chunked\r\n\r\n3;\rx\r\nabc\r\n0\r\n\r\n", 400, "", true},
		"extensions without end":  {head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1;"+strings.Repeat("x", 2000)+"\r\na\r\n", 100) + "0\r\n\r\n", 400, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, Config{}, polite)
			c := g.dial()
			go func() { _, _ = io.WriteString(c, v.request) }()
			resp, content := c.answer()
			if v.status != 0 && resp.StatusCode != v.status || v.status == 0 && resp.StatusCode < 400 {
				t.Errorf("got %d, want %d", resp.StatusCode, v.status)
			}
			if resp.StatusCode == 200 && !strings.HasSuffix(content, " "+v.content) {
				t.Errorf("the handler saw %q", content)
			}
			if v.closes {
				c.closed()
			} else {
				c.send(probe)
				if _, content := c.answer(); content != "GET h /probe " {
					t.Errorf("the next request is %q", content)
				}
			}
			for n := len(g.seen.Requests); n > 0; n-- {
				if q := <-g.seen.Requests; strings.Contains(q.Seen().Head.Path, "smuggled") {
					t.Error("smuggled")
				}
			}
		})
	}
}
