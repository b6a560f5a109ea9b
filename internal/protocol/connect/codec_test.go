package connect

import (
	"bytes"
	"testing"

	"github.com/sluice-rpc/sluice/rpc"
)

// TestCodec: a call has the codec of its content type or its query, and the response is
// in it; the messages of both pass as they come.
func TestCodec(t *testing.T) {
	message := []byte(`{"a":1}`)
	for _, codec := range []string{"proto", "json"} {
		for name, start := range map[string]func(*trial) string{
			"unary": func(r *trial) string {
				h := post(unaryMethod, len(message))
				h.Fields[0].Value = "application/" + codec
				r.start(h).give(message).q.End(nil)
				return "application/" + codec
			},
			"unary, chunked, with a parameter": func(r *trial) string {
				h := post(unaryMethod, -1)
				h.Fields[0].Value = "Application/" + codec + "; charset=utf-8"
				r.start(h).give(message).q.End(nil)
				return "application/" + codec
			},
			"GET": func(r *trial) string {
				r.start(get(getMethod, "encoding="+codec+"&message=%7B%22a%22:1%7D")).q.End(nil)
				return "application/" + codec
			},
			"GET with base64": func(r *trial) string {
				r.start(get(getMethod, "connect=v1&encoding="+codec+"&base64=1&message=eyJhIjoxfQ")).q.End(nil)
				return "application/" + codec
			},
			"stream": func(r *trial) string {
				h := streamed(bidiMethod)
				h.Fields[0].Value = "application/connect+" + codec
				r.start(h).give(env(0, message)).q.End(nil)
				return "application/connect+" + codec
			},
		} {
			t.Run(codec+"/"+name, func(t *testing.T) {
				r := newTrial(t)
				r.onEnd = reply("", env(0, message))
				want := start(r)
				a := r.finish(true)
				if r.call.Codec != codec || !bytes.Equal(r.body, env(0, message)) {
					t.Errorf("the backend got the codec %q and %q", r.call.Codec, r.body)
				}
				if a.Status != 200 || a.Get("content-type") != want || !bytes.Contains(a.Body, message) {
					t.Errorf("got %d %q %q", a.Status, a.Get("content-type"), a.Body)
				}
			})
		}
	}
}

// TestCodecUnknown: "unknown codec: 415", and no call.
func TestCodecUnknown(t *testing.T) {
	for _, ct := range []string{"application/connect+xml", "application/connect+", "application/connect+json+x"} {
		r := newTrial(t)
		h := streamed(bidiMethod)
		h.Fields[0].Value = ct
		r.start(h).give([]byte("x")).q.End(nil)
		if a := r.finish(true); a.Status != 415 || a.Get("accept-post") != acceptPost || r.call != nil {
			t.Errorf("%s: %d %v", ct, a.Status, a.Fields)
		}
	}
}

// TestCallChanged: who serves a call may change how it goes to the backend; what the
// client sent, and what it gets, stays what it was.
func TestCallChanged(t *testing.T) {
	packed := pack(t, "gzip", []byte("hello"))
	for _, length := range []int{len(packed), -1} {
		r := newTrial(t)
		r.onStart = func(c *rpc.Call) { c.Codec, c.Encoding, c.AcceptEncodings = "other", "", nil }
		r.onEnd = reply("gzip", env(1, packed))
		r.start(post(unaryMethod, length, "content-encoding", "gzip")).give(packed).q.End(nil)
		a := r.finish(true)
		if !bytes.Equal(r.body, env(1, packed)) {
			t.Errorf("the backend got %x", r.body)
		}
		if a.Get("content-type") != unaryProto || a.Get("content-encoding") != "gzip" || !bytes.Equal(a.Body, packed) {
			t.Errorf("got %v %x", a.Fields, a.Body)
		}
	}
	r := newTrial(t)
	r.onStart = func(c *rpc.Call) { c.Codec, c.Encoding, c.AcceptEncodings = "other", "", nil }
	r.onEnd = reply("gzip", env(1, packed))
	r.start(streamed(bidiMethod, "connect-content-encoding", "gzip")).give(env(1, packed)).q.End(nil)
	a := r.finish(true)
	if a.Get("content-type") != streamProto || a.Get("connect-content-encoding") != "gzip" || !bytes.HasPrefix(a.Body, env(1, packed)) || !bytes.Equal(r.body, env(1, packed)) {
		t.Errorf("got %v %x", a.Fields, a.Body)
	}
}
