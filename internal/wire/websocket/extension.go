package websocket

import (
	"strconv"
	"strings"
)

const (
	minWindowBits = 8
	maxWindowBits = 15
)

// A Deflate says how a server agrees to permessage-deflate (RFC 7692). Its zero value
// keeps nothing between messages.
type Deflate struct {
	// Takeover lets messages refer to earlier ones, both ways: smaller messages for up to
	// two windows kept a connection.
	Takeover bool
	// WindowBits bounds each of these windows: 9 to 15, for 512 bytes to 32 KiB. 0 is
	// DefaultWindowBits.
	WindowBits int
}

// DefaultWindowBits makes a window of 4 KiB.
const DefaultWindowBits = 12

// DeflateParams are what was agreed upon, in the words of RFC 7692, section 7.1.
type DeflateParams struct {
	ServerNoContextTakeover bool
	ClientNoContextTakeover bool
	ServerMaxWindowBits     int // 0 is 15
	ClientMaxWindowBits     int
}

// windowOf returns the bits of the window that is kept between the messages of the
// server or the client, 0 if none is.
func (p *DeflateParams) windowOf(server bool) int {
	none, bits := p.ClientNoContextTakeover, p.ClientMaxWindowBits
	if server {
		none, bits = p.ServerNoContextTakeover, p.ServerMaxWindowBits
	}
	if none {
		return 0
	}
	return orDefault(bits, maxWindowBits)
}

// An offer is a sound offer of permessage-deflate (sections 7.1.1, 7.1.2).
type offer struct {
	DeflateParams
	clientBits bool // client_max_window_bits was there, with or without a value
}

// parseOffer reads an offer. Section 7: one with an unknown, invalid or repeated
// parameter is declined.
func parseOffer(e extension) (offer, bool) {
	var o offer
	if !strings.EqualFold(e.name, "permessage-deflate") {
		return o, false
	}
	var seen [4]bool
	for _, p := range e.params {
		i, ok := 0, true
		switch p.name {
		case "server_no_context_takeover":
			i, ok = 0, !p.valued
			o.ServerNoContextTakeover = true
		case "client_no_context_takeover":
			i, ok = 1, !p.valued
			o.ClientNoContextTakeover = true
		case "server_max_window_bits":
			i = 2
			o.ServerMaxWindowBits, ok = parseBits(p.value)
		case "client_max_window_bits":
			i = 3
			o.clientBits = true
			if p.valued {
				o.ClientMaxWindowBits, ok = parseBits(p.value)
			}
		default:
			return o, false
		}
		if !ok || seen[i] {
			return o, false
		}
		seen[i] = true
	}
	return o, true
}

// parseBits reads a decimal number from 8 to 15 without leading zeros.
func parseBits(s string) (int, bool) {
	switch {
	case len(s) == 1 && (s[0] == '8' || s[0] == '9'):
		return int(s[0] - '0'), true
	case len(s) == 2 && s[0] == '1' && s[1] >= '0' && s[1] <= '5':
		return 10 + int(s[1]-'0'), true
	}
	return 0, false
}

// accept answers an offer.
func (d *Deflate) accept(o offer) (agreed DeflateParams, answer string) {
	limit := min(max(orDefault(d.WindowBits, DefaultWindowBits), minWindowBits+1), maxWindowBits)
	p := o.DeflateParams
	b := []byte("permessage-deflate")

	p.ServerNoContextTakeover = p.ServerNoContextTakeover || !d.Takeover
	if p.ServerNoContextTakeover {
		b = append(b, "; server_no_context_takeover"...)
	} else {
		p.ServerMaxWindowBits = min(orDefault(p.ServerMaxWindowBits, maxWindowBits), limit)
	}
	if p.ServerMaxWindowBits != 0 {
		// A server may say it without having been asked (section 7.1.2.1).
		b = append(b, "; server_max_window_bits="...)
		b = strconv.AppendInt(b, int64(p.ServerMaxWindowBits), 10)
	}

	// Every client has to understand client_no_context_takeover, but only one that
	// offered client_max_window_bits can be told a window (sections 7.1.1.2, 7.1.2.2). A
	// window that it promised to keep to needs no answer.
	bits := orDefault(p.ClientMaxWindowBits, maxWindowBits)
	switch {
	case p.ClientNoContextTakeover, !d.Takeover, bits > limit && !o.clientBits:
		p.ClientNoContextTakeover = true
		b = append(b, "; client_no_context_takeover"...)
	case bits > limit:
		p.ClientMaxWindowBits = limit
		b = append(b, "; client_max_window_bits="...)
		b = strconv.AppendInt(b, int64(limit), 10)
	}
	return p, string(b)
}
