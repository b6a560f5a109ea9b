package h2

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/netio"
	"github.com/sluice-rpc/sluice/internal/race"
)

// testConfig returns a configuration as a gateway has it.
func testConfig() *Config {
	return &Config{
		Work: &netio.Work{}, Keeper: NewKeeper(), Budget: NewBudget(64 << 20),
		MaxStreams: 250, HeaderBytes: 16 << 10, StreamWindow: 64 << 10, ConnBuffer: 1 << 20, Abuse: 1000,
		Idle: time.Minute, Stall: time.Minute, SettingsAck: 10 * time.Second, Header: 10 * time.Second,
		LimitHit: func(string) {}, ExtendedConnect: true,
	}
}

// clientEvents lets a test wait for a connection.
type clientEvents struct {
	ready, closed chan struct{}
	once          sync.Once
	mu            sync.Mutex
	draining      int
	err           error
}

func newClientEvents() *clientEvents {
	return &clientEvents{ready: make(chan struct{}), closed: make(chan struct{})}
}

func (e *clientEvents) Ready() { e.once.Do(func() { close(e.ready) }) }
func (e *clientEvents) Draining() {
	e.mu.Lock()
	e.draining++
	e.mu.Unlock()
}
func (e *clientEvents) Closed(err error) { e.err = err; close(e.closed) }

// startProxy runs the engine in both roles in front of an HTTP/2 server: exchanges
// pass from one connection to the other as they are, since both ends have the same
// contract. It returns the address of the front.
func startProxy(t testing.TB, backend http.Handler, wrap func(net.Conn) net.Conn) string {
	t.Helper()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	bl := listen(t)
	srv := &http.Server{Handler: backend, Protocols: &protocols}
	go srv.Serve(bl)
	t.Cleanup(func() { srv.Close() })

	cfg := testConfig()
	nc, err := net.Dial("tcp", bl.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ev := newClientEvents()
	client := NewClient(netio.New(wrap(nc)), cfg, ev)
	go client.Run(nil)
	<-ev.ready
	t.Cleanup(func() { client.Close(); <-ev.closed })

	fl := listen(t)
	var conns sync.WaitGroup
	go func() {
		for {
			nc, err := fl.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			go func() {
				defer conns.Done()
				c := NewServer(netio.New(wrap(nc)), cfg, client)
				t.Cleanup(c.Close)
				c.Run(nil)
			}()
		}
	}()
	t.Cleanup(conns.Wait)
	return fl.Addr().String()
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func h2cClient(t testing.TB) *http.Client {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &protocols}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// opaque hides that a connection is a socket, so that the engine takes the way for
// any net.Conn.
type opaque struct{ net.Conn }

func TestProxy(t *testing.T) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"socket": func(c net.Conn) net.Conn { return c },
		"opaque": func(c net.Conn) net.Conn { return opaque{c} },
	} {
		t.Run(name, func(t *testing.T) { testProxy(t, wrap) })
	}
}

func testProxy(t *testing.T, wrap func(net.Conn) net.Conn) {
	addr := startProxy(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			w.Header().Set("Trailer", "X-Sum")
			w.Header().Set("X-Got", r.Header.Get("X-Sent"))
			n, _ := io.Copy(flushWriter{w}, r.Body)
			w.Header().Set("X-Sum", fmt.Sprint(n))
		case "/early":
			w.WriteHeader(409) // and does not read the request
		case "/abort":
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}), wrap)
	client := h2cClient(t)

	t.Run("sizes", func(t *testing.T) {
		for _, size := range []int{0, 1, 100, 16384, 65535, 65536, 1 << 20, 8 << 20} {
			sent := make([]byte, size)
			rand.Read(sent)
			req, _ := http.NewRequest("POST", "http://"+addr+"/echo", bytes.NewReader(sent))
			req.Header.Set("X-Sent", "abc")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(size, err)
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%d bytes: got %d, %v", size, len(got), err)
			}
			if resp.Header.Get("X-Got") != "abc" || resp.Trailer.Get("X-Sum") != fmt.Sprint(size) {
				t.Errorf("head %v trailer %v", resp.Header, resp.Trailer)
			}
		}
	})
	t.Run("many at once", func(t *testing.T) {
		rounds := map[bool]int{false: 20, true: 5}[race.Enabled]
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				for j := range rounds {
					sent := bytes.Repeat([]byte{byte(i)}, 1+(i*j*997)%200000)
					resp, err := client.Post("http://"+addr+"/echo", "", bytes.NewReader(sent))
					if err != nil {
						t.Error(err)
						return
					}
					got, err := io.ReadAll(resp.Body)
					if err != nil || !bytes.Equal(got, sent) {
						t.Errorf("sent %d, got %d, %v", len(sent), len(got), err)
					}
				}
			})
		}
		wg.Wait()
	})
	t.Run("ping pong", func(t *testing.T) {
		pr, pw := io.Pipe()
		req, _ := http.NewRequest("POST", "http://"+addr+"/echo", pr)
		go pw.Write([]byte("0"))
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		for i := range 100 {
			if _, err := io.ReadFull(resp.Body, b); err != nil || b[0] != byte('0'+i%10) {
				t.Fatal(i, b, err)
			}
			pw.Write([]byte{byte('0' + (i+1)%10)})
		}
		pw.Close()
	})
	t.Run("early end", func(t *testing.T) {
		for range 50 {
			pr, pw := io.Pipe()
			req, _ := http.NewRequest("POST", "http://"+addr+"/early", pr)
			go io.Copy(pw, endless{})
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != 409 {
				t.Error(resp.Status)
			}
			resp.Body.Close()
			pr.Close()
		}
	})
	t.Run("abort", func(t *testing.T) {
		resp, err := client.Post("http://"+addr+"/abort", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Error("a reset response ended cleanly")
		}
	})
	t.Run("cancel", func(t *testing.T) {
		for range 50 {
			ctx, cancel := context.WithCancel(context.Background())
			pr, _ := io.Pipe()
			req, _ := http.NewRequestWithContext(ctx, "POST", "http://"+addr+"/echo", pr)
			go func() { time.Sleep(time.Millisecond); cancel() }()
			if resp, err := client.Do(req); err == nil {
				_, err = io.ReadAll(resp.Body)
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		}
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

type flushWriter struct{ w http.ResponseWriter }

func (f flushWriter) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	f.w.(http.Flusher).Flush()
	return n, err
}
