package connect

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/internal/wire/ledger"
	"github.com/sluice-rpc/sluice/rpc"
)

// TestAcceptEncoding: what a backend may answer with is the client's list, in its
// order, as far as the gateway could undo it.
func TestAcceptEncoding(t *testing.T) {
	for _, c := range []struct{ own, accept, want string }{
		{"", "", "[]"},
		{"", "gzip", "[gzip]"},
		{"", "br, gzip,zstd", "[br gzip zstd]"}, // ordered
		{"", "gzip, deflate, br, zstd", "[gzip deflate br zstd]"},
		{"", "gzip;q=0.1, br;q=1.0", "[gzip br]"},
		{"", "gzip;q=0, br; q=0.000, zstd", "[zstd]"}, // 0 is "not acceptable"
		{"", "identity", "[]"},
		{"", "*", "[]"}, // identity is always allowed
		{"", "lzw, gzip, gzip", "[gzip]"},
		{"", "GZip", "[gzip]"}, // RFC 9110, section 8.4.1
		{"", " ,;,gzip ,", "[gzip]"},
		{"gzip", "", "[gzip]"}, // "it accepts what it uses"
		{"gzip", "br", "[br]"},
		{"gzip", "identity", "[]"},
		{"identity", "", "[]"},
	} {
		for _, stream := range []bool{false, true} {
			prefix, h := "", post(unaryMethod, 0)
			if stream {
				prefix, h = "connect-", streamed(unaryMethod)
			}
			if c.own != "" {
				with(h, prefix+"content-encoding", c.own)
			}
			if c.accept != "" {
				with(h, prefix+"accept-encoding", c.accept)
			}
			if stream {
				with(h, "accept-encoding", "snappy", "content-encoding", "snappy") // HTTP's, which are not the stream's
			}
			r := newTrial(t)
			r.start(h)
			if got := fmt.Sprint(r.call.AcceptEncodings); got != c.want {
				t.Errorf("%q %q: %s, want %s", c.own, c.accept, got, c.want)
			}
			if want := strings.TrimPrefix(c.own, "identity"); r.call.Encoding != want {
				t.Errorf("encoding %q, want %q", r.call.Encoding, want)
			}
			r.backend.end(rpc.Status{}, nil)
			a := r.finish(true)
			if got := a.Get(prefix + "accept-encoding"); got != "gzip, zstd, br, deflate, snappy" {
				t.Errorf("accepted are %q", got)
			}
		}
	}
}

// TestBridge: the client's compression goes to the backend as it came, and the
// backend's comes back as it is if the client reads it, else undone. Trailers and
// metadata are the same with each.
func TestBridge(t *testing.T) {
	msg := bytes.Repeat([]byte("hello "), 30)
	for _, c := range []struct {
		own, accept, answer string
		passes              bool
	}{
		{"", "", "", true},
		{"gzip", "", "gzip", true},
		{"gzip", "br", "br", true},
		{"gzip", "br", "gzip", false},
		{"gzip", "identity", "gzip", false},
		{"", "", "gzip", false},
		{"", "gzip", "zstd", false},
		{"zstd", "", "br", false},
		{"br", "gzip;q=0", "gzip", false},
	} {
		t.Run(fmt.Sprintf("%s/%s/%s", c.own, c.accept, c.answer), func(t *testing.T) {
			request, answer := pack(t, c.own, msg), pack(t, c.answer, msg)
			flags := func(encoding string) byte {
				if encoding == "" {
					return 0
				}
				return 1
			}
			want, wantEncoding := answer, c.answer
			if !c.passes {
				want, wantEncoding = msg, ""
			}
			script := func(answers int) func(b *backend) {
				return func(b *backend) {
					b.head(c.answer, rpc.Field{Key: "x-a", Value: "1"})
					for range answers {
						for _, piece := range env(flags(c.answer), answer) {
							b.send([]byte{piece})
						}
					}
					b.end(rpc.Status{}, rpc.Metadata{{Key: "x-t", Value: "2"}})
				}
			}
			fields := func(prefix string) (f []string) {
				if c.own != "" {
					f = append(f, prefix+"content-encoding", c.own)
				}
				if c.accept != "" {
					f = append(f, prefix+"accept-encoding", c.accept)
				}
				return f
			}
			for _, length := range []int{len(request), -1} {
				r := newTrial(t)
				r.onEnd = script(1)
				r.start(post(unaryMethod, length, fields("")...)).give(request).q.End(nil)
				a := r.finish(true)
				if !bytes.Equal(r.body, env(flags(c.own), request)) {
					t.Errorf("the backend got %x", r.body)
				}
				if a.Status != 200 || a.Get("content-encoding") != wantEncoding || !bytes.Equal(a.Body, want) {
					t.Errorf("got %d %q %x", a.Status, a.Get("content-encoding"), a.Body)
				}
				if got := fmt.Sprint(application(a.Fields)); got != "[x-a:1 trailer-x-t:2]" {
					t.Errorf("fields %s", got)
				}
			}
			for _, small := range []bool{false, true} {
				r := newTrial(t)
				r.small = small
				r.onEnd = script(3)
				r.start(streamed(bidiMethod, fields("connect-")...)).give(env(flags(c.own), request)).q.End(nil)
				a := r.finish(true)
				if !bytes.Equal(r.body, env(flags(c.own), request)) {
					t.Errorf("the backend got %x", r.body)
				}
				msgs, end := readStream(t, a.Body)
				if len(msgs) != 3 || msgs[2] != string(env(flags(wantEncoding), want)) || a.Get("connect-content-encoding") != wantEncoding || a.Get("content-encoding") != "" {
					t.Errorf("got %q %q", a.Get("connect-content-encoding"), msgs)
				}
				if end.Error != nil || fmt.Sprint(end.Metadata) != "map[x-t:[2]]" {
					t.Errorf("end %+v", end)
				}
			}
		})
	}
}

