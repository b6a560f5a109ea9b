package cors

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
)

func fields(kv ...string) []exchange.Field {
	var f []exchange.Field
	for i := 0; i < len(kv); i += 2 {
		f = append(f, exchange.Field{Name: kv[i], Value: kv[i+1]})
	}
	return f
}

func values(fields []exchange.Field, name string) []string {
	var v []string
	for _, f := range fields {
		if f.Name == name {
			v = append(v, f.Value)
		}
	}
	return v
}

// backend answers with fields, and with CORS fields of its own.
func backend(more ...exchange.Field) *exchangetest.Server {
	return exchangetest.NewServer(exchangetest.Script{Begin: func(q *exchangetest.Request) {
		q.Inform(103, fields("access-control-allow-origin", "https://evil.example", "link", "</a>")...)
		q.Answer(200, append(fields("access-control-allow-origin", "https://evil.example", "access-control-allow-credentials", "true",
			"access-control-expose-headers", "x", "content-type", "a/b", "vary", "Accept-Encoding"), more...)...)
		q.Finish()
	}})
}

type world struct {
	t *testing.T
	s *exchangetest.Server
	h exchange.Handler
}

func newWorld(t *testing.T, more []exchange.Field, origins ...string) *world {
	t.Helper()
	w := &world{t: t, s: backend(more...)}
	h, err := New(Config{Origins: origins}, w.s)
	if err != nil {
		t.Fatal(err)
	}
	w.h = h
	return w
}

// ask makes a request to https://gw.example, and returns the answer and the head that
// the backend has seen, if any.
func (w *world) ask(method string, kv ...string) (exchangetest.Answer, *exchange.RequestHead) {
	return w.askAt("https", "gw.example", method, kv...)
}

func (w *world) askAt(scheme, authority, method string, kv ...string) (exchangetest.Answer, *exchange.RequestHead) {
	w.t.Helper()
	r := exchangetest.NewResponse()
	given := fields(kv...)
	head := &exchange.RequestHead{Method: method, Scheme: scheme, Authority: authority, Path: "/s/m", Fields: given}
	q := w.h.Start(head, r)
	q.Begin()
	q.Data([]byte("x"))
	q.End(nil)
	a := r.Final(w.t)
	q.Credit(1)
	q.Done(true)
	r.Check(w.t)
	for i := range given {
		if given[i].Name != kv[2*i] || given[i].Value != kv[2*i+1] {
			w.t.Error("the carrier's head was changed")
		}
	}
	if len(w.s.Requests) == 0 {
		return a, nil
	}
	seen := w.s.Next(w.t).Seen()
	for _, f := range seen.Head.Fields {
		if ours(f.Name) {
			w.t.Errorf("the backend sees %s", f.Name)
		}
	}
	for _, i := range a.Informed {
		page := values(given, "origin") != nil || method == "GET" || method == "HEAD"
		if page && values(i.Fields, "access-control-allow-origin") != nil || values(i.Fields, "link") == nil {
			w.t.Errorf("an informational response has %v", i.Fields)
		}
	}
	return a, &seen.Head
}

