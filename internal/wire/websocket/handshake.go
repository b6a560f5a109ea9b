package websocket

import (
	"crypto/sha1"
	"encoding/base64"
	"slices"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// guid is what the key of a handshake is hashed with (RFC 6455, section 1.3).
const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// version is the one that RFC 6455 registers (section 11.6).
const version = "13"

// AcceptKey returns the Sec-WebSocket-Accept for a Sec-WebSocket-Key (section 4.2.2).
func AcceptKey(key string) string {
	h := sha1.Sum([]byte(key + guid))
	return base64.StdEncoding.EncodeToString(h[:])
}

// Asked says whether a request asks for a WebSocket: by an Upgrade over HTTP/1.1 (RFC
// 6455, section 4.2.1) or by an extended CONNECT (RFC 8441, section 5).
func Asked(head *exchange.RequestHead) bool { return head.Handshake() }

// Protocols returns the subprotocols that a client offers, in its order, from all its
// lines.
func Protocols(fields []exchange.Field) []string {
	var out []string
	values(fields, "sec-websocket-protocol", func(v string) { out = append(out, v) })
	return out
}

// A Server answers opening handshakes.
type Server struct {
	// Protocols are the subprotocols it speaks, the best one first.
	Protocols []string
	// Deflate agrees to compression; nil does not.
	Deflate *Deflate
}

// An Agreement is a handshake that succeeded. What it says about messages goes into a
// [Decoder] and an [Encoder].
type Agreement struct {
	Status   int              // 101, or 200 to an extended CONNECT
	Fields   []exchange.Field // of the response
	Protocol string           // "" if none was offered, or none of those that the server speaks
	Deflate  *DeflateParams   // nil without compression
}

// A Refusal is the response to a handshake that is not in order.
type Refusal struct {
	Status int
	Fields []exchange.Field
	Reason string
}

func (r *Refusal) Error() string { return r.Reason }

func bad(reason string) *Refusal { return &Refusal{Status: 400, Reason: reason} }

// Answer answers a request that [Asked]. Whether its Origin may is not looked at here.
func (s *Server) Answer(head *exchange.RequestHead) (*Agreement, *Refusal) {
	a := &Agreement{Status: 200}
	if head.Protocol == "" {
		if head.Method != "GET" {
			return nil, &Refusal{
				Status: 405, Fields: []exchange.Field{{Name: "allow", Value: "GET"}},
				Reason: "a WebSocket is asked for with GET",
			}
		}
		if head.Length > 0 || exchange.Get(head.Fields, "transfer-encoding") != "" {
			return nil, bad("the request for a WebSocket has content")
		}
	}
	// RFC 6455, section 4.4: what we speak is said, so that the client can try again.
	if v, n := only(head.Fields, "sec-websocket-version"); v != version || n != 1 {
		r := &Refusal{
			Status: 426, Fields: []exchange.Field{{Name: "sec-websocket-version", Value: version}},
			Reason: "only version 13 of WebSocket is spoken here",
		}
		if head.Protocol == "" { // RFC 9110, section 15.5.22: a 426 says to what
			r.Fields = append(r.Fields,
				exchange.Field{Name: "upgrade", Value: "websocket"}, exchange.Field{Name: "connection", Value: "Upgrade"})
		} else {
			r.Status = 400 // there is no Upgrade over HTTP/2
		}
		return nil, r
	}
	if head.Protocol == "" {
		key, n := only(head.Fields, "sec-websocket-key")
		if n != 1 || !validKey(key) {
			return nil, bad("sec-websocket-key is not 16 bytes in base64")
		}
		a.Status = 101
		a.add("upgrade", "websocket")
		a.add("connection", "Upgrade")
		a.add("sec-websocket-accept", AcceptKey(key))
	}
	if a.Protocol = s.choose(head.Fields); a.Protocol != "" {
		a.add("sec-websocket-protocol", a.Protocol)
	}
	if err := s.extend(a, head.Fields); err != nil {
		return nil, bad(err.Error())
	}
	return a, nil
}

func (a *Agreement) add(name, value string) {
	a.Fields = append(a.Fields, exchange.Field{Name: name, Value: value})
}

// validKey says whether the key is 16 bytes in base64 (section 4.1).
func validKey(key string) bool {
	if len(key) != 24 {
		return false
	}
	var b [18]byte
	n, err := base64.StdEncoding.Decode(b[:], []byte(key))
	return err == nil && n == 16
}

// choose returns the best of our subprotocols that the client offers. Their names are
// compared with their case.
func (s *Server) choose(fields []exchange.Field) string {
	best := len(s.Protocols)
	values(fields, "sec-websocket-protocol", func(v string) {
		if i := slices.Index(s.Protocols[:best], v); i >= 0 {
			best = i
		}
	})
	if best == len(s.Protocols) {
		return ""
	}
	return s.Protocols[best]
}

// extend accepts the first offer of permessage-deflate that is sound. Lines that are
// malformed fail the handshake (section 9.1), extensions that we don't know do not.
func (s *Server) extend(a *Agreement, fields []exchange.Field) error {
	for i := range fields {
		if fields[i].Name != "sec-websocket-extensions" {
			continue
		}
		list, err := parseExtensions(fields[i].Value)
		if err != nil {
			return err
		}
		for _, e := range list {
			if a.Deflate != nil || s.Deflate == nil {
				break
			}
			if o, ok := parseOffer(e); ok {
				agreed, answer := s.Deflate.accept(o)
				a.Deflate = &agreed
				a.add("sec-websocket-extensions", answer)
			}
		}
	}
	return nil
}