// TestUncompressed: a backend that names an encoding may still send messages without
// it, and messages of no bytes are never decompressed.
func TestUncompressed(t *testing.T) {
	for name, c := range map[string]struct{ answer, want []byte }{
		"without the flag":    {env(0, []byte("plain")), []byte("plain")},
		"empty":               {env(0, nil), nil},
		"empty with the flag": {env(1, nil), nil},
	} {
		for _, accept := range []string{"gzip", "identity"} {
			r := newTrial(t)
			r.onEnd = reply("gzip", c.answer)
			r.start(post(unaryMethod, 0, "accept-encoding", accept)).q.End(nil)
			a := r.finish(true)
			if a.Status != 200 || !bytes.Equal(a.Body, c.want) || a.Get("content-encoding") != "" {
				t.Errorf("%s/%s: got %d %q %q", name, accept, a.Status, a.Get("content-encoding"), a.Body)
			}
			r = newTrial(t)
			r.onEnd = reply("gzip", c.answer, env(1, pack(t, "gzip", []byte("next"))))
			r.start(streamed(serverMethod, "connect-accept-encoding", accept)).give(env(0, nil)).q.End(nil)
			a = r.finish(true)
			msgs, end := readStream(t, a.Body)
			if len(msgs) != 2 || !bytes.Equal([]byte(msgs[0])[5:], c.want) || end.Error != nil {
				t.Errorf("%s/%s: got %q %+v", name, accept, msgs, end)
			}
		}
	}

	r := newTrial(t) // "zero-length body must not be decompressed"
	r.onEnd = reply("", env(0, nil))
	r.start(post(unaryMethod, -1, "content-encoding", "gzip")).q.End(nil)
	r.finish(true)
	if !bytes.Equal(r.body, env(0, nil)) {
		t.Errorf("the backend got %x", r.body)
	}
}

// TestConvertFails: what can't be undone ends the call with a status, after the
// messages before it, and nothing that comes later is taken for a message.
func TestConvertFails(t *testing.T) {
	bomb := pack(t, "gzip", make([]byte, 4<<20))
	if len(bomb) > 1<<20 {
		t.Fatal("that is no bomb")
	}
	for name, c := range map[string]struct {
		encoding string
		message  []byte
		code     string
		words    string
	}{
		"over the limit":   {"gzip", env(1, pack(t, "gzip", make([]byte, maxMessage+1))), "resource_exhausted", "limit"},
		"garbage":          {"gzip", env(1, []byte("garbage")), "internal", "gzip"},
		"cut":              {"gzip", env(1, pack(t, "gzip", []byte("hello"))[:12]), "internal", "gzip"},
		"unknown encoding": {"lzw", env(1, []byte("hello")), "internal", "lzw"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTrial(t)
			r.onEnd = reply(c.encoding, c.message)
			r.start(post(unaryMethod, 0)).q.End(nil)
			if e := readError(t, r.finish(true).Body); e.Code != c.code || !strings.Contains(e.Message, c.words) {
				t.Errorf("unary: %+v", e)
			}
			for _, step := range []int{1, 1 << 20} {
				for _, late := range []bool{false, true} {
					r := newTrial(t)
					if late {
						r.onCancel = func(*backend) {}
					}
					r.onEnd = func(b *backend) {
						b.head(c.encoding)
						all := join(env(0, []byte("first")), c.message, env(0, []byte("never")))
						for i := 0; i < len(all); i += step {
							p := bytes.Clone(all[i:min(i+step, len(all))])
							if b.over {
								break
							}
							b.sent += len(p)
							b.response.Data(p) // also beside a cancel
						}
						if late {
							b.over = true
							b.response.End(rpc.Status{}, nil) // the end has overtaken the cancel
						}
					}
					r.start(streamed(serverMethod)).give(env(0, nil)).q.End(nil)
					a := r.finish(true)
					msgs, end := readStream(t, a.Body)
					if len(msgs) != 1 || msgs[0] != string(env(0, []byte("first"))) {
						t.Errorf("step %d, late %v: messages %q", step, late, msgs)
					}
					if end.Error == nil || end.Error.Code != c.code || !strings.Contains(end.Error.Message, c.words) || len(r.cancels) != 1 {
						t.Errorf("step %d, late %v: end %+v, canceled %v", step, late, end.Error, r.cancels)
					}
				}
			}
		})
	}

	// A bomb of the ratio needs a limit above compress's free bytes.
	r := newTrial(t)
	r.maxMessage = 64 << 20
	r.onEnd = reply("gzip", env(1, bomb))
	r.start(post(unaryMethod, 0)).q.End(nil)
	if e := readError(t, r.finish(true).Body); e.Code != "resource_exhausted" {
		t.Errorf("bomb: %+v", e)
	}
}

