package blocking

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/netio"
	"github.com/sluice-rpc/sluice/rpc"
)

// front is a net/http server whose every request is an exchange.
type front struct {
	*httptest.Server
	t      *testing.T
	server *exchangetest.Server
	detach bool
	// returned gets a value each time ServeHTTP has returned or panicked.
	returned chan struct{}
}

// setup is a way to serve: a version, with a list of work and without.
type setup struct {
	major int
	o     Options
	wrap  func(http.Handler) http.Handler
}

func newFront(t *testing.T, s setup, script exchangetest.Script) *front {
	t.Helper()
	f := &front{t: t, server: exchangetest.NewServer(script), returned: make(chan struct{}, 1024), detach: s.o.Detach}
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { f.returned <- struct{}{} }()
		ServeHTTP(f.server, w, r, s.o)
	})
	if s.wrap != nil {
		h = s.wrap(h)
	}
	f.Server = httptest.NewUnstartedServer(h)
	f.Config.ErrorLog = log.New(io.Discard, "", 0)
	if s.major == 2 {
		f.EnableHTTP2 = true
		f.StartTLS()
	} else {
		f.Start()
	}
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
		for range 100 {
			if runs() == "" {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("still runs:\n%s", runs())
	})
	return f
}

// runs returns the goroutines that serve exchanges.
func runs() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var out []string
	for g := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(g, "blocking.(*served)") || strings.Contains(g, "blocking.(*handled).run") {
			out = append(out, g)
		}
	}
	return strings.Join(out, "\n\n")
}

// everywhere runs a test over both versions, and with and without a list of work.
func everywhere(t *testing.T, test func(t *testing.T, s setup)) {
	for _, major := range []int{1, 2} {
		for _, work := range []bool{true, false} {
			s := setup{major: major}
			name := fmt.Sprintf("h%d", major)
			if work {
				s.o.Work = &netio.Work{}
				name += "/work"
			}
			t.Run(name, func(t *testing.T) { test(t, s) })
		}
	}
}

