// Package grpc is gRPC and gRPC-Web, as a translator between exchanges and calls: a
// server half for clients, and a client half for backends, which is gRPC only.
//
// Message bytes pass as they come. What looks at them is a scanner of their prefixes:
// on the way in for what the client promised (limit, flags, number of messages), on the
// way out for what the backend did.
//
// gRPC-Web differs in three things, a flag each: trailers stand in a frame of the body,
// the body may be base64, and an end inside of a message can't be said, so it is a
// reset.
package grpc

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	wire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/rpc"
)

// A kind is what a content type says.
type kind struct {
	web, text bool
	codec     string // the sub-type, "" if none was given
}

func (k kind) contentType() string {
	base := "application/grpc"
	switch {
	case k.text:
		base = "application/grpc-web-text"
	case k.web:
		base = "application/grpc-web"
	case k.codec == "":
		return base
	case k.codec == "proto":
		return "application/grpc+proto"
	}
	if k.codec == "" {
		return base
	}
	return base + "+" + k.codec
}

func (k kind) protocol() string {
	switch {
	case k.text:
		return "grpc-web-text"
	case k.web:
		return "grpc-web"
	}
	return "grpc"
}

// parseType reads a content type. Parameters mean nothing here (RFC 9110, section
// 8.3.1), case neither.
func parseType(s string) (k kind, ok bool) {
	if s == "application/grpc" {
		return k, true
	}
	if i := strings.IndexByte(s, ';'); i >= 0 {
		s = strings.TrimRight(s[:i], " \t")
	}
	if len(s) < len("application/grpc") || !strings.EqualFold(s[:len("application/grpc")], "application/grpc") {
		return k, false
	}
	s = strings.ToLower(s[len("application/grpc"):])
	if rest, is := strings.CutPrefix(s, "-web"); is {
		k.web, s = true, rest
		if rest, is := strings.CutPrefix(s, "-text"); is {
			k.text, s = true, rest
		}
	}
	if s == "" {
		return k, true
	}
	if s[0] != '+' || len(s) == 1 {
		return k, false
	}
	k.codec = s[1:]
	return k, true
}

// Match says whether an exchange is a call of gRPC or gRPC-Web.
func Match(h *exchange.RequestHead) bool {
	if h.Method != "POST" || h.Protocol != "" {
		return false
	}
	_, ok := parseType(exchange.Get(h.Fields, "content-type"))
	return ok
}

// Metadata takes the application's fields, in order.
func Metadata(fields []exchange.Field) rpc.Metadata {
	n := 0
	var take [4]uint64 // a bit for each of the first fields that is metadata
	for i := range fields {
		if !wire.Reserved(fields[i].Name) {
			n++
			if i < len(take)*64 {
				take[i/64] |= 1 << (i % 64)
			}
		}
	}
	if n == 0 {
		return nil
	}
	md := make(rpc.Metadata, 0, n)
	for i := range fields {
		f := &fields[i]
		switch {
		case i < len(take)*64 && take[i/64]&(1<<(i%64)) == 0, i >= len(take)*64 && wire.Reserved(f.Name):
		case rpc.Binary(f.Name):
			// Values may be joined: each is base64 of its own.
			rest := f.Value
			for more := true; more; {
				var v string
				v, rest, more = strings.Cut(rest, ",")
				md = append(md, rpc.Field{Key: f.Name, Value: wire.Unpad(strings.TrimSpace(v)), Sensitive: f.Sensitive})
			}
		default:
			md = append(md, rpc.Field{Key: f.Name, Value: f.Value, Sensitive: f.Sensitive})
		}
	}
	return md
}

// appendMetadata writes it back.
func appendMetadata(fields []exchange.Field, md rpc.Metadata) []exchange.Field {
	for i := range md {
		if !wire.Reserved(md[i].Key) {
			fields = append(fields, exchange.Field{Name: md[i].Key, Value: md[i].Value, Sensitive: md[i].Sensitive})
		}
	}
	return fields
}

// lists reads comma-separated lists of encodings. It remembers the last one, because
// clients, and servers, are much alike; so nobody may change what it returns.
type lists struct{ last atomic.Pointer[parsedList] }

type parsedList struct {
	text string
	list []string
}

func (l *lists) get(s string) []string {
	if s == "" {
		return nil
	}
	if p := l.last.Load(); p != nil && p.text == s {
		return p.list
	}
	out := strings.Split(s, ",")
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	l.last.Store(&parsedList{strings.Clone(s), out})
	return out
}

// encoding reads grpc-encoding, of which identity is the same as none.
func encoding(s string) string {
	if s == "identity" {
		return ""
	}
	return s
}

// now makes a clock of an option.
func now(f func() time.Time) func() time.Time {
	if f == nil {
		return time.Now
	}
	return f
}