// TestConvertAnnounced: a message is refused by its prefix, before anything is kept of
// it, and one for which there is no memory is refused as such.
func TestConvertAnnounced(t *testing.T) {
	for name, c := range map[string]struct {
		memory int
		answer []byte
		words  string
	}{
		"4 GiB":     {0, []byte{1, 0xff, 0xff, 0xff, 0xff, 1, 2, 3}, "limit"},
		"no memory": {20, env(1, make([]byte, 500)), "limits.buffer_bytes"},
	} {
		r := newTrial(t)
		r.mem.limit = c.memory
		r.onEnd = func(b *backend) {
			b.head("gzip")
			for i := range c.answer {
				b.send(c.answer[i : i+1])
			}
			b.end(rpc.Status{}, nil)
		}
		r.start(streamed(serverMethod)).give(env(0, nil)).q.End(nil)
		a := r.finish(true)
		_, end := readStream(t, a.Body)
		if end.Error == nil || end.Error.Code != "resource_exhausted" || !strings.Contains(end.Error.Message, c.words) || r.mem.peak > 20 {
			t.Errorf("%s: %+v, %d bytes were kept", name, end.Error, r.mem.peak)
		}
	}
}

// TestConvertLedger: a converted byte is owed until the client has taken what it
// became, so a client that takes nothing holds the backend; the end belongs to nobody.
func TestConvertLedger(t *testing.T) {
	r := newTrial(t)
	r.noCredit = true
	r.start(streamed(serverMethod)).give(env(0, nil)).q.End(nil)
	r.head("gzip")
	one := env(1, pack(t, "gzip", []byte("0123456789")))
	r.send(one[:7])
	if n := r.credit.Load(); n != 7 {
		t.Errorf("%d bytes of a part were credited, want 7: it was taken on receipt", n)
	}
	r.send(one[7:])
	if n := r.credit.Load(); n != 7 {
		t.Errorf("%d bytes were credited before the client took one", n)
	}
	for range 14 {
		r.q.Credit(1)
	}
	if n := r.credit.Load(); n != 7 {
		t.Errorf("%d bytes were credited before the client took the message", n)
	}
	r.q.Credit(1)
	if n := int(r.credit.Load()); n != len(one) {
		t.Errorf("%d bytes were credited of %d", n, len(one))
	}
	r.backend.end(rpc.Status{}, nil)
	r.q.Credit(len(r.client.Answer().Body) - 15)
	r.noCredit = false
	r.finish(true)
}

// TestConverterPieces: a long message that comes in small pieces costs what its bytes cost.
func TestConverterPieces(t *testing.T) {
	const size = 4 << 20
	c := &converter{limit: size, reserve: func(int) bool { return true }, ledger: &ledger.Ledger{}}
	at, n := time.Now(), 0
	b := envelope.Append(nil, 0, size)
	for range size / 64 {
		out, err := c.take(append(b, make([]byte, 64)...))
		if err != nil {
			t.Fatal(err)
		}
		n, b = n+len(out), nil
		if took := time.Since(at); took > 20*time.Second { // a minute if all is moved each time
			t.Fatalf("not at its end after %v", took)
		}
	}
	if n != size+envelope.PrefixLen {
		t.Errorf("%d bytes came out", n)
	}
}
