package duplex

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
)

// TestStream has a whole session of a streaming GET and uploads.
func TestStream(t *testing.T) {
	w := newWorld(t, echo())
	get := w.open(id1, "authorization", "Bearer abc", "user-agent", "x")
	a := get.Answer()
	if a.Status != 200 || a.Get("content-type") != "application/octet-stream" || a.Get("cache-control") != "no-store" ||
		a.Get("x-accel-buffering") != "no" || string(a.Body) != "ahello " {
		t.Errorf("%+v", a)
	}
	pipe := w.pipes.Next(t)
	h := pipe.Seen().Head
	if h.Method != "CONNECT" || h.Protocol != exchange.PipeMux || h.Path != endpoint || h.Carrier != "dx" || h.Scheme != "https" || h.Authority != "gw.example" ||
		h.Addr != here || fmt.Sprint(h.Fields) != fmt.Sprint(fields("authorization", "Bearer abc")) {
		t.Errorf("the pipe's head is %+v", h)
	}
	one := w.post(id1, 0, "one ")
	if a := one.Answer(); a.Get("sluice-taken") != "4" {
		t.Errorf("%+v", a)
	}
	one.want(204, "")
	three := w.post(id1, 8, "three")
	three.running()
	w.post(id1, 4, "two ").want(204, "")
	three.want(204, "")
	w.post(id1, 0, "one two three").want(204, "") // an answer was lost
	w.post(id1, 13, "").want(204, "")
	get.body("ahello one two three")
	w.post(id1, 10, "ree.", "sluice-end", "1").want(204, "")
	w.got(pipe, "one two three.")
	if s := pipe.Seen(); !s.Ended || s.Reset {
		t.Errorf("%+v", s)
	}
	if a := get.Answer(); !a.Ended || string(a.Body) != "ahello one two three." {
		t.Errorf("%+v", a)
	}
	get.done()
	if s := pipe.WaitDone(t); !s.Delivered {
		t.Error("not delivered")
	}
	pipe.Check(t)
	w.post(id1, 14, "").status(404)
	w.empty()
}

// TestDownCredit: the first byte is nobody's, all others are the pipe's.
func TestDownCredit(t *testing.T) {
	w := newWorld(t, echo())
	get := w.open(id1)
	pipe := w.pipes.Next(t)
	get.Credit(3)
	get.Credit(4)
	if n := pipe.Seen().Credit; n != 6 {
		t.Errorf("%d credited", n)
	}
}

// TestHalfClose has the end of up come early, again, and where it can't be.
func TestHalfClose(t *testing.T) {
	script := echo()
	script.End = nil
	w := newWorld(t, script)
	w.open(id1)
	pipe := w.pipes.Next(t)
	end := w.post(id1, 3, "d", "sluice-end", "1")
	beyond := w.post(id1, 4, "e")
	end.running()
	if pipe.Seen().Ended {
		t.Error("ended before its bytes")
	}
	w.post(id1, 0, "abc").want(204, "")
	end.want(204, "")
	w.got(pipe, "abcd")
	if !pipe.Seen().Ended {
		t.Error("not ended")
	}
	beyond.status(400)
	w.post(id1, 3, "d", "sluice-end", "1").want(204, "")
	w.post(id1, 2, "", "sluice-end", "1").status(400)
	w.post(id1, 3, "dx").status(400)
	w.post(id1, 5, "x").status(400)
	pipe.Check(t)

	w.open(id2)
	w.pipes.Next(t)
	w.post(id2, 0, "abc").want(204, "")
	w.post(id2, 1, "b", "sluice-end", "1").status(400)
}

// TestHalfCloseOvertaken: bytes beyond a half-close come before those that it waits for.
func TestHalfCloseOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, exchangetest.Script{})
		get := w.open(id1)
		half := w.post(id1, 2, "c", "sluice-end", "1")
		half.running()
		w.post(id1, 0, "abcde").want(204, "")
		synctest.Wait()
		half.want(400, "the direction can't end before bytes that have come\n")
		w.post(id1, 5, "f", "sluice-end", "1").want(204, "")
		q := w.pipes.Next(t)
		w.got(q, "abcdef")
		q.Finish()
		get.done()
		synctest.Wait()
		w.empty()
		q.Check(t)
	})
}

