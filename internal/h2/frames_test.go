package h2

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/netio"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer is the other end of a connection under test: x/net's framer is the oracle.
type peer struct {
	t    testing.TB
	c    net.Conn
	fr   *http2.Framer
	enc  *hpack.Encoder
	buf  bytes.Buffer
	mu   sync.Mutex
	got  []string
	data map[uint32]int
	end  error
	done chan struct{}
}

// serve starts a server connection over memory, and its client.
func serve(t testing.TB, cfg *Config, h exchange.Handler) (*peer, *Conn, chan error) {
	a, b := net.Pipe()
	c := NewServer(netio.New(a), cfg, h)
	ended := make(chan error, 1)
	go func() { ended <- c.Run(nil) }()
	p := newPeer(t, b)
	if _, err := io.WriteString(b, Preface); err != nil {
		t.Fatal(err)
	}
	p.write(func() error { return p.fr.WriteSettings() })
	p.write(p.fr.WriteSettingsAck)
	return p, c, ended
}

func newPeer(t testing.TB, c net.Conn) *peer {
	p := &peer{t: t, c: c, fr: http2.NewFramer(c, c), data: map[uint32]int{}, done: make(chan struct{})}
	p.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.enc = hpack.NewEncoder(&p.buf)
	go p.read()
	return p
}

func (p *peer) read() {
	defer close(p.done)
	for {
		f, err := p.fr.ReadFrame()
		if err != nil {
			p.mu.Lock()
			p.end = err
			p.mu.Unlock()
			return
		}
		s := ""
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			s = "HEADERS"
			for _, h := range f.Fields {
				s += " " + h.Name + "=" + h.Value
			}
			if f.StreamEnded() {
				s += " END"
			}
		case *http2.DataFrame:
			p.mu.Lock()
			p.data[f.StreamID] += len(f.Data())
			p.mu.Unlock()
			s = "DATA"
			if f.StreamEnded() {
				s += " END"
			}
		case *http2.RSTStreamFrame:
			s = "RST " + f.ErrCode.String()
		case *http2.GoAwayFrame:
			s = "GOAWAY " + f.ErrCode.String()
		case *http2.PingFrame:
			s = "PING"
			if f.IsAck() {
				s = "PONG"
			}
		case *http2.WindowUpdateFrame, *http2.SettingsFrame:
			continue
		}
		p.mu.Lock()
		p.got = append(p.got, s)
		p.mu.Unlock()
	}
}

func (p *peer) write(f func() error) {
	if err := f(); err != nil {
		p.t.Logf("peer: %v", err)
	}
}

func (p *peer) headers(id uint32, end bool, fields ...string) {
	p.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	p.write(func() error {
		return p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.buf.Bytes(), EndHeaders: true, EndStream: end})
	})
}

func (p *peer) request(id uint32, end bool) {
	p.headers(id, end, ":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/")
}

func (p *peer) has(want string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.got {
		if s == want {
			return true
		}
	}
	return false
}

// recorder is a handler that notes what it is told and answers as it is asked to.
type recorder struct {
	mu       sync.Mutex
	requests []*recorded
	onEnd    func(r *recorded)
}

type recorded struct {
	h        *recorder
	head     exchange.RequestHead
	response exchange.Response
	events   []string
	bytes    int
	dones    int
	onReset  func()
}

func (h *recorder) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	r := &recorded{h: h, head: *head, response: response}
	h.mu.Lock()
	h.requests = append(h.requests, r)
	h.mu.Unlock()
	return r
}

func (r *recorded) note(s string) {
	r.h.mu.Lock()
	if r.dones > 0 {
		r.events = append(r.events, "AFTER DONE")
	}
	r.events = append(r.events, s)
	r.h.mu.Unlock()
}

