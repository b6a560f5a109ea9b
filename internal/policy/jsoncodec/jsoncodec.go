// Package jsoncodec lets clients with the codec "json" call backends that speak
// protobuf: a handler between the protocols and the others, for which such a call is one
// with the codec "proto". Each whole message of the request is turned from JSON into
// protobuf, each of the response from protobuf into JSON, with their boundaries kept.
// Compressed messages are decompressed first, and all are sent on uncompressed.
//
// Messages are assembled, within the limit, and charged to the gateway's memory. What
// was taken is mapped back to what came by a ledger, which also bounds how far a message
// may be assembled ahead of a peer that takes none.
//
// A call whose codec is another one passes untouched, at no cost.
package jsoncodec

import (
	"slices"
	"strings"

	"github.com/sluice-rpc/sluice/internal/compress"
	"github.com/sluice-rpc/sluice/internal/transcode"
	"github.com/sluice-rpc/sluice/rpc"
)

// Options are what the handler needs to know.
type Options struct {
	// Messages returns the plans of a method's request and response, and how its JSON is
	// written, or nil for a method that no schema knows. It is called for each call.
	Messages func(method string) (in, out *transcode.Message, written transcode.EncodeOptions)
	// Pending says what the schema still waits for, or "". Nil is nothing.
	Pending func() string
	// Hold has a call wait until look, which is asked when the schema has changed, returns
	// who takes it. lacking says what it waits for. When nothing is pending any more look is
	// asked for the last time, and returns somebody.
	Hold func(c *rpc.Call, response rpc.Response, lacking string, look func(last bool) rpc.Handler) rpc.Request

	MaxMessage int // bytes of one message, as JSON and as protobuf
	Ratio      int // of decompression, at most
	// Reserve takes n bytes of the gateway's memory for what has to be kept, or gives them
	// back if n is negative. It says false if there are none. Nil is no bound.
	Reserve func(n int) bool
}

// decodeOptions are those of connect-go's codec: "Discard unknown fields so clients and
// servers aren't forced to always use exactly the same version of the schema"
// (protoJSONCodec.Unmarshal). Like there, a message of no bytes is no JSON, and an error.
func (o *Options) decodeOptions() *transcode.DecodeOptions {
	return &transcode.DecodeOptions{DiscardUnknown: true, MaxOutput: o.MaxMessage}
}

type handler struct {
	next   rpc.Handler
	o      Options
	decode *transcode.DecodeOptions
}

// New returns a handler that gives all calls to next, none of which has the codec
// "json" if its method is known.
func New(next rpc.Handler, o Options) rpc.Handler {
	if o.Reserve == nil {
		o.Reserve = func(int) bool { return true }
	}
	return &handler{next, o, o.decodeOptions()}
}

// maxExpansion is about how many times longer than JSON its protobuf can be: "0," of a
// list of doubles that is not packed has two bytes as JSON, and up to thirteen otherwise.
const maxExpansion = 8

// encodings are what the gateway decompresses. Nobody changes it.
var encodings = compress.Names()

// Start implements [rpc.Handler].
func (h *handler) Start(c *rpc.Call, response rpc.Response) rpc.Request {
	if c.Codec != "json" {
		return h.next.Start(c, response)
	}
	in, out, written := h.o.Messages(c.Method)
	if in == nil {
		if h.o.Pending != nil && h.o.Pending() != "" {
			return h.hold(c, response)
		}
		in, out, written = h.o.Messages(c.Method) // the answer may have come with news
	}
	switch {
	case in == nil:
		if st := h.unknown(c); !st.OK() {
			return rpc.Refuse(response, nil, st)
		}
		return h.next.Start(c, response) // a backend may speak JSON itself
	case c.Encoding != "" && !slices.Contains(encodings, c.Encoding):
		// https://github.com/grpc/grpc/blob/master/doc/compression.md: the answer says what
		// would be read.
		return rpc.Refuse(response, &rpc.Head{AcceptEncodings: encodings, Codec: "json"}, rpc.Errorf(rpc.Unimplemented,
			"unknown compression %q: supported are %s", c.Encoding, strings.Join(encodings, ", ")))
	}
	t := &call{h: h, response: response, in: in, out: out, written: written}
	t.written.MaxOutput = h.o.MaxMessage
	t.request.init(h, c.Encoding)
	t.answer.init(h, "")
	c.Codec, c.Encoding, c.AcceptEncodings = "proto", "", nil
	c.Ahead = h.o.MaxMessage + maxExpansion*rpc.WindowDefault
	t.next = h.next.Start(c, (*toClient)(t))
	return t
}

// hold has a call wait for the schema of its method.
func (h *handler) hold(c *rpc.Call, response rpc.Response) rpc.Request {
	return h.o.Hold(c, response, "JSON needs the schema of "+c.Method, func(last bool) rpc.Handler {
		if in, _, _ := h.o.Messages(c.Method); in == nil && !last {
			return nil
		}
		return h
	})
}

// unknown is the status of a call whose method has no schema. gRPC's own clients that
// ask for JSON may have a backend that speaks it, so theirs is OK; for those of Connect
// the gateway is the server.
func (h *handler) unknown(c *rpc.Call) rpc.Status {
	if strings.HasPrefix(c.Protocol, "grpc") {
		return rpc.Status{}
	}
	return rpc.Errorf(rpc.Unimplemented, "JSON needs a schema, and the gateway has no descriptor of %s: "+
		"enable server reflection on the backend or give its descriptors by --schema", c.Method)
}