// TestUpCredit: an upload is answered when the pipe has taken it, and its client gets
// credit for exactly that.
func TestUpCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := echo()
		script.Data, script.NoCredit = nil, true
		w := newWorld(t, script, func(o *Options) { o.MaxAhead = window })
		w.open(id1)
		pipe := w.pipes.Next(t)
		large := strings.Repeat("0123456789", window/10+2000)
		a := w.post(id1, 0, large[:40000])
		b := w.post(id1, 40000, large[40000:])
		a.running()
		if n := len(pipe.Seen().Body); n != window {
			t.Errorf("the pipe got %d bytes", n)
		}
		pipe.Take(30000)
		synctest.Wait()
		if n := len(pipe.Seen().Body); n != len(large) {
			t.Errorf("the pipe got %d bytes, want %d", n, len(large))
		}
		a.running()
		if n := a.Answer().Credit; n != 30000 {
			t.Errorf("%d credited", n)
		}
		pipe.Take(10001)
		synctest.Wait()
		a.want(204, "")
		b.running()
		if n := b.Answer().Credit; n != 1 {
			t.Errorf("%d credited", n)
		}
		pipe.Take(len(large) - 40001)
		synctest.Wait()
		b.want(204, "")
		w.got(pipe, large)
		pipe.Check(t)
	})
}

// TestLimits has what is too much.
func TestLimits(t *testing.T) {
	script := echo()
	script.NoCredit = true
	w := newWorld(t, script)
	w.open(id1)
	pipe := w.pipes.Next(t)
	w.post(id1, 1001, "").status(409)
	far := w.ask("POST", "sluice-session", id1, "sluice-offset", "500")
	far.Data(make([]byte, 501)) // reaches to 1001
	far.status(409)
	h := head("POST", "sluice-session", id1, "sluice-offset", "500")
	h.Length = 501
	w.start(h).status(409)
	for range 2 {
		w.post(id1, 100, strings.Repeat("x", 400)).running()
	}
	twice := w.post(id1, 100, strings.Repeat("x", 400)) // 1200 bytes in all
	twice.status(409)
	if a := twice.Answer(); a.Get("sluice-taken") != "0" || !strings.Contains(string(a.Body), "limits.duplex_ahead_bytes") {
		t.Errorf("%+v", a)
	}
	// What continues is taken, though the pipe has no room and more waits than may.
	next := w.post(id1, 0, strings.Repeat("y", window+300))
	next.running()
	if n := len(pipe.Seen().Body); n != window {
		t.Errorf("%d bytes", n)
	}
	w.post(id1, window, "again").running()
	w.post(id1, window+1, "").status(409) // the fifth at a time
	if got := fmt.Sprint(w.hits); got != "[duplex_ahead_bytes duplex_ahead_bytes duplex_ahead_bytes duplex_ahead_bytes duplex_uploads]" {
		t.Error(got)
	}
	w.s.Close()
	w.open(id2).status(503)
}

// TestSessions has too many sessions, of a client and in all.
func TestSessions(t *testing.T) {
	w := newWorld(t, echo(), func(o *Options) { o.MaxSessions, o.MaxPerClient = 5, 3 })
	open := func(n int, addr string) *asked {
		h := head("GET", "sluice-session", fmt.Sprintf("%032x", n), "sluice-offset", "0")
		h.Addr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))
		return w.start(h)
	}
	ok := func(a *asked) {
		t.Helper()
		if a.Answer().Status != 200 {
			t.Errorf("%+v", a.Answer())
		}
	}
	ok(open(1, "[2001:db8::1]:1"))
	ok(open(2, "[2001:db8::2]:1"))
	ok(open(3, "[2001:db8:0:0:ffff::]:1"))
	last := open(4, "[2001:db8::3]:1")
	if a := last.Answer(); a.Get("retry-after") == "" || !strings.Contains(string(a.Body), "limits.duplex_client_sessions") {
		t.Errorf("%+v", a)
	}
	last.status(429)
	open(1, "[2001:db8:0:1::1]:1").status(409)
	ok(open(5, "[2001:db8:0:1::1]:1"))
	ok(open(6, "192.0.2.1:1"))
	last = open(7, "[::ffff:192.0.2.1]:1")
	if a := last.Answer(); !strings.Contains(string(a.Body), "limits.duplex_sessions") {
		t.Errorf("%+v", a)
	}
	last.status(503)
	w.ask("DELETE", "sluice-session", fmt.Sprintf("%032x", 1)).want(204, "")
	ok(open(8, "[2001:db8::3]:1"))
	if got := fmt.Sprint(w.hits); got != "[duplex_client_sessions duplex_sessions]" {
		t.Error(got)
	}
}

