package sluice

import (
	"crypto/sha256"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The example of the page is a document: nothing in it is unknown, and nothing is missing.
func TestDiscoveryPage(t *testing.T) {
	page, err := os.ReadFile("docs/protocols/discovery.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```json\n")
	example, rest, ok := strings.Cut(rest, "```\n")
	if !ok {
		t.Fatal("the page has no example")
	}
	dec := json.NewDecoder(strings.NewReader(example))
	dec.DisallowUnknownFields()
	var d discovered
	if err := dec.Decode(&d); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if json.Unmarshal([]byte(example), &a) != nil || json.Unmarshal(again, &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("the example is\n%s\nand its members\n%s", example, again)
	}
	// And the table has each member.
	var names []string
	for _, m := range regexp.MustCompile(`"(\w+)":`).FindAllStringSubmatch(example, -1) {
		if !slices.Contains(names, m[1]) {
			names = append(names, m[1])
		}
	}
	for _, name := range names {
		if !regexp.MustCompile("(?m)^\\|.*`([^`]*[.\\]…])?" + name + "`.*\\|").MatchString(rest) {
			t.Errorf("the table has no %q", name)
		}
	}
}

func TestDiscoveryURL(t *testing.T) {
	udp := func(addr string) net.Addr {
		a, err := net.ResolveUDPAddr("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	type socket struct{ altSvc, addr string }
	public := []socket{{`h3=":443"; ma=86400`, "[::]:8443"}}
	local := []socket{{`h3=":8443"; ma=86400`, "127.0.0.1:8443"}}
	both := append(slices.Clone(local), socket{`h3=":8443"; ma=86400`, "[::1]:8443"})
	for _, c := range []struct {
		sockets []socket
		host    string
		secure  bool
		want    string
	}{
		{nil, "example.com", true, ""},
		{[]socket{{"", "127.0.0.1:1"}}, "example.com", true, ""},
		{public, "example.com", true, "/p"},
		{public, "example.com:443", true, "/p"},
		{public, "example.com:8080", false, "https://example.com/p"},
		{public, "example.com", false, "https://example.com/p"},
		{public, "[2001:db8::1]", true, "/p"},
		{public, "[2001:db8::1]:8080", false, "https://[2001:db8::1]/p"},
		{public, "localhost:8080", false, "https://localhost/p"},
		{local, "127.0.0.1:8443", true, "/p"},
		{local, "localhost:8080", false, "https://127.0.0.1:8443/p"},
		{local, "localhost:8443", true, "https://127.0.0.1:8443/p"},
		{local, "a.localhost:8080", false, "https://127.0.0.1:8443/p"},
		{both, "localhost:8080", false, "https://localhost:8443/p"},
		{both[1:], "localhost:8080", false, "https://[::1]:8443/p"},
		{append(slices.Clone(local), public...), "localhost", true, "/p"},
		{public, "", false, ""},
	} {
		var q quicPorts
		var remove []func()
		for _, s := range c.sockets {
			remove = append(remove, q.add(s.altSvc, udp(s.addr)))
		}
		if got := q.url(c.host, c.secure, "/p"); got != c.want {
			t.Errorf("%v, asked as %q, TLS %v: %q, want %q", c.sockets, c.host, c.secure, got, c.want)
		}
		for _, r := range remove {
			r()
		}
		if got := q.url(c.host, c.secure, "/p"); got != "" {
			t.Errorf("%v: after their end %q", c.sockets, got)
		}
	}
}

// ask gets the document.
func ask(t *testing.T, h http.Handler, url string, fields ...string) (*http.Response, discovered) {
	t.Helper()
	r := httptest.NewRequest("GET", url, nil)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var d discovered
	if w.Code == 200 {
		if err := json.NewDecoder(w.Result().Body).Decode(&d); err != nil {
			t.Fatal(err)
		}
	}
	return w.Result(), d
}

func TestDiscovery(t *testing.T) {
	hashes := [][sha256.Size]byte{{1}, {2}}
	g, err := New(Config{
		Backends: []Backend{{Handler: http.NotFoundHandler()}}, CORSOrigins: []string{"https://app.example.com"},
		Discovery: Discovery{CertificateHashes: func() [][sha256.Size]byte { return hashes }},
		Limits:    Limits{MessageBytes: 1000, StreamsPerConn: 7, HeaderBytes: 5000},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	g.riding = append(g.riding, riding{Name: carrierWebTransport, Protocol: "sluice.v1", URL: "/x"})
	names := func(d discovered) (all []string) {
		for _, c := range d.Carriers {
			all = append(all, c.Name)
		}
		return all
	}

	r, d := ask(t, g, "http://example.com"+discoveryPath)
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Cache-Control") != "max-age=60" {
		t.Errorf("%s %v", r.Status, r.Header)
	}
	if d.Version != 1 || d.Limits.Message != 1000 || d.Limits.Calls != 7 || d.Limits.Fields != 5000 || d.Limits.Window != 65536 {
		t.Errorf("%+v", d)
	}
	if !slices.Equal(d.Avoid, defaultAvoid) {
		t.Errorf("avoid: %+v", d.Avoid)
	}
	find := func(d discovered) *riding {
		if i := slices.IndexFunc(d.Carriers, func(c riding) bool { return c.Name == carrierWebTransport && c.URL != "/sluice/v1" }); i >= 0 {
			return &d.Carriers[i]
		}
		return nil
	}
	if got := names(d); !slices.Equal(got, preference[1:]) {
		t.Errorf("without HTTP/3: %v", got)
	}
	stop := g.quic.add(`h3=":8443"; ma=60`, &net.UDPAddr{IP: net.IPv6unspecified, Port: 8443})
	_, d = ask(t, g, "http://example.com"+discoveryPath+"?x")
	if c := find(d); c == nil || c.URL != "https://example.com:8443/x" || len(c.Certificates) != 2 ||
		c.Certificates[0] != (digest{"sha-256", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}) {
		t.Errorf("WebTransport: %+v", c)
	}
	if got := names(d); !slices.Equal(got, preference) {
		t.Errorf("with HTTP/3: %v", got)
	}
	stop()
	if _, d = ask(t, g, "http://example.com"+discoveryPath); find(d) != nil {
		t.Error("WebTransport after HTTP/3 has ended")
	}

	r, _ = ask(t, g, "http://example.com"+discoveryPath, "Origin", "https://app.example.com")
	if r.StatusCode != 200 || r.Header.Get("Access-Control-Allow-Origin") != "https://app.example.com" {
		t.Errorf("a page that may call: %s, %v", r.Status, r.Header)
	}
	if r, _ = ask(t, g, "http://example.com"+discoveryPath, "Origin", "https://evil.example.com"); r.StatusCode != 403 {
		t.Errorf("a page that may not call: %s", r.Status)
	}
	for verb, want := range map[string]int{"POST": 405, "HEAD": 200} {
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest(verb, "http://example.com"+discoveryPath, nil))
		body, _ := io.ReadAll(w.Result().Body)
		if w.Code != want || verb == "HEAD" && len(body) > 0 {
			t.Errorf("%s: %d %q", verb, w.Code, body)
		}
	}
}