// TestWho is the table of who may call.
func TestWho(t *testing.T) {
	const app = "https://app.example"
	for _, c := range []struct {
		name    string
		origins []string
		scheme  string
		host    string
		fields  []string
		allow   string // Access-Control-Allow-Origin; "-" is none; "403"
	}{
		{"no origin", nil, "https", "gw.example", nil, "-"},
		{"nothing is listed", nil, "https", "gw.example", []string{"origin", app}, "403"},
		{"listed", []string{app}, "https", "gw.example", []string{"origin", app}, app},
		{"listed, several", []string{"https://b.example", app}, "https", "gw.example", []string{"origin", app}, app},
		{"listed in another form", []string{"HTTPS://APP.example:443"}, "https", "gw.example", []string{"origin", app}, app},
		{"another scheme", []string{app}, "https", "gw.example", []string{"origin", "http://app.example"}, "403"},
		{"another port", []string{app}, "https", "gw.example", []string{"origin", app + ":8443"}, "403"},
		{"a subdomain", []string{app}, "https", "gw.example", []string{"origin", "https://x.app.example"}, "403"},
		{"a longer name", []string{app}, "https", "gw.example", []string{"origin", app + ".evil.example"}, "403"},
		{"a longer prefix", []string{app}, "https", "gw.example", []string{"origin", "https://evilapp.example"}, "403"},
		{"a trailing slash", []string{app}, "https", "gw.example", []string{"origin", app + "/"}, "403"},
		{"a user", []string{app}, "https", "gw.example", []string{"origin", "https://app.example@evil.example"}, "403"},
		{"two origins", []string{app}, "https", "gw.example", []string{"origin", app, "origin", app}, "403"},
		{"two in one", []string{app}, "https", "gw.example", []string{"origin", app + " " + app}, "403"},
		{"an empty origin", []string{"*"}, "https", "gw.example", []string{"origin", ""}, "403"},
		{"any", []string{"*"}, "https", "gw.example", []string{"origin", app}, "*"},
		{"any and listed", []string{"*", app}, "https", "gw.example", []string{"origin", app}, app},
		{"null with any", []string{"*"}, "https", "gw.example", []string{"origin", "null"}, "403"},
		{"null listed", []string{"null"}, "https", "gw.example", []string{"origin", "null"}, "*"},
		{"null by its own site", []string{"*"}, "https", "gw.example", []string{"origin", "null", "sec-fetch-site", "same-origin"}, "403"},
		{"own", nil, "https", "gw.example", []string{"origin", "https://gw.example"}, "-"},
		{"own with the default port", nil, "https", "gw.example:443", []string{"origin", "https://gw.example"}, "-"},
		{"own with a port", nil, "http", "gw.example:8080", []string{"origin", "http://gw.example:8080"}, "-"},
		{"own, capitals", nil, "https", "GW.example", []string{"origin", "https://gw.example"}, "-"},
		{"own, IPv6", nil, "http", "[::1]:8080", []string{"origin", "http://[::1]:8080"}, "-"},
		{"own, TLS taken off", nil, "http", "gw.example", []string{"origin", "https://gw.example"}, "-"},
		{"own, but of http", nil, "https", "gw.example", []string{"origin", "http://gw.example"}, "403"},
		{"own, another port", nil, "https", "gw.example:8443", []string{"origin", "https://gw.example"}, "403"},
		{"own and listed", []string{"https://gw.example"}, "https", "gw.example", []string{"origin", "https://gw.example"}, "https://gw.example"},
		{"own and any", []string{"*"}, "https", "gw.example", []string{"origin", "https://gw.example"}, "-"},
		{"own, host changed", nil, "http", "internal:8080", []string{"origin", app, "sec-fetch-site", "same-origin"}, "-"},
		{"same site is another origin", nil, "http", "internal:8080", []string{"origin", app, "sec-fetch-site", "same-site"}, "403"},
		{"cross site", nil, "http", "internal:8080", []string{"origin", app, "sec-fetch-site", "cross-site"}, "403"},
		{"an extension", []string{"chrome-extension://abcdef"}, "https", "gw.example", []string{"origin", "chrome-extension://abcdef"}, "chrome-extension://abcdef"},
		{"no authority", []string{"*"}, "https", "", []string{"origin", app}, "*"},
	} {
		for _, method := range []string{"GET", "POST", "HEAD", "OPTIONS", "CONNECT"} {
			t.Run(c.name+"/"+method, func(t *testing.T) {
				w := newWorld(t, nil, c.origins...)
				a, seen := w.askAt(c.scheme, c.host, method, c.fields...)
				allow, credentials, vary := values(a.Fields, "access-control-allow-origin"), values(a.Fields, "access-control-allow-credentials"), values(a.Fields, "vary")
				switch c.allow {
				case "403":
					if a.Status != 403 || seen != nil || allow != nil || fmt.Sprint(vary) != "[Origin]" {
						t.Errorf("%d %v, the backend saw %v", a.Status, a.Fields, seen)
					}
					if method == "HEAD" && len(a.Body) > 0 {
						t.Error("content for HEAD")
					}
					if method != "HEAD" && !strings.Contains(string(a.Body), "--cors-origin") {
						t.Errorf("%q does not help", a.Body)
					}
				case "-":
					page := c.fields != nil || method == "GET" || method == "HEAD"
					if a.Status != 200 || seen == nil || page && (allow != nil || credentials != nil || values(a.Fields, "access-control-expose-headers") != nil) {
						t.Errorf("%d %v", a.Status, a.Fields)
					}
					if page && fmt.Sprint(vary) != "[Accept-Encoding Origin]" {
						t.Errorf("a cache would mix up answers: vary %v", vary)
					}
				default:
					if a.Status != 200 || seen == nil || len(allow) != 1 || allow[0] != c.allow || fmt.Sprint(vary) != "[Accept-Encoding Origin]" {
						t.Errorf("%d %v", a.Status, a.Fields)
					}
					if (c.allow != "*") != (len(credentials) == 1 && credentials[0] == "true") {
						t.Errorf("credentials %v", credentials)
					}
				}
			})
		}
	}
}