// TestRefusals has requests that are none.
func TestRefusals(t *testing.T) {
	w := newWorld(t, echo())
	w.open(id1)
	for name, c := range map[string]struct {
		h      *exchange.RequestHead
		status int
	}{
		"PUT":                     {head("PUT", "sluice-session", id1), 405},
		"HEAD":                    {head("HEAD", "sluice-session", id1), 405},
		"id in capitals":          {head("GET", "sluice-session", strings.ToUpper(id1), "sluice-offset", "0"), 400},
		"id too short":            {head("POST", "sluice-session", id1[1:], "sluice-offset", "0"), 400},
		"two ids":                 {head("POST", "sluice-session", id1, "sluice-session", id1, "sluice-offset", "0"), 400},
		"no offset":               {head("POST", "sluice-session", id1), 400},
		"two offsets":             {head("POST", "sluice-session", id1, "sluice-offset", "0", "sluice-offset", "0"), 400},
		"offset negative":         {head("POST", "sluice-session", id1, "sluice-offset", "-1"), 400},
		"offset with a sign":      {head("POST", "sluice-session", id1, "sluice-offset", "+1"), 400},
		"offset empty":            {head("POST", "sluice-session", id1, "sluice-offset", ""), 400},
		"offset too large":        {head("POST", "sluice-session", id1, "sluice-offset", "9007199254740992"), 400},
		"open again":              {head("GET", "sluice-session", id1, "sluice-offset", "0"), 409},
		"poll a stream":           {head("GET", "sluice-session", id1, "sluice-offset", "0", "sluice-poll", "1"), 409},
		"open in the middle":      {head("GET", "sluice-session", id2, "sluice-offset", "7"), 400},
		"poll what is over":       {head("GET", "sluice-session", id2, "sluice-offset", "7", "sluice-poll", "1"), 404},
		"upload to none":          {head("POST", "sluice-session", id2, "sluice-offset", "0"), 404},
		"leave none":              {head("DELETE", "sluice-session", id2), 404},
		"npm's id, not one":       {head("POST", "http2-duplex-id", "x"), 404},
		"npm's id, one of ours":   {head("POST", "http2-duplex-id", id1), 404},
		"poll without an id":      {head("GET", "sluice-poll", "1", "sluice-offset", "0"), 400},
		"npm picks an id":         {head("GET", "http2-duplex-id", "x"), 400},
		"a document":              {head("GET", "sec-fetch-mode", "navigate", "sec-fetch-site", "none"), 403},
		"an image":                {head("GET", "sec-fetch-mode", "no-cors", "sec-fetch-site", "same-origin"), 403},
		"a page without asking":   {head("GET", "sec-fetch-mode", "cors", "sec-fetch-site", "cross-site"), 403},
		"raw without calls":       {rawHead("GET", "/demo.v1.Demo/Echo"), 404},
		"OPTIONS, not of a page":  {head("OPTIONS"), 204},
		"offset is our own limit": {head("POST", "sluice-session", id2, "sluice-offset", "9007199254740991"), 404},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			a := w.start(c.h)
			if got := a.Answer(); c.status == 405 && got.Get("allow") != "GET, POST, DELETE, OPTIONS" {
				t.Errorf("%+v", got)
			}
			if got := a.Answer(); got.Get("cache-control") != "no-store" {
				t.Errorf("%+v", got)
			}
			a.status(c.status)
		})
	}
	if n := w.s.Len(); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