func (f *front) do(method, path string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(f.t.Context(), method, f.URL+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.Client().Do(r)
}

func (f *front) waitReturned() {
	f.t.Helper()
	select {
	case <-f.returned:
	case <-time.After(exchangetest.Timeout):
		f.t.Fatalf("ServeHTTP does not return:\n%s", runs())
	}
}

// over checks the end of an exchange that was done.
func (f *front) over(q *exchangetest.Request, delivered bool) exchangetest.Seen {
	f.t.Helper()
	f.waitReturned()
	s := q.Seen()
	if f.detach {
		s = q.WaitDone(f.t)
	}
	if !s.Done {
		f.t.Error("ServeHTTP has returned before Done")
	}
	if s.Delivered != delivered {
		f.t.Errorf("delivered %v, want %v", s.Delivered, delivered)
	}
	q.Check(f.t)
	return s
}

// unknownLength hides the length of a reader from net/http.
type unknownLength struct{ io.Reader }

func TestServeShapes(t *testing.T) {
	everywhere(t, func(t *testing.T, s setup) {
		f := newFront(t, s, exchangetest.Script{End: func(q *exchangetest.Request) {
			got := q.Seen()
			q.Answer(200, exchange.Field{Name: "x-method", Value: got.Head.Method}, exchange.Field{Name: "content-type", Value: "a/b"})
			if len(got.Body) > 0 {
				for b := got.Body; len(b) > 0; { // within the window
					n := min(len(b), 32<<10)
					q.Send(b[:n])
					b = b[n:]
				}
			}
			q.Finish(exchange.Field{Name: "x-trailer", Value: "1"}, exchange.Field{Name: "x-trailer", Value: "2"})
		}})
		for _, size := range []int{0, 1, 100, pieceSize, pieceSize + 1, rpc.WindowDefault} {
			for _, known := range []bool{true, false} {
				body := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
				var r io.Reader = bytes.NewReader(body)
				if !known {
					r = unknownLength{r}
				}
				resp, err := f.do("POST", "/a/b?c=d", r)
				if err != nil {
					t.Fatal(size, known, err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || !bytes.Equal(got, body) || resp.Header.Get("X-Method") != "POST" || resp.Header.Get("Content-Type") != "a/b" {
					t.Fatalf("%d %v: %d bytes, %v, %v", size, known, len(got), resp.Header, err)
				}
				if v := resp.Trailer["X-Trailer"]; len(v) != 2 || v[0] != "1" || v[1] != "2" {
					t.Errorf("%d %v: trailer %v", size, known, resp.Trailer)
				}
				q := f.server.Next(t)
				seen := f.over(q, true)
				want := int64(size)
				if !known && size > 0 {
					want = -1
				}
				h := &seen.Head
				if h.Path != "/a/b?c=d" || h.Length != want && size > 0 || h.Carrier != fmt.Sprintf("h%d", s.major) ||
					h.Authority != strings.TrimPrefix(strings.TrimPrefix(f.URL, "http://"), "https://") || (h.Scheme == "https") != (s.major == 2) {
					t.Errorf("%d %v: head %+v", size, known, h)
				}
			}
		}
	})
}

// TestServeHeadOnly has no content: a length, no chunks; HEAD, 204 and 304 too.
func TestServeHeadOnly(t *testing.T) {
	everywhere(t, func(t *testing.T, s setup) {
		status := 200
		f := newFront(t, s, exchangetest.Script{End: func(q *exchangetest.Request) {
			q.AnswerEnd(status, exchange.Field{Name: "x", Value: "y"})
		}})
		for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "PATCH"} {
			for _, status = range []int{200, 204, 304, 404, 599} {
				resp, err := f.do(method, "/", nil)
				if err != nil {
					t.Fatal(method, status, err)
				}
				b, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != status || len(b) > 0 || resp.Header.Get("X") != "y" || len(resp.TransferEncoding) > 0 || resp.Header["Content-Type"] != nil {
					t.Errorf("%s %d: %+v", method, status, resp)
				}
				f.over(f.server.Next(t), true)
			}
		}
	})
}

// TestServeHead answers HEAD as if it were GET; no content may get out.
func TestServeHead(t *testing.T) {
	everywhere(t, func(t *testing.T, s setup) {
		f := newFront(t, s, exchangetest.Script{End: func(q *exchangetest.Request) {
			q.Answer(200, exchange.Field{Name: "content-length", Value: "5"})
			q.Send([]byte("hello"))
			q.Finish()
		}})
		for range 3 {
			resp, err := f.do("HEAD", "/", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.ContentLength != 5 {
				t.Errorf("length %d", resp.ContentLength)
			}
			f.over(f.server.Next(t), true)
		}
	})
}

// TestServeRequestTrailer sends trailers with a request.
func TestServeRequestTrailer(t *testing.T) {
	everywhere(t, func(t *testing.T, s setup) {
		f := newFront(t, s, exchangetest.Script{End: func(q *exchangetest.Request) { q.AnswerEnd(200) }})
		r, _ := http.NewRequestWithContext(t.Context(), "POST", f.URL, unknownLength{strings.NewReader("content")})
		r.Trailer = http.Header{"X-End": {"a", "b"}}
		resp, err := f.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		seen := f.over(f.server.Next(t), true)
		if len(seen.Trailer) != 2 || seen.Trailer[0] != (exchange.Field{Name: "x-end", Value: "a"}) || seen.Trailer[1].Value != "b" {
			t.Errorf("trailer %v", seen.Trailer)
		}
	})
}

// TestServeFields shows which fields cross.
func TestServeFields(t *testing.T) {
	f := newFront(t, setup{major: 1}, exchangetest.Script{End: func(q *exchangetest.Request) {
		q.AnswerEnd(200, exchange.Field{Name: "connection", Value: "x-hop"}, exchange.Field{Name: "transfer-encoding", Value: "gzip"},
			exchange.Field{Name: "keep-alive", Value: "1"}, exchange.Field{Name: "upgrade", Value: "foo"}, exchange.Field{Name: "x-a", Value: "1"},
			exchange.Field{Name: "x-a", Value: "2"}, exchange.Field{Name: "x-evil", Value: "a\r\nx-split: 1"})
	}})
	resp := raw(t, f, "POST /p HTTP/1.1\r\nHost: h\r\nX-B: 1\r\nx-a: 1\r\nX-A: 2\r\nConnection: x-hop, X-Hip\r\nX-Hop: 1\r\nX-Hip: 2\r\n"+
		"Keep-Alive: 1\r\nProxy-Connection: 1\r\nUpgrade: websocket\r\nTE: gzip, Trailers\r\nContent-Length: 0\r\n\r\n")
	seen := f.over(f.server.Next(t), true)
	var got []string
	for _, x := range seen.Head.Fields {
		got = append(got, x.Name+"="+x.Value)
	}
	if s := strings.Join(got, " "); s != "content-length=0 x-a=1 x-a=2 x-b=1 te=trailers" {
		t.Errorf("the server sees %s", s)
	}
	if a := resp.Header["X-A"]; len(a) != 2 || resp.Header.Get("Upgrade") != "" || resp.Header.Get("Keep-Alive") != "" || resp.Header.Get("X-Split") != "" {
		t.Errorf("the client sees %v", resp.Header)
	}
	if resp.Header.Get("Connection") != "" || len(resp.TransferEncoding) > 0 {
		t.Errorf("hop-by-hop fields of the server reach the client: %v", resp.Header)
	}
}

// raw sends bytes on a connection of its own and reads one response.
func raw(t *testing.T, f *front, request string) *http.Response {
	t.Helper()
	c, err := net.Dial("tcp", f.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(exchangetest.Timeout))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// TestServeBackpressure gives no credit: no more than the window reaches the handler.
func TestServeBackpressure(t *testing.T) {
	everywhere(t, func(t *testing.T, s setup) {
		f := newFront(t, s, exchangetest.Script{NoCredit: true})
		upload := make([]byte, 1<<20)
		type result struct {
			resp *http.Response
			err  error
		}
		ended := make(chan result, 1)
		go func() {
			resp, err := f.do("POST", "/", unknownLength{bytes.NewReader(upload)})
			ended <- result{resp, err}
		}()
		q := f.server.Next(t)
		q.Until(t, "a window of content", func(s *exchangetest.Seen) bool { return len(s.Body) >= rpc.WindowDefault })
		time.Sleep(20 * time.Millisecond)
		if n := len(q.Seen().Body); n != rpc.WindowDefault {
			t.Fatalf("%d bytes came without credit", n)
		}
		for got := rpc.WindowDefault; got < len(upload); { // exactly what is credited comes
			n := min(10_000, len(upload)-got)
			q.Take(n)
			got += n
			q.Until(t, "what was credited", func(s *exchangetest.Seen) bool { return len(s.Body) >= got })
			if n := len(q.Seen().Body); n != got {
				t.Fatalf("%d bytes came, %d were allowed", n, got)
			}
		}
		q.Take(1)
		q.Until(t, "the end", func(s *exchangetest.Seen) bool { return s.Ended })
		q.AnswerEnd(200)
		r := <-ended
		if r.err != nil {
			t.Fatal(r.err)
		}
		r.resp.Body.Close()
		f.over(q, true)
	})
}

// TestServeResponseCredit counts what the client has taken.
func TestServeResponseCredit(t *testing.T) {
	everywhere(t, func(t *testing.T, s setup) {
		f := newFront(t, s, exchangetest.Script{End: func(q *exchangetest.Request) {
			q.Answer(200)
			q.Send([]byte("0123456789"))
		}})
		resp, err := f.do("POST", "/", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		q := f.server.Next(t)
		b := make([]byte, 10)
		if _, err := io.ReadFull(resp.Body, b); err != nil { // it comes without waiting for more
			t.Fatal(err)
		}
		q.Until(t, "credit", func(s *exchangetest.Seen) bool { return s.Credit == 10 })
		q.Send([]byte("abc"))
		q.Until(t, "credit", func(s *exchangetest.Seen) bool { return s.Credit == 13 })
		q.Finish()
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "abc" {
			t.Errorf("%q %v", b, err)
		}
		f.over(q, true)
	})
}

// TestServeLong: what is more than a buffer arrives in order, and all of it is credited.
func TestServeLong(t *testing.T) {
	everywhere(t, func(t *testing.T, s setup) {
		var want []byte
		pieces := []int{1, maxBuffer, 3, 2*maxBuffer + 5, maxBuffer - 1, 1, 1, 700 << 10, 10}
		f := newFront(t, s, exchangetest.Script{End: func(q *exchangetest.Request) {
			q.Answer(200)
			for i, n := range pieces {
				b := make([]byte, n)
				for j := range b {
					b[j] = byte(i + j + j>>8 + j>>16)
				}
				want = append(want, b...)
				q.Send(b)
				clear(b) // it was valid during the call only
			}
		}})
		resp, err := f.do("POST", "/", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		q := f.server.Next(t)
		total := 0
		for _, n := range pieces {
			total += n
		}
		got := make([]byte, total)
		if _, err := io.ReadFull(resp.Body, got); err != nil {
			t.Fatal(err)
		}
		q.Until(t, "credit", func(s *exchangetest.Seen) bool { return s.Credit == total })
		if !bytes.Equal(got, want) {
			t.Error("the content is not what was sent")
		}
		q.Finish()
		f.over(q, true)
	})
}

// TestServeFullDuplex answers each piece while the request goes on.
func TestServeFullDuplex(t *testing.T) {
	everywhere(t, func(t *testing.T, s setup) {
		f := newFront(t, s, exchangetest.Script{
			Begin: func(q *exchangetest.Request) { q.Answer(200) },
			Data:  func(q *exchangetest.Request, b []byte) { q.Send(b) },
			End:   func(q *exchangetest.Request) { q.Finish(exchange.Field{Name: "x", Value: "y"}) },
		})
		pr, pw := io.Pipe()
		resp, err := f.do("POST", "/", pr)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		for i := range 20 {
			ping := fmt.Sprintf("ping %d;", i)
			if _, err := io.WriteString(pw, ping); err != nil {
				t.Fatal(err)
			}
			pong := make([]byte, len(ping))
			if _, err := io.ReadFull(resp.Body, pong); err != nil || string(pong) != ping {
				t.Fatalf("%q %v", pong, err)
			}
		}
		pw.Close()
		if b, err := io.ReadAll(resp.Body); err != nil || len(b) > 0 || resp.Trailer.Get("X") != "y" {
			t.Errorf("%q %v %v", b, resp.Trailer, err)
		}
		f.over(f.server.Next(t), true)
	})
}

// TestServeEarly answers whole while the client goes on to send, in each of the states
// in which the reader may be.
func TestServeEarly(t *testing.T) {
	everywhere(t, func(t *testing.T, s setup) {
		for _, mode := range []string{"at once", "while it reads", "without credit"} {
			t.Run(mode, func(t *testing.T) {
				script := exchangetest.Script{NoCredit: true}
				if mode == "at once" {
					script.Begin = func(q *exchangetest.Request) { q.Answer(418); q.Send([]byte("no")); q.Finish() }
				}
				f := newFront(t, s, script)
				pr, pw := io.Pipe()
				defer pw.Close()
				go func() {
					switch mode {
					case "while it reads":
						_, _ = pw.Write([]byte("half"))
					case "without credit":
						_, _ = pw.Write(make([]byte, 1<<20))
					}
				}()
				type result struct {
					resp *http.Response
					err  error
				}
				ended := make(chan result, 1)
				go func() {
					resp, err := f.do("POST", "/", pr)
					ended <- result{resp, err}
				}()
				q := f.server.Next(t)
				switch mode {
				case "while it reads":
					q.Until(t, "content", func(s *exchangetest.Seen) bool { return len(s.Body) == 4 })
				case "without credit":
					q.Until(t, "content", func(s *exchangetest.Seen) bool { return len(s.Body) == rpc.WindowDefault })
				}
				if mode != "at once" {
					q.Answer(418)
					q.Send([]byte("no"))
					q.Finish()
				}
				r := <-ended
				if r.err != nil {
					t.Fatal(r.err)
				}
				b, err := io.ReadAll(r.resp.Body)
				r.resp.Body.Close()
				if err != nil || string(b) != "no" || r.resp.StatusCode != 418 {
					t.Errorf("%d %q %v", r.resp.StatusCode, b, err)
				}
				if s.major == 1 && !r.resp.Close {
					t.Error("the head does not say that the connection will be closed")
				}
				f.over(q, true)
			})
		}
	})
}

func TestServeInform(t *testing.T) {
	everywhere(t, func(t *testing.T, s setup) {
		f := newFront(t, s, exchangetest.Script{Begin: func(q *exchangetest.Request) {
			q.Inform(100) // not ours to send
			q.Inform(103, exchange.Field{Name: "link", Value: "</a>"}, exchange.Field{Name: "link", Value: "</b>"})
			q.Inform(102)
			q.AnswerEnd(200, exchange.Field{Name: "x", Value: "y"})
		}})
		var informed []string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			informed = append(informed, fmt.Sprint(code, h["Link"]))
			return nil
		}})
		r, _ := http.NewRequestWithContext(ctx, "GET", f.URL, nil)
		resp, err := f.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if s := fmt.Sprint(informed); s != "[103[</a> </b>] 102[]]" && s != "[103 [</a> </b>] 102 []]" {
			t.Errorf("got %s", s)
		}
		if resp.Header["Link"] != nil || resp.Header.Get("X") != "y" {
			t.Errorf("head %v", resp.Header)
		}
		f.over(f.server.Next(t), true)
	})
}

// TestServeReset breaks the response before and after its head.
func TestServeReset(t *testing.T) {
	everywhere(t, func(t *testing.T, s setup) {
		for _, c := range []struct {
			name string
			play func(q *exchangetest.Request)
			want int // 0 is an aborted response
		}{
			{"before the head", func(q *exchangetest.Request) { q.Break(exchange.RefusedStream, errors.New("why")) }, 502},
			{"after an informational one", func(q *exchangetest.Request) { q.Inform(103); q.Break(exchange.Cancel, nil) }, 502},
			{"after the head", func(q *exchangetest.Request) { q.Answer(200); q.Break(exchange.Cancel, nil) }, -1},
			{"after content", func(q *exchangetest.Request) { q.Answer(200); q.Send([]byte("abc")); q.Break(exchange.Cancel, nil) }, -1},
			{"after a length", func(q *exchangetest.Request) {
				q.Answer(200, exchange.Field{Name: "content-length", Value: "3"})
				q.Send([]byte("ab"))
				q.Break(exchange.Cancel, nil)
			}, -1},
			{"too short", func(q *exchangetest.Request) {
				q.Answer(200, exchange.Field{Name: "content-length", Value: "3"})
				q.Send([]byte("ab"))
				q.Finish()
			}, 0},
			{"too long", func(q *exchangetest.Request) {
				q.Answer(200, exchange.Field{Name: "content-length", Value: "3"})
				q.Send([]byte("abcd"))
				q.Finish()
			}, 0},
		} {
			for _, beats := range []bool{false, true} { // events one by one, or in one batch
				t.Run(fmt.Sprint(c.name, beats), func(t *testing.T) {
					script := exchangetest.Script{}
					if !beats {
						script.End = c.play
					}
					f := newFront(t, s, script)
					if beats {
						go func() {
							q := <-f.server.Requests
							f.server.Requests <- q
							q.Until(t, "the end", func(s *exchangetest.Seen) bool { return s.Ended })
							c.play(q)
						}()
					}
					resp, err := f.do("POST", "/", strings.NewReader("x"))
					var b []byte
					status := 0
					if err == nil {
						status = resp.StatusCode
						b, err = io.ReadAll(resp.Body)
						resp.Body.Close()
					}
					switch {
					case c.want > 0 && (err != nil || status != c.want):
						t.Errorf("got %d %q %v", status, b, err)
					case c.want < 0 && err == nil && status != 502: // 502 if nothing had been sent
						t.Errorf("a broken response looks whole: %d %q", status, b)
					case c.want == 0 && err == nil && string(b) != "abc" || len(b) > 3 && status == 200:
						t.Errorf("a response of a wrong length looks whole: %d %q", status, b)
					}
					q := f.server.Next(t)
					f.waitReturned()
					q.WaitDone(t)
					if seen := q.Seen(); seen.Delivered && c.want != 0 {
						t.Error("delivered")
					}
					q.Check(t)
				})
			}
		}
	})
}

// TestServeClientGone takes the client away in every phase.
func TestServeClientGone(t *testing.T) {
	everywhere(t, func(t *testing.T, s setup) {
		for _, phase := range []string{"sending", "waiting", "receiving"} {
			t.Run(phase, func(t *testing.T) {
				f := newFront(t, s, exchangetest.Script{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				pr, pw := io.Pipe()
				defer pw.Close()
				r, _ := http.NewRequestWithContext(ctx, "POST", f.URL, pr)
				got := make(chan *http.Response, 1)
				go func() {
					resp, _ := f.Client().Do(r)
					got <- resp
				}()
				q := f.server.Next(t)
				if _, err := pw.Write([]byte("abc")); err != nil {
					t.Fatal(err)
				}
				if phase != "sending" {
					pw.Close()
					q.Until(t, "the end", func(s *exchangetest.Seen) bool { return s.Ended })
				} else {
					q.Until(t, "content", func(s *exchangetest.Seen) bool { return len(s.Body) == 3 })
				}
				if phase == "receiving" {
					q.Answer(200)
					q.Send([]byte("abc"))
					if resp := <-got; resp == nil {
						t.Fatal("no response")
					}
				}
				cancel()
				seen := q.Until(t, "Reset", func(s *exchangetest.Seen) bool { return s.Reset })
				if seen.Code != exchange.Cancel || seen.Ended != (phase != "sending") {
					t.Errorf("%+v", seen)
				}
				f.waitReturned()
				q.WaitDone(t)
				if q.Seen().Delivered {
					t.Error("delivered")
				}
				q.Check(t)
			})
		}
	})
}

// TestServeHalfARequest never becomes a request.
func TestServeHalfARequest(t *testing.T) {
	for name, request := range map[string]string{
		"small":   "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc",
		"large":   "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc",
		"chunked": "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"trailer": "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			f := newFront(t, setup{major: 1}, exchangetest.Script{})
			c, err := net.Dial("tcp", f.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = io.WriteString(c, request)
			_ = c.(*net.TCPConn).CloseWrite()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal("no answer: a browser would send the request again: ", err)
			}
			if resp.StatusCode != 400 || !resp.Close {
				t.Errorf("%v", resp)
			}
			f.waitReturned()
			select {
			case q := <-f.server.Requests:
				if seen := q.Seen(); seen.Ended || !seen.Reset || !seen.Done || seen.Delivered {
					t.Errorf("%+v", seen)
				}
				q.Check(t)
			default: // it was not even begun
			}
		})
	}
}

// TestServeHalfClose is answered: the client may still be there.
func TestServeHalfClose(t *testing.T) {
	f := newFront(t, setup{major: 1}, exchangetest.Script{})
	c, err := net.Dial("tcp", f.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na")
	_ = c.(*net.TCPConn).CloseWrite()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 502 {
		t.Errorf("%v %v", resp, err)
	}
	f.over(f.server.Next(t), false)
}

// TestServeTimeoutOfMiddleware ends the context of a request whose client is there.
func TestServeTimeoutOfMiddleware(t *testing.T) {
	everywhere(t, func(t *testing.T, s setup) {
		s.wrap = func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx, cancel := context.WithTimeout(r.Context(), 20*time.Millisecond)
				defer cancel()
				h.ServeHTTP(w, r.WithContext(ctx))
			})
		}
		f := newFront(t, s, exchangetest.Script{})
		resp, err := f.do("POST", "/", strings.NewReader("x"))
		if err != nil {
			t.Fatal("no answer: a browser would send the request again: ", err)
		}
		resp.Body.Close()
		if resp.StatusCode != 502 {
			t.Errorf("%v", resp)
		}
		f.over(f.server.Next(t), false)
	})
}

// plain is a ResponseWriter as middleware makes it that knows nothing more.
type plain struct{ w http.ResponseWriter }

func (p plain) Header() http.Header         { return p.w.Header() }
func (p plain) WriteHeader(status int)      { p.w.WriteHeader(status) }
func (p plain) Write(b []byte) (int, error) { return p.w.Write(b) }

// TestServePlainWriter has middleware that hides everything: the request reaches the
// handler whole, even if response events come in between.
func TestServePlainWriter(t *testing.T) {
	everywhere(t, func(t *testing.T, s setup) {
		s.wrap = func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Vary", "X")
				w.Header().Set("X-Mine", "1")
				w.Header().Set("Content-Type", "x/y")
				h.ServeHTTP(plain{w}, r)
			})
		}
		f := newFront(t, s, exchangetest.Script{
			Begin: func(q *exchangetest.Request) {
				q.Answer(200, exchange.Field{Name: "vary", Value: "Origin"}, exchange.Field{Name: "content-type", Value: "a/b"})
				q.Send([]byte("first;"))
			},
			End: func(q *exchangetest.Request) { q.Send([]byte("last")); q.Finish(exchange.Field{Name: "x", Value: "y"}) },
		})
		body := make([]byte, 300_000)
		for range 5 {
			resp, err := f.do("POST", "/", unknownLength{bytes.NewReader(body)})
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(b) != "first;last" || resp.Trailer.Get("X") != "y" {
				t.Errorf("%q %v %v", b, resp.Trailer, err)
			}
			if fmt.Sprint(resp.Header["Vary"], resp.Header["X-Mine"], resp.Header["Content-Type"]) != "[X Origin] [1] [a/b]" {
				t.Errorf("head %v", resp.Header)
			}
			q := f.server.Next(t)
			if seen := f.over(q, true); len(seen.Body) != len(body) {
				t.Errorf("%d bytes of %d came", len(seen.Body), len(body))
			}
		}
	})
}