// TestBackendSaysNothing drops what a backend says of origins, for every kind of call.
func TestBackendSaysNothing(t *testing.T) {
	for _, c := range [][]string{{"origin", "https://gw.example"}, {"origin", "https://app.example"}} {
		for _, method := range []string{"GET", "POST"} {
			a, _ := newWorld(t, nil, "https://app.example").ask(method, c...)
			for _, f := range a.Fields {
				if strings.Contains(f.Value, "evil") {
					t.Errorf("%s with %v: %v", method, c, f)
				}
			}
		}
	}
}

func TestPreflight(t *testing.T) {
	const app = "https://app.example"
	for _, c := range []struct {
		name                        string
		origins                     []string
		origin                      string
		asked                       []string // each Access-Control-Request-Headers
		allow, credentials, headers string
	}{
		{"listed", []string{app}, app, []string{"content-type,x-grpc-web"}, app, "true", "content-type, x-grpc-web"},
		{"any", []string{"*"}, app, []string{"X-A"}, "*", "", "x-a"},
		{"null", []string{"null"}, "null", nil, "*", "", allowHeaders},
		{"own", nil, "https://gw.example", nil, "https://gw.example", "true", allowHeaders},
		{"nothing asked", []string{app}, app, nil, app, "true", allowHeaders},
		{"an empty list", []string{app}, app, []string{" , ,"}, app, "true", allowHeaders},
		{"two lists", []string{app}, app, []string{"a, b", "c"}, app, "true", "a, b, c"},
		{"authorization", []string{"*"}, app, []string{"authorization"}, "*", "", "authorization"},
		{"no names", []string{app}, app, []string{"a b"}, app, "true", allowHeaders},
		{"an injection", []string{app}, app, []string{"a\r\nx: y"}, app, "true", allowHeaders},
		{"too long", []string{app}, app, []string{strings.Repeat("a", maxAskedBytes+1)}, app, "true", allowHeaders},
		{"too many", []string{app}, app, []string{strings.Repeat("a,", maxAskedNames+1)}, app, "true", allowHeaders},
	} {
		t.Run(c.name, func(t *testing.T) {
			kv := []string{"origin", c.origin, "access-control-request-method", "POST"}
			for _, a := range c.asked {
				kv = append(kv, "access-control-request-headers", a)
			}
			a, seen := newWorld(t, nil, c.origins...).ask("OPTIONS", kv...)
			if seen != nil {
				t.Error("a preflight reached the backend")
			}
			if a.Status != 204 || !a.Ended || len(a.Body) > 0 {
				t.Errorf("%+v", a)
			}
			if a.Get("access-control-allow-origin") != c.allow || a.Get("access-control-allow-credentials") != c.credentials ||
				a.Get("access-control-allow-headers") != c.headers || a.Get("access-control-allow-methods") != "GET, POST, PUT, PATCH, DELETE" || a.Get("access-control-max-age") != "7200" {
				t.Errorf("%v", a.Fields)
			}
			if v := a.Get("vary"); v != "Origin, Access-Control-Request-Method, Access-Control-Request-Headers" {
				t.Errorf("vary %s", v)
			}
		})
	}
	w := newWorld(t, nil, app)
	if a, seen := w.ask("OPTIONS", "origin", "https://evil.example", "access-control-request-method", "POST"); a.Status != 403 || seen != nil {
		t.Errorf("a foreign page: %+v", a)
	}
	if _, seen := w.ask("OPTIONS", "origin", app); seen == nil {
		t.Error("OPTIONS that is no preflight does not reach the backend")
	}
	if _, seen := w.ask("OPTIONS", "access-control-request-method", "POST"); seen == nil {
		t.Error("OPTIONS without an origin does not reach the backend")
	}
}

// TestExposed names each field of the application, and what protocols need.
func TestExposed(t *testing.T) {
	more := fields("x-a", "1", "x-a", "2", "trailer-x-b", "3", "grpc-status", "0", "grpc-encoding", "gzip", "set-cookie", "a=b", "date", "now", "connect-content-encoding", "br")
	for _, origins := range []string{"https://app.example", "*"} {
		a, _ := newWorld(t, more, origins).ask("POST", "origin", "https://app.example", "x-mine", "1")
		v := values(a.Fields, "access-control-expose-headers")
		if len(v) != 1 || v[0] != "Grpc-Status, Grpc-Message, Grpc-Status-Details-Bin, x-a, trailer-x-b, grpc-encoding, connect-content-encoding" {
			t.Errorf("%q", v)
		}
	}
	a, seen := newWorld(t, nil, "*").ask("POST", "x-first", "1", "origin", "https://app.example", "x-mine", "1", "access-control-x", "2")
	if v := a.Get("access-control-expose-headers"); v != alwaysExposed {
		t.Errorf("%q", v)
	}
	if fmt.Sprint(seen.Fields) != fmt.Sprint(fields("x-first", "1", "x-mine", "1")) {
		t.Errorf("the backend sees %v", seen.Fields)
	}
}

