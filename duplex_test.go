package sluice_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/internal/wire/duplex"
)

// session is the client of docs/protocols/http2-duplex.md, as short as it can be.
type session struct {
	t    *testing.T
	c    *http.Client
	url  string
	id   string
	up   int
	down func() []byte // the next bytes
}

func (s *session) do(method string, body io.Reader, pairs ...string) *http.Response {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	s.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, s.url, body)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("sluice-session", s.id)
	for i := 0; i < len(pairs); i += 2 {
		r.Header.Set(pairs[i], pairs[i+1])
	}
	resp, err := s.c.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func (s *session) post(b []byte) {
	s.t.Helper()
	resp := s.do("POST", bytes.NewReader(b), "sluice-offset", strconv.Itoa(s.up))
	s.up += len(b)
	if resp.StatusCode != 204 || resp.Header.Get("sluice-taken") != strconv.Itoa(s.up) {
		text, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("%s %v %s", resp.Status, resp.Header, text)
	}
}

func openSession(t *testing.T, c *http.Client, addr string, polls bool, pairs ...string) *session {
	t.Helper()
	var id [16]byte
	_, _ = rand.Read(id[:])
	s := &session{t: t, c: c, url: "http://" + addr + "/sluice/v1", id: hex.EncodeToString(id[:])}
	if polls {
		at := 0
		s.down = func() []byte {
			t.Helper()
			resp := s.do("GET", nil, append([]string{"sluice-offset", strconv.Itoa(at), "sluice-poll", "1"}, pairs...)...)
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%s %v %s", resp.Status, err, b)
			}
			at += len(b)
			return b
		}
		return s
	}
	get := s.do("GET", nil, append([]string{"sluice-offset", "0"}, pairs...)...)
	if get.StatusCode != 200 {
		t.Fatal(get.Status)
	}
	buf := make([]byte, 4096)
	if n, err := get.Body.Read(buf[:1]); n != 1 {
		t.Fatal(err)
	}
	s.down = func() []byte {
		t.Helper()
		n, err := get.Body.Read(buf)
		if n == 0 {
			t.Fatal(err)
		}
		return buf[:n]
	}
	return s
}

// frames are what a decoder tells, in text.
type frames struct{ got []string }

func (f *frames) Data(call uint32, b []byte) error {
	f.got = append(f.got, fmt.Sprintf("%d DATA %x", call, b))
	return nil
}

func (f *frames) Frame(kind duplex.Kind, call uint32, b []byte) error {
	f.got = append(f.got, fmt.Sprintf("%d %v %s", call, kind, b))
	return nil
}

// until reads frames until one begins with what is wanted, and returns it.
func (s *session) until(dec *duplex.Decoder, f *frames, want string) string {
	s.t.Helper()
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("waited for %s, got %q", want, f.got)
		}
	})
	for {
		for i, g := range f.got {
			if strings.HasPrefix(g, want) {
				f.got = f.got[i+1:]
				return g
			}
		}
		if err := dec.Feed(s.down(), f); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestHTTPDuplex makes calls on pipes of plain HTTP requests, over HTTP/1.1 and HTTP/2, by a stream and by long polls.
func TestHTTPDuplex(t *testing.T) {
	addr, g := startGateway(t, sluice.Config{Backends: []sluice.Backend{{Handler: testServer(t)}}})
	if !strings.Contains(get(t, "http://"+addr+"/.well-known/sluice"), `"name": "duplex"`) {
		t.Error("clients are not told of it")
	}
	for _, h2 := range []bool{false, true} {
		for _, polls := range []bool{false, true} {
			t.Run(fmt.Sprintf("h2=%v/polls=%v", h2, polls), func(t *testing.T) {
				p := new(http.Protocols)
				p.SetUnencryptedHTTP2(h2)
				p.SetHTTP1(!h2)
				tr := &http.Transport{Protocols: p}
				defer tr.CloseIdleConnections()
				s := openSession(t, &http.Client{Transport: tr}, addr, polls, "authorization", "Bearer abc")
				var dec duplex.Decoder
				dec.Form = duplex.MuxForm
				f := &frames{}
				s.until(&dec, f, "0 WELCOME version: 1")
				b := duplex.MuxForm.Append(nil, duplex.Headers, 1, []byte(":path: /grpc.testing.TestService/EmptyCall\r\n"))
				b = duplex.MuxForm.Append(b, duplex.Data, 1, make([]byte, 5))
				b = duplex.MuxForm.Append(b, duplex.End, 1, nil)
				s.post(b)
				s.until(&dec, f, "1 DATA 0000000000")
				if end := s.until(&dec, f, "1 END"); !strings.Contains(end, "grpc-status: 0") {
					t.Error(end)
				}
				s.post(duplex.MuxForm.Append(nil, duplex.Headers, 2, []byte(":path: /grpc.testing.TestService/FullDuplexCall\r\n")))
				if n := g.Status().ActiveCalls; n != 1 {
					t.Errorf("%d calls", n)
				}
				if resp := s.do("DELETE", nil); resp.StatusCode != 204 {
					t.Error(resp.Status)
				}
				for deadline := time.Now().Add(10 * time.Second); g.Status().ActiveCalls > 0; time.Sleep(5 * time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatal("the call goes on")
					}
				}
				if resp := s.do("POST", nil, "sluice-offset", "0"); resp.StatusCode != 404 {
					t.Error(resp.Status)
				}
			})
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestHTTPDuplexOff: there is no such path.
func TestHTTPDuplexOff(t *testing.T) {
	addr, _ := startGateway(t, sluice.Config{Backends: []sluice.Backend{{Handler: testServer(t)}}, Duplex: sluice.Duplex{Path: "off"}})
	if b := get(t, "http://"+addr+"/.well-known/sluice"); strings.Contains(b, `"duplex"`) {
		t.Error(b)
	}
	s := &session{t: t, c: http.DefaultClient, url: "http://" + addr + "/sluice/v1", id: strings.Repeat("0", 32)}
	if resp := s.do("GET", nil, "sluice-offset", "0"); resp.StatusCode != 404 && resp.StatusCode != 503 { // before the schema is known
		t.Error(resp.Status)
	}
}