func (r *recorded) Begin() { r.note("begin") }
func (r *recorded) Data(b []byte) {
	r.bytes += len(b)
	r.response.Credit(len(b))
}
func (r *recorded) End([]exchange.Field) {
	r.note("end")
	if r.h.onEnd != nil {
		r.h.onEnd(r)
	}
}
func (r *recorded) Reset(code exchange.Code) {
	r.note("reset " + code.String())
	if r.onReset != nil {
		r.onReset()
	}
	r.response.Reset(code, nil)
}
func (r *recorded) Credit(int) {}
func (r *recorded) Done(delivered bool) {
	if delivered {
		r.note("done delivered")
	} else {
		r.note("done lost")
	}
	r.dones++
}

func answer(r *recorded) {
	r.response.Head(&exchange.ResponseHead{Status: 200}, false)
	r.response.Data([]byte("hello"))
	r.response.End([]exchange.Field{{Name: "x-end", Value: "1"}})
}

func TestServer(t *testing.T) {
	type step func(p *peer, c *Conn, h *recorder)
	for name, test := range map[string]struct {
		do    step
		frame string   // which the peer gets
		event []string // which the only request gets
	}{
		"a call": {func(p *peer, _ *Conn, h *recorder) { p.request(1, true) }, "HEADERS x-end=1 END",
			[]string{"begin", "end", "done delivered"}},
		"head and end are one frame": {func(p *peer, _ *Conn, h *recorder) {
			h.onEnd = func(r *recorded) { r.response.Head(&exchange.ResponseHead{Status: 204}, true) }
			p.request(1, true)
		}, "HEADERS :status=204 END", []string{"begin", "end", "done delivered"}},
		"opened and reset in one batch": {func(p *peer, _ *Conn, h *recorder) {
			var b bytes.Buffer
			fr := http2.NewFramer(&b, nil)
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block1(p), EndHeaders: true})
			fr.WriteRSTStream(1, http2.ErrCodeCancel)
			fr.WritePing(false, [8]byte{})
			p.c.Write(b.Bytes())
		}, "PONG", nil},
		"reset later": {func(p *peer, _ *Conn, h *recorder) {
			p.request(1, false)
			synctest.Wait()
			p.write(func() error { return p.fr.WriteRSTStream(1, http2.ErrCodeCancel) })
		}, "", []string{"begin", "reset CANCEL", "done lost"}},
		"answered before the request ended": {func(p *peer, _ *Conn, h *recorder) {
			p.request(1, false)
			synctest.Wait()
			answer(h.requests[0])
		}, "RST NO_ERROR", []string{"begin", "done delivered"}},
		"connection lost": {func(p *peer, _ *Conn, h *recorder) {
			p.request(1, false)
			synctest.Wait()
			p.c.Close()
		}, "", []string{"begin", "reset DISCONNECTED", "done lost"}},
		"drain": {func(p *peer, c *Conn, h *recorder) {
			p.request(1, false)
			synctest.Wait()
			c.Drain()
			p.write(func() error { return p.fr.WritePing(true, pingDrain) })
			synctest.Wait()
			p.request(3, true) // behind the second GOAWAY: the client retries it elsewhere
			p.write(func() error { return p.fr.WriteData(1, true, nil) })
			synctest.Wait()
			if p.end == nil {
				p.t.Error("the connection outlives its drain")
			}
		}, "GOAWAY NO_ERROR", []string{"begin", "end", "done delivered"}},
		"a head that is too large": {func(p *peer, c *Conn, h *recorder) {
			p.headers(1, true, ":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/", "x", string(make([]byte, 8000)), "y", string(bytes.Repeat([]byte("y"), 9000)))
		}, "HEADERS :status=431 END", nil},
		"a field that is too large": {func(p *peer, c *Conn, h *recorder) {
			p.headers(1, true, ":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/", "x", string(bytes.Repeat([]byte("a"), 20000)))
			p.write(func() error { return p.fr.WritePing(false, [8]byte{}) })
			synctest.Wait()
			if p.end != nil {
				p.t.Errorf("the connection ended: %v", p.end)
			}
		}, "HEADERS :status=431 END", nil},
		"zero window and no progress": {func(p *peer, c *Conn, h *recorder) {
			h.onEnd = func(r *recorded) {
				r.response.Head(&exchange.ResponseHead{Status: 200}, false)
				r.response.Data(make([]byte, 100000))
			}
			p.request(1, true)
			time.Sleep(3 * time.Minute)
			p.write(func() error { return p.fr.WritePing(false, [8]byte{}) })
		}, "RST CANCEL", []string{"begin", "end", "reset CANCEL", "done lost"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &recorder{onEnd: answer}
				p, c, ended := serve(t, testConfig(), h)
				synctest.Wait()
				test.do(p, c, h)
				synctest.Wait()
				if test.frame != "" && !p.has(test.frame) {
					t.Errorf("want frame %q, got %q, %v", test.frame, p.got, p.end)
				}
				p.c.Close()
				<-ended
				<-p.done
				h.mu.Lock()
				defer h.mu.Unlock()
				var events []string
				if len(h.requests) > 0 {
					events = h.requests[0].events
				}
				if len(h.requests) > 1 {
					t.Errorf("%d requests reached the handler", len(h.requests))
				}
				if got, want := join(events), join(test.event); got != want {
					t.Errorf("events: got %s, want %s", got, want)
				}
				if used := c.cfg.Budget.Used(); used != 0 {
					t.Errorf("%d bytes of the budget are not given back", used)
				}
			})
		})
	}
}

