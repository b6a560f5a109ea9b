package grpc

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/exchange/exchangetest"
	"github.com/sluice-rpc/sluice/rpc"
)

func TestClientHead(t *testing.T) {
	for name, test := range map[string]struct {
		o    ClientOptions
		call *rpc.Call
		want string // of the fields
		auth string
	}{
		"te, type, user agent": {want: "te: trailers\ncontent-type: application/grpc\nuser-agent: sluice\n"},
		"codec and user agent": {call: &rpc.Call{Codec: "json", UserAgent: "x/1"},
			want: "te: trailers\ncontent-type: application/grpc+json\nuser-agent: x/1\n"},
		"encodings": {call: &rpc.Call{Encoding: "gzip", AcceptEncodings: []string{"zstd", "gzip"}},
			want: "te: trailers\ncontent-type: application/grpc\nuser-agent: sluice\ngrpc-encoding: gzip\ngrpc-accept-encoding: zstd,gzip\n"},
		"deadline shrunk by time spent on the way": {
			o:    ClientOptions{Now: func() time.Time { return epoch.Add(300 * time.Millisecond) }},
			call: &rpc.Call{Deadline: epoch.Add(time.Second)},
			want: "te: trailers\ncontent-type: application/grpc\nuser-agent: sluice\ngrpc-timeout: 700000u\n"},
		"deadline passed is at least one unit": {call: &rpc.Call{Deadline: epoch.Add(-time.Hour)},
			want: "te: trailers\ncontent-type: application/grpc\nuser-agent: sluice\ngrpc-timeout: 1n\n"},
		"metadata in order, duplicates kept, reserved dropped": {
			call: &rpc.Call{Metadata: rpc.Metadata{{Key: "b", Value: "1"}, {Key: "a", Value: "2, 3"}, {Key: "grpc-status", Value: "0"},
				{Key: "te", Value: "x"}, {Key: ":path", Value: "/"}, {Key: "", Value: "no name"}, {Key: "b", Value: "4"}, {Key: "c-bin", Value: "AQ"}}},
			want: "te: trailers\ncontent-type: application/grpc\nuser-agent: sluice\nb: 1\na: 2, 3\nb: 4\nc-bin: AQ\n"},
		"own authority":      {o: ClientOptions{Authority: "o", Fallback: "f"}, call: &rpc.Call{Authority: "c"}, auth: "o", want: "*"},
		"client's authority": {o: ClientOptions{Fallback: "f"}, call: &rpc.Call{Authority: "c"}, auth: "c", want: "*"},
		"fallback authority": {o: ClientOptions{Fallback: "f"}, auth: "f", want: "*"},
	} {
		t.Run(name, func(t *testing.T) {
			c := test.call
			if c == nil {
				c = &rpc.Call{}
			}
			b := call(t, test.o, c)
			h := b.q.Seen().Head
			if got := pairs(h.Fields); test.want != "*" && got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
			if h.Method != "POST" || h.Path != "/s.S/M" || h.Authority != test.auth || h.Length != -1 {
				t.Errorf("head %+v", h)
			}
		})
	}
}

