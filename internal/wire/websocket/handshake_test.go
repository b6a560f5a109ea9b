package websocket

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// request makes a head from lines "name: value".
func request(method, protocol string, lines ...string) *exchange.RequestHead {
	h := &exchange.RequestHead{Method: method, Protocol: protocol, Path: "/", Length: -1}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.Fields = append(h.Fields, exchange.Field{Name: name, Value: value})
	}
	return h
}

func lines(fields []exchange.Field) []string {
	var out []string
	for _, f := range fields {
		out = append(out, f.Name+": "+f.Value)
	}
	return out
}

// upgrade are the fields of the example of RFC 6455, section 1.2.
func upgrade(more ...string) []string {
	return append([]string{
		"upgrade: websocket", "connection: Upgrade", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version: 13",
	}, more...)
}

func TestAsked(t *testing.T) {
	for name, test := range map[string]struct {
		head *exchange.RequestHead
		want bool
	}{
		"RFC 6455":         {request("GET", "", "upgrade: websocket", "connection: Upgrade"), true},
		"Firefox":          {request("GET", "", "upgrade: websocket", "connection: keep-alive, Upgrade"), true},
		"case":             {request("GET", "", "upgrade: WebSocket", "connection: upgrade"), true},
		"two lines":        {request("GET", "", "connection: keep-alive", "upgrade: h2c", "connection: ,UPGRADE", "upgrade: websocket"), true},
		"a list":           {request("GET", "", "upgrade: h2c , websocket", "connection: upgrade"), true},
		"no connection":    {request("GET", "", "upgrade: websocket"), false},
		"no upgrade":       {request("GET", "", "connection: upgrade"), false},
		"another upgrade":  {request("GET", "", "upgrade: h2c", "connection: upgrade"), false},
		"a longer word":    {request("GET", "", "upgrade: websocket2", "connection: upgrade"), false},
		"extended CONNECT": {request("CONNECT", "websocket"), true},
		"another protocol": {request("CONNECT", "webtransport"), false},
		"CONNECT":          {request("CONNECT", ""), false},
	} {
		if got := Asked(test.head); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAnswer(t *testing.T) {
	const accept = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
	switched := func(more ...string) []string {
		return append([]string{"upgrade: websocket", "connection: Upgrade", accept}, more...)
	}
	server := Server{Protocols: []string{"best", "good", "sluice.json"}, Deflate: &Deflate{}}
	for name, test := range map[string]struct {
		head   *exchange.RequestHead
		status int
		want   []string
	}{
		"RFC 6455, section 1.3": {request("GET", "", upgrade()...), 101, switched()},
		"an unknown subprotocol": {
			request("GET", "", upgrade("sec-websocket-protocol: chat")...), 101, switched(),
		},
		"the server's order": {
			request("GET", "", upgrade("sec-websocket-protocol: sluice.json, good", "sec-websocket-protocol: x,best")...),
			101, switched("sec-websocket-protocol: best"),
		},
		"beside a token": {
			request("GET", "", upgrade("sec-websocket-protocol: bearer.abc, sluice.json")...),
			101, switched("sec-websocket-protocol: sluice.json"),
		},
		"another case is another name": {
			request("GET", "", upgrade("sec-websocket-protocol: BEST")...), 101, switched(),
		},
		"Chromium": {
			request("GET", "", upgrade("sec-websocket-extensions: permessage-deflate; client_max_window_bits")...), 101,
			switched("sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
		},
		"other extensions": {
			request("GET", "", upgrade("sec-websocket-extensions: x-webkit-deflate-frame, mux; a=1; b=\"2\"")...), 101, switched(),
		},
		"extensions on two lines": {
			request("GET", "", upgrade("sec-websocket-extensions: mux", "sec-websocket-extensions: permessage-deflate")...), 101,
			switched("sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
		},
		"extended CONNECT": {
			request("CONNECT", "websocket", "sec-websocket-version: 13", "sec-websocket-protocol: best"), 200,
			[]string{"sec-websocket-protocol: best"},
		},

		"no key":                  {request("GET", "", "upgrade: websocket", "connection: upgrade", "sec-websocket-version: 13"), 400, nil},
		"two keys":                {request("GET", "", upgrade("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==")...), 400, nil},
		"a key of 15 bytes":       {request("GET", "", "sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBsZSBub25j"), 400, nil},
		"a key of 17 bytes":       {request("GET", "", "sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZXg="), 400, nil},
		"a key that is no base64": {request("GET", "", "sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBs*SBub25jZQ=="), 400, nil},
		"POST":                    {request("POST", "", upgrade()...), 405, []string{"allow: GET"}},
		"content":                 {request("GET", "", upgrade("transfer-encoding: chunked")...), 400, nil},
		"no version": {
			request("GET", "", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="), 426,
			[]string{"sec-websocket-version: 13", "upgrade: websocket", "connection: Upgrade"},
		},
		"another version": {
			request("GET", "", "sec-websocket-version: 8", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="), 426,
			[]string{"sec-websocket-version: 13", "upgrade: websocket", "connection: Upgrade"},
		},
		"another version over HTTP/2": {
			request("CONNECT", "websocket", "sec-websocket-version: 8"), 400, []string{"sec-websocket-version: 13"},
		},
		"malformed extensions": {request("GET", "", upgrade("sec-websocket-extensions: permessage-deflate; =")...), 400, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a, refusal := server.Answer(test.head)
			var status int
			var got []string
			switch {
			case (a == nil) == (refusal == nil):
				t.Fatal("neither or both")
			case a != nil:
				status, got = a.Status, lines(a.Fields)
			default:
				status, got = refusal.Status, lines(refusal.Fields)
				if refusal.Error() == "" {
					t.Error("no reason")
				}
			}
			if status != test.status {
				t.Errorf("status %d", status)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProtocols(t *testing.T) {
	h := request("GET", "", "sec-websocket-protocol: a , bearer.b", "x: y", "sec-websocket-protocol: ,c,")
	if diff := cmp.Diff([]string{"a", "bearer.b", "c"}, Protocols(h.Fields)); diff != "" {
		t.Error(diff)
	}
}

// TestOffers are the parameters of RFC 7692, section 7.1.
func TestOffers(t *testing.T) {
	none := &Deflate{}
	takeover := &Deflate{Takeover: true}
	wide := &Deflate{Takeover: true, WindowBits: 15}
	for _, test := range []struct {
		d           *Deflate
		offer, want string // without "permessage-deflate"
	}{
		{nil, "", "-"},
		{none, "", "; server_no_context_takeover; client_no_context_takeover"},
		{none, "; server_no_context_takeover; client_no_context_takeover", "; server_no_context_takeover; client_no_context_takeover"},
		{none, "; client_max_window_bits=10", "; server_no_context_takeover; client_no_context_takeover"},
		{none, "; server_max_window_bits=8", "; server_no_context_takeover; server_max_window_bits=8; client_no_context_takeover"},
		{takeover, "", "; server_max_window_bits=12; client_no_context_takeover"},
		{takeover, "; client_max_window_bits", "; server_max_window_bits=12; client_max_window_bits=12"},
		{takeover, "; client_max_window_bits=15", "; server_max_window_bits=12; client_max_window_bits=12"},
		{takeover, "; client_max_window_bits=9", "; server_max_window_bits=12"},
		{takeover, "; server_max_window_bits=10; client_max_window_bits=12", "; server_max_window_bits=10"},
		{takeover, "; server_no_context_takeover; client_max_window_bits", "; server_no_context_takeover; client_max_window_bits=12"},
		{takeover, "; client_no_context_takeover", "; server_max_window_bits=12; client_no_context_takeover"},
		{wide, "", "; server_max_window_bits=15"},
		{wide, "; client_max_window_bits", "; server_max_window_bits=15"},
		{none, `; server_max_window_bits="9"`, "; server_no_context_takeover; server_max_window_bits=9; client_no_context_takeover"},
		{none, `;server_max_window_bits = "1\0"`, "; server_no_context_takeover; server_max_window_bits=10; client_no_context_takeover"},
		// Offers that have to be declined (section 7.1), and the next one taken.
		{none, "; server_max_window_bits", "-"},
		{none, "; server_max_window_bits=7", "-"},
		{none, "; server_max_window_bits=16", "-"},
		{none, "; server_max_window_bits=08", "-"},
		{none, "; server_max_window_bits=010", "-"},
		{none, "; client_max_window_bits=x", "-"},
		{none, "; client_max_window_bits=7", "-"},
		{none, "; client_no_context_takeover=1", "-"},
		{none, "; server_no_context_takeover=true", "-"},
		{none, "; unknown", "-"},
		{none, "; client_max_window_bits; client_max_window_bits=9", "-"},
		{none, "; server_no_context_takeover; server_no_context_takeover", "-"},
		{none, "; unknown, permessage-deflate", "; server_no_context_takeover; client_no_context_takeover"},
		{none, "; server_max_window_bits=99, permessage-deflate; server_max_window_bits=11", "; server_no_context_takeover; server_max_window_bits=11; client_no_context_takeover"},
		{none, ", permessage-deflate; server_max_window_bits=8", "; server_no_context_takeover; client_no_context_takeover"},
	} {
		t.Run(test.offer, func(t *testing.T) {
			s := Server{Deflate: test.d}
			a, refusal := s.Answer(request("CONNECT", "websocket", "sec-websocket-version: 13", "sec-websocket-extensions: permessage-deflate"+test.offer))
			if refusal != nil {
				t.Fatal(refusal)
			}
			got := "-"
			if v := exchange.Get(a.Fields, "sec-websocket-extensions"); v != "" {
				got = strings.TrimPrefix(v, "permessage-deflate")
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if (a.Deflate != nil) != (got != "-") {
				t.Errorf("agreed on %+v", a.Deflate)
			}
		})
	}
}

func TestMalformedExtensions(t *testing.T) {
	for _, s := range []string{
		";", "a;", "a;;b", "a b", "a=1", "a; b=", `a; b="`, `a; b=""`, `a; b="c d"`, `a; b="c\`, `a; b="c"d`, "a; b=c d", "a; =c", "\"a\"", "a; b=\"c,d\"", "ä",
	} {
		if list, err := parseExtensions(s); err == nil {
			t.Errorf("%q: %+v", s, list)
		}
	}
	for _, s := range []string{"", ",", " , ,", "a", "a,b", " a ; b ; c=d , e;f=\"g\" ,"} {
		if _, err := parseExtensions(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// FuzzHandshake: whatever is offered, an agreement is one that the client offered.
func FuzzHandshake(f *testing.F) {
	f.Add("dGhlIHNhbXBsZSBub25jZQ==", "13", "a, sluice.json", "permessage-deflate; client_max_window_bits", true, uint8(12))
	f.Add("", "8", ",", `a; b="c\"", permessage-deflate; server_max_window_bits="9"`, false, uint8(0))
	f.Fuzz(func(t *testing.T, key, version, protocols, extensions string, takeover bool, bits uint8) {
		s := Server{Protocols: []string{"sluice.json", "a"}, Deflate: &Deflate{Takeover: takeover, WindowBits: int(bits)}}
		head := request("GET", "", "connection: upgrade", "upgrade: websocket")
		for name, value := range map[string]string{
			"key": key, "version": version, "protocol": protocols, "extensions": extensions,
		} {
			head.Fields = append(head.Fields, exchange.Field{Name: "sec-websocket-" + name, Value: value})
		}
		a, refusal := s.Answer(head)
		if (a == nil) == (refusal == nil) {
			t.Fatal("neither or both")
		}
		if a == nil {
			return
		}
		if b, err := base64.StdEncoding.DecodeString(strings.Trim(key, " \t")); err != nil || len(b) != 16 {
			t.Errorf("key %q", key)
		}
		if a.Protocol != "" && !strings.Contains(protocols, a.Protocol) {
			t.Errorf("%q was not offered", a.Protocol)
		}
		if a.Deflate == nil {
			return
		}
		answer, err := parseExtensions(exchange.Get(a.Fields, "sec-websocket-extensions"))
		if err != nil || len(answer) != 1 {
			t.Fatalf("the answer is malformed: %v", err)
		}
		for _, server := range []bool{false, true} {
			if b := a.Deflate.windowOf(server); b != 0 && (!takeover || b < minWindowBits || b > max(int(bits), DefaultWindowBits)) {
				t.Errorf("a window of %d bits", b)
			}
		}
		// Of the answer, only what a client has offered may need its consent.
		o, ok := parseOffer(answer[0])
		if !ok || o.clientBits && !strings.Contains(extensions, "client_max_window_bits") {
			t.Errorf("%q is answered with %+v", extensions, answer)
		}
	})
}