func join(ss []string) (out string) {
	for _, s := range ss {
		out += s + "; "
	}
	return out
}

func block1(p *peer) []byte {
	p.buf.Reset()
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/"}} {
		p.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	return p.buf.Bytes()
}

// TestAbuse sends work of no use and wants to be stopped.
func TestAbuse(t *testing.T) {
	for name, flood := range map[string]func(p *peer, i int) error{
		"ping":          func(p *peer, i int) error { return p.fr.WritePing(false, [8]byte{}) },
		"settings":      func(p *peer, i int) error { return p.fr.WriteSettings() },
		"priority":      func(p *peer, i int) error { return p.fr.WritePriority(1, http2.PriorityParam{StreamDep: 3}) },
		"unknown frame": func(p *peer, i int) error { return p.fr.WriteRawFrame(0x42, 0, 0, nil) },
		"empty data": func(p *peer, i int) error {
			if i == 0 {
				p.request(1, false)
			}
			return p.fr.WriteData(1, false, nil)
		},
		"one byte data": func(p *peer, i int) error {
			if i == 0 {
				p.request(1, false)
			}
			return p.fr.WriteData(1, false, []byte{0})
		},
		"window updates": func(p *peer, i int) error { return p.fr.WriteWindowUpdate(0, 1) },
		"rapid reset": func(p *peer, i int) error {
			p.request(uint32(2*i+1), false)
			return p.fr.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)
		},
		"made you reset": func(p *peer, i int) error {
			p.request(uint32(2*i+1), false)
			return p.fr.WriteWindowUpdate(uint32(2*i+1), 0)
		},
		"endless field section": func(p *peer, i int) error {
			if i == 0 {
				return p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block1(p)})
			}
			return p.fr.WriteContinuation(1, false, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &recorder{}
				p, _, ended := serve(t, testConfig(), h)
				p.fr.AllowIllegalWrites = true
				for i := range 20000 {
					if flood(p, i) != nil {
						break
					}
				}
				time.Sleep(2 * lingerTime)
				synctest.Wait()
				select {
				case err := <-ended:
					if !Abuse(err) {
						t.Errorf("ended with %v", err)
					}
				default:
					t.Error("nobody stopped the flood")
					p.c.Close()
					<-ended
				}
				p.c.Close()
				<-p.done
				if len(h.requests) > 250 {
					t.Errorf("%d requests reached the handler", len(h.requests))
				}
			})
		})
	}
}

