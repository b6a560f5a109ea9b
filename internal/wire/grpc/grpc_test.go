package grpc

import (
	"bytes"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

func TestParseTimeout(t *testing.T) {
	for in, want := range map[string]struct {
		d            time.Duration
		infinite, ok bool
	}{
		"1n": {1, false, true}, "9H": {9 * time.Hour, false, true}, "99999999H": {0, true, true}, "0S": {0, false, true},
		"100m": {100 * time.Millisecond, false, true}, "00000001u": {time.Microsecond, false, true},
		"": {}, "S": {}, "1": {}, "1s": {}, "-1S": {}, "1.5S": {}, "123456789S": {}, " 1S": {},
	} {
		d, infinite, ok := ParseTimeout(in)
		if d != want.d || infinite != want.infinite || ok != want.ok {
			t.Errorf("%q: %v %v %v, want %v", in, d, infinite, ok, want)
		}
	}
}

func FuzzTimeout(f *testing.F) {
	f.Add("9H", int64(1))
	f.Fuzz(func(t *testing.T, s string, n int64) {
		if d, _, ok := ParseTimeout(s); ok && d < 0 {
			t.Errorf("%q is negative", s)
		}
		d, infinite, ok := ParseTimeout(string(AppendTimeout(nil, time.Duration(n))))
		if !ok || (!infinite && n > 0 && d < time.Duration(n)) || (n <= 0 && d != 1) {
			t.Errorf("%d became %v %v %v", n, d, infinite, ok)
		}
	})
}

func TestMessage(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "100%": "100%25", "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n": "%09%0Atest with whitespace%0D%0Aand Unicode BMP %E2%98%BA and non-BMP %F0%9F%98%88%09%0A",
	} {
		if got := EncodeMessage(in); got != want {
			t.Errorf("%q: got %q", in, got)
		}
		if got := DecodeMessage(want); got != in {
			t.Errorf("%q back: got %q", want, got)
		}
	}
	for in, want := range map[string]string{"50%": "50%", "%zz": "%zz", "%4": "%4", "%41": "A", "%%41": "%A"} {
		if got := DecodeMessage(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add("50% ☺ %zz")
	f.Fuzz(func(t *testing.T, s string) {
		enc := EncodeMessage(s)
		for i := range len(enc) {
			if enc[i] < ' ' || enc[i] > '~' {
				t.Fatalf("%q has %#x", enc, enc[i])
			}
		}
		if utf8.ValidString(s) && DecodeMessage(enc) != s {
			t.Errorf("%q became %q", s, DecodeMessage(enc))
		}
		if !utf8.ValidString(DecodeMessage(s)) && utf8.ValidString(s) {
			t.Errorf("%q decodes to what is no UTF-8", s)
		}
	})
}

func TestBinary(t *testing.T) {
	for _, in := range []string{"AQI", "AQI="} {
		if b, err := DecodeBinary(in); err != nil || !bytes.Equal(b, []byte{1, 2}) {
			t.Error(in, b, err)
		}
	}
}

func TestStatusTables(t *testing.T) {
	for code := range rpc.Code(40) {
		if got := ParseCode(FormatCode(code)); got != code {
			t.Errorf("%d became %d", code, got)
		}
	}
	if ParseCode("x") != rpc.Unknown || ParseCode("-1") != rpc.Unknown {
		t.Error("what is no number is not UNKNOWN")
	}
	for code, want := range map[exchange.Code]rpc.Code{
		exchange.NoError: rpc.Internal, exchange.ProtocolError: rpc.Internal, exchange.RefusedStream: rpc.Unavailable,
		exchange.Cancel: rpc.Canceled, exchange.EnhanceYourCalm: rpc.ResourceExhausted, exchange.InadequateSecurity: rpc.PermissionDenied,
		exchange.Disconnected: rpc.Unavailable, 0x77: rpc.Internal,
	} {
		if got := FromReset(code); got != want {
			t.Errorf("reset %v: %v, want %v", code, got, want)
		}
	}
	for status, want := range map[int]rpc.Code{
		400: rpc.Internal, 401: rpc.Unauthenticated, 403: rpc.PermissionDenied, 404: rpc.Unimplemented,
		429: rpc.Unavailable, 502: rpc.Unavailable, 503: rpc.Unavailable, 504: rpc.Unavailable, 500: rpc.Unknown, 200: rpc.Unknown,
	} {
		if got := FromHTTP(status); got != want {
			t.Errorf("HTTP %d: %v, want %v", status, got, want)
		}
	}
}

func TestReserved(t *testing.T) {
	for _, name := range []string{"", ":path", ":status", "te", "trailer", "transfer-encoding", "connection", "keep-alive", "proxy-connection",
		"upgrade", "host", "origin", "user-agent", "content-type", "content-length", "content-encoding", "accept-encoding", "date", "expect",
		"grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-timeout", "grpc-encoding", "grpc-unknown", "connect-timeout-ms",
		"trailer-x", "access-control-allow-origin", "x-grpc-web", "x-user-agent"} {
		if !Reserved(name) {
			t.Errorf("%q is not reserved", name)
		}
	}
	for _, name := range []string{"a", "authorization", "cookie", "trace-bin", "grpc-trace-bin", "grpc-tags-bin", "grpc-previous-rpc-attempts",
		"grpc-retry-pushback-ms", "x-request-id", "traceparent", "hosts", "dates", "tea", "grpcx"} {
		if Reserved(name) {
			t.Errorf("%q is reserved", name)
		}
	}
}

func TestReadStatus(t *testing.T) {
	f := func(kv ...string) (out []exchange.Field) {
		for i := 0; i < len(kv); i += 2 {
			out = append(out, exchange.Field{Name: kv[i], Value: kv[i+1]})
		}
		return out
	}
	for name, test := range map[string]struct {
		in   []exchange.Field
		want rpc.Code
		ok   bool
	}{
		"none":             {f("a", "b"), 0, false},
		"message only":     {f("grpc-message", "x"), 0, false},
		"ok":               {f("grpc-status", "0"), 0, true},
		"17":               {f("grpc-status", "17"), 17, true},
		"negative":         {f("grpc-status", "-5"), rpc.Unknown, true},
		"2^32":             {f("grpc-status", "4294967296"), rpc.Unknown, true},
		"the last of two":  {f("grpc-status", "3", "grpc-status", "5"), rpc.NotFound, true},
		"space around it":  {f("grpc-status", " 5"), rpc.Unknown, true},
		"with a plus sign": {f("grpc-status", "+5"), rpc.Unknown, true},
	} {
		if st, ok := ReadStatus(test.in); st.Code != test.want || ok != test.ok || st.Remote != ok {
			t.Errorf("%s: %v %v, want %v %v", name, st, ok, test.want, test.ok)
		}
	}
}

func TestFromClientReset(t *testing.T) {
	for code, want := range map[exchange.Code]string{
		exchange.Cancel:          "CANCELLED: the client canceled the call",
		exchange.ProtocolError:   "CANCELLED: the client canceled the call",
		exchange.Disconnected:    "CANCELLED: the client's connection was lost",
		exchange.EnhanceYourCalm: "RESOURCE_EXHAUSTED: the gateway's buffers are full (limits.buffer_bytes)",
		exchange.FrameSizeError:  "RESOURCE_EXHAUSTED: a message of the client is larger than the gateway's limit (limits.message_bytes)",
	} {
		if st := FromClientReset(code); st.Code.String()+": "+st.Message != want {
			t.Errorf("%v: %v, want %s", code, st, want)
		}
	}
}

func TestToReset(t *testing.T) {
	for code := range rpc.Code(rpc.Codes + 3) {
		want := exchange.InternalError
		switch code {
		case rpc.Canceled, rpc.DeadlineExceeded:
			want = exchange.Cancel
		case rpc.ResourceExhausted:
			want = exchange.EnhanceYourCalm
		case rpc.PermissionDenied:
			want = exchange.InadequateSecurity
		}
		if got := ToReset(code); got != want {
			t.Errorf("%v: %v, want %v", code, got, want)
		}
	}
}