func rawHead(method, path string, pairs ...string) *exchange.RequestHead {
	h := head(method, pairs...)
	h.Path = endpoint + "/raw" + path
	return h
}

func TestMatch(t *testing.T) {
	w := newWorld(t, echo())
	for path, want := range map[string]bool{
		"/sluice/v1": true, "/sluice/v1?x=y": true, "/sluice/v1/raw/a.B/C": true,
		"/sluice/v1/": false, "/sluice/v12": false, "/sluice/v1/raw": false, "/sluice": false, "/a.B/C": false,
	} {
		h := head("GET")
		h.Path = path
		if w.s.Match(h) != want {
			t.Errorf("%s: %v", path, !want)
		}
	}
	h := head("GET", "upgrade", "websocket", "connection", "upgrade")
	if w.s.Match(h) {
		t.Error("a WebSocket")
	}
	h = head("CONNECT")
	h.Protocol = "webtransport"
	if w.s.Match(h) {
		t.Error("a WebTransport session")
	}
}

// TestEnd has each way in which a session ends.
func TestEnd(t *testing.T) {
	type state struct {
		*world
		get    *asked
		pipe   *exchangetest.Request
		upload *asked // under way
	}
	boom := errors.New("frame cut short")
	for name, c := range map[string]struct {
		do     func(s *state)
		code   exchange.Code // what the pipe is told, if anything
		get    string
		upload int
		after  time.Duration
	}{
		"DELETE": {func(s *state) { s.ask("DELETE", "sluice-session", id1).want(204, "") }, exchange.Cancel, "CANCEL", 404, 0},
		"beacon": {func(s *state) {
			b := s.ask("POST", "content-type", "text/plain;charset=UTF-8")
			b.Data([]byte("close " + id1[:10]))
			b.Data([]byte(id1[10:]))
			b.End(nil)
			b.want(204, "")
		}, exchange.Cancel, "CANCEL", 404, 0},
		"lost": {func(s *state) { s.get.Reset(exchange.Disconnected) }, exchange.Disconnected, "DISCONNECTED", 404, time.Second},
		"lost, and left": {func(s *state) {
			s.get.Reset(exchange.Cancel)
			time.Sleep(time.Second / 2)
			s.ask("DELETE", "sluice-session", id1).want(204, "")
		}, exchange.Cancel, "CANCEL", 404, 0},
		"closed":       {func(s *state) { s.s.Close() }, exchange.Disconnected, "DISCONNECTED", 404, 0},
		"server ends":  {func(s *state) { s.pipe.Finish() }, 0, "end", 204, 0},
		"server fails": {func(s *state) { s.pipe.Break(exchange.ProtocolError, boom) }, 0, "PROTOCOL_ERROR", 400, 0},
		"server full":  {func(s *state) { s.pipe.Break(exchange.EnhanceYourCalm, nil) }, 0, "ENHANCE_YOUR_CALM", 429, 0},
		"server gone":  {func(s *state) { s.pipe.Break(exchange.RefusedStream, nil) }, 0, "REFUSED_STREAM", 503, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, echo())
				s := &state{world: w, get: w.open(id1)}
				s.pipe = w.pipes.Next(t)
				s.upload = w.post(id1, 5, "waits")
				c.do(s)
				synctest.Wait()
				if c.after > 0 {
					if s.pipe.Seen().Reset {
						t.Error("told at once")
					}
					w.post(id1, 0, "late").want(204, "") // still counts
					time.Sleep(c.after)
					synctest.Wait()
				}
				got := s.get.Answer()
				end := "end"
				if got.Broken {
					end = got.Code.String()
				}
				if end != c.get || !got.Final() {
					t.Errorf("the download: %+v", got)
				}
				s.get.done()
				s.upload.status(c.upload)
				if c.upload == 400 && !strings.Contains(string(s.upload.Answer().Body), boom.Error()) {
					t.Errorf("%q", s.upload.Answer().Body)
				}
				synctest.Wait()
				seen := s.pipe.Seen()
				if !seen.Done || seen.Reset != (c.code != 0) || seen.Code != c.code || seen.Delivered != (name == "server ends") {
					t.Errorf("the pipe: %+v", seen)
				}
				s.pipe.Check(t)
				w.post(id1, 0, "x").status(404)
				w.empty()
			})
		})
	}
}