// TestEndedCalls: the calls of a client that broke a rule end at once, not when its
// connection has lingered. Else one that is back at once has more calls than it may.
func TestEndedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{}
		p, _, ended := serve(t, testConfig(), h)
		p.request(1, false)
		p.write(func() error { return p.fr.WriteRawFrame(http2.FrameData, 0, 0, nil) })
		synctest.Wait()
		select {
		case <-ended:
			t.Fatal("did not linger")
		default:
		}
		h.mu.Lock()
		if r := h.requests[0]; r.dones != 1 {
			t.Errorf("after %q there were %d Dones", r.events, r.dones)
		}
		h.mu.Unlock()
		time.Sleep(2 * lingerTime)
		<-ended
		p.c.Close()
		<-p.done
	})
}

// TestDataForTheDead: while a connection ends, backends still send to its streams. What
// was to be written is gone then, so there is no last frame to make longer.
func TestDataForTheDead(t *testing.T) {
	for range 10 { // streams end in any order
		a, b := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, b) }() // ends with the pipe
		h := &recorder{}
		c := NewServer(netio.New(a), testConfig(), h)
		var in bytes.Buffer
		p := &peer{t: t, fr: http2.NewFramer(&in, nil)}
		p.enc = hpack.NewEncoder(&p.buf)
		in.WriteString(Preface)
		p.write(func() error { return p.fr.WriteSettings() })
		for i := range 8 {
			p.request(uint32(2*i+1), false)
		}
		c.writing = true // the socket takes nothing
		if err := c.batch(in.Bytes()); err != nil {
			t.Fatal(err)
		}
		for _, r := range h.requests {
			r.response.Head(&exchange.ResponseHead{Status: 200}, false)
			r.response.Data(make([]byte, 4000))
			r.onReset = func() { h.requests[7].response.Data(make([]byte, 4000)) }
		}
		c.writing = false
		c.end(io.EOF)
		for i, r := range h.requests {
			if r.dones != 1 {
				t.Errorf("request %d: %d Dones", i, r.dones)
			}
		}
		_ = b.Close()
	}
}

// TestHonest is the reverse: whole messages, both ways, are never punished.
func TestHonest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{}
		p, c, ended := serve(t, testConfig(), h)
		p.request(1, false)
		for range 200000 {
			p.write(func() error { return p.fr.WriteData(1, false, []byte{0, 0, 0, 0, 0}) })
		}
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatal(err)
		default:
		}
		if h.requests[0].bytes != 1000000 {
			t.Error(h.requests[0].bytes)
		}
		_ = c
		p.c.Close()
		<-ended
		<-p.done
	})
}

// FuzzServer feeds a server any bytes after the preface, whole and in pieces, and
// wants the same from both, no panic, and nothing left.
func FuzzServer(f *testing.F) {
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	fr.WriteSettings()
	f.Add(b.Bytes(), uint8(1))
	var hb bytes.Buffer
	enc := hpack.NewEncoder(&hb)
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/"}} {
		enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: hb.Bytes(), EndHeaders: true, PadLength: 3})
	fr.WriteDataPadded(1, false, []byte("hello"), make([]byte, 7))
	fr.WriteWindowUpdate(1, 10)
	fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	fr.WriteData(1, true, []byte("x"))
	fr.WritePing(false, [8]byte{1})
	fr.WriteRSTStream(1, 8)
	fr.WriteGoAway(0, 0, nil)
	f.Add(b.Bytes(), uint8(3))
	f.Fuzz(func(t *testing.T, in []byte, piece uint8) {
		whole := feedServer(t, in, len(in))
		parts := feedServer(t, in, int(piece)+1)
		if whole != parts {
			t.Errorf("whole: %s\nin pieces of %d: %s", whole, int(piece)+1, parts)
		}
	})
}

