package main

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"

	"golang.org/x/net/http2/hpack"
)

// tokens are the bearer tokens of different users, as long as a small JWT.
var tokens = func() []string {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]string, 256)
	for i := range out {
		b := make([]byte, 100)
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		out[i] = "Bearer eyJ" + hex.EncodeToString(b)
	}
	return out
}()

// A caller makes the metadata of calls: twelve fields beside the pseudo-header ones, of
// which four differ from call to call (a token, the trace, the time left, an id).
type caller struct {
	rand        *rand.Rand
	scheme      string
	contentType string
	timeout     string // "" is another one for each call
	n           uint64
}

func (c *caller) fields(path string, emit func(name, value string)) {
	c.n++
	emit(":method", "POST")
	emit(":scheme", c.scheme)
	emit(":path", path)
	emit(":authority", "echo.example.com")
	c.metadata(emit)
}

func (c *caller) metadata(emit func(name, value string)) {
	emit("content-type", c.contentType)
	emit("te", "trailers")
	emit("user-agent", "grpc-go/1.85.0")
	emit("grpc-accept-encoding", "gzip")
	if c.timeout != "" {
		emit("grpc-timeout", c.timeout)
	} else {
		emit("grpc-timeout", strconv.Itoa(19_000_000+c.rand.IntN(999_999))+"u")
	}
	emit("authorization", tokens[c.rand.IntN(len(tokens))])
	emit("traceparent", fmt.Sprintf("00-%016x%016x-%016x-01", c.rand.Uint64(), c.rand.Uint64(), c.rand.Uint64()))
	emit("x-request-id", fmt.Sprintf("%016x", c.rand.Uint64()))
	emit("x-tenant", "tenant-17")
	emit("x-client-version", "4.12.3")
	emit("accept-language", "en-GB,en;q=0.8")
	emit("x-region", "eu-central-1")
}

func (c *caller) encode(enc *hpack.Encoder, path string) {
	c.fields(path, func(name, value string) {
		_ = enc.WriteField(hpack.HeaderField{Name: name, Value: value}) // into a buffer
	})
}
