package observe

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/rpc"
)

type nothing struct{}

func (nothing) Begin()            {}
func (nothing) Data([]byte)       {}
func (nothing) End()              {}
func (nothing) Cancel(rpc.Status) {}
func (nothing) Credit(int)        {}
func (nothing) Done(rpc.Outcome)  {}

var noHandler = rpc.HandlerFunc(func(*rpc.Call, rpc.Response) rpc.Request { return nothing{} })

func TestMetrics(t *testing.T) {
	m := NewMetrics()
	h := Observe(noHandler, m, nil, time.Now)
	known := &rpc.Method{Name: "/a.B/C"}
	for i := range 10 {
		call := &rpc.Call{Method: "/a.B/C", Protocol: "grpc", Received: time.Now(), Schema: known}
		if i >= 7 {
			call.Method, call.Schema = "/evil/"+strings.Repeat("x", i), nil
		}
		call.Stats.ResponseMessages.Add(2)
		call.Stats.FirstResponse.Store(int64(time.Millisecond))
		req := h.Start(call, nil)
		req.Done(rpc.Outcome{Status: rpc.Status{Code: rpc.Code(i % 2 * 20)}})
	}
	h.Start(&rpc.Call{Protocol: "grpc", Schema: known}, nil)
	m.LimitHit("message_bytes")
	m.Gauge("sluice_test", "a gauge", func() float64 { return 7 })
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`sluice_calls_total{code="OK",method="/a.B/C",protocol="grpc"} 4`,
		`sluice_calls_total{code="UNKNOWN",method="/a.B/C",protocol="grpc"} 3`,
		`sluice_calls_total{code="OK",method="other",protocol="grpc"} 1`,
		`sluice_active_calls{method="/a.B/C",protocol="grpc"} 1`,
		`sluice_messages_total{direction="response",method="/a.B/C",protocol="grpc"} 14`,
		`sluice_time_to_first_message_seconds_bucket{method="/a.B/C",protocol="grpc",le="0.001"} 7`,
		`sluice_limits_hit_total{limit="message_bytes"} 1`, "sluice_test 7", "go_goroutines",
	} {
		if !strings.Contains(w.Body.String(), want+"\n") && !strings.Contains(w.Body.String(), want+" ") {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(w.Body.String(), "evil") {
		t.Error("a name that a client chose is a label")
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func TestAccessLog(t *testing.T) {
	var out syncBuffer
	l := NewAccessLog(&out, JSON, nil)
	call := &rpc.Call{Method: "/a.B/C", Protocol: "grpc", Carrier: "h2", Received: time.Now(), UserAgent: "evil\"\n{}\xff"}
	req := Observe(noHandler, NewMetrics(), l, time.Now).Start(call, nil)
	req.Done(rpc.Outcome{Status: rpc.Status{Code: rpc.NotFound, Message: "no such\nthing"}, Delivered: true})
	l.Close()
	var line map[string]any
	if err := json.Unmarshal(out.b.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, out.b.String())
	}
	for k, want := range map[string]any{"method": "/a.B/C", "code": "NOT_FOUND", "message": "no such\nthing", "delivered": true, "msg": "call", "user_agent": "evil\"\n{}\ufffd"} {
		if line[k] != want {
			t.Errorf("%s: got %v, want %v", k, line[k], want)
		}
	}
}

// TestAccessLogDrops: a writer that hangs costs a bounded memory, and what is lost is
// counted and said.
func TestAccessLogDrops(t *testing.T) {
	var out syncBuffer
	out.mu.Lock()
	m := NewMetrics()
	l := NewAccessLog(&out, Text, m)
	call := &rpc.Call{Method: "/a.B/C", Received: time.Now(), UserAgent: strings.Repeat("x", 5000)}
	for range 10000 {
		l.call(call, &rpc.Outcome{}, time.Second)
	}
	if l.dropped.Load() == 0 {
		t.Error("nothing was dropped")
	}
	out.mu.Unlock()
	l.Close()
	if n := out.b.Len(); n > 4*logMax {
		t.Errorf("%d bytes were kept", n)
	}
	if !strings.Contains(out.b.String(), "log lines dropped") {
		t.Error("the loss is not said")
	}
}

func FuzzEntry(f *testing.F) {
	f.Add("a\"b", "\n\x00")
	f.Fuzz(func(t *testing.T, a, b string) {
		e := entry{format: JSON}
		e.begin(new(clock), time.Unix(0, 0), "INFO", "call")
		e.str("a", a)
		e.str("b", b)
		line := e.end()
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		e = entry{format: Text}
		e.begin(new(clock), time.Unix(0, 0), "INFO", "call")
		e.str("a", a)
		if line := e.end(); bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Fatalf("more than one line: %q", line)
		}
	})
}

func BenchmarkObserve(b *testing.B) {
	l := NewAccessLog(discard{}, Text, nil)
	defer l.Close()
	h := Observe(noHandler, NewMetrics(), l, time.Now)
	call := &rpc.Call{Method: "/a.B/C", Protocol: "grpc", Carrier: "h2", Received: time.Now(), Schema: &rpc.Method{Name: "/a.B/C"}}
	b.ReportAllocs()
	for b.Loop() {
		h.Start(call, nil).Done(rpc.Outcome{})
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
