package duplex

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	bytesValue = "google.protobuf.BytesValue"
	httpBody   = "google.api.HttpBody"
)

// rawWorld has one method, whose backend plays a script.
func rawWorld(t testing.TB, types Types, script exchangetest.Script) (*world, *exchangetest.Server) {
	backend := exchangetest.NewServer(script)
	return newWorld(t, exchangetest.Script{}, func(o *Options) {
		o.Calls = backend
		o.Types = func(method string) (Types, bool) { return types, method == "/demo.v1.Demo/EchoBytes" }
	}), backend
}

// message is a gRPC message.
func message(b []byte) []byte { return append([]byte{0, 0, 0, byte(len(b) >> 8), byte(len(b))}, b...) }

func value(s string) []byte {
	b, _ := proto.Marshal(wrapperspb.Bytes([]byte(s)))
	return message(b)
}

// grpcEcho answers each message with itself.
func grpcEcho() exchangetest.Script {
	return exchangetest.Script{
		Begin: func(q *exchangetest.Request) { q.Answer(200, fields("content-type", "application/grpc")...) },
		Data:  func(q *exchangetest.Request, b []byte) { q.Send(b) },
		End:   func(q *exchangetest.Request) { q.Finish(fields("grpc-status", "0")...) },
	}
}

// TestRaw has a call of bytes, by npm http2-duplex and by a client of ours.
func TestRaw(t *testing.T) {
	for _, npm := range []bool{true, false} {
		for _, types := range []Types{{bytesValue, bytesValue, true}, {httpBody, httpBody, true}} {
			t.Run(fmt.Sprint(npm, types.Request), func(t *testing.T) {
				w, backend := rawWorld(t, types, grpcEcho())
				more := []string{"x-tag", "7", "authorization", "Bearer abc", "grpc-timeout", "9S", "grpc-encoding", "gzip", "accept", "*/*", "sec-fetch-mode", "cors", "user-agent", "me"}
				if !npm {
					more = append(more, "sluice-session", id1, "sluice-offset", "0")
				}
				get := w.start(rawHead("GET", "/demo.v1.Demo/EchoBytes", more...))
				get.End(nil)
				id := get.Answer().Get("http2-duplex-id")
				at := 0
				write := func(s string, end bool) {
					t.Helper()
					h := rawHead("POST", "/demo.v1.Demo/EchoBytes", "http2-duplex-id", id, "http2-duplex-end", fmt.Sprint(end))
					status := 200
					if !npm {
						h.Fields, status = fields("sluice-session", id1, "sluice-offset", fmt.Sprint(at), "sluice-end", map[bool]string{true: "1"}[end]), 204
					}
					h.Length = int64(len(s))
					at += len(s)
					a := w.start(h)
					for _, c := range []byte(s) { // a piece in pieces
						a.Data([]byte{c})
					}
					a.End(nil)
					a.want(status, "")
				}
				call := backend.Next(t)
				if h := call.Seen().Head; h.Method != "POST" || h.Path != "/demo.v1.Demo/EchoBytes" || h.Carrier != "dx" || h.Protocol != "" ||
					fmt.Sprint(h.Fields) != fmt.Sprint(fields("content-type", "application/grpc+proto", "te", "trailers", "x-tag", "7", "authorization", "Bearer abc", "grpc-timeout", "9S", "user-agent", "me")) {
					t.Errorf("%+v", h)
				}
				write("k", false)
				get.body("ak")
				write("eys", false)
				large := strings.Repeat("x", 40_000)
				write(large, false)
				write("", true)
				want := append(value("k"), value("eys")...)
				if types.Request == httpBody {
					lead := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "application/octet-stream")
					data := func(s string) []byte {
						return message(protowire.AppendString(protowire.AppendTag(bytes.Clone(lead), 2, protowire.BytesType), s))
					}
					want = append(data("k"), data("eys")...)
				}
				seen := call.Seen()
				if !bytes.HasPrefix(seen.Body, want) || !seen.Ended || seen.Credit != len(seen.Body)-at {
					t.Errorf("%.100q, %v, %d credited of %d", seen.Body, seen.Ended, seen.Credit, len(seen.Body))
				}
				if npm { // of our own client's, what is longer is cut as it comes
					if n := strings.Count(string(seen.Body), "x"); n != len(large) || !bytes.Contains(seen.Body, value(large[:pieceSize])) && types.Request == bytesValue {
						t.Errorf("%d bytes of the large one", n)
					}
				}
				get.body("akeys" + large)
				get.Credit(at + 1)
				if a := get.Answer(); !a.Ended {
					t.Errorf("%+v", a.Cause)
				}
				get.done()
				if s := call.WaitDone(t); s.Credit != len(s.Body) || !s.Delivered {
					t.Errorf("%d credited of %d", s.Credit, len(s.Body))
				}
				call.Check(t)
				w.empty()
			})
		}
	}
}

// TestRawRefused has methods that are not of bytes.
func TestRawRefused(t *testing.T) {
	for _, c := range []struct {
		types  Types
		method string
		status int
	}{
		{Types{bytesValue, bytesValue, true}, "/demo.v1.Demo/None", 404},
		{Types{bytesValue, bytesValue, false}, "/demo.v1.Demo/EchoBytes", 501},
		{Types{bytesValue, "google.protobuf.StringValue", true}, "/demo.v1.Demo/EchoBytes", 501},
		{Types{"", bytesValue, true}, "/demo.v1.Demo/EchoBytes", 501},
	} {
		w, _ := rawWorld(t, c.types, grpcEcho())
		w.start(rawHead("GET", c.method)).status(c.status)
		w.s.o.Pending = func() string { return "the services of a" }
		if c.status == 404 {
			c.status = 503
		}
		w.start(rawHead("GET", c.method)).status(c.status)
		w.empty()
	}
}

