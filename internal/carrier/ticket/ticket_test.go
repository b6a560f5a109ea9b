package ticket

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
)

const page = "https://app.example.com"

// office is a server whose clock stands still.
type office struct {
	*Server
	t    *testing.T
	now  time.Time
	hits int
}

func newOffice(t *testing.T, change func(*Options)) *office {
	f := &office{t: t, now: time.Unix(1e9, 0)}
	o := Options{
		Path: "/sluice/v1/ticket", Fields: []string{"authorization", "cookie"}, Life: 30 * time.Second, Max: 64,
		Now: func() time.Time { return f.now }, LimitHit: func(string) { f.hits++ },
	}
	if change != nil {
		change(&o)
	}
	f.Server = New(o)
	return f
}

func fields(kv ...string) (f []exchange.Field) {
	for i := 0; i < len(kv); i += 2 {
		f = append(f, exchange.Field{Name: kv[i], Value: kv[i+1]})
	}
	return f
}

func from(addr string) net.Addr {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		panic(err)
	}
	return a
}

// post asks for a ticket, with the given head completed.
func (f *office) post(head exchange.RequestHead) exchangetest.Answer {
	f.t.Helper()
	if head.Method == "" {
		head.Method = "POST"
	}
	if head.Path == "" {
		head.Path = f.o.Path
	}
	if !f.Match(&head) {
		f.t.Fatalf("%s is not for it", head.Path)
	}
	r := exchangetest.NewResponse()
	q := f.Start(&head, r)
	q.Begin()
	q.Data([]byte("means nothing"))
	q.End(nil)
	a := r.Final(f.t)
	q.Reset(exchange.Cancel)
	q.Credit(len(a.Body))
	q.Done(true)
	r.Check(f.t)
	if a.Get("cache-control") != "no-store" {
		f.t.Errorf("may be kept: %v", a.Fields)
	}
	if a.Status != 204 && a.Get("content-length") != fmt.Sprint(len(a.Body)) {
		f.t.Errorf("%d bytes, %v", len(a.Body), a.Fields)
	}
	return a
}

// get asks for a ticket that is given.
func (f *office) get(kv ...string) string {
	f.t.Helper()
	a := f.post(exchange.RequestHead{Fields: fields(kv...), Origin: page})
	var got struct {
		Ticket  string
		Expires int
	}
	if err := json.Unmarshal(a.Body, &got); err != nil || a.Status != 200 || got.Expires != 30 || len(got.Ticket) != 32 {
		f.t.Fatalf("%d %s: %v", a.Status, a.Body, err)
	}
	return got.Ticket
}

// use redeems a path of a page.
func (f *office) use(origin, path string) (string, bool) {
	got, ok := f.Redeem(&exchange.RequestHead{Method: "CONNECT", Path: path, Origin: origin})
	var all []string
	for _, f := range got {
		all = append(all, f.Name+": "+f.Value)
	}
	return strings.Join(all, "\n"), ok
}

func TestTicket(t *testing.T) {
	f := newOffice(t, nil)
	secret := f.get("user-agent", "x", "cookie", "a=1", "authorization", "Bearer abc", "cookie", "b=2", "content-type", "text/plain")
	if other := f.get("authorization", "Bearer abc"); other == secret {
		t.Fatal("the same ticket again")
	}
	got, ok := f.use(page, "/sluice/v1?x=1&ticket="+secret)
	if want := "cookie: a=1\nauthorization: Bearer abc\ncookie: b=2"; !ok || got != want {
		t.Errorf("%v\n%s\nwant\n%s", ok, got, want)
	}
	if got, ok := f.use(page, "/sluice/v1"); !ok || got != "" {
		t.Errorf("no ticket: %v, %q", ok, got)
	}
}

