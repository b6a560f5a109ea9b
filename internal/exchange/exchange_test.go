package exchange

import "testing"

func TestHandshake(t *testing.T) {
	for _, c := range []struct {
		method, protocol    string
		connection, upgrade []string
		upgrades, handshake bool
	}{
		{"GET", "", []string{"Upgrade"}, []string{"websocket"}, true, true},
		{"GET", "", []string{"keep-alive, Upgrade"}, []string{"h2c,\tWebSocket "}, true, true},
		{"GET", "", []string{"keep-alive", "upgrade"}, []string{"h2c", "websocket"}, true, true},
		{"POST", "", []string{"upgrade"}, []string{"websocket"}, true, true}, // to be refused by who speaks WebSocket
		{"GET", "", []string{"upgrade"}, []string{"websocket/13"}, false, false},
		{"GET", "", []string{"upgrades"}, []string{"websocket"}, false, false},
		{"GET", "", nil, []string{"websocket"}, false, false},
		{"GET", "", []string{"upgrade"}, nil, false, false},
		{"CONNECT", "websocket", nil, nil, false, true},
		{"CONNECT", "connect-udp", nil, nil, false, false},
		{"CONNECT", "connect-udp", []string{"upgrade"}, []string{"websocket"}, false, false},
	} {
		h := &RequestHead{Method: c.method, Protocol: c.protocol, Fields: []Field{{Name: "x", Value: "upgrade, websocket"}}}
		for _, v := range c.connection {
			h.Fields = append(h.Fields, Field{Name: "connection", Value: v})
		}
		for _, v := range c.upgrade {
			h.Fields = append(h.Fields, Field{Name: "upgrade", Value: v})
		}
		if a, b := h.Upgrades(), h.Handshake(); a != c.upgrades || b != c.handshake {
			t.Errorf("%+v: upgrades %v, handshake %v", c, a, b)
		}
	}
}

func TestMediaType(t *testing.T) {
	for in, want := range map[string]string{
		"":                                      "",
		"application/json":                      "application/json",
		" Application/JSON ; charset=utf-8":     "application/json",
		"application/json; charset":             "application/json", // which is no parameter
		"application/json;a=1;a=2":              "application/json",
		"multipart/form-data; boundary=\"a;b\"": "multipart/form-data",
	} {
		if got := MediaType(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