// TestClientEnds holds answers of backends, good and bad, and what the call ends with.
func TestClientEnds(t *testing.T) {
	ok := func(f ...string) func(*exchangetest.Request) {
		return func(q *exchangetest.Request) {
			q.Answer(200, typed...)
			q.Send([]byte(msg(0, "hi")))
			q.Finish(fields(f...)...)
		}
	}
	only := func(status int, f ...string) func(*exchangetest.Request) {
		return func(q *exchangetest.Request) { q.AnswerEnd(status, fields(f...)...) }
	}
	with := func(head []exchange.Field, body string, trailer ...string) func(*exchangetest.Request) {
		return func(q *exchangetest.Request) {
			q.Answer(200, head...)
			for _, b := range pieces(body) {
				q.Send([]byte(b))
			}
			q.Finish(fields(trailer...)...)
		}
	}
	reset := func(c exchange.Code) func(*exchangetest.Request) {
		return func(q *exchangetest.Request) { q.Break(c, nil) }
	}
	const gt = "application/grpc"
	gzip := fields("content-type", gt, "grpc-encoding", "gzip")
	identity := fields("content-type", gt, "grpc-encoding", "identity")
	for name, test := range map[string]struct {
		schema *rpc.Method
		script func(*exchangetest.Request)
		code   rpc.Code
		says   string // part of the message
		headed bool   // the client got a Head
		remote bool
	}{
		"ok":                                 {script: ok("grpc-status", "0"), headed: true, remote: true},
		"status in the trailer":              {script: ok("grpc-status", "5", "grpc-message", "no %E2%98%BA"), code: rpc.NotFound, says: "no ☺", headed: true, remote: true},
		"bad escapes keep the raw text":      {script: ok("grpc-status", "5", "grpc-message", "50% %zz %"), code: rpc.NotFound, says: "50% %zz %", headed: true, remote: true},
		"status 17":                          {script: ok("grpc-status", "17"), code: 17, headed: true, remote: true},
		"status negative":                    {script: ok("grpc-status", "-1"), code: rpc.Unknown, headed: true, remote: true},
		"status huge":                        {script: ok("grpc-status", "99999999999"), code: rpc.Unknown, headed: true, remote: true},
		"status is no number":                {script: ok("grpc-status", "OK"), code: rpc.Unknown, headed: true, remote: true},
		"status empty":                       {script: ok("grpc-status", ""), code: rpc.Unknown, headed: true, remote: true},
		"status missing":                     {script: ok(), code: rpc.Internal, says: "without grpc-status", headed: true},
		"status missing, trailers there":     {script: ok("x", "1"), code: rpc.Internal, says: "without grpc-status", headed: true},
		"status in both: the trailer wins":   {script: with(fields("content-type", gt, "grpc-status", "0"), msg(0, ""), "grpc-status", "9"), code: rpc.FailedPrecondition, headed: true, remote: true},
		"status in a header that ends not":   {script: with(fields("content-type", gt, "grpc-status", "9"), ""), code: rpc.FailedPrecondition, headed: true, remote: true},
		"status in a header, and a message":  {script: with(fields("content-type", gt, "grpc-status", "9"), msg(0, "")), code: rpc.Internal, says: "without grpc-status", headed: true},
		"another codec":                      {script: with(fields("content-type", gt+"+json"), "{}", "grpc-status", "0"), code: rpc.Internal, says: "asked for proto"},
		"trailers-only":                      {script: only(200, "content-type", gt, "grpc-status", "7"), code: rpc.PermissionDenied, remote: true},
		"trailers-only without a status":     {script: only(200, "content-type", gt), code: rpc.Internal, says: "without grpc-status"},
		"trailers-only, HTTP 503 and status": {script: only(503, "content-type", gt, "grpc-status", "7"), code: rpc.PermissionDenied, remote: true},
		"HTTP 200 text/html":                 {script: only(200, "content-type", "text/html"), code: rpc.Unknown, says: "text/html"},
		"HTTP 200 text/html with a body":     {script: with(fields("content-type", "text/html"), "<html>"), code: rpc.Unknown, says: "text/html"},
		"HTTP 200 no content-type":           {script: only(200), code: rpc.Unknown},
		"HTTP 200 gRPC-Web":                  {script: with(fields("content-type", "application/grpc-web"), msg(0, "")), code: rpc.Unknown},
		"HTTP 404 gRPC type, no status":      {script: only(404, "content-type", gt), code: rpc.Unimplemented, says: "404"},
		"type with a parameter":              {script: with(fields("content-type", "application/grpc+proto; charset=utf-8"), msg(0, ""), "grpc-status", "0"), headed: true, remote: true},
		"end in the middle of a message":     {script: with(typed, msg(0, "hello")[:7], "grpc-status", "0"), code: rpc.Internal, says: "inside of a message", headed: true},
		"end in the middle of a prefix":      {script: with(typed, msg(0, "hello")[:3], "grpc-status", "0"), code: rpc.Internal, says: "inside of a message", headed: true},
		"error in the middle of a message":   {script: with(typed, msg(0, "hello")[:7], "grpc-status", "14"), code: rpc.Unavailable, headed: true, remote: true},
		"compressed":                         {script: with(gzip, msg(1, "zz"), "grpc-status", "0"), headed: true, remote: true},
		"compressed without encoding":        {script: with(typed, msg(1, "zz"), "grpc-status", "0"), code: rpc.Internal, says: "grpc-encoding", headed: true},
		"compressed with identity":           {script: with(identity, msg(1, "zz"), "grpc-status", "0"), code: rpc.Internal, says: "grpc-encoding", headed: true},
		"unknown flags":                      {script: with(gzip, msg(2, ""), "grpc-status", "0"), code: rpc.Internal, says: "0x02", headed: true},
		"gRPC-Web trailer frame":             {script: with(gzip, msg(0x80, ""), "grpc-status", "0"), code: rpc.Internal, says: "0x80", headed: true},
		"message at the limit":               {script: with(typed, msg(0, strings.Repeat("x", limit)), "grpc-status", "0"), headed: true, remote: true},
		"message above the limit":            {script: with(typed, msg(0, strings.Repeat("x", limit+1)), "grpc-status", "0"), code: rpc.ResourceExhausted, says: "1001 bytes", headed: true},
		"five bytes that announce 4 GiB":     {script: with(typed, "\x00\xff\xff\xff\xff", "grpc-status", "0"), code: rpc.ResourceExhausted, says: "4294967295", headed: true},
		"unary: no message":                  {schema: unary, script: with(typed, "", "grpc-status", "0"), code: rpc.Unimplemented, says: "none", headed: true},
		"unary: no message, error":           {schema: unary, script: with(typed, "", "grpc-status", "3"), code: rpc.InvalidArgument, headed: true, remote: true},
		"unary: trailers-only OK":            {schema: unary, script: only(200, "content-type", gt, "grpc-status", "0"), code: rpc.Unimplemented, says: "none"},
		"unary: two messages":                {schema: unary, script: with(typed, msg(0, "a")+msg(0, "b"), "grpc-status", "0"), code: rpc.Unimplemented, says: "sent more", headed: true},
		"no schema: two messages":            {script: with(typed, msg(0, "a")+msg(0, "b"), "grpc-status", "0"), headed: true, remote: true},
		"reset NO_ERROR":                     {script: reset(exchange.NoError), code: rpc.Internal},
		"reset PROTOCOL_ERROR":               {script: reset(exchange.ProtocolError), code: rpc.Internal, says: "PROTOCOL_ERROR"},
		"reset INTERNAL_ERROR":               {script: reset(exchange.InternalError), code: rpc.Internal},
		"reset FLOW_CONTROL_ERROR":           {script: reset(exchange.FlowControlError), code: rpc.Internal},
		"reset REFUSED_STREAM":               {script: reset(exchange.RefusedStream), code: rpc.Unavailable, says: "refused"},
		"reset CANCEL":                       {script: reset(exchange.Cancel), code: rpc.Canceled},
		"reset ENHANCE_YOUR_CALM":            {script: reset(exchange.EnhanceYourCalm), code: rpc.ResourceExhausted},
		"reset INADEQUATE_SECURITY":          {script: reset(exchange.InadequateSecurity), code: rpc.PermissionDenied},
		"connection lost":                    {script: reset(exchange.Disconnected), code: rpc.Unavailable, says: "lost"},
		"1xx is skipped": {script: func(q *exchangetest.Request) {
			q.Inform(103, fields("content-type", "text/html", "grpc-status", "13")...)
			ok("grpc-status", "0")(q)
		}, headed: true, remote: true},
		"reset with a status as its cause": {script: func(q *exchangetest.Request) {
			q.Break(exchange.RefusedStream, rpc.Errorf(rpc.ResourceExhausted, "queue full"))
		}, code: rpc.ResourceExhausted, says: "queue full"},
		"reset after data": {script: func(q *exchangetest.Request) {
			q.Answer(200, typed...)
			q.Send([]byte(msg(0, "hello")[:6]))
			q.Break(exchange.InternalError, errors.New("boom"))
		}, code: rpc.Internal, says: "boom", headed: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := call(t, ClientOptions{}, &rpc.Call{Schema: test.schema})
			test.script(b.q)
			st := b.one(t)
			if st.Code != test.code || !strings.Contains(st.Message, test.says) || st.Remote != test.remote {
				t.Errorf("got %v, remote %v; want %v with %q, remote %v", st, st.Remote, test.code, test.says, test.remote)
			}
			if got := len(b.heads) == 1; got != test.headed {
				t.Errorf("head: %v, want %v", got, test.headed)
			}
			b.req.Done(rpc.Outcome{Status: st, Delivered: true})
			if s := b.q.Seen(); !s.Done || !s.Delivered {
				t.Errorf("Done did not pass: %+v", s)
			}
			b.check(t)
		})
	}
	for status, want := range map[int]rpc.Code{
		400: rpc.Internal, 401: rpc.Unauthenticated, 403: rpc.PermissionDenied, 404: rpc.Unimplemented, 429: rpc.Unavailable,
		500: rpc.Unknown, 502: rpc.Unavailable, 503: rpc.Unavailable, 504: rpc.Unavailable, 418: rpc.Unknown, 302: rpc.Unknown, 204: rpc.Unknown,
	} {
		for _, body := range []string{"", "<html>"} {
			t.Run("HTTP "+strconv.Itoa(status)+body, func(t *testing.T) {
				b := call(t, ClientOptions{}, &rpc.Call{})
				if body == "" {
					b.q.AnswerEnd(status, fields("content-type", "text/html")...)
				} else {
					b.q.Answer(status, fields("content-type", "text/html")...)
					b.q.Send([]byte(body))
				}
				if st := b.one(t); st.Code != want || !strings.Contains(st.Message, strconv.Itoa(status)) {
					t.Errorf("got %v, want %v", st, want)
				}
				if len(b.heads) != 0 || len(b.data) != 0 {
					t.Error("the client got some of it")
				}
				b.check(t)
			})
		}
	}
}