// TestRefusalIsShort has an origin that is long and hostile.
func TestRefusalIsShort(t *testing.T) {
	a, _ := newWorld(t, nil).ask("POST", "origin", strings.Repeat("é\n<script>", 1000))
	if len(a.Body) > 1000 || strings.ContainsAny(string(a.Body[:len(a.Body)-1]), "\n") || a.Get("content-type") != "text/plain; charset=utf-8" {
		t.Errorf("%q", a.Body)
	}
}

func TestConfig(t *testing.T) {
	for origin, want := range map[string]string{
		"app.example":               "no scheme",
		"https://app.example/":      "after its host",
		"https://app.example/path":  "after its host",
		"https://*.example":         "wildcard",
		"https://":                  "no host",
		"https://bücher.example":    "ASCII",
		"https://app.example:":      "empty port",
		"https://app.example:0":     "malformed port",
		"https://app.example:+1":    "malformed port",
		"https://app.example:99999": "malformed port",
		"https://u@app.example":     "user",
		"https://[::1":              "malformed address",
		"https://[1.2.3.4]":         "malformed address",
		"https://[fe80::1%25eth0]":  "malformed address",
		"https://a b":               "malformed host",
		"1https://a":                "malformed scheme",
		"":                          "no scheme",
	} {
		_, err := New(Config{Origins: []string{"https://fine.example", origin}}, nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), fmt.Sprintf("%q", origin)) {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

// FuzzOrigin: what is read is in one form, and that form is its own.
func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"https://app.example", "HTTP://A:80", "http://[::1]:8080", "null", "a+b.c-d://x_y", "https://[::ffff:1.2.3.4]", "http://a:00080"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, err := parseOrigin(s)
		if err != nil {
			return
		}
		form := o.String()
		again, err := parseOrigin(form)
		if err != nil || again != o {
			t.Errorf("%q is read as %+v and written %q, which is %+v, %v", s, o, form, again, err)
		}
		if form != strings.ToLower(form) || strings.ContainsAny(form, " \t\r\n@*\"\\?#") {
			t.Errorf("%q became %q", s, form)
		}
		authority := strings.SplitN(form, "://", 2)[1]
		if !o.is(o.scheme, authority) {
			t.Errorf("%q is not its own origin", form)
		}
	})
}

// FuzzNames: nothing comes back that is not a list of names, and that list comes back
// as it is.
func FuzzNames(f *testing.F) {
	f.Add("content-type,x-grpc-web", "X-A")
	f.Add(" , a\t,", "a b")
	f.Fuzz(func(t *testing.T, a, b string) {
		list, ok := echoNames([]string{a, b})
		if !ok {
			if list != "" {
				t.Errorf("refused, and %q", list)
			}
			return
		}
		names := 0
		for name := range strings.SplitSeq(list, ", ") {
			if list != "" && (name == "" || !token(name) || name != strings.ToLower(name)) {
				t.Errorf("%q, %q: %q", a, b, list)
			}
			names++
		}
		if names > maxAskedNames {
			t.Errorf("%d names", names)
		}
		if again, ok := echoNames([]string{list}); len(list) <= maxAskedBytes && (!ok || again != list) {
			t.Errorf("%q became %q, %v", list, again, ok)
		}
	})
}

// TestNoCookies: a page that may call without credentials only does not call in the name of a
// cookie, whatever it told its browser to send. A token that it has set itself is its own.
func TestNoCookies(t *testing.T) {
	for _, c := range []struct {
		origin string
		passes bool
	}{{"https://app.example", false}, {"https://listed.example", true}, {"https://gw.example", true}} {
		for _, method := range []string{"GET", "POST"} {
			_, seen := newWorld(t, nil, "*", "https://listed.example").ask(method, "origin", c.origin, "cookie", "a=b", "authorization", "Bearer x", "cookie", "c=d")
			n := 0
			for _, f := range seen.Fields {
				if f.Name == "cookie" {
					n++
				}
			}
			if (n == 2) != c.passes || n == 1 || exchange.Get(seen.Fields, "authorization") != "Bearer x" {
				t.Errorf("%s by %s: %v", method, c.origin, seen.Fields)
			}
		}
	}
}