// TestRawEnd has each way in which a call of bytes ends but well.
func TestRawEnd(t *testing.T) {
	status := func(q *exchangetest.Request, code string) {
		q.Finish(fields("grpc-status", code, "grpc-message", "no%20such thing")...)
	}
	for name, c := range map[string]struct {
		begin func(q *exchangetest.Request)
		do    func(q *exchangetest.Request)
		text  string // of an upload under way
		reset bool   // the call is canceled
	}{
		"status":         {nil, func(q *exchangetest.Request) { status(q, "5") }, "NOT_FOUND: no such thing", false},
		"no status":      {nil, func(q *exchangetest.Request) { q.Finish() }, "UNKNOWN: the call ended without a status", false},
		"cut":            {nil, func(q *exchangetest.Request) { q.Send([]byte{0, 0, 0, 0, 2, 10}); status(q, "0") }, "INTERNAL: a response was cut", false},
		"flags":          {nil, func(q *exchangetest.Request) { q.Send([]byte{1, 0, 0, 0, 0}) }, "unknown flags", true},
		"too large":      {nil, func(q *exchangetest.Request) { q.Send([]byte{0, 0, 0x10, 0, 1}) }, "larger than the limit", true},
		"twice":          {nil, func(q *exchangetest.Request) { q.Send(message([]byte{10, 0, 10, 0})) }, "twice", true},
		"malformed":      {nil, func(q *exchangetest.Request) { q.Send(message([]byte{10, 2, 0})) }, "malformed", true},
		"broken":         {nil, func(q *exchangetest.Request) { q.Break(exchange.Disconnected, nil) }, "DISCONNECTED", false},
		"not gRPC":       {func(q *exchangetest.Request) { q.Answer(502) }, func(q *exchangetest.Request) { q.Send([]byte("x")) }, "HTTP status 502", true},
		"not gRPC, bare": {func(q *exchangetest.Request) {}, func(q *exchangetest.Request) { q.AnswerEnd(503) }, "HTTP status 503", false},
		"trailers only":  {func(q *exchangetest.Request) {}, func(q *exchangetest.Request) { q.AnswerEnd(200, fields("grpc-status", "12")...) }, "UNIMPLEMENTED", false},
		"client leaves":  {nil, nil, "no such session", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				script := grpcEcho()
				script.Data, script.NoCredit = nil, true
				if c.begin != nil {
					script.Begin = c.begin
				}
				w, backend := rawWorld(t, Types{bytesValue, bytesValue, true}, script)
				get := w.start(rawHead("GET", "/demo.v1.Demo/EchoBytes", "sluice-session", id1, "sluice-offset", "0"))
				call := backend.Next(t)
				var upload *asked
				if !get.Answer().Broken { // else it is over at once
					upload = w.post(id1, 0, "k")
				}
				if c.do != nil {
					c.do(call)
				} else {
					w.ask("DELETE", "sluice-session", id1).want(204, "")
				}
				synctest.Wait()
				if a := get.Answer(); !a.Broken {
					t.Errorf("%+v", a)
				}
				get.done()
				if upload != nil {
					if a := upload.Answer(); !a.Ended || a.Status == 204 || !strings.Contains(string(a.Body), c.text) {
						t.Errorf("%d %q", a.Status, a.Body)
					}
					upload.done()
				}
				time.Sleep(time.Minute)
				s := call.Seen()
				if !s.Done || s.Reset != c.reset || s.Reset && s.Code != exchange.Cancel {
					t.Errorf("%+v", s)
				}
				call.Check(t)
				w.empty()
			})
		})
	}
}

// FuzzBytesOf: messages cut anywhere are read the same, and as protobuf reads them.
func FuzzBytesOf(f *testing.F) {
	f.Add(append(value("hello"), value("")...), uint8(1))
	f.Add(message([]byte{8, 0x96, 1, 10, 2, 'h', 'i', 21, 1, 2, 3, 4, 25, 1, 2, 3, 4, 5, 6, 7, 8, 26, 1, 'x'}), uint8(3))
	f.Add(message([]byte{10, 0x80}), uint8(2))
	f.Add(message([]byte{0x80, 0x80, 0x80, 0x80, 0x10, 0}), uint8(9)) // field 1<<29
	f.Add(message([]byte{11, 12}), uint8(2))
	read := func(b []byte, piece int) (out []byte, between bool, err error) {
		s := bytesOf{field: 1, max: 1000}
		for len(b) > 0 && err == nil {
			in := b[:min(piece, len(b))]
			b = b[len(in):]
			for len(in) > 0 {
				p, n, e := s.next(in)
				if err = e; e != nil {
					break
				}
				out = append(out, p...)
				in = in[n:]
			}
		}
		return out, s.between(), err
	}
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		out, between, err := read(b, len(b)+1)
		cut, betweenCut, errCut := read(b, 1+int(piece))
		if !bytes.Equal(out, cut) || between != betweenCut || fmt.Sprint(err) != fmt.Sprint(errCut) {
			t.Fatalf("%q %v %v, and cut %q %v %v", out, between, err, cut, betweenCut, errCut)
		}
		if err != nil || !between {
			return
		}
		var want []byte
		for len(b) > 0 {
			n := int(b[3])<<8 | int(b[4])
			var v wrapperspb.BytesValue
			if err := proto.Unmarshal(b[5:5+n], &v); err != nil {
				t.Fatalf("protobuf: %v", err)
			}
			want = append(want, v.GetValue()...)
			b = b[5+n:]
		}
		if !bytes.Equal(out, want) {
			t.Fatalf("%q, protobuf has %q", out, want)
		}
	})
}
