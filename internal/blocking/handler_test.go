package blocking

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/internal/netio"
	"github.com/sluice-rpc/sluice/rpc"
)

// begin starts an exchange with an in-process handler.
func begin(h http.HandlerFunc, head exchange.RequestHead) (exchange.Request, *exchangetest.Response) {
	if head.Method == "" {
		head.Method = "POST"
	}
	if head.Path == "" {
		head.Path = "/s/m"
	}
	r := exchangetest.NewResponse()
	q := Handler(h, Options{Work: &netio.Work{}}).Start(&head, r)
	q.Begin()
	return q, r
}

// final waits for the end of the response and checks the contract.
func final(t *testing.T, q exchange.Request, r *exchangetest.Response) exchangetest.Answer {
	t.Helper()
	a := r.Final(t)
	q.Done(a.Ended)
	r.Check(t)
	return a
}

func field(name, value string) exchange.Field { return exchange.Field{Name: name, Value: value} }

func TestHandlerRequest(t *testing.T) {
	var got *http.Request
	var content []byte
	q, r := begin(func(w http.ResponseWriter, r *http.Request) {
		got = r
		content, _ = io.ReadAll(r.Body)
	}, exchange.RequestHead{
		Authority: "h:1", Path: "/a%2Fb?c=d", Length: -1,
		Fields: []exchange.Field{field("x-a", "1"), field("cookie", "a=b"), field("x-a", "2"), field("cookie", "c=d"), field("te", "trailers"), field("trailer", "x-end, ")},
	})
	q.Data([]byte("con"))
	q.Data([]byte("tent"))
	q.End([]exchange.Field{field("x-end", "1")})
	a := final(t, q, r)
	if a.Status != 200 || !a.Ended || len(a.Body) > 0 || a.Credit != 7 {
		t.Errorf("%+v", a)
	}
	if got.ProtoMajor != 2 || got.Host != "h:1" || got.RequestURI != "/a%2Fb?c=d" || got.URL.Path != "/a/b" || got.ContentLength != -1 ||
		fmt.Sprint(got.Header) != "map[Cookie:[a=b; c=d] Te:[trailers] X-A:[1 2]]" || string(content) != "content" || got.Trailer.Get("X-End") != "1" {
		t.Errorf("%+v %q", got, content)
	}
	if got.Context().Err() == nil {
		t.Error("the context goes on")
	}
}

func TestHandlerAnswers(t *testing.T) {
	large := strings.Repeat("<html>", 10_000)
	for name, c := range map[string]struct {
		h      http.HandlerFunc
		method string
		want   string // status, content type, body, trailer
	}{
		"nothing": {func(w http.ResponseWriter, r *http.Request) {}, "", `200  "" []`},
		"status":  {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204); w.WriteHeader(500) }, "", `204  "" []`},
		"content": {func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "<html>") }, "", `200 text/html; charset=utf-8 "<html>" []`},
		"large":   {func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, large) }, "", `200 text/html; charset=utf-8 "` + large + `" []`},
		"HEAD":    {func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, large) }, "HEAD", `200  "" []`},
		"not allowed": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(304)
			_, err := w.Write([]byte("x"))
			check(err == http.ErrBodyNotAllowed)
		}, "", `304  "" []`},
		"flushed": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "a/b")
			w.(http.Flusher).Flush()
			w.Header().Set("X-Late", "1")
			_, _ = io.WriteString(w, "x")
		}, "", `200 a/b "x" []`},
		"trailers": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "a/b")
			w.Header().Set("Trailer", "X-Declared, x-never")
			w.Header().Set("X-Declared", "early")
			w.WriteHeader(200)
			w.Header().Set("X-Declared", "1")
			w.Header().Add(http.TrailerPrefix+"X-Other", "2")
			w.Header().Add(http.TrailerPrefix+"X-Other", "3")
		}, "", `200 a/b "" [{x-declared 1 false} {x-other 2 false} {x-other 3 false}]`},
		"malformed length": {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "-1") }, "", `200  "" []`},
	} {
		t.Run(name, func(t *testing.T) {
			q, r := begin(c.h, exchange.RequestHead{Method: c.method})
			q.End(nil)
			a := final(t, q, r)
			if got := fmt.Sprintf("%d %s %q %v", a.Status, a.Get("content-type"), a.Body, a.Trailer); got != c.want || a.Get("x-late") != "" || a.Get("x-declared") != "" {
				t.Errorf("got %.300s, want %.300s", got, c.want)
			}
		})
	}
}

func check(ok bool) {
	if !ok {
		panic("a check in a handler has failed")
	}
}

// TestHandlerBroken has handlers that don't do what they promised.
func TestHandlerBroken(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"panic": func(w http.ResponseWriter, r *http.Request) { panic("boom") },
		"abort": func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
		"late": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			panic("boom")
		},
		"short": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5")
			_, _ = io.WriteString(w, "abc")
		},
		"code": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(42) },
	} {
		t.Run(name, func(t *testing.T) {
			q, r := begin(h, exchange.RequestHead{})
			if a := final(t, q, r); !a.Broken || a.Code != exchange.InternalError || a.Cause == nil {
				t.Errorf("%+v", a)
			}
		})
	}
	var err error
	q, r := begin(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "3")
		_, _ = io.WriteString(w, "abc")
		_, err = io.WriteString(w, "d")
	}, exchange.RequestHead{})
	if a := final(t, q, r); string(a.Body) != "abc" || !errors.Is(err, http.ErrContentLength) {
		t.Errorf("%+v %v", a, err)
	}
	q, r = begin(nil, exchange.RequestHead{Path: "no path"})
	if a := final(t, q, r); a.Status != 400 {
		t.Errorf("%+v", a)
	}
}