// TestClientEarlyHead: the head passes before there is a message, and one HEADERS with
// END_STREAM never becomes a head and an end.
func TestClientEarlyHead(t *testing.T) {
	b := call(t, ClientOptions{}, &rpc.Call{})
	b.q.Answer(200, fields("content-type", "application/grpc+proto", "x", "1", "grpc-encoding", "gzip", "grpc-accept-encoding", "gzip, zstd",
		"date", "today", "x", "2", "y-bin", "AQ==,AgM=")...)
	if len(b.heads) != 1 {
		t.Fatal("the head waits")
	}
	h := b.heads[0]
	if got := mdString(h.Metadata); got != "x: 1\nx: 2\ny-bin: AQ\ny-bin: AgM\n" {
		t.Errorf("metadata\n%s", got)
	}
	if h.Encoding != "gzip" || h.Codec != "proto" || strings.Join(h.AcceptEncodings, "|") != "gzip|zstd" {
		t.Errorf("head %+v", h)
	}
	b.q.Finish(fields("grpc-status", "0", "b", "1", "a", "2", "b", "3")...)
	if got := mdString(b.trailer); got != "b: 1\na: 2\nb: 3\n" {
		t.Errorf("trailer\n%s", got)
	}
	b.check(t)
}

func TestClientStatusDetails(t *testing.T) {
	for _, v := range []string{"CAUSAnh5", "CAUSAng", "CAUSAng="} {
		b := call(t, ClientOptions{}, &rpc.Call{})
		b.q.AnswerEnd(200, fields("content-type", "application/grpc", "grpc-status", "5", "grpc-status-details-bin", v)...)
		if st := b.one(t); len(st.Details) < 5 || st.Code != rpc.NotFound || len(b.trailer) != 0 {
			t.Errorf("%s: %+v, trailer %v", v, st, b.trailer)
		}
	}
	b := call(t, ClientOptions{}, &rpc.Call{})
	b.q.AnswerEnd(200, fields("content-type", "application/grpc", "grpc-status", "5", "grpc-status-details-bin", "*")...)
	if st := b.one(t); st.Code != rpc.NotFound || st.Details != nil {
		t.Errorf("bad details: %+v", st)
	}
}

