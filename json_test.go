package sluice_test

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
)

// TestJSON: clients with the codec "json" call a backend that speaks protobuf alone, by
// each protocol that has codecs.
func TestJSON(t *testing.T) {
	g, err := sluice.New(sluice.Config{Backends: []sluice.Backend{{Handler: testServer(t)}}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	// Until reflection is over a method that is not known may come to be.
	settled := func() bool {
		r := httptest.NewRequest("POST", "/no.S/M", strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		return g.Status().Methods > 0 && w.Code == 404
	}
	for deadline := time.Now().Add(10 * time.Second); !settled(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no schema")
		}
	}
	const service = "/grpc.testing.TestService/"
	unary := `{"responseSize":3,"fillUsername":true}`
	const unaryAnswer = `{"payload":{"body":"AAAA"}}`
	frame := func(s string) string { return "\x00\x00\x00\x00" + string(rune(len(s))) + s }
	stream := frame(`{"responseParameters":[{"size":1},{"size":2}]}`)
	streamAnswer := frame(`{"payload":{"body":"AA=="}}`) + frame(`{"payload":{"body":"AAA="}}`)
	for name, c := range map[string]struct {
		verb, path, fields, body string
		status                   int
		contentType, answer      string
	}{
		"Connect, unary":           {"POST", service + "UnaryCall", "content-type: application/json", unary, 200, "application/json", unaryAnswer},
		"Connect, stream":          {"POST", service + "StreamingOutputCall", "content-type: application/connect+json", stream, 200, "application/connect+json", streamAnswer + "\x02\x00\x00\x00\x02{}"},
		"Connect, bad JSON":        {"POST", service + "UnaryCall", "content-type: application/json", `{"responseSize":"x"}`, 400, "application/json", `{"code":"invalid_argument","message":"request message: JSON, byte 16, field responseSize: `},
		"Connect, no JSON":         {"POST", service + "UnaryCall", "content-type: application/json", "", 400, "application/json", `{"code":"invalid_argument","message":"request message: JSON, byte 0: `},
		"Connect, unknown method":  {"POST", "/no.S/M", "content-type: application/json; connect-protocol-version: 1", "{}", 404, "application/json", `{"code":"unimplemented","message":"JSON needs a schema, and the gateway has no descriptor of /no.S/M: `},
		"Connect, unknown stream":  {"POST", "/no.S/M", "content-type: application/connect+json", frame("{}"), 200, "application/connect+json", "\x02\x00\x00\x00\xbd" + `{"error":{"code":"unimplemented","message":"JSON needs a schema`},
		"REST, unknown method":     {"POST", "/no.S/M", "content-type: application/json", "{}", 404, "application/json", `{"code":5,`},
		"gRPC-Web, unary":          {"POST", service + "UnaryCall", "content-type: application/grpc-web+json", frame(unary), 200, "application/grpc-web+json", frame(unaryAnswer) + "\x80\x00\x00\x00\x10grpc-status: 0\r\n"},
		"gRPC-Web, unknown method": {"POST", "/no.S/M", "content-type: application/grpc-web+json", frame("{}"), 200, "application/grpc-web+json", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(c.verb, c.path, strings.NewReader(c.body))
			for f := range strings.SplitSeq(c.fields, "; ") {
				name, value, _ := strings.Cut(f, ": ")
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			if w.Code != c.status || w.Header().Get("Content-Type") != c.contentType || !strings.HasPrefix(w.Body.String(), c.answer) {
				t.Errorf("got %d %q %q", w.Code, w.Header().Get("Content-Type"), w.Body)
			}
			if c.answer == "" && !strings.Contains(w.Body.String(), "grpc-status: 12\r\n") { // the backend's own
				t.Errorf("got %q", w.Body)
			}
		})
	}
}

// TestJSONHeld: messages larger than a window wait, with those after them, for a backend
// that is not there yet.
func TestJSONHeld(t *testing.T) {
	free := listen(t)
	target := free.Addr().String()
	free.Close()
	set, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(testgrpc.File_grpc_testing_empty_proto),
		protodesc.ToFileDescriptorProto(testgrpc.File_grpc_testing_messages_proto),
		protodesc.ToFileDescriptorProto(testgrpc.File_grpc_testing_test_proto),
	}})
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := startGateway(t, sluice.Config{Backends: []sluice.Backend{{Target: target}}, DescriptorSets: [][]byte{set}})

	server := testServer(t)
	body, w := io.Pipe()
	request, err := http.NewRequest("POST", "http://"+addr+"/grpc.testing.TestService/StreamingInputCall", body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/connect+json")
	go func() { // ends with the pipe
		for _, n := range []int{100 << 10, 1, 1, 1} {
			m := `{"payload":{"body":"` + strings.Repeat("AAAA", n) + `"}}`
			if _, err := w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m))), m...)); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond) // each a Data of its own
		}
		l, err := net.Listen("tcp", target)
		if err != nil {
			_ = w.CloseWithError(err)
			return
		}
		go func() { _ = server.Serve(l) }() // ends with the test
		_ = w.Close()
	}()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(answer), `{"aggregatedPayloadSize":307209}`) {
		t.Errorf("%v, got %q", err, answer)
	}
}

// TestJSONBeforeSchema: calls wait for the schema of a backend that is not there yet.
func TestJSONBeforeSchema(t *testing.T) {
	free := listen(t)
	target := free.Addr().String()
	free.Close()
	addr, _ := startGateway(t, sluice.Config{Backends: []sluice.Backend{{Target: target}}})
	type answer struct {
		method, body string
		code         int
		err          error
	}
	answers := make(chan answer)
	for _, method := range []string{"grpc.testing.TestService/UnaryCall", "no.S/M"} {
		go func() { // ends with its call
			a := answer{method: method}
			request, err := http.NewRequest("POST", "http://"+addr+"/"+method, strings.NewReader(`{"responseSize":3,"fillUsername":true}`))
			if err != nil {
				a.err = err
				answers <- a
				return
			}
			request.Header.Set("Content-Type", "application/json")
			request.Header.Set("Connect-Protocol-Version", "1")
			response, err := http.DefaultClient.Do(request)
			if err == nil {
				var b []byte
				b, err = io.ReadAll(response.Body)
				a.body, a.code = string(b), response.StatusCode
				response.Body.Close()
			}
			a.err = err
			answers <- a
		}()
	}
	select {
	case a := <-answers:
		t.Fatalf("answered before there is a backend: %+v", a)
	case <-time.After(200 * time.Millisecond):
	}
	server := testServer(t)
	l, err := net.Listen("tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }() // ends with the test
	for range 2 {
		a := <-answers
		want, code := `{"payload":{"body":"AAAA"}}`, 200
		if a.method == "no.S/M" {
			want, code = `{"code":"unimplemented","message":"JSON needs a schema`, 404
		}
		if a.err != nil || a.code != code || !strings.HasPrefix(a.body, want) {
			t.Errorf("%+v", a)
		}
	}
}
