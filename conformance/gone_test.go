package conformance

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	library "github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/conformance/internal/feed"
	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

// A restMode is a way in which a call streams over REST.
type restMode struct {
	name   string
	path   string
	accept string
	kind   string // of the request's body; none is a GET
	body   string // its first message; KEY stands for the key
	half   string // the beginning of its second one
	before string // each further message
}

const restMessage = `{"number": 1, "key": "KEY"}`

// restModes are all framings of responses and requests.
var restModes = []restMode{
	{name: "sse", path: "/v1/feed", accept: "text/event-stream"},
	{name: "ndjson", path: "/v1/feed", accept: "application/x-ndjson"},
	{name: "array", path: "/v1/feed", accept: "application/json"},
	{name: "seq", path: "/v1/feed", accept: "application/json-seq"},
	{name: "delimited", path: "/v1/feed", accept: "application/x-protobuf"},
	{name: "httpbody", path: "/v1/file"},
	{name: "upload ndjson", path: "/v1/upload", kind: "application/x-ndjson", body: restMessage + "\n", half: "{"},
	{name: "upload array", path: "/v1/upload", kind: "application/json", body: "[" + restMessage, half: ",{", before: ","},
	{name: "upload seq", path: "/v1/upload", kind: "application/json-seq", body: "\x1e" + restMessage + "\n", half: "\x1e{", before: "\x1e"},
	{name: "upload delimited", path: "/v1/upload", kind: "application/x-protobuf", body: "\x05\x2a\x03KEY", half: "\x05"},
	{name: "both ndjson", path: "/v1/chat", accept: "application/x-ndjson", kind: "application/x-ndjson", body: restMessage + "\n"},
	{name: "both sse", path: "/v1/chat", accept: "text/event-stream", kind: "application/x-ndjson", body: restMessage + "\n"},
}

// answersAtEnd says whether nothing comes before the request has ended.
func (m restMode) answersAtEnd() bool { return m.path == "/v1/upload" }

// start starts a call of the mode; the context gives it up. The body, if there is one, goes
// on as more says after its first message.
func (m restMode) start(ctx context.Context, client *http.Client, base, key, query string, more io.ReadCloser) (*http.Response, error) {
	verb, body := http.MethodGet, io.Reader(nil)
	if m.kind != "" {
		verb, body = http.MethodPost, io.MultiReader(strings.NewReader(strings.ReplaceAll(m.body, "KEY", key)), more)
		body = bodyCloser{body, more} // net/http closes it when it gives up
	} else {
		m.path += "?key=" + key + "&" + query
	}
	r, err := http.NewRequestWithContext(ctx, verb, base+m.path, body)
	if err != nil {
		return nil, err
	}
	if m.accept != "" {
		r.Header.Set("Accept", m.accept)
	}
	if m.kind != "" {
		r.Header.Set("Content-Type", m.kind)
	}
	return client.Do(r)
}

type bodyCloser struct {
	io.Reader
	io.Closer
}

// restClient is a client of net/http's that speaks one version of HTTP, each with
// connections of its own.
func restClient(t *testing.T, h2 bool) *http.Client {
	p := new(http.Protocols)
	p.SetHTTP1(!h2)
	p.SetUnencryptedHTTP2(h2)
	p.SetHTTP2(h2)
	transport := &http.Transport{Protocols: p, ReadBufferSize: 4 << 10, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the certificate of this run
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// A restCarrier is a way to a gateway.
type restCarrier struct {
	name   string
	client *http.Client
	base   string
}

// restCarriers are the command over HTTP/1.1 and HTTP/2, and ServeHTTP of the library behind
// servers of net/http's.
func restCarriers(t *testing.T, f *feed.Server, g *gateway.Gateway) []restCarrier {
	t.Helper()
	rules, err := os.ReadFile(f.Rules)
	if err != nil {
		t.Fatal(err)
	}
	set, err := proto.Marshal(f.Descriptors())
	if err != nil {
		t.Fatal(err)
	}
	inside, err := library.New(library.Config{
		Backends:       []library.Backend{{Target: f.Addr}},
		DescriptorSets: [][]byte{set},
		REST:           library.REST{HTTPRules: []library.HTTPRulesFile{{Name: f.Rules, Data: rules}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	h1, h2 := httptest.NewServer(inside), httptest.NewUnstartedServer(inside)
	h2.EnableHTTP2 = true
	h2.StartTLS()
	t.Cleanup(func() {
		h1.Close()
		h2.Close()
		if err := inside.Close(); err != nil {
			t.Error(err)
		}
	})
	return []restCarrier{
		{"HTTP 1", restClient(t, false), "http://" + g.Addr},
		{"HTTP 2", restClient(t, true), "http://" + g.Addr},
		{"ServeHTTP, HTTP 1", restClient(t, false), h1.URL},
		{"ServeHTTP, HTTP 2", restClient(t, true), h2.URL},
	}
}

// TestRESTGone has clients go away in the middle of a call, in every mode: the server sees
// it within a second. It does too if the stream is quiet, or if the client took nothing.
func TestRESTGone(t *testing.T) {
	t.Parallel()
	f, g := serveFeed(t)
	t.Run("all", func(t *testing.T) {
		n := 0
		for _, carrier := range restCarriers(t, f, g) {
			for _, m := range restModes {
				queries := []string{"open"}
				if m.kind == "" {
					queries = []string{"count=1000000&every_ms=20", "quiet_ms=60000", "count=1000000&size=10000"}
				}
				for _, query := range queries {
					n++
					key := fmt.Sprintf("%03d", n)
					t.Run(carrier.name+"/"+m.name+"/"+query, func(t *testing.T) {
						t.Parallel()
						giveUp(t, f, carrier, m, key, query)
					})
				}
			}
		}
	})
}

func giveUp(t *testing.T, f *feed.Server, carrier restCarrier, m restMode, key, query string) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	call, gone := context.WithCancel(ctx)
	defer gone()
	open, stop := io.Pipe() // what follows in the request: nothing
	defer stop.CloseWithError(io.ErrUnexpectedEOF)
	quiet := strings.HasPrefix(query, "quiet")
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() { // ends with the context
		resp, err := m.start(call, carrier.client, carrier.base, key, query, bodyCloser{io.MultiReader(strings.NewReader(m.half), open), open})
		if err == nil {
			defer resp.Body.Close()
			if !quiet || m.name != "delimited" { // which has no first byte
				_, err = resp.Body.Read(make([]byte, 1))
			}
		}
		if err == nil {
			close(begun)
			<-call.Done()
		}
		ended <- err
	}()
	if err := f.Started(ctx, key); err != nil {
		t.Fatal(err)
	}
	if m.answersAtEnd() || quiet && m.name == "httpbody" { // whose first message has its type
		time.Sleep(20 * time.Millisecond) // for half a message to come
	} else {
		select {
		case <-begun:
		case err := <-ended:
			t.Fatalf("ended before it was given up: %v", err)
		}
	}
	at := time.Now()
	gone()
	seen, err := f.Cancelled(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	if after := seen.Sub(at); after < 0 || after > time.Second {
		t.Errorf("the server saw it after %v", after)
	} else {
		t.Logf("the server saw it after %v", after)
	}
	_ = stop.CloseWithError(io.ErrUnexpectedEOF) // net/http waits for a body that is being read
	<-ended
}