func TestBadTickets(t *testing.T) {
	for name, try := range map[string]func(f *office, secret string) (string, bool){
		"forged": func(f *office, _ string) (string, bool) { return f.use(page, "/?ticket="+strings.Repeat("A", 32)) },
		"changed": func(f *office, s string) (string, bool) {
			return f.use(page, "/?ticket="+strings.Map(func(r rune) rune { return r ^ 1 }, s[:1])+s[1:])
		},
		"cut":               func(f *office, s string) (string, bool) { return f.use(page, "/?ticket="+s[:31]) },
		"longer":            func(f *office, s string) (string, bool) { return f.use(page, "/?ticket="+s+"A") },
		"empty":             func(f *office, _ string) (string, bool) { return f.use(page, "/?ticket=") },
		"stolen by a page":  func(f *office, s string) (string, bool) { return f.use("https://evil.example.com", "/?ticket="+s) },
		"stolen by no page": func(f *office, s string) (string, bool) { return f.use("", "/?ticket="+s) },
		"outdated": func(f *office, s string) (string, bool) {
			f.now = f.now.Add(30 * time.Second)
			return f.use(page, "/?ticket="+s)
		},
		"reused": func(f *office, s string) (string, bool) {
			if _, ok := f.use(page, "/?ticket="+s); !ok {
				return "is refused", false
			}
			return f.use(page, "/?ticket="+s)
		},
		"used where it is not good": func(f *office, s string) (string, bool) {
			f.use("https://evil.example.com", "/?ticket="+s)
			return f.use(page, "/?ticket="+s)
		},
		"two": func(f *office, s string) (string, bool) {
			return f.use(page, "/?ticket="+s+"&ticket="+f.get("cookie", "c"))
		},
		"one and another": func(f *office, s string) (string, bool) { return f.use(page, "/?ticket=x&ticket="+s) },
		"hidden":          func(f *office, s string) (string, bool) { return f.use("", "/?%74icket="+s) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newOffice(t, nil)
			if got, ok := try(f, f.get("authorization", "Bearer abc")); ok || got != "" {
				t.Errorf("is taken, or tells something: %v, %q", ok, got)
			}
		})
	}
	f := newOffice(t, nil)
	secret := f.get("cookie", "a")
	f.now = f.now.Add(30*time.Second - 1)
	if _, ok := f.use(page, "/?ticket="+secret); !ok {
		t.Error("at the end of its life it is refused")
	}
}

func TestRefusals(t *testing.T) {
	f := newOffice(t, nil)
	for _, verb := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS"} {
		a := f.post(exchange.RequestHead{Method: verb, Fields: fields("cookie", "a")})
		if a.Status != 405 || a.Get("allow") != "POST" || verb == "HEAD" && len(a.Body) > 0 {
			t.Errorf("%s: %d %v", verb, a.Status, a.Fields)
		}
	}
	if a := f.post(exchange.RequestHead{Fields: fields("x-user", "me")}); a.Status != 204 || a.Get("content-length") != "" {
		t.Errorf("nothing that says who it is: %d %v", a.Status, a.Fields)
	}
	if a := f.post(exchange.RequestHead{Path: "/sluice/v1/ticket?x", Fields: fields("cookie", "a")}); a.Status != 200 {
		t.Errorf("with a query: %d", a.Status)
	}
	for _, other := range []*exchange.RequestHead{{Method: "POST", Path: "/sluice/v1/ticket/"}, {Method: "CONNECT", Path: f.o.Path, Protocol: "websocket"}} {
		if f.Match(other) {
			t.Errorf("takes %+v", other)
		}
	}
	for err, want := range map[error]int{errors.New("who?"): 401, &Refusal{403, "not you"}: 403, nil: 200} {
		f := newOffice(t, func(o *Options) { o.Check = func(*exchange.RequestHead) error { return err } })
		if a := f.post(exchange.RequestHead{}); a.Status != 204 {
			t.Errorf("%v, without a cookie: %d", err, a.Status)
		}
		if a := f.post(exchange.RequestHead{Fields: fields("cookie", "a")}); a.Status != want || err != nil && string(a.Body) != err.Error()+"\n" {
			t.Errorf("%v: %d %s", err, a.Status, a.Body)
		}
	}
}