// TestClientCancel: the first cause is the end, and reaches the backend as one reset.
func TestClientCancel(t *testing.T) {
	b := call(t, ClientOptions{}, &rpc.Call{})
	b.q.Answer(200, typed...)
	b.req.Data([]byte("abc"))
	b.req.Cancel(rpc.Errorf(rpc.DeadlineExceeded, "late"))
	b.req.Cancel(rpc.Errorf(rpc.Canceled, "gone"))
	if st := b.one(t); st.Code != rpc.DeadlineExceeded {
		t.Errorf("got %v", st)
	}
	if s := b.q.Seen(); !s.Reset || s.Code != exchange.Cancel || string(s.Body) != "abc" {
		t.Errorf("the backend has seen %+v", s)
	}
	b.check(t)
}

// TestClientCancelRace: a backend that ends after the cancel does not change what the
// client was told, and what it still sends is credited.
func TestClientCancelRace(t *testing.T) {
	s := exchangetest.NewServer(exchangetest.Script{Reset: func(*exchangetest.Request, exchange.Code) {}})
	c := &caller{}
	req := NewClient(s, ClientOptions{MaxMessage: limit}).Start(&rpc.Call{Method: "/s.S/M"}, c)
	req.Begin()
	q := s.Next(t)
	q.Answer(200, typed...)
	req.Cancel(rpc.Errorf(rpc.Canceled, "gone"))
	q.Send([]byte(msg(0, "late")))
	q.Finish(fields("grpc-status", "0")...)
	if len(c.ends) != 1 || c.ends[0].Code != rpc.Canceled || len(c.data) != 0 {
		t.Errorf("got %v, data %q", c.ends, c.data)
	}
	if got := q.Seen().Credit; got != len(msg(0, "late")) {
		t.Errorf("%d bytes credited", got)
	}
	c.check(t)
	q.Check(t)
}

