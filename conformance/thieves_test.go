package conformance

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/sluice-rpc/sluice/client"
	"github.com/sluice-rpc/sluice/client/webtransport"
	"github.com/sluice-rpc/sluice/conformance/internal/matrix"
)

func (s *stage) tls() *tls.Config {
	return &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12}
}

// TestOrigins has pages of an origin that may call and of others call over every carrier that a page
// can use: those of others get no connection, and the backend never hears of their calls.
func TestOrigins(t *testing.T) {
	s := newStage(t, "--cors-origin", "https://good.example")
	// The gateway itself asks the backend for its schema at first.
	for before := -1; before != int(s.backend.Begun()); time.Sleep(300 * time.Millisecond) {
		before = int(s.backend.Begun())
	}
	cases, err := matrix.Cases()
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, c := range carriers {
		if c.client == nil {
			continue
		}
		tried++
		t.Run(c.name, func(t *testing.T) {
			for origin, welcome := range map[string]bool{
				"https://good.example": true, s.url(c.secure): true, // the gateway's own pages
				"https://evil.example": false, "https://good.example.evil.example": false, "http://good.example": false, "null": false,
			} {
				conn, err := client.New(s.url(c.secure), client.Config{Carriers: []client.Carrier{c.client}, TLS: s.tls(), Header: http.Header{"Origin": {origin}}})
				if err != nil {
					t.Fatal(err)
				}
				before := s.backend.Begun()
				err = cases[0].Run(t.Context(), conn, "unary")
				switch {
				case welcome && err != nil:
					t.Errorf("%s: %v", origin, err)
				case !welcome && (err == nil || !strings.Contains(err.Error(), "403")):
					t.Errorf("%s: got %v, want a refusal with 403", origin, err)
				case !welcome && s.backend.Begun() != before:
					t.Errorf("%s: the call came to the backend", origin)
				}
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if tried != matrixCarriers-2 {
		t.Errorf("%d carriers were tried, want %d", tried, matrixCarriers-2)
	}
}

// A thief speaks the frames of the duplex protocol by hand.
type thief struct {
	carrier client.Carrier
	target  *client.Target
}

// A heard frame is of a kind, and has a payload.
type heard struct {
	kind    byte
	payload string
}

// listen reads the frames of a pipe. The channel is closed when the pipe ends.
func listen(pipe client.Pipe, callForm bool) <-chan heard {
	head := 8
	if callForm {
		head = 4
	}
	out := make(chan heard, 100) // more than anybody says here
	go func() {                  // ends with the pipe
		defer close(out)
		var buf []byte
		_ = pipe.Receive(func(b []byte) error {
			buf = append(buf, b...)
			for len(buf) >= head {
				n := head + int(binary.BigEndian.Uint32(buf)&0xffffff)
				if len(buf) < n {
					break
				}
				out <- heard{buf[0], string(buf[head:n])}
				buf = buf[n:]
			}
			return nil
		})
	}()
	return out
}

// wait returns the next frame of a kind.
func wait(from <-chan heard, kind byte) (string, error) {
	for f := range from {
		if f.kind == kind {
			return f.payload, nil
		}
	}
	return "", fmt.Errorf("the pipe ended before a frame of kind %#x", kind)
}

// Kinds of frames of docs/protocols/duplex.md.
const (
	resumeKind  = 0x06
	resumedKind = 0x07
	welcomeKind = 0x11
)

// resume opens a connection, and sends RESUME on it with the fields, in which OWN stands for the connection's
// own ticket. It returns what RESUMED says.
func (f *thief) resume(ctx context.Context, fields string) (string, error) {
	c, err := f.carrier.Dial(ctx, f.target)
	if err != nil {
		return "", err
	}
	callForm := c.Session != nil
	pipe, welcome := c.Pipe, c.Pipe
	if callForm {
		defer c.Session.Close(client.Leave, "")
		if welcome, err = c.Session.Accept(ctx); err != nil {
			return "", err
		}
		if pipe, err = c.Session.Open(ctx); err != nil {
			return "", err
		}
	}
	defer pipe.Close(client.Leave, "")
	defer context.AfterFunc(ctx, func() { pipe.Close(client.Cut, "") })()
	from := listen(welcome, callForm)
	text, err := wait(from, welcomeKind)
	if err != nil {
		return "", err
	}
	fields = strings.ReplaceAll(fields, "OWN", value(text, "ticket"))
	frame := binary.BigEndian.AppendUint32(nil, resumeKind<<24|uint32(len(fields)))
	if !callForm {
		frame = binary.BigEndian.AppendUint32(frame, 1)
	}
	if err := pipe.Send(append(frame, fields...)); err != nil {
		return "", err
	}
	if callForm {
		from = listen(pipe, callForm)
	}
	return wait(from, resumedKind)
}

// value is that of a name in a field block.
func value(block, name string) string {
	for line := range strings.SplitSeq(block, "\r\n") {
		if v, ok := strings.CutPrefix(line, name+": "); ok {
			return v
		}
	}
	return ""
}

// A tap is a carrier on which somebody listens.
type tap struct {
	client.Carrier
	mu   sync.Mutex
	said []byte
}

func (t *tap) Dial(ctx context.Context, target *client.Target) (*client.Connection, error) {
	c, err := t.Carrier.Dial(ctx, target)
	if err != nil {
		return nil, err
	}
	if c.Session != nil {
		c.Session = tappedSession{c.Session, t}
	} else {
		c.Pipe = tappedPipe{c.Pipe, t}
	}
	return c, nil
}

func (t *tap) hear(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.said = append(t.said, b...)
}

// heard is the value of a name in any field block.
func (t *tap) heard(name string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, v, _ := strings.Cut(string(t.said), name+": ")
	v, _, _ = strings.Cut(v, "\r\n")
	return v
}

type tappedSession struct {
	client.Session
	t *tap
}

func (s tappedSession) Open(ctx context.Context) (client.Pipe, error) {
	p, err := s.Session.Open(ctx)
	return tappedPipe{p, s.t}, err
}

func (s tappedSession) Accept(ctx context.Context) (client.Pipe, error) {
	p, err := s.Session.Accept(ctx)
	return tappedPipe{p, s.t}, err
}

type tappedPipe struct {
	client.Pipe
	t *tap
}

func (p tappedPipe) Send(b []byte) error {
	p.t.hear(b)
	return p.Pipe.Send(b)
}

func (p tappedPipe) Receive(f func(b []byte) error) error {
	return p.Pipe.Receive(func(b []byte) error {
		p.t.hear(b)
		return f(b)
	})
}

// TestThieves has strangers try to take a call that somebody else has begun, with tickets that they have made,
// stolen or kept. They are told no, each time why, and the call goes on as if nothing was.
func TestThieves(t *testing.T) {
	t.Parallel()
	s, other := newStage(t), newStage(t)
	for _, carrier := range []client.Carrier{client.WebSocket{}, client.WebSocket{HTTP2: true}, client.Duplex{}, client.Duplex{Poll: true}, webtransport.Carrier{}} {
		t.Run(carrier.Name(), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			tap := &tap{Carrier: carrier}
			victim, err := client.New(s.url(true), client.Config{Carriers: []client.Carrier{tap}, TLS: s.tls()})
			if err != nil {
				t.Fatal(err)
			}
			defer victim.Close() //nolint:errcheck // nothing else closes it
			call, err := matrix.Talk(metadata.AppendToOutgoingContext(ctx, "x-script", "echo", "x-id", "victim-"+carrier.Name()), victim)
			if err != nil {
				t.Fatal(err)
			}
			if err := call.PingPong(); err != nil {
				t.Fatal(err)
			}
			stolenID, stolen := tap.heard(":call"), tap.heard("ticket")
			if len(stolenID) != 32 || stolen == "" {
				t.Fatalf("the call has the id %q and the ticket %q", stolenID, stolen)
			}
			u, err := url.Parse(s.url(true) + "/sluice/v1")
			if err != nil {
				t.Fatal(err)
			}
			f := &thief{carrier, &client.Target{URL: u, TLS: s.tls()}}
			forged := []byte(stolen)
			forged[len(forged)/2] ^= 1
			block := func(id, ticket string, epoch int) string {
				return fmt.Sprintf(":call: %s\r\n:ticket: %s\r\n:epoch: %d\r\n:got: 0\r\n:received: 0\r\n", id, ticket, epoch)
			}
			attempts := []struct{ name, fields, reason string }{
				{"no ticket at all", block(stolenID, "x", 9), "ticket"},
				{"a forged one", block(stolenID, string(forged), 9), "ticket"},
				{"one too long", block(stolenID, strings.Repeat("A", 4000), 9), "ticket"},
				{"the thief's own", block(stolenID, "OWN", 9), "ticket"},
				{"the call's, for another call", block(strings.Repeat("0", 32), stolen, 9), "unknown"},
				{"the call's, too late", block(stolenID, stolen, 1), "outdated"},
			}
			for _, a := range attempts {
				answer, err := f.resume(ctx, a.fields)
				if err != nil {
					t.Fatalf("%s: %v", a.name, err)
				}
				if value(answer, ":state") != "gone" || value(answer, ":reason") != a.reason {
					t.Errorf("%s: got %q, want gone, %s", a.name, answer, a.reason)
				}
				if err := call.PingPong(); err != nil {
					t.Fatalf("after %s: %v", a.name, err)
				}
			}
			u2, err := url.Parse(other.url(true) + "/sluice/v1")
			if err != nil {
				t.Fatal(err)
			}
			elsewhere := &thief{carrier, &client.Target{URL: u2, TLS: other.tls()}}
			if answer, err := elsewhere.resume(ctx, block(stolenID, stolen, 9)); err != nil || value(answer, ":reason") != "restarted" {
				t.Errorf("at another gateway: %q, %v", answer, err)
			}
			if err := call.End(); err != nil {
				t.Error(err)
			}
			// The end was acknowledged, so nothing is left to be taken.
			answer, err := f.resume(ctx, block(stolenID, stolen, 9))
			if err != nil || value(answer, ":state") != "gone" {
				t.Errorf("after the end: %q, %v", answer, err)
			}
		})
	}
}
