package websocket_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	outside "github.com/coder/websocket"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/websocket"
)

// A peer drives the engine over a socket. As a server it echoes messages, by turns in
// one frame and in pieces.
type peer struct {
	conn   net.Conn
	decode websocket.Decoder
	encode websocket.Encoder
	op     websocket.Opcode
	seen   int
	out    []byte
	closed func(code websocket.Code, reason string)
	got    func(op websocket.Opcode, p []byte)
}

func (p *peer) Begin(op websocket.Opcode) { p.op = op }
func (p *peer) Data(b []byte)             { p.got(p.op, b) }
func (p *peer) End()                      {}
func (p *peer) Ping(b []byte)             { p.out = p.encode.Pong(p.out, b) }
func (p *peer) Pong([]byte)               {}
func (p *peer) Close(code websocket.Code, reason string) {
	p.out = p.encode.Close(p.out, code, "")
	p.closed(code, reason)
}

func (p *peer) echo(op websocket.Opcode, b []byte) {
	if p.seen++; p.seen%2 == 0 {
		p.out = p.encode.Message(p.out, op, b)
		return
	}
	p.encode.Begin(op, p.seen%4 == 1)
	for len(b) > 0 {
		n := min(len(b), 3000)
		p.out = p.encode.Data(p.out, b[:n])
		b = b[n:]
	}
	p.out = p.encode.End(p.out)
}

func (p *peer) run() error {
	b := make([]byte, 4096)
	for {
		if _, err := p.conn.Write(p.out); err != nil {
			return err
		}
		p.out = p.out[:0]
		n, err := p.conn.Read(b)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.decode.Feed(b[:n], p); err != nil {
			return err
		}
	}
}

// serve answers handshakes with the server's half of the engine.
func serve(t *testing.T, server websocket.Server, closed func(websocket.Code, string)) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() { // ends with the listener, and then with its last connection
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if err := serveConn(conn, server, closed); err != nil {
				t.Error(err)
			}
			conn.Close()
		}
	}()
	return "ws://" + l.Addr().String()
}

func serveConn(conn net.Conn, server websocket.Server, closed func(websocket.Code, string)) error {
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	in := bufio.NewReader(conn)
	r, err := http.ReadRequest(in)
	if err != nil {
		return err
	}
	head := &exchange.RequestHead{Method: r.Method, Length: -1}
	for name, values := range r.Header {
		for _, v := range values {
			head.Fields = append(head.Fields, exchange.Field{Name: strings.ToLower(name), Value: v})
		}
	}
	if !websocket.Asked(head) {
		return fmt.Errorf("not asked for a WebSocket: %v", r.Header)
	}
	a, refusal := server.Answer(head)
	if refusal != nil {
		return refusal
	}
	fmt.Fprintf(conn, "HTTP/1.1 %d Switching Protocols\r\n", a.Status)
	for _, f := range a.Fields {
		fmt.Fprintf(conn, "%s: %s\r\n", f.Name, f.Value)
	}
	io.WriteString(conn, "\r\n")
	p := &peer{
		conn: conn, closed: closed,
		decode: websocket.Decoder{Deflate: a.Deflate, Whole: true},
		encode: websocket.Encoder{Deflate: a.Deflate},
	}
	p.got = p.echo
	return p.run()
}

// messages are of all sizes, and like each other.
func messages() []string {
	rnd := rand.New(rand.NewPCG(1, 1))
	out := []string{"", "a", "κόσμε"}
	for _, size := range []int{100, 125, 126, 400, 600, 600, 4000, 65535, 65536, 127, 1000} {
		var b strings.Builder
		for b.Len() < size {
			fmt.Fprintf(&b, `{"id":%d,"name":"κόσμε %d"}`, rnd.IntN(1000), rnd.IntN(10))
		}
		out = append(out, b.String())
	}
	return out
}

