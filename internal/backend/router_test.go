package backend

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-rpc/sluice/rpc"
)

// served is a backend that counts its calls, and answers them at their end.
type served struct {
	mu    sync.Mutex
	calls []string
}

func (s *served) Start(call *rpc.Call, response rpc.Response) rpc.Request {
	s.mu.Lock()
	s.calls = append(s.calls, call.Method)
	s.mu.Unlock()
	return refuse(call, response, rpc.Status{})
}

func TestService(t *testing.T) {
	for method, want := range map[string]string{
		"/a.B/C": "a.B", "/a/b": "a", "": "", "/": "", "//": "", "/a/": "", "//b": "", "a/b": "", "/a": "", "/a/b/c": "", "/a/b/": "", "/ab": "", "a/b/c": "",
	} {
		got, ok := Service(method)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q %v", method, got, ok)
		}
	}
}

func TestRouterWithOneBackend(t *testing.T) {
	one := &served{}
	r := NewRouter(RouterConfig{Backends: []rpc.Handler{one}})
	unary(t, r, &rpc.Call{Method: "/never.heard/Of"}).wantOK()
	unary(t, r, &rpc.Call{Method: "/nothing"}).want(rpc.Unimplemented, `malformed method name "/nothing": it has to be "/package.Service/Method"`)
	if len(one.calls) != 1 {
		t.Error(one.calls)
	}
	unary(t, NewRouter(RouterConfig{}), &rpc.Call{}).want(rpc.Unavailable, "gateway has no backend")
}

func TestRouter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := &served{}, &served{}
		known, pending := map[string]int{"a.A": 0, "bad": 7}, "server reflection of two.test:1"
		r := NewRouter(RouterConfig{
			Backends:   []rpc.Handler{one, two},
			Find:       func(s string) (int, bool) { i, ok := known[s]; return i, ok },
			WaitConfig: WaitConfig{Pending: func() string { return pending }, HeldCalls: 4},
		})
		unary(t, r, &rpc.Call{Method: "/a.A/M"}).wantOK()

		b := unary(t, r, &rpc.Call{Method: "/b.B/M"})
		c := unary(t, r, &rpc.Call{Method: "/c.C/M"})
		late := unary(t, r, &rpc.Call{Method: "/d.D/M", Deadline: time.Now().Add(time.Second)})
		gone := unary(t, r, &rpc.Call{Method: "/d.D/M"})
		full := unary(t, r, &rpc.Call{Method: "/d.D/M"})
		full.want(rpc.ResourceExhausted, "too many calls wait for a schema already (limits.held_calls is 4)")
		gone.req.Cancel(rpc.Errorf(rpc.Canceled, "gone"))
		gone.want(rpc.Canceled, "gone")
		sleep(time.Second)
		late.want(rpc.DeadlineExceeded, "no backend is known to have method /d.D/M: still waiting for server reflection of two.test:1")
		b.wantOpen()
		known["b.B"] = 1
		r.Changed()
		b.wantOK()
		c.wantOpen()
		sleep(10 * time.Second)
		c.want(rpc.Unavailable, "no backend is known to have method /c.C/M: still waiting for server reflection of two.test:1")

		c = unary(t, r, &rpc.Call{Method: "/c.C/M"})
		pending = ""
		r.Changed()
		for _, c := range []*caller{c, unary(t, r, &rpc.Call{Method: "/c.C/M"}), unary(t, r, &rpc.Call{Method: "/bad/M"})} {
			st, over := c.over()
			if !over || st.Code != rpc.Unimplemented || !strings.Contains(st.Message, "/M: with several backends the gateway needs descriptors or server reflection") {
				t.Errorf("over %v with %v", over, st)
			}
		}
		if len(one.calls) != 1 || len(two.calls) != 1 {
			t.Error(one.calls, two.calls)
		}
	})
}

func FuzzHealthStatus(f *testing.F) {
	f.Add([]byte("\x08\x01"))
	f.Add([]byte("\x12\x03abc\x08\x02"))
	f.Add([]byte("\x1d1234\x218bytes..\x08\x01"))
	f.Fuzz(func(t *testing.T, m []byte) {
		status, err := healthStatus(m)
		// A field that comes last decides, whatever was before it.
		if again, err2 := healthStatus(append(m[:len(m):len(m)], 8, 3)); err == nil && (err2 != nil || again != 3) {
			t.Errorf("%q: %d, and with status 3 appended %d %v", m, status, again, err2)
		}
	})
}
