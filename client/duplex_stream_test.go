package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// memory is a listener whose connections are pipes, so that time can be fake.
type memory struct {
	conns chan net.Conn
	ctx   context.Context
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.ctx.Done():
		return nil, net.ErrClosed
	}
}
func (m *memory) Close() error   { return nil }
func (m *memory) Addr() net.Addr { return &net.TCPAddr{} }
func (m *memory) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	m.conns <- there
	return here, nil
}

// sessions is a gateway that takes the bytes of one session, behind something that may hold uploads back.
type sessions struct {
	before func(w http.ResponseWriter, r *http.Request) bool // of an upload whose length is not known; false ends it

	mu      sync.Mutex
	took    strings.Builder
	streams int // uploads of unknown length
	wholes  int // others, with content
}

func (s *sessions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		_, _ = w.Write([]byte("a"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return
	}
	s.mu.Lock()
	switch {
	case r.ContentLength < 0:
		s.streams++
	case r.ContentLength > 0:
		s.wholes++
	}
	s.mu.Unlock()
	if r.ContentLength < 0 && !s.before(w, r) {
		return
	}
	var offset int
	_, _ = fmt.Sscan(r.Header.Get("Sluice-Offset"), &offset)
	for buf := make([]byte, 1024); ; {
		n, err := r.Body.Read(buf)
		s.mu.Lock()
		if at := s.took.Len() - offset; at >= 0 && at < n {
			s.took.Write(buf[at:n])
		}
		taken := s.took.Len()
		s.mu.Unlock()
		offset += n
		if err != nil {
			w.Header().Set("Sluice-Taken", fmt.Sprint(taken))
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
}

func (s *sessions) got() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%s, %d streams, %d others", s.took.String(), s.streams, s.wholes)
}

// One upload without end is given up where it does not pass, and nothing is lost.
func TestStreamingUpload(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(w http.ResponseWriter, r *http.Request) bool
		wait   time.Duration // until the first bytes are there
		want   string
	}{
		{"passes", func(http.ResponseWriter, *http.Request) bool { return true }, 0, "onetwothree, 1 streams, 0 others"},
		{"is kept until it is whole", func(_ http.ResponseWriter, r *http.Request) bool {
			_, _ = io.ReadAll(r.Body)
			return false
		}, proveWithin, "onetwothree, 1 streams, 2 others"},
		{"is not even read", func(_ http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			return false
		}, proveWithin, "onetwothree, 1 streams, 2 others"},
		{"is refused", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Connection", "close") // else the server reads on before it answers
			w.WriteHeader(http.StatusLengthRequired)
			return false
		}, 0, "onetwothree, 1 streams, 2 others"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				m := &memory{make(chan net.Conn), ctx}
				s := &sessions{before: test.before}
				server := &http.Server{Handler: s, BaseContext: func(net.Listener) context.Context { return ctx }}
				served := make(chan error, 1)
				go func() { served <- server.Serve(m) }()
				target := &Target{URL: &url.URL{Scheme: "http", Host: "gateway", Path: "/sluice/v1"}, dial: m.dial}
				opened, err := Duplex{Stream: true}.Dial(ctx, target)
				if err != nil {
					t.Fatal(err)
				}
				received := make(chan error, 1)
				go func() { received <- opened.Pipe.Receive(func([]byte) error { return nil }) }()
				began := time.Now()
				if err := opened.Pipe.Send([]byte("one")); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
				synctest.Wait()
				if at, now := test.wait == 0, strings.HasPrefix(s.got(), "one"); at != now {
					t.Errorf("after a millisecond: %s", s.got())
				}
				if err := opened.Pipe.Send([]byte("two")); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Until(began.Add(test.wait + 2*provePause)))
				synctest.Wait()
				if err := opened.Pipe.Send([]byte("three")); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				got, want := s.got(), test.want
				if test.name == "is refused" { // the first went alone
					want = strings.Replace(want, "2 others", "3 others", 1)
				}
				if got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				opened.Pipe.Close(Leave, "")
				if err := opened.Pipe.Send([]byte("four")); err == nil {
					t.Error("a pipe that is closed takes more")
				}
				if err := <-received; err == nil || errors.Is(err, io.EOF) {
					t.Errorf("Receive: %v", err)
				}
				cancel()
				_ = server.Close()
				<-served
			})
		})
	}
}
