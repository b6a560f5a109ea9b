package conformance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sluice-rpc/sluice/conformance/internal/feed"
	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

// maxSlow is how much memory the gateway may take for a stream that nobody reads.
const maxSlow = 16 << 20

const (
	slowEvents = 384
	slowSize   = 64 << 10 // of an event; in all more than maxSlow
	slowPause  = 400 * time.Millisecond
	maxUnread  = 48 << 20 // what sockets, gateway and server may take of an upload
)

// TestRESTSlow has clients read nothing for a while, in every mode, and servers read nothing
// of an upload: the gateway holds the sender back instead of keeping what it sends. A client
// that reads again gets all of it.
func TestRESTSlow(t *testing.T) {
	t.Setenv("GOGC", "25") // what is measured is what is kept, not the garbage of a fast minute
	f, g := serveFeed(t)
	carriers := []restCarrier{
		{"HTTP 1", restClient(t, false), "http://" + g.Addr},
		{"HTTP 2", restClient(t, true), "http://" + g.Addr},
	}
	before, n, most := resident(t, g), 0, 0
	look := func() {
		t.Helper()
		grown := resident(t, g) - before
		most = max(most, grown)
		if grown > maxSlow {
			t.Errorf("%d KiB more memory than before all, at most %d KiB are allowed", grown>>10, maxSlow>>10)
		}
	}
	for _, carrier := range carriers {
		for _, m := range restModes {
			n++
			key := fmt.Sprintf("%03d", n)
			t.Run(carrier.name+"/"+m.name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				if m.kind == "" {
					slowDownload(ctx, t, carrier, m, key, look)
				} else {
					slowUpload(ctx, t, f, carrier, m, key, look)
				}
			})
		}
	}
	t.Logf("%d KiB more memory at most", most>>10)
}

// slowDownload reads nothing for a while, and then everything.
func slowDownload(ctx context.Context, t *testing.T, carrier restCarrier, m restMode, key string, look func()) {
	resp, err := m.start(ctx, carrier.client, carrier.base, key, fmt.Sprintf("count=%d&size=%d", slowEvents, slowSize), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	time.Sleep(slowPause)
	look()
	// In large pieces: else net/http has more WINDOW_UPDATEs than the gateway allows.
	if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, make([]byte, slowSize)); err != nil || n < slowEvents*slowSize {
		t.Errorf("%v after %d bytes, want %d", err, n, slowEvents*slowSize)
	}
}

// slowUpload sends all that is taken to a server that reads one message, or to one that
// answers each, and reads no answer.
func slowUpload(ctx context.Context, t *testing.T, f *feed.Server, carrier restCarrier, m restMode, key string, look func()) {
	if m.answersAtEnd() {
		m.path = "/v1/drain"
	}
	text := m.before + `{"filler": "` + strings.Repeat("x", slowSize) + "\"}\n"
	if m.kind == "application/x-protobuf" {
		filler := protowire.AppendString(protowire.AppendTag(nil, 4, protowire.BytesType), strings.Repeat("x", slowSize))
		text = string(protowire.AppendBytes(nil, filler))
	}
	body := &endless{text: text}
	ended := make(chan error, 1)
	call, stop := context.WithCancel(ctx)
	go func() { // ends with the context
		var resp *http.Response
		resp, err := m.start(call, carrier.client, carrier.base, key, "", body)
		if err == nil {
			defer resp.Body.Close()
			<-call.Done()
		}
		ended <- err
	}()
	defer func() {
		stop()
		<-ended
	}()
	if err := f.Started(ctx, key); err != nil {
		t.Fatal(err)
	}
	for sent := int64(-1); sent != body.sent.Load(); {
		if sent = body.sent.Load(); sent > maxUnread {
			t.Fatalf("%d bytes were taken that nobody reads", sent)
		}
		time.Sleep(slowPause)
	}
	look()
	select {
	case err := <-ended:
		t.Errorf("the call ended: %v", err)
		ended <- err
	default:
	}
}

// An endless is a text without end.
type endless struct {
	text string
	at   int
	sent atomic.Int64
}

func (f *endless) Read(b []byte) (int, error) {
	if f.at == len(f.text) {
		f.at = 0
	}
	n := copy(b, f.text[f.at:])
	f.at += n
	f.sent.Add(int64(n))
	return n, nil
}

func (f *endless) Close() error { return nil }

// resident is the memory of the gateway, in bytes.
func resident(t *testing.T, g *gateway.Gateway) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no VmRSS in %s", b)
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n << 10
}