// TestBeacon has what is none.
func TestBeacon(t *testing.T) {
	w := newWorld(t, echo())
	w.open(id1)
	for _, text := range []string{"", "close", "close " + id1[1:], "close " + id1 + "\n", strings.Repeat("close ", 20)} {
		b := w.ask("POST")
		if text != "" {
			b.Data([]byte(text))
		}
		b.End(nil)
		b.status(400)
	}
	b := w.ask("POST")
	b.Data([]byte("close " + id2))
	b.End(nil)
	b.want(204, "")
	b = w.ask("POST")
	b.Reset(exchange.Cancel)
	if a := b.Answer(); !a.Broken {
		t.Errorf("%+v", a)
	}
	b.done()
	if w.s.Len() != 1 {
		t.Error("a session has gone")
	}
}

// TestPoll has a session of long polls.
func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, echo())
		one := w.poll(id1, 0)
		pipe := w.pipes.Next(t)
		if a := one.Answer(); a.Get("content-length") != "6" || a.Get("sluice-offset") != "0" || a.Get("cache-control") != "no-store" || a.Get("sluice-end") != "" {
			t.Errorf("%+v", a)
		}
		one.want(200, "hello ")
		w.poll(id1, 0).want(200, "hello ") // the answer was lost
		if n := pipe.Seen().Credit; n != 0 {
			t.Errorf("%d credited", n)
		}
		w.poll(id1, 7).status(400)
		two := w.poll(id1, 6)
		two.running()
		if n := pipe.Seen().Credit; n != 6 {
			t.Errorf("%d credited", n)
		}
		w.poll(id1, 5).status(400)
		w.post(id1, 0, "one ").want(204, "")
		two.want(200, "one ")
		w.post(id1, 4, "two ").want(204, "")
		w.poll(id1, 6).want(200, "one two ")
		three := w.poll(id1, 14)
		four := w.poll(id1, 14)
		three.want(200, "")
		time.Sleep(20*time.Second - 1)
		four.running()
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		four.want(200, "")
		time.Sleep(29 * time.Second)
		five := w.poll(id1, 14)
		five.Reset(exchange.Disconnected)
		five.done()
		time.Sleep(29 * time.Second)
		six := w.poll(id1, 14)
		w.post(id1, 8, "three", "sluice-end", "1").want(204, "")
		synctest.Wait()
		six.want(200, "three")
		last := w.poll(id1, 19)
		if a := last.Answer(); a.Get("sluice-end") != "1" {
			t.Errorf("%+v", a)
		}
		last.want(200, "")
		w.poll(id1, 14).status(400)
		if pipe.Seen().Done {
			t.Error("done")
		}
		w.poll(id1, 19).want(200, "")
		if s := pipe.WaitDone(t); !s.Delivered || s.Credit != 19 {
			t.Errorf("%+v", s)
		}
		pipe.Check(t)
		w.poll(id1, 19).status(404)
		w.empty()
	})
}