// TestOutsideClient: another's client against our server.
func TestOutsideClient(t *testing.T) {
	for name, deflate := range map[string]*websocket.Deflate{
		"plain": nil, "no takeover": {}, "takeover": {Takeover: true}, "a small window": {Takeover: true, WindowBits: 9},
		"a large window": {Takeover: true, WindowBits: 15},
	} {
		for mode := range outside.CompressionNoContextTakeover + 1 {
			t.Run(fmt.Sprintf("%s, mode %d", name, mode), func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				closed := make(chan string, 1)
				url := serve(t, websocket.Server{Protocols: []string{"b", "a"}, Deflate: deflate}, func(c websocket.Code, reason string) {
					closed <- fmt.Sprint(c, " ", reason)
				})
				c, _, err := outside.Dial(ctx, url, &outside.DialOptions{CompressionMode: mode, Subprotocols: []string{"a", "b"}})
				if err != nil {
					t.Fatal(err)
				}
				defer c.CloseNow()
				c.SetReadLimit(-1)
				if c.Subprotocol() != "b" {
					t.Errorf("subprotocol %q", c.Subprotocol())
				}
				for _, m := range messages() {
					for _, op := range []outside.MessageType{outside.MessageText, outside.MessageBinary} {
						w, err := c.Writer(ctx, op)
						if err != nil {
							t.Fatal(err)
						}
						half := len(m) / 2
						io.WriteString(w, m[:half])
						io.WriteString(w, m[half:])
						if err := w.Close(); err != nil {
							t.Fatal(err)
						}
						gotOp, got, err := c.Read(ctx)
						if err != nil || gotOp != op || string(got) != m {
							t.Fatalf("%d bytes of %d, %v, %v", len(got), len(m), gotOp, err)
						}
					}
				}
				c.CloseRead(ctx)
				if err := c.Ping(ctx); err != nil {
					t.Error(err)
				}
				if err := c.Close(4005, "reason"); err != nil {
					t.Error(err)
				}
				if got := <-closed; got != "4005 reason" {
					t.Errorf("closed with %q", got)
				}
			})
		}
	}
}

// TestOutsideServer: our client's half against another's server, which echoes.
func TestOutsideServer(t *testing.T) {
	for mode, params := range map[outside.CompressionMode]*websocket.DeflateParams{
		outside.CompressionDisabled:          nil,
		outside.CompressionContextTakeover:   {},
		outside.CompressionNoContextTakeover: {ServerNoContextTakeover: true, ClientNoContextTakeover: true},
	} {
		t.Run(fmt.Sprintf("mode %d", mode), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c, err := outside.Accept(w, r, &outside.AcceptOptions{CompressionMode: mode})
				if err != nil {
					t.Error(err)
					return
				}
				defer c.CloseNow()
				c.SetReadLimit(-1)
				for range 2 * len(messages()) {
					op, m, err := c.Read(ctx)
					if err == nil {
						err = c.Write(ctx, op, m)
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
				c.Close(4007, "enough")
			}))
			defer server.Close()
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(30 * time.Second))
			const key = "dGhlIHNhbXBsZSBub25jZQ=="
			offer := ""
			if params != nil {
				offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
			}
			fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n%s\r\n", key, offer)
			r, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil) // the server waits for us, so nothing is read ahead
			if err != nil {
				t.Fatal(err)
			}
			if r.StatusCode != 101 || r.Header.Get("Sec-WebSocket-Accept") != websocket.AcceptKey(key) {
				t.Fatal(r.Status)
			}
			if got := r.Header.Get("Sec-WebSocket-Extensions"); (got != "") != (params != nil) {
				t.Fatalf("agreed on %q", got)
			}

			var want []string
			closed := ""
			p := &peer{
				conn:   conn,
				decode: websocket.Decoder{Client: true, Whole: true, Deflate: params},
				encode: websocket.Encoder{Client: true, Deflate: params},
				closed: func(c websocket.Code, reason string) { closed = fmt.Sprint(c, " ", reason) },
				got: func(op websocket.Opcode, b []byte) {
					if string(b) != want[0] {
						t.Errorf("%d bytes, not %d", len(b), len(want[0]))
					}
					want = want[1:]
				},
			}
			for _, m := range messages() {
				p.echo(websocket.Text, []byte(m))
				p.echo(websocket.Binary, []byte(m))
				want = append(want, m, m)
			}
			out := p.out
			p.out = nil
			wrote := make(chan struct{})
			go func() { // ends when all is written
				defer close(wrote)
				conn.Write(out)
			}()
			if err := p.run(); err != nil {
				t.Error(err)
			}
			<-wrote
			if len(want) > 0 || closed != "4007 enough" {
				t.Errorf("%d messages missing, closed with %q", len(want), closed)
			}
		})
	}
}