func TestLimits(t *testing.T) {
	f := newOffice(t, nil) // 64 in all, 4 of an address
	ask := func(addr string, size int) int {
		return f.post(exchange.RequestHead{Addr: from(addr), Fields: fields("cookie", strings.Repeat("a", size)), Origin: page}).Status
	}
	for i := range 4 {
		if got := ask("192.0.2.1:5", 1); got != 200 {
			t.Fatalf("ticket %d: %d", i, got)
		}
	}
	for _, c := range []struct {
		addr string
		size int
		want int
	}{
		{"192.0.2.1:6", 1, 429},            // one address
		{"[::ffff:192.0.2.1]:6", 1, 429},   // written otherwise
		{"192.0.2.2:6", 1, 200},            // another one
		{"192.0.2.3:6", 5000, 429},         // too much
		{"[2001:db8::1]:6", 3000, 200},     // and in sum
		{"[2001:db8::2]:6", 2000, 429},     // in one network
		{"[2001:db8:0:1::2]:6", 2000, 200}, // in another
	} {
		if got := ask(c.addr, c.size); got != c.want {
			t.Errorf("%s, %d bytes: %d, want %d", c.addr, c.size, got, c.want)
		}
	}
	for i := 0; ; i++ {
		if got := ask(fmt.Sprintf("198.51.100.%d:1", i), 1); got == 503 {
			break
		} else if got != 200 || i > 64 {
			t.Fatalf("address %d: %d", i, got)
		}
	}
	if n := len(f.waiting); n != 64 || f.hits != 5 {
		t.Errorf("%d tickets, %d times full", n, f.hits)
	}
	f.now = f.now.Add(30 * time.Second)
	if got := ask("192.0.2.1:5", 1); got != 200 {
		t.Errorf("after their time: %d", got)
	}
	if len(f.waiting) != 1 || len(f.order) != 1 || len(f.clients) != 1 || f.bytes != len("cookie")+1 {
		t.Errorf("what is over is kept: %d, %d, %d, %d bytes", len(f.waiting), len(f.order), len(f.clients), f.bytes)
	}
}

// Tickets that were used take no place.
func TestUsedTickets(t *testing.T) {
	f := newOffice(t, nil)
	first := f.get("cookie", "first") // it waits before all others
	for range 10_000 {
		if _, ok := f.use(page, "/?ticket="+f.get("cookie", "a")); !ok {
			t.Fatal("a good one is refused")
		}
	}
	if len(f.order) > 100 || len(f.waiting) != 1 || cap(f.order) > 1000 {
		t.Errorf("%d in order, %d waiting", len(f.order), len(f.waiting))
	}
	if _, ok := f.use(page, "/?ticket="+first); !ok {
		t.Error("the first one is forgotten")
	}
	if f.bytes != 0 || len(f.clients) != 0 {
		t.Errorf("%d bytes, %d clients", f.bytes, len(f.clients))
	}
}

func TestStrip(t *testing.T) {
	for in, want := range map[string]string{
		"/a":                         "/a",
		"/a?b=1":                     "/a?b=1",
		"/a?ticket=x":                "/a",
		"/a?b=1&ticket=x":            "/a?b=1",
		"/a?%74icket=x&ticket=y&b=1": "/a?b=1",
		"/a?tickets=x&%zz":           "/a?tickets=x&%zz",
	} {
		if got := Strip(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// FuzzRedeem: nobody gets in by a path but with the ticket, and nothing is left of it in what is stripped.
func FuzzRedeem(f *testing.F) {
	for _, seed := range []string{"", "/", "/?", "?ticket=", "/?ticket=AAAA", "/?ticket=a&ticket=b", "/?%74icket=a", "/?ticket", "/?a=%&ticket=x", "/?ticket=%zz", "/?a;ticket=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		o := newOffice(t, nil)
		secret := o.get("cookie", "a")
		head := &exchange.RequestHead{Path: path, Origin: page}
		got, ok := o.Redeem(head)
		if len(got) > 0 || ok != (len(secretsOf(path)) == 0) {
			t.Fatalf("%q: %v, %v", path, got, ok)
		}
		if len(secretsOf(Strip(path))) > 0 {
			t.Fatalf("%q: a ticket in %q", path, Strip(path))
		}
		if got, ok := o.Redeem(&exchange.RequestHead{Path: "/?ticket=" + secret, Origin: page}); !ok || !slices.Equal(got, fields("cookie", "a")) {
			t.Fatalf("%q: the good one is refused", path)
		}
	})
}