// TestPollEnd has each way in which a session of long polls ends.
func TestPollEnd(t *testing.T) {
	for name, c := range map[string]struct {
		do      func(w *world, pipe *exchangetest.Request)
		waiting bool // a poll is
		code    exchange.Code
		status  int // of that poll, or of the next
	}{
		"DELETE":               {func(w *world, _ *exchangetest.Request) { w.ask("DELETE", "sluice-session", id1).want(204, "") }, true, exchange.Cancel, 404},
		"DELETE, no poll":      {func(w *world, _ *exchangetest.Request) { w.ask("DELETE", "sluice-session", id1).want(204, "") }, false, exchange.Cancel, 404},
		"no polls":             {func(*world, *exchangetest.Request) { time.Sleep(30 * time.Second) }, false, exchange.Disconnected, 404},
		"server fails":         {func(_ *world, pipe *exchangetest.Request) { pipe.Break(exchange.ProtocolError, nil) }, true, 0, 400},
		"server fails, unseen": {func(_ *world, pipe *exchangetest.Request) { pipe.Break(exchange.ProtocolError, nil) }, false, 0, 400},
		"fails, and nobody asks": {func(_ *world, pipe *exchangetest.Request) {
			pipe.Break(exchange.ProtocolError, nil)
			time.Sleep(30 * time.Second)
		}, false, 0, 404},
		"ends, and nobody asks": {func(_ *world, pipe *exchangetest.Request) {
			pipe.Finish()
			time.Sleep(30 * time.Second)
		}, false, 0, 404},
		"no memory": {func(w *world, pipe *exchangetest.Request) {
			w.full = true
			pipe.Send([]byte("x"))
		}, true, exchange.EnhanceYourCalm, 404},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, echo())
				w.poll(id1, 0).want(200, "hello ")
				pipe := w.pipes.Next(t)
				var p *asked
				if c.waiting {
					p = w.poll(id1, 6)
				}
				c.do(w, pipe)
				synctest.Wait()
				if p == nil {
					p = w.poll(id1, 6)
				}
				synctest.Wait()
				p.status(c.status)
				seen := pipe.Seen()
				if !seen.Done || seen.Delivered || seen.Reset != (c.code != 0) || seen.Code != c.code {
					t.Errorf("%+v", seen)
				}
				pipe.Check(t)
				w.poll(id1, 6).status(404)
				w.empty()
			})
		})
	}
}

// TestPollWindow: what is not acknowledged is not credited, so a pipe has at most its
// window in a session.
func TestPollWindow(t *testing.T) {
	script := echo()
	script.Begin = nil
	w := newWorld(t, script)
	p := w.poll(id1, 0)
	pipe := w.pipes.Next(t)
	b := bytes.Repeat([]byte("0123456789abcdef"), window/16)
	for at := 0; at < len(b); at += 5000 {
		pipe.Send(b[at:min(at+5000, len(b))])
	}
	p.want(200, string(b[:5000]))
	if w.kept != window || pipe.Seen().Credit != 0 {
		t.Errorf("%d kept, %d credited", w.kept, pipe.Seen().Credit)
	}
	w.poll(id1, 5000).want(200, string(b[5000:]))
	w.poll(id1, window).running()
	if w.kept != 0 || pipe.Seen().Credit != window {
		t.Errorf("%d kept, %d credited", w.kept, pipe.Seen().Credit)
	}
}

// TestConcurrent has many uploads on many goroutines, cut, repeated and broken. The pipe
// gets each byte once and in order.
func TestConcurrent(t *testing.T) {
	script := echo()
	script.Begin = nil
	w := newWorld(t, script, func(o *Options) { o.MaxAhead, o.MaxUploads = 1<<20, 32 })
	w.s.o.LimitHit = func(string) {}
	get := w.open(id1)
	pipe := w.pipes.Next(t)
	want := make([]byte, 300_000)
	for i := range want {
		want[i] = byte(i>>8) ^ byte(i*7)
	}
	var wg sync.WaitGroup
	work := make(chan int)
	const size = 1000
	for n := range 16 {
		rng := rand.New(rand.NewPCG(1, uint64(n)))
		wg.Go(func() {
			for at := range work {
				for {
					a := w.ask("POST", "sluice-session", id1, "sluice-offset", fmt.Sprint(at))
					b := want[at:min(at+size+rng.IntN(size), len(want))]
					breaks := rng.IntN(4) == 0
					for len(b) > 0 && !a.Answer().Final() {
						n := min(1+rng.IntN(700), len(b))
						a.Data(b[:n])
						if b = b[n:]; breaks && rng.IntN(3) == 0 {
							break
						}
					}
					if breaks {
						a.Reset(exchange.Disconnected)
						a.r.Final(t)
						a.done()
						continue
					}
					if !a.Answer().Final() {
						a.End(nil)
					}
					status := a.r.Final(t).Status
					a.done()
					if status == 204 {
						break
					}
				}
			}
		})
	}
	for at := 0; at < len(want); at += size {
		work <- at
	}
	close(work)
	wg.Wait()
	if got := pipe.Seen().Body; !bytes.Equal(got, want) {
		t.Errorf("%d bytes, not the %d that were sent", len(got), len(want))
	}
	pipe.Check(t)
	if got := get.Answer().Body; !slices.Equal(got[1:], want) {
		t.Errorf("%d bytes came back", len(got))
	}
}