// TestHandlerCredit: exactly what was read is credited, and no more than the window is
// written.
func TestHandlerCredit(t *testing.T) {
	step := make(chan int)
	q, r := begin(func(w http.ResponseWriter, r *http.Request) {
		for n := range step {
			if n > 0 {
				_, _ = io.ReadFull(r.Body, make([]byte, n))
			} else {
				r.Body.Close()
			}
			w.(http.Flusher).Flush()
			step <- 0
		}
		_, _ = w.Write(make([]byte, 2*rpc.WindowDefault))
	}, exchange.RequestHead{})
	do := func(n int) { step <- n; <-step }
	q.Data(make([]byte, 1000))
	if c := r.Answer().Credit; c != 0 {
		t.Errorf("credit %d before a read", c)
	}
	do(300)
	if c := r.Answer().Credit; c != 300 {
		t.Errorf("credit %d, want 300", c)
	}
	do(0)
	if c := r.Answer().Credit; c != 1000 {
		t.Errorf("credit %d, want 1000: the handler has closed the content", c)
	}
	q.Data(make([]byte, 500))
	if c := r.Answer().Credit; c != 1500 {
		t.Errorf("credit %d, want 1500", c)
	}
	close(step)
	r.Until(t, "a window", func(a *exchangetest.Answer) bool { return len(a.Body) >= rpc.WindowDefault })
	time.Sleep(20 * time.Millisecond)
	if n := len(r.Answer().Body); n != rpc.WindowDefault {
		t.Fatalf("%d bytes without credit", n)
	}
	q.Credit(1000)
	r.Until(t, "1000 more", func(a *exchangetest.Answer) bool { return len(a.Body) == rpc.WindowDefault+1000 })
	q.Credit(rpc.WindowDefault)
	if a := final(t, q, r); len(a.Body) != 2*rpc.WindowDefault || !a.Ended {
		t.Errorf("%d bytes, %v", len(a.Body), a.Ended)
	}
}

// TestHandlerReset takes the client away while the handler reads, writes, or waits.
func TestHandlerReset(t *testing.T) {
	for name, wait := range map[string]func(w http.ResponseWriter, r *http.Request) error{
		"read":    func(w http.ResponseWriter, r *http.Request) error { _, err := r.Body.Read(make([]byte, 1)); return err },
		"write":   func(w http.ResponseWriter, r *http.Request) error { _, err := w.Write(make([]byte, 1<<20)); return err },
		"context": func(w http.ResponseWriter, r *http.Request) error { <-r.Context().Done(); return r.Context().Err() },
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan error, 1)
			q, r := begin(func(w http.ResponseWriter, r *http.Request) {
				err := wait(w, r)
				_, again := w.Write(make([]byte, 1<<20))
				check(again != nil)
				got <- err
			}, exchange.RequestHead{})
			time.Sleep(5 * time.Millisecond)
			q.Reset(exchange.Cancel)
			if a := final(t, q, r); !a.Broken || a.Code != exchange.Cancel {
				t.Errorf("%+v", a)
			}
			select {
			case err := <-got:
				if err == nil {
					t.Error("no error")
				}
			case <-time.After(exchangetest.Timeout):
				t.Fatal("the handler was not told")
			}
		})
	}
}

// TestHandlerDuplex reads beside writing.
func TestHandlerDuplex(t *testing.T) {
	q, r := begin(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		b := make([]byte, 100)
		for {
			n, err := r.Body.Read(b)
			_, _ = w.Write(b[:n])
			w.(http.Flusher).Flush()
			if err != nil {
				return
			}
		}
	}, exchange.RequestHead{})
	for i := range 50 {
		q.Data([]byte{byte(i)})
		a := r.Until(t, "an echo", func(a *exchangetest.Answer) bool { return len(a.Body) == i+1 })
		if a.Body[i] != byte(i) {
			t.Fatalf("got %v", a.Body)
		}
		q.Credit(1)
	}
	q.End(nil)
	if a := final(t, q, r); !a.Ended || a.Credit != 50 {
		t.Errorf("%+v", a)
	}
}

// TestHandlerInform passes informational responses, but not 100 and 101.
func TestHandlerInform(t *testing.T) {
	q, r := begin(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(100)
		w.WriteHeader(103)
		w.Header().Del("Link")
	}, exchange.RequestHead{})
	a := final(t, q, r)
	if len(a.Informed) != 1 || a.Informed[0].Status != 103 || exchange.Get(a.Informed[0].Fields, "link") != "</a>" || a.Get("link") != "" {
		t.Errorf("%+v", a)
	}
}

// TestReverseProxy has the handler that users have most: whole and broken answers.
func TestReverseProxy(t *testing.T) {
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-End")
		_, _ = w.Write(b)
		w.(http.Flusher).Flush()
		w.Header().Set("X-End", "1")
		if r.URL.Path == "/broken" {
			panic(http.ErrAbortHandler)
		}
	}))
	defer behind.Close()
	behind.Config.ErrorLog = nil
	u, _ := url.Parse(behind.URL)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}
	for path, whole := range map[string]bool{"/whole": true, "/broken": false} {
		q, r := begin(proxy.ServeHTTP, exchange.RequestHead{Path: path, Length: -1})
		content := bytes.Repeat([]byte("x"), 20_000)
		q.Data(content)
		q.End(nil)
		a := final(t, q, r)
		if a.Status != 200 || a.Ended != whole || a.Broken == whole || whole && (!bytes.Equal(a.Body, content) || len(a.Trailer) != 1) {
			t.Errorf("%s: %d, %d bytes, trailer %v, ended %v", path, a.Status, len(a.Body), a.Trailer, a.Ended)
		}
	}
}