// TestClientDeadlineReset: a backend that cancels because of the deadline means the
// deadline.
func TestClientDeadlineReset(t *testing.T) {
	for after, want := range map[time.Duration]rpc.Code{-time.Millisecond: rpc.Canceled, 0: rpc.DeadlineExceeded, time.Second: rpc.DeadlineExceeded} {
		b := call(t, ClientOptions{Now: func() time.Time { return epoch.Add(after) }}, &rpc.Call{Deadline: epoch})
		b.q.Break(exchange.Cancel, nil)
		if st := b.one(t); st.Code != want {
			t.Errorf("%v after the deadline: %v, want %v", after, st, want)
		}
	}
}

// TestClientEarlyEnd: a status before the client has finished reaches it, and what it
// sends afterwards passes to the carrier, which knows what to do with it.
func TestClientEarlyEnd(t *testing.T) {
	b := call(t, ClientOptions{}, &rpc.Call{})
	b.req.Data([]byte(msg(0, "a")))
	b.q.AnswerEnd(200, fields("content-type", "application/grpc", "grpc-status", "8")...)
	if st := b.one(t); st.Code != rpc.ResourceExhausted {
		t.Errorf("got %v", st)
	}
	b.req.Data([]byte(msg(0, "b")))
	b.req.End()
	b.req.Done(rpc.Outcome{})
	if s := b.q.Seen(); !s.Done || s.Reset || s.Delivered {
		t.Errorf("the backend has seen %+v", s)
	}
	b.check(t)
}

// TestClientCredit: each response byte is credited once, by the client for what it got
// and by the half for what it keeps from it; request credits pass one to one.
func TestClientCredit(t *testing.T) {
	for name, body := range map[string]string{
		"sound":          msg(0, "one") + msg(0, "two"),
		"refused prefix": msg(0, "one") + msg(2, "two") + msg(0, "three"),
		"too large":      msg(0, strings.Repeat("x", limit+1)),
	} {
		for cut := range len(body) {
			b := call(t, ClientOptions{}, &rpc.Call{})
			b.onData = func(n int) { b.req.Credit(n) }
			b.q.Answer(200, typed...)
			for _, p := range pieces(body, cut) {
				b.q.Send([]byte(p))
				// A carrier delivers what was on the way when it was reset; here it
				// has ended, so nothing more comes.
			}
			sent := len(body)
			if len(b.ends) == 1 && cut > 0 {
				sent = 0 // either piece may be the last
			}
			if got := b.q.Seen().Credit; sent > 0 && got != sent || got < len(b.data) {
				t.Errorf("%s cut at %d: %d bytes credited of %d", name, cut, got, len(body))
			}
			b.check(t)
		}
	}
	b := call(t, ClientOptions{}, &rpc.Call{})
	b.req.Data([]byte("12345"))
	b.q.Take(2)
	if b.credit != 7 {
		t.Errorf("request credit %d, want 7", b.credit)
	}
}

func TestClientStats(t *testing.T) {
	c := &rpc.Call{Received: epoch.Add(-time.Second)}
	b := call(t, ClientOptions{}, c)
	b.q.Answer(200, typed...)
	b.q.Send([]byte(msg(0, "a") + msg(0, "b")))
	if c.Stats.ResponseMessages.Load() != 2 || c.Stats.ResponseBytes.Load() != 12 || c.Stats.FirstResponse.Load() != int64(time.Second) {
		t.Errorf("messages %d, bytes %d, first %d", c.Stats.ResponseMessages.Load(), c.Stats.ResponseBytes.Load(), c.Stats.FirstResponse.Load())
	}
}