// FuzzUploads plays uploads as they may come. The pipe gets the bytes of the stream in
// order, however they are cut, and nothing that was not sent.
func FuzzUploads(f *testing.F) {
	f.Add([]byte{0x00, 0x05, 1, 0x10, 0x03, 0x82, 0xc0, 1})
	f.Add([]byte("\xff00\xe600000\xf600\xcd00000\xf600\xcb00\xdf0000A"))
	f.Add([]byte{0x05, 0x05, 3, 0x00, 0x05, 1, 0x41, 0x81, 0xc0})
	f.Fuzz(play)
}

func play(t *testing.T, script []byte) {
	script = script[:min(len(script), 300)]
	w := newWorld(t, exchangetest.Script{}, func(o *Options) { o.MaxAhead, o.MaxUploads = 100, 8 })
	w.open(id1)
	pipe := w.pipes.Next(t)
	stream := make([]byte, 1024)
	for i := range stream {
		stream[i] = byte(i) ^ byte(i>>8)<<4
	}
	type upload struct {
		*asked
		at int
	}
	var running []*upload
	for i := 0; i+2 < len(script); i += 3 {
		op, at, n := script[i]>>6, int(script[i+1]), int(script[i+2]&63)
		if len(running) == 0 || op == 0 {
			a := &upload{w.ask("POST", "sluice-session", id1, "sluice-offset", fmt.Sprint(at)), at}
			running = append(running, a)
		}
		k := int(script[i]&63) % len(running)
		u := running[k]
		switch {
		case u.Answer().Final():
			running = slices.Delete(running, k, k+1)
			u.done()
		case op == 3 && n&1 == 0:
			u.End(nil)
			running = slices.Delete(running, k, k+1)
		case op == 3:
			u.Reset(exchange.Cancel)
			running = slices.Delete(running, k, k+1)
			u.done()
		default:
			u.Data(stream[u.at:min(u.at+n+1, len(stream))])
			u.at = min(u.at+n+1, len(stream))
		}
	}
	got := pipe.Seen().Body
	if !bytes.Equal(got, stream[:len(got)]) {
		t.Fatalf("the pipe got % x", got)
	}
	// What is missing can always be sent.
	last := w.post(id1, len(got), string(stream[len(got):]))
	if len(running) < 8 {
		last.status(204)
	}
	if b := pipe.Seen().Body; len(running) < 8 && !bytes.Equal(b, stream) {
		t.Fatalf("the pipe got %d bytes", len(b))
	}
	pipe.Check(t)
}

// TestUploadMemory: what waits is counted as memory, and given back; without memory it is refused, and can be sent again.
func TestUploadMemory(t *testing.T) {
	script := echo()
	script.NoCredit = true
	w := newWorld(t, script)
	w.open(id1)
	pipe := w.pipes.Next(t)
	ahead := w.post(id1, 100, strings.Repeat("x", 400))
	ahead.running()
	if w.kept != 400 {
		t.Errorf("%d bytes are counted", w.kept)
	}
	w.full = true
	full := w.post(id1, 500, strings.Repeat("x", 100))
	full.status(503)
	if a := full.Answer(); a.Get("sluice-taken") != "0" || a.Get("retry-after") == "" || !strings.Contains(string(a.Body), "limits.buffer_bytes") {
		t.Errorf("%+v", a)
	}
	w.full = false
	if got := fmt.Sprint(w.hits); got != "[buffer_bytes]" {
		t.Error(got)
	}
	lost := w.post(id1, 600, strings.Repeat("x", 50))
	lost.running()
	lost.Reset(exchange.Cancel)
	w.post(id1, 0, strings.Repeat("y", 100)).running()
	if n := len(pipe.Seen().Body); n != 500 || w.kept != 0 {
		t.Errorf("the pipe got %d bytes, %d are counted", n, w.kept)
	}
	w.post(id1, 700, "left behind").running()
	w.s.Close()
	if w.kept != 0 {
		t.Errorf("%d bytes are counted at the end", w.kept)
	}
}