// feedServer runs a server's parser on its own goroutine, without a socket, and
// returns what the handler saw.
func feedServer(t *testing.T, in []byte, piece int) string {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	h := &recorder{onEnd: answer}
	cfg := testConfig()
	c := NewServer(netio.New(a), cfg, h)
	c.in.preface = 0
	c.writing = true // nothing is written: the events are what counts
	var err error
	for len(in) > 0 && err == nil {
		n := min(len(in), max(piece, 1))
		err = c.feed(in[:n])
		in = in[n:]
	}
	if err == nil {
		c.startAll()
	}
	c.release()
	out := ""
	for _, r := range h.requests {
		out += r.head.Path + " " + join(r.events)
		if r.bytes > 0 {
			out += string(binary.AppendUvarint(nil, uint64(r.bytes)))
		}
	}
	if err != nil {
		out += err.Error()
	}
	b.Close() // nobody to linger for
	c.end(err)
	if used := cfg.Budget.Used(); used != 0 && len(h.requests) == 0 {
		t.Errorf("budget: %d", used)
	}
	return out
}

// FuzzClient feeds a client with one open stream any bytes.
func FuzzClient(f *testing.F) {
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	fr.WriteSettings()
	var hb bytes.Buffer
	enc := hpack.NewEncoder(&hb)
	enc.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: hb.Bytes(), EndHeaders: true})
	fr.WriteData(1, true, []byte("hello"))
	fr.WriteGoAway(1, 0, []byte("bye"))
	f.Add(b.Bytes(), uint8(2))
	f.Fuzz(func(t *testing.T, in []byte, piece uint8) {
		whole := feedClient(t, in, len(in))
		parts := feedClient(t, in, int(piece)+1)
		if whole != parts {
			t.Errorf("whole: %s\nin pieces of %d: %s", whole, int(piece)+1, parts)
		}
	})
}

type responseEvents struct {
	log  string
	n    int
	ends int
}

func (r *responseEvents) add(s string) {
	if r.ends > 0 {
		s = "AFTER THE END " + s
	}
	r.log += s + "; "
}
func (r *responseEvents) Inform(*exchange.ResponseHead) { r.add("inform") }
func (r *responseEvents) Head(_ *exchange.ResponseHead, end bool) {
	r.add("head")
	if end {
		r.ends++
	}
}
func (r *responseEvents) Data(b []byte)                  { r.n += len(b) }
func (r *responseEvents) End([]exchange.Field)           { r.add("end"); r.ends++ }
func (r *responseEvents) Reset(c exchange.Code, _ error) { r.add("reset " + c.String()); r.ends++ }
func (r *responseEvents) Credit(int)                     {}

func feedClient(t *testing.T, in []byte, piece int) string {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	cfg := testConfig()
	c := NewClient(netio.New(a), cfg, newClientEvents())
	c.ready, c.writing = true, true
	var resp responseEvents
	req := c.Start(&exchange.RequestHead{Method: "POST", Scheme: "http", Path: "/"}, &resp)
	req.Begin()
	req.Data([]byte("abc"))
	var err error
	for len(in) > 0 && err == nil {
		n := min(len(in), max(piece, 1))
		err = c.feed(in[:n])
		in = in[n:]
	}
	c.release()
	b.Close()
	c.end(err)
	if resp.ends != 1 {
		t.Errorf("%d ends: %s", resp.ends, resp.log)
	}
	if used := cfg.Budget.Used(); used != 0 {
		t.Errorf("budget: %d", used)
	}
	return resp.log
}

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		for range 50 {
			if runtime.NumGoroutine() <= 2 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if n := runtime.NumGoroutine(); n > 3 {
			buf := make([]byte, 1<<16)
			println("goroutines left:", n, string(buf[:runtime.Stack(buf, true)]))
			code = 1
		}
	}
	os.Exit(code)
}
