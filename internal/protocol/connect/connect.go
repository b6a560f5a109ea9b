// Package connect is the Connect protocol as a translator from exchanges to calls
// (https://connectrpc.com/docs/protocol): unary by POST and GET, and streams. The codecs
// are proto and json, which is the call's; messages pass in either as they come.
//
// Streams share gRPC's framing, so their messages pass as they come; only the end is
// an envelope of its own. A unary body has no framing: the request passes as it comes
// if its length is known, the response is kept until its status is.
package connect

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-rpc/sluice/internal/compress"
	"github.com/sluice-rpc/sluice/internal/exchange"
	wire "github.com/sluice-rpc/sluice/internal/wire/connect"
	grpcwire "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/rpc"
)

// Content types are these with the name of a codec.
const (
	unaryType  = "application/"
	streamType = "application/connect+"
)

// known says whether a codec is one of the protocol's.
func known(codec string) bool { return codec == "proto" || codec == "json" }

// acceptPost is what a POST may be.
const acceptPost = unaryType + "proto, " + unaryType + "json, " + streamType + "proto, " + streamType + "json"

// Options are what the protocol needs to know.
type Options struct {
	MaxMessage int                             // bytes of one message
	Ratio      int                             // of decompression, at most
	Lookup     func(method string) *rpc.Method // what is known of a method; may be nil
	Now        func() time.Time                // nil is time.Now
	// Reserve takes n bytes of the gateway's memory for a message that has to be kept,
	// or gives them back if n is negative. It says false if there are none. Nil is no
	// bound but MaxMessage.
	Reserve func(n int) bool
}

// A Form is what an exchange looks like to Connect.
type Form int

// The forms. Whether an exchange is a call of Connect does not follow from a Get or from
// JSON alone: other protocols use both.
const (
	None   Form = iota
	Stream      // or what only a stream could be
	Proto       // unary
	JSON        // unary
	Get         // with all that a Get may have
	GetV1       // and "connect=v1"
)

// FormOf says what an exchange looks like.
func FormOf(h *exchange.RequestHead) Form {
	switch {
	case h.Method == "GET" && wire.IsGet(h.Path):
		if wire.HasVersion(h.Path) {
			return GetV1
		}
		return Get
	case h.Method != "POST":
		return None
	}
	ct := exchange.Get(h.Fields, "content-type")
	if strings.IndexByte(ct, ';') >= 0 || ct != strings.ToLower(ct) {
		ct = exchange.MediaType(ct)
	}
	switch {
	case ct == unaryType+"proto":
		return Proto
	case ct == unaryType+"json":
		return JSON
	case strings.HasPrefix(ct, streamType):
		return Stream
	}
	return None
}

type server struct {
	next rpc.Handler
	o    Options
}

// NewServer makes a call of each exchange and gives it to next.
func NewServer(next rpc.Handler, o Options) exchange.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Reserve == nil {
		o.Reserve = func(int) bool { return true }
	}
	return &server{next, o}
}

func (s *server) Start(head *exchange.RequestHead, response exchange.Response) exchange.Request {
	path, _, _ := strings.Cut(head.Path, "?")
	c := &call{s: s, response: response}
	c.Method = path
	c.Received = s.o.Now()
	c.codec = "proto"
	c.Protocol, c.Carrier = "connect", head.Carrier
	c.Authority = head.Authority
	c.Peer = rpc.Peer{Addr: head.Addr, TLS: head.TLS}
	c.Metadata = metadata(head.Fields)
	c.UserAgent = exchange.Get(head.Fields, "user-agent")
	if s.o.Lookup != nil {
		c.Schema = s.o.Lookup(path)
	}
	var bad *rpc.Status
	if v := exchange.Get(head.Fields, "connect-protocol-version"); v != "" && v != "1" {
		bad = invalid("connect-protocol-version is %q; this gateway speaks version 1", v)
	}
	if v := exchange.Get(head.Fields, "connect-timeout-ms"); v != "" {
		d, ok := wire.ParseTimeout(v)
		if !ok {
			bad = invalid("connect-timeout-ms is %q; it is up to ten digits", v)
		}
		c.Deadline = c.Received.Add(d)
	}
	switch FormOf(head) {
	case Stream:
		c.codec = exchange.MediaType(exchange.Get(head.Fields, "content-type"))[len(streamType):]
		if !known(c.codec) {
			return refuse(response, 415, nil)
		}
		c.Codec = c.codec
		return startStream(c, head, bad)
	case JSON:
		c.codec = "json"
	}
	return startUnary(c, head, bad)
}

// call is what both forms have.
type call struct {
	rpc.Call
	s        *server
	response exchange.Response
	next     rpc.Request
	outcome  rpc.Status

	// What the client speaks. Who serves the call may say something else to the backend,
	// in the fields of the call.
	codec    string
	encoding string
	accept   []string
}

func invalid(format string, args ...any) *rpc.Status {
	st := rpc.Errorf(rpc.InvalidArgument, format, args...)
	return &st
}

// encodings sets how the messages of a call may be compressed: own is how the client
// compresses, accept what it reads. It says what is wrong.
func (c *call) encodings(own, accept string) *rpc.Status {
	own = strings.ToLower(own) // RFC 9110, section 8.4.1
	if own == "identity" {
		own = ""
	}
	if own != "" && !compress.Known(own) {
		st := rpc.Errorf(rpc.Unimplemented, "unknown compression %q: supported are %s", own, strings.Join(compress.Names(), ", "))
		return &st
	}
	if accept == "" && own != "" {
		accept = own // "If the client omits this header, it accepts what it uses"
	}
	for v := range strings.SplitSeq(accept, ",") {
		// Browsers send weights. The order is the order, but 0 is "not acceptable"
		// (RFC 9110, section 12.4.2).
		v, weight, _ := strings.Cut(v, ";")
		if v = strings.ToLower(strings.TrimSpace(v)); !refusedWeight(weight) && compress.Known(v) && !slices.Contains(c.accept, v) {
			c.accept = append(c.accept, v)
		}
	}
	c.encoding = own
	c.Encoding, c.AcceptEncodings = own, c.accept
	return nil
}

// refusedWeight says whether a parameter is a weight of 0.
func refusedWeight(s string) bool {
	k, v, _ := strings.Cut(s, "=")
	if !strings.EqualFold(strings.TrimSpace(k), "q") {
		return false
	}
	w, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
	return err == nil && w == 0
}

// accepts says whether the client reads an encoding.
func (c *call) accepts(encoding string) bool {
	return encoding == "" || slices.Contains(c.accept, encoding)
}

// metadata takes the application's fields, in order.
func metadata(fields []exchange.Field) rpc.Metadata {
	md := make(rpc.Metadata, 0, len(fields))
	for i := range fields {
		f := &fields[i]
		switch {
		case grpcwire.Reserved(f.Name):
		case rpc.Binary(f.Name):
			for v := range strings.SplitSeq(f.Value, ",") {
				md = append(md, rpc.Field{Key: f.Name, Value: grpcwire.Unpad(strings.TrimSpace(v)), Sensitive: f.Sensitive})
			}
		default:
			md = append(md, rpc.Field{Key: f.Name, Value: f.Value, Sensitive: f.Sensitive})
		}
	}
	return md
}

// appendMetadata writes it back, each name with a prefix.
func appendMetadata(f []exchange.Field, prefix string, md rpc.Metadata) []exchange.Field {
	for i := range md {
		if !grpcwire.Reserved(md[i].Key) {
			f = append(f, exchange.Field{Name: prefix + md[i].Key, Value: md[i].Value, Sensitive: md[i].Sensitive})
		}
	}
	return f
}