// TestServePlainWriterEarly answers a request early that middleware keeps from full
// duplex, and the answer gets out when the client stops or the window is full.
func TestServePlainWriterEarly(t *testing.T) {
	wrap := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(plain{w}, r) })
	}
	f := newFront(t, setup{major: 1, wrap: wrap}, exchangetest.Script{
		Begin: func(q *exchangetest.Request) { q.Answer(418); q.Send([]byte("no")); q.Finish() },
	})
	resp, err := f.do("POST", "/", unknownLength{bytes.NewReader(make([]byte, 100_000))})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 418 {
		t.Errorf("%v", resp)
	}
	f.over(f.server.Next(t), true)
}

// failing is a ResponseWriter whose writes fail after the head.
type failing struct{ http.ResponseWriter }

func (failing) Write([]byte) (int, error)     { return 0, errors.New("no") }
func (f failing) Unwrap() http.ResponseWriter { return f.ResponseWriter }

func TestServeWriteFails(t *testing.T) {
	everywhere(t, func(t *testing.T, s setup) {
		s.wrap = func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(failing{w}, r) })
		}
		f := newFront(t, s, exchangetest.Script{End: func(q *exchangetest.Request) { q.Answer(200); q.Send([]byte("abc")) }})
		resp, err := f.do("POST", "/", strings.NewReader("x"))
		if err == nil {
			if _, err = io.ReadAll(resp.Body); err == nil {
				t.Error("a broken response looks whole")
			}
			resp.Body.Close()
		}
		q := f.server.Next(t)
		if seen := f.over(q, false); !seen.Reset {
			t.Error("the handler was not told")
		}
	})
}

// TestServePanic has a bug in an exchange handler: the server goes on, nothing is left.
func TestServePanic(t *testing.T) {
	everywhere(t, func(t *testing.T, s setup) {
		boom := func(q *exchangetest.Request) { panic("boom") }
		for name, script := range map[string]exchangetest.Script{
			"Begin": {Begin: boom},
			"Data":  {Data: func(q *exchangetest.Request, _ []byte) { boom(q) }},
			"End":   {End: boom},
			"Data after the head": {
				Begin: func(q *exchangetest.Request) { q.Answer(200); q.Send([]byte("abc")) },
				Data:  func(q *exchangetest.Request, _ []byte) { boom(q) },
			},
		} {
			t.Run(name, func(t *testing.T) {
				f := newFront(t, s, script)
				resp, err := f.do("POST", "/", unknownLength{strings.NewReader("x")})
				if err == nil {
					if _, err = io.ReadAll(resp.Body); err == nil {
						t.Error("a broken response looks whole")
					}
					resp.Body.Close()
				}
				f.waitReturned()
			})
		}
	})
}

// TestServeStall has a client that takes nothing: after a while it counts as gone.
func TestServeStall(t *testing.T) {
	everywhere(t, func(t *testing.T, s setup) {
		s.o.Stall = 100 * time.Millisecond
		f := newFront(t, s, exchangetest.Script{End: func(q *exchangetest.Request) { q.Answer(200) }})
		resp, err := f.do("GET", "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		q := f.server.Next(t)
		// A silent stream is not a stalled one.
		time.Sleep(3 * s.o.Stall)
		sent := 0
		q.Send([]byte("x"))
		sent++
		q.Until(t, "credit", func(s *exchangetest.Seen) bool { return s.Credit == sent })
		piece := make([]byte, rpc.WindowDefault/2)
		for end := time.Now().Add(exchangetest.Timeout); !q.Seen().Reset; {
			if time.Now().After(end) {
				t.Fatal("a client that takes nothing is still there")
			}
			if q.Seen().Credit == sent {
				q.Send(piece)
				sent += len(piece)
			}
			time.Sleep(time.Millisecond)
		}
		f.over(q, false)
	})
}

// TestServeConnect is no forward proxy.
func TestServeConnect(t *testing.T) {
	f := newFront(t, setup{major: 1}, exchangetest.Script{})
	resp := raw(t, f, "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
	if resp.StatusCode != 501 || len(f.server.Requests) != 0 {
		t.Errorf("%v", resp)
	}
}

// TestServe10 breaks a response to a client of HTTP/1.0, to which the end of the
// connection is the end of the content.
func TestServe10(t *testing.T) {
	broken := true
	f := newFront(t, setup{major: 1}, exchangetest.Script{End: func(q *exchangetest.Request) {
		q.Inform(103)
		q.Answer(200)
		q.Send([]byte("abc"))
		go func() {
			q.Until(t, "credit", func(s *exchangetest.Seen) bool { return s.Credit == 3 })
			if broken {
				q.Break(exchange.Cancel, nil)
			} else {
				q.Finish(exchange.Field{Name: "x", Value: "y"})
			}
		}()
	}})
	for _, broken = range []bool{false, true} {
		resp := raw(t, f, "POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\na")
		b, err := io.ReadAll(resp.Body)
		if resp.StatusCode != 200 || (err != nil) != broken {
			t.Errorf("broken %v: %v %q %v", broken, resp, b, err)
		}
		f.over(f.server.Next(t), !broken)
	}
}

// TestServePeer tells who the client is.
func TestServePeer(t *testing.T) {
	f := newFront(t, setup{major: 1}, exchangetest.Script{End: func(q *exchangetest.Request) { q.AnswerEnd(200) }})
	resp := raw(t, f, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
	resp.Body.Close()
	q := f.server.Next(t)
	if a, ok := q.Seen().Head.Addr.(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		t.Errorf("address %v", q.Seen().Head.Addr)
	}
	for in, want := range map[string]string{"": "<nil>", "@": "@", "[::1]:5": "[::1]:5", "pipe": "pipe"} {
		if got := fmt.Sprint(addr(in)); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}
